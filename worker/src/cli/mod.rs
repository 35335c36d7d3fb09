//! The worker's command line.
//!
//! - [`api`]: the settings of the API
//! - [`pipeline`]: the commands that prove, show and try a route

pub(crate) mod api;
pub(crate) mod pipeline;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bridge_shared::arguments::{self, whole_number};
use bridge_shared::config::RedisArgs;
use bridge_shared::money::Money;
use bridge_shared::store::Store;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{self, Keeper, Route, Settings, Thread};
use crate::guardian;
use crate::health::Health;
use crate::http::Beside;
use crate::log::LogFormat;
use crate::pipeline::{Ledger, Pipeline, Source};
use crate::traces::Traces;

/// Takes leads from Redis, enriches them, and loses none
#[derive(Debug, Parser)]
#[command(name = "scrapegoat-worker", version, about, max_term_width = 100)]
// A number below zero is out of range, not an unknown option.
#[command(allow_negative_numbers = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) redis: RedisArgs,

    #[command(flatten)]
    pub(crate) run: RunArgs,

    #[command(flatten)]
    pub(crate) api: api::ApiArgs,

    /// How the log on standard error is written [default: text on a terminal, else json]
    #[arg(
        long,
        global = true,
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        help_heading = "Log and health"
    )]
    pub(crate) log_format: Option<LogFormat>,

    /// A file in which the worker says once a second that it is well, for `healthcheck` to read
    #[arg(
        long,
        global = true,
        env = "HEALTH_FILE",
        value_name = "FILE",
        help_heading = "Log and health"
    )]
    pub(crate) health_file: Option<PathBuf>,
}

/// Reads the command line and the environment.
///
/// # Errors
/// A mistake in either, or the help that was asked for.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let mut command = arguments::prepare(Cli::command());
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    misplaced(&mut command, &matches).map_or_else(|| Cli::from_arg_matches(&matches), Err)
}

/// The error of a flag that the command does not use. Every flag may stand before and after every
/// command, so clap takes them all. Environment variables are no mistake: all commands may share them.
fn misplaced(command: &mut clap::Command, matches: &ArgMatches) -> Option<clap::Error> {
    let name = matches.subcommand_name()?.to_owned();
    let unused = |argument: &&clap::Arg| {
        let heading = argument.get_help_heading().unwrap_or_default();
        match name.as_str() {
            "api" => heading == WORK || argument.get_id() == "http",
            "healthcheck" => [WORK, api::HEADING].contains(&heading),
            "pipeline" => heading == api::HEADING,
            _ => false,
        }
    };
    let is_flag = |argument: &&clap::Arg| {
        matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let flag = command
        .get_arguments()
        .filter(unused)
        .find(is_flag)?
        .get_long()?
        .to_owned();
    let instead = match flag.as_str() {
        "http" if name == "api" => "; it listens where --listen says",
        _ => "",
    };
    let words = format!("--{flag} is for `run`, and `{name}` does not use it{instead}");
    Some(command.error(ErrorKind::ArgumentConflict, words))
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Work on leads until told to stop; the default
    #[command(allow_negative_numbers = true)]
    Run,
    /// Exit with 0 where the worker that writes `HEALTH_FILE` is well, and say in one line how it is
    ///
    /// It is well while its lease is alive, and while it waits for a Redis that is away. It is not
    /// where Redis refuses it, and where it has said nothing for 10 seconds.
    Healthcheck {
        /// Ask the API at this address instead, whether it answers
        #[arg(long, value_name = "ADDRESS")]
        api: Option<String>,
    },
    /// Serve the API alone, until told to stop: dead letters, leads and figures over HTTP
    ///
    /// `/openapi.json` describes it.
    Api {
        /// Where to listen
        #[arg(
            long,
            env = "BRIDGE_API_LISTEN",
            value_name = "ADDRESS",
            default_value = api::LISTEN
        )]
        listen: String,
    },
    /// Prove, show or try a route
    #[command(subcommand)]
    Pipeline(pipeline::PipelineCommand),
}

