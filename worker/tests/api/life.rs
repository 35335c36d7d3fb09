//! From the start to the end of an API.

use std::io::{BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::common::{Bridge, Reply, Service, command, eventually};

#[test]
fn the_description_knows_every_path() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let description = api.get("/openapi.json").ok();
    assert!(
        description["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let paths: Vec<String> = description["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| format!("{method} {path}"))
        })
        .collect();
    for path in [
        "get /dlq/items",
        "get /dlq",
        "get /dlq/count",
        "post /dlq/retry/{item_index}",
        "post /dlq/items/{id}/retry",
        "post /dlq/retry-all",
        "delete /dlq/clear",
        "get /status",
        "post /leads",
        "get /events",
        "get /healthz",
        "get /readyz",
        "get /metrics",
    ] {
        assert!(
            paths.iter().any(|known| known == path),
            "{path} of {paths:?}"
        );
    }
    // Lines are a text and no array, which a client would send as one.
    assert_eq!(
        description["components"]["schemas"]["Lines"]["type"],
        "string"
    );
    let scheme = &description["components"]["securitySchemes"]["token"];
    assert_eq!(
        (&scheme["type"], &scheme["scheme"]),
        (&json!("http"), &json!("bearer"))
    );
    assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_stop_ends_streams_and_gives_requests_under_way_their_answers() {
    let bridge = Bridge::start();
    let mut api = Api::start(&bridge);
    let mut events = api.listen();
    // A connection that wants nothing must not hold it up.
    let mut idle = api.connect();
    let mut upload = api.begin("/leads", "application/x-ndjson");
    upload.chunk(b"{\"n\":1}\n").expect("sent");
    eventually("the first lead waits", || bridge.waiting() == 1);
    api.process.signal("TERM");
    let (detail, all) = upload.answer().problem(503);
    assert!(detail.contains("stopping"), "{detail}");
    assert_eq!(all["accepted"], 1);
    assert_eq!(events.next_block(), None);
    assert!(api.process.wait().success());
    let mut nothing = Vec::new();
    assert_eq!(idle.read_to_end(&mut nothing).unwrap_or(0), 0);
    assert!(std::net::TcpStream::connect(&api.address).is_err());
}

#[test]
fn a_worker_answers_until_its_last_lead_is_through() {
    let bridge = Bridge::start();
    let told = Arc::new(AtomicBool::new(false));
    let go_on = Arc::clone(&told);
    let service = Service::start(move |_, _| {
        eventually("the test goes on", || go_on.load(Ordering::Relaxed));
        Reply::ok()
    });
    let route = bridge.route(&format!(
        "default_pipeline = \"main\"\n[[pipelines.main.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ntimeout = \"60s\"\n",
        service.url
    ));
    let flags = ["run", "--http", "127.0.0.1:0", "--shutdown-timeout", "60"];
    let mut worker = Api::of(
        &bridge,
        &[&flags[..], &["--pipeline", &route]].concat(),
        &[],
    );
    let lead = b"{\"name\":\"Ada\"}";
    worker.push("/leads", "application/json", lead).ok();
    eventually("in flight", || bridge.in_flight() == 1);
    worker.process.signal("TERM");
    eventually("not ready", || worker.get("/readyz").status == 503);
    assert_eq!(
        worker.get("/readyz").json()["detail"],
        "the worker is stopping"
    );
    told.store(true, Ordering::Relaxed);
    assert!(worker.process.wait().success());
    assert_eq!(bridge.done(), 1);
}

#[test]
fn one_connection_serves_many_requests_and_a_broken_one_no_more_than_itself() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut stream = api.connect();
    for garbage in [
        &b"\x16\x03\x01\x02"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ] {
        let mut broken = api.connect();
        broken.write_all(garbage).expect("sent");
        let mut answer = Vec::new();
        let _ = broken.shutdown(std::net::Shutdown::Write);
        let _ = broken.read_to_end(&mut answer);
    }
    let request = format!("GET /dlq/count HTTP/1.1\r\nHost: {}\r\n\r\n", api.address);
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"{\"count\":0}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "));
    }
}

#[test]
fn an_api_waits_for_redis_and_one_that_is_refused_says_so() {
    let mut bridge = Bridge::start();
    bridge.redis.kill();
    let api = Api::start(&bridge);
    api.get("/status").problem(503);
    bridge.restart_redis();
    eventually("it answers", || api.get("/status").status == 200);
    let output = command(&["api", "--listen", "127.0.0.1:0"])
        .env(
            "REDIS_URL",
            format!("redis://ada:hunter2@127.0.0.1:{}/0", bridge.redis.port()),
        )
        .stderr(Stdio::piped())
        .output()
        .expect("the worker runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("refuses the login"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn the_first_request_after_a_restart_of_redis_is_answered() {
    let mut bridge = Bridge::start();
    let api = Api::start(&bridge);
    for (method, path) in [
        ("GET", "/dlq/items"),
        ("GET", "/dlq/count"),
        ("GET", "/status"),
        ("GET", "/readyz"),
        ("POST", "/dlq/retry-all"),
        ("DELETE", "/dlq/clear"),
        ("POST", "/leads?dedupe"),
    ] {
        bridge.restart_redis();
        let answer = api.send(method, path, &[], b"[]");
        assert!(answer.status < 300, "{path}: {}", answer.text());
    }
}

#[test]
fn the_healthcheck_asks_an_api() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let check = |address: &str| {
        let output = command(&["healthcheck", "--api", address])
            .stdout(Stdio::piped())
            .output()
            .expect("the worker runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (well, said) = check(&api.address);
    assert!(well && said.contains("answers"), "{said}");
    let port = bridge.redis.port();
    let (well, said) = check(&format!("127.0.0.1:{port}"));
    assert!(!well && said.contains("not the API"), "{said}");
    let (well, said) = check("127.0.0.1:1");
    assert!(!well && said.lines().count() == 1, "{said}");
}

#[test]
fn a_head_comes_without_a_body() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut stream = api.connect();
    api.head(&mut stream, "HEAD", "/dlq/items", &[]);
    stream.write_all(b"\r\n").expect("sent");
    let answer = Answer::read(&mut BufReader::new(stream)).expect("an answer");
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.headers["content-type"], "application/json");
    let _: Value = api.get("/dlq/items").ok();
}
