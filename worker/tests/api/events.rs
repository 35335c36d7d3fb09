//! News of leads as server-sent events.

use bridge_shared::event::{Event, EventBatch, EventKind};

use crate::client::Api;
use crate::common::{Bridge, Worker, connect, eventually};

fn publish(bridge: &Bridge, events: Vec<Event>) -> u64 {
    let batch = EventBatch::new("w-1", 0, events).encode();
    bridge.run(&[b"PUBLISH", b"leads_to_enrich:events", &batch])
}

#[test]
fn every_step_of_a_lead_is_told_as_it_happens() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut events = api.listen();
    let _worker = bridge.worker(&[]);
    bridge.push(r#"{"name":"Ada"}"#);
    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("succeeded") {
        let (kind, data) = events.next();
        assert_eq!(data["event"], kind.as_str());
        assert!(data["lead"].is_string() && data["worker"].is_string() && data["at"].is_i64());
        kinds.push(kind);
    }
    assert_eq!(kinds, ["received", "started", "station", "succeeded"]);
}

#[test]
fn a_silent_stream_shows_that_it_lives_and_what_is_told_is_harmless() {
    let bridge = Bridge::start();
    let api = Api::with(&bridge, &["--heartbeat", "0.05"], &[]);
    let mut events = api.listen();
    assert_eq!(events.next_block().as_deref(), Some(": heartbeat"));
    assert_eq!(events.next_block().as_deref(), Some(": heartbeat"));
    let mut event = Event::new(7, EventKind::Dead, "t-1");
    event.error = Some("\u{9b}31m\n\nevent: forged".into());
    publish(&bridge, vec![event]);
    let block = loop {
        let block = events.next_block().expect("events");
        if !block.starts_with(':') {
            break block;
        }
    };
    assert_eq!(block.lines().count(), 2, "{block:?}");
    assert!(
        !block.contains('\u{9b}') && block.contains("\\u009b31m"),
        "{block:?}"
    );
}

#[test]
fn a_slow_reader_hears_how_many_it_missed_and_then_goes_on() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut events = api.listen();
    // More than the buffers of a connection and the API hold.
    let mut sent = 0_u64;
    for _ in 0..400 {
        let batch = (0..50).map(|_| {
            sent += 1;
            let mut event = Event::new(1, EventKind::Dead, format!("t-{sent}"));
            event.error = Some("x".repeat(2_000));
            event
        });
        assert_eq!(publish(&bridge, batch.collect()), 1);
    }
    let (mut told, mut lost) = (0, 0);
    let mut end = false;
    while !end {
        let (kind, data) = events.next();
        match kind.as_str() {
            "lost" => lost += data["events"].as_u64().expect("how many"),
            _ => told += 1,
        }
        end = told + lost == sent;
    }
    assert!(lost > 0 && told > 0, "{told} told, {lost} lost");
    publish(&bridge, vec![Event::new(2, EventKind::Succeeded, "last")]);
    assert_eq!(events.next().1["lead"], "last");
}

#[test]
fn a_break_of_redis_is_told_and_listening_goes_on() {
    let mut bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut events = api.listen();
    bridge.restart_redis();
    assert_eq!(events.next().0, "interrupted");
    publish(&bridge, vec![Event::new(2, EventKind::Succeeded, "after")]);
    assert_eq!(events.next().1["lead"], "after");
    // Nobody listens for a reader that has hung up.
    drop(events);
    eventually("the subscription ends", || {
        publish(
            &bridge,
            vec![Event::new(2, EventKind::Succeeded, "nobody"); 500],
        ) == 0
    });
}

#[test]
fn events_of_another_database_are_heard_by_nobody_else() {
    let bridge = Bridge::start();
    let other = format!("redis://127.0.0.1:{}/1", bridge.redis.port());
    let here = Api::start(&bridge);
    let there = Api::with(&bridge, &["--redis-url", &other], &[]);
    let (mut events, mut others) = (here.listen(), there.listen());
    let log = bridge.log();
    let workers = [
        bridge.worker(&[]),
        Worker::start(&other, &log, &["--concurrency", "1"]),
    ];
    bridge.push(r#"{"name":"Ada"}"#);
    let first = loop {
        let (kind, data) = events.next();
        if kind == "succeeded" {
            break data["worker"].clone();
        }
    };
    // Only now, so that whatever the first database tells comes before it.
    let mut connection = connect(&bridge.redis);
    let pushed: redis::RedisResult<()> = redis::pipe()
        .cmd("SELECT")
        .arg(1)
        .ignore()
        .cmd("LPUSH")
        .arg("leads_to_enrich")
        .arg(r#"{"name":"Grace"}"#)
        .ignore()
        .query(&mut connection);
    pushed.expect("pushed");
    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("succeeded") {
        let (kind, data) = others.next();
        assert_ne!(data["worker"], first, "heard in the other database: {data}");
        kinds.push(kind);
    }
    assert_eq!(kinds, ["received", "started", "station", "succeeded"]);
    publish(&bridge, vec![Event::new(2, EventKind::Succeeded, "last")]);
    assert_eq!(events.next().1["lead"], "last");
    drop(workers);
}
