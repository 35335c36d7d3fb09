//! The commands that prove, show and try a route.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bridge_shared::config::RedisArgs;
use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use bridge_shared::store::Store;
use bridge_shared::terminal::{harmless, harmless_json, harmless_lines};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::RunArgs;
use crate::output;
use crate::pipeline::trial::{self, Limits};
use crate::pipeline::{Fault, Ledger, Pipeline, RouteError, SinkOutline, Source, outlines};

/// What to do with a route.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum PipelineCommand {
    /// Prove a route file without running it: every mistake, with its line and what to do
    Check(Given),
    /// Print the route with its contracts, cost and limits
    Show(Given),
    /// Bring one lead along the route and show each station's input, answer, time and cost
    ///
    /// Services are called, and may charge for it. Nothing is counted or remembered in Redis:
    /// rates, the day's budget and caches play no part.
    Run {
        #[command(flatten)]
        given: Given,

        /// The lead, a JSON object; - for standard input
        #[arg(long, value_name = "FILE")]
        lead: PathBuf,
    },
}

/// Which route, and how to print.
#[derive(Debug, Clone, Args)]
pub(crate) struct Given {
    /// The route file [default: the one of --pipeline, else the built-in route]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print JSON, for scripts
    #[arg(long)]
    json: bool,
}

/// Runs one of the commands.
///
/// # Errors
/// What is wrong and what to do, where that is not printed already.
pub(crate) async fn run(
    command: PipelineCommand,
    redis: RedisArgs,
    args: &RunArgs,
) -> Result<(), String> {
    let source = |given: &Given| {
        let source = args.source();
        Source {
            file: given.file.clone().or(source.file),
            ..source
        }
    };
    match command {
        PipelineCommand::Check(given) => check(&source(&given), given.json),
        PipelineCommand::Show(given) => show(&source(&given), given.json),
        PipelineCommand::Run { given, lead } => {
            let source = source(&given);
            let limits = Limits {
                time: args.lead_timeout,
                bytes: args.max_lead_bytes as usize,
            };
            try_out(&source, given.json, &lead, &redis, limits).await
        }
    }
}

fn check(source: &Source, json: bool) -> Result<(), String> {
    let (pipelines, faults) = match outlines(source) {
        Ok(outlines) => (outlines.len(), Vec::new()),
        Err(RouteError::Wrong(faults)) => (0, faults),
        Err(error) => return Err(error.to_string()),
    };
    let file = source.shown();
    if json {
        print_json(&Checked {
            file: &file,
            ok: faults.is_empty(),
            faults: &faults,
        })?;
    } else if faults.is_empty() {
        let s = if pipelines == 1 { "" } else { "s" };
        print(&format!("{file}: {pipelines} pipeline{s}, no mistakes\n"))?;
    } else {
        for fault in &faults {
            let Fault {
                file,
                line,
                error,
                hint,
            } = fault;
            print(&format!("{file}:{line}: {error}\n    {hint}\n"))?;
        }
    }
    match faults.len() {
        0 => Ok(()),
        1 => Err(format!("one mistake in {file}")),
        n => Err(format!("{n} mistakes in {file}")),
    }
}

/// The shape of `pipeline check --json`.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    file: &'a str,
    ok: bool,
    faults: &'a [Fault],
}

fn show(source: &Source, json: bool) -> Result<(), String> {
    let outlines = outlines(source).map_err(|error| error.to_string())?;
    if json {
        return print_json(&outlines);
    }
    let mut text = String::new();
    for outline in &outlines {
        let default = if outline.default { ", the default" } else { "" };
        let _ = writeln!(text, "pipeline {}{default}", outline.pipeline);
        let _ = writeln!(text, "  leads come with  {}", list(&outline.input));
        let _ = writeln!(text, "  a lead costs     up to {}", dollars(outline.cost));
        if let Some(budget) = outline.budget {
            let _ = writeln!(text, "  a lead may cost  {}", dollars(budget));
        }
        if let Some(budget) = outline.daily_budget {
            let _ = writeln!(text, "  a day may cost   {}", dollars(budget));
        }
        for (n, station) in (1..).zip(&outline.stations) {
            describe(&mut text, &format!("  {n}. "), station);
        }
        for SinkOutline { sink, kind } in &outline.sinks {
            let _ = writeln!(text, "  -> {sink} ({kind})");
        }
    }
    print(&text)
}

