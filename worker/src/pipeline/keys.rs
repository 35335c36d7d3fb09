//! A table of the route file, taken apart key by key, with every mistake in it written down.
//!
//! A getter returns `None` where the key is not there, and also where its value is wrong: that is
//! written down, and the reading goes on, so that all mistakes come out in one go. What is left
//! at the end is unknown.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use bridge_shared::hint::suggest;
use bridge_shared::money::Money;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::expression::{Escape, Expression, Template, Unreadable};
use super::rate::Rate;
use super::secrets::{Piece, Secrets, pieces};

/// A mistake at a place in the route file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Where, in bytes from the beginning of the file.
    pub(super) at: usize,
    /// How many lines below that.
    pub(super) down: usize,
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) hint: String,
}

/// A route file while it is read.
pub(super) struct Reading<'a> {
    text: &'a str,
    folder: PathBuf,
    mistakes: RefCell<Vec<Mistake>>,
    secrets: RefCell<Secrets>,
}

impl<'a> Reading<'a> {
    /// `folder` is where the paths in the file begin.
    pub(super) fn new(text: &'a str, folder: &Path) -> Self {
        Self {
            text,
            folder: folder.to_owned(),
            mistakes: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    /// The file's text.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Writes down a mistake.
    pub(super) fn wrong(
        &self,
        at: &Range<usize>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.mistakes.borrow_mut().push(Mistake {
            at: at.start,
            down: 0,
            what: what.into(),
            hint: hint.into(),
        });
    }

    /// What was found: the mistakes, in the order of the file, and what the environment gave.
    pub(super) fn end(self) -> (Vec<Mistake>, Secrets) {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.at);
        (mistakes, self.secrets.into_inner())
    }

    /// Writes down why a text cannot be compiled, at the very line of it.
    fn unreadable(&self, at: &Range<usize>, why: Unreadable) {
        let raw = self.text.get(at.clone()).unwrap_or_default();
        // The newline after opening quotes is no part of the text (TOML 1.1, "String").
        let opening = raw.get(3..).unwrap_or_default();
        let multi = raw.starts_with("\"\"\"") || raw.starts_with("'''");
        let skipped = multi && (opening.starts_with('\n') || opening.starts_with("\r\n"));
        self.mistakes.borrow_mut().push(Mistake {
            at: at.start,
            down: if multi {
                why.line + usize::from(skipped)
            } else {
                0
            },
            what: why.what,
            hint: why.hint,
        });
    }

    fn fill(&self, text: &Spanned<String>) -> Option<String> {
        let pieces = match pieces(text.get_ref()) {
            Ok(pieces) => pieces,
            Err(what) => {
                self.wrong(&text.span(), what, "write the variable as ${NAME}");
                return None;
            }
        };
        let (mut filled, mut whole) = (String::new(), true);
        for piece in pieces {
            match piece {
                Piece::Plain(plain) => filled.push_str(plain),
                Piece::Variable(name) => {
                    if let Some(value) = self.secrets.borrow_mut().value(name) {
                        filled.push_str(&value);
                        continue;
                    }
                    whole = false;
                    self.wrong(
                        &text.span(),
                        format!("the environment variable {name} is not set"),
                        format!("set {name}, or take ${{{name}}} out"),
                    );
                }
            }
        }
        whole.then_some(filled)
    }

    fn template(&self, text: &Spanned<String>, escape: Escape) -> Option<Template> {
        Template::compile(text.get_ref(), escape, &mut self.secrets.borrow_mut())
            .map_err(|why| self.unreadable(&text.span(), why))
            .ok()
    }

    fn expression(&self, text: &Spanned<String>) -> Option<Expression> {
        Expression::compile(text.get_ref())
            .map_err(|why| self.unreadable(&text.span(), why))
            .ok()
    }
}

/// What a field is to hold.
#[derive(Debug)]
pub(super) enum Content {
    /// The same for every lead.
    Fixed(serde_json::Value),
    /// A text made from the lead.
    Made(Box<Template>),
}

/// A table of the route file.
pub(super) struct Keys<'a> {
    reading: &'a Reading<'a>,
    table: DeTable<'a>,
    /// What the table describes: `station "enrich"`.
    owner: String,
    /// What was asked for, and whether it was there.
    asked: Vec<(&'static str, bool)>,
    span: Range<usize>,
}

#[allow(dead_code, reason = "each kind of station uses its own part of it")]
impl<'a> Keys<'a> {
    pub(super) fn new(
        reading: &'a Reading<'a>,
        table: DeTable<'a>,
        owner: impl Into<String>,
        span: Range<usize>,
    ) -> Self {
        Self {
            reading,
            table,
            owner: owner.into(),
            asked: Vec::new(),
            span,
        }
    }

