//! What a terminal takes for an order, and how to keep text from outside from giving one.

use std::fmt::Write as _;

/// Whether a terminal takes a character for an order, or shows by it another text than there is:
/// the control characters, and those that turn the direction of writing or take no room.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
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
    fn json_stays_the_same_and_gives_a_terminal_no_orders() {
        let value = serde_json::json!({"a": "\u{9b}31m \u{202e}x\u{200d} \u{61c} \u{1b} Ünï 漢"});
        let shown = harmless_json(format!("{value}\n"));
        assert!(!shown.trim_end().chars().any(is_harmful), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(read, value);
    }
}
