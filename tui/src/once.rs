//! One frame of the console, drawn without a terminal.

use std::time::Duration;

use bridge_shared::store::{Store, StoreError};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use tokio::time::Instant;

use crate::app::{App, Link, Options};
use crate::cli::output::CommandError;
use crate::event::feed::Feed;
use crate::keymap::Key;
use crate::message::Message;
use crate::theme::Theme;
use crate::ui;
use crate::update::update;

/// Silence after which nothing more is expected to be read.
const SETTLED: Duration = Duration::from_millis(150);
/// How long a screen on which things keep happening is waited for.
const RESTLESS: Duration = Duration::from_millis(1_500);
/// The longest wait for Redis.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens a console, presses keys, each when what came of the one before has been read, and draws
/// what is then to be seen. Returns also why Redis does not answer, where it does not: the frame
/// says so too.
///
/// # Errors
/// [`CommandError`] where a key is none.
pub(crate) async fn frame(
    store: Store,
    options: Options,
    size: (u16, u16),
    keys: &str,
    theme: &Theme,
) -> Result<(Buffer, Option<StoreError>), CommandError> {
    let keys = keys.split_whitespace().map(|name| {
        let key = Key::parse(name)
            .ok_or_else(|| CommandError::Said(format!("--keys: no key is called {name:?}")));
        key.map(|key| Message::Key(key.into()))
    });
    let mut keys = keys.collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut app = App::new(options, size.into());
    let (mut feed, mut messages) = Feed::start(store, app.options.read_only);
    let begun = Instant::now();
    let mut pressed = begun;
    loop {
        let settled = tokio::time::timeout(SETTLED, messages.recv()).await;
        let connecting = matches!(app.link, Link::Connecting) && begun.elapsed() < PATIENCE;
        let restless = pressed.elapsed() > RESTLESS;
        let message = match settled {
            Ok(Some(message)) if !restless || connecting => message,
            Err(_) if connecting => continue,
            Ok(Some(_)) | Err(_) => match keys.next() {
                Some(key) => {
                    // Whoever wrote the keys down knows the questions between them.
                    app.drawn(size.into());
                    pressed = Instant::now();
                    key
                }
                None => break,
            },
            Ok(None) => break,
        };
        for command in update(&mut app, begun.elapsed(), message) {
            feed.run(command);
        }
    }
    let Ok(mut terminal) = Terminal::new(TestBackend::new(size.0, size.1));
    let Ok(_) = terminal.draw(|frame| ui::draw(frame, &app, theme));
    let trouble = match app.link {
        Link::Lost { error, .. } => Some(error),
        _ => None,
    };
    Ok((terminal.backend().buffer().clone(), trouble))
}