    /// What the table describes.
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Names what the table describes.
    pub(super) fn set_owner(&mut self, owner: String) {
        self.owner = owner;
    }

    /// Where the table begins.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where a key's value stands, else where the table begins. Ask before taking it.
    pub(super) fn place(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(self.span(), Spanned::span)
    }

    /// Whether a key is there. Ask before taking it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A key's text as it is written, before any of it is filled in. Ask before taking it.
    pub(super) fn written(&self, key: &str) -> Option<&str> {
        self.table.get(key)?.get_ref().as_str()
    }

    /// Writes down a mistake at a place.
    pub(super) fn wrong(
        &self,
        at: &Range<usize>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.reading.wrong(at, what, hint);
    }

    /// The value of a key, which must be there: that it is not is written down.
    pub(super) fn need<T>(&self, key: &str, value: Option<T>, example: &str) -> Option<T> {
        let there = self
            .asked
            .iter()
            .any(|(name, there)| *name == key && *there);
        if value.is_none() && !there {
            self.wrong(
                &self.span,
                format!("{} needs {key}", self.owner),
                format!("add {example}"),
            );
        }
        value
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        let value = self.table.remove(key);
        self.asked.push((key, value.is_some()));
        value
    }

    fn of_type<T>(
        &mut self,
        key: &'static str,
        is: &str,
        example: &str,
        read: impl FnOnce(DeValue<'a>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let value = self.take(key)?;
        let span = value.span();
        let read = read(value.into_inner());
        if read.is_none() {
            self.wrong(
                &span,
                format!("{key} must be {is}"),
                format!("write {key} = {example}"),
            );
        }
        Some(Spanned::new(span, read?))
    }

    /// A text as it stands.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Spanned<String>> {
        self.of_type(key, "a text in quotes", "\"...\"", as_text)
    }

    /// A text with its `${NAME}`s filled in from the environment.
    pub(super) fn filled(&mut self, key: &'static str) -> Option<Spanned<String>> {
        let text = self.text(key)?;
        Some(Spanned::new(text.span(), self.reading.fill(&text)?))
    }

    /// A text with `{{ fields }}` and `${NAME}`s.
    pub(super) fn template(&mut self, key: &'static str, escape: Escape) -> Option<Template> {
        let text = self.text(key)?;
        self.reading.template(&text, escape)
    }

    /// A condition or a value over a lead's fields.
    pub(super) fn expression(&mut self, key: &'static str) -> Option<Expression> {
        let text = self.text(key)?;
        self.reading.expression(&text)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.of_type(key, "true or false", "true", |value| value.as_bool())
            .map(Spanned::into_inner)
    }

    /// A whole number within a range.
    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let (least, most) = (*range.start(), *range.end());
        let is = format!("a whole number from {least} to {most}");
        self.of_type(key, &is, &least.to_string(), |value| {
            integer(&value).filter(|number| range.contains(number))
        })
        .map(Spanned::into_inner)
    }

