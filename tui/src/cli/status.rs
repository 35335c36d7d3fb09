//! `bridge status`, `bridge pause` and `bridge resume`.

use std::sync::Arc;
use std::time::Duration;

use bridge_shared::clock::human_duration;
use bridge_shared::findings::{Severity, findings};
use bridge_shared::stats::{Snapshot, Worker, WorkerState};
use bridge_shared::status::Status;
use bridge_shared::store::Store;
use bridge_shared::store::condition::{Condition, Role, Writes};
use bridge_shared::store::control::operator;
use bridge_shared::store::survey::Survey;
use bridge_shared::units::human_bytes;
use clap::Args;
use tokio_util::task::AbortOnDropHandle;

use super::output::{CommandError, complain, json, line};
use crate::text::{harmless, thousands};

/// How long a status searches for in-flight leads of workers that are not registered.
const SEARCH_LIMIT: Duration = Duration::from_secs(2);

/// What `bridge status` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatusArgs {
    /// Print it again and again, until ctrl-C
    #[arg(long)]
    watch: bool,

    /// Seconds between two readings of --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, requires = "watch", value_parser = interval)]
    interval: f64,
}

fn interval(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=86_400.0).contains(seconds))
        .ok_or_else(|| "give a number of seconds from 0.1 on".into())
}

