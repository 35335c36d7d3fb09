//! Text for a terminal: harmless, and of a known width.

use std::borrow::Cow;
use std::fmt::Write as _;

use bridge_shared::terminal::is_harmful;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

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

/// Text from outside, harmless and cut to a width in terminal columns; what is cut off is replaced
/// by an ellipsis.
pub(crate) fn clip(text: &str, width: usize) -> String {
    let text = harmless(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let mut out = String::new();
    let mut used = 1; // The ellipsis.
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// [`clip`], filled up with spaces to exactly the width.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let mut text = clip(text, width);
    let used = text.width();
    text.extend(std::iter::repeat_n(' ', width.saturating_sub(used)));
    text
}

/// Text from outside, harmless and broken into lines of at most a width, at spaces where there
/// are any.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in harmless(text).split_inclusive(' ') {
        let columns = word.trim_end().width();
        if used > 0 && used + columns > width {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let columns = c.width().unwrap_or(0);
            if used + columns > width {
                if c == ' ' {
                    continue;
                }
                lines.push(String::new());
                used = 0;
            }
            used += columns;
            lines.last_mut().expect("there is one").push(c);
        }
    }
    lines
}

/// An error without the scheme and host of the URLs in it, which rarely tell two errors apart and
/// take the room of what does.
pub(crate) fn brief(error: &str) -> String {
    let mut out = String::with_capacity(error.len());
    let mut rest = error;
    while let Some(at) = rest.find("://") {
        let scheme = rest[..at]
            .rfind(|c: char| !c.is_ascii_alphanumeric())
            .map_or(0, |before| {
                before + rest[before..].chars().next().map_or(1, char::len_utf8)
            });
        out.push_str(&rest[..scheme]);
        out.push('…');
        let after = &rest[at + 3..];
        let host = after.find(|c: char| c == '/' || c == '?' || c.is_whitespace());
        rest = &after[host.unwrap_or(after.len())..];
    }
    out.push_str(rest);
    out
}

/// How long ago something was, for a column: whole seconds at least.
pub(crate) fn age(now: i64, then: Option<i64>) -> String {
    then.map_or_else(
        || "?".into(),
        |then| {
            bridge_shared::clock::human_duration((now - then).max(0) / 1_000 * 1_000)
                .replace("0ms", "0s")
        },
    )
}

/// A number in five columns at most, as long as there are less than a billion: `9,999`, `12k`,
/// `1.2M`. What is left out is rounded down.
pub(crate) fn short(n: u64) -> String {
    match n {
        0..10_000 => thousands(n),
        10_000..1_000_000 => format!("{}k", n / 1_000),
        1_000_000..100_000_000 => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
        _ => format!("{}M", thousands(n / 1_000_000)),
    }
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

    #[test]
    fn texts_are_cut_and_filled_by_columns_and_not_by_characters() {
        assert_eq!(clip("plain", 5), "plain");
        assert_eq!(clip("plainer", 5), "plai…");
        assert_eq!(clip("漢字漢字", 5), "漢字…");
        assert_eq!(clip("漢字漢字", 4), "漢…");
        assert_eq!(clip("x", 0), "");
        assert_eq!(fit("漢字漢字", 4), "漢… ");
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(fit("a\x1b", 10), "a\\u{1b}   ");
    }

    #[test]
    fn a_brief_error_keeps_what_tells_it_apart() {
        assert_eq!(
            brief("HTTP 503 from https://x.example:8443/leads: overloaded"),
            "HTTP 503 from …/leads: overloaded"
        );
        assert_eq!(brief("cannot reach http://x"), "cannot reach …");
        assert_eq!(brief("plain ä words"), "plain ä words");
        assert_eq!(brief("(ähttp://x/y)"), "(ä…/y)");
        assert_eq!(age(5_999, Some(5_000)), "0s");
        assert_eq!(age(9_000, Some(5_500)), "3s");
        assert_eq!(age(0, None), "?");
    }

    #[test]
    fn long_texts_are_broken_at_spaces_where_there_are_any() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("a 漢字漢", 4), ["a ", "漢字", "漢"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
