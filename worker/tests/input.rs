//! Whatever stands in the waiting list: nothing of it is lost or doubled, its bytes come out of the
//! dead letters as they went in, the worker's memory has an end, and the rest keeps flowing.

mod common;

use std::collections::HashMap;
use std::time::Duration;

use bridge_shared::config::RedisArgs;
use bridge_shared::envelope::Envelope;
use bridge_shared::store::Store;
use bridge_shared::store::dead_letters::{DeadLetter, Destination};
use bytes::Bytes;
use clap::Parser;
use common::{Bridge, Reply, Service, Worker, eventually};
use serde_json::{Value, json};

/// A mebibyte.
const MIB: usize = 1 << 20;

/// What is no lead, by what it is.
fn no_leads() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("empty", b"".to_vec()),
        ("blank", b" \r\n\t".to_vec()),
        ("words", b"not json at all".to_vec()),
        ("not UTF-8", b"{\"name\":\"\xff\xfe\"}".to_vec()),
        ("zero bytes", b"\0\0\0\0".to_vec()),
        ("a zero byte in a text", b"{\"name\":\"A\0da\"}".to_vec()),
        (
            "a byte order mark",
            b"\xef\xbb\xbf{\"name\":\"Ada\"}".to_vec(),
        ),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec()),
        ("a number", b"17".to_vec()),
        ("a text", b"\"Ada\"".to_vec()),
        ("true", b"true".to_vec()),
        ("null", b"null".to_vec()),
        ("a list", b"[{\"name\":\"Ada\"}]".to_vec()),
        ("cut off", b"{\"name\":\"Ada\",\"title\":".to_vec()),
        (
            "two at once",
            b"{\"name\":\"Ada\"}{\"name\":\"Bob\"}".to_vec(),
        ),
        ("a bare exponent", b"{\"n\":1e}".to_vec()),
        ("half a surrogate as a name", b"{\"\\ud800\":1}".to_vec()),
        ("a deep list", nested(b'[', b']', 100_000)),
        ("an open deep list", vec![b'['; 100_000]),
        (
            "an envelope of a newer version",
            b"{\"envelope\":99,\"id\":\"x\",".to_vec(),
        ),
        (
            "an envelope of nothing",
            b"{\"envelope\":1,\"id\":\"x\",\"lead_base64\":\"AA==\"}".to_vec(),
        ),
        (
            "an envelope with a list for a lead",
            b"{\"envelope\":1,\"id\":\"y\",\"lead\":[1]}".to_vec(),
        ),
        (
            "an envelope that says what does not follow",
            b"{\"envelope\":1,\"id\":\"z\",\"lead_bytes\":400}\n{}".to_vec(),
        ),
    ]
}

fn nested(open: u8, close: u8, depth: usize) -> Vec<u8> {
    [vec![open; depth], vec![close; depth]].concat()
}

