//! What it costs that Redis writes everything down, once a second; and beside it what that costs
//! Redis by itself, where it only adds to a stream what a drain adds.

use crate::Scale;
use crate::report::{Report, Target, median};
use crate::rig::{Rig, numbered};

/// How the product's own Redis is set up.
const CONF: &str = include_str!("../../../assets/redis.conf");
/// Bytes that a lead gets on the route that does nothing.
const ADDED: usize = 95;

/// What is taken in one round, in leads a second.
struct Round {
    /// Drained without a file, with one, and with one that is written anew often.
    drained: [f64; 3],
    /// Added by `redis-benchmark` without a file, and with one.
    added: [f64; 2],
}

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
    let rounds: Vec<Round> = (0..scale.of(5, 2))
        .map(|_| Round {
            drained: std::array::from_fn(|n| rigs[n].drain(&workers[n], leads).rate()),
            added: std::array::from_fn(|n| added(&mut rigs[n], leads)),
        })
        .collect();
    let of = |figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    report.add(
        "leads drained, AOF off",
        of(&|round| round.drained[0]),
        "/s",
    );
    report.add(
        "leads drained, AOF everysec",
        of(&|round| round.drained[1]),
        "/s",
    );
    report.judge(
        "everysec, as assets/redis.conf has it: share of AOF off",
        of(&|round| round.drained[1] / round.drained[0] * 100.0),
        "%",
        Target::AtLeast(80.0),
    );
    report.add(
        "the same where the file is written anew from 64 MB on",
        of(&|round| round.drained[2] / round.drained[0] * 100.0),
        "%",
    );
    report.add(
        "redis-benchmark XADD of such leads, -P 512, AOF off",
        of(&|round| round.added[0]),
        "/s",
    );
    report.add(
        "redis-benchmark XADD of such leads, -P 512, AOF everysec",
        of(&|round| round.added[1]),
        "/s",
    );
    report.add(
        "everysec, XADD alone: share of AOF off",
        of(&|round| round.added[1] / round.added[0] * 100.0),
        "%",
    );
    report.add(
        "everysec: leads drained, share of XADD alone",
        of(&|round| round.drained[1] / round.added[1] * 100.0),
        "%",
    );
}

/// What Redis adds to a stream a second, of leads as long as those that are drained are in the end,
/// from two connections as a worker has them.
fn added(rig: &mut Rig, leads: usize) -> f64 {
    let bytes: usize = numbered(0..1_000).map(|lead| lead.len()).sum();
    let lead = "x".repeat(bytes / 1_000 + ADDED);
    let requests = leads.to_string();
    let args = ["-c", "2", "-P", "512", "-n", &requests];
    let xadd = [
        "XADD",
        "bench:added",
        "*",
        "id",
        "k3x4q1-123456",
        "lead",
        &lead,
    ];
    let rate = rig.redis_benchmark(&[&args[..], &xadd].concat());
    let _: u64 = rig.run("UNLINK bench:added");
    rate
}

/// The lines about the append-only file, as arguments.
fn file_settings() -> Vec<String> {
    let lines = CONF.lines().filter_map(|line| line.split_once(' '));
    let file = lines.filter(|(name, _)| name.starts_with("append") || name.starts_with("auto-aof"));
    file.flat_map(|(name, value)| [format!("--{name}"), value.to_owned()])
        .collect()
}
