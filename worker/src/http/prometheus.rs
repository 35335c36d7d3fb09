//! Figures for Prometheus.
//!
//! What this process does itself goes through the `metrics` macros, wherever it happens. What the
//! whole bridge does is read from Redis when somebody asks, and is the same at every API: take the
//! largest of several, not their sum. A worker that serves says besides what its own stations did.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bridge_shared::findings::{Finding, findings, of_redis};
use bridge_shared::stats::{LATENCY_BOUNDS_US, Snapshot};
use bridge_shared::store::condition::Condition;
use bridge_shared::store::figures::Stations;
use bridge_shared::store::{Store, StoreError};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::page::{Page, ones};
use super::problem::Problem;
use super::{Api, Beside};

/// The media type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What this process measures of itself, from its first request on.
pub(crate) struct Recorder(PrometheusHandle);

impl Recorder {
    /// Begins to measure, everywhere in the process.
    ///
    /// # Errors
    /// One line, where something measures already.
    pub(super) fn install() -> Result<Self, String> {
        let bounds: Vec<f64> = LATENCY_BOUNDS_US.iter().map(|us| ones(*us)).collect();
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &bounds)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(|error| format!("figures cannot be taken: {error}"))?;
        describe();
        Ok(Self(handle))
    }
}

/// What stands above each figure that the macros take.
fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("bridge_http_requests_total", "Requests answered.");
    describe_histogram!(
        "bridge_http_request_seconds",
        "Time from a request's head to the head of its answer."
    );
    describe_counter!(
        "bridge_http_leads_accepted_total",
        "Leads taken by POST /leads."
    );
    describe_histogram!(
        "bridge_redis_call_seconds",
        "Time of this process's calls to Redis."
    );
    describe_counter!(
        "bridge_redis_errors_total",
        "Calls of this process that Redis did not answer, or refused."
    );
    describe_counter!(
        "bridge_worker_leads_total",
        "Attempts of this worker, by what came of them."
    );
    describe_histogram!(
        "bridge_worker_attempt_seconds",
        "Time of this worker's attempts that ended well."
    );
    describe_gauge!("bridge_worker_slots", "Leads this worker works on at once.");
    describe_gauge!(
        "bridge_worker_in_hand",
        "Leads in the hands of this worker."
    );
    describe_gauge!(
        "bridge_worker_lease_seconds",
        "Time until the lease of this worker ends."
    );
}

/// Where figures come from.
pub(super) struct Figures {
    store: Store,
    recorder: Recorder,
    worker: Option<Beside>,
    counted: tokio::sync::Mutex<Counted>,
}

