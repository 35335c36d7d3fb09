//! The status of the whole bridge as programs read it.

use serde::Serialize;

use crate::findings::{Finding, findings};
use crate::stats::{LostWorker, Snapshot, SpentBudget, Totals, Worker, WorkerState};
use crate::store::condition::{Condition, RedisStatus};

/// The shape of `bridge status --json`, and of the API's `/status`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status<'a> {
    waiting: u64,
    /// Leads that workers have in flight, also workers that are not registered.
    in_flight: u64,
    /// Whether `in_flight` counts them all. If not, `in_flight_note` says why it may be more.
    in_flight_complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_note: Option<&'static str>,
    retry: u64,
    dead: u64,
    done: u64,
    rate_per_s: f64,
    failed_per_s: f64,
    paused: bool,
    totals: &'a Totals,
    workers: Vec<WorkerStatus<'a>>,
    lost_workers: &'a [LostWorker],
    budgets: &'a [SpentBudget],
    redis: RedisStatus<'a>,
    findings: Vec<Finding>,
}

/// A worker, and how it is.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
struct WorkerStatus<'a> {
    #[serde(flatten)]
    worker: &'a Worker,
    state: WorkerState,
    /// Milliseconds since its last heartbeat; absent if an older worker does not say how long its
    /// lease is.
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_ms: Option<i64>,
}

impl<'a> Status<'a> {
    /// The status that a reading of the store and one of the server make together.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, condition: &'a Condition) -> Self {
        let tenths = |rate: f64| (rate * 10.0).round() / 10.0;
        let writes = condition.writes(&snapshot.workers);
        let told = |worker: &'a Worker| WorkerStatus {
            worker,
            state: worker.state_with(&writes),
            silent_ms: worker.silent_ms(),
        };
        Self {
            waiting: snapshot.waiting,
            in_flight: snapshot.in_flight,
            in_flight_complete: snapshot.search.gap().is_none(),
            in_flight_note: snapshot.search.gap(),
            retry: snapshot.retry,
            dead: snapshot.dead,
            done: snapshot.totals.done,
            rate_per_s: tenths(snapshot.rate_per_s),
            failed_per_s: tenths(snapshot.failed_per_s),
            paused: snapshot.paused,
            totals: &snapshot.totals,
            workers: snapshot.workers.iter().map(told).collect(),
            lost_workers: &snapshot.lost,
            budgets: &snapshot.budgets,
            redis: condition.status(&snapshot.workers),
            findings: findings(snapshot, condition),
        }
    }
}
