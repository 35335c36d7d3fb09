//! What an answer brings to a lead: all its fields, the whole of it under one name, or what the
//! route picks out of it by JSONPath (RFC 9535).

use bridge_shared::lead::Lead;
use bridge_shared::terminal::is_harmful;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use serde_json_path::JsonPath;
use toml::Spanned;

use super::Keys;

/// Bytes of an answer after which it is no answer any more.
pub(super) const LONGEST: usize = 8 * 1024 * 1024;

/// What to do with an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// Its fields become the lead's; its `null`s change nothing.
    Merge,
    /// It becomes one field of the lead.
    Whole(String),
    /// Parts of it become fields.
    Picks(Vec<Pick>),
}

/// A part of an answer and the field it goes to.
#[derive(Debug)]
pub(super) struct Pick {
    field: String,
    path: JsonPath,
    /// Whether the path can only find one value; of any other, the list of what it finds is taken.
    single: bool,
}

impl Answer {
    /// Reads `map = { field = "$.path" }` or `into = "field"`.
    pub(super) fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let at = keys.place("into");
        let map = keys.plain_entries("map");
        let into = keys.text("into");
        match (map, into) {
            (None, None) => Some(Self::Merge),
            (None, Some(field)) => Some(Self::Whole(field.into_inner())),
            (Some(_), Some(_)) => {
                keys.wrong(
                    &at,
                    "an answer goes into one field, or by map into several",
                    "take into or map out",
                );
                None
            }
            (Some(map), None) => {
                let pick = |(field, path): &(Spanned<String>, Spanned<String>)| {
                    let pick = Pick::new(field.get_ref(), path.get_ref());
                    pick.map_err(|what| {
                        let hint = "write a JSONPath such as \"$.person.emails[0]\"";
                        keys.wrong(&path.span(), what, hint);
                    })
                    .ok()
                };
                Some(Self::Picks(map.iter().filter_map(pick).collect()))
            }
        }
    }

    /// The fields it may add to a lead, as far as they are known.
    pub(super) fn produces(&self) -> Vec<String> {
        match self {
            Self::Merge => Vec::new(),
            Self::Whole(field) => vec![field.clone()],
            Self::Picks(picks) => picks.iter().map(|pick| pick.field.clone()).collect(),
        }
    }

    /// Brings an answer to a lead. An answer with nothing in it changes nothing.
    ///
    /// # Errors
    /// What is wrong with the answer, as the end of a sentence.
    pub(super) fn apply(&self, body: &[u8], lead: &mut Lead) -> Result<(), String> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match self {
            Self::Merge => {
                let answer = Lead::parse(body).map_err(|error| format!("the answer is {error}"))?;
                lead.merge(&answer);
                Ok(())
            }
            Self::Whole(field) => {
                let answer: Box<RawValue> = read(body)?;
                lead.set_at(field, answer)
                    .map_err(|error| error.to_string())
            }
            Self::Picks(picks) => {
                let answer: Value = read(body)?;
                // All of them or none: a failed station may be passed over.
                let mut changed = lead.clone();
                picks
                    .iter()
                    .try_for_each(|pick| pick.apply(&answer, &mut changed))?;
                *lead = changed;
                Ok(())
            }
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))
}

impl Pick {
    fn new(field: &str, path: &str) -> Result<Self, String> {
        Ok(Self {
            field: field.to_owned(),
            path: JsonPath::parse(path)
                .map_err(|error| format!("the path of {field} is no JSONPath: {error}"))?,
            single: is_single(path),
        })
    }

