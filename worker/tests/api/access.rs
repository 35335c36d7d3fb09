//! Who may ask, and who hears no.

use std::process::Stdio;

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
            "dedupe must be true or false, not \"perhaps\"".into(),
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
