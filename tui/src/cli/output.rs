//! How commands speak: harmless text for people, JSON for scripts, and a status to branch on.

use std::fmt::Write as _;
use std::io::Write as _;

use serde::Serialize;

use crate::text::is_harmful;

/// Why a command failed, in one line that says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Redis.
    #[error("{0}")]
    Store(#[from] bridge_shared::store::StoreError),
    /// The configuration.
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
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
    line(&harmless_json(text))
}

/// JSON that a terminal takes no orders from: what is harmful stands only inside texts, and there
/// it may be written as `\uXXXX` (RFC 8259, 7).
pub(crate) fn harmless_json(text: String) -> String {
    if !text.chars().any(is_harmful) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_and_gives_a_terminal_no_orders() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{202e}x\u{200d} \u{1b} Ünï 漢"});
        let shown = harmless_json(value.to_string());
        assert!(!shown.chars().any(is_harmful), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"),
            value
        );
    }
}
