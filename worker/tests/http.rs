//! The `http` station against a service that answers as services do, and as they should not.

mod common;

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Bridge, PATIENCE, Reply, Service, Worker, eventually};
use serde_json::{Value, json};

/// Pushes one lead past a worker without retries and returns its dead letter.
fn dead_letter(reply: fn() -> Reply) -> Value {
    let bridge = Bridge::start();
    let service = Service::start(move |_, _| reply());
    let _worker = bridge.worker_with(&service, &["--max-retries", "0"]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);
    assert_eq!(bridge.done(), 0);
    bridge.dead_letters().remove(0)
}

#[track_caller]
fn assert_said(letter: &Value, kind: &str, words: &str) {
    let error = letter["error"].as_str().expect("an error");
    assert_eq!(letter["error_kind"], kind, "{error}");
    assert!(error.contains(words), "{error}\nsays nothing of: {words}");
    assert_eq!(letter["station"], "enrich");
    assert_eq!(letter["lead"], json!({"name": "Ada"}));
}

#[test]
fn an_answer_that_is_no_object_breaks_the_contract() {
    for (body, words) in [
        ("[1]", "the answer is not a JSON object but a list"),
        ("7", "the answer is not a JSON object but a number"),
        ("{\"a\":", "the answer is not JSON"),
        ("<html>", "the answer is not JSON"),
    ] {
        let bridge = Bridge::start();
        let service = Service::start(move |_, _| Reply::body(body));
        let _worker = bridge.worker_with(&service, &[]);
        bridge.push(r#"{"name":"Ada"}"#);
        eventually("the lead is dead", || bridge.dead() == 1);
        assert_said(&bridge.dead_letters()[0], "permanent", words);
        assert_eq!(service.requests().len(), 1, "{body}: not tried again");
    }
}

#[test]
fn an_answer_longer_than_eight_mebibytes_is_refused_and_one_as_long_is_not() {
    let letter = dead_letter(|| Reply::body(format!("{{\"x\":\"{}\"}}", "x".repeat(8 << 20))));
    assert_said(&letter, "permanent", "the answer is longer than 8 MiB");

    let bridge = Bridge::start();
    let service = Service::start(|_, _| {
        let frame = "{\"x\":\"\"}".len();
        Reply::body(format!("{{\"x\":\"{}\"}}", "x".repeat((8 << 20) - frame)))
    });
    let _worker = bridge.worker_with(&service, &[]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is done", || bridge.done() == 1);
}

#[test]
fn an_empty_answer_leaves_the_lead_as_it_was() {
    for body in ["", " \r\n"] {
        let bridge = Bridge::start();
        let service = Service::start(move |_, _| Reply::body(body));
        let _worker = bridge.worker_with(&service, &[]);
        bridge.push(r#"{"name":"Ada"}"#);
        eventually("the lead is done", || bridge.done() == 1);
        let lead = &bridge.enriched()[0];
        assert_eq!(lead["name"], "Ada");
        assert_eq!(lead["_pipeline_stations_executed"], json!(["enrich"]));
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Service::start(|_, _| Reply::ok());
    let to = elsewhere.url.clone();
    let service = Service::start(move |_, _| Reply {
        headers: format!("Location: {to}\r\n"),
        ..Reply::status(307)
    });
    let bridge = Bridge::start();
    let _worker = bridge.worker_with(&service, &[]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);
    assert_said(&bridge.dead_letters()[0], "permanent", "HTTP 307");
    assert_eq!(elsewhere.requests().len(), 0, "the lead went nowhere else");
}

#[test]
fn what_is_no_http_or_only_a_part_of_it_is_tried_again() {
    for raw in [
        &b"GARBAGE\r\n\r\n"[..],
        b"\x00\xff\x1b[31m",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":",
    ] {
        let bridge = Bridge::start();
        let service = Service::start(move |_, before| {
            if before == 0 {
                Reply::raw(raw)
            } else {
                Reply::ok()
            }
        });
        let _worker = bridge.worker_with(&service, &["--retry-delay-base", "0.01"]);
        bridge.push(r#"{"name":"Ada"}"#);
        eventually("the second try succeeds", || bridge.done() == 1);
        let lead = &bridge.enriched()[0];
        assert_eq!((&lead["enriched"], lead.get("half")), (&json!(true), None));
        assert_eq!(bridge.stat("retried"), 1);
    }
}

#[test]
fn nobody_at_the_address_is_a_transient_failure() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that is free again")
        .port();
    let bridge = Bridge::start();
    let route = bridge.route(&format!(
        "[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"http://127.0.0.1:{port}/\"\n"
    ));
    let _worker = Worker::start(
        &bridge.redis.url(),
        &bridge.log(),
        &["--pipeline", &route, "--max-retries", "0"],
    );
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);
    let letter = &bridge.dead_letters()[0];
    assert_said(letter, "transient", "cannot reach http://127.0.0.1:");
}

#[test]
fn a_service_that_never_answers_is_given_up_after_the_stations_timeout() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(PATIENCE.as_secs() * 1_000));
    let route = bridge.route(&format!(
        "[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ntimeout = \"200ms\"\n",
        service.url
    ));
    let _worker = Worker::start(
        &bridge.redis.url(),
        &bridge.log(),
        &["--pipeline", &route, "--max-retries", "0"],
    );
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);
    assert_said(&bridge.dead_letters()[0], "timeout", "0.2 s");
}

