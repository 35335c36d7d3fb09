//! The language that picks dead letters.
//!
//! Words are joined by *and*. `field:value` looks in one field, `!` before a term turns it round,
//! and a value with spaces goes in quotes:
//!
//! | term | matches |
//! |---|---|
//! | `timeout` | the word in the error, name or URL, exactly or loosely; in the id or the lead's bytes exactly |
//! | `'timeout` `"timed out"` | that text in any of them, exactly |
//! | `error:"HTTP 503"` | the error contains it |
//! | `kind:permanent` | the kind of error, exactly |
//! | `station:enrich` `worker:host-1` `id:k3x` `name:ada` `url:/in/ada` | that field contains it |
//! | `cause:1f3a9c07` | the group it belongs to, as `bridge dlq groups` and the console show it |
//! | `lead:acme` | the lead's own bytes contain it |
//! | `attempts:>2` `retries:0` | a number: `>`, `<`, `>=`, `<=` or exactly |
//! | `age:>1h` | failed longer ago than that; `ms s m h d` |
//! | `!station:enrich` `!timeout` | not that; after `!` a word is taken exactly |
//!
//! Of a large dead letter that is not at hand whole, a term that looks into the lead says nothing,
//! and neither does its opposite: who asks has it read first, as
//! [`Store::look_into`](crate::store::Store::look_into) does.
//!
//! What *exactly* and *loosely* mean is said once, in [`needle`]. One filter is one set of dead
//! letters: those that are shown are those that are acted on, in the console and in the commands.

pub mod needle;
mod wanted;

use crate::cause::Cause;
use crate::clock::Millis;
use crate::envelope::Origin;
use crate::store::dead_letters::DeadLetter;
use needle::{Fit, Needle};
pub use wanted::{Place, Texts, Wanted};

/// What a filter's text is wrong about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No such field.
    #[error("no field {0:?}; there are {names}. To look for it as a word, put it in quotes.", names = names())]
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
    /// Nothing stands after the sign for what is not wanted.
    #[error("after ! goes what is not wanted: a word, or a field such as !kind:timeout")]
    NothingNegated,
}

/// The fields, and what each is about.
pub const FIELDS: [(&str, &str); 12] = [
    ("error", "the error contains it"),
    ("kind", "the kind of error"),
    ("station", "where it failed"),
    ("worker", "who had it"),
    ("cause", "the group of like errors"),
    ("id", "the id contains it"),
    ("name", "the name contains it"),
    ("url", "the profile's URL contains it"),
    ("lead", "the lead's bytes contain it"),
    ("attempts", "how many are in its history, such as >2"),
    ("retries", "how many were made, such as 0"),
    ("age", "how long ago it failed, such as >1h"),
];

fn names() -> String {
    let names = FIELDS.map(|(name, _)| name);
    let (last, others) = names.split_last().expect("there are fields");
    format!("{} and {last}", others.join(", "))
}

/// A filter, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    terms: Vec<(bool, Term)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Text(Wanted),
    Kind(String),
    Cause(String),
    Attempts(Comparison),
    Retries(Comparison),
    Age(Comparison),
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
        self.fit(letter, now).is_some()
    }

    /// How a dead letter matches: loosely where one of the words does; `None` where it does not.
    #[must_use]
    pub fn fit(&self, letter: &DeadLetter, now: Millis) -> Option<Fit> {
        let texts = Texts::of(letter);
        self.terms
            .iter()
            .try_fold(Fit::Exact, |so_far, (wanted, term)| {
                let fit = term.fit(letter, &texts, now);
                // What is not at hand may hold it or not.
                if !letter.is_whole() && term.looks_into_leads() {
                    None
                } else if *wanted {
                    fit.map(|fit| so_far.max(fit))
                } else {
                    fit.is_none().then_some(so_far)
                }
            })
    }

    /// Whether only the whole of a dead letter can tell if it matches: its beginning is at hand,
    /// and no term that this can answer rules it out.
    #[must_use]
    pub fn must_look_into(&self, letter: &DeadLetter, now: Millis) -> bool {
        if letter.is_whole() || self.is_empty() {
            return false;
        }
        if letter.origin != Origin::Envelope {
            // What it died of may stand behind the lead.
            return true;
        }
        let (inside, outside): (Vec<_>, Vec<_>) = self
            .terms
            .iter()
            .partition(|(_, term)| term.looks_into_leads());
        let texts = Texts::of(letter);
        !inside.is_empty()
            && outside
                .iter()
                .all(|(wanted, term)| term.fit(letter, &texts, now).is_some() == *wanted)
    }

    /// The texts that it wants, for showing where they stand.
    pub fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.terms.iter().filter_map(|term| match term {
            (true, Term::Text(wanted)) => Some(wanted),
            _ => None,
        })
    }
}

