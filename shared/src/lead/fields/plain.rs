//! Where the fields of an object stand that is as plain as most leads are: no escapes, no breaks
//! between the lines, and not nested without end.
//!
//! The parser takes every text apart and looks at each of its bytes, which was a fifth of a worker's
//! time; here a text ends at the next quote. Whatever is not plain is left to the parser, and so is
//! whatever is wrong, which it can say best.

use std::ops::Range;

use super::Fields;

/// How deep values may be nested.
const DEPTH: usize = 16;

/// Reads an object; none where it is not plain.
pub(super) fn read(source: &str) -> Option<Fields> {
    let odd = |byte: u8| byte < b' ' || byte == b'\\';
    if source.bytes().fold(false, |any, byte| any | odd(byte)) {
        return None;
    }
    let mut fields = Fields::of(source);
    let mut scan = Scan {
        bytes: source.as_bytes(),
        at: 0,
    };
    scan.spaces();
    scan.object(DEPTH, |name, value| {
        fields.read(&source[name.clone()], Some(name), value);
    })?;
    scan.spaces();
    (scan.at == scan.bytes.len()).then_some(fields)
}

/// A text with neither escapes nor control characters, and how far it is read.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes over this byte, where it is the next.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn spaces(&mut self) {
        while self.take(b' ').is_some() {}
    }

    /// Passes over an object; tells where its names, without their quotes, and values stand.
    fn object(
        &mut self,
        depth: usize,
        mut field: impl FnMut(Range<usize>, Range<usize>),
    ) -> Option<()> {
        self.list(b'{', b'}', |scan| {
            let name = scan.text()?;
            scan.spaces();
            scan.take(b':')?;
            scan.spaces();
            let start = scan.at;
            scan.value(depth.checked_sub(1)?)?;
            field(name, start..scan.at);
            Some(())
        })
    }

    /// Passes over something with commas between its parts.
    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut part: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        self.spaces();
        if self.take(close).is_some() {
            return Some(());
        }
        loop {
            part(self)?;
            self.spaces();
            if self.take(close).is_some() {
                return Some(());
            }
            self.take(b',')?;
            self.spaces();
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => self.text().map(|_| ()),
            b'{' => self.object(depth, |_, _| ()),
            b'[' => self.list(b'[', b']', |scan| scan.value(depth.checked_sub(1)?)),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let is_next = self.bytes[self.at..].starts_with(word);
        is_next.then(|| self.at += word.len())
    }

    /// Passes over a text; returns where it stands, without its quotes.
    fn text(&mut self) -> Option<Range<usize>> {
        self.take(b'"')?;
        let start = self.at;
        self.at += quote(&self.bytes[start..])? + 1;
        Some(start..self.at - 1)
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if self.take(b'e').or_else(|| self.take(b'E')).is_some() {
            let _ = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits()?;
        }
        Some(())
    }

    /// Passes over digits, of which there is one at least.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// Where the first quote is. Looked for in eight bytes at once: the texts of a lead are mostly too
/// short for anything larger.
fn quote(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (eights, rest) = bytes.as_chunks::<8>();
    for (n, eight) in eights.iter().enumerate() {
        // A byte of zero is where the quote is; the lowest of the marks is never wrong.
        let quotes = u64::from_le_bytes(*eight) ^ (ONES * u64::from(b'"'));
        let marks = quotes.wrapping_sub(ONES) & !quotes & (ONES << 7);
        if marks != 0 {
            return Some(n * 8 + marks.trailing_zeros() as usize / 8);
        }
    }
    let place = rest.iter().position(|byte| *byte == b'"')?;
    Some(bytes.len() - rest.len() + place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the parser reads must be read the same here, and nothing else may be.
    fn is_read_alike(source: &str) {
        if let Some(plain) = read(source) {
            let parsed = Fields::parse_any(source);
            let parsed = parsed.unwrap_or_else(|error| panic!("{source}: {error}"));
            assert!(plain.iter().eq(parsed.iter()), "{source}");
            assert_eq!(plain.to_json(), parsed.to_json(), "{source}");
        }
    }

    fn is_plain(source: &str) -> bool {
        read(source).is_some()
    }

    #[test]
    fn leads_are_plain_and_what_is_odd_or_wrong_is_not() {
        const SAMPLES: &str = include_str!("../../../../assets/leads/leads.jsonl");
        for lead in SAMPLES.lines().filter(|line| line.starts_with('{')) {
            assert!(is_plain(lead) || lead.contains('\\'), "{lead}");
            is_read_alike(lead);
        }
        for plain in [
            "{}",
            " { } ",
            r#"{"":"","a":[[],{},[1,-0,0.5,1e9,1E+9,-1.5e-9]],"a":{"b":[true,false,null]}}"#,
            "{\"eightbyt\":\"sixteen bytes ok\",\"\u{e4}\":\"\u{1f600}\"}",
        ] {
            assert!(is_plain(plain), "{plain}");
            is_read_alike(plain);
        }
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
        for other in [
            "",
            "{",
            "{}x",
            "{}{}",
            "[]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "{,}",
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":-}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":tru}"#,
            r#"{"a":nulll}"#,
            r#"{"a":"b}"#,
            r#"{"a":"\n"}"#,
            "{\"a\":\"\t\"}",
            "{\n}",
            r#"{"a" 1}"#,
            "{a:1}",
            r#"{"a":[1,]}"#,
            r#"{"a":{]}"#,
            &deep,
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }

    /// Something that is nearly JSON.
    fn nearly_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "\"[a-c\"\\\\ \u{e4}]{0,9}\"",
            "-?[01]{0,2}(\\.[01]{0,2})?([eE][+-]?[01]{0,2})?",
            "true|false|null|nul| |",
        ];
        let value = leaf.prop_recursive(3, 12, 4, |inner| {
            let field = ("[a-c\u{e4}]{0,2}", inner.clone())
                .prop_map(|(name, value)| format!("\"{name}\" : {value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4)
                    .prop_map(|list| format!("[{}]", list.join(" ,"))),
                prop::collection::vec(field, 0..6)
                    .prop_map(|list| format!("{{{}}}", list.join(", "))),
            ]
        });
        let object = prop::collection::vec(("[a-c]{1,2}", value), 0..6).prop_map(|fields| {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", fields.join(","))
        });
        let slip = (
            any::<prop::sample::Index>(),
            "[\"{}\\[\\],:0e.\\\\\n -]?",
            0..3_usize,
        );
        (object, prop::option::of(slip)).prop_map(|(mut text, slip)| {
            if let Some((place, with, gone)) = slip {
                let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
                let n = place.index(starts.len());
                let end = starts.get(n + gone).copied().unwrap_or(text.len());
                text.replace_range(starts[n]..end, &with);
            }
            text
        })
    }

    proptest! {
        #[test]
        fn what_is_plain_is_what_the_parser_reads(source in nearly_json()) {
            is_read_alike(&source);
        }

        #[test]
        fn a_quote_is_found_wherever_it_is(text in "[a\u{0}!#\"\u{80}\u{a2}]{0,40}") {
            prop_assert_eq!(quote(text.as_bytes()), text.find('"'));
        }
    }
}
