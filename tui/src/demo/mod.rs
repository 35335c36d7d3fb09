//! `bridge demo`: everything at once, on this machine, with made-up leads; on quit all of it is
//! gone again.

mod pictures;
mod service;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_shared::arguments::whole_number;
use bridge_shared::config::RedisArgs;
use bridge_shared::names::{DEFAULT_ENRICHED, DEFAULT_FAILED, DEFAULT_QUEUE};
use bridge_shared::producer::Producer;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::source::{Format, Options, Source};
use bridge_shared::stats::Snapshot;
use bridge_shared::store::Store;
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use crate::cli::output::{CommandError, json, line};
use crate::console::{self, ConsoleArgs};
use crate::environments::Environments;
use crate::text::thousands;
use service::DemoService;

const ROUTE: &str = include_str!("../../../assets/pipelines/demo.toml");
const SAMPLES: [(&str, Format, &str); 2] = [
    (
        "sales-navigator-export.csv",
        Format::Csv,
        include_str!("../../../assets/leads/sales-navigator-export.csv"),
    ),
    (
        "leads.jsonl",
        Format::Jsonl,
        include_str!("../../../assets/leads/leads.jsonl"),
    ),
];
/// How many workers the demo runs.
const WORKERS: usize = 2;
/// Leads that a headless demo pushes where nothing is said.
const LEADS: usize = 500;
/// Leads pushed in one step, ten steps a second: in a headless demo, and before a console, where
/// somebody wants to follow.
const STEP: usize = 10;
const CALM_STEP: usize = 2;
/// How long a headless demo may take after its last lead was pushed.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a demo before a console waits for its Redis.
const A_DAY: Duration = Duration::from_secs(86_400);

/// What `bridge demo` takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// Run without a terminal and print a summary at the end
    #[arg(long)]
    headless: bool,

    /// How many leads to push; beyond the samples they begin anew [default: 500 with --headless, as
    /// many as there is time for in the console]
    #[arg(long, value_name = "N", value_parser = whole_number::<usize>(0..=u64::MAX))]
    leads: Option<usize>,

    /// Draw the console's screens to SVG files in a folder instead of opening it; takes two minutes
    #[arg(long, value_name = "FOLDER", conflicts_with = "headless")]
    pictures: Option<PathBuf>,
}

impl DemoArgs {
    /// Whether it opens the console.
    pub(crate) const fn opens_console(&self) -> bool {
        !self.headless && self.pictures.is_none()
    }
}

/// What came of the demo. The sum is true: `pushed` is all the others together.
#[derive(Debug, Serialize)]
struct Summary {
    pushed: u64,
    done: u64,
    dead: u64,
    /// Dead letters that were thrown away and not brought back.
    trash: u64,
    waiting: u64,
    retry: u64,
    in_flight: u64,
    retries: u64,
    adds_up: bool,
}

impl Summary {
    /// The difference between two readings, for a Redis that was in use before.
    fn between(pushed: u64, before: &Snapshot, after: &Snapshot) -> Self {
        let mut summary = Self {
            pushed,
            done: after.totals.done - before.totals.done,
            dead: after.dead.saturating_sub(before.dead),
            trash: thrown(after).saturating_sub(thrown(before)),
            waiting: after.waiting.saturating_sub(before.waiting),
            retry: after.retry.saturating_sub(before.retry),
            in_flight: after.in_flight.saturating_sub(before.in_flight),
            retries: after.totals.retried - before.totals.retried,
            adds_up: false,
        };
        let sum = summary.done + summary.dead + summary.trash + summary.under_way();
        summary.adds_up = sum == pushed;
        summary
    }

    fn under_way(&self) -> u64 {
        self.waiting + self.retry + self.in_flight
    }
}

/// How many dead letters are in the trash.
fn thrown(figures: &Snapshot) -> u64 {
    let totals = &figures.totals;
    totals.dropped.saturating_sub(totals.restored)
}

/// What the demo started. The workers are told to stop first, Redis goes last.
struct Stage {
    workers: Vec<Child>,
    service: DemoService,
    _folder: tempfile::TempDir,
    _redis: Option<Sandbox>,
    store: Store,
}

