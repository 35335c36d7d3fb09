//! What a station is, and how one is made from its table in the route file.

mod http;
mod identity;
mod noop;

use std::ops::Range;
use std::time::Duration;

use bridge_shared::lead::Lead;
use futures::future::BoxFuture;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Failure;
use super::route::Wrong;

/// One step of a route.
pub(super) trait Station: std::fmt::Debug + Send + Sync {
    /// Its name, one of its kind within its pipeline.
    fn name(&self) -> &str;

    /// What one lead costs here, in US dollars.
    fn cost(&self) -> f64;

    /// Works on a lead. `id` is the idempotency key of what this does elsewhere.
    fn work<'a>(&'a self, id: &'a str, lead: &'a mut Lead) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What every station's table has.
#[derive(Debug)]
pub(super) struct Common {
    name: String,
    cost: f64,
}

/// Makes a station from its table.
pub(super) fn make(table: DeTable<'_>, span: Range<usize>) -> Result<Box<dyn Station>, Wrong> {
    let mut keys = Keys::new(table, "a station", span.clone());
    let name = keys
        .text("name")?
        .filter(|name| !name.get_ref().is_empty())
        .ok_or_else(|| Wrong {
            span: span.clone(),
            what: "a station needs a name".into(),
        })?
        .into_inner();
    keys.owner = format!("station \"{name}\"");
    let kind = keys.text("kind")?.ok_or_else(|| Wrong {
        span,
        what: format!("station \"{name}\" needs a kind: identity, http or noop"),
    })?;
    let cost = keys.number("cost")?.unwrap_or(0.0);
    let common = Common { name, cost };
    let station: Box<dyn Station> = match kind.get_ref().as_str() {
        "identity" => Box::new(identity::Identity::new(common)),
        "noop" => Box::new(noop::Noop::new(common)),
        "http" => Box::new(http::Http::new(common, &mut keys)?),
        other => {
            return Err(Wrong::at(
                &kind,
                format!(
                    "no kind of station is called \"{other}\"; there are identity, http and noop"
                ),
            ));
        }
    };
    keys.finish()?;
    Ok(station)
}

/// A table of the route file, taken apart key by key; what is left at the end is unknown.
pub(super) struct Keys<'a> {
    table: DeTable<'a>,
    owner: String,
    known: Vec<&'static str>,
    span: Range<usize>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(table: DeTable<'a>, owner: impl Into<String>, span: Range<usize>) -> Self {
        Self {
            table,
            owner: owner.into(),
            known: Vec::new(),
            span,
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// An error that says that a key must be there.
    fn needs(&self, what: &str) -> Wrong {
        Wrong {
            span: self.span.clone(),
            what: format!("{} needs {what}", self.owner),
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<Spanned<String>>, Wrong> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::String(text) => Ok(Some(Spanned::new(span, text.into_owned()))),
            _ => Err(Wrong {
                span,
                what: format!("{key} must be a text in quotes"),
            }),
        }
    }

    fn number(&mut self, key: &'static str) -> Result<Option<f64>, Wrong> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.to_string().parse().ok(),
            DeValue::Float(number) => number.to_string().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if f64::is_finite(number) && number >= 0.0 => Ok(Some(number)),
            _ => Err(Wrong::at(
                &value,
                format!("{key} must be a number, 0 or more"),
            )),
        }
    }

    /// A span of time: `"10s"`, `"500ms"`, `"2m"`.
    fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, Wrong> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match duration(text.get_ref()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(Wrong::at(
                &text,
                format!("{key} must be a span of time such as \"10s\" or \"500ms\""),
            )),
        }
    }

    pub(super) fn table(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Spanned<DeTable<'a>>>, Wrong> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(Some(Spanned::new(span, table))),
            _ => Err(Wrong {
                span,
                what: format!("{key} must be a table"),
            }),
        }
    }

    pub(super) fn list(&mut self, key: &'static str) -> Result<Option<DeArray<'a>>, Wrong> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(list) => Ok(Some(list)),
            _ => Err(Wrong {
                span,
                what: format!("{key} must be a list"),
            }),
        }
    }

    /// Complains about what nobody asked for.
    pub(super) fn finish(self) -> Result<(), Wrong> {
        let Some((key, _)) = self.table.iter().next() else {
            return Ok(());
        };
        Err(Wrong::at(
            key,
            format!(
                "{} has an unknown key \"{}\"; known are {}",
                self.owner,
                key.get_ref(),
                self.known.join(", ")
            ),
        ))
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
}
