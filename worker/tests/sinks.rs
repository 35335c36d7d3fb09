//! The sinks: a real PostgreSQL, real files, a real HTTP service, and what happens when they, or
//! the worker, go away half-way.

mod common;
mod database;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Bridge, Reply, Service, Worker, eventually};
use database::Database;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};

const ROWS: &str = "SELECT count(*) FROM redis_bridge.leads";

/// Starts a worker on a route with these stations and sinks.
fn worker(bridge: &Bridge, stations: &str, sinks: &str, flags: &[&str]) -> Worker {
    let route = bridge.route(&format!(
        "default_pipeline = \"p\"\n[pipelines.p]\n{stations}\n{sinks}"
    ));
    let flags = [&["--pipeline", &route, "--lease-seconds", "1"], flags].concat();
    Worker::start(&bridge.redis.url(), &bridge.log(), &flags)
}

const NOOP: &str = "[[pipelines.p.stations]]\nkind = \"noop\"\nname = \"noop\"\n";
const STREAM: &str = "[[pipelines.p.sinks]]\nkind = \"stream\"\n";

fn http(service: &Service) -> String {
    format!(
        "[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\n",
        service.url
    )
}

fn sink(kind: &str, keys: &str) -> String {
    format!("[[pipelines.p.sinks]]\nkind = \"{kind}\"\n{keys}\n")
}

fn postgres(database: &Database) -> String {
    sink("postgres", &format!("url = \"{}\"", database.url()))
}

fn person(n: usize) -> Value {
    json!({"name": format!("Lead {n}"), "linkedinUrl": format!("https://www.linkedin.com/in/lead-{n}"), "n": n})
}

