//! What comes in, and what goes out: the console's state changes by messages only, and touches the
//! world by commands only.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bridge_shared::cause::Cause;
use bridge_shared::filter::Filter;
use bridge_shared::stats::{Minute, Snapshot, StationStats};
use bridge_shared::store::StoreError;
use bridge_shared::store::condition::Condition;
use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::look::{AuditEntry, Entry, Stage};
use bridge_shared::store::trash::Trash;
use bridge_shared::triage::{Asked, Matching, Report};
use bytes::Bytes;
use crossterm::event::{KeyEvent, MouseEvent};

use crate::app::live::Told;
use crate::groups::Group;
use crate::screen::Screen;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Message {
    /// A key was pressed.
    Key(KeyEvent),
    /// The mouse was clicked, or its wheel turned.
    Mouse(MouseEvent),
    /// Text was pasted.
    Paste(String),
    /// The terminal has this many columns and rows now.
    Size(u16, u16),
    /// Time has passed, and nothing else.
    Tick,
    /// The state of the server.
    Condition(Box<Condition>),
    /// Every figure, read in one step.
    Reading(Box<Snapshot>),
    /// How long the last reading took, from the question to the answer.
    Took(Duration),
    /// Redis did not answer a reading.
    Trouble(StoreError),
    /// Redis answers, but not what this screen asks for.
    Refused(Screen, StoreError),
    /// What happened minute by minute; those known before are replaced.
    Minutes(Vec<Minute>),
    /// The newest dead letters, by cause: how many were looked at, and the causes, the most
    /// frequent first.
    Causes(u64, Vec<(Cause, u64)>),
    /// Dead letters that were asked for, and how many there are in all.
    Letters {
        /// Those read; not all that were asked for may be there any more.
        letters: Vec<DeadLetter>,
        /// How many there are.
        total: u64,
    },
    /// A part of a search through the dead letters.
    Scanned(Scanned),
    /// Events as they came, and how many more came that are not among them.
    Events(Vec<Told>, u64),
    /// Events of a newer version came.
    Newer {
        /// Which version; 0 where it could not be read.
        version: u32,
        /// Messages that could not be read at all.
        unread: u64,
    },
    /// The trashes that are there.
    Trashes(Vec<Trash>),
    /// Dead letters in the trash of a name.
    InTrash {
        /// The trash.
        name: String,
        /// The first row.
        start: u64,
        /// How many there are in all.
        total: u64,
        /// Those read.
        letters: Vec<DeadLetter>,
    },
    /// Leads of a stage that were looked at.
    Looked {
        /// The stage.
        stage: Stage,
        /// The first row.
        start: u64,
        /// How many there are in all.
        total: u64,
        /// Those read.
        entries: Vec<Entry>,
    },
    /// The newest entries of the audit, and how many there are in all.
    Audit(u64, Vec<AuditEntry>),
    /// A lead came back from the editor.
    Edited {
        /// The dead letter it belongs to.
        dead: DeadLetter,
        /// What is in the editor's file, or why there is nothing.
        text: Result<String, String>,
    },
    /// What every station did in these hours.
    Stations(u16, Vec<StationStats>),
    /// A lead was tried: what came of it, or why nothing did.
    Tried(DeadLetter, Result<serde_json::Value, String>),
    /// A piece of work under way has come this far.
    Progress(u64),
    /// A piece of work has ended.
    Ended(Ended),
    /// Whether the workers are paused was set: so it is now, and whether that changed anything.
    Paused {
        /// What was asked for.
        paused: bool,
        /// Whether it was otherwise before; or why it was not done.
        changed: Result<bool, String>,
    },
    /// Something to tell, from outside.
    Told(Level, String),
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Done as asked.
    Good,
    /// Good to know.
    Note,
    /// Not done, or not all.
    Bad,
}

/// A part of a search through the dead letters, newest first.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Which search; one that was given up may still speak.
    pub(crate) search: u64,
    /// How many have been looked at in all.
    pub(crate) seen: u64,
    /// How many there were at the beginning.
    pub(crate) total: u64,
    /// Places, counted from the oldest, of the matches since the last part, newest first.
    pub(crate) places: Vec<u64>,
    /// Matches since the last part, by cause.
    pub(crate) groups: Vec<Group>,
    /// Those of the marked ones that match, since the last part.
    pub(crate) marked: Vec<String>,
    /// Whether that was the last part.
    pub(crate) finished: bool,
}

/// Something to be done outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Read the minutes of the last day again.
    ReadMinutes,
    /// Read dead letters by their places counted from the oldest.
    ReadLetters(Vec<u64>),
    /// Read a window of the dead letters, newest first.
    ReadWindow {
        /// The first index, 0 the newest.
        start: u64,
        /// How many.
        count: u64,
    },
    /// Search all dead letters; a search under way is given up.
    Scan {
        /// Its number.
        search: u64,
        /// What to look for.
        filter: Filter,
        /// Ids that are marked, to be told of where they match.
        marked: HashSet<String>,
    },
    /// Look which trashes there are.
    ReadTrashes,
    /// Look into a trash, from a row on.
    LookInTrash {
        /// Its name.
        name: String,
        /// The first row.
        start: u64,
        /// How many.
        count: u64,
    },
    /// Look at leads of a stage, from a row on.
    Look {
        /// The stage.
        stage: Stage,
        /// The first row.
        start: u64,
        /// How many.
        count: u64,
    },
    /// Read the newest entries of the audit.
    ReadAudit(u64),
    /// Read what every station did in these last hours.
    ReadStations(u16),
    /// Listen to the events, or no longer.
    Listen(bool),
    /// Read every figure at once, and not only at the next turn.
    Refresh,
    /// Do a piece of work; there is one at a time.
    Do(Work),
    /// Let a worker bring a lead along its route, dry.
    Try(DeadLetter),
    /// Stop the piece of work under way.
    Stop,
    /// Pause the workers, or resume them, whichever they are.
    SetPaused(bool),
    /// Open a lead in the editor; this text, where it was there before.
    Edit(DeadLetter, Option<String>),
    /// Write this text to a new file of this name.
    Save(String, String),
    /// Put a text into the terminal's clipboard.
    Copy(String),
    /// Draw everything anew.
    Redraw,
    /// Stop as a shell's job does.
    Suspend,
}

/// Work that takes a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Move dead letters.
    Move {
        /// Which.
        which: Which,
        /// Into a trash of this name; back to work where there is none.
        trash: Option<String>,
    },
    /// Put dead letters of other queues into this one: those of these ids, with their last places.
    IntoThisQueue(HashMap<String, u64>),
    /// Put a dead letter back to work with another lead, which stands in it already.
    Edited(DeadLetter),
    /// Take back leads that were put back to work: as they wait, and as they were dead.
    Recall(Vec<(Bytes, Bytes)>),
    /// Throw all dead letters that there were when it was asked into a trash of this name.
    Clear(String, Asked),
    /// Bring back what is in the trash of this name.
    Restore(String),
    /// Write dead letters to this file.
    Export(Which, String),
}

/// Which dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// These.
    These(Vec<DeadLetter>),
    /// Those of these ids, with the places they were last seen at.
    Ids(HashMap<String, u64>),
    /// All that match.
    Matching(Matching),
}

/// How a piece of work ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What it was.
    pub(crate) work: Work,
    /// What was done and what was not.
    pub(crate) report: Report,
    /// What went wrong, where it did.
    pub(crate) error: Option<String>,
}