impl Figures {
    pub(super) fn new(store: Store, recorder: Recorder, worker: Option<Beside>) -> Self {
        Self {
            store,
            recorder,
            worker,
            counted: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps what is measured small while nobody asks.
    pub(super) fn tidy(&self) {
        self.recorder.0.run_upkeep();
    }

    /// Notes what was counted before this process.
    pub(super) async fn begin(&self) {
        // Where Redis is away the first answer is the beginning.
        let _ = self.counted.lock().await.read(&self.store).await;
    }

    async fn text(
        &self,
        asked: Instant,
        condition: Option<Condition>,
        snapshot: Result<Snapshot, StoreError>,
    ) -> String {
        if let Some(worker) = &self.worker {
            let lease = worker.health.lease().as_secs_f64();
            metrics::gauge!("bridge_worker_lease_seconds").set(lease);
        }
        let mut counted = self.counted.lock().await;
        let known = counted.read_since(asked, &self.store).await;
        // Now the calls that this took are counted too.
        let mut page = Page::begun(self.recorder.0.render());
        if let Some(worker) = &self.worker {
            let stations = worker.ledger.stations();
            page.stations("bridge_worker_station", "of this worker", &stations.list());
        }
        let number = |truth| if truth { 1.0 } else { 0.0 };
        let is_up = !snapshot.as_ref().is_err_and(StoreError::is_outage);
        page.gauge("bridge_redis_up", "Whether Redis answers.", number(is_up));
        let is_usable = snapshot.is_ok()
            && condition
                .as_ref()
                .is_some_and(|condition| !of_redis(condition, &[]).iter().any(Finding::stops_work));
        page.gauge(
            "bridge_redis_usable",
            "Whether Redis accepts writes and scripts, and its keys are as they should be.",
            number(is_usable),
        );
        if let Ok(snapshot) = snapshot {
            let condition = condition.unwrap_or_default();
            page.depths(&snapshot, &condition.writes(&snapshot.workers));
            page.totals(&snapshot);
            page.redis(&condition, &snapshot);
            page.findings(&findings(&snapshot, &condition));
        }
        if known {
            let stations = counted.since_the_beginning();
            page.stations("bridge_station", "of all workers", &stations.list());
        }
        page.text()
    }
}

/// Figures in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "figures", responses((status = OK, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Problem> {
    let asked = Instant::now();
    // Where it does not work, the page says so.
    let _ = api.fresh().await;
    let condition = api.looks.look(&api.store).await.ok();
    let snapshot = api.snapshot().await;
    let page = api.figures.text(asked, condition, snapshot).await;
    Ok(([(header::CONTENT_TYPE, TEXT)], page))
}

/// What stations did, hour by hour in Redis, as counts that only grow: each begins with 0 in this
/// process, since a count that began with another's would look like work done at once.
#[derive(Debug, Default)]
struct Counted {
    /// What was there at the beginning.
    before: Option<HashMap<String, u64>>,
    /// Hours that are over.
    over: HashMap<String, u64>,
    /// Hours that may still grow: the last reading of each.
    growing: BTreeMap<i64, HashMap<String, u64>>,
    /// When the last reading began, and whether it came to its end.
    last: Option<(Instant, bool)>,
}

impl Counted {
    /// Reads, unless a reading began after this; returns whether it is known what was read. One
    /// reading serves all who waited for it, so that many who ask at once do not wait in a row.
    async fn read_since(&mut self, then: Instant, store: &Store) -> bool {
        if let Some((begun, known)) = self.last
            && begun >= then
        {
            return known;
        }
        let begun = Instant::now();
        let known = self.read(store).await.is_ok();
        self.last = Some((begun, known));
        known
    }

    async fn read(&mut self, store: &Store) -> Result<(), StoreError> {
        let hour = store.observe_time().await?.div_euclid(3_600_000);
        let missed = self
            .growing
            .last_key_value()
            .map_or(0, |(last, _)| hour - last);
        let hours = u16::try_from(missed.clamp(0, 22)).unwrap_or(0) + 2;
        for (hour, figures) in store.station_hours(hours).await? {
            self.growing.insert(hour, figures);
        }
        // What a worker counted in an hour reaches Redis within a second: two are enough.
        while self.growing.len() > 2
            && let Some((_, hour)) = self.growing.pop_first()
        {
            for (figure, n) in hour {
                *self.over.entry(figure).or_default() += n;
            }
        }
        if self.before.is_none() {
            self.before = Some(self.sum());
        }
        Ok(())
    }

    fn sum(&self) -> HashMap<String, u64> {
        let mut sum = self.over.clone();
        for (figure, n) in self.growing.values().flatten() {
            *sum.entry(figure.clone()).or_default() += n;
        }
        sum
    }

    fn since_the_beginning(&self) -> Stations {
        let mut stations = Stations::default();
        for (figure, n) in self.sum() {
            let before = self.before.as_ref().and_then(|before| before.get(&figure));
            stations.add(&figure, n.saturating_sub(before.copied().unwrap_or(0)));
        }
        stations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(n: u64) -> HashMap<String, u64> {
        HashMap::from([(bridge_shared::store::figures::figure("p", "s", "calls"), n)])
    }

    #[test]
    fn counts_begin_with_nothing_and_only_grow() {
        let mut counted = Counted {
            before: Some(hour(5)),
            growing: BTreeMap::from([(7, hour(5))]),
            ..Counted::default()
        };
        let calls = |counted: &Counted| counted.since_the_beginning().list()[0].calls;
        assert_eq!(calls(&counted), 0);
        counted.growing.insert(7, hour(9));
        counted.growing.insert(8, hour(2));
        assert_eq!(calls(&counted), 6);
        counted.over = counted.growing.remove(&7).expect("hour 7");
        assert_eq!(calls(&counted), 6);
    }
}
