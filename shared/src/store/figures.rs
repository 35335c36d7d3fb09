//! Counts and charts.

use std::collections::{BTreeMap, HashMap};

use redis::Value;
use serde::Deserialize;

use super::survey::Search;
use super::{Store, StoreError, convert};
use crate::clock::Millis;
use crate::stats::{
    LostWorker, Minute, Snapshot, SpentBudget, StationStats, Totals, Worker, WorkerInfo,
    rate_per_second,
};

/// A day, in milliseconds.
const DAY_MS: Millis = 86_400_000;

impl Store {
    /// Reads every figure in one step.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().snapshot;
        let cmd = script.call(&[
            &keys.queue,
            &keys.failed,
            &keys.retry,
            &keys.workers,
            &keys.workers_info,
            &keys.stats,
            &keys.paused,
            &keys.lost,
            &keys.budgets,
            &keys.workers_state,
        ]);
        let mut reply = self.run(script, &cmd).await?;
        let now = reply.now;
        let (waiting, dead, retry) = (reply.next()?, reply.next()?, reply.next()?);
        let (paused, next_retry): (i64, Option<Millis>) = (reply.next()?, reply.next()?);
        let totals = totals(&reply.next()?);
        let (this, previous): (Vec<Option<u64>>, Vec<Option<u64>>) = (reply.next()?, reply.next()?);
        let lost = lost_workers(now, reply.next()?);
        let budgets = spent_budgets(now, reply.next()?);
        let next_search: Option<Millis> = reply.next()?;
        let counts = |counts: &[Option<u64>]| {
            let count = |place: usize| counts.get(place).copied().flatten().unwrap_or(0);
            let (done, dead, retried) = (count(0), count(1), count(2));
            (done + dead, retried + dead)
        };
        let ((finished, failed), (finished_before, failed_before)) =
            (counts(&this), counts(&previous));
        let mut workers = reply
            .rest::<(String, Millis, Vec<u8>, u64)>()?
            .into_iter()
            .map(|(id, deadline, info, in_flight)| {
                let info = WorkerInfo::read(&info);
                Worker {
                    id,
                    lease_ms: lease_left(deadline - now, &info),
                    info,
                    in_flight,
                    unregistered: false,
                }
            })
            .collect::<Vec<_>>();
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Snapshot {
            now,
            waiting,
            in_flight: workers.iter().map(|worker| worker.in_flight).sum(),
            retry,
            dead,
            paused: paused == 1,
            totals,
            rate_per_s: rate_per_second(now, finished, finished_before),
            failed_per_s: rate_per_second(now, failed, failed_before),
            lost,
            budgets,
            next_retry,
            search: if is_searched(now, next_search, &workers) {
                Search::ByWorkers
            } else {
                Search::Unfinished
            },
            workers,
        })
    }

    /// The last `minutes` minutes, oldest first, the running one last. Minutes in which nothing
    /// happened are there with zeros.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn history(&self, minutes: u16) -> Result<Vec<Minute>, StoreError> {
        let last = self.observe_time().await?.div_euclid(60_000);
        let first = last - i64::from(minutes.max(1)) + 1;
        let mut pipe = redis::pipe();
        for minute in first..=last {
            pipe.cmd("HMGET")
                .arg(self.keys().minute(minute))
                .arg(&["done", "retried", "dead", "depth"]);
        }
        let rows: Vec<Value> = self.pipeline(&pipe).await?;
        (first..)
            .zip(rows)
            .map(|(minute, row)| {
                let [done, retried, dead, depth]: [Option<u64>; 4] = convert(row)?;
                let (done, retried, dead) =
                    (done.unwrap_or(0), retried.unwrap_or(0), dead.unwrap_or(0));
                Ok(Minute {
                    minute,
                    done,
                    failed: retried + dead,
                    dead,
                    depth,
                })
            })
            .collect()
    }

    /// What every station did in the last `hours` hours, the running one included, by pipeline
    /// and name. They are kept for a day.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn stations(&self, hours: u16) -> Result<Vec<StationStats>, StoreError> {
        let mut stations = Stations::default();
        for (_, figures) in self.station_hours(hours).await? {
            for (field, more) in figures {
                stations.add(&field, more);
            }
        }
        Ok(stations.0.into_values().collect())
    }

    /// The figures of the last `hours` hours, each under the name it is stored by, by hour since
    /// the epoch, the running one last. They are kept for a day.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn station_hours(
        &self,
        hours: u16,
    ) -> Result<Vec<(i64, HashMap<String, u64>)>, StoreError> {
        let last = self.observe_time().await?.div_euclid(3_600_000);
        let first = last - i64::from(hours.clamp(1, 24)) + 1;
        let mut pipe = redis::pipe();
        for hour in first..=last {
            pipe.cmd("HGETALL").arg(self.keys().stations(hour));
        }
        let hours: Vec<HashMap<String, String>> = self.pipeline(&pipe).await?;
        let figures = |fields: HashMap<String, String>| {
            let fields = fields.into_iter();
            // What is no figure of a station is a worker's mark of its last batch.
            let known = fields.filter(|(field, _)| figure_of(field).is_some());
            known
                .filter_map(|(field, n)| Some((field, n.parse().ok()?)))
                .collect()
        };
        Ok((first..).zip(hours.into_iter().map(figures)).collect())
    }
}

