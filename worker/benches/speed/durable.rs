//! What it costs that Redis writes everything down, once a second.

use crate::Scale;
use crate::report::{Report, Target, median};
use crate::rig::Rig;

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let leads = scale.of(300_000, 60_000);
    let mut off = Rig::start(&[]);
    let mut on = Rig::start(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let workers = (off.worker(), on.worker());
    off.drain(&workers.0, leads / 10);
    on.drain(&workers.1, leads / 10);
    let rounds: Vec<(f64, f64)> = (0..scale.of(5, 2))
        .map(|_| {
            (
                off.drain(&workers.0, leads).rate(),
                on.drain(&workers.1, leads).rate(),
            )
        })
        .collect();
    let of = |figure: fn(&(f64, f64)) -> f64| median(rounds.iter().map(figure).collect());
    report.add("leads drained, AOF off", of(|(off, _)| *off), "/s");
    report.add("leads drained, AOF everysec", of(|(_, on)| *on), "/s");
    let ratio = of(|(off, on)| on / off * 100.0);
    report.judge(
        "everysec: share of AOF off",
        ratio,
        "%",
        Target::AtLeast(80.0),
    );
}
