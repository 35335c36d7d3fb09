//! Each fault by itself, with the settings that a worker has by default: what the table of faults in
//! `ARCHITECTURE.md` says about time comes from here.

use std::time::Duration;

use crate::common::proxy::Cut;
use crate::plan::{Act, Kind, Log, Plan, Sinks, Step, ms};
use crate::run::run;

/// How long those last that last.
const TIME: Duration = Duration::from_secs(3);

fn acts() -> Vec<(Kind, Act)> {
    let always = [
        Act::Kill(0),
        Act::Freeze(0, ms(12_000)),
        Act::Terminate(0, 1),
        Act::Terminate(0, 2),
        Act::Restart(TIME),
        Act::Sleep(TIME),
        Act::Busy(TIME),
        Act::Pause(TIME),
        Act::KillClients,
        Act::NoMemory(TIME),
        Act::FlushScripts,
        Act::ReadOnly(TIME),
        Act::NoSnapshots(TIME),
        Act::DiskFull(TIME),
        Act::NoReplicas(TIME),
        Act::Cut(0),
        Act::CutAt(0, "fetch", Cut::After),
        Act::CutAt(0, "commit", Cut::After),
        Act::Silence(0),
        Act::Hold(0, TIME),
        Act::Slow(0, ms(100), TIME),
        Act::Dribble(0, TIME),
        Act::Log(0, Log::Closed),
        Act::Log(0, Log::Full),
        Act::Log(0, Log::Stalled(TIME)),
        Act::StepClock(15),
        Act::StepClock(-20),
        Act::Deregister,
        Act::RotatePassword(ms(0)),
        Act::RotatePassword(TIME),
        Act::Narrow(0, 450_000, ms(20_000)),
        Act::OutputLimit(ms(20_000)),
    ];
    let mut acts: Vec<(Kind, Act)> = always.map(|act| (Kind::Always, act)).into();
    acts.push((Kind::EverySecond, Act::PowerCut));
    acts.push((Kind::EverySecond, Act::DiskFull(TIME)));
    acts.push((Kind::Sentinel, Act::FailOver));
    acts
}

/// Leads enough that there is work until the last of them is over.
fn plan(kind: Kind, act: Act) -> Plan {
    Plan {
        kind,
        lease: Duration::from_secs(10),
        shutdown: Duration::from_secs(25),
        workers: 3,
        clocks: vec![0; 3],
        leads: 1_500,
        span: Duration::from_secs(18),
        operators: 1,
        sinks: Sinks::Stream,
        large: matches!(act, Act::Narrow(..) | Act::OutputLimit(_)),
        tracks: vec![vec![Step {
            after: ms(1_500),
            act,
        }]],
        ..Plan::new(1)
    }
}

#[test]
#[ignore = "takes minutes; `make faults` runs it"]
fn each_fault_by_itself() {
    let mut wrong = Vec::new();
    let mut acts = acts();
    if let Ok(only) = std::env::var("CHECKER_FAULT") {
        acts.retain(|(_, act)| format!("{act:?}").starts_with(&only));
    }
    for acts in acts.chunks(3) {
        let plans: Vec<Plan> = acts.iter().map(|(kind, act)| plan(*kind, *act)).collect();
        let outcomes = std::thread::scope(|scope| {
            let runs: Vec<_> = plans
                .iter()
                .map(|plan| scope.spawn(|| run(plan, None)))
                .collect();
            let outcomes = runs.into_iter().map(|run| run.join().expect("no panic"));
            outcomes.collect::<Vec<_>>()
        });
        for ((_, act), outcome) in acts.iter().zip(outcomes) {
            wrong.extend(outcome.violations);
            for recovery in outcome.recoveries {
                println!(
                    "{:32} lasted {:8.2?}, back after {:8.2?}, leads in other hands after {:8.2?}  {act:?}",
                    recovery.name, recovery.lasted, recovery.back, recovery.taken_over
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
