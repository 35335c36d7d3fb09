//! A list that is read in windows and moves under one's eyes: nothing in it is held on to.

use super::list::Position;
use crate::keymap::Action;

/// Rows read at once beyond the screen.
const MARGIN: usize = 40;

/// What is known of such a list.
#[derive(Debug)]
pub(crate) struct Window<T> {
    /// How many rows there are in all.
    pub(crate) total: u64,
    /// Where the cursor is.
    pub(crate) at: Position,
    start: usize,
    rows: Vec<T>,
    stale: bool,
    asked: bool,
    /// Whether anything has been read yet.
    pub(crate) known: bool,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            total: 0,
            at: Position::default(),
            start: 0,
            rows: Vec::new(),
            stale: true,
            asked: false,
            known: false,
        }
    }
}

impl<T> Window<T> {
    /// How many rows there are.
    pub(crate) fn count(&self) -> usize {
        usize::try_from(self.total).unwrap_or(usize::MAX)
    }

    /// A row, where it is known.
    pub(crate) fn row(&self, n: usize) -> Option<&T> {
        self.rows.get(n.checked_sub(self.start)?)
    }

    /// What was read may be out of date, and reading may be tried again.
    pub(crate) fn age(&mut self) {
        self.stale = true;
        self.asked = false;
    }

    /// Takes rows that were read.
    pub(crate) fn learn(&mut self, start: u64, total: u64, rows: Vec<T>, height: usize) {
        self.start = usize::try_from(start).unwrap_or(usize::MAX);
        self.total = total;
        self.rows = rows;
        self.asked = false;
        self.known = true;
        self.at.keep(self.count(), height);
    }

    /// What must be read: from which row on, and how many.
    pub(crate) fn wants(&mut self, height: usize) -> Option<(u64, u64)> {
        let seen = self.at.rows(self.count(), height);
        let missing = seen.clone().any(|row| self.row(row).is_none());
        if self.asked || !(self.stale || missing) {
            return None;
        }
        self.asked = true;
        self.stale = false;
        let start = self.at.top.saturating_sub(MARGIN);
        Some((start as u64, (height + 2 * MARGIN) as u64))
    }

    /// Moves as the action says.
    pub(crate) fn act(&mut self, action: Action, height: usize) -> bool {
        let count = self.count();
        self.at.act(action, count, height)
    }
}
