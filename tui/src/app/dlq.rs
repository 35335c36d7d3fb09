//! The dead letters: a list of which only a window is ever in memory, with marks, a filter, groups
//! and one letter opened.

use std::collections::{BTreeMap, HashMap, HashSet};

use bridge_shared::clock::Millis;
use bridge_shared::filter::Filter;
use bridge_shared::stats::Snapshot;
use bridge_shared::store::dead_letters::DeadLetter;
use bytes::Bytes;

use super::complete::Writing;
use super::letter::Letter;
use super::list::Position;
use super::search::Search;
use crate::groups::Group;
use crate::keymap::Action;
use crate::message::{Command, Scanned, Which};
use bridge_shared::triage::Matching;

/// Rows read beyond the screen on either side, so that a step needs no new reading.
const MARGIN: usize = 60;
/// Rows that one range of marks may span: each must be read to be marked.
const RANGE: usize = 10_000;

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

/// Marked dead letters. They stay marked while the list scrolls and changes.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Whether all that match the filter are marked, `ids` then being those that are not.
    all: bool,
    /// Ids, and where they were last seen.
    ids: HashMap<String, u64>,
}

impl Marks {
    /// Whether this one is marked.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.all != self.ids.contains_key(id)
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
    fn ids(&self) -> HashSet<String> {
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

    fn toggle(&mut self, letter: &DeadLetter) {
        if self.ids.remove(letter.id()).is_none() {
            self.ids.insert(letter.id().to_owned(), letter.from_end());
        }
    }

    fn set(&mut self, letter: &DeadLetter) {
        if self.all {
            self.ids.remove(letter.id());
        } else {
            self.ids.insert(letter.id().to_owned(), letter.from_end());
        }
    }
}

/// Dead letters that a key is about, and how many they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Which.
    pub(crate) which: Which,
    /// How many.
    pub(crate) count: u64,
    /// In words: `3 marked dead letters`.
    pub(crate) words: String,
    /// How many of them only have a word that is like one of the filter, at most.
    pub(crate) loose: u64,
}

/// Something that can be undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Undo {
    /// This many were thrown into the trash of this name.
    Trash(String, u64),
    /// These were put back to work: as they wait, and as they were dead.
    Retried(Vec<(Bytes, Bytes)>),
}

/// An end of a range of marks: its place, and the id there.
type End = (u64, String);

