//! How fast the bridge is, measured on the real binaries and a private Redis, and whether every
//! lead came out exactly once meanwhile. `make bench`, or `cargo bench --bench speed -- --help`.
//!
//! Absolute figures say as much about the machine as about the bridge. So what counts is stated as
//! a ratio to something taken in the same minutes: `redis-benchmark`, a bare `BLMOVE`, the same run
//! without a file behind it. Rounds take turns, and the median is what is shown.
//!
//! - [`rig`]: a bridge to measure: Redis, its leads, its worker, the proof that none was lost
//! - [`process`]: what a process has used
//! - [`report`]: the table, and the same as JSON
//! - one file for each thing that is measured

#[path = "../../tests/common/mod.rs"]
mod common;

mod drain;
mod durable;
mod idle;
mod linear;
mod pickup;
mod process;
mod push;
mod recovery;
mod redrive;
mod report;
mod rig;
mod scripts;

use std::process::ExitCode;

use clap::Parser;
use report::Report;

/// Measures the bridge on a private Redis.
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
#[derive(Debug, Parser)]
#[command(name = "speed")]
struct Args {
    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,

    /// Fewer leads and rounds, in about a minute: the figures are rougher
    #[arg(long, conflicts_with = "full")]
    quick: bool,

    /// Also with 5,000,000 leads waiting, which takes 4 GB of memory
    #[arg(long)]
    full: bool,

    /// Only these: drain, pickup, push, recovery, redrive, durable, idle, linear
    #[arg(value_name = "WHAT")]
    only: Vec<String>,

    /// Cargo says so itself
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Scale {
    quick: bool,
    full: bool,
}

impl Scale {
    /// The one number, or where it is to be quick the other.
    fn of<T>(self, normal: T, quick: T) -> T {
        if self.quick { quick } else { normal }
    }
}

/// Something that is measured.
type Measure = fn(Scale, &mut Report);

const MEASURES: &[(&str, Measure)] = &[
    ("drain", drain::measure),
    ("pickup", pickup::measure),
    ("push", push::measure),
    ("recovery", recovery::measure),
    ("redrive", redrive::measure),
    ("durable", durable::measure),
    ("idle", idle::measure),
    ("linear", linear::measure),
];

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(unknown) = args
        .only
        .iter()
        .find(|word| MEASURES.iter().all(|(name, _)| name != word))
    {
        let names: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        eprintln!("nothing is called {unknown}; there is {}", names.join(", "));
        return ExitCode::from(2);
    }
    if cfg!(debug_assertions) {
        eprintln!("these are figures of a debug build: cargo bench makes a fast one");
    }
    let scale = Scale {
        quick: args.quick,
        full: args.full,
    };
    let mut report = Report::new(!args.json);
    for (name, measure) in MEASURES {
        if args.only.is_empty() || args.only.iter().any(|word| word == name) {
            report.begin(name);
            measure(scale, &mut report);
        }
    }
    scripts::tell(&mut report);
    report.finish(args.json)
}
