//! The help: the keys of the screen in front, in rows that fit.

use super::App;
use crate::layout;
use crate::text::wrap;

/// Columns for the keys.
pub(crate) const KEYS: usize = 15;

/// A row of the help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Row {
    /// Between two scopes.
    Blank,
    /// Where the keys below it mean something.
    Scope(&'static str),
    /// Keys, none where the row goes on with the one above; and what they do.
    Keys(String, String),
}

impl App {
    /// All of the help.
    pub(crate) fn help(&self) -> Vec<Row> {
        let (width, _) = layout::help(layout::areas(self.size).body);
        let mut rows = Vec::new();
        for scope in self.scopes() {
            if !rows.is_empty() {
                rows.push(Row::Blank);
            }
            rows.push(Row::Scope(scope.title()));
            for row in self.options.keymap.of(scope) {
                if row.binding.changes && !self.may_change() {
                    continue;
                }
                let mut keys = row.keys();
                let told = wrap(row.binding.help, width.saturating_sub(KEYS));
                rows.extend(
                    told.into_iter()
                        .map(|told| Row::Keys(std::mem::take(&mut keys), told)),
                );
            }
        }
        rows
    }
}
