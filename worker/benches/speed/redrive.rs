//! What it costs to put some of many dead letters back to work.

use std::time::Instant;

use bridge_shared::envelope::{Attempt, Envelope, ErrorKind};

use crate::Scale;
use crate::report::Report;
use crate::rig::{Rig, bridge, numbered};

/// One in so many is retried.
const EVERY: usize = 10;

#[allow(clippy::cast_precision_loss)]
pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let dead = scale.of(100_000, 20_000);
    let retried = dead / EVERY;
    let mut rig = Rig::start(&[]);
    // The number of a lead goes round, so that those that are retried are numbered from 0.
    rig.push("failed_leads", (0..dead).map(dead_letter));
    let started = Instant::now();
    let output = bridge(&rig)
        .args(["dlq", "retry", "--all", "--filter", "station:enrich"])
        .output()
        .expect("bridge runs");
    let seconds = started.elapsed().as_secs_f64();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let counts = (
        rig.run::<usize>("LLEN leads_to_enrich"),
        rig.run::<usize>("LLEN failed_leads"),
    );
    assert_eq!(
        counts,
        (retried, dead - retried),
        "leads waiting, leads dead"
    );
    report.add(
        format!("retry of {retried} dead letters out of {dead}"),
        seconds,
        "s",
    );
    report.add("dead letters retried", retried as f64 / seconds, "/s");
    let worker = rig.worker_at_work();
    rig.until_done(retried, &worker);
    let _: u64 = rig.run("HDEL leads_to_enrich:stats redriven");
    rig.prove(retried);
}

fn dead_letter(n: usize) -> Vec<u8> {
    let (retried, number) = (n.is_multiple_of(EVERY), n / EVERY);
    let lead = numbered(number..number + 1).next().expect("one lead");
    let mut envelope = Envelope::new(format!("bench-{n}"), lead.into(), Some(1_000));
    let attempt = Attempt {
        at: "2026-01-15T10:30:00Z".into(),
        station: if retried { "enrich" } else { "verify" }.into(),
        error: "HTTP 503".into(),
        kind: ErrorKind::Transient,
        ms: 12,
        worker: "bench-1-worker".into(),
    };
    for _ in 0..4 {
        envelope.fail(2_000, attempt.clone());
    }
    envelope.encode().to_vec()
}
