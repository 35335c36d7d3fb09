//! What happens when something dies, stops or goes away.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::proxy::Proxy;
use common::proxy::scripts::Scripts;
use common::{Bridge, NOOP, Reply, Service, Worker, eventually};
use serde_json::json;

/// A lease as short as it may be.
const SHORT: &[&str] = &["--lease-seconds", "1"];

fn with<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [SHORT, flags].concat()
}

#[test]
fn a_killed_worker_loses_nothing_and_doubles_nothing() {
    let bridge = Bridge::start();
    let service = Service::start(|_, before| {
        if before == 0 {
            Reply::ok().after(400)
        } else {
            Reply::ok()
        }
    });
    bridge.push_numbered(30);
    let victim = bridge.worker_with(&service, &with(&["--concurrency", "10"]));
    eventually("the victim is at work", || {
        !service.requests().is_empty() && bridge.in_flight() > 0
    });
    victim.signal("KILL");
    let held = bridge.in_flight();
    let heir = bridge.worker_with(&service, &with(&[]));
    eventually("all are done", || bridge.done() >= 30);
    eventually("nothing is in flight", || bridge.in_flight() == 0);

    let mut times = HashMap::new();
    for lead in bridge.enriched() {
        *times.entry(lead["n"].as_u64()).or_insert(0) += 1;
    }
    assert!(
        times.len() == 30 && times.values().all(|n| *n == 1),
        "each exactly once: {times:?}"
    );
    assert_eq!(bridge.stat("recovered"), held);
    assert_eq!((bridge.waiting(), bridge.dead(), bridge.retry()), (0, 0, 0));
    eventually("only the heir is registered", || {
        bridge.workers().len() == 1
    });
    // The same lead comes with the same key, whoever works on it.
    let mut keys: HashMap<u64, Vec<String>> = HashMap::new();
    for request in service.requests() {
        keys.entry(request.lead["n"].as_u64().expect("a number"))
            .or_default()
            .push(request.key);
    }
    assert!(
        keys.values()
            .all(|keys| keys.windows(2).all(|pair| pair[0] == pair[1]))
    );
    drop((victim, heir));
}

