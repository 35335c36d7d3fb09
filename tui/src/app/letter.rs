//! One dead letter, opened: its facts, its attempts and the lead as a tree, in one list of lines.

use std::collections::HashSet;
use std::fmt::Write as _;

use bridge_shared::clock::{Millis, human_duration, parse_rfc3339, rfc3339};
use bridge_shared::filter::needle::Needle;
use bridge_shared::store::dead_letters::DeadLetter;
use crossterm::event::{KeyCode, KeyEvent};

use super::find::Find;
use super::input::Input;
use super::list::Position;
use super::tree::{Kind, Tree};
use crate::keymap::Action;
use crate::text::wrap;
use bridge_shared::row::error_or_unknown;

/// The largest lead that is shown as a tree, in bytes; and how much is shown of a larger one, and of
/// an error, so that drawing it takes no time.
const TREE: usize = 256 * 1024;
const SHOWN: usize = 32 * 1024;

/// Columns that the names of facts take.
const LABEL: usize = 11;

/// A line of an opened dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A fact: its name, empty on a line that goes on, and its value.
    Fact(&'static str, String, Tone),
    /// A heading.
    Heading(String),
    /// A failed attempt: when, where and how long; then its error on lines of their own.
    Attempt(String, Tone),
    /// A line of the lead's tree.
    Node {
        /// Its number in the tree.
        node: usize,
        /// How far it is indented, in columns.
        indent: usize,
        /// The field's name; empty on a line that goes on.
        label: String,
        /// Its value, harmless and cut.
        value: String,
        /// What it is.
        kind: Kind,
        /// Whether it is folded.
        folded: bool,
    },
    /// A line of the lead's bytes.
    Raw(String),
    /// Nothing.
    Blank,
}

/// How a value is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It is what went wrong.
    Bad,
    /// It is a fact.
    Plain,
    /// It matters less.
    Dim,
}

/// An opened dead letter.
#[derive(Debug)]
pub(crate) struct Letter {
    /// It.
    pub(crate) dead: DeadLetter,
    /// Where the reader is.
    pub(crate) at: Position,
    /// Whether the bytes are shown as they are.
    pub(crate) raw: bool,
    tree: Option<Tree>,
    can_be_lead: bool,
    /// Values shown in full.
    open: HashSet<usize>,
    /// What is looked for in the tree.
    pub(crate) search: Option<Find>,
}

impl Letter {
    /// Opens a dead letter.
    pub(crate) fn new(dead: DeadLetter) -> Self {
        Self {
            tree: (dead.envelope.lead.len() <= TREE)
                .then(|| Tree::parse(&dead.envelope.lead))
                .flatten(),
            can_be_lead: dead.is_lead(),
            dead,
            at: Position::default(),
            raw: false,
            open: HashSet::new(),
            search: None,
        }
    }

    /// Takes a key; returns whether it meant something here.
    pub(crate) fn act(&mut self, action: Action, width: usize, height: usize, now: Millis) -> bool {
        match action {
            Action::Raw => self.raw = !self.raw,
            Action::Fold => self.fold(width, now),
            Action::NextHit => return self.step(1, width, height, now),
            Action::PreviousHit => return self.step(-1, width, height, now),
            action => return self.at.act(action, self.lines(width, now).len(), height),
        }
        self.at.keep(self.lines(width, now).len(), height);
        true
    }

    fn fold(&mut self, width: usize, now: Millis) {
        let under = self.lines(width, now).into_iter().nth(self.at.cursor);
        if let (Some(Line::Node { node, kind, .. }), Some(tree)) = (under, &mut self.tree) {
            if kind == Kind::Branch {
                tree.toggle(node);
            } else if !self.open.remove(&node) {
                self.open.insert(node);
            }
        }
    }

    /// Begins a search in the tree; returns whether there is one.
    pub(crate) fn begin_search(&mut self) -> bool {
        if self.tree.is_some() {
            self.raw = false;
            self.search = Some(Find::new(self.at));
        }
        self.tree.is_some()
    }

