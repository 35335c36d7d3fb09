//! Text for a terminal: harmless, and of a known width.

pub(crate) use bridge_shared::terminal::harmless;
pub(crate) use bridge_shared::units::thousands;
use unicode_width::UnicodeWidthStr as _;

/// Text from outside, harmless and cut to a width in terminal columns; what is cut off is replaced
/// by an ellipsis.
pub(crate) fn clip(text: &str, width: usize) -> String {
    let text = harmless(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let most = width.saturating_sub(1); // The ellipsis.
    let mut out = String::new();
    for c in text.chars() {
        if !fits(&mut out, c, most) {
            break;
        }
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// [`clip`], but the end is kept, and it is the beginning that is cut off.
pub(crate) fn clip_start(text: &str, width: usize) -> String {
    let text = harmless(text);
    if text.width() <= width {
        return text.into_owned();
    }
    let most = width.saturating_sub(1); // The ellipsis.
    let places = text.char_indices().rev().map(|(at, _)| at);
    let kept = places.take_while(|at| text[*at..].width() <= most).last();
    let ellipsis = if width > 0 { "…" } else { "" };
    format!("{ellipsis}{}", &text[kept.unwrap_or(text.len())..])
}

/// Puts a character at the end of a line, if it is then no wider than it may be. What a character
/// takes depends on those before it: some join, and some make one wide that is narrow alone.
fn fits(line: &mut String, c: char, width: usize) -> bool {
    if c.is_ascii() && line.is_ascii() {
        let fits = line.len() < width;
        if fits {
            line.push(c);
        }
        return fits;
    }
    line.push(c);
    let fits = line.width() <= width;
    if !fits {
        line.pop();
    }
    fits
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
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in harmless(text).split_inclusive(' ') {
        let begun = !line.is_empty();
        if begun && line.width() + word.trim_end().width() > width {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if fits(&mut line, c, width) || c == ' ' {
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            // One that is wider than all of a line still has to go somewhere.
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// As many of these lines as there is room for; where there are more the last one says so.
pub(crate) fn shorten(mut lines: Vec<String>, most: usize, width: usize) -> Vec<String> {
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = clip(&format!("{}…", last.trim_end()), width);
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

/// `1 lead`, `2 leads`.
pub(crate) fn plural(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {one}{s}", thousands(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge_shared::terminal::is_harmful;

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
        assert_eq!(clip_start("plainer", 5), "…iner");
        assert_eq!(clip_start("漢字漢字", 4), "…字");
        assert_eq!(clip_start("x", 0), "");
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

    /// Texts with what makes widths hard: wide, combining and joined characters, and orders.
    const HARD: &str = "([ a-z]|\\PC|[漢字Ａｱ]|e\u{301}|❤\u{fe0f}|👩\u{200d}🔬|🇫🇷|[\u{0}-\u{1f}\u{7f}-\u{9f}\u{202e}]){0,24}";

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_text_is_wider_than_its_place_or_gives_an_order(text in HARD, width in 0_usize..24) {
            for cut in [clip(&text, width), clip_start(&text, width)] {
                proptest::prop_assert!(cut.width() <= width, "{:?} is {} wide", cut, cut.width());
                proptest::prop_assert!(!cut.chars().any(is_harmful), "{:?}", cut);
                if harmless(&text).width() <= width {
                    proptest::prop_assert_eq!(cut, harmless(&text));
                }
            }
            proptest::prop_assert_eq!(fit(&text, width).width(), width);
        }

        #[test]
        fn broken_lines_fit_and_hold_all_of_the_text(text in HARD, width in 2_usize..24) {
            let lines = wrap(&text, width);
            for line in &lines {
                proptest::prop_assert!(line.trim_end().width() <= width, "{:?}", line);
                proptest::prop_assert!(!line.chars().any(is_harmful), "{:?}", line);
            }
            let without = |text: &str| text.replace(' ', "");
            proptest::prop_assert_eq!(without(&lines.concat()), without(&harmless(&text)));
        }

        #[test]
        fn a_brief_error_is_no_longer_and_does_not_fail(text in "(https?://|[a-z/? :]|\\PC){0,20}") {
            proptest::prop_assert!(brief(&text).chars().count() <= text.chars().count());
        }
    }
}
