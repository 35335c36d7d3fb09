//! What a terminal takes for an order, and how to keep text from outside from giving one.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal takes a character for an order, or shows by it another text than there is:
/// the control characters, and those that turn the direction of writing or take no room.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text from outside, made harmless: control characters, and those that turn or hide what stands
/// beside them, are written out. A line stays one line.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    written_out(text, is_harmful)
}

/// The same for a text of several lines, which stay as they are.
#[must_use]
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| is_harmful(c) && c != '\n')
}

fn written_out(text: &str, is_harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_harmful(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
        }
    }
    Cow::Owned(out)
}

/// JSON that says the same and gives a terminal no orders: what is harmful stands only inside
/// texts, and there it may be written as `\uXXXX` (RFC 8259, 7). Line breaks between values stay.
#[must_use]
pub fn harmless_json(json: String) -> String {
    let harmful = |c: char| is_harmful(c) && c != '\n';
    if !json.chars().any(harmful) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if harmful(c) {
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
    fn nothing_from_outside_is_an_order() {
        assert_eq!(harmless("plain Ünïcode 漢字"), "plain Ünïcode 漢字");
        let hostile = "\x1b[2J\u{9b}31m\0\n\u{202e}x";
        assert_eq!(harmless(hostile), "\\u{1b}[2J\\u{9b}31m\\u{0}\\n\\u{202e}x");
        assert_eq!(
            harmless_lines(hostile),
            "\\u{1b}[2J\\u{9b}31m\\u{0}\n\\u{202e}x"
        );
    }

    #[test]
    fn json_stays_the_same_and_gives_a_terminal_no_orders() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{202e}x\u{200d} \u{61c} \u{1b} Ünï 漢"});
        let shown = harmless_json(format!("{value}\n"));
        assert!(!shown.trim_end().chars().any(is_harmful), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(read, value);
    }
}