    /// The search line, while it is being written.
    pub(crate) fn writing(&self) -> Option<&Input> {
        self.search.as_ref()?.writing.as_ref()
    }

    /// Gives the search up; returns whether there was one.
    pub(crate) fn leave_search(&mut self) -> bool {
        self.search.take().is_some()
    }

    /// Takes a key of the search line.
    pub(crate) fn write_search(&mut self, key: KeyEvent, width: usize, height: usize, now: Millis) {
        let Some(find) = &mut self.search else {
            return;
        };
        let from = find.from;
        let Some(input) = &mut find.writing else {
            return;
        };
        match key.code {
            KeyCode::Esc => {
                self.search = None;
                self.at = from;
                self.at.keep(self.lines(width, now).len(), height);
            }
            KeyCode::Enter => {
                find.writing = None;
                if find.text.is_empty() {
                    self.search = None;
                }
            }
            _ => {
                if input.key(key) {
                    self.look(width, height, now);
                }
            }
        }
    }

    /// Takes pasted text into the search line.
    pub(crate) fn paste_search(&mut self, text: &str, width: usize, height: usize, now: Millis) {
        let find = self.search.as_mut();
        if let Some(input) = find.and_then(|find| find.writing.as_mut()) {
            input.insert(text);
            self.look(width, height, now);
        }
    }

    /// Looks for what has been typed, and goes to the first place after where the reader was.
    fn look(&mut self, width: usize, height: usize, now: Millis) {
        let (Some(find), Some(tree)) = (&mut self.search, &mut self.tree) else {
            return;
        };
        let text = find.writing.as_ref().map_or("", Input::text);
        text.clone_into(&mut find.text);
        find.needle = Needle::exact(text);
        find.hits = if text.is_empty() {
            Vec::new()
        } else {
            tree.find(|line| find.needle.is_in(line))
        };
        tree.reveal(&find.hits);
        let from = find.from;
        let below = self.lines(width, now).into_iter().skip(from.cursor);
        let below = below.into_iter().find_map(|line| match line {
            Line::Node { node, .. } => Some(node),
            _ => None,
        });
        self.at = from;
        if let Some(find) = &mut self.search {
            let first = below.and_then(|node| find.hits.iter().position(|hit| *hit >= node));
            find.at = first.unwrap_or(0);
        }
        self.step(0, width, height, now);
    }

    /// Goes on by some places that were found; returns whether there is a search.
    fn step(&mut self, by: isize, width: usize, height: usize, now: Millis) -> bool {
        let Some(find) = &mut self.search else {
            return false;
        };
        find.step(by);
        let Some(&hit) = find.hits.get(find.at) else {
            return true;
        };
        self.raw = false;
        if let Some(tree) = &mut self.tree {
            tree.reveal(&[hit]);
        }
        // All of the value is shown, wherever in it the text stands.
        self.open.insert(hit);
        let lines = self.lines(width, now);
        let here = |line: &Line| matches!(line, Line::Node { node, .. } if *node == hit);
        self.at.cursor = lines.iter().position(here).unwrap_or(self.at.cursor);
        self.at.keep(lines.len(), height);
        true
    }

    /// Everything there is to read, in lines of at most a width.
    pub(crate) fn lines(&self, width: usize, now: Millis) -> Vec<Line> {
        let mut lines = self.facts(width, now);
        self.attempts(width, &mut lines);
        lines.push(Line::Blank);
        let bytes = &self.dead.envelope.lead;
        let size = format!("{} bytes", self.dead.lead_size());
        match &self.tree {
            Some(tree) if !self.raw => {
                lines.push(Line::Heading(format!("Lead, {size}")));
                self.nodes(tree, width, &mut lines);
            }
            tree => {
                let shown = &bytes[..bytes.len().min(SHOWN)];
                let what = if (shown.len() as u64) < self.dead.lead_size() {
                    ", of which this is the beginning; an export has it all"
                } else if tree.is_none() {
                    ", no JSON"
                } else {
                    ""
                };
                lines.push(Line::Heading(format!("Lead as it is, {size}{what}")));
                let text = escaped(shown);
                lines.extend(wrap(&text, width).into_iter().map(Line::Raw));
            }
        }
        lines
    }

