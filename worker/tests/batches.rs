//! Leads that are over at once go by whole batches, which no script looks into: nothing is lost or
//! doubled there either.

mod common;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bridge_shared::envelope::Envelope;
use bridge_shared::event::{EventBatch, EventKind};
use common::proxy::scripts::Scripts;
use common::proxy::{Cut, Proxy};
use common::{Bridge, NOOP, Reply, Service, Worker, eventually};
use serde_json::Value;

const LEADS: usize = 20_000;
/// Leads of a batch at most.
const BATCH: usize = 512;

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

/// A route on which slow leads wait for a service, and the others for nothing.
fn slow_route(bridge: &Bridge, service: &Service) -> String {
    bridge.route(&format!(
        "default_pipeline = \"test\"\n[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\nwhen = \"slow\"\n",
        service.url
    ))
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
    assert!(batches > LEADS / BATCH / 2, "{batches} batches");
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
fn a_batch_that_comes_late_is_not_taken_for_the_one_in_its_place() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    let route = slow_route(&bridge, &service);
    let proxy = Proxy::start(bridge.redis.port(), "", Arc::new(Scripts::new(None)));
    proxy.trap("batch", Cut::BehindNext);
    let flags = ["--pipeline", &route, "--concurrency", "8"];
    let worker = Worker::start(&proxy.url(), &bridge.log(), &flags);
    push(&bridge, (0..LEADS).map(numbered));
    let mut leads = LEADS;
    eventually("a batch is asked for", || proxy.has_stray());
    eventually("it comes right behind another one of its lane", || {
        let is_over = bridge.waiting() + bridge.in_flight() == 0;
        if is_over && proxy.has_stray() {
            // At once, so that they go by batches again; in what comes late are some that wait,
            // and so its leads are recorded one by one, by their numbers.
            let slow = |n: usize| {
                format!(
                    r#"{{"n":{},"slow":{}}}"#,
                    leads + n,
                    n > 200 && n.is_multiple_of(32)
                )
            };
            push(&bridge, (0..1_000).map(slow));
            leads += 1_000;
        }
        !proxy.has_stray()
    });
    eventually("all are done", || {
        bridge.done() >= leads && bridge.in_flight() == 0
    });
    each_is_done_once(&bridge, leads);
    let entries: Vec<(String, HashMap<String, String>)> = bridge.redis("XRANGE enriched_leads - +");
    let ids: HashSet<&String> = entries.iter().map(|(_, entry)| &entry["id"]).collect();
    assert_eq!(ids.len(), leads, "each has an id of its own");
    assert!(worker.log().contains("opened before it could be read"));
}

/// Adds the user of `assets/acl` that a worker is to be, without one of its rights where so asked,
/// and returns its URL.
fn user_of_a_worker(bridge: &Bridge, without: &str) -> String {
    let shipped = include_str!("../../assets/acl/worker.acl").trim();
    let shipped = shipped.replacen(without, "", 1);
    let rights = shipped.strip_prefix("user ").expect("a user");
    let () = bridge.redis(&format!("ACL SETUSER {rights} on >pass"));
    format!(
        "redis://bridge-worker:pass@127.0.0.1:{}/0",
        bridge.redis.port()
    )
}

/// Somebody puts something else in the place of a key while a worker that has no more rights than
/// it needs has a batch in hand.
#[track_caller]
fn what_is_refused_goes_back(key: &str, lead: fn(usize) -> String) -> Bridge {
    let bridge = Bridge::start();
    let url = user_of_a_worker(&bridge, "");
    push(&bridge, (0..LEADS).map(lead));
    let route = bridge.route(NOOP);
    let worker = Worker::start(&url, &bridge.log(), &["--pipeline", &route]);
    freeze_with_a_batch(&bridge, &worker);
    let () = bridge.redis(&format!("RENAME {key} kept"));
    let () = bridge.redis(&format!("SET {key} x"));
    worker.signal("CONT");
    eventually("it is told", || {
        worker.log().contains(&format!("{key} is a string"))
    });
    let () = bridge.redis(&format!("RENAME kept {key}"));
    eventually("all are through", || {
        bridge.done() + bridge.dead() >= LEADS && bridge.in_flight() == 0 && bridge.waiting() == 0
    });
    bridge
}

#[test]
fn what_cannot_be_written_to_the_stream_goes_back_to_the_line() {
    let bridge = what_is_refused_goes_back("enriched_leads", numbered);
    each_came_out_once(&bridge, LEADS);
    assert_eq!(bridge.stat("done"), LEADS);
}

#[test]
fn what_cannot_be_written_to_the_dead_letters_goes_back_and_the_rest_of_its_batch_is_recorded() {
    let odd_is_no_lead = |n: usize| {
        if n % 2 == 1 {
            format!("no lead {n}")
        } else {
            numbered(n)
        }
    };
    let bridge = what_is_refused_goes_back("failed_leads", odd_is_no_lead);
    let dead: HashSet<String> = bridge
        .dead_letters()
        .iter()
        .map(|letter| letter["lead"].to_string())
        .collect();
    assert_eq!((bridge.dead(), dead.len()), (LEADS / 2, LEADS / 2));
    assert_eq!(bridge.stat("dead"), LEADS / 2);
    each_came_out_once(&bridge, LEADS / 2);
}