#[test]
fn one_connection_carries_many_leads() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    bridge.push_numbered(20);
    let _worker = bridge.worker_with(&service, &["--concurrency", "1"]);
    eventually("all are done", || bridge.done() == 20);
    let connections: HashSet<usize> = service
        .requests()
        .iter()
        .map(|request| request.connection)
        .collect();
    // The next lead may come a moment before the connection of the last one is free again.
    assert!(connections.len() <= 10, "{connections:?}");
}

#[test]
fn no_secret_of_the_route_comes_into_an_error_a_log_or_an_envelope() {
    const SECRETS: [&str; 3] = ["hunter2", "sesame", "bearer-secret"];
    let bridge = Bridge::start();
    let service = Service::start(|request, _| {
        assert_eq!(request.headers["authorization"], "Basic dXNlcjpodW50ZXIy");
        assert_eq!(request.headers["x-token"], "bearer-secret");
        assert_eq!(request.line, "POST /enrich?key=sesame");
        match request.lead["n"].as_u64() {
            Some(0) => Reply::status(404),
            Some(1) => Reply::raw(&b"GARBAGE"[..]),
            Some(2) => Reply::body("[]"),
            _ => Reply::ok().after(PATIENCE.as_secs() * 1_000),
        }
    });
    let url = service
        .url
        .replace("http://", "http://user:${TEST_PASSWORD}@");
    let route = bridge.route(&format!(
        "[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{url}?key=${{TEST_KEY}}\"\ntimeout = \"1s\"\nheaders = {{ x-token = \"${{TEST_TOKEN}}\" }}\n",
    ));
    let log = bridge.log();
    let mut worker = common::command(&["--pipeline", &route, "--max-retries", "0"])
        .env("REDIS_URL", bridge.redis.url())
        .env("RUST_LOG", "trace")
        .env("TEST_PASSWORD", SECRETS[0])
        .env("TEST_KEY", SECRETS[1])
        .env("TEST_TOKEN", SECRETS[2])
        .stderr(std::fs::File::create(&log).expect("a log file"))
        .spawn()
        .expect("the worker starts");
    bridge.push_numbered(4);
    eventually("all are dead", || bridge.dead() == 4);
    worker.kill().expect("killed");
    worker.wait().expect("ended");
    let mut told = std::fs::read_to_string(&log).expect("the log");
    let letters = bridge.dead_letters();
    let mut kinds: Vec<&str> = letters
        .iter()
        .filter_map(|letter| letter["error_kind"].as_str())
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["permanent", "permanent", "timeout", "transient"]);
    for letter in letters {
        told.push_str(&letter.to_string());
    }
    for secret in SECRETS.into_iter().chain(["dXNlcjpodW50ZXIy"]) {
        let place = told.lines().find(|line| line.contains(secret));
        assert_eq!(place, None, "{secret} is shown");
    }
}

/// Starts a worker whose leads go through one http station with these keys.
fn worker(bridge: &Bridge, keys: &str, flags: &[&str]) -> Worker {
    let route = bridge.route(&format!(
        "[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\ntimeout = \"30s\"\n{keys}\n"
    ));
    let flags = [&["--pipeline", route.as_str()], flags].concat();
    Worker::start(&bridge.redis.url(), &bridge.log(), &flags)
}

