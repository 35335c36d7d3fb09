//! What it costs that Redis writes everything down, once a second.

use crate::Scale;
use crate::report::{Report, Target, median};
use crate::rig::Rig;

const EVERYSEC: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let leads = scale.of(300_000, 60_000);
    // From time to time the server writes its file anew, in a process of its own, which takes its
    // share of the processors: once without, to tell the two apart.
    let without = [&EVERYSEC[..], &["--auto-aof-rewrite-percentage", "0"]].concat();
    let mut rigs = [&[][..], &EVERYSEC, &without].map(Rig::start);
    let workers = rigs.each_mut().map(Rig::worker);
    for (rig, worker) in rigs.iter_mut().zip(&workers) {
        rig.drain(worker, leads / 10);
    }
    let rounds: Vec<[f64; 3]> = (0..scale.of(5, 2))
        .map(|_| std::array::from_fn(|n| rigs[n].drain(&workers[n], leads).rate()))
        .collect();
    let of = |figure: &dyn Fn(&[f64; 3]) -> f64| median(rounds.iter().map(figure).collect());
    report.add("leads drained, AOF off", of(&|round| round[0]), "/s");
    report.add("leads drained, AOF everysec", of(&|round| round[1]), "/s");
    report.judge(
        "everysec: share of AOF off",
        of(&|round| round[1] / round[0] * 100.0),
        "%",
        Target::AtLeast(80.0),
    );
    report.add(
        "the same while the file is not written anew",
        of(&|round| round[2] / round[0] * 100.0),
        "%",
    );
}