/// What is a lead, however odd, by its number.
fn odd_leads() -> Vec<String> {
    let deep = String::from_utf8(nested(b'[', b']', 10_000)).expect("brackets");
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let digits = "7".repeat(400);
    let attempts = vec!["{}"; 1_000_000].join(",");
    vec![
        r#""name":"A","name":"B","x":1,"x":2"#.to_owned(),
        format!(r#""huge":1e999,"long":{digits},"fine":0.{digits},"minus":-0.0"#),
        r#""half":"\ud800","other":"\udc00\ud800""#.to_owned(),
        format!(r#""deep":{deep}"#),
        format!(r#""deep":{objects}"#),
        r#""zero":"a\u0000b","order":"\u001b[2J\u202e""#.to_owned(),
        r#""":"no name","a.b":{"c.d":1}"#.to_owned(),
        // These have the names of an envelope's fields, after a name of their own.
        r#""id":"forged","retry_count":99,"attempts":7,"spent":-5,"failed_at":"never""#.to_owned(),
        r#""lead":{"a":1},"error":"none","retry_count":-1"#.to_owned(),
        r#""saved":false,"_pipeline_cost":"free","_pipeline_errors":null"#.to_owned(),
        format!(r#""attempts":[{attempts}]"#),
    ]
}

#[derive(Debug, Parser)]
struct Settings {
    #[command(flatten)]
    redis: RedisArgs,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

async fn store(bridge: &Bridge) -> Store {
    let settings = Settings::parse_from(["test", "--redis-url", &bridge.redis.url()]);
    Store::connect(&settings.redis)
        .await
        .expect("Redis answers")
}

/// The dead letters as stored.
fn entries(bridge: &Bridge) -> Vec<Bytes> {
    let entries: Vec<Vec<u8>> = bridge.redis("LRANGE failed_leads 0 -1");
    entries.into_iter().map(Bytes::from).collect()
}

/// The most memory that a process has had in hand so far, in bytes.
fn peak_memory(worker: &Worker) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid()));
    let status = status.expect("the worker runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.map_or(0, |kib: usize| kib * 1024)
}

#[test]
fn what_is_no_lead_is_dead_at_once_with_its_bytes_as_they_came() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(&[]);
    let bad = no_leads();
    for (i, (_, bytes)) in bad.iter().enumerate() {
        bridge.push(bytes);
        bridge.push(format!(r#"{{"name":"Good","n":{i}}}"#));
    }
    eventually("all bad ones are dead", || bridge.dead() == bad.len());
    eventually("all good ones are done", || bridge.done() == bad.len());
    eventually("nothing is left over", || {
        (bridge.waiting(), bridge.in_flight(), bridge.retry()) == (0, 0, 0)
    });
    let mut left: HashMap<Vec<u8>, &str> = bad
        .iter()
        .map(|(what, bytes)| (bytes.clone(), *what))
        .collect();
    for entry in entries(&bridge) {
        let envelope = Envelope::from_payload(&entry).expect("an envelope");
        assert_eq!(
            envelope.error_kind.as_str(),
            "invalid",
            "{}",
            envelope.error
        );
        assert!(envelope.error.starts_with("not "), "{}", envelope.error);
        assert_eq!((envelope.retry_count, envelope.attempts.len()), (0, 1));
        // Two of them are sound envelopes around something else: that is what comes back.
        let whole = match envelope.id.as_str() {
            "x" => &b"{\"envelope\":1,\"id\":\"x\",\"lead_base64\":\"AA==\"}"[..],
            "y" => b"{\"envelope\":1,\"id\":\"y\",\"lead\":[1]}",
            _ => &envelope.lead,
        };
        let what = left.remove(whole);
        assert!(what.is_some(), "unknown or doubled: {:?}", envelope.lead);
    }
    assert!(left.is_empty(), "lost: {left:?}");
}

#[test]
fn an_odd_lead_keeps_its_text_on_every_way() {
    let bridge = Bridge::start();
    let service = Service::start(|request, _| {
        let n = request.headers.get("x-n").cloned().unwrap_or_default();
        Reply::status(if n == "dead" { 400 } else { 200 })
    });
    let route = bridge.route(&format!(
        "[pipelines.p]\n[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\n\
         [pipelines.p.stations.headers]\n\"x-n\" = \"{{{{ way }}}}\"\n",
        service.url
    ));
    let flags = ["--pipeline", &route, "--max-lead-bytes", "8000000"];
    let worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    let odd = odd_leads();
    for way in ["done", "dead"] {
        for fields in &odd {
            bridge.push(format!(r#"{{"way":"{way}",{fields}}}"#));
        }
    }
    eventually("one half is done", || bridge.done() == odd.len());
    eventually("the other is dead", || bridge.dead() == odd.len());
    let lost: Vec<&String> = odd
        .iter()
        .filter(|fields| {
            let lead = format!(r#"{{"way":"dead",{fields}}}"#);
            !entries(&bridge).iter().any(|entry| {
                Envelope::from_payload(entry).is_some_and(|found| found.lead == lead.as_bytes())
            })
        })
        .collect();
    assert!(lost.is_empty(), "{} not found", lost.len());
    let done: Vec<(String, HashMap<String, Vec<u8>>)> = bridge.redis("XRANGE enriched_leads - +");
    for text in [
        "1e999",
        &"7".repeat(400),
        r#""\ud800""#,
        "-0.0",
        r"\u001b[2J\u202e",
        r"[{},{},",
    ] {
        let found = |fields: &HashMap<String, Vec<u8>>| {
            String::from_utf8_lossy(&fields["lead"]).contains(text)
        };
        assert!(done.iter().any(|(_, fields)| found(fields)), "{text}");
    }
    assert!(peak_memory(&worker) < 300 * MIB, "{}", peak_memory(&worker));
}

#[test]
fn a_forged_envelope_is_either_one_or_a_lead_and_never_lost() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::status(400));
    let worker = bridge.worker_with(&service, &["--max-lead-bytes", "16000000"]);
    let million = vec!["{}"; 1_000_000].join(",");
    let forged = [
        r#""lead":{"n":1},"retry_count":4294967296"#.to_owned(),
        r#""lead":{"n":1},"retry_count":4294967295,"deaths":4294967295,"redrives":4294967295"#
            .to_owned(),
        r#""lead":{"n":1},"spent":-5"#.to_owned(),
        r#""lead":{"n":1},"spent":18446744073709551615"#.to_owned(),
        r#""lead":{"n":1},"failed_at":"never","first_seen":"-262144-01-01T00:00:00Z""#.to_owned(),
        r#""lead":{"n":1},"error_kind":["x"]"#.to_owned(),
        r#""lead":{"n":1},"id":"second""#.to_owned(),
        format!(r#""lead":{{"n":1}},"attempts":[{million}]"#),
        r#""lead":{"envelope":1,"id":"inner","lead":{"n":1}}"#.to_owned(),
    ];
    for (i, fields) in forged.iter().enumerate() {
        bridge.push(format!(
            r#"{{"envelope":1,"id":"forged\r\nX-Evil: {i}",{fields}}}"#
        ));
    }
    eventually("all are dead", || bridge.dead() == forged.len());
    for entry in entries(&bridge) {
        let envelope = Envelope::from_payload(&entry).expect("an envelope");
        let lead: Value = serde_json::from_slice(&envelope.lead).expect("JSON");
        assert!(
            lead == json!({"n":1}) || lead.get("envelope").is_some(),
            "{lead}"
        );
    }
    // What a service is told of a lead has no line ends of a stranger in it.
    assert!(
        service
            .requests()
            .iter()
            .all(|request| !request.headers.contains_key("x-evil"))
    );
    assert!(peak_memory(&worker) < 300 * MIB, "{}", peak_memory(&worker));

    // And all of it goes back to work and comes back again, whatever the counts say.
    let back = runtime().block_on(async {
        let store = store(&bridge).await;
        let (_, letters) = store.dead_window(0, 100).await.expect("read");
        let moved = store
            .take_dead(&letters, &Destination::Redrive, "t@t", |_| true)
            .await;
        moved.entries.iter().flatten().count()
    });
    assert_eq!(back, forged.len());
    eventually("all are dead again", || {
        bridge.dead() == forged.len() && bridge.stat("dead") == 2 * forged.len()
    });
}

#[test]
fn equal_leads_are_each_worked_on_once() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(&[]);
    for _ in 0..300 {
        bridge.push(r#"{"name":"Ada"}"#);
    }
    eventually("all are done", || bridge.done() == 300);
    assert_eq!((bridge.waiting(), bridge.dead()), (0, 0));
}

#[test]
fn a_lead_over_the_limit_is_dead_and_says_how_large_it_is() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(&["--max-lead-bytes", "2000"]);
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(3_000));
    bridge.push(&large);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the small one is done", || bridge.done() == 1);
    eventually("the large one is dead", || bridge.dead() == 1);
    let dead = &bridge.dead_letters()[0];
    assert_eq!(
        dead["error"],
        format!(
            "the lead has {} bytes, more than the 2000 that --max-lead-bytes (MAX_LEAD_BYTES) allows",
            large.len()
        )
    );
    assert_eq!(dead["error_kind"], "invalid");
    assert_eq!(dead["lead"].to_string(), large);
}

/// A lead of so many bytes, of which each is told apart by a number.
fn large(n: usize, bytes: usize) -> String {
    let mut lead = format!(r#"{{"name":"Large {n}","filler":""#);
    lead.extend(std::iter::repeat_n('x', bytes - lead.len() - 2));
    lead + "\"}"
}

#[test]
fn a_lead_of_100_mb_goes_by_without_coming_into_the_worker() {
    let bridge = Bridge::start();
    let worker = bridge.worker(&[]);
    bridge.push_numbered(50);
    eventually("the worker is at work", || bridge.done() == 50);
    let before = peak_memory(&worker);
    let huge = large(0, 100 * MIB);
    let big = large(1, 20 * MIB);
    bridge.push(&huge);
    bridge.push(&big);
    bridge.push_numbered(50);
    eventually("the rest is done", || bridge.done() == 100);
    eventually("the huge ones are dead", || bridge.dead() == 2);
    let grown = peak_memory(&worker).saturating_sub(before);
    eprintln!("the worker's peak grew by {} KiB", grown >> 10);
    assert!(grown < 16 * MIB, "grown by {grown} bytes");
    eventually("nothing is in flight", || bridge.in_flight() == 0);

    runtime().block_on(async {
        let store = store(&bridge).await;
        let (total, letters) = store.dead_window(0, 100).await.expect("read");
        assert_eq!((total, letters.len()), (2, 2));
        let (huge_one, big_one) = (&letters[1], &letters[0]);
        for (letter, bytes) in [(huge_one, huge.as_bytes()), (big_one, big.as_bytes())] {
            assert!(!letter.is_whole() && letter.bytes.len() <= 64 << 10);
            assert_eq!(letter.lead_size(), bytes.len() as u64);
            let said = format!("the lead has {} bytes, more than the 1048576", bytes.len());
            assert!(
                letter.envelope.error.starts_with(&said),
                "{}",
                letter.envelope.error
            );
            let whole = store
                .whole_dead(letter)
                .await
                .expect("read")
                .expect("there");
            assert!(whole.is_whole() && whole.envelope.lead == bytes);
            assert_eq!(whole.id(), letter.id());
        }
        assert!(huge_one.is_lead() && big_one.is_lead());

        // Back to work, too large once more, and dead with its history and its bytes.
        let id = big_one.id().to_owned();
        let redrive = [big_one.clone()];
        let moved = store
            .take_dead(&redrive, &Destination::Redrive, "t@t", |_| true)
            .await;
        assert!(moved.error.is_none(), "{:?}", moved.error);
        assert!(moved.entries[0].is_some());
        eventually("it is dead again", || {
            bridge.stat("dead") == 3 && bridge.dead() == 2
        });
        let again = newest(&store).await;
        assert_eq!((again.id(), again.envelope.redrives), (&*id, 1));
        assert_eq!(again.envelope.attempts.len(), 2);
        let whole = store
            .whole_dead(&again)
            .await
            .expect("read")
            .expect("there");
        assert!(whole.envelope.lead == big.as_bytes());

        // Thrown away and brought back, it is the same.
        let trash = Destination::Trash("t".into());
        let moved = store.take_dead(&[again], &trash, "t@t", |_| true).await;
        assert!(moved.entries[0].is_some() && bridge.dead() == 1);
        assert_eq!(
            store
                .restore_dead("t", "t@t", |_| true)
                .await
                .expect("back"),
            1
        );
        let whole = newest(&store).await;
        let whole = store
            .whole_dead(&whole)
            .await
            .expect("read")
            .expect("there");
        assert!(whole.envelope.lead == big.as_bytes());
    });
    drop(worker);

    // A worker that takes leads of that size finishes it.
    runtime().block_on(async {
        let store = store(&bridge).await;
        let letter = newest(&store).await;
        store
            .take_dead(&[letter], &Destination::Redrive, "t@t", |_| true)
            .await;
    });
    let _worker = bridge.worker(&["--max-lead-bytes", "200000000"]);
    eventually("it is done", || bridge.done() == 101);
}

async fn newest(store: &Store) -> DeadLetter {
    let (_, mut letters) = store.dead_window(0, 1).await.expect("read");
    letters.remove(0)
}

#[test]
fn many_leads_of_a_mebibyte_do_not_pile_up_in_the_worker() {
    let bridge = Bridge::start();
    let worker = bridge.worker(&[]);
    bridge.push_numbered(50);
    eventually("the worker is at work", || bridge.done() == 50);
    worker.signal("STOP");
    for n in 0..150 {
        // Two of three are just small enough.
        bridge.push(large(n, MIB + usize::from(n % 3 == 0)));
    }
    worker.signal("CONT");
    eventually("all have come to their end", || {
        (bridge.done(), bridge.dead()) == (150, 50)
    });
    let peak = peak_memory(&worker);
    eprintln!("the worker's peak was {} MiB", peak >> 20);
    assert!(peak < 160 * MIB, "{peak}");

    runtime().block_on(async {
        let store = store(&bridge).await;
        let (_, letters) = store.dead_window(0, 100).await.expect("read");
        let held: usize = letters.iter().map(|letter| letter.bytes.len()).sum();
        assert!(letters.len() == 50 && held < 16 * MIB, "{held}");
        // Those that are here whole and those that are not have the same ids either way.
        let ids: Vec<&str> = letters.iter().map(DeadLetter::id).collect();
        for (n, letter) in letters.iter().enumerate() {
            let alone = store
                .dead_window(n as u64, 1)
                .await
                .expect("read")
                .1
                .remove(0);
            assert_eq!((alone.id(), alone.is_whole()), (ids[n], true));
            assert_eq!(alone.envelope.lead.len(), MIB + 1);
            assert_eq!(alone.envelope.error, letter.envelope.error);
        }
        let moved = store
            .take_dead(&letters, &Destination::Redrive, "t@t", |_| true)
            .await;
        assert!(moved.error.is_none(), "{:?}", moved.error);
        assert_eq!(moved.entries.iter().flatten().count(), 50);
    });
    eventually("all are dead again", || {
        bridge.stat("dead") == 100 && bridge.dead() == 50
    });
}

#[test]
fn a_killed_workers_huge_lead_is_set_aside_by_the_next() {
    let bridge = Bridge::start();
    // In the hands of a worker that never was: its lease has run out.
    let huge = large(0, 30 * MIB);
    let _: u64 = bridge.run(&[
        b"HSET",
        b"leads_to_enrich:active:gone-1-tok",
        b"7",
        huge.as_bytes(),
    ]);
    let _: u64 = bridge.redis("HSET leads_to_enrich:active:gone-1-tok 8 {\"n\":8}");
    let _: u64 = bridge.redis("ZADD leads_to_enrich:workers 1 gone-1-tok");
    let worker = bridge.worker(&[]);
    eventually("the small one is done", || bridge.done() == 1);
    eventually("the huge one is dead", || bridge.dead() == 1);
    let dead = Envelope::from_payload(&entries(&bridge)[0]).expect("an envelope");
    assert!(dead.lead == huge.as_bytes());
    assert!(peak_memory(&worker) < 60 * MIB, "{}", peak_memory(&worker));
}

#[test]
fn stations_that_read_a_lead_answer_for_a_deep_one() {
    let bridge = Bridge::start();
    let deep = String::from_utf8(nested(b'[', b']', 10_000)).expect("brackets");
    let stations = [
        "kind = \"identity\"",
        "kind = \"validate\"\nschema = '{\"type\":\"object\"}'",
        "kind = \"transform\"\nset = { x = \"{{ deep }}\" }",
        "kind = \"gate\"\ncondition = \"deep == 1\"",
        "kind = \"dedupe\"\nfields = [\"deep\"]\nttl = \"1d\"",
    ];
    for station in stations {
        let route = bridge.route(&format!(
            "[pipelines.p]\n[[pipelines.p.stations]]\nname = \"s\"\n{station}\n"
        ));
        let log = bridge.log();
        let ended = || bridge.done() + bridge.dead();
        let before = ended();
        let mut worker = Worker::start(&bridge.redis.url(), &log, &["--pipeline", &route]);
        bridge.push(format!(r#"{{"name":"Ada","deep":{deep}}}"#));
        std::thread::sleep(Duration::from_millis(50));
        eventually(station, || {
            assert!(!worker.has_ended(), "{station}: {}", worker.log());
            ended() > before
        });
        worker.signal("TERM");
        assert!(worker.wait().success());
    }
    for entry in entries(&bridge) {
        let dead = Envelope::from_payload(&entry).expect("an envelope");
        assert_ne!(dead.error_kind.as_str(), "panic", "{}", dead.error);
    }
}

#[test]
fn a_trial_refuses_what_a_worker_refuses() {
    let bridge = Bridge::start();
    let _worker = bridge.worker(&["--max-lead-bytes", "2048"]);
    let newer = r#"{"envelope":2,"id":"a","lead":{"name":"Ada"}}"#;
    for (lead, outcome, reason) in [
        (r#"{"name":"Ada"}"#, "done", None),
        (&*large(1, 3_000), "failed", Some("--max-lead-bytes")),
        (newer, "failed", Some("an envelope of version 2")),
    ] {
        let question = format!("token\n{lead}");
        let _: u64 = bridge.run(&[b"RPUSH", b"leads_to_enrich:try", question.as_bytes()]);
        let mut answer: Option<String> = None;
        eventually("the trial is answered", || {
            answer = bridge.redis("GETDEL leads_to_enrich:try:token");
            answer.is_some()
        });
        let tried: Value = serde_json::from_str(&answer.expect("an answer")).expect("JSON");
        assert_eq!(tried["outcome"], outcome, "{tried}");
        let said = tried["reason"].as_str().unwrap_or_default();
        assert!(said.contains(reason.unwrap_or_default()), "{tried}");
        assert_eq!(tried["kind"].as_str(), reason.map(|_| "invalid"), "{tried}");
    }
}
