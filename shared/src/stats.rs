//! The figures an operator sees, as one reading of the store.

use std::collections::BTreeMap;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Millis;
use crate::money::Money;
use crate::store::condition::Writes;
use crate::store::survey::Search;

/// What a worker says of itself at every heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// The stations of that, in the order of the route, each with its fallbacks after it; empty
    /// where an older worker does not say so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stations: Vec<String>,
    /// Leads it has brought to their end since it started, done or dead.
    pub finished: u64,
    /// Whether it has stopped taking leads and is finishing what it has.
    pub draining: bool,
    /// How long its lease is when it is renewed, in milliseconds; 0 if an older worker does not say.
    #[serde(skip_serializing_if = "is_zero")]
    pub lease_length_ms: u64,
    /// What it cannot do at present, and why; empty if it can do its work.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trouble: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl WorkerInfo {
    /// Reads what a worker says of itself. One of another version may say more, or the same in
    /// another form: what cannot be read is left empty.
    #[must_use]
    pub fn read(told: &[u8]) -> Self {
        if let Ok(info) = serde_json::from_slice(told) {
            return info;
        }
        let fields: serde_json::Map<String, Value> =
            serde_json::from_slice(told).unwrap_or_default();
        let known = fields.into_iter().filter(|(name, value)| {
            let alone = serde_json::json!({ name: value });
            serde_json::from_value::<Self>(alone).is_ok()
        });
        serde_json::from_value(Value::Object(known.collect())).unwrap_or_default()
    }

    /// Whether its version is newer than the one this code belongs to.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        let numbers = |version: &str| -> Vec<u64> {
            let parts = version.split(['.', '-', '+']).take(3);
            parts.map_while(|part| part.parse().ok()).collect()
        };
        numbers(&self.version) > numbers(env!("CARGO_PKG_VERSION"))
    }
}

/// One worker, as the store knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Worker {
    /// Its id.
    pub id: String,
    /// What it said of itself last.
    #[serde(flatten)]
    pub info: WorkerInfo,
    /// Leads in its hands.
    pub in_flight: u64,
    /// Milliseconds until its lease ends; negative when it is overdue and its leads are about
    /// to be recovered; 0 for a worker that is not registered.
    pub lease_ms: i64,
    /// Whether only its in-flight leads are known: it is not registered.
    #[serde(skip)]
    pub unregistered: bool,
}

/// How a worker is, as every program tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// It is not registered, and has leads in flight that no other worker recovers before a living
    /// one has found them.
    Unregistered,
    /// Its lease has run out: another worker recovers its leads.
    Lost,
    /// It has missed a heartbeat.
    Silent,
    /// Its heartbeats cannot be heard, because Redis refuses all writes.
    Unheard,
    /// It is alive and cannot do its work: its `trouble` tells why.
    Troubled,
    /// It takes no more leads and finishes those in flight.
    Draining,
    /// It works, or waits for leads.
    Working,
}

impl WorkerState {
    /// In one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Lost => "lost",
            Self::Silent => "silent",
            Self::Unheard => "unheard",
            Self::Troubled => "troubled",
            Self::Draining => "draining",
            Self::Working => "working",
        }
    }

    /// Every one, the worst first.
    pub const ALL: [Self; 7] = [
        Self::Unregistered,
        Self::Lost,
        Self::Silent,
        Self::Unheard,
        Self::Troubled,
        Self::Draining,
        Self::Working,
    ];
}

/// How often a worker with such a lease renews it: at least once a second, so that a pause is
/// honored within one, and at least three times within a lease.
#[must_use]
pub fn heartbeat_interval(lease: Duration) -> Duration {
    (lease / 3).min(Duration::from_secs(1))
}

impl Worker {
    /// How long ago its last heartbeat was, in milliseconds; `None` if an older worker does not
    /// tell how long its lease is.
    #[must_use]
    pub fn silent_ms(&self) -> Option<i64> {
        let length = i64::try_from(self.info.lease_length_ms).ok()?;
        (length > 0 && !self.unregistered).then(|| (length - self.lease_ms).max(0))
    }

    /// How it is, given how Redis is: one that refuses writes refuses heartbeats.
    #[must_use]
    pub fn state_with(&self, writes: &Writes) -> WorkerState {
        match (self.state(), writes) {
            (WorkerState::Lost | WorkerState::Silent, Writes::Refused(_)) => WorkerState::Unheard,
            (state, _) => state,
        }
    }

