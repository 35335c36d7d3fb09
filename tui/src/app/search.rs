//! A search through all dead letters: where the matches are, and what they died of.

use std::collections::{HashSet, VecDeque};

use crate::groups::{Group, Groups};
use crate::message::Scanned;

/// What a search has found so far.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Its number; answers to older ones are not for it.
    pub(crate) number: u64,
    /// How many dead letters have been looked at.
    pub(crate) seen: u64,
    /// How many there were when it began.
    pub(crate) total: u64,
    /// Whether it has come to its end.
    pub(crate) finished: bool,
    /// Places of the matches, counted from the oldest, newest first.
    places: VecDeque<u64>,
    causes: Groups,
    /// Ids that were marked when it began, and those of them that match.
    asked: HashSet<String>,
    marked: HashSet<String>,
    /// The causes of the matches, the most frequent first.
    pub(crate) groups: Vec<Group>,
}

impl Search {
    /// A search that has found nothing yet; `marked` is what is marked at its beginning.
    pub(crate) fn new(number: u64, marked: HashSet<String>) -> Self {
        Self {
            number,
            asked: marked,
            ..Self::default()
        }
    }

    /// Takes a part of the answer.
    pub(crate) fn learn(&mut self, part: Scanned) {
        self.seen = part.seen;
        self.total = part.total;
        self.finished = part.finished;
        self.places.extend(part.places);
        self.marked.extend(part.marked);
        for group in part.groups {
            self.causes.merge(group);
        }
        self.groups = self.causes.sorted();
    }

    /// How many matches.
    pub(crate) fn count(&self) -> usize {
        self.places.len()
    }

    /// How many of the matches only have a word that is like one of the filter.
    pub(crate) fn loose(&self) -> u64 {
        self.groups.iter().map(|group| group.loose).sum()
    }

    /// The place of a row.
    pub(crate) fn place(&self, row: usize) -> Option<u64> {
        self.places.get(row).copied()
    }

    /// Whether something marked is not among the matches.
    pub(crate) fn hides(&self, id: &str) -> bool {
        self.finished && self.asked.contains(id) && !self.marked.contains(id)
    }

    /// The row of a place, or of the next one after it.
    pub(crate) fn row(&self, place: u64) -> usize {
        self.places.partition_point(|known| *known > place)
    }

    /// How far it has come, in percent.
    pub(crate) fn percent(&self) -> u64 {
        (self.seen.min(self.total) * 100)
            .checked_div(self.total)
            .unwrap_or(100)
    }
}