    /// A list of whole numbers within a range.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Vec<u64>> {
        let (least, most) = (*range.start(), *range.end());
        let is = format!("a list of whole numbers from {least} to {most}");
        self.of_type(key, &is, &format!("[{least}]"), |value| {
            let DeValue::Array(list) = value else {
                return None;
            };
            list.iter()
                .map(|entry| integer(entry.get_ref()).filter(|number| range.contains(number)))
                .collect()
        })
        .map(Spanned::into_inner)
    }

    /// A number, 0 or more.
    pub(super) fn number(&mut self, key: &'static str) -> Option<f64> {
        self.of_type(key, "a number, 0 or more", "0.5", |value| number(&value))
            .map(Spanned::into_inner)
    }

    /// US dollars.
    pub(super) fn money(&mut self, key: &'static str) -> Option<Spanned<Money>> {
        let is = "an amount of US dollars, in steps of 0.000001";
        self.of_type(key, is, "0.02", |value| {
            Money::from_dollars(number(&value)?)
        })
    }

    /// A span of time: `"10s"`, `"500ms"`, `"2m"`, `"24h"`, `"7d"`.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let is = "a span of time such as \"10s\" or \"500ms\"";
        self.of_type(key, is, "\"10s\"", |value| duration(value.as_str()?))
            .map(Spanned::into_inner)
    }

    /// How often something may be done: `"10/s"`, `"600/m"`, `"1000/h"`.
    pub(super) fn rate(&mut self, key: &'static str) -> Option<Rate> {
        let is = "a whole number for a second, a minute or an hour";
        self.of_type(key, is, "\"10/s\" or \"600/m\"", |value| {
            Rate::parse(value.as_str()?)
        })
        .map(Spanned::into_inner)
    }

    /// What is left of this table, as a text that is the same for the same content.
    pub(super) fn fingerprint(&self) -> String {
        json(DeValue::Table(self.table.clone())).map_or_else(String::new, |json| json.to_string())
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text.get_ref());
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(
                &text.span(),
                format!("{key} cannot be \"{}\"", text.get_ref()),
                suggest(text.get_ref(), &known),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<Spanned<String>>> {
        self.of_type(key, "a list of texts in quotes", "[\"...\"]", |value| {
            let DeValue::Array(list) = value else {
                return None;
            };
            list.into_iter()
                .map(|entry| Some(Spanned::new(entry.span(), as_text(entry.into_inner())?)))
                .collect()
        })
        .map(Spanned::into_inner)
    }

    /// A path as it counts in the route file: one that is not absolute begins where the file is.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.reading.folder.join(path)
    }

    /// A path; one that is not absolute begins where the route file is.
    pub(super) fn path(&mut self, key: &'static str) -> Option<Spanned<PathBuf>> {
        let text = self.filled(key)?;
        let span = text.span();
        Some(Spanned::new(
            span,
            self.reading.folder.join(text.into_inner()),
        ))
    }

    /// A table, to be taken apart in turn; end it with [`Keys::finish`].
    pub(super) fn table(&mut self, key: &'static str) -> Option<Keys<'a>> {
        let table = self.of_type(key, "a table", "{ ... }", |value| match value {
            DeValue::Table(table) => Some(table),
            _ => None,
        })?;
        let (span, owner) = (table.span(), format!("{key} of {}", self.owner));
        Some(Keys::new(self.reading, table.into_inner(), owner, span))
    }

    /// A list of tables, each to be taken apart in turn.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Keys<'a>>> {
        let list = self.of_type(key, "a list of tables", "[{ ... }]", |value| {
            let DeValue::Array(list) = value else {
                return None;
            };
            list.into_iter()
                .map(|entry| match (entry.span(), entry.into_inner()) {
                    (span, DeValue::Table(table)) => Some((span, table)),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
        })?;
        let keys = |(span, table)| Keys::new(self.reading, table, self.owner.clone(), span);
        Some(list.into_inner().into_iter().map(keys).collect())
    }

    /// What a table holds under names of its author's choice, in the order of the file.
    pub(super) fn entries(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<(Spanned<String>, Spanned<DeValue<'a>>)>> {
        self.table(key).map(Keys::into_entries)
    }

    /// What is left of this table, in the order of the file.
    pub(super) fn into_entries(self) -> Vec<(Spanned<String>, Spanned<DeValue<'a>>)> {
        let mut entries: Vec<_> = self
            .table
            .into_iter()
            .map(|(key, value)| {
                (
                    Spanned::new(key.span(), key.into_inner().into_owned()),
                    value,
                )
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// Texts under names of their author's choice, with their `${NAME}`s filled in.
    pub(super) fn filled_entries(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<(Spanned<String>, Spanned<String>)>> {
        let reading = self.reading;
        self.text_entries(key, |text| {
            Some(Spanned::new(text.span(), reading.fill(&text)?))
        })
    }

    /// Templates under names of their author's choice.
    pub(super) fn template_entries(
        &mut self,
        key: &'static str,
        escape: Escape,
    ) -> Option<Vec<(Spanned<String>, Template)>> {
        let reading = self.reading;
        self.text_entries(key, |text| reading.template(&text, escape))
    }

    /// Expressions under names of their author's choice.
    pub(super) fn expression_entries(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<(Spanned<String>, Expression)>> {
        let reading = self.reading;
        self.text_entries(key, |text| reading.expression(&text))
    }

    /// Texts as they stand under names of their author's choice.
    pub(super) fn plain_entries(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<(Spanned<String>, Spanned<String>)>> {
        self.text_entries(key, Some)
    }

    /// Values under names of their author's choice: texts as templates, all others as they are.
    pub(super) fn content_entries(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<(Spanned<String>, Content)>> {
        let mut entries = Vec::new();
        for (name, value) in self.entries(key)? {
            let span = value.span();
            let content = match value.into_inner() {
                DeValue::String(text) => self
                    .reading
                    .template(&Spanned::new(span, text.into_owned()), Escape::Plain)
                    .map(|template| Content::Made(Box::new(template))),
                other => {
                    let value = json(other).map(Content::Fixed);
                    if value.is_none() {
                        let what = format!("JSON cannot hold \"{}\" in {key}", name.get_ref());
                        self.wrong(&span, what, format!("write {} = \"...\"", name.get_ref()));
                    }
                    value
                }
            };
            entries.extend(content.map(|content| (name, content)));
        }
        Some(entries)
    }

    fn text_entries<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(Spanned<String>) -> Option<T>,
    ) -> Option<Vec<(Spanned<String>, T)>> {
        let mut entries = Vec::new();
        for (name, value) in self.entries(key)? {
            let span = value.span();
            let Some(text) = as_text(value.into_inner()) else {
                let what = format!("\"{}\" in {key} must be a text in quotes", name.get_ref());
                self.wrong(&span, what, format!("write {} = \"...\"", name.get_ref()));
                continue;
            };
            // What is wrong with one is written down; the others are read all the same.
            if let Some(read) = read(Spanned::new(span, text)) {
                entries.push((name, read));
            }
        }
        Some(entries)
    }

    /// Any value, as JSON.
    pub(super) fn json(&mut self, key: &'static str) -> Option<Spanned<serde_json::Value>> {
        self.of_type(key, "a value that JSON can hold", "{ ... }", json)
    }

    /// The keys that were asked for.
    #[cfg(test)]
    pub(super) fn asked(&self) -> Vec<&'static str> {
        self.asked.iter().map(|(name, _)| *name).collect()
    }

    /// Writes down what nobody asked for.
    pub(super) fn finish(self) {
        let known: Vec<&str> = self.asked.iter().map(|(name, _)| *name).collect();
        for (key, _) in &self.table {
            self.wrong(
                &key.span(),
                format!("{} has an unknown key \"{}\"", self.owner, key.get_ref()),
                suggest(key.get_ref(), &known),
            );
        }
    }
}

fn as_text(value: DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.into_owned()),
        _ => None,
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        _ => return None,
    };
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

fn json(value: DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.into_owned().into(),
        DeValue::Boolean(value) => value.into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()?
            .into(),
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().ok()?;
            serde_json::Number::from_f64(number)?.into()
        }
        DeValue::Datetime(_) => return None,
        DeValue::Array(list) => list_json(list)?,
        DeValue::Table(table) => table
            .into_iter()
            .map(|(key, value)| Some((key.into_inner().into_owned(), json(value.into_inner())?)))
            .collect::<Option<serde_json::Map<_, _>>>()?
            .into(),
    })
}

fn list_json(list: DeArray<'_>) -> Option<serde_json::Value> {
    list.into_iter()
        .map(|entry| json(entry.into_inner()))
        .collect::<Option<Vec<_>>>()
        .map(Into::into)
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| !duration.is_zero() && duration.as_secs() <= 366 * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, read: impl FnOnce(&mut Keys<'_>)) -> Vec<String> {
        let reading = Reading::new(text, Path::new("/route"));
        let table = DeTable::parse(text).expect("TOML").into_inner();
        let mut keys = Keys::new(&reading, table, "the file", 0..0);
        read(&mut keys);
        keys.finish();
        let (mistakes, _) = reading.end();
        mistakes
            .into_iter()
            .map(|mistake| {
                let line = text[..mistake.at].matches('\n').count() + 1 + mistake.down;
                format!("{line}: {}; {}", mistake.what, mistake.hint)
            })
            .collect()
    }

    #[test]
    fn all_mistakes_come_out_at_once_in_the_order_of_the_file() {
        let text = "a = 1\nb = \"soon\"\ncolour = 1\nc = '''\nx\n{{ y\n'''\nd = -1\ne = \"s\"\n";
        let found = mistakes(text, |keys| {
            assert!(keys.text("a").is_none());
            assert!(keys.duration("b").is_none());
            assert!(keys.template("c", Escape::Plain).is_none());
            assert!(keys.money("d").is_none());
            assert_eq!(keys.one_of("e", &[("skip", 1), ("stop", 2)]), None);
            assert!(keys.flag("color").is_none());
            let none: Option<u64> = None;
            assert!(keys.need("f", none, "f = 1").is_none());
        });
        let starts = [
            "1: the file needs f; add f = 1",
            "1: a must be a text in quotes",
            "2: b must be a span of time",
            "3: the file has an unknown key \"colour\"; did you mean \"color\"?",
            "6: ",
            "8: d must be an amount of US dollars",
            "9: e cannot be \"s\"; known are skip, stop",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found}\nnot: {start}");
        }
    }

    #[test]
    fn values_are_read() {
        let text = "a = \"2m\"\nb = 7\nc = [\"x\"]\nd = { k = 1, l = [1.5, true] }\ne = \"f/g\"\nm = 0.02\nh = { B = \"${PATH}\", A = \"x\" }\n";
        let found = mistakes(text, |keys| {
            assert_eq!(keys.duration("a"), Some(Duration::from_secs(120)));
            assert_eq!(keys.integer("b", 1..=9), Some(7));
            assert_eq!(keys.texts("c").expect("a list")[0].get_ref(), "x");
            let json = keys.json("d").expect("JSON").into_inner();
            assert_eq!(json.to_string(), r#"{"k":1,"l":[1.5,true]}"#);
            assert_eq!(
                keys.path("e").expect("a path").get_ref(),
                Path::new("/route/f/g")
            );
            assert_eq!(keys.money("m").expect("money").get_ref().micros(), 20_000);
            let entries = keys.filled_entries("h").expect("a table");
            assert_eq!(entries[0].0.get_ref(), "B");
            assert_eq!(
                *entries[0].1.get_ref(),
                std::env::var("PATH").expect("a PATH")
            );
        });
        assert_eq!(found, [""; 0]);
    }
}
