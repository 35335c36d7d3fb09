//! A filter being written, and what it may go on with: fields, and the values that are really there.

use std::collections::HashMap;

use bridge_shared::filter::FIELDS;

use super::App;
use super::input::Input;

/// Ages that are asked for most.
const AGES: [&str; 6] = [">10m", ">1h", ">1d", "<10m", "<1h", "<1d"];
/// A phrase of an error is worth offering from so many characters on.
const PHRASE: usize = 4;

/// A filter being written.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    /// What has been typed.
    pub(crate) input: Input,
    /// What it may go on with.
    pub(crate) choices: Vec<Choice>,
    /// The choice that stands in the line.
    pub(crate) at: Option<usize>,
    /// Where in the line, in bytes, a choice goes.
    pub(crate) start: usize,
}

/// Something a filter may go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// As it is written.
    pub(crate) text: String,
    /// What it is, or how often it was seen.
    pub(crate) about: String,
    /// Whether a term ends with it.
    ends: bool,
}

impl Writing {
    /// A line with the cursor at its end.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            input: Input::new(text),
            ..Self::default()
        }
    }

    /// Looks for what the line may go on with; for any field where nothing is begun only if asked.
    pub(crate) fn complete(&mut self, known: &Known, asked: bool) {
        let (before, _) = self.input.halves();
        (self.start, self.choices) = known.choices(before, asked);
        self.at = None;
    }

    /// Puts the next choice into the line, or the one before.
    pub(crate) fn turn(&mut self, known: &Known, back: bool) {
        if self.choices.is_empty() {
            self.complete(known, true);
        }
        let last = self.choices.len().saturating_sub(1);
        let next = match (self.at, back) {
            (None, false) => 0,
            (None, true) => last,
            (Some(at), false) => (at + 1) % (last + 1),
            (Some(at), true) => at.checked_sub(1).unwrap_or(last),
        };
        let Some(choice) = self.choices.get(next) else {
            return;
        };
        self.input.replace(self.start, &choice.text);
        self.at = Some(next);
        if last == 0 {
            self.accept(known);
        }
    }

    /// Goes on after the choice in the line, or after the first one; returns whether there was one.
    pub(crate) fn accept(&mut self, known: &Known) -> bool {
        let at_end = self.input.halves().1.is_empty();
        let choice = self.choices.get(self.at.unwrap_or(0));
        let Some(choice) = choice.filter(|_| at_end) else {
            return false;
        };
        self.input.replace(self.start, &choice.text);
        if choice.ends {
            self.input.insert(" ");
        }
        self.complete(known, false);
        true
    }
}

/// Values that were seen, by field, with how often.
#[derive(Debug, Default)]
pub(crate) struct Known {
    values: HashMap<&'static str, Vec<(String, String)>>,
}

/// Values in the order they were first seen, and how often each was.
#[derive(Default)]
struct Counts {
    order: Vec<String>,
    counts: HashMap<String, u64>,
}

impl Counts {
    fn add(&mut self, value: &str, times: u64) {
        if value.is_empty() {
            return;
        }
        let count = self.counts.entry(value.to_owned()).or_insert_with(|| {
            self.order.push(value.to_owned());
            0
        });
        *count += times;
    }

    /// The most frequent first.
    fn list(mut self) -> Vec<(String, String)> {
        let count = |value: &String| self.counts.get(value).copied().unwrap_or(0);
        self.order
            .sort_by_cached_key(|value| (std::cmp::Reverse(count(value)), value.clone()));
        let told = |value: String| {
            let about = match count(&value) {
                0 => String::new(),
                n => format!("seen {} times", crate::text::thousands(n)),
            };
            (value, about)
        };
        self.order.iter().cloned().map(told).collect()
    }
}

impl Known {
    /// What the console has in memory: letters, groups, causes, stations and workers.
    pub(crate) fn of(app: &App) -> Self {
        let mut counts: HashMap<&'static str, Counts> = HashMap::new();
        let mut add = |field, value: &str, times| {
            counts.entry(field).or_default().add(value, times);
        };
        for letter in app.dlq.known() {
            let envelope = &letter.envelope;
            add("station", &envelope.station, 1);
            add("kind", envelope.error_kind.as_str(), 1);
            add("worker", &envelope.worker, 1);
            add("attempts", &envelope.attempts.len().to_string(), 1);
            add("retries", &envelope.retry_count.to_string(), 1);
        }
        for group in app.dlq.groups() {
            add("station", &group.station, 0);
            add("kind", group.kind, 0);
        }
        for station in app.stations.list.iter().flatten() {
            add("station", &station.station, 0);
        }
        for worker in app.figures.iter().flat_map(|(figures, _)| &figures.workers) {
            add("worker", &worker.id, 0);
        }
        for (cause, count) in &app.causes.list {
            add("error", phrase(&cause.text), *count);
        }
        let mut values: HashMap<_, _> = counts
            .into_iter()
            .map(|(field, counts)| (field, counts.list()))
            .collect();
        let causes = app.causes.list.iter();
        let causes = causes.map(|(cause, _)| (cause.id.clone(), cause.text.clone()));
        values.insert("cause", causes.collect());
        let ages = AGES.map(|age| (age.to_owned(), String::new()));
        values.insert("age", ages.into());
        Self { values }
    }

