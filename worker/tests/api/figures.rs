//! Status, health and the figures for Prometheus.

use std::collections::HashMap;

use serde_json::json;

use crate::client::Api;
use crate::common::{Bridge, Reply, Service, eventually};

/// The page, as name with labels -> value; it must be well-formed.
fn metrics(api: &Api) -> Page {
    let answer = api.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let (mut types, mut values) = (HashMap::new(), HashMap::new());
    for line in answer.text().lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            if words[0] == "TYPE" {
                let twice = types.insert(words[1].to_owned(), words[2].to_owned());
                assert_eq!(twice, None, "{line}");
            } else {
                assert_eq!(words[0], "HELP", "{line}");
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a value");
        let family = name.split('{').next().expect("a name");
        let of_histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| family.strip_suffix(suffix))
            .any(|family| types.get(family).is_some_and(|kind| kind == "histogram"));
        assert!(
            of_histogram || types.contains_key(family),
            "no type: {line}"
        );
        assert!(value.parse::<f64>().is_ok(), "no number: {line}");
        assert_eq!(
            values.insert(name.to_owned(), value.to_owned()),
            None,
            "twice: {line}"
        );
    }
    Page(values)
}

/// Names with labels -> values, as they are written.
struct Page(HashMap<String, String>);

impl Page {
    fn says(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|found| found == value)
    }

    #[track_caller]
    fn all(&self, wanted: &[(&str, &str)]) {
        for (name, value) in wanted {
            let found = self.0.get(*name).map(String::as_str);
            assert_eq!(found, Some(*value), "{name}");
        }
    }

    #[track_caller]
    fn is_more_than_nothing(&self, name: &str) {
        let value = self.0.get(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(
            value.parse::<f64>().is_ok_and(|value| value > 0.0),
            "{name} {value}"
        );
    }
}