/// Why nothing could be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unchosen(pub(crate) String);

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

    /// The search whose matches are the list; none where all are.
    fn listed(&self) -> Option<&Search> {
        self.search.as_ref().filter(|_| !self.filter.is_empty())
    }

    /// The filter in force.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The dead letters that are in memory.
    pub(crate) fn known(&self) -> impl Iterator<Item = &DeadLetter> {
        self.rows.values().flatten()
    }

    /// How many of the marked ones the filter hides, as far as is known.
    pub(crate) fn hidden(&self) -> u64 {
        let Some(search) = self.listed().filter(|_| !self.marks.all) else {
            return 0;
        };
        let hidden = self.marks.ids.keys().filter(|id| search.hides(id));
        hidden.count() as u64
    }

    /// The causes, the most frequent first.
    pub(crate) fn groups(&self) -> &[Group] {
        self.search.as_ref().map_or(&[], |search| &search.groups)
    }

    /// The search that is under way, if one is.
    pub(crate) fn searching(&self) -> Option<&Search> {
        let under_way = |search: &&Search| !search.finished;
        self.search.as_ref().filter(under_way)
    }

    fn place(&self, row: usize) -> Option<u64> {
        match self.listed() {
            Some(search) => search.place(row),
            None => self
                .total()
                .checked_sub(row as u64)
                .filter(|place| *place > 0),
        }
    }

    fn row_of(&self, place: u64) -> usize {
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

    /// Whether a row lies between the beginning of a range of marks and the cursor.
    pub(crate) fn in_range(&self, row: usize) -> bool {
        self.range.as_ref().is_some_and(|(from, _)| {
            let from = self.row_of(*from);
            (from.min(self.at.cursor)..=from.max(self.at.cursor)).contains(&row)
        })
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

    /// Takes a part of a search.
    pub(crate) fn found(&mut self, part: Scanned, height: usize) {
        let row_before = self.at.cursor;
        let number = part.search;
        if let Some(next) = self.next.as_mut().filter(|next| next.number == number) {
            next.learn(part);
            if next.finished {
                self.search = self.next.take();
            }
        } else if let Some(search) = self.search.as_mut().filter(|known| known.number == number) {
            search.learn(part);
        } else {
            return;
        }
        self.follow(row_before, height);
        self.groups_at.keep(self.groups().len(), height);
        if self.search.as_ref().is_some_and(|search| search.finished) {
            self.stale = true;
        }
    }

    /// Keeps the cursor on the letter it was on, wherever that is now.
    fn follow(&mut self, row_before: usize, height: usize) {
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

    fn mark_range(&mut self) -> Vec<Command> {
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
    fn mark(&mut self, letters: &[DeadLetter], ends: &[End; 2], places: &[u64]) {
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

    /// Goes from the list to the groups, or back.
    pub(crate) fn fold(&mut self) -> Vec<Command> {
        if self.view == View::Groups {
            self.view = View::List;
            return Vec::new();
        }
        self.view = View::Groups;
        self.range = None;
        self.groups_at = Position::default();
        if self.search.is_none() {
            self.search_now()
        } else {
            Vec::new()
        }
    }

    /// Takes a filter; where it is none, says why and keeps the old one.
    pub(crate) fn set_filter(&mut self, text: &str) -> Result<Vec<Command>, String> {
        let filter = Filter::parse(text).map_err(|error| error.to_string())?;
        if filter == self.filter {
            return Ok(Vec::new());
        }
        text.trim().clone_into(&mut self.filter_text);
        self.before_group = None;
        self.filter = filter;
        if self.marks.all {
            // They were all that matched; what that was goes with the filter.
            self.marks = Marks::default();
            self.told = Some(
                "the marks went with the filter they were made by; * marks all that match now",
            );
        }
        self.range = None;
        self.at = Position::default();
        self.anchor = None;
        self.search = None;
        self.next = None;
        self.stale = true;
        if self.filter.is_empty() && self.view != View::Groups {
            return Ok(Vec::new());
        }
        Ok(self.search_now())
    }

    fn search_now(&mut self) -> Vec<Command> {
        self.searches += 1;
        self.search = Some(Search::new(self.searches, self.marks.ids()));
        self.next = None;
        self.scan()
    }

    /// Searches anew behind the matches that are shown.
    fn search_again(&mut self) -> Vec<Command> {
        if self.next.is_some() || self.searching().is_some() {
            // That one sees what has changed, or the next change starts another.
            return Vec::new();
        }
        self.searches += 1;
        self.next = Some(Search::new(self.searches, self.marks.ids()));
        self.scan()
    }

    fn scan(&self) -> Vec<Command> {
        vec![Command::Scan {
            search: self.searches,
            filter: self.filter.clone(),
            marked: self.marks.ids(),
        }]
    }

    /// The marked ones, or the one under the cursor.
    pub(crate) fn chosen(&self) -> Result<Chosen, Unchosen> {
        if self.marks.all {
            let except: HashSet<String> = self.marks.ids.keys().cloned().collect();
            return self.all_matching(except);
        }
        if !self.marks.ids.is_empty() {
            let count = self.marks.ids.len() as u64;
            let mut words = crate::text::plural(count, "marked dead letter");
            let hidden = self.hidden();
            if hidden > 0 {
                words = format!(
                    "{words}, {} of them not shown,",
                    crate::text::thousands(hidden)
                );
            }
            return Ok(Chosen {
                which: Which::Ids(self.marks.ids.clone()),
                count,
                words,
                // Each of them was looked at.
                loose: 0,
            });
        }
        match self.under_cursor() {
            Some(letter) => Ok(one(letter.clone())),
            None => Err(self.nothing_here()),
        }
    }

    fn nothing_here(&self) -> Unchosen {
        match self.total {
            None => not_read(),
            Some(_) => Unchosen("there is no dead letter here".into()),
        }
    }

    /// All that match the filter.
    pub(crate) fn all_matching(&self, except: HashSet<String>) -> Result<Chosen, Unchosen> {
        let Some(matching) = self.matching() else {
            return Err(match self.total {
                None => not_read(),
                Some(_) => {
                    Unchosen("the matches are still being counted; try again in a moment".into())
                }
            });
        };
        let count = matching.saturating_sub(except.len() as u64);
        if count == 0 {
            return Err(self.nothing_here());
        }
        let mut words = format!("all {}", crate::text::plural(count, "dead letter"));
        if !self.filter.is_empty() {
            words = format!("{words} that match {}", self.filter_text);
        }
        Ok(Chosen {
            which: Which::Matching(Matching {
                filter: self.filter.clone(),
                except,
            }),
            count,
            words,
            loose: self.listed().map_or(0, Search::loose).min(count),
        })
    }

    /// The group under the cursor.
    pub(crate) fn chosen_group(&self) -> Result<Chosen, Unchosen> {
        let group = self.groups().get(self.groups_at.cursor);
        let group = group.ok_or_else(|| Unchosen("there is no group here".into()))?;
        if self.searching().is_some() {
            return Err(Unchosen(
                "the groups are still being counted; try again in a moment".into(),
            ));
        }
        let filter = self.group_filter(group);
        Ok(Chosen {
            which: Which::Matching(Matching {
                filter: Filter::parse(&filter).map_err(|error| Unchosen(error.to_string()))?,
                except: HashSet::new(),
            }),
            count: group.count,
            loose: group.loose,
            words: format!(
                "all {} of this group: {}",
                crate::text::plural(group.count, "dead letter"),
                group.cause.text
            ),
        })
    }

    fn group_filter(&self, group: &Group) -> String {
        let cause = format!("cause:{}", group.cause.id);
        if self.filter_text.is_empty() {
            cause
        } else {
            format!("{} {cause}", self.filter_text)
        }
    }

    /// Shows only the group under the cursor.
    pub(crate) fn look_into_group(&mut self) -> Vec<Command> {
        let Some(group) = self.groups().get(self.groups_at.cursor) else {
            return Vec::new();
        };
        let filter = self.group_filter(group);
        let before = self.filter_text.clone();
        self.view = View::List;
        let commands = self.set_filter(&filter).unwrap_or_default();
        self.before_group = Some(before);
        commands
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

/// Why nothing can be chosen before there was a reading.
pub(crate) fn not_read() -> Unchosen {
    Unchosen("the dead letters were not read yet".into())
}

/// One dead letter, as chosen.
pub(crate) fn one(letter: DeadLetter) -> Chosen {
    Chosen {
        words: format!("dead letter {}", letter.id()),
        which: Which::These(vec![letter]),
        count: 1,
        loose: 0,
    }
}