    fn apply(&self, answer: &Value, lead: &mut Lead) -> Result<(), String> {
        let found = self.path.query(answer).all();
        let value = if self.single {
            found
                .first()
                .filter(|value| !value.is_null())
                .map(to_raw_value)
        } else {
            (!found.is_empty()).then(|| to_raw_value(&found))
        };
        match value {
            Some(value) => lead
                .set_at(&self.field, value.expect("a JSON value is JSON"))
                .map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// What somebody else said, as it may stand in an error or in the log: on one line, without harmful
/// characters, and only its beginning.
pub(super) fn excerpt(text: &str, longest: usize) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || is_harmful(c))
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(longest).collect()
}

/// Whether a path is made of names and indices only, and so finds one value at most (RFC 9535,
/// 2.3.5.1: a singular query).
fn is_single(path: &str) -> bool {
    let (mut quote, mut before) = (None, ' ');
    for c in path.chars() {
        match quote {
            Some(end) => {
                if c == end && before != '\\' {
                    quote = None;
                }
                // A backslash that is escaped itself escapes nothing.
                before = if before == '\\' && c == '\\' { ' ' } else { c };
                continue;
            }
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if matches!(c, '*' | '?' | ':' | ',') || (c == '.' && before == '.') => {
                return false;
            }
            None => {}
        }
        before = c;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(map: &[(&str, &str)]) -> Answer {
        let pick = |(field, path): &(&str, &str)| Pick::new(field, path).expect(path);
        Answer::Picks(map.iter().map(pick).collect())
    }

    fn applied(answer: &Answer, body: &str) -> Result<String, String> {
        let mut lead = Lead::parse(br#"{"name":"Ada"}"#).expect("a lead");
        answer.apply(body.as_bytes(), &mut lead)?;
        Ok(String::from_utf8(lead.to_json()).expect("UTF-8"))
    }

    #[test]
    fn picks_find_one_value_or_a_list_and_keep_numbers_as_they_are() {
        let answer = picks(&[
            ("email", "$.person.emails[0].value"),
            ("emails", "$.person.emails[*].value"),
            ("work", "$.person.emails[?@.kind == 'work'].value"),
            ("score.value", "$['the, score']"),
            ("none", "$.null"),
            ("absent", "$.absent.deep"),
            ("empty", "$.person.emails[?@.kind == 'x']"),
        ]);
        let body = r#"{"person":{"emails":[{"value":"a@example.com","kind":"work"},{"value":"b@example.com"}]},
            "the, score":0.50,"null":null}"#;
        assert_eq!(
            applied(&answer, body).expect("picked"),
            r#"{"name":"Ada","email":"a@example.com","emails":["a@example.com","b@example.com"],"work":["a@example.com"],"score":{"value":0.50}}"#
        );
        assert_eq!(
            applied(&answer, " \n").expect("nothing"),
            r#"{"name":"Ada"}"#
        );
        assert_eq!(
            applied(&answer, "[1]").expect("nothing found"),
            r#"{"name":"Ada"}"#
        );
        assert!(
            applied(&answer, "<html>")
                .expect_err("no JSON")
                .contains("not JSON")
        );
    }

    #[test]
    fn a_whole_answer_goes_under_one_name_as_it_came() {
        let answer = Answer::Whole("raw.answer".into());
        assert_eq!(
            applied(&answer, "[1.50, {}]").expect("set"),
            r#"{"name":"Ada","raw":{"answer":[1.50, {}]}}"#
        );
        let answer = Answer::Whole("name.x".into());
        assert_eq!(
            applied(&answer, "1").expect_err("name is a text"),
            "name.x cannot be set: name is not an object but a text"
        );
    }

    #[test]
    fn what_a_service_says_fits_on_a_line() {
        assert_eq!(excerpt(" a\r\n\x1b[31mb\0c ", 200), "a [31mb c");
        assert_eq!(excerpt(&"x".repeat(500), 200).len(), 200);
    }

    #[test]
    fn a_single_path_has_names_and_indices_only() {
        for path in [
            "$",
            "$.a.b[0]",
            "$['a'][\"b\"]",
            "$['a*?:,..']",
            r"$['\\']",
            r"$['\'*']",
        ] {
            assert!(is_single(path), "{path}");
        }
        for path in ["$.*", "$..a", "$[0,1]", "$[0:2]", "$[?@.a]", r"$['\\'].*"] {
            assert!(!is_single(path), "{path}");
        }
    }
}
