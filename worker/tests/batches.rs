//! Leads that are over at once go by whole batches, which no script looks into: nothing is lost or
//! doubled there either.

mod common;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bridge_shared::event::{EventBatch, EventKind};
use common::{Bridge, Reply, Service, Worker, eventually};
use serde_json::Value;

const LEADS: usize = 20_000;

/// Pushes numbered leads in a few commands.
fn push(bridge: &Bridge, leads: impl Iterator<Item = String>) {
    let leads: Vec<String> = leads.collect();
    for leads in leads.chunks(5_000) {
        let words = [&b"LPUSH"[..], b"leads_to_enrich"].into_iter();
        let words: Vec<&[u8]> = words.chain(leads.iter().map(String::as_bytes)).collect();
        let _: u64 = bridge.run(&words);
    }
}

fn numbered(n: usize) -> String {
    format!(r#"{{"n":{n}}}"#)
}

fn number(lead: &Value) -> usize {
    usize::try_from(lead["n"].as_u64().expect("a number")).expect("a small one")
}

#[track_caller]
fn each_came_out_once(bridge: &Bridge, leads: usize) {
    let done: Vec<usize> = bridge.enriched().iter().map(number).collect();
    let different: HashSet<usize> = done.iter().copied().collect();
    assert_eq!((done.len(), different.len()), (leads, leads));
}

/// And the figures say so.
#[track_caller]
fn each_is_done_once(bridge: &Bridge, leads: usize) {
    each_came_out_once(bridge, leads);
    assert_eq!(bridge.stat("done"), leads);
    assert_eq!(
        (bridge.waiting(), bridge.retry(), bridge.in_flight()),
        (0, 0, 0)
    );
}

/// How often a command was carried out.
fn calls(bridge: &Bridge, command: &str) -> usize {
    let stats: String = bridge.redis("INFO commandstats");
    let line = format!("cmdstat_{command}:calls=");
    let calls = stats
        .split(&line)
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a number"))
}

/// Stops a worker while it has a whole batch in hand.
fn freeze_with_a_batch(bridge: &Bridge, worker: &Worker) -> String {
    let mut key = String::new();
    eventually("the worker stands still with a batch in hand", || {
        worker.signal("STOP");
        // What it has sent is carried out before this.
        let keys: Vec<String> = bridge.redis("KEYS leads_to_enrich:active:*:?");
        if let Some(found) = keys.first() {
            key.clone_from(found);
            return true;
        }
        worker.signal("CONT");
        std::thread::sleep(Duration::from_millis(1));
        false
    });
    key
}

#[test]
fn whole_batches_are_recorded_and_every_lead_is_told_of() {
    let bridge = Bridge::start();
    let mut connection = common::connect(&bridge.redis);
    let mut pubsub = common::listen(&mut connection);
    // Every hundredth is no lead, and dead at once.
    let lead = |n: usize| {
        if n % 100 == 7 {
            format!("no lead {n}")
        } else {
            numbered(n)
        }
    };
    let mut told = HashMap::new();
    let mut hear = |told: &mut HashMap<EventKind, usize>| {
        let message = pubsub.get_message().expect("a message in time");
        let batch = EventBatch::decode(message.get_payload_bytes()).expect("events");
        for event in batch.events {
            *told.entry(event.event).or_insert(0) += 1;
        }
        told.get(&EventKind::Succeeded).unwrap_or(&0) + told.get(&EventKind::Dead).unwrap_or(&0)
    };
    let _worker = bridge.worker(&[]);
    // With the first of them the worker learns that somebody listens.
    push(&bridge, (0..1).map(lead));
    while hear(&mut told) < 1 {}
    push(&bridge, (1..LEADS).map(lead));
    while hear(&mut told) < LEADS {}
    let dead = LEADS / 100;
    assert_eq!(told[&EventKind::Received], LEADS);
    assert_eq!(told[&EventKind::Dead], dead);
    // Two batches next to each other may be recorded in either order.
    let mut done: Vec<usize> = bridge.enriched().iter().map(number).collect();
    done.sort_unstable();
    let expected: Vec<usize> = (0..LEADS).filter(|n| n % 100 != 7).collect();
    assert_eq!(done, expected);
    assert_eq!(bridge.dead(), dead);
    assert_eq!(
        (bridge.stat("received"), bridge.stat("dead")),
        (LEADS, dead)
    );
    assert_eq!(bridge.stat("done"), LEADS - dead);
    assert_eq!(bridge.in_flight(), 0);
    let batches = calls(&bridge, "sort");
    assert!(batches > LEADS / 128 / 2, "{batches} batches");
}

#[test]
fn a_batch_of_a_worker_that_is_killed_is_worked_on_by_another_one() {
    let bridge = Bridge::start();
    push(&bridge, (0..LEADS).map(numbered));
    let flags = ["--lease-seconds", "1"];
    let mut first = bridge.worker(&flags);
    freeze_with_a_batch(&bridge, &first);
    let in_hand = bridge.in_flight();
    first.signal("KILL");
    first.wait();
    let _second = bridge.worker(&flags);
    eventually("all are done", || {
        bridge.done() >= LEADS && bridge.in_flight() == 0
    });
    each_is_done_once(&bridge, LEADS);
    assert_eq!(bridge.stat("recovered"), in_hand);
    eventually("the dead one is off the register", || {
        bridge.workers().len() == 1
    });
}

#[test]
fn a_worker_that_slept_through_its_lease_records_nothing_of_its_batch() {
    let bridge = Bridge::start();
    push(&bridge, (0..LEADS).map(numbered));
    let flags = ["--lease-seconds", "1"];
    let first = bridge.worker(&flags);
    freeze_with_a_batch(&bridge, &first);
    let _second = bridge.worker(&flags);
    eventually("all are done", || bridge.done() >= LEADS);
    first.signal("CONT");
    push(&bridge, (LEADS..2 * LEADS).map(numbered));
    eventually("the rest is done", || {
        bridge.done() >= 2 * LEADS && bridge.in_flight() == 0
    });
    each_is_done_once(&bridge, 2 * LEADS);
    assert!(bridge.stat("recovered") > 0);
}

#[test]
fn what_cannot_be_written_down_goes_back_to_the_line() {
    let bridge = Bridge::start();
    push(&bridge, (0..LEADS).map(numbered));
    let worker = bridge.worker(&[]);
    freeze_with_a_batch(&bridge, &worker);
    // Somebody puts something else in the stream's place.
    let () = bridge.redis("RENAME enriched_leads kept");
    let () = bridge.redis("SET enriched_leads x");
    worker.signal("CONT");
    eventually("it is told", || {
        worker.log().contains("go back to the front of the line")
    });
    let () = bridge.redis("RENAME kept enriched_leads");
    eventually("all are done", || {
        bridge.done() >= LEADS && bridge.in_flight() == 0 && bridge.waiting() == 0
    });
    each_came_out_once(&bridge, LEADS);
}

#[test]
fn a_batch_of_which_one_has_to_wait_is_recorded_one_by_one() {
    let bridge = Bridge::start();
    let service = Service::start(|_, before| match before {
        0 => Reply::status(500),
        _ => Reply::ok().after(5),
    });
    let route = bridge.route(&format!(
        "default_pipeline = \"test\"\n[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\nwhen = \"slow\"\n",
        service.url
    ));
    let lead = |n: usize| format!(r#"{{"n":{n},"slow":{}}}"#, n % 700 == 699);
    push(&bridge, (0..LEADS).map(lead));
    let flags = ["--pipeline", &route, "--retry-delay-base", "0.05"];
    let _worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("all are done", || {
        bridge.done() >= LEADS && bridge.in_flight() == 0
    });
    each_is_done_once(&bridge, LEADS);
    assert!(calls(&bridge, "sort") > 20);
    assert!(calls(&bridge, "discard") > 5);
}

#[test]
fn large_leads_go_one_by_one() {
    let bridge = Bridge::start();
    let text = "x".repeat(100_000);
    let lead = |n: usize| {
        if n % 64 == 1 {
            format!(r#"{{"n":{n},"text":"{text}"}}"#)
        } else {
            numbered(n)
        }
    };
    push(&bridge, (0..2_000).map(lead));
    let _worker = bridge.worker(&[]);
    eventually("all are done", || {
        bridge.done() >= 2_000 && bridge.in_flight() == 0
    });
    each_is_done_once(&bridge, 2_000);
}
