//! The console at run time: messages in, frames out, commands carried out.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use bridge_shared::arguments::whole_number;
use bridge_shared::store::Store;
use bridge_shared::store::dead_letters::DeadLetter;
use clap::Args;
use crossterm::clipboard::CopyToClipboard;
use crossterm::execute;
use crossterm::terminal::{BeginSynchronizedUpdate, EndSynchronizedUpdate};
use jiff::tz::TimeZone;
use ratatui::layout::{Rect, Size};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::app::{App, Link, Options};
use crate::cli::output::{CommandError, error_line, line};
use crate::config::ConfigError;
use crate::environments::Environments;
use crate::event::feed::Feed;
use crate::event::input::Input;
use crate::message::{Command, Level, Message};
use crate::terminal::{self, Screen};
use crate::theme::{Theme, ThemeName};
use crate::ui;
use crate::update::update;
use crate::update::work::editable;
use crate::{editor, log, once, panic, picture, signals};

/// What only a console takes, in the help.
pub(crate) const CONSOLE: &str = "Console";
/// What says which environment it is about, and what may be done there, in the help.
pub(crate) const ENVIRONMENT: &str = "Environment";

/// What the console takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = CONSOLE)]
pub(crate) struct ConsoleArgs {
    /// Show everything, change nothing
    #[arg(long, global = true, help_heading = ENVIRONMENT)]
    read_only: bool,

    /// Colours: dark, light, 16, mono, a theme of your own by its name, or its file [default: what
    /// the configuration says, else what the terminal and `NO_COLOR` ask for]
    #[arg(long, global = true, env = "BRIDGE_THEME", value_name = "NAME")]
    theme: Option<String>,

    /// Use the mouse: clicks choose and open, the wheel goes up and down
    #[arg(long, global = true)]
    mouse: bool,

    /// Frames a second at most
    #[arg(long, global = true, value_name = "N", default_value_t = 10, value_parser = whole_number::<u32>(1..=60))]
    fps: u32,

    /// On exit say how much was drawn and what it cost
    #[arg(long, global = true)]
    stats: bool,

    /// Print one frame and exit, for scripts and bug reports; needs no terminal
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "text")]
    once: Option<Once>,

    /// With --once: the size of the frame
    #[arg(long, value_name = "COLUMNSxROWS", default_value = "120x40", value_parser = size, requires = "once")]
    size: (u16, u16),

    /// The environment of the configuration to go to; its settings count before the environment
    /// variables, flags before both
    #[arg(
        long,
        global = true,
        env = "BRIDGE_PROFILE",
        value_name = "NAME",
        help_heading = ENVIRONMENT
    )]
    pub(crate) profile: Option<String>,

    /// The configuration: environments, keys and colours [default:
    /// ~/.config/redis-bridge/config.toml]
    #[arg(
        long,
        global = true,
        env = "BRIDGE_CONFIG",
        value_name = "FILE",
        help_heading = ENVIRONMENT
    )]
    pub(crate) config: Option<PathBuf>,

    /// With --once: keys to press first, apart by spaces: "3 j enter"
    #[arg(
        long,
        value_name = "KEYS",
        default_value = "",
        hide_default_value = true,
        requires = "once"
    )]
    keys: String,
}

impl ConsoleArgs {
    /// Whether one frame is printed instead of opening a console.
    pub(crate) const fn is_once(&self) -> bool {
        self.once.is_some()
    }

    /// Whether nothing may be changed, by a flag.
    pub(crate) const fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The theme that was asked for, or else the one that fits.
    fn theme(&self, environments: &Environments, fits: ThemeName) -> Result<Theme, ConfigError> {
        let asked = self.theme.as_deref().map(str::trim);
        let asked = asked.filter(|name| !name.is_empty());
        environments.config.theme(asked, fits)
    }
}

/// How a frame is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Once {
    /// As text.
    Text,
    /// As an SVG picture.
    Svg,
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text
        .split_once('x')
        .and_then(|(columns, rows)| Some((columns.parse().ok()?, rows.parse().ok()?)));
    parsed
        .filter(|(columns, rows)| (1..=1_000).contains(columns) && (1..=1_000).contains(rows))
        .ok_or_else(|| "give columns and rows, such as 120x40".into())
}