#[test]
fn status_has_the_shape_of_the_command() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    bridge.push_numbered(3);
    let _: u64 = bridge.run(&[b"LPUSH", b"failed_leads", b"{}"]);
    let status = api.get("/status").ok();
    assert_eq!(status["waiting"], 3);
    assert_eq!(status["dead"], 1);
    assert_eq!(
        (&status["in_flight"], &status["retry"], &status["done"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(
        (&status["paused"], &status["workers"]),
        (&json!(false), &json!([]))
    );
    assert!(status["totals"]["retries_by_attempt"].is_object() && status["rate_per_s"].is_number());
}

#[test]
fn readiness_follows_redis_and_the_worker() {
    let mut bridge = Bridge::start();
    let api = Api::start(&bridge);
    assert_eq!(
        api.get("/readyz").ok(),
        json!({"ready": true, "redis": true})
    );
    let worker = Api::of(&bridge, &["run", "--http", "127.0.0.1:0"], &[]);
    eventually("ready", || worker.get("/readyz").status == 200);
    let ready = worker.get("/readyz").ok();
    assert_eq!(
        ready,
        json!({"ready": true, "redis": true, "pipeline": "default"})
    );
    bridge.redis.kill();
    for process in [&api, &worker] {
        let answer = process.get("/readyz");
        assert_eq!(
            (answer.status, &answer.json()["redis"]),
            (503, &json!(false))
        );
        assert!(!answer.text().contains("redis://"), "{}", answer.text());
        process.get("/healthz").ok();
        let (detail, _) = process.get("/dlq/count").problem(503);
        assert!(detail.contains("cannot reach Redis"), "{detail}");
        metrics(process).all(&[("bridge_redis_up", "0")]);
    }
    bridge.restart_redis();
    eventually("ready again", || {
        api.get("/readyz").status == 200 && worker.get("/readyz").status == 200
    });
}

#[test]
fn figures_of_the_bridge_and_of_a_worker_add_up() {
    let bridge = Bridge::start();
    let service = Service::start(
        |request, before| match (request.lead["n"].as_u64(), before) {
            (Some(0), _) => Reply::status(404),
            (Some(1), 0) => Reply::status(503),
            _ => Reply::ok(),
        },
    );
    let route = bridge.route(&format!(
        "default_pipeline = \"main\"\n[[pipelines.main.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ncost = 0.5\n",
        service.url
    ));
    let api = Api::start(&bridge);
    eventually("the API has its beginning", || {
        metrics(&api).says("bridge_redis_up", "1")
    });
    let flags = [
        "run",
        "--http",
        "127.0.0.1:0",
        "--concurrency",
        "7",
        "--retry-delay-base",
        "0.01",
    ];
    let worker = Api::of(
        &bridge,
        &[&flags[..], &["--pipeline", &route]].concat(),
        &[],
    );
    bridge.push_numbered(10);
    eventually("all is through", || {
        bridge.done() == 9 && bridge.dead() == 1
    });
    let calls = r#"bridge_station_calls_total{pipeline="main",station="enrich"}"#;
    eventually("the station's figures are written", || {
        metrics(&api).says(calls, "11")
    });
    let (all, own) = (metrics(&api), metrics(&worker));
    for page in [&all, &own] {
        page.all(&[
            ("bridge_dead_letters", "1"),
            ("bridge_waiting", "0"),
            ("bridge_in_flight", "0"),
            ("bridge_leads_done_total", "9"),
            ("bridge_leads_dead_total", "1"),
            ("bridge_leads_retried_total", "1"),
            (r#"bridge_retries_total{retry="1"}"#, "1"),
            (r#"bridge_workers{state="working"}"#, "1"),
            (r#"bridge_workers{state="lost"}"#, "0"),
            ("bridge_slots", "7"),
        ]);
        page.is_more_than_nothing("bridge_lease_seconds_min");
        page.is_more_than_nothing(r#"bridge_redis_call_seconds_count{call="snapshot"}"#);
    }
    stations(&all, "bridge_station");
    stations(&own, "bridge_worker_station");
    own.all(&[
        (r#"bridge_worker_leads_total{outcome="succeeded"}"#, "9"),
        (
            r#"bridge_worker_leads_total{outcome="retry_scheduled"}"#,
            "1",
        ),
        (r#"bridge_worker_leads_total{outcome="dead"}"#, "1"),
        ("bridge_worker_attempt_seconds_count", "9"),
        ("bridge_worker_slots", "7"),
    ]);
    own.is_more_than_nothing("bridge_worker_lease_seconds");
    own.is_more_than_nothing(r#"bridge_redis_call_seconds_count{call="commit"}"#);
    all.is_more_than_nothing(
        r#"bridge_http_requests_total{method="GET",route="/metrics",status="200"}"#,
    );
    for name in asked_for() {
        let is = |known: &String| known.split('{').next() == Some(name);
        assert!(all.0.keys().any(is), "the API has no {name}");
    }
}

/// The figures that the dashboard and the alerts ask for.
fn asked_for() -> impl Iterator<Item = &'static str> {
    const ASSETS: [&str; 2] = [
        include_str!("../../../assets/observability/dashboards/redis-bridge.json"),
        include_str!("../../../assets/observability/alerts.yml"),
    ];
    let words = ASSETS
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|word| word.starts_with("bridge_"))
}

/// What the one station did, under these names.
#[track_caller]
fn stations(page: &Page, prefix: &str) {
    for (name, more, value) in [
        ("calls_total", "", "11"),
        ("cost_dollars_total", "", "5.5"),
        ("failures_total", r#",kind="permanent""#, "1"),
        ("failures_total", r#",kind="transient""#, "1"),
        ("call_seconds_count", "", "11"),
        ("call_seconds_bucket", r#",le="+Inf""#, "11"),
    ] {
        let name = format!(r#"{prefix}_{name}{{pipeline="main",station="enrich"{more}}}"#);
        page.all(&[(&name, value)]);
    }
}

#[test]
fn counts_of_a_new_api_begin_with_nothing() {
    let bridge = Bridge::start();
    let hour = bridge.redis::<(i64, i64)>("TIME").0 / 3_600;
    let key = format!("leads_to_enrich:stations:{hour}");
    let field = br#"["main","enrich","calls"]"#;
    let _: u64 = bridge.run(&[b"HSET", key.as_bytes(), field, b"1000"]);
    let api = Api::start(&bridge);
    let calls = r#"bridge_station_calls_total{pipeline="main",station="enrich"}"#;
    eventually("the beginning is known", || metrics(&api).says(calls, "0"));
    let _: u64 = bridge.run(&[b"HINCRBY", key.as_bytes(), field, b"7"]);
    metrics(&api).all(&[(calls, "7")]);
}

#[test]
fn one_reading_serves_all_who_ask_at_once() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let readings = || -> u64 {
        let page = metrics(&api);
        page.0["bridge_redis_call_seconds_count{call=\"pipeline\"}"]
            .parse()
            .expect("a count")
    };
    let before = readings();
    // So that all have asked before the first is answered.
    let () = bridge.redis("CLIENT PAUSE 1000 ALL");
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| metrics(&api));
        }
    });
    let more = readings() - before;
    assert!(more < 8, "{more} readings for 12 at once and one more");
}

#[test]
fn readiness_asks_for_more_than_an_answer() {
    let bridge = Bridge::with_redis(&[]);
    let api = Api::start(&bridge);
    eventually("ready", || api.get("/readyz").status == 200);
    let not_ready = |words: &str| {
        eventually(words, || {
            let answer = api.get("/readyz");
            answer.status == 503 && answer.text().contains(words)
        });
    };
    let _: () = bridge.redis("SET leads_to_enrich:stats x");
    not_ready("a key of the bridge holds something else");
    let _: u64 = bridge.redis("DEL leads_to_enrich:stats");
    eventually("ready", || api.get("/readyz").status == 200);
    let _: String =
        bridge.redis("XADD enriched_leads 18446744073709551615-18446744073709551615 n 1");
    not_ready("the stream of enriched leads takes no more");
    let _: u64 = bridge.redis("DEL enriched_leads");
    eventually("ready", || api.get("/readyz").status == 200);
    let () = bridge.redis("ACL SETUSER default -evalsha");
    not_ready("Redis refuses scripts");
    let () = bridge.redis("ACL SETUSER default +evalsha -script");
    not_ready("Redis refuses scripts");
}
