//! Marks: one by one, all that match, or a range whose rows must be read to be marked.

use std::collections::{HashMap, HashSet};

use bridge_shared::store::dead_letters::DeadLetter;

use super::Dlq;
use crate::message::Command;

/// Rows that one range of marks may span: each must be read to be marked.
const RANGE: usize = 10_000;

/// An end of a range of marks: its place, and the id there.
pub(super) type End = (u64, String);

/// Marked dead letters. They stay marked while the list scrolls and changes.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Whether all that match the filter are marked, `ids` then being those that are not.
    pub(super) all: bool,
    /// Ids, and where they were last seen.
    pub(super) ids: HashMap<String, u64>,
}

impl Marks {
    /// Whether this one is marked.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.all != self.ids.contains_key(id)
    }

    /// Whether any are, as far as is known.
    pub(crate) fn any(&self) -> bool {
        self.all || !self.ids.is_empty()
    }

    /// How many are, `matching` being how many there are in all.
    pub(crate) fn count(&self, matching: u64) -> u64 {
        let ids = self.ids.len() as u64;
        if self.all {
            matching.saturating_sub(ids)
        } else {
            ids
        }
    }

    /// The ids that are marked one by one.
    pub(super) fn ids(&self) -> HashSet<String> {
        if self.all {
            HashSet::new()
        } else {
            self.ids.keys().cloned().collect()
        }
    }

    /// The ids that are marked one by one, where they are wanted.
    pub(crate) fn listed(&self, wanted: bool) -> Vec<String> {
        let ids = self.ids.keys().filter(|_| wanted);
        ids.cloned().collect()
    }

    pub(super) fn toggle(&mut self, letter: &DeadLetter) {
        if self.ids.remove(letter.id()).is_none() {
            self.ids.insert(letter.id().to_owned(), letter.from_end());
        }
    }

    pub(super) fn set(&mut self, letter: &DeadLetter) {
        if self.all {
            self.ids.remove(letter.id());
        } else {
            self.ids.insert(letter.id().to_owned(), letter.from_end());
        }
    }
}

impl Dlq {
    /// How many of the marked ones the filter hides, as far as is known.
    pub(crate) fn hidden(&self) -> u64 {
        let Some(search) = self.listed().filter(|_| !self.marks.all) else {
            return 0;
        };
        let hidden = self.marks.ids.keys().filter(|id| search.hides(id));
        hidden.count() as u64
    }

    /// Whether a row lies between the beginning of a range of marks and the cursor.
    pub(crate) fn in_range(&self, row: usize) -> bool {
        self.range.as_ref().is_some_and(|(from, _)| {
            let from = self.row_of(*from);
            (from.min(self.at.cursor)..=from.max(self.at.cursor)).contains(&row)
        })
    }

    pub(super) fn mark_range(&mut self) -> Vec<Command> {
        let here = self.under_cursor().map(|letter| letter.id().to_owned());
        let Some(here) = self.place(self.at.cursor).zip(here) else {
            return Vec::new();
        };
        let Some(from) = self.range.take() else {
            self.range = Some(here);
            return Vec::new();
        };
        let (first, last) = (self.row_of(from.0), self.at.cursor);
        let rows = first.min(last)..first.max(last) + 1;
        if rows.len() > RANGE {
            self.mistake = Some(format!(
                "a range goes over {RANGE} rows at most; for more use * or a filter"
            ));
            return Vec::new();
        }
        let places: Vec<u64> = rows.filter_map(|row| self.place(row)).collect();
        self.marking = Some(([from, here], places.clone()));
        self.asked = Some(places.clone());
        vec![Command::ReadLetters(places)]
    }

    /// Marks a range that was read, if all of it is there and its ends are what they were.
    pub(super) fn mark(&mut self, letters: &[DeadLetter], ends: &[End; 2], places: &[u64]) {
        let read: HashMap<u64, &DeadLetter> = letters
            .iter()
            .map(|letter| (letter.from_end(), letter))
            .collect();
        let same = |(place, id): &End| read.get(place).is_some_and(|l| l.id() == id);
        let range: Vec<&DeadLetter> = places.iter().filter_map(|p| read.get(p).copied()).collect();
        if ends.iter().all(same) && range.len() == places.len() {
            for letter in range {
                self.marks.set(letter);
            }
        } else {
            let why = "somebody else changed the list meanwhile; mark the range again";
            self.mistake = Some(why.into());
        }
    }
}
