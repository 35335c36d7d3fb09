//! Leads that kill the worker, never end or eat all memory: they end in the dead letter queue, and
//! the rest keeps flowing.

mod common;

use std::time::Duration;

use bridge_shared::envelope::Envelope;
use common::{Bridge, Worker, eventually};
use serde_json::{Value, json};

/// A route whose one station is a program: what a shell does with a lead in `$lead`.
fn route(bridge: &Bridge, more: &str, script: &str) -> String {
    bridge.route(&format!(
        "[[pipelines.p.stations]]\nkind = \"exec\"\nname = \"program\"\n{more}\ncommand = [\"/bin/sh\", \"-c\", '''\nread -r lead || :\n{script}\n''']\n"
    ))
}

/// A hundred leads, with one of this name among them.
fn push_with(bridge: &Bridge, name: &str) {
    for n in 0..100 {
        if n == 40 {
            bridge.push(format!(r#"{{"name":"{name}"}}"#));
        }
        bridge.push(format!(r#"{{"name":"harmless","n":{n}}}"#));
    }
}

/// Keeps a worker running until the leads are through: all done but one, and that one dead.
fn work_off(bridge: &Bridge, flags: &[&str]) -> Value {
    let start = || Worker::start(&bridge.redis.url(), &bridge.log(), flags);
    let mut worker = start();
    eventually("all are done but one", || {
        if worker.has_ended() {
            worker = start();
        }
        // Each starts a process; there is no need to ask more often.
        std::thread::sleep(Duration::from_millis(20));
        let dead = bridge.dead_letters();
        assert!(dead.len() <= 1, "no other lead dies: {dead:?}");
        bridge.done() == 100 && dead.len() == 1
    });
    let mut letters = bridge.dead_letters();
    letters.remove(0)
}

#[test]
fn a_lead_that_kills_its_worker_takes_no_other_lead_with_it() {
    let bridge = Bridge::start();
    push_with(&bridge, "deadly");
    let deadly = r#"case "$lead" in *deadly*) kill -9 $PPID;; esac; sleep 0.02"#;
    let route = route(&bridge, "", deadly);
    let flags = [
        "--pipeline",
        &route,
        "--lease-seconds",
        "1",
        "--concurrency",
        "20",
    ];
    let dead = work_off(&bridge, &flags);
    assert_eq!(dead["lead"], json!({"name":"deadly"}));
    assert_eq!(
        (&dead["error_kind"], &dead["deaths"]),
        (&json!("poison"), &json!(3))
    );
    assert_eq!(bridge.stat("dead"), 1);
}

#[test]
fn leads_that_may_be_deadly_do_not_hold_each_other_up_when_they_come_beyond_the_slots() {
    let bridge = Bridge::start();
    // The harmless ones are over at once, so the worker takes more than its one slot can start.
    for n in 0..900 {
        if (400..500).contains(&n) && n % 10 == 0 {
            let mut envelope = Envelope::new(format!("suspect-{n}"), "{}".into(), None);
            envelope.deaths = 2;
            bridge.push(envelope.encode());
        } else {
            bridge.push(format!(r#"{{"n":{n}}}"#));
        }
    }
    let _worker = bridge.worker(&["--concurrency", "1"]);
    eventually("all are done", || bridge.done() == 900);
    assert_eq!((bridge.dead(), bridge.in_flight()), (0, 0));
    assert!(bridge.stat("postponed") > 0, "they stood beside each other");
}

#[test]
fn a_lead_that_never_ends_is_given_up_when_its_time_is_up() {
    let bridge = Bridge::start();
    push_with(&bridge, "endless");
    let endless = r#"case "$lead" in *endless*) while :; do sleep 60; done;; esac"#;
    let route = route(&bridge, "timeout = \"0.3s\"", endless);
    let flags = [
        "--pipeline",
        &route,
        "--max-retries",
        "1",
        "--retry-delay-base",
        "0.1",
        "--concurrency",
        "4",
    ];
    let dead = work_off(&bridge, &flags);
    assert_eq!(dead["lead"], json!({"name":"endless"}));
    assert_eq!(
        (&dead["error_kind"], &dead["retry_count"]),
        (&json!("timeout"), &json!(1))
    );
}

#[test]
fn a_lead_that_eats_memory_meets_its_programs_limit_and_not_the_workers() {
    let bridge = Bridge::start();
    push_with(&bridge, "hungry");
    // All of /dev/zero is one line, which `tail` keeps whole.
    let hungry = r#"case "$lead" in *hungry*) exec tail -n 1 /dev/zero;; esac"#;
    let route = route(&bridge, "memory = \"64MiB\"", hungry);
    let flags = [
        "--pipeline",
        &route,
        "--max-retries",
        "1",
        "--retry-delay-base",
        "0.1",
        "--concurrency",
        "4",
    ];
    let dead = work_off(&bridge, &flags);
    assert_eq!(dead["lead"], json!({"name":"hungry"}));
    let error = dead["error"].as_str().expect("an error");
    assert!(error.contains("memory exhausted"), "{error}");
}

/// A bridge with a lead in the hands of a dead worker, which two others died with before, the first of
/// them that long ago; what comes of it at a worker that recovers it.
fn recovered_after(hours: i64) -> (Bridge, Vec<Value>, Vec<Value>) {
    let bridge = Bridge::start();
    let (seconds, _): (i64, u64) = bridge.redis("TIME");
    let mut envelope = Envelope::new("suspect", r#"{"n":1}"#.into(), None);
    envelope.deaths = 2;
    envelope.first_death = Some((seconds - hours * 3_600) * 1_000);
    let _: usize = bridge.run(&[
        b"HSET",
        b"leads_to_enrich:active:gone",
        b"1",
        &envelope.encode()[..],
    ]);
    let _: usize = bridge.redis("ZADD leads_to_enrich:workers 1 gone");
    let route = bridge.route(
        "[[pipelines.p.stations]]\nkind = \"validate\"\nname = \"check\"\nschema = { required = [\"missing\"] }\n",
    );
    let flags = ["--pipeline", &route, "--lease-seconds", "1"];
    let _worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("it is dead", || bridge.dead() == 1);
    let letter = bridge.dead_letters().remove(0);
    let attempts = letter["attempts"].as_array().expect("attempts").clone();
    (bridge, vec![letter], attempts)
}

#[test]
fn deaths_within_72_hours_of_the_first_make_a_lead_poison() {
    let (bridge, letters, attempts) = recovered_after(71);
    assert_eq!(letters[0]["error_kind"], json!("poison"));
    assert_eq!((&letters[0]["deaths"], attempts.len()), (&json!(3), 1));
    assert_eq!(bridge.stat("recovered"), 0);
}

#[test]
fn a_death_more_than_72_hours_after_the_first_is_counted_as_the_first() {
    let (bridge, letters, attempts) = recovered_after(73);
    // It was worked on again, and failed there.
    assert_eq!(letters[0]["error_kind"], json!("invalid"), "{letters:?}");
    assert_eq!(letters[0]["deaths"], json!(1));
    let kinds: Vec<&Value> = attempts.iter().map(|attempt| &attempt["kind"]).collect();
    assert_eq!(kinds[0], &json!("worker_lost"), "{attempts:?}");
    let first = letters[0]["first_death"].as_str().expect("a time");
    let first = bridge_shared::clock::parse_rfc3339(first).expect("a time");
    let (seconds, _): (i64, u64) = bridge.redis("TIME");
    assert!(first > (seconds - 120) * 1_000, "counted anew: {letters:?}");
    assert_eq!(bridge.stat("recovered"), 1);
}