    /// What the line before the cursor may go on with, and where that goes.
    fn choices(&self, before: &str, asked: bool) -> (usize, Vec<Choice>) {
        let start = begun(before);
        let term = &before[start..];
        let begins =
            |text: &str, typed: &str| text.to_lowercase().starts_with(&typed.to_lowercase());
        if let Some((field, typed)) = term.split_once(':') {
            let at = start + field.len() + 1;
            let typed = typed.trim_start_matches('"');
            let values = FIELDS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(field))
                .and_then(|(name, _)| self.values.get(name));
            let choices = values.into_iter().flatten();
            let choices = choices.filter(|(value, _)| begins(value, typed) && value != typed);
            let choice = |(value, about): &(String, String)| Choice {
                text: quoted(value),
                about: about.clone(),
                ends: true,
            };
            return (at, choices.map(choice).collect());
        }
        if term.starts_with(['"', '\'']) || (term.is_empty() && !asked) {
            return (start, Vec::new());
        }
        let fields = FIELDS.iter().filter(|(name, _)| begins(name, term));
        let choice = |(name, about): &(&str, &str)| Choice {
            text: format!("{name}:"),
            about: (*about).to_owned(),
            ends: false,
        };
        (start, fields.map(choice).collect())
    }
}

/// Where the term before the cursor begins, without its `!`.
fn begun(before: &str) -> usize {
    let (mut start, mut quoted) = (0, false);
    for (at, c) in before.char_indices() {
        if c == '"' {
            quoted = !quoted;
        } else if c.is_whitespace() && !quoted {
            start = at + c.len_utf8();
        }
    }
    start + usize::from(before[start..].starts_with('!'))
}

/// A value as the filter's language has it.
fn quoted(value: &str) -> String {
    // The language has no way to write a quote within quotes; what stands before one will do.
    let value = value.split('"').next().unwrap_or_default().trim_end();
    if value.contains(char::is_whitespace) {
        format!("\"{value}\"")
    } else {
        value.to_owned()
    }
}

/// The words of a cause before what differs from letter to letter.
fn phrase(cause: &str) -> &str {
    let end = cause
        .find(['#', '"', '…'])
        .map_or(cause.len(), |cut| cause[..cut].rfind(' ').unwrap_or(0));
    let phrase = cause[..end].trim_end();
    if phrase.len() < PHRASE { "" } else { phrase }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::scene::Scene;

    fn choices(before: &str, asked: bool) -> Vec<String> {
        let mut scene = Scene::busy(80, 24);
        scene.press("3");
        let known = Known::of(&scene.app);
        let (_, choices) = known.choices(before, asked);
        choices.into_iter().map(|choice| choice.text).collect()
    }

    #[test]
    fn a_line_goes_on_with_fields_and_with_values_that_were_seen() {
        for (before, expected) in [
            ("err", &["error:"][..]),
            ("ERR", &["error:"]),
            ("error", &["error:"]),
            ("ada !sta", &["station:"]),
            ("a", &["attempts:", "age:"]),
            ("zzz", &[]),
            ("", &[]),
            ("ada ", &[]),
            ("\"err", &[]),
            ("'err", &[]),
            ("\"two wor", &[]),
            ("station:", &["enrich", "identity"]),
            ("station:enrich", &[]),
            ("!kind:t", &["transient"]),
            ("colour:", &[]),
            ("age:<", &["<10m", "<1h", "<1d"]),
            ("error:\"http", &["\"HTTP 404 from\"", "\"HTTP 503 from\""]),
            ("worker:enrich-2", &["enrich-2-12-vaxc2efnuy"]),
        ] {
            let mut found = choices(before, false);
            if before.starts_with("error") {
                found.sort();
            }
            assert_eq!(found, expected, "{before}");
        }
        assert_eq!(choices("", true).len(), FIELDS.len());
        assert_eq!(choices("cause:", false)[0].len(), 8);
    }

    #[test]
    fn a_phrase_of_a_cause_ends_before_what_differs() {
        for (cause, expected) in [
            ("HTTP 503 from https://x.example/v#/leads", "HTTP 503 from"),
            ("nobody is known", "nobody is known"),
            ("field \"…\" is missing", "field"),
            ("#", ""),
            ("no #", ""),
        ] {
            assert_eq!(phrase(cause), expected);
        }
        assert_eq!(quoted("a \"b\" c"), "a");
    }
}
