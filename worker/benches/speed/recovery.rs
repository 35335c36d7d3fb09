//! What it costs to take dead workers' leads over, each of whom had as many in hand as can be.

use std::time::Instant;

use crate::Scale;
use crate::process;
use crate::report::Report;
use crate::rig::{Rig, numbered};

/// The most that one worker works on at once.
const IN_HAND: usize = 10_000;

#[allow(clippy::cast_precision_loss)]
pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let leads = scale.of(100_000, 20_000);
    let mut rig = Rig::start(&[]);
    let worker = rig.worker();
    // Paused, so that what is measured is the recovery alone; the worker hears of it with its pulse.
    let () = rig.run("SET leads_to_enrich:paused bench");
    rig.until_not_blocked();
    let dead = (0..leads).step_by(IN_HAND).map(|first| {
        let worker = format!("dead-{first}-bench");
        rig.in_hands_of(&worker, numbered(first..first + IN_HAND));
        format!(" 1 {worker}")
    });
    let dead: String = dead.collect();
    let before = process::cpu(worker.pid());
    let started = Instant::now();
    let _: u64 = rig.run(&format!("ZADD leads_to_enrich:workers{dead}"));
    rig.until("all are waiting again", |rig| {
        rig.run::<usize>("LLEN leads_to_enrich") == leads
    });
    let seconds = started.elapsed().as_secs_f64();
    let cpu = process::cpu(worker.pid())
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    report.add(
        format!("recovery of {leads} leads, up to a beat's wait included"),
        seconds,
        "s",
    );
    report.add("leads recovered", leads as f64 / seconds, "/s");
    let cpu = cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / leads as f64);
    report.add("worker CPU for 1,000 leads", cpu, "ms");
    let _: u64 = rig.run("DEL leads_to_enrich:paused");
    rig.until_done(leads, &worker);
    rig.prove(leads);
}