#[test]
fn a_worker_whose_connections_went_silent_comes_back_over_new_ones() {
    let bridge = Bridge::start();
    let scripts = Arc::new(Scripts::new(None));
    let proxy = Proxy::start(bridge.redis.port(), "", scripts);
    let route = bridge.route(NOOP);
    let flags = with(&["--pipeline", &route]);
    let _worker = Worker::start(&proxy.url(), &bridge.log(), &flags);
    bridge.push(r#"{"n":1}"#);
    eventually("the first lead is done", || bridge.done() == 1);
    proxy.pull_the_cable();
    bridge.push(r#"{"n":2}"#);
    eventually("the second lead is done too", || bridge.done() == 2);
    eventually("the worker is registered", || bridge.workers().len() == 1);
}

#[test]
fn a_lead_that_waits_for_its_turn_is_not_started_again_after_a_broken_connection() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    let route = bridge.route(&format!(
        "[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\nrate = \"8/m\"\n",
        service.url
    ));
    bridge.push_numbered(2);
    let flags = ["--pipeline", &route, "--lead-timeout", "1"];
    let worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("one is done, and one waits for more than 7 s", || {
        (bridge.done(), bridge.in_flight()) == (1, 1)
    });
    let _: usize = bridge.redis("CLIENT KILL TYPE normal SKIPME yes");
    eventually("both are done", || bridge.done() == 2);
    eventually("nothing is in hand", || bridge.in_flight() == 0);
    assert!(!worker.log().contains("has forgotten"), "{}", worker.log());
    assert_eq!(
        (
            bridge.stat("postponed"),
            bridge.stat("lease_lost"),
            bridge.retry()
        ),
        (0, 0, 0)
    );
    assert_eq!(service.requests().len(), 2);
}

#[test]
fn leads_are_back_in_work_within_fifteen_seconds_of_a_death_at_the_default_lease() {
    let bridge = Bridge::start();
    let service = Service::start(|_, before| {
        if before == 0 {
            Reply::ok().after(60_000)
        } else {
            Reply::ok()
        }
    });
    let victim = bridge.worker_with(&service, &[]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the victim is at work", || service.requests().len() == 1);
    let _heir = bridge.worker_with(&service, &[]);
    eventually("both are registered", || bridge.workers().len() == 2);
    victim.signal("KILL");
    let death = Instant::now();
    eventually("the lead is tried again", || service.requests().len() == 2);
    let took = service.requests()[1].at - death;
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_worker_that_was_frozen_past_its_lease_finds_its_results_dropped() {
    let bridge = Bridge::start();
    let service = Service::start(|_, before| {
        if before == 0 {
            Reply::ok().after(500)
        } else {
            Reply::ok()
        }
    });
    let frozen = bridge.worker_with(&service, SHORT);
    bridge.push(r#"{"name":"Ada","n":1}"#);
    eventually("the lead is in hand", || service.requests().len() == 1);
    frozen.signal("STOP");
    let _other = bridge.worker_with(&service, SHORT);
    eventually("the other one has done it", || bridge.done() == 1);
    frozen.signal("CONT");
    eventually("the late result is dropped", || {
        bridge.stat("lease_lost") == 1
    });
    assert_eq!((bridge.done(), bridge.stat("done")), (1, 1));
    // And it is a worker again.
    eventually("both are registered", || bridge.workers().len() == 2);
}

#[test]
fn who_comes_back_first_from_an_outage_takes_nothing_from_the_others() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(7_000));
    let flags = ["--lease-seconds", "2", "--concurrency", "1"];
    let _workers: Vec<Worker> = (0..3)
        .map(|_| bridge.worker_with(&service, &flags))
        .collect();
    bridge.push_numbered(3);
    eventually("each has one in hand", || service.requests().len() == 3);
    // No lease can be renewed for longer than one lasts.
    let _: () = bridge.redis("CONFIG SET maxmemory 1");
    std::thread::sleep(Duration::from_millis(3_500));
    let _: () = bridge.redis("CONFIG SET maxmemory 0");
    eventually("all are done", || bridge.done() == 3);
    assert_eq!(
        (bridge.stat("recovered"), bridge.stat("lease_lost")),
        (0, 0)
    );
    assert_eq!(service.requests().len(), 3);
}

#[test]
fn a_lead_whose_workers_die_three_times_is_poison() {
    let bridge = Bridge::start();
    let service = Service::start(|request, _| {
        if request.lead["name"] == "deadly" {
            Reply::ok().after(60_000)
        } else {
            Reply::ok()
        }
    });
    bridge.push(r#"{"name":"deadly"}"#);
    for death in 1..=3 {
        let worker = bridge.worker_with(&service, SHORT);
        eventually("the deadly lead is in hand", || {
            service.requests().len() == death
        });
        worker.signal("KILL");
        drop(worker);
    }
    bridge.push(r#"{"name":"harmless"}"#);
    let _worker = bridge.worker_with(&service, SHORT);
    eventually("the deadly one is dead and the other done", || {
        bridge.dead() == 1 && bridge.done() == 1
    });
    let dead = &bridge.dead_letters()[0];
    assert_eq!(
        (&dead["error_kind"], &dead["deaths"]),
        (&json!("poison"), &json!(3))
    );
    assert_eq!(dead["attempts"].as_array().expect("a history").len(), 3);
    assert_eq!(dead["lead"], json!({"name":"deadly"}));
}

#[test]
fn a_lead_in_hand_that_nobody_works_on_is_found() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(&[]);
    eventually("it is registered", || bridge.workers().len() == 1);
    // As when the network brings a fetch long after the worker has given up its answer.
    let hand = format!("leads_to_enrich:active:{}", bridge.workers()[0]);
    let _: usize = bridge.run(&[b"HSET", hand.as_bytes(), b"0", br#"{"n":1}"#]);
    eventually("it is done", || bridge.done() == 1);
    assert_eq!(bridge.in_flight(), 0);
}

#[test]
fn sigterm_finishes_what_is_in_hand_and_takes_no_more() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(400));
    bridge.push_numbered(20);
    let mut worker = bridge.worker_with(&service, &["--concurrency", "5"]);
    eventually("five are in hand", || service.requests().len() == 5);
    worker.signal("TERM");
    assert!(worker.wait().success());
    assert_eq!(
        (bridge.done(), bridge.waiting(), bridge.in_flight()),
        (5, 15, 0)
    );
    assert!(bridge.workers().is_empty(), "it has said goodbye");
}

#[test]
fn what_takes_longer_than_the_shutdown_timeout_is_given_back_unharmed() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(60_000));
    bridge.push_numbered(6);
    let mut worker = bridge.worker_with(
        &service,
        &["--concurrency", "4", "--shutdown-timeout", "0.2"],
    );
    eventually("four are in hand", || service.requests().len() == 4);
    worker.signal("INT");
    assert!(worker.wait().success());
    assert_eq!(
        (
            bridge.waiting(),
            bridge.in_flight(),
            bridge.done(),
            bridge.dead()
        ),
        (6, 0, 0, 0)
    );
    assert!(bridge.workers().is_empty());
    let log = worker.log();
    assert!(log.contains("\"finished\":0"), "none was: {log}");

    let service = Service::start(|_, _| Reply::ok());
    let _next = bridge.worker_with(&service, &["--concurrency", "1"]);
    eventually("all are done", || bridge.done() == 6);
    let order: Vec<u64> = bridge
        .enriched()
        .iter()
        .filter_map(|lead| lead["n"].as_u64())
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5], "the oldest is still first");
    assert_eq!(bridge.stat("retried"), 0, "giving back costs no retry");
}

