//! The rows in memory: a window of the list around the screen, and the cursor, which stays on its
//! letter while the list changes.

use std::collections::BTreeMap;

use bridge_shared::stats::Snapshot;
use bridge_shared::store::dead_letters::DeadLetter;

use super::Dlq;
use crate::keymap::Action;
use crate::message::Command;

/// Rows read beyond the screen on either side, so that a step needs no new reading.
const MARGIN: usize = 60;

impl Dlq {
    pub(super) fn place(&self, row: usize) -> Option<u64> {
        match self.listed() {
            Some(search) => search.place(row),
            None => self
                .total()
                .checked_sub(row as u64)
                .filter(|place| *place > 0),
        }
    }

    pub(super) fn row_of(&self, place: u64) -> usize {
        match self.listed() {
            Some(search) => search.row(place),
            None => usize::try_from(self.total().saturating_sub(place)).unwrap_or(usize::MAX),
        }
    }

    /// The dead letter of a row, where it is known.
    pub(crate) fn letter_at(&self, row: usize) -> Option<&DeadLetter> {
        self.rows.get(&self.place(row)?)?.as_ref()
    }

    /// The dead letter under the cursor.
    pub(crate) fn under_cursor(&self) -> Option<&DeadLetter> {
        self.letter_at(self.at.cursor)
    }

    /// Whether what an action is about is still being read: the row under the cursor, the marks, the
    /// end of the list, or all of it.
    pub(crate) fn awaits(&self, action: Action) -> bool {
        let searching = self.listed().is_some_and(|search| !search.finished);
        let nothing_yet = match self.listed() {
            Some(search) => searching && search.count() == 0,
            None => self.total.is_none(),
        };
        let row = || {
            let place = self.place(self.at.cursor);
            nothing_yet || place.is_some_and(|place| !self.rows.contains_key(&place))
        };
        let marked = || self.marking.is_some() || (self.marks.all && searching);
        match action {
            Action::Mark | Action::MarkRange => self.marking.is_some() || row(),
            Action::Retry | Action::Drop if self.marking.is_some() || self.marks.any() => marked(),
            Action::Open
            | Action::Edit
            | Action::Try
            | Action::Copy
            | Action::Retry
            | Action::Drop => row(),
            Action::Export => nothing_yet || searching || marked(),
            Action::RetryMatching | Action::ToBottom => nothing_yet || searching,
            Action::ClearAll => self.total.is_none(),
            action => action.moves() && nothing_yet,
        }
    }

    /// The dead letters that are in memory.
    pub(crate) fn known(&self) -> impl Iterator<Item = &DeadLetter> {
        self.rows.values().flatten()
    }

    /// Takes a reading: where the queue has changed, what is shown must be read again.
    pub(crate) fn read(&mut self, figures: &Snapshot) -> Vec<Command> {
        self.blocked = false;
        let totals = &figures.totals;
        let known = (
            figures.dead,
            totals.redriven + totals.dropped + totals.restored,
        );
        let changed = known != self.known;
        self.known = known;
        if !changed {
            return Vec::new();
        }
        self.stale = true;
        if self.search.is_some() {
            self.search_again()
        } else {
            Vec::new()
        }
    }

    /// Reading failed: no more of it until the next sign of life.
    pub(crate) fn trouble(&mut self) {
        self.asked = None;
        self.marking = None;
        self.stale = true;
        self.blocked = true;
    }

    /// Takes dead letters that were read.
    pub(crate) fn learn(&mut self, letters: Vec<DeadLetter>, total: u64, height: usize) {
        let asked = self.asked.take().unwrap_or_default();
        let row_before = self.at.cursor;
        self.total = Some(total);
        let kept = match self.marking.take() {
            Some((ends, places)) => {
                self.mark(&letters, &ends, &places);
                std::mem::take(&mut self.rows)
            }
            None => BTreeMap::new(),
        };
        self.rows = kept;
        self.rows
            .extend(asked.into_iter().map(|place| (place, None)));
        let read = letters.into_iter();
        self.rows
            .extend(read.map(|letter| (letter.from_end(), Some(letter))));
        self.follow(row_before, height);
    }

    /// Keeps the cursor on the letter it was on, wherever that is now.
    pub(super) fn follow(&mut self, row_before: usize, height: usize) {
        if let Some((place, id)) = &self.anchor {
            let there = |place: &u64| {
                let found = self.rows.get(place)?.as_ref()?;
                (Some(found.id()) == id.as_deref()).then_some(*place)
            };
            let place = match id {
                Some(_) if there(place).is_none() => {
                    let mut elsewhere = self.rows.keys().filter_map(there);
                    elsewhere.next().unwrap_or(*place)
                }
                _ => *place,
            };
            self.at.cursor = self.row_of(place);
        }
        if self.at.top > 0 {
            // The screen moves along, so that the line under the cursor stays where it is.
            let moved = self.at.cursor.abs_diff(row_before);
            self.at.top = if self.at.cursor > row_before {
                self.at.top + moved
            } else {
                self.at.top.saturating_sub(moved)
            };
        }
        self.at.keep(self.count(), height);
        self.drop_anchor();
    }

    /// Holds on to what is under the cursor now.
    pub(crate) fn drop_anchor(&mut self) {
        self.anchor = self.place(self.at.cursor).map(|place| {
            let id = self.under_cursor().map(|letter| letter.id().to_owned());
            (place, id)
        });
    }

    /// What must be read for the screen to be true.
    pub(crate) fn wants(&mut self, height: usize) -> Option<Command> {
        if self.asked.is_some() || self.blocked {
            return None;
        }
        let count = self.count();
        let seen = self.at.rows(count, height);
        let unknown = |row| {
            self.place(row)
                .is_some_and(|place| !self.rows.contains_key(&place))
        };
        if !self.stale && !seen.clone().any(unknown) {
            return None;
        }
        self.stale = false;
        let rows = seen.start.saturating_sub(MARGIN)..(seen.end + MARGIN);
        if self.listed().is_none() {
            self.asked = Some(Vec::new());
            return Some(Command::ReadWindow {
                start: rows.start as u64,
                count: rows.len() as u64,
            });
        }
        let places: Vec<u64> = rows.filter_map(|row| self.place(row)).collect();
        self.asked = Some(places.clone());
        Some(Command::ReadLetters(places))
    }
}
