//! What is wrong with a bridge, the worst first: the one judgment that the commands, the console,
//! the API and the figures for Prometheus share.

use serde::Serialize;

use crate::clock::human_duration;
use crate::stats::{LostWorker, Snapshot, SpentBudget, Worker, WorkerState};
use crate::store::StoreError;
use crate::store::condition::{Condition, Eviction, Server, Writes};
use crate::store::survey::Search;
use crate::units::{human_bytes, thousands};

/// How long a lost worker is told of.
const LOST_FOR_MS: i64 = 3_600_000;
/// Findings of one kind that are told one by one; more are told as one.
const EACH_UP_TO: usize = 3;
/// From this share of the memory limit on, in percent, memory counts as short.
const MEMORY_SHORT_PERCENT: u128 = 90;

/// The names of all findings.
pub const NAMES: [&str; 15] = [
    "writes_refused",
    "wrong_type",
    "stream_full",
    "scripts_refused",
    "evicting",
    "evicting_some",
    "memory_short",
    "saving_fails",
    "no_workers",
    "worker_unregistered",
    "worker_overdue",
    "worker_silent",
    "worker_troubled",
    "worker_lost",
    "budget_spent",
];

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Work stops, or leads may be lost.
    Bad,
    /// Something needs to be looked at.
    Warning,
    /// Something happened, and needs nothing.
    Note,
}

/// Something that an operator must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, for programs.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub text: String,
    /// What to do about it; empty if there is nothing to do.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub remedy: String,
}

impl Finding {
    /// Whether Redis cannot be worked with because of it.
    #[must_use]
    pub fn stops_work(&self) -> bool {
        matches!(
            self.name,
            "writes_refused" | "wrong_type" | "stream_full" | "scripts_refused"
        )
    }
}

fn finding(
    severity: Severity,
    name: &'static str,
    text: String,
    remedy: impl Into<String>,
) -> Finding {
    debug_assert!(NAMES.contains(&name), "{name}");
    Finding {
        severity,
        name,
        text,
        remedy: remedy.into(),
    }
}

/// What is wrong, the worst first.
#[must_use]
pub fn findings(snapshot: &Snapshot, condition: &Condition) -> Vec<Finding> {
    let mut found = of_redis(condition, &snapshot.workers);
    // A worker whose heartbeats Redis refuses looks as if it were silent or lost, and is neither.
    let refused = matches!(condition.writes(&snapshot.workers), Writes::Refused(_));
    if !refused {
        found.extend(of_workers(snapshot));
    }
    found.extend(of_budgets(snapshot));
    found.sort_by_key(|finding| finding.severity);
    found
}

/// What is wrong with Redis.
#[must_use]
pub fn of_redis(condition: &Condition, workers: &[Worker]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut refused = false;
    if let Writes::Refused(error) = condition.writes(workers) {
        refused = true;
        let (cause, remedy) = error.refusal();
        let text = format!("Redis refuses writes: {cause}");
        found.push(finding(Severity::Bad, "writes_refused", text, remedy));
    }
    if let Some(error) = &condition.unusable {
        let name = match error {
            StoreError::StreamFull => "stream_full",
            StoreError::WrongType { .. } => "wrong_type",
            _ => "scripts_refused",
        };
        let (text, remedy) = error.refusal();
        found.push(finding(Severity::Bad, name, text, remedy));
    }
    if let Some(server) = &condition.server {
        found.extend(of_eviction(server));
        if !refused {
            found.extend(of_memory(server));
            if server.saving_fails {
                let text = "Redis could not save its last snapshot".to_owned();
                let remedy = "Its log tells why: mostly a full disk. With save points set it refuses writes until it can save.";
                found.push(finding(Severity::Warning, "saving_fails", text, remedy));
            }
        }
    }
    found
}