#[test]
fn people_become_rows_and_only_the_row_at_fault_is_a_dead_letter() {
    let Some(database) = Database::start() else {
        return;
    };
    let bridge = Bridge::start();
    for n in 0..200 {
        bridge.push(person(n).to_string());
    }
    // Nobody can store this in a database, and JSON allows it.
    bridge.push(r#"{"name":"Nul","linkedinUrl":"https://www.linkedin.com/in/nul","x":"a\u0000b"}"#);
    bridge.push(r#"{"name":"No Url","email":"no-url@example.com"}"#);
    let _worker = worker(&bridge, NOOP, &postgres(&database), &[]);
    eventually("all are through", || {
        bridge.stat("done") == 201 && bridge.dead() == 1
    });
    assert_eq!(database.count(ROWS), 201);
    assert_eq!(bridge.done(), 0, "the stream is not one of the sinks");
    let dead = &bridge.dead_letters()[0];
    assert_eq!(dead["lead"]["name"], "Nul");
    assert_eq!(
        (&dead["station"], &dead["error_kind"], &dead["retry_count"]),
        (&json!("postgres"), &json!("permanent"), &json!(0))
    );
    assert!(
        dead["error"]
            .as_str()
            .is_some_and(|error| error.contains("SQLSTATE 22P05")),
        "{dead}"
    );
    assert_eq!(
        database.ask("SELECT key, email FROM redis_bridge.leads WHERE linkedin_url IS NULL AND key = 'id:' || lead_id AND name = 'No Url'")
            .split_once('|').map(|(_, email)| email.to_owned()),
        Some("no-url@example.com".to_owned())
    );

    // The same person again is the same row, with what is known now.
    let mut again = person(7);
    again["title"] = json!("Engineer");
    bridge.push(again.to_string());
    eventually("it is done", || bridge.stat("done") == 202);
    assert_eq!(database.count(ROWS), 201);
    assert_eq!(
        database.ask(
            "SELECT title, lead ->> 'n' FROM redis_bridge.leads WHERE linkedin_url LIKE '%/lead-7'"
        ),
        "Engineer|7"
    );
    assert_eq!((bridge.retry(), bridge.in_flight()), (0, 0));
}

#[test]
fn a_worker_killed_between_the_row_and_the_record_leaves_one_of_each() {
    let Some(database) = Database::start() else {
        return;
    };
    let bridge = Bridge::start();
    let redis = bridge.redis.url();
    let service = Service::start(move |_, before| {
        if before == 0 {
            // From here on Redis records nothing.
            let mut connection = redis::Client::open(redis.as_str())
                .and_then(|client| client.get_connection())
                .expect("a connection");
            redis::cmd("CLIENT")
                .arg(&["PAUSE", "600000", "WRITE"])
                .exec(&mut connection)
                .expect("paused");
        }
        Reply::ok()
    });
    let sinks = format!("{STREAM}{}", postgres(&database));
    bridge.push(person(1).to_string());
    let victim = worker(&bridge, &http(&service), &sinks, &[]);
    eventually("the row is there", || database.count(ROWS) == 1);
    assert_eq!((bridge.done(), bridge.in_flight()), (0, 1));
    let row = "SELECT xmin, lead_id FROM redis_bridge.leads";
    let first = database.ask(row);
    victim.signal("KILL");
    let () = bridge.redis("CLIENT UNPAUSE");
    let _heir = worker(&bridge, &http(&service), &sinks, &[]);
    eventually("it is done", || bridge.done() == 1);
    eventually("nothing is in flight", || bridge.in_flight() == 0);
    assert_eq!(bridge.stat("done"), 1);
    assert_eq!(bridge.stat("recovered"), 1);
    assert_eq!(database.count(ROWS), 1);
    // The same version of the same row: the second write found nothing to change.
    assert_eq!(database.ask(row), first);
    drop(victim);
}

#[test]
fn a_database_that_is_away_holds_its_leads_and_costs_them_nothing() {
    let Some(mut database) = Database::start() else {
        return;
    };
    let bridge = Bridge::start();
    database.crash();
    for n in 0..50 {
        bridge.push(person(n).to_string());
    }
    let mut first = worker(
        &bridge,
        NOOP,
        &postgres(&database),
        &["--shutdown-timeout", "0.5"],
    );
    eventually("all are in hand", || bridge.in_flight() == 50);
    eventually("it says what it waits for", || {
        first.log().contains("cannot reach PostgreSQL: ")
    });
    // Beyond its lease of a second, which lives on; another worker finds nothing to take.
    let id = bridge.workers()[0].clone();
    let lease = || -> f64 { bridge.redis(&format!("ZSCORE leads_to_enrich:workers {id}")) };
    let before = lease();
    eventually("the lease was renewed for long", || {
        lease() > before + 2_500.0
    });
    assert_eq!((bridge.in_flight(), bridge.stat("recovered")), (50, 0));

    first.signal("TERM");
    assert!(first.wait().success());
    assert_eq!((bridge.waiting(), bridge.in_flight()), (50, 0));
    assert_eq!((bridge.retry(), bridge.dead()), (0, 0));

    database.start_again();
    let _second = worker(&bridge, NOOP, &postgres(&database), &[]);
    eventually("all are done", || bridge.stat("done") == 50);
    assert_eq!(database.count(ROWS), 50);
    assert_eq!(bridge.stat("retried"), 0);
}

#[test]
fn a_database_that_crashes_mid_run_loses_and_doubles_nothing() {
    let Some(mut database) = Database::start() else {
        return;
    };
    let bridge = Bridge::start();
    // Two workers, which find no table yet and make it at the same time.
    let sinks = format!("{STREAM}{}", postgres(&database));
    let _workers = [
        worker(&bridge, NOOP, &sinks, &[]),
        worker(&bridge, NOOP, &sinks, &[]),
    ];
    for n in 0..500 {
        bridge.push(person(n).to_string());
    }
    eventually("some are done", || bridge.done() >= 100);
    database.crash();
    for n in 500..1_000 {
        bridge.push(person(n).to_string());
    }
    eventually("some wait for the database", || bridge.in_flight() > 0);
    database.start_again();
    eventually("all are done", || bridge.done() >= 1_000);
    eventually("nothing is in flight", || bridge.in_flight() == 0);
    assert_eq!(bridge.done(), 1_000);
    assert_eq!(database.count(ROWS), 1_000);
    assert_eq!((bridge.stat("retried"), bridge.dead()), (0, 0));
    assert_eq!(
        database.ask("SELECT version FROM redis_bridge.migrations"),
        "1"
    );
}

/// The lines of a file, as JSON.
fn lines(file: &Path) -> Vec<Value> {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect()
}

#[test]
fn a_file_gets_each_lead_as_a_line_and_may_be_rotated() {
    let bridge = Bridge::start();
    let folder = bridge.folder.path();
    let (file, old) = (folder.join("out.jsonl"), folder.join("out.jsonl.1"));
    // Where the route file is: paths in it begin there.
    let sinks = sink("jsonl", "path = \"out.jsonl\"");
    let _workers = [
        worker(&bridge, NOOP, &sinks, &[]),
        worker(&bridge, NOOP, &sinks, &[]),
    ];
    for n in 0..400 {
        bridge.push(person(n).to_string());
        if n == 200 {
            eventually("some are there", || bridge.stat("done") > 0);
            std::fs::rename(&file, &old).expect("rotated");
        }
    }
    eventually("all are done", || bridge.stat("done") == 400);
    let mut numbers: Vec<u64> = [lines(&old), lines(&file)]
        .concat()
        .iter()
        .filter_map(|line| line["lead"]["n"].as_u64())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..400), "{numbers:?}");
    assert!(!lines(&old).is_empty() && !lines(&file).is_empty());
}

