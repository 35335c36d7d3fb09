//! `bridge status`, `bridge pause` and `bridge resume`.

use std::time::Duration;

use bridge_shared::clock::human_duration;
use bridge_shared::stats::{Snapshot, Worker};
use bridge_shared::store::Store;
use bridge_shared::store::control::operator;
use clap::Args;

use super::output::{CommandError, json, line};
use crate::text::{harmless, thousands};

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
) -> Result<(), CommandError> {
    loop {
        let snapshot = match store.snapshot().await {
            Ok(snapshot) => snapshot,
            // It is to be watched until ctrl-C: Redis comes back.
            Err(error) if args.watch && error.is_transient() => {
                eprintln!("bridge: {}", harmless(&error.to_string()));
                tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if as_json {
            json(&snapshot.status())?;
        } else if args.watch {
            line(&one_line(&snapshot))?;
        } else {
            line(&table(&snapshot))?;
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs_f64(args.interval)).await;
    }
}

fn one_line(snapshot: &Snapshot) -> String {
    format!(
        "waiting {}  in flight {}  retry {}  dead {}  done {}  {:.1}/s  workers {}{}",
        thousands(snapshot.waiting),
        thousands(snapshot.in_flight),
        thousands(snapshot.retry),
        thousands(snapshot.dead),
        thousands(snapshot.totals.done),
        snapshot.rate_per_s,
        snapshot.workers.len(),
        if snapshot.paused { "  PAUSED" } else { "" },
    )
}

fn table(snapshot: &Snapshot) -> String {
    let mut rows = vec![
        ("waiting", thousands(snapshot.waiting)),
        ("in flight", thousands(snapshot.in_flight)),
        ("retry", with_next_retry(snapshot)),
        ("dead", thousands(snapshot.dead)),
        ("done", thousands(snapshot.totals.done)),
        ("rate", format!("{:.1}/s", snapshot.rate_per_s)),
    ];
    if snapshot.paused {
        rows.push(("state", "PAUSED, resume with: bridge resume".into()));
    }
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:<10} {value}"))
        .collect();
    match snapshot.workers.len() {
        0 => lines.push("workers    none".into()),
        n => lines.push(format!("workers    {n}")),
    }
    lines.extend(
        snapshot
            .workers
            .iter()
            .map(|worker| worker_line(worker, snapshot.now)),
    );
    lines.join("\n")
}

fn with_next_retry(snapshot: &Snapshot) -> String {
    let n = thousands(snapshot.retry);
    match snapshot.next_retry {
        Some(due) => format!("{n} (next in {})", human_duration(due - snapshot.now)),
        None => n,
    }
}

fn worker_line(worker: &Worker, now: i64) -> String {
    let state = if worker.lease_ms <= 0 {
        "LOST"
    } else if worker.info.draining {
        "stopping"
    } else {
        "working"
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
