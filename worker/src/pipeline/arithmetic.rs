//! Keeps `*` and `+` of the expression language off lists that are not made yet.
//!
//! To the minijinja crate `list * 100000` is a list whose items are made up when they are read, and most
//! of what reads them pays no fuel until it has read all. So every operand of `*` passes a filter that
//! refuses a list, and every operand of `+` one that makes the list, which pays for it at once.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

use super::vocabulary::text_length;

/// The filter that operands of `*` pass.
const FACTOR: &str = "__factor";
/// The filter that operands of `+` pass.
const TERM: &str = "__term";

/// Words that are no value.
const KEYWORDS: [&str; 16] = [
    "and",
    "block",
    "elif",
    "else",
    "filter",
    "for",
    "if",
    "in",
    "is",
    "not",
    "or",
    "recursive",
    "set",
    "do",
    "with",
    "autoescape",
];

/// Adds the two filters.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter(FACTOR, factor);
    environment.add_filter(TERM, term);
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn factor(value: Value) -> Result<Value, Error> {
    if is_list(&value) {
        let what = "a list cannot be multiplied";
        return Err(Error::new(ErrorKind::InvalidOperation, what));
    }
    Ok(value)
}

fn term(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if !is_list(&value) {
        return Ok(value);
    }
    // One instruction for two items, as those that the language visits by itself.
    let items = value.len().unwrap_or_default() as u64;
    state.consume_fuel(items.div_ceil(2))?;
    Ok(value.try_iter()?.collect::<Vec<Value>>().into())
}

/// A part of an expression, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A name, a number or a text.
    Value(usize),
    Word(usize),
    Open,
    Close(usize),
    Power,
    Sign(char),
}

/// An expression whose operands of `*` and `+` pass the filters.
pub(super) fn guarded(code: &str) -> String {
    let parts = parts(code);
    let mut filters: Vec<(usize, &str)> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let filter = match part {
            Part::Sign('*') => FACTOR,
            Part::Sign('+') => TERM,
            _ => continue,
        };
        let before = i.checked_sub(1).map(|before| parts[before]);
        let (Some(Part::Value(left) | Part::Close(left)), Some(right)) =
            (before, operand(&parts, i + 1))
        else {
            continue;
        };
        filters.extend([(left, filter), (right, filter)]);
    }
    filters.sort_unstable();
    let mut guarded = String::with_capacity(code.len() + filters.len() * 12);
    let mut from = 0;
    for (at, filter) in filters {
        guarded.push_str(&code[from..at]);
        guarded.push_str(" | ");
        guarded.push_str(filter);
        guarded.push(' ');
        from = at;
    }
    guarded.push_str(&code[from..]);
    guarded
}

/// The same in the code of a text.
pub(super) fn guarded_text(text: &str) -> String {
    let mut guarded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = ["{{", "{%", "{#"]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min()
    {
        let (plain, code) = rest.split_at(begin);
        guarded.push_str(plain);
        let end = match &code[..2] {
            "{#" => code.find("#}").map(|at| at + 2),
            _ if code[2..]
                .trim_start_matches(['-', '+', ' '])
                .starts_with("raw") =>
            {
                code.find("endraw").map(|at| at + "endraw".len())
            }
            open => code_length(code, if open == "{{" { "}}" } else { "%}" }),
        };
        let (code, after) = code.split_at(end.unwrap_or(code.len()));
        if end.is_some() && !code.starts_with("{#") && !code.ends_with("endraw") {
            guarded.push_str(&code[..2]);
            guarded.push_str(&self::guarded(&code[2..code.len() - 2]));
            guarded.push_str(&code[code.len() - 2..]);
        } else {
            guarded.push_str(code);
        }
        rest = after;
    }
    guarded.push_str(rest);
    guarded
}

/// The length of code with both its marks; an end mark within a quoted text is none.
fn code_length(code: &str, end: &str) -> Option<usize> {
    let mut at = 2;
    while let Some(c) = code[at..].chars().next() {
        if code[at..].starts_with(end) {
            return Some(at + 2);
        }
        at += if matches!(c, '"' | '\'') {
            text_length(&code[at..], c)
        } else {
            c.len_utf8()
        };
    }
    None
}

/// Where the operand that begins with a part ends, filters and all.
fn operand(parts: &[Part], mut i: usize) -> Option<usize> {
    while matches!(parts.get(i), Some(Part::Sign('-' | '+'))) {
        i += 1;
    }
    let mut end = match parts.get(i)? {
        Part::Value(end) => *end,
        Part::Open => bracket(parts, &mut i)?,
        _ => return None,
    };
    loop {
        match (parts.get(i + 1), parts.get(i + 2)) {
            (Some(Part::Open), _) => {
                i += 1;
                end = bracket(parts, &mut i)?;
            }
            (Some(Part::Sign('.' | '|')), Some(Part::Value(name) | Part::Word(name))) => {
                i += 2;
                end = *name;
            }
            (Some(Part::Power), _) => return operand(parts, i + 2),
            _ => return Some(end),
        }
    }
}

