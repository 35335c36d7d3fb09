//! `scrapegoat-worker`: takes leads from Redis, runs them through a pipeline, and records what
//! came of each.
//!
//! - [`cli`]: flags and environment
//! - [`engine`]: from the waiting list to a recorded outcome, one file for each role
//! - [`guardian`]: ends the programs of `exec` stations with the worker
//! - [`limits`]: how many files may be open
//! - [`health`]: whether the worker is well, for whoever restarts it
//! - [`http`]: the API
//! - [`log`]: standard error, and [`output`]: standard output
//! - [`signals`]: SIGTERM and SIGINT
//! - [`traces`]: spans for OpenTelemetry
//! - [`pipeline`]: the route a lead takes, station by station

// They panic if nothing can be written. What writes is `log` and `output`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod engine;
mod guardian;
mod health;
mod http;
mod limits;
mod log;
mod output;
mod pipeline;
mod signals;
mod traces;

use std::process::ExitCode;
use std::time::Duration;

use bridge_shared::terminal::harmless_lines;
use tokio::runtime::Builder;

use cli::{Cli, Command};
use log::Stderr;

/// A lead's texts are made for a whole batch and then given back, which keeps the system's allocator
/// busy for a tenth of the worker's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the end waits for work on threads of its own.
const LAST_WORK: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if let Some(code) = guardian::run_if_asked() {
        return code;
    }
    // Dropped last: what was said by then is written, as far as standard error takes it.
    let Ok(stderr) = Stderr::take() else {
        // There is no other place to say it, and no lead in hand.
        return ExitCode::FAILURE;
    };
    match start(&stderr) {
        Ok(code) => code,
        Err(report) => {
            stderr.say(&format!("{report:?}"));
            ExitCode::FAILURE
        }
    }
}

fn start(stderr: &Stderr) -> color_eyre::Result<ExitCode> {
    let ended = |result: Result<(), String>| match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            stderr.complain(&message);
            ExitCode::FAILURE
        }
    };
    if let Err(message) = bridge_shared::command_line::hide_passwords() {
        return Ok(ended(Err(message)));
    }
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let text = error.render();
            stderr.say(&if log::has_colors() {
                text.ansi().to_string()
            } else {
                text.to_string()
            });
            return Ok(ExitCode::from(2));
        }
        Err(help) => return Ok(ended(output::printed(help.print()))),
    };
    if let Some(Command::Healthcheck { api }) = &cli.command {
        return Ok(ended(healthcheck(&cli, api.as_deref())));
    }
    // Of the two hooks only that for errors: what a panic says goes into the log.
    let (_, errors) = color_eyre::config::HookBuilder::default().into_hooks();
    errors.install()?;
    stderr.start_log(cli.log_format);
    limits::raise();
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing has chosen a provider before main");
    let runtime = match (&cli.command, cli.run.threads) {
        (None | Some(Command::Run), 1) => Builder::new_current_thread().enable_all().build(),
        (None | Some(Command::Run), threads) => Builder::new_multi_thread()
            .worker_threads(threads as usize)
            .enable_all()
            .build(),
        _ => Builder::new_multi_thread().enable_all().build(),
    }?;
    let result = match cli.command {
        Some(Command::Pipeline(command)) => {
            runtime.block_on(cli::pipeline::run(command, cli.redis, &cli.run))
        }
        Some(Command::Api { listen }) => {
            runtime.block_on(cli::api::run(cli.redis, cli.api, listen))
        }
        _ => runtime.block_on(cli::run(cli.redis, cli.run, cli.api, cli.health_file)),
    };
    // A check of a large lead whose time was up may still go on; nobody waits for it.
    runtime.shutdown_timeout(LAST_WORK);
    Ok(ended(result))
}

fn healthcheck(cli: &Cli, api: Option<&str>) -> Result<(), String> {
    let words = match api {
        Some(address) => health::ask(address),
        None => health::check(cli.health_file.as_deref()),
    }?;
    output::print(&format!("{}\n", harmless_lines(&words)))
}