/// What stations did, by pipeline and name, added up from figures under the names they are stored
/// by.
#[derive(Debug, Clone, Default)]
pub struct Stations(BTreeMap<(String, String), StationStats>);

impl Stations {
    /// Adds to a figure; what is none of a station is left alone.
    pub fn add(&mut self, field: &str, more: u64) {
        let Some((pipeline, station, figure)) = figure_of(field) else {
            return;
        };
        self.0
            .entry((pipeline.clone(), station.clone()))
            .or_insert_with(|| StationStats {
                pipeline,
                station,
                ..StationStats::default()
            })
            .add(&figure, more);
    }

    /// The stations, by pipeline and name.
    #[must_use]
    pub fn list(&self) -> Vec<&StationStats> {
        self.0.values().collect()
    }
}

/// The name under which a station's figure is stored.
#[must_use]
pub fn figure(pipeline: &str, station: &str, figure: &str) -> String {
    serde_json::to_string(&(pipeline, station, figure)).expect("texts are JSON")
}

fn figure_of(field: &str) -> Option<(String, String, String)> {
    serde_json::from_str(field).ok()
}

/// Time until a lease ends. One further ahead than it is long was made before the server's clock went
/// back, and every heartbeat since would have made another: it counts as over. Of a worker that does not
/// tell its length an hour is the most, as in `heartbeat.lua`.
fn lease_left(left: Millis, info: &WorkerInfo) -> Millis {
    const LONGEST_MS: u64 = 3_600_000;
    /// A living worker renews its lease within it, and a clock may be set back by a little.
    const HEARTBEAT_MS: u64 = 1_000;
    let length = match info.lease_length_ms {
        0 => LONGEST_MS,
        length => length,
    };
    let most = i64::try_from(length.saturating_add(HEARTBEAT_MS)).unwrap_or(i64::MAX);
    if left > most { 0 } else { left }
}

/// Whether a living worker searches for in-flight leads of unregistered workers. An older worker does
/// not, nor does one whose user may not, though its lease is valid; so it counts that a search was due
/// within the last two leases.
fn is_searched(now: Millis, next_search: Option<Millis>, workers: &[Worker]) -> bool {
    let living = workers.iter().filter(|worker| worker.lease_ms > 0);
    let leases = living.map(|worker| worker.info.lease_length_ms);
    let lease = leases.max().unwrap_or(0);
    next_search.is_some_and(|next| lease > 0 && now.abs_diff(next) <= lease.saturating_mul(2))
}

/// The workers lost in the last day, the last one first; entries of another form are left out.
fn lost_workers(now: Millis, entries: HashMap<String, Vec<u8>>) -> Vec<LostWorker> {
    #[derive(Deserialize)]
    struct Loss {
        at: f64,
        recovered: u64,
        dead: u64,
        by: String,
    }
    let mut lost: Vec<LostWorker> = entries
        .into_iter()
        .filter_map(|(worker, loss)| {
            let Loss {
                at,
                recovered,
                dead,
                by,
            } = serde_json::from_slice(&loss).ok()?;
            Some(LostWorker {
                worker,
                at: whole(at),
                recovered,
                dead,
                recovered_by: by,
            })
        })
        .filter(|loss| loss.at > now - DAY_MS)
        .collect();
    lost.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.worker.cmp(&b.worker)));
    lost
}

/// The budgets that refused calls today (UTC), by pipeline.
fn spent_budgets(now: Millis, entries: HashMap<String, Vec<u8>>) -> Vec<SpentBudget> {
    #[derive(Deserialize)]
    struct Refusals {
        day: f64,
        since: f64,
        last: f64,
        budget: f64,
    }
    let mut budgets: Vec<SpentBudget> = entries
        .into_iter()
        .filter_map(|(pipeline, told)| {
            let told: Refusals = serde_json::from_slice(&told).ok()?;
            (whole(told.day) == now.div_euclid(DAY_MS)).then(|| SpentBudget {
                pipeline,
                since: whole(told.since),
                last: whole(told.last),
                budget: told.budget / 1e6,
            })
        })
        .collect();
    budgets.sort_by(|a, b| a.pipeline.cmp(&b.pipeline));
    budgets
}

/// A number that Lua wrote, which has no integers.
#[allow(clippy::cast_possible_truncation, reason = "saturates, as it should")]
fn whole(n: f64) -> i64 {
    n as i64
}

/// The totals; what a worker of another version counts in another form is left out.
fn totals(fields: &HashMap<String, Vec<u8>>) -> Totals {
    let number = |value: &Vec<u8>| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
    let get = |field: &str| fields.get(field).and_then(number).unwrap_or(0);
    Totals {
        received: get("received"),
        done: get("done"),
        skipped: get("skipped"),
        over_budget: get("over_budget"),
        postponed: get("postponed"),
        dead: get("dead"),
        retried: get("retried"),
        recovered: get("recovered"),
        requeued: get("requeued"),
        lease_lost: get("lease_lost"),
        redriven: get("redriven"),
        dropped: get("dropped"),
        restored: get("restored"),
        pushed: get("pushed"),
        retries_by_attempt: fields
            .iter()
            .filter_map(|(field, n)| {
                Some((field.strip_prefix("retry:")?.parse().ok()?, number(n)?))
            })
            .collect(),
    }
}
