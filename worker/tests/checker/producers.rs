//! Those who push leads: through the bridge's own door, which promises exactly once, and with a
//! plain `LPUSH`, of which nobody knows what came when the answer is lost.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use bridge_shared::config::RedisArgs;
use bridge_shared::store::Store;
use bridge_shared::store::produce::PUSH_BATCH;
use bytes::Bytes;
use redis::Connection;
use tokio::runtime::Handle;

use crate::plan::{Fate, Plan, Wrap, ms};

/// What a producer knows of a lead it pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It was accepted.
    Accepted(Instant),
    /// The answer was lost.
    Unknown,
}

/// A lead that was pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// What went into the list.
    pub payload: Bytes,
    /// The lead's own bytes.
    pub lead: Bytes,
    pub known: Known,
    /// Whether it went through the bridge's own door.
    pub counted: bool,
}

/// All that was pushed.
#[derive(Default)]
pub struct Ledger(Mutex<HashMap<usize, Pushed>>);

impl Ledger {
    fn note(&self, plan: &Plan, n: usize, known: Known, counted: bool) {
        let pushed = Pushed {
            payload: payload(plan, n),
            lead: lead(plan, n),
            known,
            counted,
        };
        self.0
            .lock()
            .expect("nobody panics with it")
            .insert(n, pushed);
    }

    pub fn all(&self) -> HashMap<usize, Pushed> {
        self.0.lock().expect("nobody panics with it").clone()
    }
}

/// A lead's own bytes, spaced and with numbers that no encoder would write so.
fn lead(plan: &Plan, n: usize) -> Bytes {
    let more = match (plan.fate(n), plan.weight(n)) {
        (Fate::Hostile, _) => hostile(n),
        (_, 0) => String::new(),
        (_, bytes) => format!(", \"notes\":\"{}\"", "x".repeat(bytes)),
    };
    format!(
        "{{\"name\":\"Lead {n}\",  \"n\":{n}, \"score\":1.50, \"big\":12345678901234567890123{more}}}"
    )
    .into()
}

/// What one of the expressions before the station goes over its budget for: with the memory or with
/// the time that it would take.
fn hostile(n: usize) -> String {
    match n % 3 {
        0 => ", \"price\":[\"x\",\"y\"], \"quantity\":100000000".into(),
        1 => ", \"names\":[\"x\",\"y\"], \"copies\":100000000".into(),
        _ => format!(", \"rows\":[{}0]", "0,".repeat(3_000)),
    }
}

fn payload(plan: &Plan, n: usize) -> Bytes {
    let lead = lead(plan, n);
    let wrapped = |version: u32, more: &str| {
        let lead = String::from_utf8_lossy(&lead);
        format!("{{\"envelope\":{version},\"id\":\"w{version}-{n}\",\"lead\":{lead}{more}}}").into()
    };
    match plan.wrap(n) {
        Wrap::Bare => lead,
        Wrap::Older => wrapped(1, ""),
        Wrap::Newer => wrapped(2, ",\"what_nobody_here_knows\":[1]"),
    }
}

/// Pushes through the bridge, each batch again until it is accepted.
pub fn push(
    plan: &Plan,
    args: &RedisArgs,
    run: &str,
    numbers: &[usize],
    ledger: &Ledger,
    on: &Handle,
) {
    let _inside = on.enter();
    let store = Store::new(args).expect("a store");
    let mut rng = fastrand::Rng::with_seed(plan.seed + numbers.len() as u64);
    let (mut rest, mut batch) = (numbers, 0);
    while !rest.is_empty() {
        let most = if plan.quick { PUSH_BATCH } else { 20 };
        let (now, later) = rest.split_at(rng.usize(1..=most).min(rest.len()));
        rest = later;
        batch += 1;
        let leads: Vec<Bytes> = now.iter().map(|n| payload(plan, *n)).collect();
        while on.block_on(store.push(run, batch, &leads)).is_err() {
            std::thread::sleep(ms(20));
        }
        for n in now {
            ledger.note(plan, *n, Known::Accepted(Instant::now()), true);
        }
        pace(plan, numbers.len(), now.len());
    }
}

/// Pushes as any program does. A lead that Redis refused is pushed again; one whose answer was lost
/// is not.
pub fn lpush(
    plan: &Plan,
    connect: impl Fn() -> Option<Connection>,
    numbers: &[usize],
    ledger: &Ledger,
) {
    let mut connection = None;
    for n in numbers {
        loop {
            connection = connection.or_else(&connect);
            let Some(open) = &mut connection else {
                std::thread::sleep(ms(20));
                continue;
            };
            let mut cmd = redis::cmd("LPUSH");
            cmd.arg("leads_to_enrich").arg(&payload(plan, *n)[..]);
            match cmd.query::<usize>(open) {
                Ok(_) => ledger.note(plan, *n, Known::Accepted(Instant::now()), false),
                Err(error) if error.is_io_error() || error.is_unrecoverable_error() => {
                    ledger.note(plan, *n, Known::Unknown, false);
                    connection = None;
                }
                Err(_) => {
                    std::thread::sleep(ms(20));
                    continue;
                }
            }
            break;
        }
        pace(plan, numbers.len(), 1);
    }
}

/// Waits as long as it takes that all of them take the time of the plan.
fn pace(plan: &Plan, all: usize, now: usize) {
    if plan.quick {
        return;
    }
    let small = |n: usize| u32::try_from(n).expect("a small number");
    std::thread::sleep(plan.span * small(now) / small(all));
}
