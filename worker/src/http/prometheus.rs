//! Figures for Prometheus.
//!
//! What this process does itself goes through the `metrics` macros, wherever it happens. What the
//! whole bridge does is read from Redis when somebody asks, and is the same at every API: take the
//! largest of several, not their sum. A worker that serves says besides what its own stations did.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bridge_shared::stats::{LATENCY_BOUNDS_US, Snapshot, StationStats, Worker};
use bridge_shared::store::figures::Stations;
use bridge_shared::store::{Store, StoreError};
use metrics::{Key, Label};
use metrics_exporter_prometheus::formatting::{
    write_help_line, write_metric_line, write_type_line,
};
use metrics_exporter_prometheus::{LabelSet, Matcher, PrometheusBuilder, PrometheusHandle};

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
        let bounds: Vec<f64> = LATENCY_BOUNDS_US.iter().map(|us| seconds(*us)).collect();
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

    async fn text(&self) -> String {
        if let Some(worker) = &self.worker {
            let lease = worker.health.lease().as_secs_f64();
            metrics::gauge!("bridge_worker_lease_seconds").set(lease);
        }
        let snapshot = self.store.snapshot().await;
        let mut counted = self.counted.lock().await;
        let known = counted.read(&self.store).await.is_ok();
        // Now the calls that this took are counted too.
        let mut page = Page(self.recorder.0.render());
        if let Some(worker) = &self.worker {
            let stations = worker.ledger.stations();
            page.stations("bridge_worker_station", "of this worker", &stations.list());
        }
        let up = if snapshot.is_ok() { 1.0 } else { 0.0 };
        page.gauge("bridge_redis_up", "Whether Redis answers.", up);
        if let Ok(snapshot) = snapshot {
            page.depths(&snapshot);
            page.totals(&snapshot);
        }
        if known {
            let stations = counted.since_the_beginning();
            page.stations("bridge_station", "of all workers", &stations.list());
        }
        page.0
    }
}

/// Figures in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "figures", responses((status = OK, body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Problem> {
    Ok(([(header::CONTENT_TYPE, TEXT)], api.figures.text().await))
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
}

