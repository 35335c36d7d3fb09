//! The dead letters: a list of which only a window is ever in memory, with marks, a filter, groups
//! and one letter opened.
//!
//! - [`rows`]: the window
//! - [`marks`]: what is marked; [`chosen`]: what a key is about
//! - [`finding`]: the filter, the groups, and their searches

mod chosen;
mod finding;
mod marks;
mod rows;

use std::collections::{BTreeMap, HashMap};

use bridge_shared::clock::Millis;
use bridge_shared::filter::Filter;
use bridge_shared::store::dead_letters::DeadLetter;
use bytes::Bytes;

pub(crate) use chosen::{Chosen, Unchosen, not_read, one};
use marks::{End, Marks};

use super::complete::Writing;
use super::letter::Letter;
use super::list::Position;
use super::search::Search;
use crate::keymap::Action;
use crate::message::Command;

/// What the screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum View {
    /// The list.
    #[default]
    List,
    /// The causes.
    Groups,
    /// One dead letter.
    Letter,
    /// What was thrown away.
    Trash,
}

/// Something that can be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undo {
    /// This many were thrown into the trash of this name.
    Trash(String, u64),
    /// These were put back to work: as they wait, and as they were dead.
    Retried(Vec<(Bytes, Bytes)>),
}

/// The dead letter screen.
#[derive(Debug, Default)]
pub(crate) struct Dlq {
    /// How many dead letters there are; `None` before that was read.
    pub(crate) total: Option<u64>,
    /// What is shown.
    pub(crate) view: View,
    /// The filter in force, as it was written.
    pub(crate) filter_text: String,
    filter: Filter,
    /// The filter being written.
    pub(crate) writing: Option<Writing>,
    /// What is wrong with what is being written.
    pub(crate) mistake: Option<String>,
    /// Something to be said.
    pub(crate) told: Option<&'static str>,
    /// The search for what the filter, or the groups, want.
    pub(crate) search: Option<Search>,
    /// A search that takes the place of the other one when it is finished.
    next: Option<Search>,
    searches: u64,
    /// What is known of the list, by place; `None` where nothing was found at a place.
    rows: BTreeMap<u64, Option<DeadLetter>>,
    /// Whether the rows may be out of date.
    stale: bool,
    /// Places being read.
    asked: Option<Vec<u64>>,
    /// Whether reading failed and waits for the next sign of life.
    blocked: bool,
    /// Where the cursor is.
    pub(crate) at: Position,
    /// The place and id under the cursor: it stays there while the list changes.
    anchor: Option<(u64, Option<String>)>,
    /// The marks.
    pub(crate) marks: Marks,
    /// Where a range of marks begins: the place, and the id there.
    pub(crate) range: Option<End>,
    /// A range of marks whose rows are being read: its ends, and all its places.
    marking: Option<([End; 2], Vec<u64>)>,
    /// The filter from before a group was looked into.
    before_group: Option<String>,
    /// Where the cursor is among the groups.
    pub(crate) groups_at: Position,
    /// The one opened.
    pub(crate) letter: Option<Letter>,
    /// What can be undone, the last thing done last.
    pub(crate) undos: Vec<Undo>,
    /// Dead, and moved by hands, at the last reading.
    known: (u64, u64),
}

impl Dlq {
    /// How many rows the list has.
    pub(crate) fn count(&self) -> usize {
        match self.listed() {
            Some(search) => search.count(),
            None => usize::try_from(self.total()).unwrap_or(usize::MAX),
        }
    }

    /// How many dead letters there are, as far as this screen knows.
    fn total(&self) -> u64 {
        self.total.unwrap_or(0)
    }

    /// How many dead letters match the filter; `None` while they are being counted.
    pub(crate) fn matching(&self) -> Option<u64> {
        match self.listed() {
            Some(search) => search.finished.then_some(search.count() as u64),
            None => self.total,
        }
    }

    /// Takes a key of the list; returns what is to be done, or `None` where it means nothing here.
    pub(crate) fn act(&mut self, action: Action, height: usize) -> Option<Vec<Command>> {
        let count = self.count();
        match action {
            Action::Mark => {
                if let Some(letter) = self.letter_at(self.at.cursor).cloned() {
                    self.marks.toggle(&letter);
                    self.at.act(Action::Down, count, height);
                }
            }
            Action::MarkAll => {
                let none = self.marks.count(1) == 0 && self.marks.ids.is_empty();
                self.marks = Marks {
                    all: none,
                    ids: HashMap::new(),
                };
            }
            Action::MarkRange => return Some(self.mark_range()),
            Action::Filter => {
                self.writing = Some(Writing::new(self.filter_text.clone()));
                self.mistake = None;
            }
            Action::Groups => return Some(self.fold()),
            Action::Open => {
                let letter = self.under_cursor().cloned()?;
                self.letter = Some(Letter::new(letter));
                self.view = View::Letter;
            }
            action => {
                if !self.at.act(action, count, height) {
                    return None;
                }
            }
        }
        self.drop_anchor();
        Some(Vec::new())
    }

    /// Goes one step back; returns whether there was one.
    pub(crate) fn back(&mut self) -> Option<Vec<Command>> {
        self.mistake = None;
        if self.letter.as_mut().is_some_and(Letter::leave_search) {
        } else if self.view != View::List {
            self.leave_letter();
        } else if self.range.take().is_some() {
        } else if self.marks.all || !self.marks.ids.is_empty() {
            self.marks = Marks::default();
        } else if let Some(before) = self.before_group.take() {
            // Back to the groups, and to the filter they were made with.
            self.view = View::Groups;
            return self.set_filter(&before).ok();
        } else if self.filter.is_empty() {
            return None;
        } else {
            return self.set_filter("").ok();
        }
        Some(Vec::new())
    }

    /// Goes to the list from what is open.
    pub(crate) fn leave_letter(&mut self) {
        self.view = View::List;
        self.letter = None;
    }

    /// Takes note that a piece of work is done: what has gone with it is no longer marked.
    pub(crate) fn done<'a>(&mut self, gone: impl Iterator<Item = &'a String>) {
        if self.marks.all {
            self.marks = Marks::default();
        }
        for id in gone {
            self.marks.ids.remove(id);
        }
        self.range = None;
        self.stale = true;
        if self.view == View::Letter {
            self.leave_letter();
        }
    }

    /// Counts the lines of the opened letter, for its keys.
    pub(crate) fn act_on_letter(
        &mut self,
        action: Action,
        width: usize,
        height: usize,
        now: Millis,
    ) -> bool {
        self.letter
            .as_mut()
            .is_some_and(|letter| letter.act(action, width, height, now))
    }
}
