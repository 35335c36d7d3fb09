//! The language that picks dead letters.
//!
//! Words are joined by *and*. A plain word is looked for, without regard to case, in the lead's
//! name, URL and bytes and in the error. `field:value` looks in one field, `!` before a term turns
//! it round, and a value with spaces goes in quotes:
//!
//! | term | matches |
//! |---|---|
//! | `timeout` | the word anywhere |
//! | `error:"HTTP 503"` | the error contains it |
//! | `kind:permanent` | the kind of error, exactly |
//! | `station:enrich` `worker:host-1` `id:k3x` `name:ada` `url:/in/ada` | that field contains it |
//! | `cause:1f3a9c07` | the group it belongs to, as `bridge dlq groups` and the console show it |
//! | `lead:acme` | the lead's own bytes contain it |
//! | `attempts:>2` `retries:0` | a number: `>`, `<`, `>=`, `<=` or exactly |
//! | `age:>1h` | failed longer ago than that; `ms s m h d` |
//! | `!station:enrich` | not that |

use crate::cause::Cause;
use crate::clock::Millis;
use crate::store::dead_letters::DeadLetter;

/// What a filter's text is wrong about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No such field.
    #[error("no field {0:?}; there are {FIELDS}. To look for it as a word, put it in quotes.")]
    UnknownField(String),
    /// The value does not fit the field.
    #[error("{field} needs {needs}, not {value:?}")]
    BadValue {
        /// The field.
        field: String,
        /// What it needs.
        needs: &'static str,
        /// What it was given.
        value: String,
    },
    /// A quote is left open.
    #[error("a quote is left open")]
    OpenQuote,
}

const FIELDS: &str =
    "error, kind, station, worker, cause, id, name, url, lead, attempts, retries and age";

/// A filter, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<(bool, Term)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Anywhere(String),
    Field(Field, String),
    Kind(String),
    Cause(String),
    Attempts(Comparison),
    Retries(Comparison),
    Age(Comparison),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Error,
    Station,
    Worker,
    Id,
    Name,
    Url,
    Lead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Comparison {
    order: Order,
    value: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    AtMost,
    Exactly,
    AtLeast,
    More,
}

impl Comparison {
    fn holds(self, value: i64) -> bool {
        match self.order {
            Order::Less => value < self.value,
            Order::AtMost => value <= self.value,
            Order::Exactly => value == self.value,
            Order::AtLeast => value >= self.value,
            Order::More => value > self.value,
        }
    }
}

impl Filter {
    /// Reads a filter; an empty text matches everything.
    ///
    /// # Errors
    /// [`FilterError`].
    ///
    /// ```
    /// use bridge_shared::filter::Filter;
    /// assert!(Filter::parse(r#"error:"HTTP 503" !station:identity age:>1h"#).is_ok());
    /// assert!(Filter::parse("colour:red").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let terms = words(text)?
            .into_iter()
            .map(Word::term)
            .collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether a dead letter matches, `now` being the server's time.
    #[must_use]
    pub fn matches(&self, letter: &DeadLetter, now: Millis) -> bool {
        self.terms
            .iter()
            .all(|(wanted, term)| term.matches(letter, now) == *wanted)
    }
}

impl Term {
    fn matches(&self, letter: &DeadLetter, now: Millis) -> bool {
        let envelope = &letter.envelope;
        let text = |field: Field| match field {
            Field::Error => envelope.error.clone(),
            Field::Station => envelope.station.clone(),
            Field::Worker => envelope.worker.clone(),
            Field::Id => envelope.id.clone(),
            Field::Name => envelope
                .parse_lead()
                .ok()
                .and_then(|l| l.full_name())
                .unwrap_or_default(),
            Field::Url => envelope
                .parse_lead()
                .ok()
                .and_then(|l| l.linkedin_url())
                .unwrap_or_default(),
            Field::Lead => String::from_utf8_lossy(&envelope.lead).into_owned(),
        };
        let contains = |field: Field, wanted: &str| lower(&text(field)).contains(wanted);
        match self {
            Self::Anywhere(wanted) => [
                Field::Error,
                Field::Lead,
                Field::Id,
                Field::Name,
                Field::Url,
            ]
            .into_iter()
            .any(|field| contains(field, wanted)),
            Self::Field(field, wanted) => contains(*field, wanted),
            Self::Cause(wanted) => Cause::of(envelope).id == *wanted,
            Self::Kind(wanted) => envelope.error_kind.as_str() == wanted,
            Self::Attempts(comparison) => {
                comparison.holds(i64::try_from(envelope.attempts.len()).unwrap_or(i64::MAX))
            }
            Self::Retries(comparison) => comparison.holds(i64::from(envelope.retry_count)),
            Self::Age(comparison) => envelope
                .failed_at
                .is_some_and(|at| comparison.holds(now - at)),
        }
    }
}

/// One word of the text: what stood before the colon, and whether what follows was quoted.
#[derive(Default)]
struct Word {
    negated: bool,
    field: Option<String>,
    value: String,
}

fn words(text: &str) -> Result<Vec<Word>, FilterError> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(words);
        }
        let mut word = Word {
            negated: chars.next_if_eq(&'!').is_some(),
            ..Word::default()
        };
        let mut quoted = false;
        while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
            match c {
                '"' => {
                    quoted = true;
                    loop {
                        match chars.next().ok_or(FilterError::OpenQuote)? {
                            '"' => break,
                            c => word.value.push(c),
                        }
                    }
                }
                // A colon after letters makes a field; `https://...` and `10:30` stay words.
                ':' if !quoted
                    && word.field.is_none()
                    && !word.value.is_empty()
                    && word.value.chars().all(|c| c.is_ascii_alphabetic())
                    && !chars.clone().take(2).eq(['/', '/']) =>
                {
                    word.field = Some(std::mem::take(&mut word.value));
                }
                c => word.value.push(c),
            }
        }
        words.push(word);
    }
}

