//! A search within an opened lead: its keys and values, as text.

use bridge_shared::filter::needle::Needle;

use super::input::Input;
use super::list::Position;

/// What is looked for in a lead's tree, and where it was found.
#[derive(Debug)]
pub(crate) struct Find {
    /// The line, while it is being written.
    pub(crate) writing: Option<Input>,
    /// What is looked for.
    pub(crate) text: String,
    /// The same, as it is looked for.
    pub(crate) needle: Needle,
    /// The numbers of the tree's lines that have it, in order.
    pub(crate) hits: Vec<usize>,
    /// Which of these the reader is at.
    pub(crate) at: usize,
    /// Where the reader was before.
    pub(crate) from: Position,
}

impl Find {
    /// A search for nothing yet.
    pub(crate) fn new(from: Position) -> Self {
        Self {
            writing: Some(Input::default()),
            text: String::new(),
            needle: Needle::exact(""),
            hits: Vec::new(),
            at: 0,
            from,
        }
    }

    /// How far the reader is: `3/17`.
    pub(crate) fn count(&self) -> String {
        match self.hits.len() {
            _ if self.text.is_empty() => String::new(),
            0 => "not found".into(),
            hits => format!("{}/{hits}", self.at + 1),
        }
    }

    /// Goes on by some hits, round and round.
    pub(crate) fn step(&mut self, by: isize) {
        if !self.hits.is_empty() {
            let at = self.at.cast_signed() + by;
            self.at = at.rem_euclid(self.hits.len().cast_signed()).cast_unsigned();
        }
    }
}
