//! What it costs that Redis writes everything down, once a second.

use crate::Scale;
use crate::report::{Report, Target, median};
use crate::rig::Rig;

/// How the product's own Redis is set up.
const CONF: &str = include_str!("../../../assets/redis.conf");

pub(crate) fn measure(scale: Scale, report: &mut Report) {
    let leads = scale.of(300_000, 60_000);
    let as_shipped = file_settings();
    // From time to time the server writes its file anew, in a process of its own, which takes its
    // share of the processors: once often, to tell the two apart.
    let often = ["--auto-aof-rewrite-min-size", "64mb"].map(str::to_owned);
    let often = [&as_shipped[..], &often].concat();
    let mut rigs = [vec![], as_shipped, often].map(|settings| {
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Rig::start(&settings)
    });
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
        "everysec, as assets/redis.conf has it: share of AOF off",
        of(&|round| round[1] / round[0] * 100.0),
        "%",
        Target::AtLeast(80.0),
    );
    report.add(
        "the same where the file is written anew from 64 MB on",
        of(&|round| round[2] / round[0] * 100.0),
        "%",
    );
}

/// The lines about the append-only file, as arguments.
fn file_settings() -> Vec<String> {
    let lines = CONF.lines().filter_map(|line| line.split_once(' '));
    let file = lines.filter(|(name, _)| name.starts_with("append") || name.starts_with("auto-aof"));
    file.flat_map(|(name, value)| [format!("--{name}"), value.to_owned()])
        .collect()
}
