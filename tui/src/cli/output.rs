//! How commands speak: harmless text for people, JSON for scripts, and a status to branch on.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

/// Why a command failed, in one line that says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Redis.
    #[error("{0}")]
    Store(#[from] bridge_shared::store::StoreError),
    /// The output could not be written.
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Said(String),
}

impl CommandError {
    /// Whether the reader of the output has gone, as `head` does: nothing to complain about.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Prints a line.
///
/// # Errors
/// Where standard output cannot be written to.
pub(crate) fn line(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// Where standard output cannot be written to.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(value).expect("plain values are JSON");
    line(&text)
}

/// Text from outside made harmless for a terminal: control characters, and those that turn or hide
/// what stands beside them, are written out.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_harmful(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A number with its thousands set apart: `1,234,567`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 lead`, `2 leads`.
pub(crate) fn plural(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {one}{s}", thousands(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_lead_reaches_the_terminal_as_a_command() {
        assert_eq!(harmless("plain Ünïcode 漢字"), "plain Ünïcode 漢字");
        assert_eq!(
            harmless("\x1b[2J\u{9b}31m\0\n\u{202e}x"),
            "\\u{1b}[2J\\u{9b}31m\\u{0}\\n\\u{202e}x"
        );
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(plural(1, "lead"), "1 lead");
        assert_eq!(plural(1_000, "lead"), "1,000 leads");
    }
}
