//! A server clock that is set forward or back while workers are at work.

mod clock;
mod common;

use std::time::{Duration, Instant};

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::stats::{WorkerInfo, WorkerState};
use bridge_shared::store::Store;
use clock::Clock;
use common::{Bridge, Reply, Service, eventually};
use tokio::runtime::Runtime;

const HOUR: i64 = 3_600;
const LEASE: &[&str] = &["--lease-seconds", "5"];

fn bridge() -> (Bridge, Clock) {
    let clock = Clock::new(0);
    let redis = Sandbox::start_within(&clock.environment(), &[]).expect("a private Redis");
    (Bridge::on(redis), clock)
}

fn store(bridge: &Bridge) -> (Runtime, Store) {
    let names = ["leads_to_enrich", "failed_leads", "enriched_leads"];
    let runtime = Runtime::new().expect("a runtime");
    let store = {
        let _inside = runtime.enter();
        Store::new(&RedisArgs::of(bridge.redis.url(), names)).expect("a store")
    };
    (runtime, store)
}

#[test]
fn a_clock_set_forward_makes_no_living_worker_lost_and_no_call_is_made_twice() {
    const LEADS: usize = 60;
    let (bridge, clock) = bridge();
    let service = Service::start(|_, _| Reply::ok().after(4_000));
    let flags = [LEASE, &["--concurrency", "20"]].concat();
    let begun = Instant::now();
    let passed = |ms| eventually("a time", || begun.elapsed() >= Duration::from_millis(ms));
    // A third of a heartbeat apart: in step, each would renew its lease before another one looked.
    let workers = [0, 330, 660].map(|ms| {
        passed(ms);
        bridge.worker_with(&service, &flags)
    });
    eventually("all are there", || bridge.workers().len() == workers.len());
    // For half a lease from its start a worker spares all others anyway.
    passed(4_000);
    bridge.push_numbered(LEADS);
    eventually("all are in flight", || service.requests().len() == LEADS);
    clock.step(15);
    eventually("all are done", || bridge.done() == LEADS);
    assert_eq!(service.requests().len(), LEADS);
    let lost: usize = bridge.redis("HLEN leads_to_enrich:workers:lost");
    assert_eq!(
        (lost, bridge.stat("recovered"), bridge.stat("lease_lost")),
        (0, 0, 0)
    );
}

#[test]
fn a_clock_set_back_locks_no_dead_workers_leads() {
    let (bridge, clock) = bridge();
    let service = Service::start(|_, before| match before {
        0 => Reply::ok().after(600_000),
        _ => Reply::ok(),
    });
    bridge.push(r#"{"n":1}"#);
    let victim = bridge.worker_with(&service, LEASE);
    eventually("it is in flight", || service.requests().len() == 1);
    let _heir = bridge.worker_with(&service, LEASE);
    eventually("both are there", || bridge.workers().len() == 2);
    victim.signal("KILL");
    clock.step(-HOUR);
    let begun = Instant::now();
    eventually("it is recovered and done", || bridge.done() == 1);
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(bridge.stat("recovered"), 1);
}

#[test]
fn a_clock_set_forward_between_a_heartbeat_and_the_recovery_takes_no_leads() {
    let (bridge, clock) = bridge();
    let (runtime, store) = store(&bridge);
    let beat = |worker: &str, lease: Duration| {
        let info = WorkerInfo::default();
        let beat = store.heartbeat(worker, lease, &info, true);
        runtime.block_on(beat).expect("recorded")
    };
    let lease = Duration::from_secs(10);
    beat("living", lease);
    let _: usize = bridge.run(&[b"HSET", b"leads_to_enrich:active:living", b"1", b"{}"]);
    beat("dead", Duration::from_millis(1));
    let _: usize = bridge.run(&[b"HSET", b"leads_to_enrich:active:dead", b"1", b"{}"]);
    let pulse = beat("recoverer", lease);
    let latest = || pulse.latest(lease / 2);
    let expired = |latest| {
        let expired = runtime.block_on(store.expired("recoverer", latest, 0, 10));
        expired.expect("an answer").with_leads.len()
    };
    let recover = |worker: &str, latest| {
        let recovered = store.recover(worker, "recoverer", latest, &[], &[]);
        runtime.block_on(recovered).expect("an answer").is_some()
    };
    eventually("the dead one's lease is over", || expired(latest()) == 1);
    assert!(recover("dead", latest()) && !recover("living", latest()));
    clock.step(15);
    assert_eq!(expired(latest()), 0);
    assert!(!recover("living", latest()) && !recover("dead", latest()));
    assert_eq!(
        expired(None),
        2,
        "without the time of the heartbeat both seem dead"
    );
}

#[test]
fn after_a_clock_was_set_back_a_dead_worker_does_not_look_alive() {
    let (bridge, clock) = bridge();
    let (runtime, store) = store(&bridge);
    let info = WorkerInfo {
        lease_length_ms: 10_000,
        ..WorkerInfo::default()
    };
    for (worker, info) in [("tells", &info), ("does-not", &WorkerInfo::default())] {
        let beat = store.heartbeat(worker, Duration::from_secs(10), info, true);
        runtime.block_on(beat).expect("recorded");
    }
    let states = || {
        let now = runtime.block_on(store.snapshot()).expect("figures");
        let states = now
            .workers
            .iter()
            .map(|worker| (worker.id.clone(), worker.state()));
        states.collect::<Vec<_>>()
    };
    let both = |tells, does_not| {
        vec![
            ("does-not".to_owned(), does_not),
            ("tells".to_owned(), tells),
        ]
    };
    let alive = WorkerState::Working;
    assert_eq!(states(), both(alive, alive));
    clock.step(-HOUR);
    assert_eq!(states(), both(WorkerState::Lost, WorkerState::Lost));
    clock.step(HOUR);
    assert_eq!(states(), both(alive, alive));
}
