//! What the console has to say, and for how long.

use std::time::Duration;

use crate::message::Level;

/// One thing said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// How much it matters.
    pub(crate) level: Level,
    /// The words.
    pub(crate) text: String,
    /// When it goes, counted from the console's start.
    until: Duration,
}

/// What is being said: the newest last.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    list: Vec<Notice>,
}

impl Notices {
    /// Says something. Bad news stays longer; what is said twice is not shown twice.
    pub(crate) fn say(&mut self, uptime: Duration, level: Level, text: impl Into<String>) {
        let text = text.into();
        self.list.retain(|notice| notice.text != text);
        let seconds = match level {
            Level::Good | Level::Note => 6,
            Level::Bad => 20,
        };
        self.list.push(Notice {
            level,
            text,
            until: uptime + Duration::from_secs(seconds),
        });
    }

    /// Forgets what has been said long enough; returns whether that changed anything.
    pub(crate) fn fade(&mut self, uptime: Duration) -> bool {
        let before = self.list.len();
        self.list.retain(|notice| notice.until > uptime);
        self.list.len() != before
    }

    /// Forgets everything.
    pub(crate) fn hush(&mut self) {
        self.list.clear();
    }

    /// The last one said.
    pub(crate) fn last(&self) -> Option<&Notice> {
        self.list.last()
    }
}
