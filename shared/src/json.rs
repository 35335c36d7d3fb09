//! What is wrong with JSON, in plain words: the parser's own are for those who write parsers. And
//! texts written as JSON where that has to be fast.

use serde_json::Error;
use serde_json::value::RawValue;

/// How deep a part is indented at most, so that hostile nesting does not multiply the text.
const MAX_INDENT: usize = 64;

/// A byte of JSON that is to stand on one line: a line break, which in JSON is only allowed between
/// its parts, becomes a space.
#[must_use]
pub fn on_one_line(byte: u8) -> u8 {
    if matches!(byte, b'\n' | b'\r') {
        b' '
    } else {
        byte
    }
}

/// JSON with each part on a line of its own, indented by two spaces a level. Every part is written as
/// it came: numbers and escapes are not rewritten, and a field that is there twice stays there twice.
/// `None` if the bytes are not JSON.
#[must_use]
pub fn indented(json: &[u8]) -> Option<String> {
    let json = serde_json::from_slice::<&RawValue>(json).ok()?.get();
    let mut out = String::with_capacity(json.len() * 2);
    let (mut rest, mut depth) = (json, 0_usize);
    while let Some(first) = rest.chars().next() {
        let mut length = first.len_utf8();
        match first {
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                out.push(first);
                let inside = rest[1..].trim_ascii_start();
                if let Some(close) = inside.chars().next().filter(|c| matches!(c, '}' | ']')) {
                    out.push(close);
                    length = rest.len() - inside.len() + 1;
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(first);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' => {
                length = text_length(rest);
                out.push_str(&rest[..length]);
            }
            other => out.push(other),
        }
        rest = &rest[length..];
    }
    Some(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth.min(MAX_INDENT)));
}

/// The length in bytes of the text in quotes that some valid JSON begins with, both quotes included.
fn text_length(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().skip(1).position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    end.map_or(json.len(), |at| at + 2)
}

/// Whether a text stands in JSON otherwise than between its quotes. Most do not, which is seen much
/// faster for all of a text than for each of its bytes.
#[must_use]
pub fn needs_escapes(text: &str) -> bool {
    let odd = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    text.bytes().fold(false, |any, byte| any | odd(byte))
}

/// Writes a text as JSON.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    if needs_escapes(text) {
        serde_json::to_writer(out, text).expect("a text is always JSON");
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// What is wrong, what to do, and where it is. `line` is the line that the text begins in.
///
/// ```
/// use bridge_shared::json::mistake;
/// let error = serde_json::from_str::<serde_json::Value>("{\"a\":1 \"b\":2}").unwrap_err();
/// assert_eq!(
///     mistake(&error, 1),
///     "the object goes on without a comma, or its } is missing (byte 8)"
/// );
/// ```
#[must_use]
pub fn mistake(error: &Error, line: u64) -> String {
    let words = error.to_string();
    let what = words.rfind(" at line ").map_or(&*words, |at| &words[..at]);
    let (what, byte) = (plain(what), error.column());
    match error.line() {
        // The error is not of the parser, which always knows where it is.
        0 => what.to_owned(),
        1 => format!("{what} (byte {byte})"),
        more => format!("{what} (line {}, byte {byte})", line + more as u64 - 1),
    }
}