/// Leads that one worker works on at once at most. What a worker has in hand is listed in one step,
/// which takes Redis some milliseconds for so many; for more there are more workers.
const MOST_AT_ONCE: u64 = 10_000;

/// Threads of one worker at most.
const MOST_THREADS: u64 = 256;

/// The heading of [`RunArgs`] in the help.
const WORK: &str = "Work";

/// How to work.
#[derive(Debug, Args)]
#[command(next_help_heading = WORK)]
pub(crate) struct RunArgs {
    /// How many leads to work on at once
    #[arg(long, global = true, env = "CONCURRENCY", value_name = "N", default_value_t = 50,
          value_parser = whole_number::<u32>(1..=MOST_AT_ONCE))]
    concurrency: u32,

    /// Threads that the leads share. One is fastest where leads mostly wait; use more for a route that
    /// computes a lot, on a machine with cores to spare
    #[arg(long, global = true, env = "WORKER_THREADS", value_name = "N", default_value_t = 1,
          value_parser = whole_number::<u32>(1..=MOST_THREADS))]
    pub(crate) threads: u32,

    /// Retries after the first attempt of a lead
    #[arg(
        long,
        global = true,
        env = "MAX_RETRIES",
        value_name = "N",
        default_value_t = 3,
        value_parser = whole_number::<u32>(0..=u64::from(u32::MAX))
    )]
    max_retries: u32,

    /// Seconds before the first retry; each further one waits twice as long
    #[arg(long, global = true, env = "RETRY_DELAY_BASE", value_name = "SECONDS", default_value = "5",
          value_parser = seconds)]
    retry_delay_base: Duration,

    /// Seconds one attempt at a lead may take
    #[arg(long, global = true, env = "LEAD_TIMEOUT", value_name = "SECONDS", default_value = "120",
          value_parser = positive_seconds)]
    lead_timeout: Duration,

    /// Seconds without a sign of life after which this worker's leads go to another
    #[arg(long, global = true, env = "LEASE_SECONDS", value_name = "SECONDS", default_value = "10",
          value_parser = lease_seconds)]
    lease_seconds: Duration,

    /// Seconds that leads in hand get to finish after SIGTERM or ctrl-C
    #[arg(long, global = true, env = "SHUTDOWN_TIMEOUT", value_name = "SECONDS", default_value = "25",
          value_parser = seconds)]
    shutdown_timeout: Duration,

    /// The largest lead that is worked on, in bytes; a larger one goes to the dead letters
    #[arg(long, global = true, env = "MAX_LEAD_BYTES", value_name = "BYTES", default_value_t = 1_048_576,
          value_parser = whole_number::<u32>(1_024..=536_870_912))]
    max_lead_bytes: u32,

    /// The route file [default: a built-in route that needs no outside service]
    #[arg(long, global = true, env = "PIPELINE_FILE", value_name = "FILE")]
    pipeline: Option<PathBuf>,

    /// Which pipeline of the route file to run [default: the one that the file
    /// names as its default]
    #[arg(long, global = true, env = "PIPELINE_NAME", value_name = "NAME")]
    pipeline_name: Option<String>,

    /// What a lead may cost in US dollars, whatever the route file says
    #[arg(long, global = true, env = "PIPELINE_BUDGET_LIMIT", value_name = "DOLLARS", value_parser = dollars)]
    pipeline_budget_limit: Option<BudgetLimit>,
}

/// What a lead may cost; an empty setting counts as none, as in an `.env` file with the value left
/// out.
#[derive(Debug, Clone, Copy)]
struct BudgetLimit(Option<Money>);

impl RunArgs {
    /// Where the route comes from. An empty setting counts as none, as in an `.env` file with the
    /// value left out.
    fn source(&self) -> Source {
        let file = self.pipeline.clone();
        let name = self.pipeline_name.clone();
        Source {
            file: file.filter(|file| !file.as_os_str().is_empty()),
            name: name.filter(|name| !name.trim().is_empty()),
            budget: self.pipeline_budget_limit.and_then(|limit| limit.0),
        }
    }
}

