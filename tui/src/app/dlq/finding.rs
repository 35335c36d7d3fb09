//! The filter, the groups, and the searches that they want.

use bridge_shared::filter::Filter;

use super::{Dlq, Marks, View};
use crate::app::list::Position;
use crate::app::search::Search;
use crate::groups::Group;
use crate::message::{Command, Scanned};

impl Dlq {
    /// The search whose matches are the list; none where all are.
    pub(super) fn listed(&self) -> Option<&Search> {
        self.search.as_ref().filter(|_| !self.filter.is_empty())
    }

    /// The filter in force.
    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
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

    pub(super) fn search_now(&mut self) -> Vec<Command> {
        self.searches += 1;
        self.search = Some(Search::new(self.searches, self.marks.ids()));
        self.next = None;
        self.scan()
    }

    /// Searches anew behind the matches that are shown.
    pub(super) fn search_again(&mut self) -> Vec<Command> {
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

    /// Takes a part of a search.
    pub(crate) fn found(&mut self, part: Scanned, height: usize) {
        let row_before = self.at.cursor;
        let group = self.groups().get(self.groups_at.cursor);
        let group = group.map(|group| group.cause.id.clone());
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
        // The cursor stays on its cause, wherever that is now; at the top it stays on the most
        // frequent.
        let there = |cause: String| self.groups().iter().position(|of| of.cause.id == cause);
        if self.groups_at.cursor > 0
            && let Some(there) = group.and_then(there)
        {
            self.groups_at.cursor = there;
        }
        self.groups_at.keep(self.groups().len(), height);
        if self.search.as_ref().is_some_and(|search| search.finished) {
            self.stale = true;
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

    pub(super) fn group_filter(&self, group: &Group) -> String {
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
}