#[test]
fn a_webhook_is_signed_and_its_failures_are_told_apart() {
    const SECRET: &str = "a long enough secret";
    let bridge = Bridge::start();
    let receiver = Service::start(|request, before| match request.lead["n"].as_u64() {
        Some(1) => Reply::status(422),
        // Twice overloaded; that costs the lead no attempt.
        Some(2) if before < 2 => Reply::status(503),
        // Always fails over this one lead, and takes all the others.
        Some(3) => Reply::status(500),
        _ => Reply::ok(),
    });
    let sinks = format!(
        "{STREAM}{}",
        sink(
            "webhook",
            &format!(
                "name = \"crm\"\nurl = \"{}\"\nsecret = \"{SECRET}\"",
                receiver.url
            )
        )
    );
    let flags = ["--max-retries", "1", "--retry-delay-base", "0.1"];
    let _worker = worker(&bridge, NOOP, &sinks, &flags);
    let mut pushed = 0;
    // Others get through meanwhile, so that it is not the receiver that is away.
    eventually("all but two are done", || {
        if pushed < 300 {
            bridge.push(person(pushed).to_string());
            pushed += 1;
        }
        bridge.done() == 298 && bridge.dead() == 2
    });
    let dead: HashMap<u64, Value> = bridge
        .dead_letters()
        .into_iter()
        .filter_map(|letter| Some((letter["lead"]["n"].as_u64()?, letter)))
        .collect();
    assert_eq!(dead[&1]["station"], "crm");
    assert_eq!(
        (&dead[&1]["error_kind"], &dead[&1]["retry_count"]),
        (&json!("permanent"), &json!(0))
    );
    assert_eq!(
        (&dead[&3]["error_kind"], &dead[&3]["retry_count"]),
        (&json!("transient"), &json!(1))
    );
    assert!(
        dead[&3]["error"]
            .as_str()
            .is_some_and(|error| error.contains("HTTP 500"))
    );
    assert_eq!(bridge.stat("retried"), 1);

    let mut keys: HashMap<u64, String> = HashMap::new();
    for request in receiver.requests() {
        let header = |name: &str| request.headers[name].clone();
        let n = request.lead["n"].as_u64().expect("a number");
        let id = keys.entry(n).or_insert_with(|| header("webhook-id"));
        assert_eq!((&header("webhook-id"), &request.key), (&*id, &*id));
        assert_eq!(
            header("webhook-signature"),
            signature(
                SECRET,
                id,
                &header("webhook-timestamp"),
                request.lead.to_string().as_bytes()
            )
        );
    }
    assert_eq!(keys.len(), 300);
}

fn signature(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut hmac =
        Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    hmac.update(format!("{id}.{timestamp}.").as_bytes());
    hmac.update(body);
    format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
}