impl Word {
    fn term(self) -> Result<(bool, Term), FilterError> {
        let text = lower(&self.value);
        let field = |field| Ok(Term::Field(field, text.clone()));
        let bad = |name: &str, needs| FilterError::BadValue {
            field: name.to_owned(),
            needs,
            value: self.value.clone(),
        };
        let number = |name: &str| {
            comparison(&text, |text| text.parse().ok())
                .ok_or_else(|| bad(name, "a number, such as >2"))
        };
        let term = match self
            .field
            .as_deref()
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None => Ok(Term::Anywhere(text.clone())),
            Some("error") => field(Field::Error),
            Some("station") => field(Field::Station),
            Some("worker") => field(Field::Worker),
            Some("id") => field(Field::Id),
            Some("name") => field(Field::Name),
            Some("url") => field(Field::Url),
            Some("lead") => field(Field::Lead),
            Some("cause") => Ok(Term::Cause(text.clone())),
            Some("kind") => Ok(Term::Kind(text.clone())),
            Some("attempts") => number("attempts").map(Term::Attempts),
            Some("retries") => number("retries").map(Term::Retries),
            Some("age") => comparison(&text, duration)
                .map(Term::Age)
                .ok_or_else(|| bad("age", "a span of time, such as >1h or <30m")),
            Some(other) => Err(FilterError::UnknownField(other.to_owned())),
        }?;
        Ok((!self.negated, term))
    }
}

/// A text without regard to case, letter by letter: as a word has it, a letter may depend on those
/// around it (a sigma at the end), and then no part of a word would be found in it.
fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(char::to_lowercase).collect()
}

fn comparison(text: &str, value: impl Fn(&str) -> Option<i64>) -> Option<Comparison> {
    let (order, rest) = [
        (">=", Order::AtLeast),
        ("<=", Order::AtMost),
        (">", Order::More),
        ("<", Order::Less),
        ("=", Order::Exactly),
    ]
    .into_iter()
    .find_map(|(sign, order)| Some((order, text.strip_prefix(sign)?)))
    .unwrap_or((Order::Exactly, text));
    Some(Comparison {
        order,
        value: value(rest.trim())?,
    })
}

/// A span of time in milliseconds: `90s`, `1.5h`, `2d`.
fn duration(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let unit = match unit {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 6e4,
        "h" => 3.6e6,
        "d" => 8.64e7,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    #[allow(clippy::cast_possible_truncation)]
    (number.is_finite() && number >= 0.0).then_some((number * unit) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn letter(json: &'static str) -> DeadLetter {
        DeadLetter::new(0, 1, Bytes::from_static(json.as_bytes()))
    }

    fn matches(filter: &str, letter: &DeadLetter) -> bool {
        Filter::parse(filter)
            .expect(filter)
            .matches(letter, 10_000_000)
    }

    #[test]
    fn terms_are_joined_by_and_and_can_be_turned_round() {
        let dead = letter(
            r#"{"envelope":1,"id":"k3x-1","lead":{"name":"Ada Lovelace","linkedinUrl":"https://linkedin.com/in/ada"},
            "error":"HTTP 503 from enrich","retry_count":3,"failed_at":"1970-01-01T01:00:00Z","error_kind":"transient",
            "station":"enrich","attempts":[{},{}]}"#,
        );
        for filter in [
            "",
            "ada",
            "LOVELACE 503",
            "error:\"http 503\"",
            "kind:transient",
            "station:enrich attempts:2",
            "attempts:>1 attempts:<=2",
            "retries:3",
            "age:>1h age:<3h",
            "!kind:permanent",
            "url:/in/ada",
            "id:k3x",
            "\"Ada Love\"",
            "https://linkedin.com/in/ada",
        ] {
            assert!(matches(filter, &dead), "{filter}");
        }
        for filter in [
            "grace",
            "!ada",
            "kind:trans",
            "attempts:>2",
            "age:>3h",
            "error:ada",
            "ada grace",
        ] {
            assert!(!matches(filter, &dead), "{filter}");
        }
    }

    #[test]
    fn a_part_of_a_word_is_found_whatever_stands_at_its_end() {
        let dead = letter(r#"{"name":"ΟΔΟΣΑΣ"}"#);
        assert!(matches("ΟΔΟΣ", &dead) && matches("οδοσα", &dead) && !matches("οδοι", &dead));
    }

    #[test]
    fn an_entry_without_a_time_has_no_age() {
        let bare = letter(r#"{"name":"x"}"#);
        assert!(!matches("age:>0s", &bare) && matches("!age:>0s", &bare));
    }

    #[test]
    fn mistakes_are_named() {
        let says = |text| Filter::parse(text).expect_err(text).to_string();
        assert!(says("colour:red").contains("no field \"colour\"; there are error, kind"));
        assert_eq!(
            says("age:soon"),
            "age needs a span of time, such as >1h or <30m, not \"soon\""
        );
        assert_eq!(
            says("attempts:many"),
            "attempts needs a number, such as >2, not \"many\""
        );
        assert_eq!(says("error:\"oops"), "a quote is left open");
    }
}