fn of_eviction(server: &Server) -> Option<Finding> {
    const REMEDY: &str =
        "Set maxmemory-policy noeviction: then a full Redis refuses writes, and loses nothing.";
    let (name, what) = match server.eviction() {
        Eviction::Never => return None,
        Eviction::Volatile => ("evicting_some", "trash, budgets, figures and caches"),
        Eviction::Any => ("evicting", "leads and dead letters"),
    };
    let severity = if server.max_memory > 0 && server.eviction() == Eviction::Any {
        Severity::Bad
    } else {
        Severity::Warning
    };
    let when = if server.max_memory == 0 {
        " once maxmemory is set"
    } else {
        ""
    };
    let so_far = match server.evicted_keys {
        0 => String::new(),
        n => format!("; {} keys evicted so far", thousands(n)),
    };
    let text = format!("{} can evict {what}{when}{so_far}", server.policy);
    Some(finding(severity, name, text, REMEDY))
}

fn of_memory(server: &Server) -> Option<Finding> {
    let (used, limit) = (server.used_memory, server.max_memory);
    let short = u128::from(used) * 100 >= u128::from(limit) * MEMORY_SHORT_PERCENT;
    (limit > 0 && short && server.eviction() == Eviction::Never).then(|| {
        let text = format!(
            "Redis uses {} of {}: at its limit it refuses writes",
            human_bytes(used),
            human_bytes(limit)
        );
        let remedy = "Raise its maxmemory, or trim enriched_leads.";
        finding(Severity::Warning, "memory_short", text, remedy)
    })
}

fn of_workers(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_deserted = snapshot.registered().next().is_none();
    if snapshot.waiting + snapshot.retry > 0 && is_deserted && !snapshot.paused {
        let n = snapshot.waiting + snapshot.retry;
        let text = format!("{} and no worker is running", waits(n));
        let remedy = "Start one: scrapegoat-worker.";
        found.push(finding(Severity::Bad, "no_workers", text, remedy));
    }
    found.extend(of_unregistered(snapshot));
    let of = |state| {
        let workers = snapshot.workers.iter();
        workers
            .filter(|worker| worker.state() == state)
            .collect::<Vec<_>>()
    };
    let leads = |workers: &[&Worker]| workers.iter().map(|worker| worker.in_flight).sum();
    let lost = of(WorkerState::Lost);
    each(
        &mut found,
        &lost,
        (Severity::Bad, "worker_overdue"),
        "A living worker takes them over; start one if there is none.",
        |worker| {
            let ago = human_duration(-worker.lease_ms);
            let them = match worker.in_flight {
                0 => "; it had no lead in flight".to_owned(),
                n => format!(", and {} not recovered yet", are(n)),
            };
            format!(
                "worker {} is lost: its lease ended {ago} ago{them}",
                worker.id
            )
        },
        || {
            format!(
                "{} workers are lost, and {} not recovered yet",
                lost.len(),
                are(leads(&lost))
            )
        },
    );
    let silent = of(WorkerState::Silent);
    each(
        &mut found,
        &silent,
        (Severity::Warning, "worker_silent"),
        "Its process has died, hangs, or does not reach Redis. When its lease ends, a living worker takes its leads over.",
        |worker| {
            format!(
                "worker {} is silent for {}; its lease ends in {}, with {} in flight",
                worker.id,
                human_duration(worker.silent_ms().unwrap_or(0)),
                human_duration(worker.lease_ms),
                leads_of(worker.in_flight)
            )
        },
        || {
            format!(
                "{} workers are silent, with {} in flight",
                silent.len(),
                leads_of(leads(&silent))
            )
        },
    );
    let troubled = of(WorkerState::Troubled);
    each(
        &mut found,
        &troubled,
        (Severity::Bad, "worker_troubled"),
        "",
        |worker| format!("worker {}: {}", worker.id, worker.info.trouble),
        || {
            format!(
                "{} workers cannot do their work; the first says: {}",
                troubled.len(),
                troubled[0].info.trouble
            )
        },
    );
    found.extend(of_losses(snapshot));
    found
}