#[test]
fn a_pause_is_honoured_and_ended_within_a_second() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(&[]);
    eventually("it is registered", || bridge.workers().len() == 1);
    let _: () = bridge.redis("SET leads_to_enrich:paused test");
    // Honoured at once by the fetch itself; the heartbeat is only how an idle worker hears of it.
    bridge.push_numbered(10);
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!((bridge.waiting(), bridge.done()), (10, 0));
    let _: () = bridge.redis("DEL leads_to_enrich:paused");
    let resumed = Instant::now();
    eventually("all are done", || bridge.done() == 10);
    assert!(
        resumed.elapsed() < Duration::from_secs(5),
        "{:?}",
        resumed.elapsed()
    );
}

#[test]
fn two_workers_share_the_load() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(20));
    bridge.push_numbered(100);
    let flags = ["--concurrency", "2"];
    let _workers = [
        bridge.worker_with(&service, &flags),
        bridge.worker_with(&service, &flags),
    ];
    eventually("all are done", || bridge.done() == 100);
    eventually("the heartbeats have told", || {
        let info: HashMap<String, String> = bridge.redis("HGETALL leads_to_enrich:workers:info");
        let finished: Vec<u64> = info
            .values()
            .filter_map(|text| {
                serde_json::from_str::<serde_json::Value>(text).ok()?["finished"].as_u64()
            })
            .collect();
        finished.iter().sum::<u64>() == 100 && finished.iter().all(|n| *n >= 10)
    });
}

#[test]
fn redis_may_go_away_and_come_back() {
    let mut bridge = Bridge::with_redis(&["--appendonly", "yes", "--appendfsync", "always"]);
    let service = Service::start(|_, _| Reply::ok().after(10));
    let mut worker = bridge.worker_with(&service, &with(&["--concurrency", "8"]));
    bridge.push_numbered(300);
    for round in 1..=2 {
        eventually("some are done", || bridge.done() > 60 * round);
        bridge.restart_redis();
    }
    eventually("all are done", || {
        bridge.done() >= 300 && bridge.in_flight() == 0
    });
    assert!(!worker.has_ended());
    let mut times = HashMap::new();
    for lead in bridge.enriched() {
        *times.entry(lead["n"].as_u64()).or_insert(0) += 1;
    }
    assert!(
        times.len() == 300 && times.values().all(|n| *n == 1),
        "each exactly once: {times:?}"
    );
    assert_eq!((bridge.waiting(), bridge.dead(), bridge.retry()), (0, 0, 0));
}