    fn facts(&self, width: usize, now: Millis) -> Vec<Line> {
        let envelope = &self.dead.envelope;
        let mut lines = Vec::new();
        let mut fact = |name, text: &str, tone| {
            let wrapped = wrap(text, width.saturating_sub(LABEL));
            for (i, text) in wrapped.into_iter().enumerate() {
                lines.push(Line::Fact(if i == 0 { name } else { "" }, text, tone));
            }
        };
        let unknown = |text: &str| {
            if text.is_empty() {
                "Unknown".to_owned()
            } else {
                text.to_owned()
            }
        };
        let when = |at: Option<Millis>| {
            at.map_or_else(
                || "Unknown".to_owned(),
                |at| format!("{} ago, {}", human_duration(now - at), rfc3339(at)),
            )
        };
        fact("error", beginning(&error_or_unknown(&self.dead)), Tone::Bad);
        fact("kind", envelope.error_kind.as_str(), Tone::Plain);
        fact("station", &unknown(&envelope.station), Tone::Plain);
        fact("worker", &unknown(&envelope.worker), Tone::Plain);
        fact("failed", &when(envelope.failed_at), Tone::Plain);
        fact("first seen", &when(envelope.first_seen), Tone::Plain);
        let mut counts = envelope.retry_count.to_string();
        if envelope.redrives > 0 {
            let _ = write!(counts, "; put back by hand {} times", envelope.redrives);
        }
        if envelope.deaths > 0 {
            let _ = write!(counts, "; {} workers died with it", envelope.deaths);
        }
        fact("retries", &counts, Tone::Plain);
        fact("id", self.dead.id(), Tone::Dim);
        if !self.can_be_lead {
            fact(
                "note",
                "these bytes cannot be a lead, so a retry leaves it here",
                Tone::Bad,
            );
        }
        lines
    }

    fn attempts(&self, width: usize, lines: &mut Vec<Line>) {
        let attempts = &self.dead.envelope.attempts;
        lines.push(Line::Blank);
        lines.push(Line::Heading(match attempts.len() {
            0 => "No attempt is known".into(),
            1 => "1 attempt".into(),
            n => format!("{n} attempts"),
        }));
        for (i, attempt) in attempts.iter().enumerate() {
            // A time is written by a worker of ours; anything else is shown as it is.
            let at = parse_rfc3339(&attempt.at).map_or_else(|| attempt.at.clone(), rfc3339);
            let told = format!(
                "{} {at} {} {} ms {} {}",
                i + 1,
                attempt.station,
                attempt.ms,
                attempt.kind.as_str(),
                attempt.worker
            );
            let first = wrap(&told, width).into_iter();
            lines.extend(first.map(|text| Line::Attempt(text, Tone::Dim)));
            let error = wrap(beginning(&attempt.error), width.saturating_sub(2)).into_iter();
            lines.extend(error.map(|text| Line::Attempt(format!("  {text}"), Tone::Plain)));
        }
    }

    fn nodes(&self, tree: &Tree, width: usize, lines: &mut Vec<Line>) {
        for (number, node) in tree.visible() {
            let indent = (node.depth * 2).min(width / 2);
            let label = crate::text::clip(&node.label, width / 2);
            let left =
                width.saturating_sub(indent + unicode_width::UnicodeWidthStr::width(&*label) + 4);
            let line = |label, value| Line::Node {
                node: number,
                indent,
                label,
                value,
                kind: node.kind,
                folded: tree.is_folded(number),
            };
            if self.open.contains(&number) {
                for (i, part) in wrap(&node.text, left).into_iter().enumerate() {
                    lines.push(line(
                        if i == 0 { label.clone() } else { String::new() },
                        part,
                    ));
                }
            } else {
                lines.push(line(label, crate::text::clip(&node.text, left)));
            }
        }
    }
}