/// What drawing has cost.
#[derive(Debug, Default)]
struct Cost {
    /// From the start of the program to the end of the first frame, and of the first one with
    /// figures.
    first: Option<Duration>,
    first_figures: Option<Duration>,
    frames: u32,
    drawing: Duration,
    slowest: Duration,
}

/// Opens the console and returns when it is left.
///
/// # Errors
/// [`CommandError`] where there is no terminal to open it in.
pub(crate) async fn run(
    mut store: Store,
    args: &ConsoleArgs,
    mut environments: Environments,
) -> Result<(), CommandError> {
    let fits = ThemeName::detect(|name| std::env::var(name).ok());
    let theme = args.theme(&environments, fits)?;
    if let Some(format) = args.once {
        return once(store, args, format, &environments).await;
    }
    let log = log::start();
    // Whatever is wrong with the configuration is told before the terminal is taken.
    let mut options = options(&store, args, &environments)?;
    check_terminal()?;
    let mut screen = terminal::take(args.mouse || environments.config.mouse).map_err(|error| {
        CommandError::Said(format!(
            "cannot take the terminal over: {error}; for scripts there is: bridge status"
        ))
    })?;
    let wrong: Vec<String> = log
        .wrong
        .iter()
        .cloned()
        .chain(environments.config.exposed())
        .collect();
    let mut trouble = (!wrong.is_empty()).then(|| wrong.join("; "));
    let mut opened = *STARTED;
    let result = loop {
        let (store_here, options_here) = (store.clone(), options.clone());
        let console = Console::new(
            screen,
            store_here,
            options_here,
            theme.clone(),
            args,
            opened,
        );
        let console = match console {
            Ok(console) => console.run(trouble.take()).await,
            Err(error) => Err(error),
        };
        let console = match console {
            Ok(console) => console,
            Err(error) => break Err(error),
        };
        let Some(name) = &console.app.switch_to else {
            break Ok(console);
        };
        let gone = environments.go_to(name).and_then(|store| {
            let options = self::options(&store, args, &environments)?;
            Ok((store, options))
        });
        match gone {
            Ok(gone) => (store, options) = gone,
            Err(error) => trouble = Some(error.to_string()),
        }
        screen = console.screen;
        opened = Instant::now();
    };
    terminal::give_back();
    let console = result?;
    if args.stats {
        console.tell_cost();
    }
    Ok(())
}

/// A terminal that cannot show the console is told so before anything is written to it.
///
/// # Errors
/// One line that says what to use instead.
pub(crate) fn check_terminal() -> Result<(), CommandError> {
    let instead = "for scripts there are: bridge status, bridge status --watch, bridge dlq list";
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(CommandError::Said(format!(
            "the console needs a terminal; {instead}"
        )));
    }
    if matches!(std::env::var("TERM").as_deref(), Ok("dumb" | "") | Err(_)) {
        return Err(CommandError::Said(format!(
            "this terminal (TERM=dumb) cannot place text, which the console needs; {instead}"
        )));
    }
    Ok(())
}

/// What does not change while the console runs in one environment.
///
/// # Errors
/// [`CommandError`] where the configuration is wrong.
pub(crate) fn options(
    store: &Store,
    args: &ConsoleArgs,
    environments: &Environments,
) -> Result<Options, CommandError> {
    let config = &environments.config;
    let here = environments.here.as_ref();
    let profile = here
        .map(|(name, profile)| {
            let color = profile
                .color
                .as_deref()
                .map(|color| config.color(color, name));
            Ok::<_, CommandError>((name.clone(), color.transpose()?))
        })
        .transpose()?;
    Ok(Options {
        queue: store.keys().queue.clone(),
        url: store.url().to_owned(),
        profile,
        profiles: config.names(),
        confirm: here.is_some_and(|(_, profile)| profile.confirm),
        keymap: config.keymap()?,
        read_only: args.read_only || here.is_some_and(|(_, profile)| profile.read_only),
        zone: TimeZone::system(),
        unicode: terminal::speaks_unicode(|name| std::env::var(name).ok()),
    })
}