/// The parser's words in plain ones. Source: the texts of `serde_json`'s error codes.
fn plain(parser: &str) -> &str {
    match parser {
        "EOF while parsing a list" => "it ends within a list; is it complete?",
        "EOF while parsing an object" => "it ends within an object; is it complete?",
        "EOF while parsing a string" => "it ends within a text; is the closing quote missing?",
        "EOF while parsing a value" => "it ends where a value should be; is it complete?",
        "expected `:`" => "a colon is missing after the name of a field",
        "expected `,` or `]`" => "the list goes on without a comma, or its ] is missing",
        "expected `,` or `}`" => "the object goes on without a comma, or its } is missing",
        "expected ident" => {
            "that is no value; a text needs double quotes, and the words there are are true, false and null"
        }
        "expected value" => "a value is missing there, or the double quotes around a text",
        "key must be a string" | "expected `\"`" => {
            "the name of a field in double quotes is missing there, or there is a comma too many"
        }
        "trailing comma" => "there is a comma too many",
        "trailing characters" => {
            "there is more after its end; is a comma or the end of a line missing before it?"
        }
        "invalid number" => "that is not how JSON writes a number, such as 7, -0.5 or 1e3",
        "number out of range" => "the number is too large",
        "invalid escape" => {
            "a backslash stands in a text and begins no escape; a backslash itself is written twice"
        }
        "unexpected end of hex escape"
        | "lone leading surrogate in hex escape"
        | "invalid unicode code point" => "a \\u in a text stands for no character",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "the end of a line or another control character stands in a text; write it as \\n or \\u and four digits"
        }
        "recursion limit exceeded" => "it is nested too deep",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn told(text: &str) -> String {
        mistake(&serde_json::from_str::<Value>(text).unwrap_err(), 1)
    }

    #[test]
    fn indented_json_has_every_part_as_it_came() {
        for (json, shown) in [
            ("{}", "{}"),
            ("[ ]", "[]"),
            ("7", "7"),
            (
                r#"{"a":1e999, "a":[1E5,-0.0,{}] , "b\"":"x, {y: \ud800\\" }"#,
                "{\n  \"a\": 1e999,\n  \"a\": [\n    1E5,\n    -0.0,\n    {}\n  ],\n  \"b\\\"\": \"x, {y: \\ud800\\\\\"\n}",
            ),
            ("[\"\u{e9}\",\r\nnull]", "[\n  \"\u{e9}\",\n  null\n]"),
        ] {
            assert_eq!(indented(json.as_bytes()).as_deref(), Some(shown));
        }
        assert_eq!(indented(b"{\"a\":}"), None);
        assert_eq!(indented(b"\xff"), None);
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        let shown = indented(deep.as_bytes()).expect("JSON");
        assert!(
            shown.len() < 40_000 * (2 * MAX_INDENT + 2),
            "{}",
            shown.len()
        );
    }

    #[test]
    fn a_text_is_written_as_the_library_writes_it() {
        let each = (0..0x300).filter_map(char::from_u32).map(String::from);
        for text in each.chain([
            String::new(),
            "plain".into(),
            "Zo\u{eb} said \"\\\"\n".into(),
        ]) {
            let mut out = b"before".to_vec();
            push_text(&mut out, &text);
            let expected = format!("before{}", serde_json::to_string(&text).expect("JSON"));
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        }
    }

    #[test]
    fn nothing_is_told_in_the_words_of_the_parser() {
        let deep = "[".repeat(200);
        for text in [
            "",
            "oops",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":}",
            "{a:1}",
            "{'a':1}",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1,}",
            "[1 2]",
            "[1,]",
            "[",
            "\"",
            "tru",
            "nul",
            "NaN",
            "01",
            "1e",
            "-",
            "{}{}",
            "\"\\q\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0020\"",
            "\"\\udc00\"",
            "\"\n\"",
            "\"\\u",
            &deep,
        ] {
            let told = told(text);
            for word in [
                "EOF",
                "ident",
                "expected",
                "trailing",
                "parsing",
                "surrogate",
                "escape at",
            ] {
                assert!(!told.contains(word), "{text}: {told}");
            }
            assert!(
                told.contains(" (byte ") || told.contains(" (line "),
                "{text}: {told}"
            );
            let error = serde_json::from_str::<Value>(text).unwrap_err().to_string();
            let parser = error.split(" at line ").next().expect("its words");
            assert_ne!(plain(parser), parser, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_where_it_is() {
        assert!(told("{\"a\":x}").ends_with(" (byte 6)"));
        let error = serde_json::from_str::<Value>("{\n\"a\": 1\n\"b\": 2}").unwrap_err();
        assert!(mistake(&error, 2).ends_with(" (line 4, byte 1)"));
    }
}
