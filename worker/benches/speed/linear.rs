//! Whether the cost of a lead stays the same however many others there are, and whether the worker
//! stays small.

use crate::Scale;
use crate::process;
use crate::report::{Report, Target, median, thousands};
use crate::rig::{Rig, numbered};

const MB: f64 = 1024.0 * 1024.0;
/// What may be lost to the size of a list.
const KEPT: Target = Target::AtLeast(80.0);

#[allow(clippy::cast_precision_loss)]
pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let mut rig = Rig::start(&[]);
    let worker = rig.worker();
    rig.drain(&worker, 30_000);
    let few = |rig: &mut Rig| {
        let rates = (0..15).map(|_| rig.drain(&worker, 10_000).rate());
        median(rates.collect())
    };
    let reference = few(&mut rig);
    report.add("leads drained, 10,000 waiting", reference, "/s");

    let mut sizes = vec![scale.of(1_000_000, 200_000)];
    if scale.full {
        sizes.push(5_000_000);
    }
    for leads in sizes {
        let before = few(&mut rig);
        let drain = rig.drain(&worker, leads);
        let around = f64::midpoint(before, few(&mut rig));
        let named = thousands(leads as f64);
        report.add(
            format!("leads drained, {named} waiting"),
            drain.rate(),
            "/s",
        );
        let share = drain.rate() / around * 100.0;
        report.judge(
            format!("{named} waiting: share of 10,000"),
            share,
            "%",
            KEPT,
        );
        let memory = drain.memory.map(|bytes| bytes as f64 / MB);
        report.judge(
            format!("worker memory at its highest, {named} waiting"),
            memory,
            "MB",
            Target::AtMost(32.0),
        );
    }

    let dead = scale.of(1_000_000, 200_000);
    let leads = scale.of(300_000, 60_000);
    let plain = median((0..3).map(|_| rig.drain(&worker, leads).rate()).collect());
    rig.push("failed_leads", numbered(0..dead));
    let burdened = median((0..3).map(|_| rig.drain(&worker, leads).rate()).collect());
    let named = thousands(dead as f64);
    report.add(format!("leads drained, {named} dead"), burdened, "/s");
    report.judge(
        format!("{named} dead: share of none"),
        burdened / plain * 100.0,
        "%",
        KEPT,
    );
    let peak = process::peak_memory(worker.pid()).map(|bytes| bytes as f64 / MB);
    report.judge(
        "worker memory at its highest, all in all",
        peak,
        "MB",
        Target::AtMost(32.0),
    );
}
