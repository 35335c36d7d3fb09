//! Nothing lost, nothing silently doubled: a bridge of real processes is put through everything
//! that can happen to it, as a seed decides, and then every lead is accounted for.
//!
//! - `plan`: a seed to what is done when
//! - `site`, `crew`, `station`: Redis, the workers behind their proxies, the service they call
//! - `producers`, `operators`, `news`: those who push, those at the consoles, one who listens
//! - `acts`, `record`: doing it, and writing down what was done
//! - `secret`: the password, which may change
//! - `disk`, `sinks`: a disk that can be full; where leads go besides the stream
//! - `run`, `reading`, `account`: all of it at once; what is there at the end; whether it must be so
//! - `clock`: wrong clocks; `planted`: bugs planted between workers and Redis, each of them found
//! - `alone`: how long it takes after each fault by itself
//!
//! `CHECKER_SEED=7` replays a seed, `CHECKER_SECONDS=600` goes on for so long; `make faults` does.
//! `CHECKER_FAULT=Narrow` takes only faults whose names begin so of `alone`.
//! `CHECKER_OLD_WORKER=/path` puts the worker of an older build beside this one's.

#![allow(unreachable_pub)] // As in `common`.

#[path = "../clock/mod.rs"]
mod clock;
#[path = "../common/mod.rs"]
mod common;
#[path = "../database/mod.rs"]
mod database;

mod account;
mod acts;
mod alone;
mod crew;
mod disk;
mod news;
mod operators;
mod plan;
mod planted;
mod producers;
mod reading;
mod record;
mod run;
mod secret;
mod sinks;
mod site;
mod station;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use plan::Plan;
use run::{Outcome, run};

/// How long the checker goes on where nothing else is said.
const SECONDS: u64 = 20;

#[test]
fn every_lead_is_accounted_for_whatever_happens() {
    seeds_without_violation(Plan::new);
}

#[test]
fn every_lead_of_a_whole_batch_is_accounted_for_as_well() {
    seeds_without_violation(Plan::quick);
}

/// One plan after the other, until the time is up.
fn seeds_without_violation(new: fn(u64) -> Plan) {
    let set = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is no number")),
        )
    };
    let deadline = Instant::now() + Duration::from_secs(set("CHECKER_SECONDS").unwrap_or(SECONDS));
    let (only, mut seeds, mut failed) = (set("CHECKER_SEED"), 0, Vec::new());
    let mut recoveries: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    while seeds == 0 || (Instant::now() < deadline && only.is_none()) {
        let seed = only.unwrap_or_else(|| fastrand::u64(..1_000_000));
        let plan = new(seed);
        let outcome = run(&plan, None);
        seeds += 1;
        tell(&plan, &outcome);
        if !outcome.violations.is_empty() {
            failed.push(seed);
        }
        for recovery in outcome.recoveries {
            // Of one that is gone for good, or frozen, what counts is who has its leads.
            if let Some(took) = recovery.taken_over.or(recovery.back) {
                recoveries.entry(recovery.name).or_default().push(took);
            }
        }
    }
    println!("{seeds} seeds; back at work after (median, longest):");
    for (name, took) in &mut recoveries {
        took.sort_unstable();
        let (middle, last) = (took[took.len() / 2], took[took.len() - 1]);
        println!(
            "  {name:32} {:5} times  {middle:8.2?}  {last:8.2?}",
            took.len()
        );
    }
    assert!(failed.is_empty(), "replay with CHECKER_SEED: {failed:?}");
}

#[test]
fn where_nothing_happens_each_lead_is_worked_on_once_and_every_figure_agrees() {
    let plan = Plan::calm(fastrand::u64(..1_000_000));
    let outcome = run(&plan, None);
    tell(&plan, &outcome);
    assert!(
        outcome.violations.is_empty(),
        "CHECKER_SEED was {}",
        plan.seed
    );
}

/// One line where all is well, and everything where it is not.
fn tell(plan: &Plan, outcome: &Outcome) {
    let (leads, calls, faults) = outcome.size;
    println!(
        "seed {}: {:?}, {:?}{}, {} workers{}, lease {:?}, {leads} leads, {calls} calls, {faults} faults, {} violations",
        plan.seed,
        plan.kind,
        plan.sinks,
        if plan.quick { ", by batches" } else { "" },
        plan.workers,
        if crew::older().is_some() {
            " of two builds"
        } else {
            ""
        },
        plan.lease,
        outcome.violations.len()
    );
    if outcome.violations.is_empty() {
        return;
    }
    println!("{}", outcome.faults);
    for violation in outcome.violations.iter().take(20) {
        println!("- {violation}");
    }
    if let Some(logs) = &outcome.logs {
        println!("the workers' logs are in {}", logs.display());
    }
}

#[test]
fn the_proxy_reads_commands_as_they_are_written() {
    use common::proxy::resp;

    let mut bytes = resp::encode(&[b"SET", b"", b"a\r\nb"]);
    let whole = bytes.len();
    for cut in 0..whole {
        assert_eq!(resp::command(&bytes[..cut]), None);
    }
    bytes.extend(resp::encode(&[b"PING"]));
    let (length, words) = resp::command(&bytes).expect("whole");
    let words: Vec<&[u8]> = words.into_iter().map(|word| &bytes[word]).collect();
    assert_eq!((length, words), (whole, vec![&b"SET"[..], b"", b"a\r\nb"]));
}
