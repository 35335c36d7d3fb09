//! How fast `bridge push` enqueues a file.

use std::io::Write as _;
use std::time::Instant;

use crate::Scale;
use crate::report::{Report, median};
use crate::rig::{Rig, bridge, numbered};

#[allow(clippy::cast_precision_loss)]
pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let leads = scale.of(300_000, 60_000);
    let mut rig = Rig::start(&[]);
    let file = rig.folder.path().join("leads.jsonl");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).expect("a file"));
    for mut lead in numbered(0..leads) {
        lead.push(b'\n');
        out.write_all(&lead).expect("room for the leads");
    }
    out.into_inner().expect("room for the leads");
    let rates = (0..scale.of(3, 1)).map(|_| {
        let _: u64 = rig.run("UNLINK leads_to_enrich");
        let started = Instant::now();
        let output = bridge(&rig)
            .arg("push")
            .arg(&file)
            .output()
            .expect("bridge runs");
        let rate = leads as f64 / started.elapsed().as_secs_f64();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(rig.run::<usize>("LLEN leads_to_enrich"), leads);
        rate
    });
    let rate = median(rates.collect());
    report.add("leads pushed by bridge push", rate, "/s");
    // And each came into the list once.
    let _: u64 = rig.run("DEL leads_to_enrich:stats");
    let worker = rig.worker_at_work();
    rig.until_done(leads, &worker);
    rig.prove(leads);
}
