//! A lead brought along a route once, dry, to see what each station does with it.

use std::pin::pin;
use std::time::Duration;

use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use bridge_shared::store::Store;
use bridge_shared::store::dead_letters::token;
use serde::Serialize;
use serde_json::Value;

use super::admission::admit;
use super::{Arrival, Failure, Journey, Ledger, Pipeline, Progress, Surroundings};

/// What a worker allows a lead.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The time of an attempt.
    pub(crate) time: Duration,
    /// The size of a lead.
    pub(crate) bytes: usize,
}

/// Brings a lead along the route within the limits of a worker, and tells of every station: the shape of
/// `pipeline run --json`. Services are called; nothing is counted, remembered or recorded. Values
/// from the environment are shown by their names.
pub(crate) async fn run(
    pipeline: &Pipeline,
    store: Option<&Store>,
    ledger: &Ledger,
    lead: &[u8],
    limits: Limits,
) -> Value {
    let journey = Journey::new(Money::ZERO);
    let mut watch = Watch::default();
    let around = Surroundings {
        store,
        ledger,
        dry_run: true,
        now: None,
    };
    let id = format!("dry-run-{}", token());
    let mut observe = |progress: Progress<'_>| watch.see(progress);
    let run = async {
        admit(lead, limits.bytes)?;
        pipeline
            .run(around, &journey, &id, lead, &mut observe)
            .await
    };
    let result = journey
        .within(tokio::time::Instant::now(), limits.time, pin!(run))
        .await;
    let mut tried = Tried {
        pipeline: pipeline.name().to_owned(),
        stations: Vec::new(),
        outcome: "failed",
        station: None,
        reason: None,
        kind: None,
        cost: journey.spent().dollars(),
        lead: None,
    };
    tried.end(result, limits.time);
    tried.stations = watch.stops;
    let mut tried = serde_json::to_value(&tried).expect("plain values are JSON");
    hide(pipeline, &mut tried);
    tried
}

/// One station of a tried route.
#[derive(Debug, Serialize)]
struct Stop {
    station: String,
    /// Why it was not called.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Value>,
    /// What it added or changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    ms: f64,
    cost: f64,
}

/// The shape of `pipeline run --json`.
#[derive(Debug, Serialize)]
struct Tried {
    pipeline: String,
    stations: Vec<Stop>,
    /// `done`, `skipped`, `postponed` or `failed`.
    outcome: &'static str,
    /// The station that decided that.
    #[serde(skip_serializing_if = "Option::is_none")]
    station: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The kind of failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    cost: f64,
    /// The enriched lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    lead: Option<Value>,
}

impl Tried {
    fn end(&mut self, result: Option<Result<Arrival, Failure>>, limit: Duration) {
        match result {
            Some(Ok(Arrival::Done { lead, skipped, .. })) => {
                self.outcome = "done";
                self.lead = Some(value(&lead));
                if let Some(skip) = skipped {
                    self.outcome = "skipped";
                    (self.station, self.reason) = (Some(skip.station), Some(skip.reason));
                }
            }
            Some(Ok(Arrival::Later {
                station, reason, ..
            })) => {
                self.outcome = "postponed";
                self.station = Some(station);
                self.reason = Some(format!("waits for {reason}"));
            }
            Some(Err(failure)) => {
                self.kind = Some(failure.kind.as_str());
                self.station = Some(failure.station);
                self.reason = Some(failure.error);
            }
            None => {
                let limit = limit.as_secs_f64();
                self.reason = Some(format!("not done within the {limit} s a lead may take"));
            }
        }
    }
}

/// What was seen on the way.
#[derive(Default)]
struct Watch {
    stops: Vec<Stop>,
    before: Lead,
}

impl Watch {
    fn see(&mut self, progress: Progress<'_>) {
        let stop = |station: &str| Stop {
            station: station.to_owned(),
            passed_by: None,
            input: None,
            answer: None,
            error: None,
            ms: 0.0,
            cost: 0.0,
        };
        match progress {
            Progress::Arrived { lead, .. } => self.before = lead.clone(),
            Progress::Left {
                station,
                took,
                error,
                cost,
                lead,
                ..
            } => self.stops.push(Stop {
                input: Some(value(&self.before.to_json())),
                answer: Some(value(&lead.changes_since(&self.before).to_json())),
                error: error.map(ToOwned::to_owned),
                ms: (took.as_secs_f64() * 1e6).round() / 1e3,
                cost: cost.dollars(),
                ..stop(station)
            }),
            Progress::PassedBy { station, why } => self.stops.push(Stop {
                passed_by: Some(why.to_owned()),
                ..stop(station)
            }),
        }
    }
}

fn value(json: &[u8]) -> Value {
    // What this reader refuses, such as half a surrogate pair, is shown as the text it is.
    serde_json::from_slice(json)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(json).into_owned()))
}

/// Replaces what came from the environment wherever it may have got to.
fn hide(pipeline: &Pipeline, value: &mut Value) {
    match value {
        Value::String(text) => *text = pipeline.hide(std::mem::take(text)),
        Value::Array(list) => list.iter_mut().for_each(|value| hide(pipeline, value)),
        Value::Object(fields) => fields.values_mut().for_each(|value| hide(pipeline, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