/// As much of a text as is shown.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

/// Bytes as text: what is not UTF-8 is written out byte by byte.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(bytes: &'static [u8]) -> Letter {
        Letter::new(DeadLetter::new(0, 1, bytes::Bytes::from_static(bytes)))
    }

    #[test]
    fn bytes_that_are_no_json_are_written_out() {
        let letter = open(b"\xff\x1b[2J ok");
        let lines = letter.lines(60, 0);
        assert_eq!(lines.last(), Some(&Line::Raw("\\xff\\u{1b}[2J ok".into())));
        assert!(lines.contains(&Line::Heading("Lead as it is, 8 bytes, no JSON".into())));
        assert!(
            lines
                .iter()
                .any(|line| matches!(line, Line::Fact("note", ..)))
        );
    }

    #[test]
    fn a_long_value_opens_and_a_branch_folds() {
        let mut letter =
            open(br#"{"lead":{"a":{"b":1},"t":"one two three four five six"},"error":"boom"}"#);
        let count = |letter: &Letter| letter.lines(24, 0).len();
        let before = count(&letter);
        letter.act(Action::ToBottom, 24, 10, 0);
        letter.act(Action::Fold, 24, 10, 0);
        assert_eq!(count(&letter), before + 1, "{:?}", letter.lines(24, 0));
        letter.at.cursor = before - 3;
        letter.act(Action::Fold, 24, 10, 0);
        assert_eq!(count(&letter), before);
        letter.act(Action::Raw, 24, 10, 0);
        assert!(
            letter
                .lines(24, 0)
                .iter()
                .any(|line| matches!(line, Line::Raw(_)))
        );
    }

    #[test]
    fn a_search_opens_what_is_folded_and_goes_round() {
        let mut letter = open(
            br#"{"lead":{"a":{"Work":1,"deep":[{"x":"homework"}]},"work":{"n":2},"t":"other"},"error":"boom"}"#,
        );
        let at = |letter: &Letter| match letter.lines(40, 0).swap_remove(letter.at.cursor) {
            Line::Node { label, value, .. } => format!("{label} {value}"),
            other => format!("{other:?}"),
        };
        letter.act(Action::ToBottom, 40, 10, 0);
        letter.at.cursor -= 7;
        assert_eq!(at(&letter), "a {2}");
        letter.act(Action::Fold, 40, 10, 0);
        let press = |letter: &mut Letter, code| {
            letter.write_search(KeyEvent::from(code), 40, 10, 0);
        };
        assert!(letter.begin_search());
        for c in "work".chars() {
            press(&mut letter, KeyCode::Char(c));
        }
        press(&mut letter, KeyCode::Enter);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let count = letter.search.as_ref().map(Find::count).unwrap_or_default();
            seen.push(format!("{} {count}", at(&letter)));
            letter.act(Action::NextHit, 40, 10, 0);
        }
        assert_eq!(
            seen,
            ["Work 1 1/3", "x homework 2/3", "work {1} 3/3", "Work 1 1/3"]
        );
        letter.act(Action::PreviousHit, 40, 10, 0);
        assert_eq!(at(&letter), "Work 1");
        assert!(letter.leave_search() && !letter.leave_search());

        // A capital is a capital; what is left brings the reader back.
        let before = letter.at;
        letter.begin_search();
        for c in "WORK".chars() {
            press(&mut letter, KeyCode::Char(c));
        }
        let count = letter.search.as_ref().map(Find::count);
        assert_eq!(count.as_deref(), Some("not found"));
        press(&mut letter, KeyCode::Esc);
        assert_eq!((letter.at, letter.search.is_none()), (before, true));
        assert!(!open(b"no json").begin_search());
    }
}
