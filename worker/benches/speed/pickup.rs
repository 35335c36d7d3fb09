//! How long a lead waits where nothing else does: from `LPUSH` to the start of its first station,
//! beside a bare `BLMOVE` that is woken in the same moments.

use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Connection;

use crate::Scale;
use crate::report::{Report, Target, quantile};
use crate::rig::{Rig, numbered};

const SOURCE: &str = "bench:bare";

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let leads = scale.of(1_000, 200);
    let mut rig = Rig::start(&[]);
    let (worker, log) = rig.worker_that_logs("off,scrapegoat_worker::engine::runner=trace");
    let mut hand = rig.connect();
    let (woken, bare) = wakings(rig.connect());
    let (mut pushed, mut raw) = (Vec::new(), Vec::new());
    for lead in numbered(0..leads) {
        pushed.push(push(&mut hand, "leads_to_enrich", &lead));
        std::thread::sleep(Duration::from_millis(5));
        let at = push(&mut hand, SOURCE, b"x");
        std::thread::sleep(Duration::from_millis(5));
        raw.push(woken.recv().expect("the bare one lives") - at);
    }
    push(&mut hand, SOURCE, b"end");
    bare.join().expect("the bare one lives");
    rig.until_done(leads, &worker);
    rig.prove(leads);
    let started = starts(&std::fs::read_to_string(log).expect("the worker's log"));
    assert_eq!(started.len(), leads, "one start for each lead");
    let mut waited: Vec<f64> = started
        .iter()
        .zip(&pushed)
        .map(|(start, push)| start - push)
        .collect();

    for (share, name, most) in [(0.5, "p50", 3.0), (0.99, "p99", 10.0)] {
        let (bare, lead) = (quantile(&mut raw, share), quantile(&mut waited, share));
        report.add(format!("a bare BLMOVE is woken, {name}"), bare * 1e6, "us");
        report.add(format!("LPUSH to station start, {name}"), lead * 1e6, "us");
        report.judge(
            format!("{name}: ratio"),
            lead / bare,
            "",
            Target::AtMost(most),
        );
    }
}

/// Now, in seconds. The wall clock, for that is what two processes have in common.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64()
}

/// Pushes; returns when that began.
fn push(connection: &mut Connection, key: &str, value: &[u8]) -> f64 {
    let mut cmd = redis::cmd("LPUSH");
    cmd.arg(key).arg(value);
    let at = now();
    let _: u64 = cmd.query(connection).expect("Redis takes it");
    at
}

/// Tells when a bare `BLMOVE` came back, time after time.
fn wakings(mut connection: Connection) -> (mpsc::Receiver<f64>, std::thread::JoinHandle<()>) {
    let (sender, wakings) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut cmd = redis::cmd("BLMOVE");
        cmd.arg(SOURCE)
            .arg("bench:taken")
            .arg("RIGHT")
            .arg("LEFT")
            .arg(0);
        loop {
            let value: Vec<u8> = cmd.query(&mut connection).expect("Redis answers");
            if value == b"end" || sender.send(now()).is_err() {
                return;
            }
        }
    });
    (wakings, thread)
}

/// When leads came to a station, by the worker's log, in seconds.
fn starts(log: &str) -> Vec<f64> {
    #[derive(serde::Deserialize)]
    struct Line {
        timestamp: String,
        message: String,
    }
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    #[allow(clippy::cast_precision_loss)]
    lines
        .filter(|line| line.message == "at a station")
        .filter_map(|line| line.timestamp.parse::<jiff::Timestamp>().ok())
        .map(|at| at.as_nanosecond() as f64 / 1e9)
        .collect()
}