#[test]
fn a_receiver_that_is_away_is_waited_for() {
    let bridge = Bridge::start();
    let receiver = Service::start(|_, before| {
        if before < 5 {
            Reply::status(503)
        } else {
            Reply::ok()
        }
    });
    let sinks = sink(
        "webhook",
        &format!("url = \"{}\"\nsecret = \"s\"", receiver.url),
    );
    for n in 0..20 {
        bridge.push(person(n).to_string());
    }
    let _worker = worker(&bridge, NOOP, &sinks, &[]);
    eventually("all are done", || bridge.stat("done") == 20);
    assert_eq!((bridge.stat("retried"), bridge.dead()), (0, 0));
    assert_eq!(receiver.requests().len(), 120);
}

#[test]
fn a_receiver_that_lets_nobody_in_holds_its_leads_until_that_is_mended() {
    for status in [401, 302] {
        let bridge = Bridge::start();
        let open = Arc::new(AtomicBool::new(false));
        let door = Arc::clone(&open);
        let receiver = Service::start(move |_, _| {
            if door.load(Ordering::Relaxed) {
                Reply::ok()
            } else {
                Reply::status(status)
            }
        });
        let webhook = format!("url = \"{}\"\nsecret = \"s\"", receiver.url);
        for n in 0..20 {
            bridge.push(person(n).to_string());
        }
        let flags = ["--concurrency", "20"];
        let _worker = worker(&bridge, NOOP, &sink("webhook", &webhook), &flags);
        eventually("some have been turned away again and again", || {
            receiver.requests().len() > 8 || bridge.dead() > 0
        });
        open.store(true, Ordering::Relaxed);
        eventually("all are done", || bridge.stat("done") + bridge.dead() == 20);
        assert_eq!((bridge.stat("retried"), bridge.dead()), (0, 0), "{status}");
    }
}

#[test]
fn a_lead_that_is_given_back_while_a_sink_is_away_has_its_whole_budget_again() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    let open = Arc::new(AtomicBool::new(false));
    let door = Arc::clone(&open);
    let receiver = Service::start(move |_, _| {
        if door.load(Ordering::Relaxed) {
            Reply::ok()
        } else {
            Reply::status(503)
        }
    });
    let stations = format!("budget = 0.01\n{}cost = 0.01\n", http(&service));
    let webhook = format!("url = \"{}\"\nsecret = \"s\"", receiver.url);
    let sinks = format!("{STREAM}{}", sink("webhook", &webhook));
    bridge.push(person(1).to_string());
    let mut first = worker(&bridge, &stations, &sinks, &["--shutdown-timeout", "0.1"]);
    eventually("it waits for the receiver", || {
        !receiver.requests().is_empty()
    });
    first.signal("TERM");
    assert!(first.wait().success());
    assert_eq!(bridge.waiting(), 1);
    open.store(true, Ordering::Relaxed);
    let _second = worker(&bridge, &stations, &sinks, &[]);
    eventually("it is done", || bridge.done() == 1);
    assert_eq!(bridge.stat("skipped"), 0);
    let lead = &bridge.enriched()[0];
    assert_eq!(lead["_pipeline_stations_executed"], json!(["enrich"]));
    assert_eq!(service.requests().len(), 2);
}

#[test]
fn a_changed_route_mends_a_sink_that_is_away_also_for_the_leads_that_wait_for_it() {
    let bridge = Bridge::start();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that nobody listens on");
    let route = |sinks: &str| format!("[pipelines.p]\n{NOOP}\n{sinks}");
    let broken = sink(
        "webhook",
        &format!("url = \"http://{closed}\"\nsecret = \"s\""),
    );
    let file = bridge.route(&route(&broken));
    let flags = ["--pipeline", &file, "--concurrency", "10"];
    let _worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    // One by one, so that they are several batches.
    for n in 0..10 {
        bridge.push(person(n).to_string());
        eventually("it is in hand", || bridge.in_flight() == n + 1);
    }
    let mended = bridge.route(&route(&sink("jsonl", "path = \"out.jsonl\"")));
    std::fs::rename(mended, &file).expect("renamed");
    for n in 10..30 {
        bridge.push(person(n).to_string());
    }
    eventually("all are done", || bridge.stat("done") == 30);
    let mut numbers: Vec<u64> = lines(&bridge.folder.path().join("out.jsonl"))
        .iter()
        .filter_map(|line| line["lead"]["n"].as_u64())
        .collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..30), "{numbers:?}");
    assert_eq!(
        (bridge.stat("retried"), bridge.dead(), bridge.in_flight()),
        (0, 0, 0)
    );
}

