//! What was thrown away: the trashes that are there, and what is in the one that was opened.

use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::trash::Trash;

use super::list::Position;
use super::window::Window;
use crate::keymap::Action;
use crate::message::Command;

/// The trashes.
#[derive(Debug, Default)]
pub(crate) struct Trashes {
    /// Those there are, the newest first; `None` before they were read.
    pub(crate) list: Option<Vec<Trash>>,
    /// Where the cursor is among them.
    pub(crate) at: Position,
    /// The one opened, by its name, and what is in it.
    pub(crate) open: Option<(String, Window<DeadLetter>)>,
    asked: bool,
    fresh: bool,
}

impl Trashes {
    /// What was read may be out of date, and reading may be tried again.
    pub(crate) fn age(&mut self) {
        (self.asked, self.fresh) = (false, false);
        if let Some((_, window)) = &mut self.open {
            window.age();
        }
    }

    /// What must be read for the screen to be true.
    pub(crate) fn wants(&mut self, height: usize) -> Option<Command> {
        if let Some((name, window)) = &mut self.open {
            let (start, count) = window.wants(height)?;
            return Some(Command::LookInTrash {
                name: name.clone(),
                start,
                count,
            });
        }
        if self.fresh || self.asked {
            return None;
        }
        self.asked = true;
        Some(Command::ReadTrashes)
    }

    /// Takes the trashes that are there; the cursor stays on the one it was on.
    pub(crate) fn learn(&mut self, list: Vec<Trash>, height: usize) {
        let here = self.under_cursor().map(|trash| trash.name.clone());
        if let Some(at) = list
            .iter()
            .position(|trash| Some(&trash.name) == here.as_ref())
        {
            self.at.cursor = at;
        }
        self.at.keep(list.len(), height);
        (self.list, self.asked, self.fresh) = (Some(list), false, true);
    }

    /// Takes what is in a trash.
    pub(crate) fn look(
        &mut self,
        name: &str,
        start: u64,
        total: u64,
        letters: Vec<DeadLetter>,
        height: usize,
    ) {
        if let Some((open, window)) = &mut self.open
            && open == name
        {
            window.learn(start, total, letters, height);
        }
    }

    /// The trash under the cursor, which is the one opened where one is.
    pub(crate) fn under_cursor(&self) -> Option<&Trash> {
        self.list.as_ref()?.get(self.at.cursor)
    }

    /// The dead letter under the cursor, in the one opened.
    pub(crate) fn letter(&self) -> Option<&DeadLetter> {
        let (_, window) = self.open.as_ref()?;
        window.row(window.at.cursor)
    }

    /// The cursor of the list in front, and how many rows it has.
    pub(crate) fn cursor(&mut self) -> (&mut Position, usize) {
        if let Some((_, window)) = &mut self.open {
            let count = window.count();
            return (&mut window.at, count);
        }
        (&mut self.at, self.list.as_ref().map_or(0, Vec::len))
    }

    /// Takes a key of the lists.
    pub(crate) fn act(&mut self, action: Action, height: usize) {
        match (&mut self.open, action) {
            (Some((_, window)), action) => {
                window.act(action, height);
            }
            (None, Action::Open) => {
                let name = self.under_cursor().map(|trash| trash.name.clone());
                self.open = name.map(|name| (name, Window::default()));
            }
            (None, action) => {
                let count = self.list.as_ref().map_or(0, Vec::len);
                self.at.act(action, count, height);
            }
        }
    }

    /// Goes one step back; returns whether there was one.
    pub(crate) fn back(&mut self) -> bool {
        self.open.take().is_some()
    }
}
