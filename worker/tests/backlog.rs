//! How workers share a backlog: nobody holds what others could work on.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Bridge, Reply, Service, Worker, eventually};

/// Leads that a worker may hold beyond its free slots: one batch.
const BATCH: usize = 256;

/// Waits until so many workers wait for leads.
fn all_wait(bridge: &Bridge, workers: usize) {
    let blocked = format!("blocked_clients:{workers}\r");
    eventually("the workers wait", || {
        bridge.workers().len() == workers
            && bridge.redis::<String>("INFO clients").contains(&blocked)
    });
}

#[test]
fn five_workers_share_the_backlog_of_a_slow_route_evenly() {
    const SLOTS: usize = 4;
    const LEADS: usize = 400;
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(40));
    let slots = SLOTS.to_string();
    let _workers: Vec<Worker> = (0..5)
        .map(|_| bridge.worker_with(&service, &["--concurrency", &slots]))
        .collect();
    all_wait(&bridge, 5);
    for n in 0..LEADS {
        let lead = format!(r#"{{"name":"Lead {n}","n":{n}}}"#);
        let _: u64 = bridge.run(&[b"LPUSH", b"held_back", lead.as_bytes()]);
    }
    let () = bridge.redis("RENAME held_back leads_to_enrich");
    let mut most = 0;
    eventually("all are done", || {
        most = most.max(bridge.hands().into_iter().max().unwrap_or(0));
        bridge.done() == LEADS
    });
    // Those that are worked on, and those whose outcome is about to be recorded.
    assert!(most <= 8 * SLOTS, "a worker held {most} leads");
    let mut shares: HashMap<String, usize> = HashMap::new();
    for request in service.requests() {
        let (worker, _) = request.key.split_once('-').expect("a lead's id");
        *shares.entry(worker.to_owned()).or_default() += 1;
    }
    assert_eq!(shares.values().sum::<usize>(), LEADS, "{shares:?}");
    assert_eq!(shares.len(), 5, "{shares:?}");
    let fair = LEADS / 5;
    assert!(
        shares
            .values()
            .all(|share| (fair / 2..=fair * 3 / 2).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_route_that_turns_slow_keeps_no_more_than_one_batch_from_others() {
    const SLOTS: usize = 4;
    const SLOW: usize = 1_000;
    let bridge = Bridge::start();
    let go_on = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&go_on);
    let service = Service::start(move |_, _| {
        while !held.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Reply::ok()
    });
    let route = bridge.route(&format!(
        "default_pipeline = \"test\"\n[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\nwhen = \"slow\"\ntimeout = \"60s\"\n",
        service.url
    ));
    let (quick, slots) = (3_000, SLOTS.to_string());
    for n in 0..quick {
        bridge.push(format!(r#"{{"n":{n}}}"#));
    }
    for n in 0..SLOW {
        bridge.push(format!(r#"{{"n":{n},"slow":true}}"#));
    }
    let flags = ["--pipeline", &route, "--concurrency", &slots];
    let _worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("the quick ones are done and every slot is taken", || {
        bridge.done() == quick && service.requests().len() == SLOTS
    });
    // What whole batches brought beyond that goes back, to where it was in the line.
    eventually("the rest is left to others", || {
        bridge.hands()[0] <= SLOTS + BATCH
    });
    let (waiting, hand) = (bridge.waiting(), bridge.hands()[0]);
    assert_eq!(waiting + hand, SLOW);
    assert!(hand >= SLOTS, "{hand} leads in hand");
    assert!(bridge.stat("requeued") > 0);
    let line: Vec<String> = bridge.redis("LRANGE leads_to_enrich 0 -1");
    let numbers = line.iter().rev().map(|lead| {
        let (_, number) = lead.split_once(r#"{"n":"#).expect("a lead");
        let (number, _) = number.split_once(',').expect("another field");
        number.parse::<usize>().expect("a number")
    });
    assert!(numbers.eq(SLOW - waiting..SLOW), "{line:?}");
    // From now on it takes what its slots can start, however much it holds.
    go_on.store(true, Ordering::Relaxed);
    let mut most = 0;
    eventually("all are done", || {
        if bridge.waiting() < waiting - BATCH {
            most = most.max(bridge.hands()[0]);
        }
        bridge.done() == quick + SLOW
    });
    assert!(most <= BATCH / 4, "{most} leads in hand");
    eventually("nothing is left", || bridge.in_flight() == 0);
}