#[test]
fn a_worker_waits_for_a_redis_that_is_not_there_yet() {
    let mut bridge = Bridge::start();
    let log = bridge.log();
    bridge.redis.kill();
    let mut worker = Worker::start(&bridge.redis.url(), &log, &[]);
    eventually("it says what it waits for", || {
        worker.log().contains("connection refused")
    });
    assert!(!worker.has_ended());
    bridge.restart_redis();
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    worker.signal("TERM");
    assert!(worker.wait().success());
}

#[test]
fn a_user_who_may_not_silence_the_server_waits_all_the_same_and_is_told_nothing() {
    let bridge = Bridge::start();
    let () = bridge.redis("ACL SETUSER default -client|reply");
    let worker = bridge.worker(&[]);
    for n in 1..=5 {
        bridge.push(r#"{"name":"Ada"}"#);
        eventually("the lead is done", || bridge.done() == n);
    }
    let log = worker.log();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn a_user_who_may_not_wait_looks_for_leads_instead_and_is_told_once() {
    let bridge = Bridge::start();
    let () = bridge.redis("ACL SETUSER default -blmove");
    let worker = bridge.worker(&[]);
    let told = || {
        worker
            .log()
            .matches("may not BLMOVE leads_to_enrich")
            .count()
    };
    eventually("it is told", || told() > 0);
    for n in 1..=3 {
        bridge.push(r#"{"name":"Ada"}"#);
        eventually("the lead is done", || bridge.done() == n);
    }
    assert_eq!(told(), 1, "{}", worker.log());
    // Of a wait that was refused it is known that it took nothing: no lead is looked for in hand.
    let calls: String = bridge.redis("INFO commandstats");
    // The search for leads without a worker asks once a lease.
    let asked = calls.split("cmdstat_hget:calls=").nth(1);
    let asked = asked.and_then(|calls| calls.split(',').next()?.parse::<u32>().ok());
    assert!(
        !calls.contains("cmdstat_hmget") && asked.unwrap_or(0) <= 4,
        "{calls}"
    );
}

#[test]
fn a_worker_can_be_stopped_while_redis_is_away() {
    let mut bridge = Bridge::start();
    let mut worker = bridge.worker(&["--shutdown-timeout", "0.2"]);
    eventually("it is registered", || bridge.workers().len() == 1);
    bridge.redis.kill();
    worker.signal("TERM");
    assert!(worker.wait().success());
}

#[test]
fn no_key_is_left_without_an_owner_or_an_end() {
    let bridge = Bridge::start();
    let service = Service::start(|request, _| {
        if request.lead["n"] == 1 {
            Reply::status(400)
        } else {
            Reply::ok()
        }
    });
    bridge.push_numbered(20);
    let mut worker = bridge.worker_with(&service, &[]);
    eventually("all are done", || bridge.done() == 19 && bridge.dead() == 1);
    worker.signal("TERM");
    assert!(worker.wait().success());
    let mut keys: Vec<String> = bridge.redis("KEYS *");
    keys.sort();
    let (minutes, keys): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| {
        key.starts_with("leads_to_enrich:stats:") || key.starts_with("leads_to_enrich:stations:")
    });
    assert_eq!(
        keys,
        ["enriched_leads", "failed_leads", "leads_to_enrich:stats"]
    );
    for minute in minutes {
        let left: i64 = bridge.redis(&format!("TTL {minute}"));
        assert!(
            (80_000..=90_000).contains(&left),
            "{minute} ends in {left} s"
        );
    }
}
