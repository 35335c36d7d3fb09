//! `scrapegoat-worker`: takes leads from Redis, runs them through a pipeline, and records what
//! came of each.
//!
//! - [`cli`]: flags and environment
//! - [`engine`]: from the waiting list to a recorded outcome, one file for each role
//! - [`health`]: whether the worker is well, for whoever restarts it
//! - [`http`]: the API
//! - [`signals`]: SIGTERM and SIGINT
//! - [`traces`]: spans for OpenTelemetry
//! - [`pipeline`]: the route a lead takes, station by station

mod cli;
mod engine;
mod health;
mod http;
mod pipeline;
mod signals;
mod traces;

use std::process::ExitCode;

use bridge_shared::terminal::harmless_lines;
use clap::Parser as _;
use tokio::runtime::Builder;

use cli::{Cli, Command};

/// A lead's texts are made for a whole batch and then given back, which keeps the system's allocator
/// busy for a tenth of the worker's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> color_eyre::Result<ExitCode> {
    if let Err(message) = bridge_shared::command_line::hide_passwords() {
        return Ok(fail(&message));
    }
    let cli = Cli::parse();
    if let Some(Command::Healthcheck { api }) = &cli.command {
        return Ok(healthcheck(&cli, api.as_deref()));
    }
    // Of the two hooks only that for errors: what a panic says goes into the log.
    let (_, errors) = color_eyre::config::HookBuilder::default().into_hooks();
    errors.install()?;
    cli::start_log(cli.log_format);
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
    Ok(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    })
}

fn healthcheck(cli: &Cli, api: Option<&str>) -> ExitCode {
    let answer = match api {
        Some(address) => health::ask(address),
        None => health::check(cli.health_file.as_deref()),
    };
    match answer {
        Ok(words) => {
            println!("{}", harmless_lines(&words));
            ExitCode::SUCCESS
        }
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("scrapegoat-worker: {}", harmless_lines(message));
    ExitCode::FAILURE
}