/// Runs the demo, in a Redis of its own unless a flag names another; the status is 1 where the sums
/// do not match.
///
/// # Errors
/// [`CommandError`].
pub(crate) async fn run(
    redis: &RedisArgs,
    redis_is_flag: bool,
    args: &DemoArgs,
    console: &ConsoleArgs,
    as_json: bool,
) -> Result<ExitCode, CommandError> {
    if args.opens_console() {
        console::check_terminal()?;
    }
    let stage = Stage::set(redis, redis_is_flag).await?;
    let before = stage.store.snapshot().await?;
    let result = if args.headless {
        tokio::select! {
            result = headless(&stage.store, args.leads.unwrap_or(LEADS), &before) => result,
            _ = tokio::signal::ctrl_c() => Err(CommandError::Said("interrupted; everything the demo started is gone".into())),
        }
    } else {
        let shown = async {
            if let Some(folder) = &args.pictures {
                return pictures::draw(&stage.store, console, folder).await;
            }
            Box::pin(console::run(
                stage.store.clone(),
                console,
                Environments::default(),
            ))
            .await
        };
        watched(&stage.store, args.leads, Box::pin(shown), &before).await
    };
    stage.strike().await;
    let summary = result?;
    if as_json {
        json(&summary)?;
    } else {
        tell(&summary)?;
    }
    Ok(if summary.adds_up {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Pushes while the console is open; returns the sums at the moment it was left.
async fn watched(
    store: &Store,
    count: Option<usize>,
    shown: impl Future<Output = Result<(), CommandError>>,
    before: &Snapshot,
) -> Result<Summary, CommandError> {
    let pushed = AtomicU64::new(0);
    let push = async {
        let count = count.unwrap_or(usize::MAX);
        // All are pushed, or cannot be: the console goes on, and shows either.
        if let Err(error) = push(store, count, CALM_STEP, A_DAY, &pushed).await {
            tracing::warn!(%error, "the demo pushes no more leads");
        }
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        never = push => match never {},
        result = shown => result?,
    }
    let after = store.snapshot().await?;
    // What the push under way has put in may not be counted on this side yet.
    let pushed = pushed
        .into_inner()
        .max(after.totals.pushed - before.totals.pushed);
    Ok(Summary::between(pushed, before, &after))
}

impl Stage {
    async fn set(args: &RedisArgs, redis_is_flag: bool) -> Result<Self, CommandError> {
        let said = |error: &dyn std::fmt::Display| CommandError::Said(error.to_string());
        let worker = worker_program()?;
        let mut args = args.clone();
        // What the environment names is mostly the Redis of somebody's leads.
        let is_named = |url: &str| !url.trim().is_empty();
        let redis = if redis_is_flag && args.redis_url.as_deref().is_some_and(is_named) {
            None
        } else {
            let redis = Sandbox::start(&[]).map_err(|error| said(&error))?;
            args = RedisArgs::of(
                redis.url(),
                [DEFAULT_QUEUE, DEFAULT_FAILED, DEFAULT_ENRICHED],
            );
            Some(redis)
        };
        let store = Store::connect(&args).await?;
        if redis.is_none() {
            make_sure_of_emptiness(&store).await?;
        }
        let service = DemoService::start().await?;
        let folder = tempfile::TempDir::with_prefix("redis-bridge-demo-")?;
        let route = folder.path().join("demo.toml");
        std::fs::write(&route, ROUTE)?;
        let mut stage = Self {
            workers: Vec::new(),
            service,
            _folder: folder,
            _redis: redis,
            store,
        };
        for _ in 0..WORKERS {
            let worker = start_worker(&worker, &args, &route, &stage.service.address()).map_err(
                |error| CommandError::Said(format!("cannot start {}: {error}", worker.display())),
            )?;
            stage.workers.push(worker);
        }
        Ok(stage)
    }

    /// Stops what was started, the workers gently.
    async fn strike(mut self) {
        for worker in &self.workers {
            // The standard library can only kill; a gentle stop is the system's own tool's work.
            let _ = Command::new("kill").arg(worker.id().to_string()).status();
        }
        for _ in 0..100 {
            let ended = |worker: &mut Child| worker.try_wait().is_ok_and(|status| status.is_some());
            if self.workers.iter_mut().all(ended) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            // Both fail only where it has ended already.
            let _ = worker.kill();
            let _ = worker.wait();
        }
    }
}

/// Makes sure that nothing of a bridge is there: the demo's workers would take what waits, and its
/// made-up leads would stand among others.
async fn make_sure_of_emptiness(store: &Store) -> Result<(), CommandError> {
    let there = store.keys_in_use().await?;
    if there.is_empty() {
        return Ok(());
    }
    Err(CommandError::Said(format!(
        "Redis at {} is in use: it has {}. The demo would put made-up leads there and take what waits. Leave --redis-url out for a private Redis, or name an empty database, such as redis://127.0.0.1:6379/9",
        store.url(),
        there.join(", "),
    )))
}

/// The worker stands beside this program.
fn worker_program() -> Result<PathBuf, CommandError> {
    let program = std::env::current_exe()?.with_file_name("scrapegoat-worker");
    if program.is_file() {
        return Ok(program);
    }
    Err(CommandError::Said(format!(
        "{} is not there; build both programs with: cargo build --workspace",
        program.display()
    )))
}

fn path(file: Option<&PathBuf>) -> Option<&OsStr> {
    file.map(|file| file.as_os_str())
}

fn start_worker(
    program: &Path,
    redis: &RedisArgs,
    route: &Path,
    service: &str,
) -> std::io::Result<Child> {
    let access = &redis.access;
    let mut command = Command::new(program);
    // What is not in force here is not there either.
    for (name, value) in [
        (
            "REDIS_PASSWORD",
            access.password.0.as_deref().map(OsStr::new),
        ),
        (
            "REDIS_SENTINEL_PASSWORD",
            access.sentinel_password.0.as_deref().map(OsStr::new),
        ),
        (
            "REDIS_PASSWORD_FILE",
            path(access.redis_password_file.as_ref()),
        ),
        ("REDIS_CA_FILE", path(access.redis_ca_file.as_ref())),
        ("REDIS_CERT_FILE", path(access.redis_cert_file.as_ref())),
        ("REDIS_KEY_FILE", path(access.redis_key_file.as_ref())),
    ] {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let keys = redis.keys();
    command
        .env("REDIS_URL", redis.url())
        .env("QUEUE_NAME", &keys.queue)
        .env("FAILED_QUEUE_NAME", &keys.failed)
        .env("ENRICHED_STREAM", &keys.enriched)
        .env("PIPELINE_FILE", route)
        .env("PIPELINE_NAME", "demo")
        .env("DEMO_ENRICHMENT", service)
        // So that a demo's retries can be watched without patience.
        .env("RETRY_DELAY_BASE", "1")
        .env("SHUTDOWN_TIMEOUT", "2")
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A console that is suspended takes its group along; the workers go on.
        .process_group(0)
        .spawn()
}

/// The sample leads, over and over.
fn samples() -> impl Iterator<Item = Bytes> {
    let leads: Vec<Bytes> = SAMPLES
        .iter()
        .flat_map(|(name, format, text)| {
            let options = Options {
                format: Some(*format),
                ..Options::default()
            };
            Source::new(text.as_bytes(), name, &options).filter_map(|item| item.result.ok())
        })
        .collect();
    leads.into_iter().cycle()
}

/// Pushes at a steady rate, and counts; tries each step again for as long as `patience` lasts.
async fn push(
    store: &Store,
    count: usize,
    step: usize,
    patience: Duration,
    pushed: &AtomicU64,
) -> Result<(), CommandError> {
    let (mut producer, mut leads) = (Producer::new(store, None), samples());
    let mut left = count;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while left > 0 {
        pace.tick().await;
        let step = step.min(left);
        leads
            .by_ref()
            .take(step)
            .for_each(|lead| producer.add(lead));
        producer.send(step, patience, |_| ()).await?;
        left -= step;
        pushed.fetch_add(step as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Pushes, then waits until every lead is done or dead.
async fn headless(store: &Store, count: usize, before: &Snapshot) -> Result<Summary, CommandError> {
    let pushed = AtomicU64::new(0);
    push(store, count, STEP, PATIENCE, &pushed).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let pushed = pushed.load(Ordering::Relaxed);
        let summary = Summary::between(pushed, before, &store.snapshot().await?);
        if summary.under_way() == 0 || tokio::time::Instant::now() > deadline {
            return Ok(summary);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn tell(summary: &Summary) -> Result<(), CommandError> {
    for (name, n) in [
        ("pushed", summary.pushed),
        ("done", summary.done),
        ("dead", summary.dead),
        ("trash", summary.trash),
        ("waiting", summary.waiting),
        ("retry", summary.retry),
        ("in flight", summary.in_flight),
    ] {
        line(&format!("{name:<10} {:>8}", thousands(n)))?;
    }
    let sum = "pushed = done + dead + trash + waiting + retry + in flight";
    line(&if summary.adds_up {
        format!(
            "It adds up: {sum}; {} retries on the way.",
            thousands(summary.retries)
        )
    } else {
        format!("It does NOT add up: {sum}.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_a_lead_of_its_own() {
        let leads: Vec<Bytes> = samples().take(500).collect();
        let urls: std::collections::HashSet<String> = leads
            .iter()
            .filter_map(|lead| bridge_shared::lead::Lead::parse(lead).ok()?.linkedin_url())
            .collect();
        assert_eq!(urls.len(), 500);
    }
}
