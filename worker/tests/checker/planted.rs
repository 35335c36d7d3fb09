//! A checker that finds nothing proves nothing: each of these bugs, planted between the workers and
//! Redis, must be found.

use crate::common::proxy::Cut;
use crate::common::proxy::scripts::Bug;
use crate::plan::{Act, Expressions, Kind, Plan, Sinks, Step, ms};
use crate::run::run;

/// A plan made for one bug: what brings it out, again and again.
fn plan(acts: &[Act], pause: u64) -> Plan {
    let step = |act: &Act| Step {
        after: ms(pause),
        act: *act,
    };
    Plan {
        kind: Kind::Always,
        lease: ms(1_000),
        shutdown: ms(3_000),
        workers: 3,
        clocks: vec![0; 3],
        leads: 400,
        quick: false,
        sinks: Sinks::Stream,
        span: ms(4_000),
        patience: ms(4_000),
        tracks: vec![acts.iter().map(step).collect()],
        ..Plan::new(1)
    }
}

/// Each bug with seeds enough that luck does not hide it.
#[track_caller]
fn is_found(bug: Bug, plan: &Plan, says: &[&str]) {
    for _ in 0..5 {
        let outcome = run(plan, Some(bug));
        let found = |violation: &String| says.iter().any(|word| violation.contains(word));
        if outcome.violations.iter().any(found) {
            return;
        }
        assert!(outcome.violations.is_empty(), "{:?}", outcome.violations);
    }
    panic!("nothing was found");
}

#[test]
fn a_hostile_lead_that_nothing_stops_is_found() {
    let plan = Plan {
        expressions: Expressions::Missing,
        ..plan(&[], 0)
    };
    let violations = run(&plan, None).violations;
    for what in ["is hostile and was worked on", "is hostile and came out"] {
        let found = violations.iter().any(|found| found.contains(what));
        assert!(found, "{what}: {violations:#?}");
    }
}

#[test]
fn a_lease_that_runs_out_on_a_narrow_link_is_found() {
    // Not even a heartbeat gets through in time.
    let narrow = |post| Act::Narrow(post, 300, ms(4_000));
    let plan = plan(&[narrow(0), narrow(1)], 400);
    let plan = Plan {
        patience: ms(30_000),
        ..plan
    };
    for _ in 0..5 {
        let violations = run(&plan, None).violations;
        let reason = |found: &String| found.contains("without a reason");
        if violations.iter().any(reason) {
            return;
        }
    }
    panic!("nothing was found");
}

#[test]
fn a_commit_without_the_lease_check_is_found() {
    let freeze = |post| Act::Freeze(post, ms(2_200));
    let plan = plan(&[freeze(0), freeze(1)], 400);
    is_found(Bug::CommitWithoutLease, &plan, &["is in 2 places"]);
}

#[test]
fn a_batch_that_nobody_watches_is_found() {
    let freeze = |post| Act::Freeze(post, ms(2_200));
    let plan = plan(&[freeze(0), freeze(1), freeze(2)], 300);
    let plan = Plan {
        quick: true,
        leads: 30_000,
        patience: ms(20_000),
        ..plan
    };
    is_found(Bug::BatchWithoutWatch, &plan, &["is in 2 places"]);
}

#[test]
fn a_retry_that_does_not_leave_the_hand_is_found() {
    let plan = plan(&[Act::Kill(0)], 400);
    is_found(
        Bug::RetryWithoutRemoving,
        &plan,
        &["places", "still in hand"],
    );
}

#[test]
fn a_lead_recovered_twice_is_found() {
    let kill = [0, 1, 2].map(Act::Kill);
    is_found(Bug::RecoverTwice, &plan(&kill, 1_000), &["places"]);
}

#[test]
fn a_dead_letter_taken_by_its_place_is_found() {
    let plan = plan(&[Act::FlushScripts], 100);
    is_found(Bug::RetryByIndex, &plan, &["is lost", "places"]);
}

#[test]
fn a_lead_lost_with_the_answer_that_brought_it_is_found() {
    let cut = |post| Act::CutAt(post, "fetch", Cut::After);
    let plan = plan(&[cut(0), cut(1), cut(2)], 300);
    is_found(Bug::LostHandOff, &plan, &["is lost"]);
}
