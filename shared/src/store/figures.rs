//! Counts and charts.

use std::collections::{BTreeMap, HashMap};

use redis::Value;

use super::{Store, StoreError, convert, time_or_none};
use crate::clock::Millis;
use crate::stats::{Minute, Snapshot, StationStats, Totals, Worker, WorkerInfo, rate_per_second};

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
        ]);
        let mut reply = self.run(script, &cmd).await?;
        let now = reply.now;
        let (waiting, dead, retry) = (reply.next()?, reply.next()?, reply.next()?);
        let (paused, next_retry): (i64, i64) = (reply.next()?, reply.next()?);
        let totals = totals(&reply.next()?);
        let (this, previous): (Vec<Option<u64>>, Vec<Option<u64>>) = (reply.next()?, reply.next()?);
        let sum = |counts: Vec<Option<u64>>| counts.into_iter().flatten().sum();
        let workers = reply
            .rest::<(String, Millis, Vec<u8>, u64)>()?
            .into_iter()
            .map(|(id, deadline, info, in_flight)| Worker {
                id,
                info: WorkerInfo::read(&info),
                in_flight,
                lease_ms: deadline - now,
            })
            .collect::<Vec<_>>();
        Ok(Snapshot {
            now,
            waiting,
            in_flight: workers.iter().map(|worker| worker.in_flight).sum(),
            retry,
            dead,
            paused: paused == 1,
            totals,
            rate_per_s: rate_per_second(now, sum(this), sum(previous)),
            next_retry: time_or_none(next_retry),
            workers: {
                let mut workers = workers;
                workers.sort_by(|a, b| a.id.cmp(&b.id));
                workers
            },
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

/// The totals; what a worker of another version counts in another form is left out.
fn totals(fields: &HashMap<String, Vec<u8>>) -> Totals {
    let number = |value: &Vec<u8>| std::str::from_utf8(value).ok()?.parse::<u64>().ok();
    let get = |field: &str| fields.get(field).and_then(number).unwrap_or(0);
    Totals {
        received: get("received"),
        done: get("done"),
        skipped: get("skipped"),
        postponed: get("postponed"),
        dead: get("dead"),
        retried: get("retried"),
        recovered: get("recovered"),
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
