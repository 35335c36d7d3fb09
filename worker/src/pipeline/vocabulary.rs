//! Finds words in an expression that its language does not know. The minijinja crate looks filters,
//! tests and functions up only when it comes to them, which may be at the ten thousandth lead.

use minijinja::{Environment, ErrorKind};

/// Words that may stand before a bracket without being functions.
const KEYWORDS: [&str; 11] = [
    "and",
    "else",
    "elif",
    "for",
    "if",
    "in",
    "is",
    "not",
    "or",
    "recursive",
    "set",
];

/// A word of an expression, or a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    Sign(char),
}

/// What is not known in an expression.
pub(super) fn unknown(environment: &Environment<'_>, code: &str) -> Option<String> {
    let tokens = tokens(code);
    let at = |i: Option<usize>| i.and_then(|i| tokens.get(i)).copied();
    let (filter, is) = (Some(Token::Sign('|')), Some(Token::Word("is")));
    for (i, token) in tokens.iter().enumerate() {
        let Token::Word(word) = *token else {
            continue;
        };
        let (before, next) = (at(i.checked_sub(1)), at(i.checked_add(1)));
        let negated = before == Some(Token::Word("not")) && at(i.checked_sub(2)) == is;
        let mut state = environment.empty_state();
        if before == filter {
            let known = state.apply_filter(word, &[]);
            if known.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter) {
                return Some(format!("there is no filter called {word}"));
            }
        } else if (before == is && word != "not") || negated {
            let known = state.perform_test(word, &[]);
            if known.is_err_and(|error| error.kind() == ErrorKind::UnknownTest) {
                return Some(format!("there is no test called {word}"));
            }
        } else if next == Some(Token::Sign('('))
            && before != Some(Token::Sign('.'))
            && !KEYWORDS.contains(&word)
            && environment.globals().all(|(global, _)| global != word)
        {
            return Some(format!("there is no function called {word}"));
        }
    }
    None
}

/// The same in a template; with the line of it, from 0.
pub(super) fn unknown_in_text(
    environment: &Environment<'_>,
    text: &str,
) -> Option<(usize, String)> {
    let mut from = 0;
    while let Some(begin) = text[from..]
        .find("{{")
        .into_iter()
        .chain(text[from..].find("{%"))
        .min()
    {
        let begin = from + begin;
        let end = if text[begin..].starts_with("{{") {
            "}}"
        } else {
            "%}"
        };
        let length = text[begin..].find(end)?;
        let code = &text[begin + 2..begin + length];
        if code.trim_matches(['-', '+', ' ']) == "raw" {
            from = begin + text[begin..].find("endraw")?;
            continue;
        }
        if let Some(what) = unknown(environment, code) {
            return Some((text[..begin].matches('\n').count(), what));
        }
        from = begin + length;
    }
    None
}

/// The words and signs of an expression, without its texts and numbers.
fn tokens(code: &str) -> Vec<Token<'_>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let length = if matches!(c, '"' | '\'') {
            tokens.push(Token::Sign(c));
            text_length(rest, c)
        } else if is_word(c) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if !c.is_ascii_digit() {
                tokens.push(Token::Word(&rest[..length]));
            }
            length
        } else {
            tokens.push(Token::Sign(c));
            c.len_utf8()
        };
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The length of a quoted text at the beginning, quotes included.
pub(super) fn text_length(code: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in code.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_filters_tests_and_functions_are_found_wherever_they_stand() {
        let environment = Environment::new();
        for (code, expected) in [
            ("a and (b | uper)", Some("there is no filter called uper")),
            ("a|lower|uper", Some("there is no filter called uper")),
            ("a is nice", Some("there is no test called nice")),
            ("a is not nice", Some("there is no test called nice")),
            ("a or foo(1)", Some("there is no function called foo")),
            ("a | upper ~ b | default('|uper')", None),
            ("a is defined and b is not none", None),
            ("a.get(1) and not(b) or (c)", None),
            ("range(3) and dict(x=1)", None),
            (r#""a \" | uper" in b"#, None),
            ("a in ['is', 'x'] and 1.5 > 2", None),
        ] {
            let found = unknown(&environment, code);
            assert_eq!(found.as_deref(), expected, "{code}");
        }
    }

    #[test]
    fn only_the_code_of_a_text_counts() {
        let environment = Environment::new();
        let find = |text| unknown_in_text(&environment, text);
        assert_eq!(
            find("a | b is c(d)\n{{ a | upper }}{% if (a) %}{% endif %}"),
            None
        );
        assert_eq!(find("{% raw %}{{ a | uper }}{% endraw %}{{ a }}"), None);
        assert_eq!(
            find("\n{% if a %}\n{{ a | uper }}{% endif %}"),
            Some((2, "there is no filter called uper".into()))
        );
    }
}