/// Prints one frame.
async fn once(
    store: Store,
    args: &ConsoleArgs,
    format: Once,
    environments: &Environments,
) -> Result<(), CommandError> {
    let theme = args.theme(environments, ThemeName::Dark)?;
    let options = options(&store, args, environments)?;
    let (buffer, trouble) = once::frame(store, options, args.size, &args.keys, &theme).await?;
    let frame = match format {
        Once::Text => picture::text(&buffer),
        Once::Svg => picture::svg(&buffer, !theme.is_light),
    };
    line(frame.trim_end())?;
    trouble.map_or(Ok(()), |error| Err(error.into()))
}

/// When the program began, as far as it knows: the first frame is timed from there.
pub(crate) static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

struct Console {
    /// What the first frame is timed from.
    opened: Instant,
    screen: Screen,
    app: App,
    theme: Theme,
    feed: Feed,
    messages: mpsc::Receiver<Message>,
    /// Reads the keyboard; not while an editor does.
    input: Option<Input>,
    start: Instant,
    /// Between two frames at least.
    pace: Duration,
    cost: Cost,
}

impl Console {
    fn new(
        screen: Screen,
        store: Store,
        options: Options,
        theme: Theme,
        args: &ConsoleArgs,
        opened: Instant,
    ) -> Result<Self, CommandError> {
        let size = screen.size()?;
        let (feed, messages) = Feed::start(store, options.read_only);
        Ok(Self {
            opened,
            app: App::new(options, size),
            theme,
            screen,
            feed,
            messages,
            input: Some(Input::default()),
            start: Instant::now(),
            pace: Duration::from_secs(1) / args.fps,
            cost: Cost::default(),
        })
    }

    /// Runs until the operator leaves. A terminal that is gone ends the console as the end of input
    /// does: its operator has left.
    async fn run(mut self, trouble: Option<String>) -> Result<Self, CommandError> {
        match self.work(trouble).await {
            Err(CommandError::Io(error)) if terminal::is_gone(&error) => {
                tracing::info!(%error, "the terminal is gone");
                self.app.switch_to = None;
            }
            worked => worked?,
        }
        Ok(self)
    }

    /// Draws at once, then on every change, but no more often than the pace allows.
    async fn work(&mut self, trouble: Option<String>) -> Result<(), CommandError> {
        if let Some(trouble) = trouble {
            self.take(Message::Told(Level::Bad, trouble))?;
        }
        let mut go_on = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let mut next_frame = Instant::now();
        let mut changed = true;
        while !self.app.quit {
            tokio::select! {
                biased;
                () = self.feed.panicked() => break,
                key = next_key(&mut self.input) => match key {
                    Some(message) => changed |= self.take(message)?,
                    // The terminal has gone, and with it whoever looked at it.
                    None => break,
                },
                () = signals::end() => break,
                () = signals::stop() => self.stop()?,
                _ = go_on.recv() => self.resume()?,
                () = tokio::time::sleep_until(next_frame), if changed => {
                    self.draw()?;
                    changed = false;
                    next_frame = Instant::now() + self.pace;
                }
                message = self.messages.recv() => {
                    let message = message.ok_or_else(|| CommandError::Said("the console's connection to Redis ended unexpectedly".into()))?;
                    changed |= self.take(message)?;
                }
                _ = second.tick() => changed |= self.take(Message::Tick)?,
            }
        }
        Ok(())
    }

    /// Takes a message; returns whether there may be something new to see.
    fn take(&mut self, message: Message) -> Result<bool, CommandError> {
        let mut commands = VecDeque::from(update(&mut self.app, self.start.elapsed(), message));
        while let Some(command) = commands.pop_front() {
            match command {
                Command::Edit(dead, text) => {
                    let edited = self.edit(dead, text)?;
                    commands.extend(update(&mut self.app, self.start.elapsed(), edited));
                }
                Command::Copy(text) => {
                    execute!(io::stdout(), CopyToClipboard::to_clipboard_from(text))?;
                }
                Command::Redraw => self.redraw()?,
                Command::Suspend => Self::suspend()?,
                command => self.feed.run(command),
            }
        }
        Ok(true)
    }

