//! The figures an operator sees, as one reading of the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// What a worker says of itself at every heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerInfo {
    /// The machine it runs on.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it registered, in server time.
    pub started: Millis,
    /// How many leads it works on at once.
    pub concurrency: u32,
    /// The pipeline it runs.
    pub pipeline: String,
    /// Leads it has finished since it started, whatever came of them.
    pub finished: u64,
    /// Whether it has stopped taking leads and is finishing what it has.
    pub draining: bool,
}

/// One worker, as the store knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// What it said of itself last.
    #[serde(flatten)]
    pub info: WorkerInfo,
    /// Leads in its hands.
    pub in_flight: u64,
    /// Milliseconds until its lease ends; negative when it is overdue and its leads are about
    /// to be recovered.
    pub lease_ms: i64,
}

/// Totals since the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Leads taken from the waiting list, repeats counted.
    pub received: u64,
    /// Leads enriched.
    pub done: u64,
    /// Leads given up.
    pub dead: u64,
    /// Retries scheduled.
    pub retried: u64,
    /// Leads given back by dead or stopping workers.
    pub recovered: u64,
    /// Results dropped because the lease was gone.
    pub lease_lost: u64,
    /// Dead letters put back to work.
    pub redriven: u64,
    /// Dead letters thrown away.
    pub dropped: u64,
    /// Dead letters brought back from the trash.
    pub restored: u64,
    /// Leads pushed through the bridge's own producer.
    pub pushed: u64,
    /// Retries scheduled, by which retry it was (1 is the first).
    pub retries_by_attempt: BTreeMap<u32, u64>,
}

/// One reading of the whole bridge, taken in one step, so that its sums are true.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The server's time of the reading.
    pub now: Millis,
    /// Leads in the waiting list.
    pub waiting: u64,
    /// Leads in the hands of workers.
    pub in_flight: u64,
    /// Leads waiting for a retry.
    pub retry: u64,
    /// Dead letters.
    pub dead: u64,
    /// Whether work is paused.
    pub paused: bool,
    /// Totals since the beginning.
    pub totals: Totals,
    /// Leads finished per second over the last minute.
    pub rate_per_s: f64,
    /// When the next retry is due.
    pub next_retry: Option<Millis>,
    /// The workers, by id.
    pub workers: Vec<Worker>,
}

/// The shape of `bridge status --json`.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    waiting: u64,
    in_flight: u64,
    retry: u64,
    dead: u64,
    done: u64,
    rate_per_s: f64,
    paused: bool,
    totals: &'a Totals,
    workers: &'a [Worker],
}

impl Snapshot {
    /// The reading as scripts get it.
    #[must_use]
    pub fn status(&self) -> Status<'_> {
        Status {
            waiting: self.waiting,
            in_flight: self.in_flight,
            retry: self.retry,
            dead: self.dead,
            done: self.totals.done,
            rate_per_s: (self.rate_per_s * 10.0).round() / 10.0,
            paused: self.paused,
            totals: &self.totals,
            workers: &self.workers,
        }
    }
}

/// What happened within one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Minute {
    /// The minute, counted from the Unix epoch.
    pub minute: i64,
    /// Leads enriched in it.
    pub done: u64,
    /// Attempts that failed in it: retries and dead letters.
    pub failed: u64,
    /// Leads given up in it.
    pub dead: u64,
    /// Leads waiting at its last heartbeat; `None` where no worker lived to say so.
    pub depth: Option<u64>,
}

/// Leads finished per second, from the counts of the running minute and the one before it: the
/// running minute counts whole, the one before for the share of it that is still within 60 s.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn rate_per_second(now: Millis, this_minute: u64, previous_minute: u64) -> f64 {
    let into = (now.rem_euclid(60_000)) as f64 / 60_000.0;
    (this_minute as f64 + previous_minute as f64 * (1.0 - into)) / 60.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_slides_over_the_minute_boundary() {
        let rate = |now, this, previous| (rate_per_second(now, this, previous) * 100.0).round();
        assert!((rate(60_000, 0, 600) - 1_000.0).abs() < f64::EPSILON);
        assert!((rate(90_000, 300, 600) - 1_000.0).abs() < f64::EPSILON);
        assert!((rate(119_999, 600, 600) - 1_000.0).abs() < 1.0);
    }
}
