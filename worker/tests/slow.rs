//! Large leads over slow links, and servers that allow only short replies.
//!
//! Each amount is chosen so that a fixed reply size against a fixed deadline never gets through: a
//! failure is a test that never ends, not one that is slow.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_shared::config::RedisArgs;
use bridge_shared::store::Store;
use bridge_shared::store::dead_letters::DeadLetter;
use bytes::Bytes;
use common::proxy::Proxy;
use common::proxy::scripts::Scripts;
use common::{Bridge, NOOP, Reply, Service, Worker};
use tokio::runtime::Runtime;

/// Bytes a second of a slow link.
const SLOW: u64 = 450_000;
/// Eight leads of this size take 12 s over a slow link: no reply that holds them comes within 10 s.
const LARGE: usize = 700_000;
/// Longer than any of these takes on a busy machine.
const LONG: Duration = Duration::from_secs(150);

fn narrow(bridge: &Bridge) -> Proxy {
    let proxy = Proxy::start(bridge.redis.port(), "", Arc::new(Scripts::new(None)));
    proxy.narrow(SLOW);
    proxy
}

fn push(bridge: &Bridge, leads: usize, bytes: usize) {
    let notes = "x".repeat(bytes);
    for n in 0..leads {
        bridge.push(format!(r#"{{"n":{n},"notes":"{notes}"}}"#));
    }
}

/// Waits for a condition that takes its time, and looks at another one meanwhile.
#[track_caller]
fn at_last(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "never true: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A store at the other end of a link.
fn store(url: &str) -> (Runtime, Store) {
    let runtime = Runtime::new().expect("a runtime");
    let args = RedisArgs::of(url, ["leads_to_enrich", "failed_leads", "enriched_leads"]);
    let store = {
        let _inside = runtime.enter();
        Store::new(&args).expect("a store")
    };
    (runtime, store)
}

#[test]
fn large_leads_get_through_a_slow_link_and_the_lease_is_kept() {
    let bridge = Bridge::start();
    let proxy = narrow(&bridge);
    push(&bridge, 8, LARGE);
    let route = bridge.route(NOOP);
    let flags = ["--pipeline", &route, "--concurrency", "50"];
    let worker = Worker::start(&proxy.url(), &bridge.log(), &flags);
    at_last("all are done", || bridge.done() == 8);
    at_last("nothing is in flight", || bridge.in_flight() == 0);
    let log = worker.log();
    assert!(!log.contains("lease"), "the lease was lost: {log}");
    assert_eq!(
        (bridge.stat("recovered"), bridge.stat("lease_lost")),
        (0, 0)
    );
}

/// Ends each connection whose replies wait for more bytes than this.
fn limit_replies(bridge: &Bridge, bytes: usize) {
    let limit = format!("normal {bytes} {bytes} 0");
    let set: &[&[u8]] = &[b"CONFIG", b"SET", b"client-output-buffer-limit"];
    let _: () = bridge.run(&[set, &[limit.as_bytes()]].concat());
}

#[test]
fn a_server_that_allows_only_short_replies_is_asked_for_less_and_no_slot_is_overbooked() {
    let bridge = Bridge::start();
    push(&bridge, 200, 100_000);
    limit_replies(&bridge, 3_000_000);
    let service = Service::quiet(|_, _| Reply::ok().after(30));
    let worker = bridge.worker_with(&service, &["--concurrency", "50"]);
    let mut most = 0;
    at_last("all are done", || {
        most = most.max(bridge.in_flight());
        bridge.done() == 200
    });
    assert!(most <= 50, "{most} leads in flight with 50 slots");
    at_last("nothing is in flight", || bridge.in_flight() == 0);
    let log = worker.log();
    assert!(log.contains("client-output-buffer-limit"), "{log}");
    assert!(!log.contains("Is it running?"), "{log}");
    assert_eq!(
        (bridge.stat("recovered"), bridge.stat("lease_lost")),
        (0, 0)
    );
}

#[test]
fn a_lead_larger_than_any_reply_the_server_allows_is_read_in_parts() {
    let bridge = Bridge::start();
    push(&bridge, 5, 10);
    push(&bridge, 1, LARGE);
    push(&bridge, 20, 10);
    limit_replies(&bridge, 300_000);
    let _worker = bridge.worker(&["--concurrency", "50"]);
    at_last("all are done", || bridge.done() == 26);
    at_last("nothing is in flight", || bridge.in_flight() == 0);
    limit_replies(&bridge, 0);
    let notes = "x".repeat(LARGE);
    let leads = bridge.enriched();
    assert_eq!(
        leads.iter().filter(|lead| lead["notes"] == notes).count(),
        1
    );
}

#[test]
fn whole_batches_get_smaller_where_the_server_allows_only_short_replies() {
    let bridge = Bridge::start();
    push(&bridge, 3_000, 12_000);
    limit_replies(&bridge, 800_000);
    let _worker = bridge.worker(&["--concurrency", "50"]);
    at_last("all are done", || bridge.done() == 3_000);
    at_last("nothing is in flight", || bridge.in_flight() == 0);
}

#[test]
fn the_leads_of_a_dead_worker_get_through_a_slow_link() {
    let bridge = Bridge::start();
    push(&bridge, 8, LARGE);
    let service = Service::quiet(|_, _| Reply::ok().after(600_000));
    let flags = ["--lease-seconds", "1", "--concurrency", "8"];
    let victim = bridge.worker_with(&service, &flags);
    at_last("the victim has them", || bridge.in_flight() == 8);
    victim.signal("KILL");
    let proxy = narrow(&bridge);
    let route = bridge.route(NOOP);
    let flags = ["--pipeline", &route, "--lease-seconds", "3"];
    let _heir = Worker::start(&proxy.url(), &bridge.log(), &flags);
    at_last("all are done", || bridge.done() == 8);
    at_last("nothing is in flight", || bridge.in_flight() == 0);
    assert_eq!(bridge.stat("recovered"), 8);
}

#[test]
fn large_leads_are_pushed_and_dead_letters_read_over_a_slow_link() {
    let bridge = Bridge::start();
    let proxy = narrow(&bridge);
    let (runtime, store) = store(&proxy.url());
    let notes = "x".repeat(LARGE);
    let lead = |n| Bytes::from(format!(r#"{{"n":{n},"notes":"{notes}"}}"#));
    let leads: Vec<Bytes> = (0..8).map(lead).collect();
    for lead in &leads {
        let _: u64 = bridge.run(&[b"LPUSH", b"failed_leads", lead]);
    }
    let begun = Instant::now();
    let (pushed, read, beside) = runtime.block_on(async {
        tokio::join!(
            store.push("run", 1, &leads),
            store.dead_window(0, 8),
            // What an operator looks at does not wait for the rest.
            async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let before = Instant::now();
                store.snapshot().await.expect("figures");
                before.elapsed()
            }
        )
    });
    assert_eq!(pushed.expect("pushed"), 8);
    let (total, letters) = read.expect("read");
    assert_eq!((total, letters.len()), (8, 8));
    assert!(letters.iter().all(DeadLetter::is_whole));
    assert!(begun.elapsed() > Duration::from_secs(10), "a slow link");
    assert!(beside < Duration::from_secs(5), "{beside:?}");
}
