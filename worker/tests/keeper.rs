//! An engine whose only thread is held up: its lease, what is said of it, the signals, and its end.
//!
//! It is held by a changed route whose schema file is a pipe that nobody writes: the route is read on the
//! engine's thread, as a station computes on it, until the test writes the schema.

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bridge_shared::event::{EventBatch, EventKind};
use common::{Bridge, Reply, Service, Worker, command, eventually};

const SCHEMA: &str = "{}";

/// A worker of one thread with a lead in hand, and another that waits for leads.
struct Held {
    bridge: Bridge,
    service: Service,
    worker: Worker,
    other: Worker,
    schema: PathBuf,
    health: PathBuf,
}

impl Held {
    /// Holds the engine of a worker that has called the service for a lead.
    fn start(flags: &[&str]) -> Self {
        // The first answer comes when the engine is held.
        let service = Service::start(|_, before| match before {
            0 => Reply::ok().after(8_000),
            _ => Reply::ok(),
        });
        let bridge = Bridge::start();
        let schema = bridge.folder.path().join("schema.json");
        let health = bridge.folder.path().join("health");
        std::fs::write(&schema, SCHEMA).expect("a schema");
        let text = format!(
            "[pipelines.p]\n[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ntimeout = \"300s\"\n",
            service.url
        );
        let other = bridge.route(&text);
        let route = bridge.route(&format!(
            "{text}[[pipelines.p.stations]]\nkind = \"validate\"\nname = \"check\"\nschema_file = \"{}\"\n",
            schema.display()
        ));
        let start = |flags: &[&str]| {
            let flags = [&["--lease-seconds", "1"], flags].concat();
            Worker::start(&bridge.redis.url(), &bridge.log(), &flags)
        };
        let file = health.to_str().expect("a plain path").to_owned();
        let its = [
            "--pipeline",
            &route,
            "--health-file",
            &file,
            "--http",
            "127.0.0.1:0",
        ];
        let worker = start(&[&its, flags].concat());
        bridge.push("{\"name\":\"Ada\"}");
        eventually("the lead is in hand", || service.requests().len() == 1);
        std::fs::remove_file(&schema).expect("removed");
        let made = Command::new("mkfifo").arg(&schema).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo");
        worker.signal("HUP");
        eventually("the engine is held", || {
            worker.log().contains("no sign of life; its lease is kept")
        });
        let other = start(&["--pipeline", &other]);
        eventually("both are there", || bridge.workers().len() == 2);
        Self {
            bridge,
            service,
            worker,
            other,
            schema,
            health,
        }
    }

    fn let_go(&self) {
        std::fs::write(&self.schema, SCHEMA).expect("read by the engine");
    }

    fn infos(&self) -> Vec<String> {
        self.bridge.redis("HVALS leads_to_enrich:workers:info")
    }

    fn was_given_back_without_a_death(&self) {
        eventually("the other one has the lead", || self.bridge.done() == 1);
        let lost: Vec<String> = self.bridge.redis("HVALS leads_to_enrich:workers:lost");
        assert!(lost.is_empty(), "{lost:?}");
        let requests = self.service.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[0].key, requests[1].key, "it is the same lead");
        assert!(
            !self.other.log().contains("a worker died"),
            "{}",
            self.other.log()
        );
    }
}

/// What `healthcheck` says.
fn health(file: &Path) -> (bool, String) {
    let output = command(&["healthcheck"])
        .env("HEALTH_FILE", file)
        .stdout(Stdio::piped())
        .output()
        .expect("the worker runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.success(), said)
}

/// The status of `/readyz`, and its body.
fn readyz(worker: &Worker) -> String {
    let log = worker.log();
    let mut lines = log.lines().map(serde_json::from_str::<serde_json::Value>);
    let address = lines.find_map(|line| Some(line.ok()?["address"].as_str()?.to_owned()));
    let mut stream = TcpStream::connect(address.expect("it listens")).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a limit");
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_held_engine_keeps_its_lease_and_is_not_well_until_it_goes_on() {
    let held = Held::start(&[]);
    eventually("ill", || {
        let (is_well, said) = health(&held.health);
        !is_well && said.contains("no sign of life")
    });
    eventually("told to all", || {
        let infos = held.infos();
        infos.iter().any(|info| info.contains("no sign of life"))
    });
    let ready = readyz(&held.worker);
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert_eq!(held.bridge.workers().len(), 2);
    assert_eq!((held.bridge.in_flight(), held.bridge.done()), (1, 0));
    held.let_go();
    eventually("well", || health(&held.health).0);
    eventually("done", || held.bridge.done() == 1);
    assert_eq!(held.service.requests().len(), 1, "it was called once");
    let bridge = &held.bridge;
    assert_eq!(bridge.stat("lease_lost") + bridge.stat("recovered"), 0);
    assert!(held.worker.log().contains("the engine goes on"));
    assert!(readyz(&held.worker).starts_with("HTTP/1.1 200 "));
}

#[test]
fn sigterm_ends_a_held_engine_in_time_and_its_lead_is_given_back() {
    let mut held = Held::start(&["--shutdown-timeout", "1"]);
    held.worker.signal("TERM");
    assert_eq!(held.worker.wait().code(), Some(1));
    let log = held.worker.log();
    assert!(log.contains("does not stop; the process ends"), "{log}");
    assert!(log.contains("gave the leads in hand back"), "{log}");
    held.was_given_back_without_a_death();
}

#[test]
fn the_third_signal_ends_a_held_engine_at_once() {
    let mut held = Held::start(&["--shutdown-timeout", "600"]);
    for said in ["stopping: leads", "stopping at once"] {
        held.worker.signal("TERM");
        eventually(said, || held.worker.log().contains(said));
    }
    let mut connection = common::connect(&held.bridge.redis);
    let mut events = common::listen(&mut connection);
    let third = Instant::now();
    held.worker.signal("TERM");
    assert_eq!(held.worker.wait().code(), Some(130));
    // Without it the grace of the second one would be over after five seconds.
    assert!(
        third.elapsed() < Duration::from_secs(4),
        "{:?}",
        third.elapsed()
    );
    // The engine is held, so only the keeper can tell of its lead.
    let handed_back = || {
        let message = events.get_message().expect("it is told");
        let batch = EventBatch::decode(message.get_payload_bytes()).expect("events");
        let mut kinds = batch.events.iter().map(|event| event.event);
        kinds.any(|kind| kind == EventKind::Requeued)
    };
    eventually("it is told", handed_back);
    held.was_given_back_without_a_death();
}

#[test]
fn an_engine_that_is_held_for_a_minute_ends_and_its_lead_goes_to_another_worker() {
    let mut held = Held::start(&["--lead-timeout", "30"]);
    let begun = Instant::now();
    while !held.worker.has_ended() {
        assert!(begun.elapsed() < Duration::from_secs(180), "it never ends");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        begun.elapsed() > Duration::from_secs(50),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(held.worker.wait().code(), Some(1));
    assert!(held.worker.log().contains("its leads go to other workers"));
    eventually("the other one has the lead", || held.bridge.done() == 1);
}