/// The workers with leads in flight that no worker recovers yet, because they are not registered.
fn of_unregistered(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    let unregistered: Vec<&Worker> = snapshot.unregistered().collect();
    let is_alive = |worker: &Worker| worker.lease_ms > 0;
    let remedy = if snapshot.search == Search::ByWorkers {
        "A running worker finds and recovers them within about two leases."
    } else if snapshot.registered().any(is_alive) {
        "The running workers do not search for them: they are older, or their Redis user lacks +scan. Start a current one: it recovers them."
    } else {
        "Start a worker: it recovers them."
    };
    each(
        &mut found,
        &unregistered,
        (Severity::Bad, "worker_unregistered"),
        remedy,
        |worker| {
            let leads = leads_of(worker.in_flight);
            format!(
                "worker {} is lost and not registered any more, with {leads} in flight",
                worker.id
            )
        },
        || {
            let leads = unregistered.iter().map(|worker| worker.in_flight).sum();
            format!(
                "{} workers are lost and not registered any more, with {} in flight",
                thousands(unregistered.len() as u64),
                leads_of(leads)
            )
        },
    );
    found
}

/// The workers that were lost within the hour.
fn of_losses(snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    let now = snapshot.now;
    let gone: Vec<&LostWorker> = snapshot
        .lost
        .iter()
        .filter(|lost| lost.at > now - LOST_FOR_MS)
        .collect();
    each(
        &mut found,
        &gone,
        (Severity::Note, "worker_lost"),
        "",
        |lost| {
            let back = snapshot
                .workers
                .iter()
                .any(|worker| worker.id == lost.worker);
            let back = if back { " and is back" } else { "" };
            let ago = human_duration(now - lost.at);
            let them = after_loss(lost);
            format!("worker {} was lost {ago} ago{back}; {them}", lost.worker)
        },
        || {
            let leads = gone.iter().map(|lost| lost.recovered + lost.dead).sum();
            let ago = human_duration(now - gone[0].at);
            format!(
                "{} workers were lost within the hour, the last one {ago} ago; {} recovered",
                gone.len(),
                are(leads)
            )
        },
    );
    found
}