    /// How it is, as far as its heartbeats tell.
    #[must_use]
    pub fn state(&self) -> WorkerState {
        // A heartbeat is late only when the next one is due as well: each takes its own time.
        let late = || {
            let interval = heartbeat_interval(Duration::from_millis(self.info.lease_length_ms));
            let limit = i64::try_from(interval.as_millis() * 2).unwrap_or(i64::MAX);
            self.silent_ms().is_some_and(|silent| silent >= limit)
        };
        if self.unregistered {
            WorkerState::Unregistered
        } else if self.lease_ms <= 0 {
            WorkerState::Lost
        } else if late() {
            WorkerState::Silent
        } else if !self.info.trouble.is_empty() {
            WorkerState::Troubled
        } else if self.info.draining {
            WorkerState::Draining
        } else {
            WorkerState::Working
        }
    }
}

/// A worker whose lease ran out, and what was recovered of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LostWorker {
    /// Its id.
    pub worker: String,
    /// When its lease ran out, in milliseconds of server time.
    pub at: Millis,
    /// In-flight leads that went back to the waiting list.
    pub recovered: u64,
    /// In-flight leads that became dead letters: each had killed several workers.
    pub dead: u64,
    /// The worker that recovered them.
    pub recovered_by: String,
}

/// A daily budget that refused calls today.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SpentBudget {
    /// The pipeline that spent it.
    pub pipeline: String,
    /// When it refused the first call today, in milliseconds of server time.
    pub since: Millis,
    /// When it refused a call last.
    pub last: Millis,
    /// The budget, in US dollars.
    pub budget: f64,
}

/// Totals since the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Totals {
    /// Leads taken from the waiting list, repeats counted.
    pub received: u64,
    /// Leads enriched, those that ended early included.
    pub done: u64,
    /// Leads among them that ended early, by design or for want of money.
    pub skipped: u64,
    /// Leads among those that were stored without enrichment because a budget did not allow a call.
    pub over_budget: u64,
    /// Leads given up.
    pub dead: u64,
    /// Retries scheduled.
    pub retried: u64,
    /// Leads put off for want of a free moment; that counts as no attempt.
    pub postponed: u64,
    /// In-flight leads of dead workers that went back to waiting.
    pub recovered: u64,
    /// Leads handed back by living workers: by one that stopped, or had taken too many.
    pub requeued: u64,
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
    /// Leads finished, done or dead, per second over the last minute: the one rate that every
    /// program shows.
    pub rate_per_s: f64,
    /// Attempts that failed, for a retry or for good, per second over the last minute.
    pub failed_per_s: f64,
    /// Workers that were lost in the last day, the last one first.
    pub lost: Vec<LostWorker>,
    /// Daily budgets that refused calls today, by pipeline.
    pub budgets: Vec<SpentBudget>,
    /// When the next retry is due.
    pub next_retry: Option<Millis>,
    /// The workers, by id: those that are registered, and those that are not and have leads in
    /// flight.
    pub workers: Vec<Worker>,
    /// Whether those that are not registered are all known.
    pub search: Search,
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

/// The upper ends of the buckets that call times are counted in, in microseconds; longer ones go
/// into one more bucket. Fixed, so that the counts of all workers and versions can be added up.
pub const LATENCY_BOUNDS_US: [u64; 23] = [
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
];
/// How many buckets there are.
pub const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// The bucket that a call time belongs to.
#[must_use]
pub fn latency_bucket(time: Duration) -> usize {
    let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    LATENCY_BOUNDS_US.partition_point(|bound| *bound < us)
}

/// How long calls took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Latency {
    /// Calls in each bucket of [`LATENCY_BOUNDS_US`].
    pub buckets: [u64; LATENCY_BUCKETS],
}

impl Latency {
    /// How many calls were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time within which a share of the calls was over (0.95 for p95), as the bucket it falls
    /// into tells, evenly spread within it; `None` where there were no calls.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (count as f64 * share.clamp(0.0, 1.0)).max(1.0);
        let mut below = 0;
        for (bucket, &calls) in self.buckets.iter().enumerate() {
            if calls > 0 && (below + calls) as f64 >= rank {
                let low = bucket.checked_sub(1).map_or(0, |i| LATENCY_BOUNDS_US[i]);
                // Of what is longer than the last bound only that much is known.
                let high = LATENCY_BOUNDS_US.get(bucket).copied().unwrap_or(low);
                let within = (rank - below as f64) / calls as f64;
                let us = low as f64 + (high - low) as f64 * within;
                return Some(Duration::from_micros(us as u64));
            }
            below += calls;
        }
        None
    }
}

