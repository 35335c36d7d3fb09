//! Keys, the mouse, pastes and sizes of the terminal.

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures::StreamExt as _;

use crate::message::Message;

/// The terminal's side of the console. While it exists it reads standard input.
#[derive(Debug, Default)]
pub(crate) struct Input {
    events: EventStream,
}

impl Input {
    /// The next message; `None` where the terminal has gone.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match self.events.next().await?.ok()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    return Some(Message::Key(key));
                }
                Event::Mouse(event) => return Some(Message::Mouse(event)),
                Event::Paste(text) => return Some(Message::Paste(text)),
                Event::Resize(columns, rows) => return Some(Message::Size(columns, rows)),
                _ => {}
            }
        }
    }
}
