//! Who may ask, and who hears no.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::client::Api;
use crate::common::{Bridge, command};

const TOKEN: &str = "7d1f-made-up-token";

fn with_token(flags: &[&str]) -> (Bridge, Api) {
    let bridge = Bridge::start();
    let api = Api::with(&bridge, flags, &[("BRIDGE_API_TOKEN", TOKEN)]);
    (bridge, api)
}

#[test]
fn with_a_token_every_request_needs_it_but_those_for_health() {
    let (_bridge, api) = with_token(&[]);
    let right = ("Authorization", &*format!("Bearer {TOKEN}"));
    for (method, path) in [
        ("GET", "/dlq/count"),
        ("GET", "/status"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/events"),
        ("POST", "/dlq/retry-all"),
        ("DELETE", "/dlq/clear"),
        ("POST", "/leads"),
        ("GET", "/nothing"),
    ] {
        let refused = api.send(method, path, &[], b"");
        let (detail, _) = refused.problem(401);
        assert!(detail.contains("BRIDGE_API_TOKEN"), "{detail}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        let wrong = [("Authorization", "Bearer 7d1f-made-up-toke")];
        api.send(method, path, &wrong, b"").problem(401);
    }
    api.get("/healthz").ok();
    api.get("/readyz").ok();
    api.send("GET", "/dlq/count", &[right], b"").ok();
    api.send("POST", "/dlq/retry-all", &[right], b"").ok();
    assert!(!api.process.log().contains(TOKEN));
}

#[test]
fn strangers_that_say_nothing_keep_nobody_out() {
    let (_bridge, api) = with_token(&[]);
    let right = ("Authorization", &*format!("Bearer {TOKEN}"));
    // One that has the token keeps its connection.
    let mut events = api.connect();
    api.head(&mut events, "GET", "/events", &[right]);
    events.write_all(b"\r\n").expect("sent");
    let mut head = [0; 12];
    events.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    let strangers: Vec<_> = (0..1_024)
        .map(|n| {
            let mut stream = api.connect();
            if n % 2 == 0 {
                let _ = stream.write_all(b"GET /status HTTP/1.1\r\nHost: ");
            }
            stream
        })
        .collect();
    for (path, headers) in [
        ("/healthz", &[][..]),
        ("/readyz", &[]),
        ("/status", &[right]),
    ] {
        let asked = Instant::now();
        api.send("GET", path, headers, b"").ok();
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(2), "{path}: {took:?}");
    }
    events
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a limit");
    let end = events.read_to_end(&mut Vec::new());
    let still_open = end.expect_err("the events have not ended").kind();
    assert_eq!(still_open, std::io::ErrorKind::WouldBlock);
    drop(strangers);
}

#[test]
fn public_read_opens_what_reads_and_nothing_else() {
    let (bridge, api) = with_token(&["--public-read"]);
    let _: u64 = bridge.run(&[b"LPUSH", b"failed_leads", b"{\"name\":\"Ada\"}"]);
    api.get("/dlq/items").ok();
    api.get("/status").ok();
    api.post("/dlq/retry/0").problem(401);
    api.send("DELETE", "/dlq/clear", &[], b"").problem(401);
    api.push("/leads", "application/json", b"{}").problem(401);
    assert_eq!((bridge.dead(), bridge.waiting()), (1, 0));
}

#[test]
fn only_words_that_mean_yes_open_the_api_and_reading_without_a_token_is_logged() {
    let bridge = Bridge::start();
    for (name, value) in [
        ("BRIDGE_API_PUBLIC_READ", "nope"),
        ("BRIDGE_API_PUBLIC_READ", "\"false\""),
        ("BRIDGE_API_PUBLIC_READ", "false # comment"),
        ("BRIDGE_API_INSECURE", "disabled"),
        ("BRIDGE_API_INSECURE", "'true'"),
    ] {
        for flags in [&["api"][..], &["run", "--http", "127.0.0.1:0"]] {
            let mut process = command(flags)
                .env("REDIS_URL", bridge.redis.url())
                .env("BRIDGE_API_LISTEN", "127.0.0.1:0")
                .env("BRIDGE_API_TOKEN", TOKEN)
                .env(name, value)
                .stderr(Stdio::piped())
                .spawn()
                .expect("the worker starts");
            let said = ended(&mut process);
            let words = format!("{name} must be true, false, yes, no, on, off, 1 or 0, not ");
            assert!(said.contains(&words), "{name}={value}: {said}");
        }
    }
    let told = "reading needs no token";
    let settings = |value| {
        [
            ("BRIDGE_API_TOKEN", TOKEN),
            ("BRIDGE_API_PUBLIC_READ", value),
        ]
    };
    for value in ["no", "OFF", ""] {
        let api = Api::with(&bridge, &[], &settings(value));
        api.get("/status").problem(401);
        assert!(!api.process.log().contains(told));
    }
    let api = Api::with(&bridge, &[], &settings("On"));
    api.get("/status").ok();
    api.post("/dlq/retry-all").problem(401);
    assert!(api.process.log().contains(told));
}

/// What a process says that ends by itself; one that goes on is stopped and fails the test.
fn ended(process: &mut std::process::Child) -> String {
    let begun = std::time::Instant::now();
    while process.try_wait().expect("its status").is_none() {
        if begun.elapsed() > crate::common::PATIENCE / 3 {
            let _ = process.kill();
            let _ = process.wait();
            panic!("it did not refuse its settings");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut said = String::new();
    let mut errors = process.stderr.take().expect("its errors");
    std::io::Read::read_to_string(&mut errors, &mut said).expect("text");
    said
}

#[test]
fn without_a_token_it_listens_on_the_loopback_and_nowhere_else() {
    let bridge = Bridge::start();
    let refused = |settings: &[(&str, &str)], flags: &[&str], words: &str| {
        let output = command(flags)
            .env("REDIS_URL", bridge.redis.url())
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .output()
            .expect("the worker runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(words), "{said}");
    };
    refused(&[], &["api", "--listen", "0.0.0.0:0"], "--insecure");
    refused(&[], &["api", "--listen", "[::]:0"], "BRIDGE_API_TOKEN");
    refused(
        &[("BRIDGE_API_TOKEN", " ")],
        &["api", "--listen", "0.0.0.0:0"],
        "--insecure",
    );
    refused(&[], &["run", "--http", "0.0.0.0:0"], "--insecure");
    refused(
        &[("BRIDGE_API_TOKEN", "two words")],
        &["api"],
        "without spaces",
    );
    refused(
        &[],
        &["api", "--listen", "nowhere"],
        "such as 127.0.0.1:8000",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    refused(
        &[],
        &["api", "--listen", &taken],
        "Is another program there?",
    );
    let open = Api::of(
        &bridge,
        &["api", "--listen", "0.0.0.0:0", "--insecure"],
        &[],
    );
    assert!(open.address.starts_with("0.0.0.0:"));
    open.get("/dlq/count").ok();
    let guard = [("BRIDGE_API_TOKEN", TOKEN)];
    let guarded = Api::of(&bridge, &["api", "--listen", "0.0.0.0:0"], &guard);
    guarded.get("/dlq/count").problem(401);
}

#[test]
fn a_page_of_another_site_changes_and_reads_nothing() {
    let bridge = Bridge::start();
    let api = Api::with(&bridge, &["--allow-host", "bridge.example.com"], &[]);
    let _: u64 = bridge.run(&[b"LPUSH", b"failed_leads", b"{\"name\":\"Ada\"}"]);
    let change = |headers: &[(&str, &str)]| api.send("POST", "/dlq/retry/0", headers, b"");
    // What a browser adds to a form or a fetch of another page.
    change(&[("Origin", "https://evil.example")]).problem(403);
    change(&[("Origin", "null")]).problem(403);
    change(&[("Sec-Fetch-Site", "cross-site")]).problem(403);
    change(&[
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "http://127.0.0.1:1"),
    ])
    .problem(403);
    api.send(
        "DELETE",
        "/dlq/clear",
        &[("Origin", "https://evil.example")],
        b"",
    )
    .problem(403);
    // And to one that made its own name lead here.
    change(&[("Host", "evil.example"), ("Origin", "http://evil.example")]).problem(421);
    api.send("GET", "/dlq/items", &[("Host", "evil.example")], b"")
        .problem(421);
    assert_eq!((bridge.dead(), bridge.waiting()), (1, 0));
    for host in [
        "localhost:8000",
        "scrapegoat:8000",
        "bridge.example.com",
        "[::1]:8000",
    ] {
        api.send("GET", "/dlq/count", &[("Host", host)], b"").ok();
    }
    change(&[("Host", "localhost:8000")]).ok();
}

#[test]
fn whatever_is_wrong_is_told_as_a_problem_with_an_id() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    api.get("/nothing").problem(404);
    api.get("/dlq/items/").problem(404);
    let wrong = api.get("/leads");
    wrong.problem(405);
    assert_eq!(wrong.headers["allow"], "POST");
    api.send("PATCH", "/dlq/items", &[], b"").problem(405);
    let huge = vec![b'x'; 100 << 10];
    api.send("POST", "/dlq/retry-all", &[], &huge).problem(413);
    api.send("GET", "/dlq/items/%ff/x", &[], b"").problem(404);
    api.post("/dlq/items/%ff/retry").problem(422);
    let own = api.send("GET", "/nothing", &[("X-Request-Id", "mine-1")], b"");
    assert_eq!(own.headers["x-request-id"], "mine-1");
    let odd = api.send("GET", "/healthz", &[("X-Request-Id", "a b\"c")], b"");
    assert_eq!(odd.headers["x-request-id"].len(), 10);
}

#[test]
fn what_is_wrong_with_a_request_is_told_in_plain_words() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let places = "must be a whole number from 0 to 9223372036854775807";
    for (method, path, words) in [
        (
            "GET",
            "/dlq/items?limit=many",
            format!("limit {places}, not \"many\""),
        ),
        (
            "GET",
            "/dlq/items?limit=-1",
            format!("limit {places}, not \"-1\""),
        ),
        ("GET", "/dlq?limit=", format!("limit {places}, not \"\"")),
        (
            "GET",
            "/dlq?offset=9223372036854775808",
            format!("offset {places}, not \"9223372036854775808\""),
        ),
        (
            "GET",
            "/dlq/items?limit=1&limit=2",
            "`limit` stands there more than once".into(),
        ),
        (
            "POST",
            "/dlq/retry/first",
            "the index must be a whole number from 0 to 18446744073709551615, not \"first\"".into(),
        ),
        (
            "POST",
            "/dlq/items/%ff/retry",
            "`id` is not UTF-8 behind its percent signs".into(),
        ),
        (
            "POST",
            "/leads?dedupe=perhaps",
            "dedupe must be true, false, yes, no, on, off, 1 or 0, not \"perhaps\"".into(),
        ),
        (
            "POST",
            "/leads?dedupe_days=36501",
            "dedupe_days must be a whole number from 0 to 36500, not \"36501\"".into(),
        ),
    ] {
        let (detail, _) = api.send(method, path, &[], b"").problem(422);
        assert!(detail.ends_with(&*words), "{path}: {detail}");
    }
}