    fn draw(&mut self) -> Result<(), CommandError> {
        let begun = Instant::now();
        let (app, theme) = (&self.app, &self.theme);
        // The terminal shows the frame when all of it is there; those that do not know these
        // sequences ignore them.
        crossterm::queue!(self.screen.backend_mut(), BeginSynchronizedUpdate)?;
        let area = self.screen.draw(|frame| ui::draw(frame, app, theme))?.area;
        crossterm::queue!(self.screen.backend_mut(), EndSynchronizedUpdate)?;
        io::Write::flush(self.screen.backend_mut())?;
        self.app.drawn(area.as_size());
        let app = &self.app;
        let since_start = || self.opened.elapsed();
        self.cost.first.get_or_insert_with(since_start);
        if matches!(app.link, Link::Live) {
            self.cost.first_figures.get_or_insert_with(since_start);
            panic::if_asked_for("draw");
        }
        let took = begun.elapsed();
        self.cost.frames += 1;
        self.cost.drawing += took;
        self.cost.slowest = self.cost.slowest.max(took);
        Ok(())
    }

    /// Opens a lead in the editor and waits for what comes back.
    fn edit(&mut self, dead: DeadLetter, text: Option<String>) -> Result<Message, CommandError> {
        self.input = None;
        terminal::give_back();
        let before = text.unwrap_or_else(|| editable(&dead));
        let editing = signals::Editing::begin();
        let text = editor::edit(&before);
        drop(editing);
        self.input = Some(Input::default());
        self.resume()?;
        Ok(Message::Edited { dead, text })
    }

    /// Stops as a job of a shell does, with the whole group, for a `make` or a script around it
    /// must stop too before the shell has its terminal back. The signal comes to [`Self::stop`].
    fn suspend() -> Result<(), CommandError> {
        terminal::give_back();
        rustix::process::kill_current_process_group(rustix::process::Signal::TSTP)
            .map_err(io::Error::from)?;
        Ok(())
    }

    fn stop(&mut self) -> Result<(), CommandError> {
        terminal::give_back();
        signals::stop_now()?;
        self.resume()
    }

    fn resume(&mut self) -> Result<(), CommandError> {
        terminal::enter()?;
        self.redraw()
    }

    /// Draws everything anew. Not by the terminal's own `clear`, which asks the terminal where its
    /// cursor is and waits for the answer.
    fn redraw(&mut self) -> Result<(), CommandError> {
        let (columns, rows) = crossterm::terminal::size()?;
        self.app.size = Size::new(columns, rows);
        self.screen.resize(Rect::new(0, 0, columns, rows))?;
        self.draw()
    }

    fn tell_cost(&self) {
        let cost = &self.cost;
        let seconds = self.start.elapsed().as_secs_f64();
        #[allow(clippy::cast_precision_loss)]
        let bytes = terminal::bytes_sent() as f64;
        let mean = cost.drawing / cost.frames.max(1);
        let ms = |time: Option<Duration>| {
            time.map_or_else(
                || "never".into(),
                |time| format!("after {:.1} ms", time.as_secs_f64() * 1e3),
            )
        };
        error_line(&format!(
            "first frame {}, first figures {}",
            ms(cost.first),
            ms(cost.first_figures)
        ));
        error_line(&format!(
            "{} frames in {seconds:.1} s, {:.2} ms each, {:.2} ms at most; {:.1} KB, {:.2} KB/s",
            cost.frames,
            mean.as_secs_f64() * 1e3,
            cost.slowest.as_secs_f64() * 1e3,
            bytes / 1e3,
            bytes / 1e3 / seconds.max(0.001),
        ));
    }
}

/// The next message of the keyboard; never, while somebody else reads it.
async fn next_key(input: &mut Option<Input>) -> Option<Message> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}
