//! In-flight leads of workers that are not registered: found by their keys, and given a lease.

use std::time::Duration;

use super::trash::literally;
use super::{Store, StoreError};
use crate::clock::Millis;
use crate::stats::WorkerInfo;

/// Time between two steps of a search, so that one over millions of keys takes a small share of Redis.
pub const STEP_PAUSE: Duration = Duration::from_millis(25);
/// Time after which a program asks again that was not allowed to search.
pub const DENIED_PAUSE: Duration = Duration::from_secs(600);
/// Keys that one step of a search goes over: well below a millisecond.
const SCAN_COUNT: usize = 1_000;

/// Workers whose lease has run out, as far as one step looked at them.
#[derive(Debug)]
pub struct Expired {
    /// How many were looked at.
    pub looked_at: usize,
    /// Those with leads in flight, and what they said of themselves last.
    pub with_leads: Vec<(String, WorkerInfo)>,
    /// Keys for in-flight leads of the others that hold something else, and its type.
    pub foreign: Vec<(String, String)>,
}

impl Store {
    /// Whether this worker is to search for leads of workers that are not registered. Another search
    /// begins so much later at the earliest, by any worker.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn may_search(&self, pause: Duration) -> Result<bool, StoreError> {
        let script = &self.scripts().search;
        let mut cmd = script.call(&[&self.keys().workers_state]);
        cmd.arg(whole_ms(pause));
        Ok(self.run(script, &cmd).await?.next::<i64>()? == 1)
    }

    /// One step of a search: the workers that have keys for in-flight leads, and the cursor of the next
    /// step, 0 at the end.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn scan_workers(&self, cursor: u64) -> Result<(u64, Vec<String>), StoreError> {
        let prefix = self.keys().active("");
        let mut cmd = redis::cmd("SCAN");
        cmd.arg(cursor).arg("MATCH").arg(literally(&prefix) + "*");
        cmd.arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<Vec<u8>>) = self.query(&cmd).await?;
        let mut workers: Vec<String> = keys
            .iter()
            .filter_map(|key| {
                let worker = std::str::from_utf8(key).ok()?.strip_prefix(&prefix)?;
                let lane = worker.strip_suffix(":1").or(worker.strip_suffix(":2"));
                Some(lane.unwrap_or(worker).to_owned())
            })
            .collect();
        workers.sort_unstable();
        workers.dedup();
        Ok((next, workers))
    }

    /// How many leads each of these workers has in flight, registered or not.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn in_flight_of(&self, workers: &[String]) -> Result<Vec<u64>, StoreError> {
        if workers.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.keys();
        let script = &self.scripts().in_flight;
        let active: Vec<String> = workers.iter().map(|worker| keys.active(worker)).collect();
        let active: Vec<&str> = active.iter().map(String::as_str).collect();
        self.run(script, &script.call(&active)).await?.rest()
    }

    /// Registers those of the workers that are not registered and have leads in flight, with this
    /// lease; returns them, with how many leads.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn adopt(
        &self,
        workers: &[String],
        lease: Duration,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().adopt;
        let active: Vec<String> = workers.iter().map(|worker| keys.active(worker)).collect();
        let mut all = vec![keys.workers.as_str(), keys.workers_info.as_str()];
        all.extend(active.iter().map(String::as_str));
        let lease = whole_ms(lease);
        let info = WorkerInfo {
            lease_length_ms: lease,
            trouble: "its registration was deleted; its leads go to others if it is dead".into(),
            ..WorkerInfo::default()
        };
        let mut cmd = script.call(&all);
        cmd.arg(lease);
        cmd.arg(serde_json::to_vec(&info).expect("plain fields are JSON"));
        cmd.arg(workers);
        self.run(script, &cmd).await?.rest()
    }

    /// Looks at up to `count` workers whose lease has run out, without the first `skip`: takes those
    /// without leads off the register. After `latest`, in server time, it looks at none
    /// ([`Pulse::latest`](super::work::Pulse::latest)).
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn expired(
        &self,
        by: &str,
        latest: Option<Millis>,
        skip: usize,
        count: usize,
    ) -> Result<Expired, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().expired;
        let mut cmd = script.call(&[&keys.workers, &keys.workers_info, &keys.lost, &keys.queue]);
        cmd.arg(by).arg(skip).arg(count);
        cmd.arg(latest.map_or_else(String::new, |latest| latest.to_string()));
        let mut reply = self.run(script, &cmd).await?;
        let (looked_at, foreign) = (reply.next()?, reply.next()?);
        let workers: Vec<(String, Vec<u8>)> = reply.rest()?;
        let read = |(worker, info): (String, Vec<u8>)| (worker, WorkerInfo::read(&info));
        Ok(Expired {
            looked_at,
            with_leads: workers.into_iter().map(read).collect(),
            foreign,
        })
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
