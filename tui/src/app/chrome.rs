//! What stands around every screen and can be pointed at: the screens, and the keys.

use unicode_width::UnicodeWidthStr as _;

use super::overlay::Overlay;
use super::{App, WrittenLine};
use crate::keymap::{Action, Key};
use crate::screen::Screen;
use crate::text::{short, thousands};

/// Columns before the first screen, and before the first key.
pub(crate) const MARGIN: usize = 1;

/// A key in the footer.
#[derive(Debug, Clone)]
pub(crate) struct FooterKey {
    /// The key.
    pub(crate) key: Key,
    /// What it does.
    pub(crate) label: &'static str,
}

impl FooterKey {
    /// Columns that it takes, with the room after it.
    pub(crate) fn width(&self) -> usize {
        self.key.to_string().width() + self.label.width() + 3
    }
}

impl App {
    /// The screens, as the tabs have them: in words as long as there is room for all of them.
    pub(crate) fn tabs(&self, width: usize) -> Vec<(Screen, String)> {
        let wide = self.tabs_in(Screen::title, thousands, ("[", "]", " ", " "));
        let brief = || self.tabs_in(Screen::title, short, ("[", "]", " ", " "));
        let narrow = || self.tabs_in(Screen::short_title, short, ("[", "] ", "", " "));
        let fits = |tabs: &Vec<(Screen, String)>| {
            MARGIN + tabs.iter().map(|(_, text)| text.width()).sum::<usize>() <= width
        };
        let tabs = [wide, brief()].into_iter().find(fits);
        tabs.unwrap_or_else(narrow)
    }

    /// The screens, with what stands before and after the one in front, and the others.
    fn tabs_in(
        &self,
        title: impl Fn(Screen) -> &'static str,
        number: impl Fn(u64) -> String,
        (open, close, before, after): (&str, &str, &str, &str),
    ) -> Vec<(Screen, String)> {
        let figures = self.figures.as_ref();
        let dead = figures.map_or(0, |(figures, _)| figures.dead);
        let tab = |(key, screen): (u8, Screen)| {
            let (before, after) = if screen == self.screen {
                (open, close)
            } else {
                (before, after)
            };
            let count = if screen == Screen::Dlq && dead > 0 {
                format!(" {}", number(dead))
            } else {
                String::new()
            };
            let text = format!("{before}{key} {}{count}{after}", title(screen));
            (screen, text)
        };
        (1..).zip(Screen::ALL).map(tab).collect()
    }

    /// The keys of what is in front of the screen, which are the only ones then: a line that is
    /// being written, or what lies over it.
    fn keys_in_front(&self) -> Option<&'static [(&'static str, &'static str)]> {
        Some(match &self.overlay {
            Some(Overlay::Help(_)) => &[("j", "down"), ("k", "up"), ("esc", "close")],
            Some(Overlay::Confirm(confirm)) if confirm.typed.is_some() => {
                &[("enter", "yes"), ("esc", "no")]
            }
            Some(Overlay::Confirm(_)) => &[("y", "yes"), ("n", "no")],
            Some(Overlay::Trial(_)) if self.may_change() => &[("r", "retry"), ("esc", "close")],
            Some(Overlay::Trial(_)) => &[("esc", "close")],
            Some(Overlay::EditAgain { .. }) => &[("e", "edit again"), ("esc", "leave")],
            Some(Overlay::File(..)) => &[("enter", "write"), ("esc", "leave")],
            Some(Overlay::Account(_)) => &[("x", "write a file"), ("esc", "close")],
            Some(Overlay::Palette(_)) => &[("enter", "do it"), ("esc", "leave")],
            None => match self.line()? {
                WrittenLine::Filter => {
                    &[("enter", "filter"), ("tab", "complete"), ("esc", "leave")]
                }
                WrittenLine::LiveFilter => &[("enter", "filter"), ("esc", "leave")],
                WrittenLine::Search => &[("enter", "search"), ("esc", "leave")],
            },
        })
    }

    /// The keys that work here, as many as there is room for.
    pub(crate) fn footer(&self, width: usize) -> Vec<FooterKey> {
        if let Some(keys) = self.keys_in_front() {
            let key = |(name, label): &(&str, &'static str)| {
                let key = Key::parse(name)?;
                Some(FooterKey { key, label })
            };
            return keys.iter().filter_map(key).collect();
        }
        let mut keys: Vec<FooterKey> = Vec::new();
        for scope in self.scopes() {
            for row in self.options.keymap.of(scope) {
                let binding = row.binding;
                let hidden = binding.label.is_empty() || (binding.changes && !self.may_change());
                let Some(key) = row.keys.first().filter(|_| !hidden) else {
                    continue;
                };
                if keys.iter().all(|known| known.key != *key) {
                    let resumes = binding.action == Action::Pause && self.is_paused();
                    keys.push(FooterKey {
                        key: *key,
                        label: if resumes { "resume" } else { binding.label },
                    });
                }
            }
        }
        let is_last = |key: &FooterKey| matches!(key.label, "help" | "quit" | "back" | "resume");
        let last = keys.iter().filter(|key| is_last(key));
        let last: usize = last.map(FooterKey::width).sum();
        let mut left = width.saturating_sub(MARGIN + last);
        // The ways out, and to all the others, must always be seen; and the way out of a pause.
        keys.retain(|key| {
            let fits = is_last(key) || key.width() <= left;
            if fits && !is_last(key) {
                left -= key.width();
            }
            fits
        });
        keys
    }
}

/// Which of these is at a column.
pub(crate) fn at_column<T>(
    items: impl IntoIterator<Item = (T, usize)>,
    column: usize,
) -> Option<T> {
    let mut end = MARGIN;
    if column < end {
        return None;
    }
    items.into_iter().find_map(|(item, width)| {
        end += width;
        (column < end).then_some(item)
    })
}