#[test]
fn every_part_of_a_request_is_made_from_the_lead_and_the_answer_is_mapped() {
    let bridge = Bridge::start();
    let service = Service::start(|request, _| match request.lead["who"].as_str() {
        Some("nobody") => Reply::status(404),
        _ => Reply::body(
            r#"{"people":[{"mail":"a@example.com","main":true},{"mail":"b@example.com"}],"score":0.50,"name":"Eve"}"#,
        ),
    });
    let keys = format!(
        r#"
        method = "PATCH"
        url = "{}/{{{{ id }}}}"
        query = {{ key = "a b&c", q = "{{{{ name }}}}" }}
        headers = {{ x-who = "{{{{ name }}}}", content-type = "application/merge-patch+json" }}
        body = '{{"who": {{{{ name }}}}}}'
        map = {{ "found.first" = "$.people[0].mail", all = "$.people[*].mail", score = "$.score" }}
        no_match = [404]
        "#,
        service.url
    );
    let _worker = worker(&bridge, &keys, &["--concurrency", "1"]);
    bridge.push(r#"{"id":"../admin?x=1","name":"A \"b\" & Ü"}"#);
    bridge.push(r#"{"id":7,"name":"nobody"}"#);
    bridge.push(r#"{"id":8}"#);
    eventually("all have come to an end", || {
        bridge.done() == 2 && bridge.dead() == 1
    });
    let request = &service.requests()[0];
    assert_eq!(
        request.line,
        "PATCH /enrich/..%2Fadmin%3Fx%3D1?key=a+b%26c&q=A+%22b%22+%26+%C3%9C"
    );
    assert_eq!(request.headers["x-who"], "A \"b\" & Ü");
    assert_eq!(
        request.headers["content-type"],
        "application/merge-patch+json"
    );
    assert_eq!(request.lead, json!({"who": "A \"b\" & Ü"}));
    assert!(!request.key.is_empty());
    let leads = bridge.enriched();
    assert_eq!(leads[0]["found"], json!({"first": "a@example.com"}));
    assert_eq!(leads[0]["all"], json!(["a@example.com", "b@example.com"]));
    assert_eq!(leads[0]["score"].to_string(), "0.50");
    assert_eq!(leads[0]["name"], "A \"b\" & Ü", "what is not mapped stays");
    assert_eq!(
        (&leads[1]["name"], leads[1].get("score")),
        (&json!("nobody"), None)
    );
    let letter = &bridge.dead_letters()[0];
    assert_eq!(letter["error_kind"], "invalid");
    assert_eq!(service.requests().len(), 2, "the third was never sent");
}

#[test]
fn a_service_that_is_down_is_left_alone_until_one_lead_finds_it_well() {
    const COOLDOWN: Duration = Duration::from_millis(400);
    let bridge = Bridge::start();
    let calls = AtomicUsize::new(0);
    let service = Service::start(move |_, _| {
        if calls.fetch_add(1, Ordering::Relaxed) < 4 {
            Reply::status(503)
        } else {
            Reply::ok()
        }
    });
    bridge.push_numbered(10);
    let keys = format!(
        "url = \"{}\"\nbreaker = {{ failures = 3, cooldown = \"400ms\" }}",
        service.url
    );
    let flags = [
        "--concurrency",
        "1",
        "--retry-delay-base",
        "0.01",
        "--max-retries",
        "100",
    ];
    let _worker = worker(&bridge, &keys, &flags);
    eventually("all are done", || bridge.done() == 10);
    let requests = service.requests();
    assert_eq!(requests.len(), 14, "none was wasted");
    // The third failure opened it, the trial after the first rest failed, that after the second
    // did not.
    for pair in [2, 3] {
        let rest = requests[pair + 1].at - requests[pair].at;
        assert!(rest >= COOLDOWN, "left alone for {rest:?}");
    }
    assert!(bridge.stat("retried") > 4, "leads were sent away meanwhile");
}

#[test]
fn leads_of_a_service_that_is_down_can_come_back_without_losing_an_attempt() {
    let bridge = Bridge::start();
    let service = Service::start(|request, before| match request.lead["n"].as_u64() {
        Some(0) if before == 0 => Reply::status(503),
        _ => Reply::ok(),
    });
    bridge.push_numbered(5);
    let keys = format!(
        "url = \"{}\"\nbreaker = {{ failures = 1, cooldown = \"200ms\", then = \"postpone\" }}",
        service.url
    );
    let flags = ["--concurrency", "1", "--retry-delay-base", "0.01"];
    let _worker = worker(&bridge, &keys, &flags);
    eventually("all are done", || bridge.done() == 5);
    assert_eq!((service.requests().len(), bridge.stat("retried")), (6, 1));
    assert!(bridge.stat("postponed") >= 4);
}

#[test]
fn a_slow_answer_is_asked_for_once_more_and_the_first_one_counts() {
    let bridge = Bridge::start();
    let service = Service::start(|_, before| {
        if before == 0 {
            Reply::ok().after(PATIENCE.as_millis().try_into().expect("it is short"))
        } else {
            Reply::ok()
        }
    });
    let keys = format!("url = \"{}\"\nhedge = \"50ms\"", service.url);
    let _worker = worker(&bridge, &keys, &["--max-retries", "0"]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    let requests = service.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].key, requests[1].key);
    assert_eq!(requests[0].lead, requests[1].lead);
}

#[test]
fn a_lead_cannot_send_the_worker_into_its_own_network() {
    let service = Service::start(|_, _| Reply::ok());
    let port = service
        .url
        .rsplit(':')
        .next()
        .and_then(|rest| rest.split('/').next())
        .expect("a port")
        .to_owned();
    let keys = format!("url = \"http://{{{{ host }}}}:{port}/enrich\"");
    let bridge = Bridge::start();
    let _worker = worker(&bridge, &keys, &[]);
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
    ];
    for host in hosts {
        bridge.push(json!({ "host": host }).to_string());
    }
    eventually("all are dead", || bridge.dead() == hosts.len());
    for letter in bridge.dead_letters() {
        assert_eq!(letter["error_kind"], "invalid", "{letter}");
    }
    assert_eq!(service.requests().len(), 0);

    let bridge = Bridge::start();
    let allowed = format!("{keys}\nprivate_hosts = true");
    let _worker = worker(&bridge, &allowed, &[]);
    bridge.push(r#"{"host":"localhost"}"#);
    eventually("the lead is done", || bridge.done() == 1);
}
