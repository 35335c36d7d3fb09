//! The scripts against a simple model: random sequences of what workers, producers and consoles do,
//! on a real Redis, compared after every step and shrunk to the shortest that fails.

#![allow(unreachable_pub)] // The parts of one program.

mod bench;
mod model;
mod step;

use bench::Bench;
use model::Model;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// The store, compared with the model.
struct Scripts;

impl StateMachineTest for Scripts {
    type SystemUnderTest = Bench;
    type Reference = Model;

    fn init_test(_: &Model) -> Bench {
        Bench::start()
    }

    fn apply(
        mut bench: Bench,
        model: &Model,
        step: <Model as ReferenceStateMachine>::Transition,
    ) -> Bench {
        let answer = bench.carry_out(model, &step);
        assert_eq!(answer, model.answer, "what {step:?} answers");
        bench
    }

    fn check_invariants(bench: &Bench, model: &Model) {
        assert_eq!(bench.read(), model.seen());
    }
}

prop_state_machine! {
    #![proptest_config(Config { cases: 48, max_shrink_iters: 3_000, ..Config::default() })]

    #[test]
    fn every_step_does_what_the_model_says(sequential 1..60 => Scripts);
}
