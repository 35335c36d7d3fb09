//! A cursor and a window in a list of rows.

use crate::keymap::Action;

/// Where the cursor is, and which row is the first on the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The row under the cursor.
    pub(crate) cursor: usize,
    /// The first row on the screen.
    pub(crate) top: usize,
}

impl Position {
    /// Moves as the action says; returns whether it was one of moving.
    pub(crate) fn act(&mut self, action: Action, count: usize, height: usize) -> bool {
        let last = count.saturating_sub(1);
        let half = (height / 2).max(1);
        let down = |rows: usize| self.cursor.saturating_add(rows).min(last);
        self.cursor = match action {
            Action::Down => down(1),
            Action::Up => self.cursor.saturating_sub(1),
            Action::HalfPageDown => down(half),
            Action::HalfPageUp => self.cursor.saturating_sub(half),
            Action::PageDown => down(height.max(1)),
            Action::PageUp => self.cursor.saturating_sub(height.max(1)),
            Action::ToTop => 0,
            Action::ToBottom => last,
            _ => return false,
        };
        self.keep(count, height);
        true
    }

    /// Keeps the cursor in the list and on the screen.
    pub(crate) fn keep(&mut self, count: usize, height: usize) {
        let height = height.max(1);
        self.cursor = self.cursor.min(count.saturating_sub(1));
        let lowest = (self.cursor + 1).saturating_sub(height);
        let last_top = count.saturating_sub(height);
        self.top = self
            .top
            .clamp(lowest, self.cursor.max(lowest))
            .min(last_top.max(lowest));
    }

    /// The rows on the screen.
    pub(crate) fn rows(&self, count: usize, height: usize) -> std::ops::Range<usize> {
        self.top.min(count)..(self.top + height).min(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_in_the_list_and_on_the_screen() {
        let mut at = Position::default();
        for (action, cursor, top) in [
            (Action::Up, 0, 0),
            (Action::Down, 1, 0),
            (Action::PageDown, 11, 2),
            (Action::HalfPageUp, 6, 2),
            (Action::ToBottom, 99, 90),
            (Action::Down, 99, 90),
            (Action::PageUp, 89, 89),
            (Action::ToTop, 0, 0),
        ] {
            assert!(at.act(action, 100, 10));
            assert_eq!((at.cursor, at.top), (cursor, top), "{action:?}");
        }
        assert!(!at.act(Action::Retry, 100, 10));
        let mut at = Position {
            cursor: 99,
            top: 90,
        };
        at.keep(5, 10);
        assert_eq!(at, Position { cursor: 4, top: 0 });
        at.keep(0, 10);
        assert_eq!((at, at.rows(0, 10)), (Position::default(), 0..0));
    }
}