/// Runs the worker until it is told to stop.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub(crate) async fn run(
    redis: RedisArgs,
    args: RunArgs,
    api: api::ApiArgs,
    health_file: Option<PathBuf>,
) -> Result<(), String> {
    let (source, ledger) = (args.source(), Arc::new(Ledger::default()));
    let text = source.text().map_err(|error| error.to_string())?;
    let pipeline = Pipeline::parse(&source, &text, &ledger).map_err(|error| error.to_string())?;
    let store = Store::new(&redis).map_err(|error| error.to_string())?;
    let traces = Traces::from_env()?;
    let settings = Settings {
        concurrency: args.concurrency,
        max_retries: args.max_retries,
        retry_delay_base: args.retry_delay_base,
        lead_timeout: args.lead_timeout,
        lease: args.lease_seconds,
        shutdown_timeout: args.shutdown_timeout,
        max_lead_bytes: args.max_lead_bytes as usize,
    };
    let _reaper = AbortOnDropHandle::new(tokio::spawn(guardian::reap_orphans()));
    let keeper = Keeper::start()?;
    let health = {
        let _on_its_thread = keeper.handle().enter();
        Health::start(health_file.filter(|file| !file.as_os_str().is_empty()))?
    };
    let route = Route {
        source,
        text,
        pipeline,
    };
    let Some(listen) = api.beside() else {
        let work = engine::run(&keeper, store, settings, route, ledger, health, traces);
        return work.await.map_err(|error| error.to_string());
    };
    let beside = Beside {
        health: health.reader(),
        ledger: Arc::clone(&ledger),
    };
    // On a thread of its own, so that it answers also while the engine computes.
    let thread = Thread::start("api")?;
    let bound = thread
        .handle()
        .spawn(async move { api.bind(listen).await })
        .await;
    let server = bound.map_err(|error| format!("the API cannot start: {error}"))??;
    let api_store = store.beside().map_err(|error| error.to_string())?;
    let stop = CancellationToken::new();
    let serving = thread
        .handle()
        .spawn(server.serve(api_store, Some(beside), stop.clone()));
    let worked = engine::run(&keeper, store, settings, route, ledger, health, traces).await;
    // It answers until the last lead is through.
    stop.cancel();
    let _ = serving.await;
    worked.map_err(|error| error.to_string())
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.trim()
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| *duration <= Duration::from_secs(31_536_000))
        .ok_or_else(|| "give a number of seconds, such as 5 or 0.5".into())
}

fn dollars(text: &str) -> Result<BudgetLimit, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(BudgetLimit(None));
    }
    text.parse()
        .ok()
        .and_then(Money::from_dollars)
        .map(|limit| BudgetLimit(Some(limit)))
        .ok_or_else(|| "give an amount of US dollars, such as 0.05".into())
}

fn positive_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|duration| {
        if duration.is_zero() {
            Err("it must be more than 0".into())
        } else {
            Ok(duration)
        }
    })
}

fn lease_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|duration| {
        if duration < Duration::from_secs(1) {
            Err("a lease is at least 1 second, or a short hiccup would take the leads away".into())
        } else {
            Ok(duration)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_count_before_and_after_the_subcommand() {
        for line in [
            &["scrapegoat-worker", "--concurrency", "7"][..],
            &["scrapegoat-worker", "run", "--concurrency", "7"],
            &["scrapegoat-worker", "--concurrency", "7", "run"],
        ] {
            assert_eq!(Cli::parse_from(line).run.concurrency, 7);
        }
    }

    #[test]
    fn spans_of_time_are_checked() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "-1", "soon", "NaN", "1e300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(positive_seconds("0").is_err());
        assert!(lease_seconds("0.2").is_err());
    }
}