#[test]
fn a_user_who_may_not_silence_redis_works_by_batches_and_one_who_may_not_record_them_without() {
    for (right, by_batches) in [
        (" +client|reply", true),
        (" +eval", false),
        (" +del", false),
    ] {
        let bridge = Bridge::start();
        let url = user_of_a_worker(&bridge, right);
        push(&bridge, (0..LEADS).map(numbered));
        let route = bridge.route(NOOP);
        let worker = Worker::start(&url, &bridge.log(), &["--pipeline", &route]);
        eventually("all are done", || {
            bridge.done() >= LEADS && bridge.in_flight() == 0
        });
        each_is_done_once(&bridge, LEADS);
        let batches = calls(&bridge, "sort");
        assert_eq!(batches > LEADS / BATCH / 2, by_batches, "{batches}");
        let told = worker.log().contains("goes on without batches");
        assert_eq!(told, !by_batches, "{}", worker.log());
    }
}

#[test]
fn suspects_in_the_batches_of_two_lanes_do_not_wait_for_each_other_in_the_last_slot() {
    let bridge = Bridge::start();
    let lead = |n: usize| {
        // In two batches next to each other, which mostly are in hand together.
        if n % 4_000 != 3_000 && n % 4_000 != 3_000 + BATCH {
            return numbered(n);
        }
        // Two workers died with it.
        let mut envelope = Envelope::new(format!("suspect-{n}"), numbered(n).into(), None);
        envelope.deaths = 2;
        String::from_utf8(envelope.encode().to_vec()).expect("JSON")
    };
    let _worker = bridge.worker(&["--concurrency", "1"]);
    let mut leads = 0;
    eventually("two suspects stand beside each other", || {
        let stood = bridge.stat("postponed") > 0;
        if !stood && bridge.done() == leads {
            push(&bridge, (leads..leads + 4_000).map(lead));
            leads += 4_000;
        }
        stood
    });
    eventually("all are done", || {
        bridge.done() >= leads && bridge.in_flight() == 0
    });
    each_is_done_once(&bridge, leads);
    assert!(calls(&bridge, "sort") > leads / BATCH / 2, "by batches");
}

#[test]
fn a_batch_of_which_one_has_to_wait_is_recorded_one_by_one() {
    let bridge = Bridge::start();
    let service = Service::start(|_, before| match before {
        0 => Reply::status(500),
        _ => Reply::ok().after(5),
    });
    let route = slow_route(&bridge, &service);
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
fn large_leads_go_one_by_one_and_small_ones_by_batches_none_far_from_its_place() {
    const LEADS: usize = 6_000;
    let bridge = Bridge::start();
    let text = "x".repeat(100_000);
    // Alone, every other one, and many in a row; between them room enough that batches are tried again.
    let is_large = |n: usize| {
        n % 500 == 333 || ((2_000..2_100).contains(&n) && n % 2 == 1) || (4_000..4_050).contains(&n)
    };
    let lead = |n: usize| {
        if is_large(n) {
            format!(r#"{{"n":{n},"text":"{text}"}}"#)
        } else {
            numbered(n)
        }
    };
    for n in (0..LEADS).step_by(500) {
        push(&bridge, (n..n + 500).map(lead));
    }
    let _worker = bridge.worker(&[]);
    eventually("all are done", || {
        bridge.done() >= LEADS && bridge.in_flight() == 0
    });
    each_is_done_once(&bridge, LEADS);
    let done: Vec<usize> = bridge.enriched().iter().map(number).collect();
    let places = done.iter().enumerate();
    let far = places.map(|(place, n)| place.abs_diff(*n)).max();
    // Two batches; two more where what came one by one before them was still being recorded.
    assert!(far <= Some(4 * BATCH), "{far:?}");
    let batches = calls(&bridge, "sort");
    assert!(batches > 2, "{batches} batches");
}

#[test]
fn a_worker_whose_leads_compute_for_long_keeps_its_lease() {
    const LEADS: usize = 60;
    let bridge = Bridge::start();
    let choices: Vec<String> = (0..1_000).map(|n| format!(r#"{{"const":{n}}}"#)).collect();
    let schema = format!(
        r#"{{"properties":{{"list":{{"items":{{"anyOf":[{},{{"type":"string"}}]}}}}}}}}"#,
        choices.join(",")
    );
    let route = bridge.route(&format!(
        "default_pipeline = \"test\"\n[[pipelines.test.stations]]\nkind = \"validate\"\nname = \"check\"\nschema = '{schema}'\n"
    ));
    let list = vec!["\"x\""; 2_000].join(",");
    push(
        &bridge,
        (0..LEADS).map(|n| format!(r#"{{"n":{n},"list":[{list}]}}"#)),
    );
    let flags = ["--pipeline", &route, "--lease-seconds", "2"];
    let _worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("all are done", || {
        let leases: Vec<(String, f64)> =
            bridge.redis("ZRANGE leads_to_enrich:workers 0 -1 WITHSCORES");
        let (seconds, micros): (f64, f64) = bridge.redis("TIME");
        let now = seconds * 1_000.0 + micros / 1_000.0;
        assert!(
            leases.iter().all(|(_, until)| *until > now),
            "{leases:?} at {now}"
        );
        bridge.stat("done") == LEADS
    });
    each_is_done_once(&bridge, LEADS);
}
