//! Leads of workers that the register does not know, or knows wrongly: each is found, once.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_shared::event::{EventBatch, EventKind};
use common::proxy::Proxy;
use common::proxy::scripts::Scripts;
use common::{Bridge, Reply, Service, eventually};
use serde_json::{Value, json};

const SHORT: &[&str] = &["--lease-seconds", "1"];

/// A bridge with a lead in flight at a worker that was killed, and the name of that worker.
fn with_a_killed_worker(signals: &[&str]) -> (Bridge, String) {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(600_000));
    bridge.push(r#"{"n":1}"#);
    let victim = bridge.worker_with(&service, SHORT);
    eventually("it is in flight", || service.requests().len() == 1);
    let name = bridge.workers()[0].clone();
    for signal in signals {
        victim.signal(signal);
        if *signal == "TERM" {
            eventually("it says that it stops", || {
                let info: String =
                    bridge.redis(&format!("HGET leads_to_enrich:workers:info {name}"));
                info.contains(r#""draining":true"#)
            });
        }
    }
    (bridge, name)
}

#[test]
fn leads_of_a_worker_whose_registration_was_deleted_are_recovered() {
    let (bridge, name) = with_a_killed_worker(&["KILL"]);
    let _: usize = bridge.redis("DEL leads_to_enrich:workers leads_to_enrich:workers:info");
    // And a batch list whose hash is gone.
    let list = format!("leads_to_enrich:active:{name}:1");
    for n in 2..=3 {
        let lead = format!(r#"{{"n":{n}}}"#);
        let _: usize = bridge.run(&[b"RPUSH", list.as_bytes(), lead.as_bytes()]);
    }
    let _heir = bridge.worker(SHORT);
    eventually("all are done", || bridge.done() == 3);
    eventually("nothing is left of it", || {
        let keys: Vec<String> = bridge.redis("KEYS leads_to_enrich:active:*");
        keys.is_empty() && bridge.workers().len() == 1
    });
    assert_eq!(bridge.stat("recovered"), 3);
}

#[test]
fn a_living_worker_whose_registration_was_deleted_keeps_its_leads() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(5_000));
    bridge.push(r#"{"n":1}"#);
    let worker = bridge.worker_with(&service, SHORT);
    eventually("it is in flight", || service.requests().len() == 1);
    worker.signal("STOP");
    let _: usize = bridge.redis("DEL leads_to_enrich:workers leads_to_enrich:workers:info");
    let _other = bridge.worker(SHORT);
    eventually("it is registered by the other one", || {
        bridge.workers().len() == 2
    });
    worker.signal("CONT");
    eventually("it is done", || bridge.done() == 1);
    assert_eq!(
        (bridge.stat("recovered"), bridge.stat("lease_lost")),
        (0, 0)
    );
    assert_eq!(service.requests().len(), 1);
}

#[test]
fn a_worker_that_may_not_scan_works_on_and_says_so_once() {
    let bridge = Bridge::start();
    let () = bridge.redis("ACL SETUSER default -scan");
    let worker = bridge.worker(SHORT);
    let told = || worker.log().matches("are not searched for").count();
    eventually("it says so", || told() == 1);
    bridge.push(r#"{"n":1}"#);
    eventually("it works", || bridge.done() == 1);
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    assert_eq!(told(), 1);
}

#[test]
fn a_lease_too_far_ahead_locks_no_dead_workers_leads() {
    let (bridge, name) = with_a_killed_worker(&["KILL"]);
    // As after the server's clock went back by an hour.
    let (seconds, _): (u64, u64) = bridge.redis("TIME");
    let far = (seconds + 3_600) * 1_000;
    let _: usize = bridge.redis(&format!("ZADD leads_to_enrich:workers {far} {name}"));
    let _heir = bridge.worker(SHORT);
    eventually("it is done", || bridge.done() == 1);
}

#[test]
fn a_worker_killed_while_it_stops_does_not_count_against_its_leads() {
    let (bridge, name) = with_a_killed_worker(&["TERM", "KILL"]);
    let service = Service::start(|_, _| Reply::status(400));
    let _heir = bridge.worker_with(&service, SHORT);
    eventually("it was tried again", || bridge.dead() == 1);
    let dead = &bridge.dead_letters()[0];
    assert_eq!(dead["deaths"], json!(0));
    assert_eq!(dead["attempts"][0]["worker"], json!(name));
    assert_eq!(bridge.stat("recovered"), 1);
}

#[test]
fn rubbish_in_a_dead_workers_hash_keeps_no_lead_and_is_told_once() {
    let (bridge, name) = with_a_killed_worker(&["KILL"]);
    let hash = format!("leads_to_enrich:active:{name}");
    let _: usize = bridge.run(&[
        b"HSET",
        hash.as_bytes(),
        b"x\xff",
        b"no lead",
        b"007",
        b"{}",
    ]);
    // A dead worker whose key is no hash at all.
    let _: () = bridge.redis("SET leads_to_enrich:active:w text");
    let _: usize = bridge.redis("ZADD leads_to_enrich:workers 1 w");
    let heir = bridge.worker(SHORT);
    eventually("the lead is done", || bridge.done() == 1);
    eventually("the rubbish is dead", || bridge.dead() == 2);
    eventually("both are off the register", || bridge.workers().len() == 1);
    assert_eq!(heir.log().matches("no delivery's number").count(), 1);
    let told = |line: &&str| {
        line.contains("overwritten by another program")
            && line.contains(r#""key":"leads_to_enrich:active:w""#)
            && line.contains(r#""holds":"string""#)
    };
    assert_eq!(heir.log().lines().filter(told).count(), 1, "{}", heir.log());
}

#[test]
fn thousands_of_dead_workers_without_leads_do_not_hold_up_the_others() {
    let (bridge, _) = with_a_killed_worker(&["KILL"]);
    for n in 0..3_000 {
        let _: usize = bridge.redis(&format!("ZADD leads_to_enrich:workers 1 ghost-{n}"));
    }
    let _heir = bridge.worker(SHORT);
    eventually("the lead is done", || bridge.done() == 1);
    eventually("none is left", || bridge.workers().len() == 1);
    let lost: usize = bridge.redis("HLEN leads_to_enrich:workers:lost");
    assert_eq!(lost, 100);
}

#[test]
fn a_retry_with_a_negative_or_endless_score_does_not_stop_the_others() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(SHORT);
    for (n, score) in ["-5", "-inf", "1"].into_iter().enumerate() {
        let _: usize = bridge.redis(&format!(
            r#"ZADD leads_to_enrich:retry {score} {{"n":{n}}}"#
        ));
    }
    eventually("all are done", || bridge.done() == 3);
}

#[test]
fn what_a_stopping_worker_gives_back_is_not_recovered() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(60_000));
    bridge.push(r#"{"n":1}"#);
    let mut connection = common::connect(&bridge.redis);
    let mut events = common::listen(&mut connection);
    let mut worker = bridge.worker_with(&service, &["--shutdown-timeout", "0.1"]);
    eventually("it is in flight", || service.requests().len() == 1);
    worker.signal("TERM");
    assert!(worker.wait().success());
    let is_back = |kind: &EventKind| matches!(kind, EventKind::Requeued | EventKind::Recovered);
    let mut kinds = Vec::new();
    while !kinds.iter().any(is_back) {
        let message = events.get_message().expect("it is told");
        let batch = EventBatch::decode(message.get_payload_bytes()).expect("events");
        kinds.extend(batch.events.iter().map(|event| event.event));
    }
    assert_eq!(kinds.last(), Some(&EventKind::Requeued), "{kinds:?}");
    assert!(!kinds.contains(&EventKind::Recovered), "{kinds:?}");
    assert_eq!((bridge.stat("requeued"), bridge.stat("recovered")), (1, 0));
}

/// Runs a command of the console, which `make test` builds first.
fn console(url: &str, args: &[&str]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_scrapegoat-worker")).with_file_name("bridge");
    let output = Command::new(program)
        .args(args)
        .env("REDIS_URL", url)
        .stdin(Stdio::null())
        .output()
        .expect("the console's program is built");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_status_that_cannot_search_to_the_end_in_time_says_so() {
    let (bridge, _) = with_a_killed_worker(&["KILL"]);
    let _: usize = bridge.redis("DEL leads_to_enrich:workers leads_to_enrich:workers:info");
    let fill = b"for i = 1, 50000 do redis.call('SET', 'other:' .. i, 1) end";
    let () = bridge.run(&[b"EVAL", fill, b"0"]);
    let proxy = Proxy::start(bridge.redis.port(), "", Arc::new(Scripts::new(None)));
    let minute = Duration::from_secs(60);
    proxy.slow_down(Duration::from_millis(50), minute);
    let begun = Instant::now();
    let told: Value =
        serde_json::from_str(&console(&proxy.url(), &["status", "--json"])).expect("JSON");
    assert!(begun.elapsed() < minute, "it is bounded");
    assert_eq!(told["in_flight_complete"], json!(false), "{told}");
    let note = told["in_flight_note"].as_str().unwrap_or_default();
    assert!(note.contains("did not come to its end"), "{told}");
    let said = console(&proxy.url(), &["status"]);
    assert!(
        said.contains(" or more: the search for leads of workers"),
        "{said}"
    );
    let said = console(&bridge.redis.url(), &["status"]);
    assert!(said.contains("in flight  1\n"), "{said}");
}