impl Term {
    fn looks_into_leads(&self) -> bool {
        matches!(self, Self::Text(wanted) if wanted.looks_into_leads())
    }

    fn fit(&self, letter: &DeadLetter, texts: &Texts<'_>, now: Millis) -> Option<Fit> {
        let envelope = &letter.envelope;
        let holds = match self {
            Self::Text(wanted) => return wanted.fit(texts),
            Self::Cause(wanted) => Cause::of(envelope).id == *wanted,
            Self::Kind(wanted) => envelope.error_kind.as_str() == wanted,
            Self::Attempts(comparison) => {
                comparison.holds(i64::try_from(envelope.attempts.len()).unwrap_or(i64::MAX))
            }
            Self::Retries(comparison) => comparison.holds(i64::from(envelope.retry_count)),
            Self::Age(comparison) => envelope
                .failed_at
                .is_some_and(|at| comparison.holds(now - at)),
        };
        holds.then_some(Fit::Exact)
    }
}

/// One word of the text, and what stood before the colon.
#[derive(Default)]
struct Word {
    negated: bool,
    /// Whether it is to be found as it is: it was in quotes, or after one.
    exact: bool,
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
        // Only before a word: `O'Hara` has one of its own.
        word.exact = chars.next_if_eq(&'\'').is_some();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
            match c {
                '"' => {
                    word.exact = true;
                    loop {
                        match chars.next().ok_or(FilterError::OpenQuote)? {
                            '"' => break,
                            c => word.value.push(c),
                        }
                    }
                }
                // A colon after letters makes a field; `https://...` and `10:30` stay words.
                ':' if !word.exact
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
        let is_bare = word.field.is_none() && !word.exact && word.value.is_empty();
        if word.negated && is_bare {
            return Err(FilterError::NothingNegated);
        }
        words.push(word);
    }
}

impl Word {
    fn term(self) -> Result<(bool, Term), FilterError> {
        let text = self.value.to_lowercase();
        let field = |place| {
            Ok(Term::Text(Wanted {
                needle: Needle::value(&self.value),
                place: Some(place),
            }))
        };
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
            // What is taken away for a mere likeness is never seen.
            None if self.exact || self.negated => Ok(Term::Text(Wanted {
                needle: Needle::exact(&self.value),
                place: None,
            })),
            None => Ok(Term::Text(Wanted {
                needle: Needle::loose(&self.value),
                place: None,
            })),
            Some("error") => field(Place::Error),
            Some("station") => field(Place::Station),
            Some("worker") => field(Place::Worker),
            Some("id") => field(Place::Id),
            Some("name") => field(Place::Name),
            Some("url") => field(Place::Url),
            Some("lead") => field(Place::Lead),
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
            "lovelace 503",
            "Lovelace",
            "lvelace",
            "enrch",
            "'lovelace",
            "!lvelace",
            "k3x-1 \"linkedinUrl\"",
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
            "LOVELACE",
            "'lvelace",
            "\"lvelace\"",
            "error:lvelace",
            // The name of a field is in the bytes, where nothing is found loosely.
            "lnkedinUrl",
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
    fn nothing_cannot_be_unwanted() {
        for text in ["!", "ada !", "! ada"] {
            assert_eq!(
                Filter::parse(text),
                Err(FilterError::NothingNegated),
                "{text}"
            );
        }
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
