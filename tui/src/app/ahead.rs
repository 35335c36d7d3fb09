//! Keys that come before the console is ready for them: typed ahead of the rows they are about, or
//! faster than anybody types, as a terminal without bracketed paste brings pasted text.

use std::collections::VecDeque;
use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::App;
use super::dlq::View;
use crate::keymap::Action;
use crate::screen::Screen;

/// So many keys, no two neighbours alike, within [`PASTE_WINDOW`] are pasted. Alike they are a key
/// that is held down.
const PASTE_KEYS: usize = 6;
const PASTE_WINDOW: Duration = Duration::from_millis(50);
/// A paste goes on until there has been no key for so long.
const PASTE_SILENCE: Duration = Duration::from_millis(500);
/// Keys that wait at most, and for how long.
const HELD_MAX: usize = 64;
pub(crate) const HELD_TIMEOUT: Duration = Duration::from_secs(10);

/// How fast keys come.
#[derive(Debug, Default)]
pub(crate) struct Typing {
    last: Option<KeyCode>,
    recent: VecDeque<Duration>,
    /// Until when keys are taken as pasted.
    pasting: Option<Duration>,
}

impl Typing {
    /// Takes note of a key; returns whether it belongs to pasted text.
    pub(crate) fn is_pasted(&mut self, uptime: Duration, key: KeyEvent) -> bool {
        let held_down = KeyModifiers::CONTROL | KeyModifiers::ALT;
        let plain = matches!(
            key.code,
            KeyCode::Char(_) | KeyCode::Enter | KeyCode::Tab | KeyCode::BackTab
        );
        if !plain || key.modifiers.intersects(held_down) {
            return false;
        }
        if self.last.replace(key.code) != Some(key.code) {
            self.recent.push_back(uptime);
        }
        let within = |at: &Duration| uptime.saturating_sub(*at) <= PASTE_WINDOW;
        while self.recent.front().is_some_and(|at| !within(at)) {
            self.recent.pop_front();
        }
        let fast = self.recent.len() >= PASTE_KEYS;
        if fast {
            self.pasting = Some(uptime + PASTE_SILENCE);
        }
        self.is_pasting(uptime)
    }

    /// Whether a paste goes on; if so the next key is one of it too.
    pub(crate) fn is_pasting(&mut self, uptime: Duration) -> bool {
        let pasting = self.pasting.is_some_and(|until| uptime < until);
        if pasting {
            self.pasting = Some(uptime + PASTE_SILENCE);
        }
        pasting
    }
}

/// Keys that wait for what they are about.
#[derive(Debug, Default)]
pub(crate) struct Held {
    keys: VecDeque<KeyEvent>,
    /// Since when, counted from the console's start.
    pub(crate) since: Duration,
}

impl Held {
    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Lets one more wait, where there is room: what finds none goes nowhere.
    pub(crate) fn push(&mut self, uptime: Duration, key: KeyEvent) {
        if self.keys.is_empty() {
            self.since = uptime;
        }
        if self.keys.len() < HELD_MAX {
            self.keys.push_back(key);
        }
    }

    /// Takes all of them.
    pub(crate) fn take(&mut self) -> VecDeque<KeyEvent> {
        std::mem::take(&mut self.keys)
    }
}

impl App {
    /// Whether what an action is about has been asked for and was not read yet.
    pub(crate) fn awaits(&self, action: Action) -> bool {
        let dlq = &self.dlq;
        match (self.screen, dlq.view) {
            (Screen::Dlq, View::List) => dlq.awaits(action),
            (Screen::Dlq, View::Groups) => {
                let counting = dlq.searching().is_some();
                match action {
                    Action::Retry | Action::Drop => counting,
                    Action::Open => counting && dlq.groups().is_empty(),
                    action if action.moves() => counting && dlq.groups().is_empty(),
                    _ => false,
                }
            }
            (Screen::Dlq, View::Trash) => {
                let about_one = matches!(action, Action::Open | Action::Undo);
                self.trash.list.is_none() && (about_one || action.moves())
            }
            _ => false,
        }
    }

    /// Whether there is too little room for the console, now or in the last frame: what keys do
    /// cannot be seen then.
    pub(crate) fn is_hidden(&self) -> bool {
        crate::layout::is_too_small(self.size) || crate::layout::is_too_small(self.drawn)
    }

    /// Takes note that a frame of this size has been drawn.
    pub(crate) fn drawn(&mut self, size: ratatui::layout::Size) {
        self.drawn = size;
        self.overlay_drawn = !crate::layout::is_too_small(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pasted(keys: &str, apart: u64) -> usize {
        let mut typing = Typing::default();
        let keys = keys.chars().zip(0..);
        keys.filter(|(c, n)| {
            let at = Duration::from_millis(n * apart);
            typing.is_pasted(at, KeyEvent::from(KeyCode::Char(*c)))
        })
        .count()
    }

    #[test]
    fn what_comes_faster_than_hands_type_is_pasted() {
        assert_eq!(pasted("drop everything", 0), 15 - 5);
        // A serial line, a character in every millisecond.
        assert_eq!(pasted("drop everything", 1), 15 - 5);
        // Hands, and a key that is held down.
        assert_eq!(pasted("drop everything", 30), 0);
        assert_eq!(pasted("jjjjjjjjjjjjjjd", 0), 0);
        let mut typing = Typing::default();
        let at = |ms, c| (Duration::from_millis(ms), KeyEvent::from(KeyCode::Char(c)));
        for (n, c) in "pasted".chars().enumerate() {
            let (at, key) = at(0, c);
            assert_eq!(typing.is_pasted(at, key), n == 5);
        }
        // The next piece of it, and a key of its own.
        for (ms, c, expected) in [(400, 'y', true), (800, 'd', true), (1_400, 'y', false)] {
            let (at, key) = at(ms, c);
            assert_eq!(typing.is_pasted(at, key), expected, "{ms}");
        }
        let ctrl = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(!typing.is_pasted(Duration::from_millis(800), ctrl));
    }
}