impl Counted {
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

/// A page under way.
struct Page(String);

type Labels<'a> = &'a [(&'static str, &'a str)];

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        write_help_line(&mut self.0, name, None, None, help);
        write_type_line(&mut self.0, name, None, None, kind);
    }

    fn line(&mut self, name: &str, labels: Labels<'_>, value: impl std::fmt::Display) {
        self.part(name, None, labels, None, value);
    }

    fn part(
        &mut self,
        name: &str,
        suffix: Option<&'static str>,
        labels: Labels<'_>,
        more: Option<(&'static str, String)>,
        value: impl std::fmt::Display,
    ) {
        let labels: Vec<Label> = labels
            .iter()
            .map(|(name, value)| Label::new(*name, (*value).to_owned()))
            .collect();
        let key = Key::from_parts(name.to_owned(), labels);
        let labels = LabelSet::from_key_and_global(&key, &indexmap::IndexMap::new());
        write_metric_line(&mut self.0, name, suffix, &labels, more, value, None);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, &[], value);
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of leads and spans of time"
    )]
    fn depths(&mut self, now: &Snapshot) {
        for (name, help, value) in [
            ("bridge_waiting", "Leads that wait.", now.waiting),
            (
                "bridge_in_flight",
                "Leads in the hands of workers.",
                now.in_flight,
            ),
            ("bridge_retry", "Leads that wait for a retry.", now.retry),
            ("bridge_dead_letters", "Leads that were given up.", now.dead),
            (
                "bridge_paused",
                "Whether work is paused.",
                u64::from(now.paused),
            ),
        ] {
            self.gauge(name, help, value as f64);
        }
        let state = |worker: &Worker| match worker {
            Worker { lease_ms: ..=0, .. } => "lost",
            worker if worker.info.draining => "draining",
            _ => "working",
        };
        self.head("bridge_workers", "gauge", "Workers, by how they are.");
        for wanted in ["working", "draining", "lost"] {
            let n = now
                .workers
                .iter()
                .filter(|worker| state(worker) == wanted)
                .count();
            self.line("bridge_workers", &[("state", wanted)], n);
        }
        let slots = now
            .workers
            .iter()
            .map(|worker| u64::from(worker.info.concurrency));
        self.gauge(
            "bridge_slots",
            "Leads that all workers work on at once.",
            slots.sum::<u64>() as f64,
        );
        if let Some(lease) = now.workers.iter().map(|worker| worker.lease_ms).min() {
            self.gauge(
                "bridge_lease_seconds_min",
                "Time until the first lease of a worker ends; below 0 it is overdue.",
                lease as f64 / 1e3,
            );
        }
        if let Some(due) = now.next_retry {
            self.gauge(
                "bridge_next_retry_seconds",
                "Time until the next retry is due; below 0 it is overdue.",
                (due - now.now) as f64 / 1e3,
            );
        }
    }

    fn totals(&mut self, now: &Snapshot) {
        let totals = &now.totals;
        for (name, help, value) in [
            (
                "received",
                "Leads taken from the waiting list, repeats counted.",
                totals.received,
            ),
            (
                "done",
                "Leads enriched, those that ended early included.",
                totals.done,
            ),
            (
                "skipped",
                "Leads that ended early, on purpose.",
                totals.skipped,
            ),
            ("dead", "Leads given up.", totals.dead),
            ("retried", "Retries scheduled.", totals.retried),
            (
                "postponed",
                "Leads put off for want of a free moment.",
                totals.postponed,
            ),
            (
                "recovered",
                "Leads given back by dead or stopping workers.",
                totals.recovered,
            ),
            (
                "lease_lost",
                "Results dropped because the lease was gone.",
                totals.lease_lost,
            ),
            (
                "redriven",
                "Dead letters put back to work.",
                totals.redriven,
            ),
            ("dropped", "Dead letters thrown away.", totals.dropped),
            (
                "restored",
                "Dead letters brought back from the trash.",
                totals.restored,
            ),
            (
                "pushed",
                "Leads pushed through the bridge's own producers.",
                totals.pushed,
            ),
        ] {
            self.counter(&format!("bridge_leads_{name}_total"), help, value);
        }
        self.head(
            "bridge_retries_total",
            "counter",
            "Retries scheduled, by which of a lead's it was.",
        );
        for (retry, n) in &totals.retries_by_attempt {
            self.line("bridge_retries_total", &[("retry", &retry.to_string())], n);
        }
    }

    fn stations(&mut self, prefix: &str, whose: &str, stations: &[&StationStats]) {
        type Figure = fn(&StationStats) -> u64;
        let plain: [(&str, &str, Figure); 5] = [
            ("calls", "Calls that came to an end", |station| {
                station.calls
            }),
            ("skipped", "Leads that passed by", |station| station.skipped),
            ("cached", "Answers known from before", |station| {
                station.cached
            }),
            (
                "unaffordable",
                "Leads that could not afford it",
                |station| station.unaffordable,
            ),
            (
                "postponed",
                "Leads put off for want of a free moment",
                |station| station.postponed,
            ),
        ];
        for (what, help, figure) in plain {
            let name = format!("{prefix}_{what}_total");
            self.head(&name, "counter", &format!("{help}, {whose}."));
            for station in stations {
                self.line(&name, &labels(station), figure(station));
            }
        }
        let name = format!("{prefix}_failures_total");
        self.head(&name, "counter", &format!("Calls that failed, {whose}."));
        for station in stations {
            let [pipeline, own] = labels(station);
            for (kind, n) in &station.failures {
                self.line(&name, &[pipeline, own, ("kind", kind)], n);
            }
        }
        let name = format!("{prefix}_tokens_total");
        self.head(
            &name,
            "counter",
            &format!("Tokens of language models, {whose}."),
        );
        for station in stations {
            let [pipeline, own] = labels(station);
            for (way, n) in [("in", station.tokens_in), ("out", station.tokens_out)] {
                if n > 0 {
                    self.line(&name, &[pipeline, own, ("direction", way)], n);
                }
            }
        }
        let name = format!("{prefix}_cost_dollars_total");
        self.head(
            &name,
            "counter",
            &format!("US dollars that calls cost, {whose}."),
        );
        for station in stations {
            self.line(&name, &labels(station), seconds(station.cost.micros()));
        }
        self.times(&format!("{prefix}_call_seconds"), whose, stations);
    }

    /// How long calls took. There is no sum: only the buckets are counted.
    fn times(&mut self, name: &str, whose: &str, stations: &[&StationStats]) {
        self.head(name, "histogram", &format!("Time of calls, {whose}."));
        for station in stations {
            let labels = labels(station);
            let mut below = 0;
            for (bound, calls) in LATENCY_BOUNDS_US.iter().zip(station.latency.buckets) {
                below += calls;
                let le = Some(("le", seconds(*bound).to_string()));
                self.part(name, Some("bucket"), &labels, le, below);
            }
            let all = station.latency.count();
            let le = Some(("le", "+Inf".to_owned()));
            self.part(name, Some("bucket"), &labels, le, all);
            self.part(name, Some("count"), &labels, None, all);
        }
    }
}

fn labels(station: &StationStats) -> [(&'static str, &str); 2] {
    [
        ("pipeline", &station.pipeline),
        ("station", &station.station),
    ]
}

/// Millionths as a number of ones: micro-seconds as seconds, micro-dollars as dollars.
#[allow(clippy::cast_precision_loss, reason = "exact far beyond what is shown")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
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

    #[test]
    fn a_station_is_shown_with_its_times_and_harmless_labels() {
        let mut station = StationStats {
            pipeline: "ma\"in\n".into(),
            station: "enrich".into(),
            ..StationStats::default()
        };
        station.add("calls", 3);
        station.add("latency:6", 2);
        station.add("latency:23", 1);
        let mut page = Page(String::new());
        page.stations("bridge_station", "of all workers", &[&station]);
        for line in [
            r#"bridge_station_calls_total{pipeline="ma\"in\n",station="enrich"} 3"#,
            r#"bridge_station_call_seconds_bucket{pipeline="ma\"in\n",station="enrich",le="0.001"} 2"#,
            r#"bridge_station_call_seconds_bucket{pipeline="ma\"in\n",station="enrich",le="200"} 2"#,
            r#"bridge_station_call_seconds_bucket{pipeline="ma\"in\n",station="enrich",le="+Inf"} 3"#,
        ] {
            assert!(
                page.0.lines().any(|other| other == line),
                "{line}\n{}",
                page.0
            );
        }
    }
}
