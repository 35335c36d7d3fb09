//! What becomes of a lead, from a foreign `LPUSH` to its recorded outcome.

mod common;

use std::collections::HashSet;
use std::time::Duration;

use bridge_shared::event::{EventBatch, EventKind};
use common::{Bridge, Reply, Service, Worker, eventually};
use serde_json::{Value, json};

#[test]
fn a_foreign_lpush_arrives_enriched_with_every_field_untouched() {
    let bridge = Bridge::start();
    let log = bridge.log();
    // No pipeline named: the built-in route.
    let _worker = Worker::start(&bridge.redis.url(), &log, &[]);
    bridge.push(
        r#"{"linkedinUrl":"http://uk.linkedin.com/in/Ada-Example/?x=1","name":"Ada Example","location":"Austin, Texas","custom":{"n":1.50}}"#,
    );
    eventually("the lead is enriched", || bridge.done() == 1);
    let lead = &bridge.enriched()[0];
    assert_eq!(
        lead["linkedinUrl"],
        "https://www.linkedin.com/in/ada-example"
    );
    assert_eq!(
        (&lead["firstName"], &lead["lastName"]),
        (&json!("Ada"), &json!("Example"))
    );
    assert_eq!(
        (&lead["city"], &lead["state"]),
        (&json!("Austin"), &json!("Texas"))
    );
    assert_eq!(lead["custom"].to_string(), r#"{"n":1.50}"#);
    assert_eq!(lead["saved"], true);
    assert_eq!(lead["_pipeline_stations_executed"], json!(["identity"]));
    assert_eq!(lead["_pipeline_errors"], json!([]));
    assert!(lead["_pipeline_cost"].is_number());
    eventually("nothing is in flight", || bridge.in_flight() == 0);
    assert_eq!((bridge.waiting(), bridge.retry(), bridge.dead()), (0, 0, 0));
}

#[test]
fn one_slot_keeps_the_order() {
    let bridge = Bridge::start();
    bridge.push_numbered(40);
    let service = Service::start(|_, _| Reply::ok());
    let _worker = bridge.worker_with(&service, &["--concurrency", "1"]);
    eventually("all are done", || bridge.done() == 40);
    let order = |n: &serde_json::Value| n["n"].as_u64().expect("a number");
    let called: Vec<u64> = service
        .requests()
        .iter()
        .map(|request| order(&request.lead))
        .collect();
    assert_eq!(called, (0..40).collect::<Vec<_>>());
    let stored: Vec<u64> = bridge.enriched().iter().map(order).collect();
    assert_eq!(stored, (0..40).collect::<Vec<_>>());
}

#[test]
fn retries_wait_twice_as_long_each_and_then_the_lead_is_dead_with_its_history() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::status(503));
    let _worker = bridge.worker_with(&service, &["--retry-delay-base", "0.3"]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);

    let requests = service.requests();
    assert_eq!(requests.len(), 4, "one attempt and three retries");
    let keys: HashSet<&str> = requests
        .iter()
        .map(|request| request.key.as_str())
        .collect();
    assert_eq!(
        keys.len(),
        1,
        "every attempt carries the same idempotency key"
    );
    for (n, pair) in requests.windows(2).enumerate() {
        let gap = (pair[1].at - pair[0].at).as_secs_f64();
        let least = 0.3 * f64::from(1 << n);
        assert!(
            gap >= least,
            "retry {} came after {gap} s, not {least} s",
            n + 1
        );
    }

    let dead = &bridge.dead_letters()[0];
    assert_eq!(dead["lead"], json!({"name":"Ada"}));
    assert_eq!(dead["retry_count"], 3);
    assert!(dead["error"].as_str().expect("text").contains("503"));
    assert_eq!(
        (&dead["error_kind"], &dead["station"]),
        (&json!("transient"), &json!("enrich"))
    );
    assert_eq!(dead["id"], requests[0].key);
    assert!(dead["failed_at"].as_str().expect("text").ends_with('Z'));
    let attempts = dead["attempts"].as_array().expect("a history");
    assert_eq!(attempts.len(), 4);
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt["worker"] == dead["worker"] && attempt["at"] != "")
    );
    assert_eq!(
        (
            bridge.stat("retried"),
            bridge.stat("dead"),
            bridge.stat("retry:3")
        ),
        (3, 1, 1)
    );
}

#[test]
fn waiting_for_a_retry_holds_no_slot() {
    let bridge = Bridge::start();
    let service = Service::start(|request, _| {
        if request.lead["n"] == 0 {
            Reply::status(500)
        } else {
            Reply::ok()
        }
    });
    let _worker = bridge.worker_with(
        &service,
        &["--concurrency", "1", "--retry-delay-base", "3600"],
    );
    bridge.push_numbered(5);
    eventually("the others are done", || bridge.done() == 4);
    assert_eq!(bridge.retry(), 1);
}

#[test]
fn what_the_service_asks_for_in_retry_after_is_kept() {
    let bridge = Bridge::start();
    let service = Service::start(|_, before| match before {
        0 => Reply {
            headers: "Retry-After: 1\r\n".into(),
            ..Reply::status(429)
        },
        _ => Reply::ok(),
    });
    let _worker = bridge.worker_with(&service, &["--retry-delay-base", "0.01"]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    let requests = service.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));
    assert_eq!(bridge.enriched()[0]["enriched"], true);
}