/// Where a bracket ends that opens with a part, which becomes the closing one.
fn bracket(parts: &[Part], i: &mut usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, part) in parts.iter().enumerate().skip(*i) {
        match part {
            Part::Open => depth += 1,
            Part::Close(end) => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    *i = at;
                    return Some(*end);
                }
            }
            _ => {}
        }
    }
    None
}

fn parts(code: &str) -> Vec<Part> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        let (length, part) = match c {
            '"' | '\'' => {
                let length = text_length(rest, c);
                (length, Some(Part::Value(at + length)))
            }
            c if c.is_ascii_digit() => {
                let length = number_length(rest);
                (length, Some(Part::Value(at + length)))
            }
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let is_keyword = KEYWORDS.contains(&&rest[..length]);
                let end = at + length;
                (
                    length,
                    Some(if is_keyword {
                        Part::Word(end)
                    } else {
                        Part::Value(end)
                    }),
                )
            }
            '*' if rest.starts_with("**") => (2, Some(Part::Power)),
            '(' | '[' | '{' => (1, Some(Part::Open)),
            ')' | ']' | '}' => (1, Some(Part::Close(at + 1))),
            c if c.is_whitespace() => (c.len_utf8(), None),
            c => (c.len_utf8(), Some(Part::Sign(c))),
        };
        parts.extend(part);
        at += length;
    }
    parts
}

/// The length of a number: `12`, `1.5`, `1e-5`, `0xff`, `1_000`.
fn number_length(code: &str) -> usize {
    let bytes = code.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let is_exponent = matches!(byte, b'e' | b'E') && !code.starts_with("0x");
        at += match byte {
            b'.' if digit(at + 1) => 1,
            _ if is_exponent && matches!(bytes.get(at + 1), Some(b'-' | b'+')) && digit(at + 2) => {
                2
            }
            byte if byte.is_ascii_alphanumeric() || *byte == b'_' => 1,
            _ => break,
        };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_of_times_and_plus_pass_a_filter() {
        for (code, expected) in [
            ("a", "a"),
            ("a*b", "a | __factor *b | __factor "),
            (
                "2 * a.b[0] | f(x)",
                "2 | __factor  * a.b[0] | f(x) | __factor ",
            ),
            ("a ** b * c", "a ** b | __factor  * c | __factor "),
            ("a * -b ** c", "a | __factor  * -b ** c | __factor "),
            ("(a) * [b]", "(a) | __factor  * [b] | __factor "),
            ("'*' ~ \"a * b\"", "'*' ~ \"a * b\""),
            ("a + 1.5e-3", "a | __term  + 1.5e-3 | __term "),
            ("-a", "-a"),
            ("a if b else +c", "a if b else +c"),
            ("f(*a)", "f(*a)"),
            ("1 +", "1 +"),
            ("2 * {'a': 1", "2 * {'a': 1"),
        ] {
            assert_eq!(guarded(code), expected, "{code}");
        }
    }

    #[test]
    fn only_the_code_of_a_text_is_guarded() {
        for (text, expected) in [
            ("a * b {# c * d #}", "a * b {# c * d #}"),
            (
                "{{- a * 2 }} * 3",
                "{{- a | __factor  * 2 | __factor  }} * 3",
            ),
            (
                "{% raw %}{{ a * b }}{% endraw %}",
                "{% raw %}{{ a * b }}{% endraw %}",
            ),
            ("{{ '}}' * n }}", "{{ '}}' | __factor  * n | __factor  }}"),
            ("{%+ if a +%}x{% endif %}", "{%+ if a +%}x{% endif %}"),
            ("{{ a", "{{ a"),
        ] {
            assert_eq!(guarded_text(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_computed_is_the_same() {
        let mut environment = Environment::new();
        add_to(&mut environment);
        for code in [
            "1 + 2 * 3 ** 2 - -4 * (5 + 6)",
            "'ab' * 3 + 'c'",
            "3 * 'ab'",
            "[1] + [2, 3] | list",
            "([1] + [2]) | length * 2",
            "{'a': 2}.a * [3][0] + 'x,y' | length",
            "not 1 * 0",
            "2 * 3 == 6 and 1 + 1 in [2]",
            "1.5e1*2+0x10",
            "(10 // 3 * 2 % 4 + 1) ~ 2 * 2",
            "(1 if 2 * 0 else 3 * 3) + 1",
        ] {
            let value = |code: &str| {
                let expression = environment.compile_expression(code).expect(code);
                expression.eval(()).expect(code).to_string()
            };
            assert_eq!(value(&guarded(code)), value(code), "{code}");
        }
        let code = guarded("[1] * 3");
        let expression = environment.compile_expression(&code).expect("code");
        assert!(expression.eval(()).is_err());
    }
}
