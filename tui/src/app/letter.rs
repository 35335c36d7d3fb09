//! One dead letter, opened: its facts, its attempts and the lead as a tree, in one list of lines.

use std::collections::HashSet;
use std::fmt::Write as _;

use bridge_shared::clock::{Millis, human_duration, parse_rfc3339, rfc3339};
use bridge_shared::store::dead_letters::DeadLetter;

use super::list::Position;
use super::tree::{Kind, Tree};
use crate::keymap::Action;
use crate::row::error_or_unknown;
use crate::text::wrap;

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
    /// Values shown in full.
    open: HashSet<usize>,
}

impl Letter {
    /// Opens a dead letter.
    pub(crate) fn new(dead: DeadLetter) -> Self {
        Self {
            tree: Tree::parse(&dead.envelope.lead),
            dead,
            at: Position::default(),
            raw: false,
            open: HashSet::new(),
        }
    }

    /// Takes a key; returns whether it meant something here.
    pub(crate) fn act(&mut self, action: Action, width: usize, height: usize, now: Millis) -> bool {
        match action {
            Action::Raw => self.raw = !self.raw,
            Action::Fold => self.fold(width, now),
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

    /// Everything there is to read, in lines of at most a width.
    pub(crate) fn lines(&self, width: usize, now: Millis) -> Vec<Line> {
        let mut lines = self.facts(width, now);
        self.attempts(width, &mut lines);
        lines.push(Line::Blank);
        let bytes = &self.dead.envelope.lead;
        let size = format!("{} bytes", bytes.len());
        match &self.tree {
            Some(tree) if !self.raw => {
                lines.push(Line::Heading(format!("Lead, {size}")));
                self.nodes(tree, width, &mut lines);
            }
            tree => {
                let what = if tree.is_none() { ", no JSON" } else { "" };
                lines.push(Line::Heading(format!("Lead as it is, {size}{what}")));
                let text = escaped(bytes);
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
        fact("error", &error_or_unknown(&self.dead), Tone::Bad);
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
        if !envelope.is_lead() {
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
            let error = wrap(&attempt.error, width.saturating_sub(2)).into_iter();
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
}
