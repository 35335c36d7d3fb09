//! A line of text being typed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use unicode_width::UnicodeWidthStr as _;

use crate::text::{clip, clip_start, harmless};

/// A line of text with a cursor in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Input {
    text: String,
    /// The cursor, in bytes.
    at: usize,
}

impl Input {
    /// A line with the cursor at its end.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            at: text.len(),
            text,
        }
    }

    /// What has been typed.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What stands before and after the cursor.
    pub(crate) fn halves(&self) -> (&str, &str) {
        self.text.split_at(self.at)
    }

    /// What is seen of it in so many columns, before and after the cursor, which takes one itself:
    /// all of it, or else what stands around the cursor.
    pub(crate) fn seen(&self, width: usize) -> (String, String) {
        let (before, after) = self.halves();
        let room = width.saturating_sub(1);
        let left = room.saturating_sub(harmless(before).width());
        // Where there is no room for all of it, a quarter is for what comes next.
        let after = clip(after, left.max(room / 4));
        (clip_start(before, room - after.width()), after)
    }

    /// Takes a key; returns whether it was one of editing.
    pub(crate) fn key(&mut self, key: KeyEvent) -> bool {
        let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char(c) if !ctrl && !key.modifiers.contains(KeyModifiers::ALT) => {
                self.insert(c.encode_utf8(&mut [0; 4]));
            }
            KeyCode::Backspace => self.remove(self.before()),
            KeyCode::Delete => self.remove_after(),
            KeyCode::Left => self.at = self.before(),
            KeyCode::Right => self.at = self.after(),
            KeyCode::Home | KeyCode::Char('a') if ctrl || key.code == KeyCode::Home => self.at = 0,
            KeyCode::End | KeyCode::Char('e') if ctrl || key.code == KeyCode::End => {
                self.at = self.text.len();
            }
            KeyCode::Char('u') if ctrl => self.remove(0),
            KeyCode::Char('w') if ctrl => self.remove(self.word()),
            _ => return false,
        }
        true
    }

    /// Takes pasted text, on one line.
    pub(crate) fn insert(&mut self, text: &str) {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        self.text.insert_str(self.at, &text);
        self.at += text.len();
    }

    /// Puts a text in the place of what stands between here, in bytes, and the cursor.
    pub(crate) fn replace(&mut self, from: usize, text: &str) {
        self.remove(from);
        self.insert(text);
    }

    fn before(&self) -> usize {
        let last = self.text[..self.at].chars().next_back();
        self.at - last.map_or(0, char::len_utf8)
    }

    fn after(&self) -> usize {
        let next = self.text[self.at..].chars().next();
        self.at + next.map_or(0, char::len_utf8)
    }

    /// Where the word before the cursor begins.
    fn word(&self) -> usize {
        let before = self.text[..self.at].trim_end();
        before.rfind(' ').map_or(0, |space| space + 1)
    }

    fn remove(&mut self, from: usize) {
        self.text.replace_range(from..self.at, "");
        self.at = from;
    }

    fn remove_after(&mut self) {
        let to = self.after();
        self.text.replace_range(self.at..to, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[(KeyCode, KeyModifiers)]) -> Input {
        let mut input = Input::new("one two");
        for (code, modifiers) in keys {
            assert!(input.key(KeyEvent::new(*code, *modifiers)));
        }
        input
    }

    #[test]
    fn a_line_can_be_edited() {
        use KeyCode::{Backspace, Char, Delete, End, Home, Left, Right};
        let (plain, ctrl) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        for (keys, expected) in [
            (
                &[(Char('é'), plain), (Backspace, plain), (Char('!'), plain)][..],
                ("one two!", ""),
            ),
            (&[(Left, plain), (Backspace, plain)], ("one t", "o")),
            (
                &[(Home, plain), (Delete, plain), (Right, plain)],
                ("n", "e two"),
            ),
            (&[(Char('w'), ctrl)], ("one ", "")),
            (&[(Char('u'), ctrl), (End, plain)], ("", "")),
            (
                &[(Char('a'), ctrl), (Char('X'), KeyModifiers::SHIFT)],
                ("X", "one two"),
            ),
        ] {
            assert_eq!(typed(keys).halves(), expected, "{keys:?}");
        }
        let mut input = Input::default();
        input.insert("a\x1b[2J\nb");
        assert_eq!(input.text(), "a[2Jb");
        assert!(!input.key(KeyEvent::new(KeyCode::Enter, plain)));
    }
}