/// Tells findings of one kind, one by one if they are few.
fn each<T>(
    found: &mut Vec<Finding>,
    all: &[&T],
    (severity, name): (Severity, &'static str),
    remedy: &str,
    one: impl Fn(&T) -> String,
    many: impl Fn() -> String,
) {
    if all.len() > EACH_UP_TO {
        found.push(finding(severity, name, many(), remedy));
    } else {
        let told = all
            .iter()
            .map(|item| finding(severity, name, one(item), remedy));
        found.extend(told);
    }
}

/// What became of a lost worker's leads.
#[must_use]
pub fn after_loss(lost: &LostWorker) -> String {
    let by = &lost.recovered_by;
    match (lost.recovered, lost.dead) {
        (0, 0) => "it had no lead in flight".to_owned(),
        (n, 0) => format!("its {} went back to waiting, by {by}", leads_of(n)),
        (0, dead) => format!("its {} went to the dead letters as poison", leads_of(dead)),
        (n, dead) => format!(
            "its {} went back to waiting, by {by}, and {} to the dead letters as poison",
            leads_of(n),
            thousands(dead)
        ),
    }
}

fn of_budgets(snapshot: &Snapshot) -> Vec<Finding> {
    let told = |budget: &SpentBudget| {
        let SpentBudget {
            pipeline,
            since,
            last,
            budget,
        } = budget;
        let ago = |at: i64| human_duration(snapshot.now - at);
        let text = format!(
            "budget of {pipeline} spent {} ago: ${budget:.2} a day; leads are stored without enrichment, the last one {} ago",
            ago(*since),
            ago(*last)
        );
        let remedy =
            "Raise daily_budget in the pipeline, or pause until midnight UTC (bridge pause).";
        finding(Severity::Warning, "budget_spent", text, remedy)
    };
    snapshot.budgets.iter().map(told).collect()
}

fn leads_of(n: u64) -> String {
    match n {
        0 => "no lead".to_owned(),
        1 => "1 lead".to_owned(),
        n => format!("{} leads", thousands(n)),
    }
}

fn are(n: u64) -> String {
    let are = if n <= 1 { "is" } else { "are" };
    format!("{} {are}", leads_of(n))
}

fn waits(n: u64) -> String {
    let wait = if n == 1 { "waits" } else { "wait" };
    format!("{} {wait}", leads_of(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::WorkerInfo;

    fn worker(id: &str, lease_ms: i64) -> Worker {
        Worker {
            id: id.into(),
            info: WorkerInfo {
                lease_length_ms: 10_000,
                ..WorkerInfo::default()
            },
            in_flight: 2,
            lease_ms,
            unregistered: false,
        }
    }

    fn names(snapshot: &Snapshot, condition: &Condition) -> Vec<&'static str> {
        let found = findings(snapshot, condition);
        found.iter().map(|finding| finding.name).collect()
    }

    #[test]
    fn what_is_wrong_comes_worst_first() {
        let mut snapshot = Snapshot {
            now: 1_000_000_000,
            waiting: 5,
            workers: vec![worker("well", 9_500), worker("silent", 7_000)],
            ..Snapshot::default()
        };
        let mut condition = Condition::default();
        assert_eq!(names(&snapshot, &condition), ["worker_silent"]);
        snapshot.workers.push(worker("lost", -5));
        snapshot.lost.push(LostWorker {
            worker: "gone".into(),
            at: snapshot.now - 60_000,
            recovered: 1,
            ..LostWorker::default()
        });
        condition.server = Some(Server {
            policy: "volatile-lru".into(),
            ..Server::default()
        });
        assert_eq!(
            names(&snapshot, &condition),
            [
                "worker_overdue",
                "evicting_some",
                "worker_silent",
                "worker_lost"
            ]
        );
        // That the workers are silent is then no wonder.
        condition.writes = Writes::Refused(StoreError::ReadOnly("redis://x".into()));
        assert_eq!(
            names(&snapshot, &condition),
            ["writes_refused", "evicting_some"]
        );
    }

    #[test]
    fn leads_of_unregistered_workers_are_bad_and_need_a_worker_that_searches() {
        let mut snapshot = Snapshot {
            search: Search::Done,
            ..Snapshot::default()
        };
        snapshot.add_unregistered(vec![("gone".into(), 3)]);
        let remedy = |snapshot: &Snapshot| {
            let found = findings(snapshot, &Condition::default());
            let only = (found.len(), found[0].name, found[0].severity);
            assert_eq!(only, (1, "worker_unregistered", Severity::Bad));
            found[0].remedy.clone()
        };
        assert_eq!(remedy(&snapshot), "Start a worker: it recovers them.");
        snapshot.workers.push(worker("old", 9_500));
        assert!(remedy(&snapshot).contains("+scan"));
        snapshot.search = Search::ByWorkers;
        assert!(remedy(&snapshot).contains("about two leases"));
        // Of one that is registered again they are counted there.
        snapshot.add_unregistered(vec![("old".into(), 5)]);
        assert_eq!(
            (snapshot.in_flight, snapshot.unregistered().count()),
            (3, 1)
        );
        // Without a worker none is running, whatever is left of others.
        snapshot.workers.retain(|worker| worker.unregistered);
        snapshot.waiting = 1;
        let found = names(&snapshot, &Condition::default());
        assert_eq!(found, ["no_workers", "worker_unregistered"]);
    }

    #[test]
    fn many_of_a_kind_are_told_as_one() {
        let snapshot = Snapshot {
            workers: (0..50).map(|n| worker(&n.to_string(), -5)).collect(),
            ..Snapshot::default()
        };
        let found = findings(&snapshot, &Condition::default());
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].text,
            "50 workers are lost, and 100 leads are not recovered yet"
        );
    }
}
