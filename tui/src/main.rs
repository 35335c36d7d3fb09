//! `bridge`: the operator's side of Redis Bridge.
//!
//! - [`cli`]: commands for scripts
//! - [`demo`]: everything at once, with made-up leads

mod cli;
mod demo;

use std::process::ExitCode;

use bridge_shared::config::RedisArgs;
use bridge_shared::store::Store;
use clap::{Parser, Subcommand};

use cli::dlq::{self, DlqCommand};
use cli::output::CommandError;
use cli::push::{self, PushArgs};
use cli::status::{self, StatusArgs};
use demo::DemoArgs;

/// Watch the leads go through, and bring back those that were given up
#[derive(Debug, Parser)]
#[command(name = "bridge", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    redis: RedisArgs,

    /// Answer in JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Push leads from JSONL, JSON or CSV files
    Push(PushArgs),
    /// Print the figures: waiting, in flight, retry, dead, done, and the workers
    Status(StatusArgs),
    /// Count, list, show, retry, drop, clear or export dead letters
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Pause the workers: they finish what they have and take no more
    Pause,
    /// Resume the workers
    Resume,
    /// See it all at work: a private Redis, two workers, an enrichment service, made-up leads
    Demo(DemoArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing has chosen a provider before main");
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&CommandError::Io(error)),
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &CommandError) -> ExitCode {
    eprintln!("bridge: {error}");
    ExitCode::FAILURE
}

async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let store = Store::new(&cli.redis)?;
    let whole = match cli.command {
        // These two find out by themselves whether they need a Redis, and which.
        Command::Demo(args) => return demo::run(&cli.redis, &args, cli.json).await,
        Command::Push(args) => return push::run(&store, args, cli.json).await,
        command => {
            store.check().await?;
            ask(&store, command, cli.json).await?
        }
    };
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Does what needs a Redis; returns whether all that was asked for was done.
async fn ask(store: &Store, command: Command, as_json: bool) -> Result<bool, CommandError> {
    match command {
        Command::Status(args) => status::status(store, &args, as_json).await?,
        Command::Dlq(command) => return dlq::run(store, command, as_json).await,
        Command::Pause => status::set_paused(store, true, as_json).await?,
        Command::Resume => status::set_paused(store, false, as_json).await?,
        Command::Push(_) | Command::Demo(_) => {}
    }
    Ok(true)
}