/// Prints the figures, once or until interrupted.
///
/// # Errors
/// [`CommandError`].
pub(crate) async fn status(
    store: &Store,
    args: &StatusArgs,
    as_json: bool,
    read_only: bool,
) -> Result<(), CommandError> {
    let role = if read_only {
        Role::ReadOnly
    } else {
        Role::Operator
    };
    let survey = Arc::new(Survey::new(store.clone()));
    let read = async || {
        let snapshot = async {
            if args.watch {
                survey.snapshot().await
            } else {
                survey.snapshot_within(SEARCH_LIMIT).await
            }
        };
        tokio::try_join!(snapshot, store.condition(role))
    };
    let search = Arc::clone(&survey);
    let _search = args
        .watch
        .then(|| AbortOnDropHandle::new(tokio::spawn(async move { search.run(|| ()).await })));
    loop {
        let (snapshot, condition) = match read().await {
            Ok(read) => read,
            // It is to be watched until ctrl-C: Redis comes back.
            Err(error) if args.watch && error.is_transient() => {
                complain(&error.to_string());
                tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if as_json {
            json(&Status::new(&snapshot, &condition))?;
        } else if args.watch {
            line(&one_line(&snapshot, &condition))?;
        } else {
            line(&table(&snapshot, &condition))?;
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
    }
}

fn one_line(snapshot: &Snapshot, condition: &Condition) -> String {
    let found = findings(snapshot, condition);
    let worst = found
        .first()
        .filter(|worst| worst.severity != Severity::Note);
    let worst = worst.map_or_else(String::new, |worst| {
        format!("  {} {}", sign(worst.severity), harmless(&worst.text))
    });
    format!(
        "waiting {}  in flight {}{}  retry {}  dead {}  done {}  {:.1}/s  workers {}{}{worst}",
        thousands(snapshot.waiting),
        thousands(snapshot.in_flight),
        snapshot.search.gap().map_or("", |_| " or more"),
        thousands(snapshot.retry),
        thousands(snapshot.dead),
        thousands(snapshot.totals.done),
        snapshot.rate_per_s,
        snapshot.registered().count(),
        if snapshot.paused { "  PAUSED" } else { "" },
    )
}

/// The sign of a finding, as in the console.
const fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Bad => "■",
        Severity::Warning => "▲",
        Severity::Note => "●",
    }
}

fn done(snapshot: &Snapshot) -> String {
    let done = thousands(snapshot.totals.done);
    match snapshot.totals.over_budget {
        0 => done,
        n => format!(
            "{done} ({} without enrichment: a budget was spent)",
            thousands(n)
        ),
    }
}

fn redis(snapshot: &Snapshot, condition: &Condition) -> String {
    let writes = match condition.writes(&snapshot.workers) {
        Writes::Accepted => "accepts writes",
        Writes::Refused(_) => "REFUSES WRITES",
        Writes::NotTried => "writes not tried",
    };
    let Some(server) = &condition.server else {
        return format!("{writes}, memory not known");
    };
    let limit = match server.max_memory {
        0 => "no limit".to_owned(),
        limit => format!("of {}", human_bytes(limit)),
    };
    let used = human_bytes(server.used_memory);
    format!("{writes}, {used} {limit}, {}", harmless(&server.policy))
}

fn table(snapshot: &Snapshot, condition: &Condition) -> String {
    let mut lines: Vec<String> = Vec::new();
    for found in findings(snapshot, condition) {
        let sign = sign(found.severity);
        lines.push(format!("{sign} {}", harmless(&found.text)));
        if !found.remedy.is_empty() {
            lines.push(format!("  {}", harmless(&found.remedy)));
        }
    }
    let mut rows = vec![
        ("waiting", thousands(snapshot.waiting)),
        ("in flight", in_flight(snapshot)),
        ("retry", with_next_retry(snapshot)),
        ("dead", thousands(snapshot.dead)),
        ("done", done(snapshot)),
        (
            "returned",
            format!(
                "{} recovered from lost workers, {} handed back",
                thousands(snapshot.totals.recovered),
                thousands(snapshot.totals.requeued)
            ),
        ),
        (
            "rate",
            format!(
                "{:.1}/s, {:.1}/s failing",
                snapshot.rate_per_s, snapshot.failed_per_s
            ),
        ),
        ("redis", redis(snapshot, condition)),
    ];
    if snapshot.paused {
        rows.push(("state", "PAUSED, resume with: bridge resume".into()));
    }
    let rows = rows.iter();
    lines.extend(rows.map(|(name, value)| format!("{name:<10} {value}")));
    let unregistered = match snapshot.unregistered().count() {
        0 => String::new(),
        n => format!(", and {} not registered", thousands(n as u64)),
    };
    match snapshot.registered().count() {
        0 => lines.push(format!("workers    none{unregistered}")),
        n => lines.push(format!("workers    {n}{unregistered}")),
    }
    let writes = condition.writes(&snapshot.workers);
    let workers = snapshot.workers.iter();
    lines.extend(workers.map(|worker| worker_line(worker, snapshot.now, &writes)));
    lines.join("\n")
}

fn in_flight(snapshot: &Snapshot) -> String {
    let n = thousands(snapshot.in_flight);
    match snapshot.search.gap() {
        Some(why) => format!("{n} or more: {why}"),
        None => n,
    }
}

fn with_next_retry(snapshot: &Snapshot) -> String {
    let n = thousands(snapshot.retry);
    match snapshot.next_retry {
        Some(due) => format!("{n} (next in {})", human_duration(due - snapshot.now)),
        None => n,
    }
}

fn worker_line(worker: &Worker, now: i64, writes: &Writes) -> String {
    let state = match worker.state_with(writes) {
        WorkerState::Unregistered => {
            let n = thousands(worker.in_flight);
            return format!("  {}  NOT REGISTERED  {n} in flight", harmless(&worker.id));
        }
        WorkerState::Lost => "LOST".to_owned(),
        WorkerState::Silent => {
            let silent = human_duration(worker.silent_ms().unwrap_or(0));
            format!("SILENT for {silent}")
        }
        WorkerState::Unheard => "not heard while Redis refuses writes".to_owned(),
        WorkerState::Troubled => "TROUBLED".to_owned(),
        WorkerState::Draining => "stopping".to_owned(),
        WorkerState::Working => "working".to_owned(),
    };
    format!(
        "  {}  {state}  {}/{} in flight  {} finished  up {}  pipeline {}  {}",
        harmless(&worker.id),
        worker.in_flight,
        worker.info.concurrency,
        thousands(worker.info.finished),
        human_duration(now - worker.info.started),
        harmless(&worker.info.pipeline),
        harmless(&worker.info.version),
    )
}

/// Pauses or resumes the workers.
///
/// # Errors
/// [`CommandError`].
pub(crate) async fn set_paused(
    store: &Store,
    paused: bool,
    as_json: bool,
) -> Result<(), CommandError> {
    let changed = store.set_paused(paused, &operator()).await?;
    if as_json {
        return json(&serde_json::json!({ "paused": paused, "changed": changed }));
    }
    line(match (paused, changed) {
        (true, true) => {
            "Paused: workers finish what they have and take no more. Resume with: bridge resume"
        }
        (true, false) => "Work was paused already.",
        (false, true) => "Resumed: workers take leads again.",
        (false, false) => "Work was not paused.",
    })
}
