//! A page in Prometheus' text format, for figures that are read from elsewhere.

use std::collections::BTreeSet;

use bridge_shared::findings::{Finding, NAMES};
use bridge_shared::stats::{LATENCY_BOUNDS_US, Snapshot, StationStats, WorkerState};
use bridge_shared::store::condition::{Condition, Eviction, Writes};
use metrics::{Key, Label};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{
    write_help_line, write_metric_line, write_type_line,
};

/// A page under way.
pub(super) struct Page(String);

type Labels<'a> = &'a [(&'static str, &'a str)];

impl Page {
    /// A page that goes on after this.
    pub(super) fn begun(text: String) -> Self {
        Self(text)
    }

    /// All that stands on it.
    pub(super) fn text(self) -> String {
        self.0
    }

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

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, &[], value);
    }

    /// How much is where, and who works on it.
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of leads and spans of time"
    )]
    pub(super) fn depths(&mut self, now: &Snapshot, writes: &Writes) {
        for (name, help, value) in [
            ("bridge_waiting", "Leads that wait.", now.waiting),
            (
                "bridge_in_flight",
                "Leads in the hands of workers, registered or not.",
                now.in_flight,
            ),
            (
                "bridge_in_flight_complete",
                "Whether bridge_in_flight counts the leads of all workers that are not registered.",
                u64::from(now.search.gap().is_none()),
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
        self.rates_and_budgets(now);
        self.head("bridge_workers", "gauge", "Workers, by how they are.");
        for wanted in WorkerState::ALL {
            let workers = now.workers.iter();
            let n = workers
                .filter(|worker| worker.state_with(writes) == wanted)
                .count();
            self.line("bridge_workers", &[("state", wanted.as_str())], n);
        }
        self.gauge(
            "bridge_workers_lost_last_day",
            "Workers that were lost in the last 24 hours, up to 100.",
            now.lost.len() as f64,
        );
        let slots = now
            .registered()
            .map(|worker| u64::from(worker.info.concurrency));
        self.gauge(
            "bridge_slots",
            "Leads that all workers work on at once.",
            slots.sum::<u64>() as f64,
        );
        if let Some(lease) = now.registered().map(|worker| worker.lease_ms).min() {
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

    /// How fast it goes, and which budgets are spent.
    fn rates_and_budgets(&mut self, now: &Snapshot) {
        self.gauge(
            "bridge_rate_per_second",
            "Leads that came to an end per second over the last minute.",
            now.rate_per_s,
        );
        self.gauge(
            "bridge_failed_per_second",
            "Attempts that failed per second over the last minute.",
            now.failed_per_s,
        );
        self.head(
            "bridge_budget_spent",
            "gauge",
            "Pipelines whose daily budget refused calls today.",
        );
        let spent = now.budgets.iter().map(|budget| budget.pipeline.as_str());
        let spent: BTreeSet<&str> = spent.collect();
        let running = now.registered().map(|worker| &*worker.info.pipeline);
        for pipeline in spent
            .iter()
            .copied()
            .chain(running)
            .collect::<BTreeSet<_>>()
        {
            let is_spent = u8::from(spent.contains(pipeline));
            self.line("bridge_budget_spent", &[("pipeline", pipeline)], is_spent);
        }
    }

    /// The state of the server.
    #[allow(clippy::cast_precision_loss, reason = "bytes, shown as a float")]
    pub(super) fn redis(&mut self, condition: &Condition, now: &Snapshot) {
        let writable = match condition.writes(&now.workers) {
            Writes::Accepted => Some(1.0),
            Writes::Refused(_) => Some(0.0),
            Writes::NotTried => None,
        };
        if let Some(writable) = writable {
            let help = "Whether Redis accepts writes, by a write.";
            self.gauge("bridge_redis_writable", help, writable);
        }
        let Some(server) = &condition.server else {
            return;
        };
        self.gauge(
            "bridge_redis_memory_used_bytes",
            "Memory of Redis that counts against its limit.",
            server.used_memory as f64,
        );
        self.gauge(
            "bridge_redis_memory_limit_bytes",
            "maxmemory of Redis; 0 for no limit.",
            server.max_memory as f64,
        );
        self.head(
            "bridge_redis_evicting",
            "gauge",
            "Whether Redis may evict keys of the bridge.",
        );
        let evicting = u8::from(server.eviction() != Eviction::Never);
        let labels = [("policy", server.policy.as_str())];
        self.line("bridge_redis_evicting", &labels, evicting);
        self.counter(
            "bridge_redis_evicted_keys_total",
            "Keys that Redis has evicted since its start.",
            server.evicted_keys,
        );
    }

    /// How much is wrong, as `bridge status` tells it.
    pub(super) fn findings(&mut self, found: &[Finding]) {
        self.head(
            "bridge_findings",
            "gauge",
            "What is wrong, by name, as `bridge status` tells it.",
        );
        for name in NAMES {
            let n = found.iter().filter(|finding| finding.name == name).count();
            self.line("bridge_findings", &[("name", name)], n);
        }
    }

    /// What was done since the beginning.
    pub(super) fn totals(&mut self, now: &Snapshot) {
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
                "Leads that ended early, by design or for want of money.",
                totals.skipped,
            ),
            (
                "over_budget",
                "Leads stored without enrichment because a budget did not allow a call.",
                totals.over_budget,
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
                "In-flight leads of workers that died, back to waiting.",
                totals.recovered,
            ),
            (
                "requeued",
                "Leads handed back by living workers that stopped or had taken too many.",
                totals.requeued,
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

    /// What stations did.
    pub(super) fn stations(&mut self, prefix: &str, whose: &str, stations: &[&StationStats]) {
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
            self.line(&name, &labels(station), ones(station.cost.micros()));
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
                let le = Some(("le", ones(*bound).to_string()));
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
pub(super) fn ones(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

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