/// What one station did, in all workers together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StationStats {
    /// Its pipeline.
    pub pipeline: String,
    /// Its name.
    pub station: String,
    /// Calls that came to an end, whatever came of them.
    pub calls: u64,
    /// Those that failed, by kind of failure; `cancelled` where the lead's time was up or the
    /// lead was given back.
    pub failures: BTreeMap<String, u64>,
    /// Leads that passed it by: its condition was not true, or what it needs was not there.
    pub skipped: u64,
    /// Leads whose answer was known from before, so that it was not called.
    pub cached: u64,
    /// Leads that could not afford it.
    pub unaffordable: u64,
    /// Leads it put off for want of a free moment.
    pub postponed: u64,
    /// What its calls cost.
    pub cost: Money,
    /// Tokens of a language model that went in.
    pub tokens_in: u64,
    /// Tokens of a language model that came out.
    pub tokens_out: u64,
    /// How long its calls took.
    pub latency: Latency,
}

impl StationStats {
    /// Adds to the figure of a name: what is stored for a station, one count each.
    pub fn add(&mut self, figure: &str, more: u64) {
        let slot = match figure {
            "calls" => &mut self.calls,
            "skipped" => &mut self.skipped,
            "cached" => &mut self.cached,
            "unaffordable" => &mut self.unaffordable,
            "postponed" => &mut self.postponed,
            "tokens_in" => &mut self.tokens_in,
            "tokens_out" => &mut self.tokens_out,
            "cost" => {
                self.cost = self.cost.plus(Money::from_micros(more));
                return;
            }
            other => {
                if let Some(kind) = other.strip_prefix("failed:") {
                    self.failures.entry(kind.to_owned()).or_default()
                } else if let Some(bucket) = other
                    .strip_prefix("latency:")
                    .and_then(|bucket| bucket.parse::<usize>().ok())
                    .and_then(|bucket| self.latency.buckets.get_mut(bucket))
                {
                    bucket
                } else {
                    // A figure that a newer version counts.
                    return;
                }
            }
        };
        *slot += more;
    }
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
    fn a_worker_from_the_future_is_understood_as_far_as_possible() {
        let told = br#"{"host":"enrich-1","pid":"a text by now","version":"99.1.0","concurrency":50,"moods":[1]}"#;
        let info = WorkerInfo::read(told);
        assert_eq!(
            (info.host.as_str(), info.pid, info.concurrency),
            ("enrich-1", 0, 50)
        );
        assert!(info.is_newer());
        assert_eq!(WorkerInfo::read(b"[1]"), WorkerInfo::default());
        assert_eq!(WorkerInfo::read(b"\xff"), WorkerInfo::default());
        for version in [env!("CARGO_PKG_VERSION"), "0.0.9", "", "0.1.0-rc.1"] {
            let info = WorkerInfo {
                version: version.into(),
                ..WorkerInfo::default()
            };
            assert!(!info.is_newer(), "{version}");
        }
    }

    #[test]
    fn the_rate_slides_over_the_minute_boundary() {
        let rate = |now, this, previous| (rate_per_second(now, this, previous) * 100.0).round();
        assert!((rate(60_000, 0, 600) - 1_000.0).abs() < f64::EPSILON);
        assert!((rate(90_000, 300, 600) - 1_000.0).abs() < f64::EPSILON);
        assert!((rate(119_999, 600, 600) - 1_000.0).abs() < 1.0);
    }

    #[test]
    fn quantiles_come_from_the_buckets() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), None);
        for ms in 1..=100 {
            latency.buckets[latency_bucket(Duration::from_millis(ms))] += 1;
        }
        assert_eq!(latency.count(), 100);
        let p50 = latency.quantile(0.5).expect("calls").as_millis();
        assert!((40..=60).contains(&p50), "{p50}");
        let p99 = latency.quantile(0.99).expect("calls").as_millis();
        assert!((90..=100).contains(&p99), "{p99}");
        latency.buckets[latency_bucket(Duration::from_secs(3_600))] += 1_000;
        assert_eq!(latency.quantile(0.99), Some(Duration::from_secs(200)));
        assert_eq!(latency_bucket(Duration::ZERO), 0);
        assert_eq!(latency_bucket(Duration::from_micros(10)), 0);
        assert_eq!(latency_bucket(Duration::from_micros(11)), 1);
    }

    #[test]
    fn a_stations_figures_are_added_up_by_name() {
        let mut stats = StationStats::default();
        for (figure, more) in [
            ("calls", 3),
            ("failed:timeout", 1),
            ("failed:timeout", 1),
            ("cost", 20_000),
            ("latency:6", 3),
            ("latency:999", 3),
            ("of a newer version", 1),
        ] {
            stats.add(figure, more);
        }
        assert_eq!((stats.calls, stats.failures["timeout"]), (3, 2));
        assert_eq!((stats.cost.micros(), stats.latency.count()), (20_000, 3));
    }
}
