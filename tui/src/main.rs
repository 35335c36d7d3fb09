//! `bridge`: the operator's side of Redis Bridge.
//!
//! - [`cli`]: commands for scripts
//! - [`demo`]: everything at once, with made-up leads
//! - [`console`]: the console at run time; its state is [`app`], which changes by [`message`]s in
//!   [`update`] and is drawn by [`ui`]; messages come from [`event`]
//! - [`keymap`], [`theme`], [`layout`], [`screen`]: what the console is, as data
//! - [`terminal`]: taken over and restored, also by [`signals`] and a [`panic`](mod@panic)
//! - [`config`], [`environments`]: the operator's file: named environments, keys and colours
//! - [`once`], [`picture`]: one frame without a terminal, as text or as a picture
//! - [`groups`]: dead letters by what they died of
//! - [`export`]: dead letters in a file; [`path`]: where that is

// They panic if nothing can be written. What writes is `cli::output`.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod app;
mod cli;
mod config;
mod console;
mod demo;
mod editor;
mod environments;
mod event;
mod export;
mod groups;
mod keymap;
mod layout;
mod log;
mod message;
mod once;
mod panic;
mod path;
mod picture;
mod screen;
mod signals;
mod terminal;
mod text;
mod theme;
mod ui;
mod update;

use std::process::ExitCode;
use std::sync::LazyLock;

use bridge_shared::arguments;
use bridge_shared::config::RedisArgs;
use bridge_shared::store::Store;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use cli::dlq::{self, DlqCommand};
use cli::output::{CommandError, complain, error_line, usage};
use cli::push::{self, PushArgs};
use cli::status::{self, StatusArgs};
use config::Given;
use console::ConsoleArgs;
use demo::DemoArgs;
use environments::Environments;

/// Watch the leads go through, and bring back those that were given up; without a command this is
/// the console
#[derive(Debug, Parser)]
#[command(name = "bridge", version, about, max_term_width = 100)]
// A number below zero is out of range, not an unknown option.
#[command(allow_negative_numbers = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    console: ConsoleArgs,

    #[command(flatten)]
    redis: RedisArgs,

    /// Answer in JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
}

impl Cli {
    /// Whether it takes the terminal over.
    fn opens_console(&self) -> bool {
        match &self.command {
            None => !self.console.is_once(),
            Some(Command::Demo(args)) => args.opens_console(),
            Some(_) => false,
        }
    }
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
    /// See it all at work: a private Redis, two workers, an enrichment service, made-up leads. Only
    /// with --redis-url it works in that Redis, where it must find nothing of a bridge
    Demo(DemoArgs),
}

impl Command {
    /// Whether it changes anything in Redis.
    fn changes(&self) -> bool {
        match self {
            Self::Push(args) => args.changes(),
            Self::Dlq(command) => command.changes(),
            Self::Pause | Self::Resume => true,
            Self::Status(_) | Self::Demo(_) => false,
        }
    }
}

fn main() -> ExitCode {
    start().unwrap_or_else(|report| {
        error_line(&format!("{report:?}"));
        ExitCode::FAILURE
    })
}

fn start() -> color_eyre::Result<ExitCode> {
    if let Err(message) = bridge_shared::command_line::hide_passwords() {
        complain(&message);
        return Ok(ExitCode::FAILURE);
    }
    LazyLock::force(&console::STARTED);
    let parsed = command().try_get_matches().and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((matches, cli))
    });
    let (matches, cli) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return Ok(usage(&error)),
    };
    let is_flag = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let given: Given = [
        "redis_url",
        "queue_name",
        "failed_queue_name",
        "enriched_stream",
    ]
    .into_iter()
    .filter(|name| is_flag(name))
    .collect();
    panic::install()?;
    if cli.opens_console() {
        signals::hold()?;
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing has chosen a provider before main");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = match runtime.block_on(run(cli, given)) {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    };
    // Whatever still waits for a Redis that has gone is not waited for.
    runtime.shutdown_background();
    Ok(code)
}

/// The command line, where the help of each command shows only what works there. What works
/// elsewhere may stand there all the same, as in `bridge demo --theme mono`.
fn command() -> clap::Command {
    let mut command = arguments::prepare(Cli::command());
    for one in command.get_subcommands_mut() {
        let demo = one.get_name() == "demo";
        hide(one, &|option| match option.get_id().as_str() {
            // The demo is an environment of its own.
            "profile" | "config" => demo,
            _ => !demo && option.get_help_heading() == Some(console::CONSOLE),
        });
    }
    command
}

/// Hides options of a command, and of those below it, from the help.
fn hide(command: &mut clap::Command, which: &impl Fn(&clap::Arg) -> bool) {
    *command = std::mem::take(command).mut_args(|option| {
        let hidden = option.is_hide_set() || which(&option);
        option.hide(hidden)
    });
    for one in command.get_subcommands_mut() {
        hide(one, which);
    }
}

async fn run(mut cli: Cli, given: Given) -> Result<ExitCode, CommandError> {
    let mut environments = Environments::default();
    let redis_is_flag = given.contains(&"redis_url");
    // The demo is an environment of its own.
    if !matches!(cli.command, Some(Command::Demo(_))) {
        (environments, cli.redis) = Environments::find(&cli.console, &cli.redis, given)?;
        // The console says so itself.
        if !cli.opens_console()
            && let Some(exposed) = environments.config.exposed()
        {
            complain(&exposed);
        }
    }
    let read_only = cli.console.is_read_only() || environments.is_read_only();
    if read_only && cli.command.as_ref().is_some_and(Command::changes) {
        let why = "this environment is read-only, so nothing was done; leave --read-only out, or choose another --profile";
        return Err(CommandError::Said(why.into()));
    }
    let store = Store::new(&cli.redis)?;
    let whole = match cli.command {
        None => {
            Box::pin(console::run(store, &cli.console, environments)).await?;
            true
        }
        // These two find out by themselves whether they need a Redis, and which.
        Some(Command::Demo(args)) => {
            return Box::pin(demo::run(
                &cli.redis,
                redis_is_flag,
                &args,
                &cli.console,
                cli.json,
            ))
            .await;
        }
        Some(Command::Push(args)) => return push::run(&store, args, cli.json).await,
        Some(command) => {
            store.check().await?;
            for former in store.former_lists().await {
                complain(&former.to_string());
            }
            ask(&store, command, cli.json, read_only).await?
        }
    };
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Does what needs a Redis; returns whether all that was asked for was done.
async fn ask(
    store: &Store,
    command: Command,
    as_json: bool,
    read_only: bool,
) -> Result<bool, CommandError> {
    match command {
        Command::Status(args) => status::status(store, &args, as_json, read_only).await?,
        Command::Dlq(command) => return dlq::run(store, command, as_json).await,
        Command::Pause => status::set_paused(store, true, as_json).await?,
        Command::Resume => status::set_paused(store, false, as_json).await?,
        Command::Push(_) | Command::Demo(_) => {}
    }
    Ok(true)
}
