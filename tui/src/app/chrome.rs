//! What stands around every screen and can be pointed at: the screens, and the keys.

use unicode_width::UnicodeWidthStr as _;

use super::App;
use crate::keymap::Key;
use crate::screen::Screen;
use crate::text::thousands;

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
    /// The screens, as the tabs have them.
    pub(crate) fn tabs(&self) -> impl Iterator<Item = (Screen, String)> {
        (1..).zip(Screen::ALL).map(|(number, screen)| {
            let here = screen == self.screen;
            let (open, close) = if here { ("[", "]") } else { (" ", " ") };
            let figures = self.figures.as_ref();
            let dead = figures.map_or(0, |(figures, _)| figures.dead);
            let count = if screen == Screen::Dlq && dead > 0 {
                format!(" {}", thousands(dead))
            } else {
                String::new()
            };
            (
                screen,
                format!("{open}{number} {}{count}{close}", screen.title()),
            )
        })
    }

    /// The keys that work here, as many as there is room for.
    pub(crate) fn footer(&self, width: usize) -> Vec<FooterKey> {
        let mut used = MARGIN;
        let mut keys: Vec<FooterKey> = Vec::new();
        for scope in self.scopes() {
            for row in self.options.keymap.of(scope) {
                let binding = row.binding;
                let hidden = binding.label.is_empty() || (binding.changes && !self.may_change());
                let Some(key) = row.keys.first().filter(|_| !hidden) else {
                    continue;
                };
                let key = FooterKey {
                    key: *key,
                    label: binding.label,
                };
                // The way to all the others must always be seen.
                let last = matches!(key.label, "help" | "quit" | "back");
                let room = last || used + key.width() + 16 <= width;
                if room && keys.iter().all(|known| known.key != key.key) {
                    used += key.width();
                    keys.push(key);
                }
            }
        }
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