#[test]
fn what_is_refused_for_good_is_not_tried_again() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::status(404));
    let _worker = bridge.worker_with(&service, &[]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);
    let dead = &bridge.dead_letters()[0];
    assert_eq!(
        (&dead["error_kind"], &dead["retry_count"]),
        (&json!("permanent"), &json!(0))
    );
    assert_eq!(service.requests().len(), 1);
}

#[test]
fn a_lead_that_takes_too_long_fails_at_the_station_that_held_it() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(60_000));
    let _worker = bridge.worker_with(&service, &["--lead-timeout", "0.2", "--max-retries", "0"]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);
    let dead = &bridge.dead_letters()[0];
    assert_eq!(
        (&dead["error_kind"], &dead["station"]),
        (&json!("timeout"), &json!("enrich"))
    );
}

#[test]
fn bytes_that_are_no_lead_are_kept_exactly() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(&[]);
    let rubbish: [&[u8]; 6] = [
        b"not json",
        b"\xff\xfe\x00\x1b[2J",
        b"",
        b"[1, 2]",
        b" {\"open\": ",
        // Of a worker that is newer.
        b"{\"envelope\":2,\"id\":\"a-1\",\"lead\":{\"name\":\"Ada\"}}",
    ];
    for bytes in rubbish {
        bridge.push(bytes);
    }
    eventually("all are dead", || bridge.dead() == rubbish.len());
    let entries: Vec<Vec<u8>> = bridge.redis("LRANGE failed_leads 0 -1");
    let kept: HashSet<Vec<u8>> = entries
        .into_iter()
        .map(|entry| {
            bridge_shared::envelope::Envelope::from_dead_letter(&entry.into())
                .0
                .lead
                .to_vec()
        })
        .collect();
    assert_eq!(kept, rubbish.iter().map(|bytes| bytes.to_vec()).collect());
    assert!(
        bridge
            .dead_letters()
            .iter()
            .all(|dead| dead["error_kind"] == "invalid")
    );
}

#[test]
fn every_step_is_told_over_pub_sub() {
    let bridge = Bridge::start();
    let mut connection = common::connect(&bridge.redis);
    let mut pubsub = common::listen(&mut connection);
    let service = Service::start(
        |request, before| match (request.lead["name"].as_str(), before) {
            (Some("fails"), _) => Reply::status(400),
            (Some("wobbles"), 0) => Reply::status(500),
            _ => Reply::ok(),
        },
    );
    let _worker = bridge.worker_with(&service, &["--retry-delay-base", "0.05"]);
    for name in ["works", "fails", "wobbles"] {
        bridge.push(format!(r#"{{"name":"{name}"}}"#));
    }
    let mut kinds = Vec::new();
    while kinds
        .iter()
        .filter(|kind| matches!(kind, EventKind::Succeeded | EventKind::Dead))
        .count()
        < 3
    {
        let message = pubsub.get_message().expect("a message in time");
        let batch = EventBatch::decode(message.get_payload_bytes()).expect("events");
        assert_eq!(batch.v, 1);
        kinds.extend(batch.events.iter().map(|event| event.event));
    }
    let count = |wanted| kinds.iter().filter(|kind| **kind == wanted).count();
    assert_eq!(count(EventKind::Received), 4);
    assert_eq!(count(EventKind::Started), 4);
    assert_eq!(count(EventKind::Station), 4);
    assert_eq!(count(EventKind::Succeeded), 2);
    assert_eq!(count(EventKind::RetryScheduled), 1);
    assert_eq!(count(EventKind::Dead), 1);
}

#[test]
fn a_burst_is_drained_and_the_sums_are_true() {
    let bridge = Bridge::start();
    bridge.push_numbered(3_000);
    let _worker = bridge.worker(&["--concurrency", "64"]);
    eventually("all are done", || bridge.done() == 3_000);
    eventually("nothing is in flight", || bridge.in_flight() == 0);
    let numbers: HashSet<u64> = bridge
        .enriched()
        .iter()
        .filter_map(|lead| lead["n"].as_u64())
        .collect();
    assert_eq!(numbers.len(), 3_000);
    assert_eq!(
        (bridge.stat("received"), bridge.stat("done")),
        (3_000, 3_000)
    );
}

#[test]
fn a_lead_is_tried_on_the_workers_own_route_and_nothing_is_recorded() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    let _worker = bridge.worker_with(&service, &[]);
    eventually("the worker is registered", || bridge.workers().len() == 1);
    let _: () = bridge.redis("SET leads_to_enrich:paused test");
    let _: u64 = bridge.run(&[
        b"RPUSH",
        b"leads_to_enrich:try",
        b"token-1\n{\"name\":\"Ada\"}",
    ]);
    let _: u64 = bridge.run(&[b"RPUSH", b"leads_to_enrich:try", b"token-2\n[1]"]);
    let answer = |token: &str| -> Value {
        let key = format!("leads_to_enrich:try:{token}");
        let mut found = None;
        eventually("an answer", || {
            found = bridge.redis::<Option<String>>(&format!("GET {key}"));
            found.is_some()
        });
        let left: i64 = bridge.redis(&format!("TTL {key}"));
        assert!((1..=300).contains(&left));
        serde_json::from_str(&found.expect("an answer")).expect("JSON")
    };
    let tried = answer("token-1");
    assert_eq!(
        (
            &tried["outcome"],
            &tried["stations"][0]["answer"]["enriched"]
        ),
        (&json!("done"), &json!(true))
    );
    assert_eq!(answer("token-2")["kind"], "invalid");
    assert_eq!(service.requests().len(), 1);
    assert_eq!(
        (bridge.done(), bridge.dead(), bridge.stat("received")),
        (0, 0, 0)
    );
}