fn describe(text: &mut String, lead_in: &str, station: &crate::pipeline::StationOutline) {
    let _ = writeln!(text, "{lead_in}{} ({})", station.station, station.kind);
    let indent = " ".repeat(lead_in.len());
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{indent}{name:<12} {value}");
        }
    };
    line("requires", station.requires.join(", "));
    line("produces", station.produces.join(", "));
    line("removes", station.removes.join(", "));
    line("when", station.when.clone().unwrap_or_default());
    line("cost", dollars(station.cost));
    line("timeout", station.timeout_s.map(span).unwrap_or_default());
    line("rate", station.rate.clone().unwrap_or_default());
    let places = |n: usize| format!("{n} at once in a worker");
    line(
        "concurrency",
        station.concurrency.map(places).unwrap_or_default(),
    );
    if let Some(cache) = &station.cache {
        line(
            "cache",
            format!("{} by {}", span(cache.ttl_s), cache.key.join(", ")),
        );
    }
    line("on error", station.on_error.unwrap_or_default().to_owned());
    for fallback in &station.fallback {
        describe(text, &format!("{indent}else "), fallback);
    }
}

async fn try_out(
    source: &Source,
    json: bool,
    lead: &Path,
    redis: &RedisArgs,
    limits: Limits,
) -> Result<(), String> {
    let ledger = Ledger::default();
    let pipeline = Pipeline::load(source, &ledger).map_err(|error| error.to_string())?;
    let bytes = read_lead(lead)?;
    let store = if pipeline.needs_store() {
        let store = Store::connect(redis).await;
        Some(store.map_err(|error| error.to_string())?)
    } else {
        None
    };
    let tried = trial::run(&pipeline, store.as_ref(), &ledger, &bytes, limits).await;
    let failed = tried["outcome"] == "failed";
    if json {
        print_json(&tried)?;
    } else {
        print(&tell(&tried))?;
    }
    if failed {
        return Err("the lead did not come through".into());
    }
    Ok(())
}

/// The same for eyes.
fn tell(tried: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    for stop in tried["stations"].as_array().into_iter().flatten() {
        let station = text(&stop["station"]);
        if let Some(why) = stop["passed_by"].as_str() {
            let _ = writeln!(out, "{station}: passed by: {why}");
            continue;
        }
        let cost = dollars(stop["cost"].as_f64().unwrap_or_default());
        let _ = writeln!(out, "{station}: {} ms, {cost}", stop["ms"]);
        let _ = writeln!(out, "  in   {}", stop["input"]);
        let _ = writeln!(out, "  out  {}", stop["answer"]);
        if let Some(error) = stop["error"].as_str() {
            let _ = writeln!(out, "  !    {}", harmless(error));
        }
    }
    let cost = dollars(tried["cost"].as_f64().unwrap_or_default());
    let _ = write!(out, "{}, {cost}", text(&tried["outcome"]));
    if let Some(reason) = tried["reason"].as_str() {
        let at = text(&tried["station"]);
        let at = if at.is_empty() {
            String::new()
        } else {
            format!("{at}: ")
        };
        let kind = tried["kind"].as_str().map(|kind| format!(" ({kind})"));
        let _ = write!(
            out,
            ": {at}{}{}",
            harmless(reason),
            kind.unwrap_or_default()
        );
    }
    out.push('\n');
    if let Some(lead) = tried.get("lead") {
        let _ = writeln!(out, "{lead}");
    }
    out
}

fn read_lead(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes).map(drop)
    } else {
        std::fs::read(file).map(|read| bytes = read)
    };
    read.map_err(|error| format!("cannot read the lead {}: {error}", file.display()))?;
    Lead::parse(&bytes).map_err(|error| format!("{} is no lead: it is {error}", file.display()))?;
    Ok(bytes)
}

fn list(fields: &[String]) -> String {
    if fields.is_empty() {
        "nothing that is sure".to_owned()
    } else {
        fields.join(", ")
    }
}

/// A span of time in the largest unit that it is whole in.
fn span(seconds: f64) -> String {
    [(86_400.0, "d"), (3_600.0, "h"), (60.0, "m")]
        .into_iter()
        .find(|(unit, _)| seconds >= *unit && seconds % unit == 0.0)
        .map_or_else(
            || format!("{seconds} s"),
            |(unit, name)| format!("{} {name}", seconds / unit),
        )
}

fn dollars(dollars: f64) -> String {
    Money::from_dollars(dollars).unwrap_or_default().to_string()
}

fn print_json(value: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    output::print(&format!("{}\n", harmless_json(json)))
}

/// Prints a text for eyes, without anything that a terminal would take for an order.
fn print(text: &str) -> Result<(), String> {
    output::print(&harmless_lines(text))
}
