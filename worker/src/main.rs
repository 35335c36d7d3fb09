//! `scrapegoat-worker`: takes leads from Redis, runs them through a pipeline, and records what
//! came of each.
//!
//! - [`cli`]: flags and environment
//! - [`engine`]: from the waiting list to a recorded outcome, one file for each role
//! - [`pipeline`]: the route a lead takes, station by station

mod cli;
mod engine;
mod pipeline;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::start_log(cli.log_format);
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing has chosen a provider before main");
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let result = match cli.command.unwrap_or(Command::Run) {
        Command::Run => runtime.block_on(cli::run(cli.redis, cli.run)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("scrapegoat-worker: {message}");
    ExitCode::FAILURE
}