#[test]
fn leads_that_wait_for_a_sink_are_not_worked_on_again_when_redis_was_away() {
    let mut bridge = Bridge::with_redis(&["--appendonly", "yes", "--appendfsync", "always"]);
    let service = Service::start(|_, _| Reply::ok());
    let open = Arc::new(AtomicBool::new(false));
    let door = Arc::clone(&open);
    let receiver = Service::start(move |_, _| {
        if door.load(Ordering::Relaxed) {
            Reply::ok()
        } else {
            Reply::status(503)
        }
    });
    let sinks = sink(
        "webhook",
        &format!("url = \"{}\"\nsecret = \"s\"", receiver.url),
    );
    let route = bridge.route(&format!("[pipelines.p]\n{}\n{sinks}", http(&service)));
    let flags = ["--pipeline", &route, "--lead-timeout", "1"];
    let worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    for n in 0..5 {
        bridge.push(person(n).to_string());
    }
    eventually("all wait for the receiver", || {
        bridge.in_flight() == 5 && receiver.requests().len() >= 5
    });
    bridge.restart_redis();
    eventually("the worker is back", || {
        worker.log().contains("Redis answers again")
    });
    // For longer than an attempt from before may last, and then some.
    let back = Instant::now();
    eventually("an attempt's time is over", || {
        back.elapsed() > Duration::from_secs(4)
    });
    open.store(true, Ordering::Relaxed);
    eventually("all are done", || bridge.stat("done") == 5);
    assert_eq!(service.requests().len(), 5, "each was worked on once");
    assert_eq!((bridge.stat("lease_lost"), bridge.in_flight()), (0, 0));
}

#[test]
fn a_mistake_in_a_sink_is_named_with_its_line_and_never_with_its_secret() {
    for (keys, expected) in [
        ("name = \"x\"", ":8: a sink needs kind"),
        (
            "kind = \"postgress\"",
            ":9: no kind of sink is called \"postgress\"; did you mean \"postgres\"?",
        ),
        ("kind = \"postgres\"", ":8: sink \"postgres\" needs url"),
        (
            "kind = \"postgres\"\nurl = \"mysql://u:hunter2@h/d\"",
            ":10: this is not a PostgreSQL URL",
        ),
        (
            "kind = \"postgres\"\nurl = \"postgres://h/d\"\nschema = \"a b\"",
            ":11: schema must be a plain name",
        ),
        ("kind = \"jsonl\"", ":8: sink \"jsonl\" needs path"),
        ("kind = \"jsonl\"\npath = \"/tmp\"", "/tmp is a folder"),
        (
            "kind = \"jsonl\"\npath = \"/no/such/folder/x.jsonl\"",
            "there is no folder for /no/such",
        ),
        (
            "kind = \"webhook\"\nurl = \"http://h\"",
            ":8: sink \"webhook\" needs secret",
        ),
        (
            "kind = \"webhook\"\nurl = \"ftp://h\"\nsecret = \"hunter2\"",
            ":10: this is not an http or https URL",
        ),
        (
            "kind = \"stream\"\n[[pipelines.p.sinks]]\nkind = \"stream\"",
            ":10: two sinks are called \"stream\"",
        ),
        (
            "kind = \"stream\"\ncolour = 1",
            ":10: sink \"stream\" has an unknown key \"colour\"",
        ),
    ] {
        let bridge_route = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
        let text = format!(
            "default_pipeline = \"p\"\n[pipelines.p]\n\n{NOOP}\n[[pipelines.p.sinks]]\n{keys}\n"
        );
        std::fs::write(bridge_route.path(), text).expect("written");
        let output = common::command(&["--pipeline"])
            .arg(bridge_route.path())
            .env("REDIS_URL", "redis://127.0.0.1:1/0")
            .output()
            .expect("the worker runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{keys}");
        assert!(
            said.contains(expected) && !said.contains("hunter2"),
            "{said}\nnot: {expected}"
        );
    }
}
