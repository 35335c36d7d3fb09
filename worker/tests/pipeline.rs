//! Routes: what every station has, held by real workers on a real Redis; the commands that prove,
//! show and try a route; and the change of a route under way.

mod common;

use std::process::Stdio;
use std::time::Duration;

use bridge_shared::config::RedisArgs;
use bridge_shared::stats::StationStats;
use bridge_shared::store::Store;
use common::{Bridge, Reply, Service, Worker, command, eventually};
use serde_json::{Value, json};

/// Starts a worker on a route of these stations.
fn worker(bridge: &Bridge, route: &str, flags: &[&str]) -> Worker {
    let route = bridge.route(route);
    let flags = [&["--pipeline", route.as_str()], flags].concat();
    Worker::start(&bridge.redis.url(), &bridge.log(), &flags)
}

/// A station that asks a service.
fn enrich(service: &Service, keys: &str) -> String {
    format!(
        "[[pipelines.main.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ntimeout = \"30s\"\n{keys}\n",
        service.url
    )
}

/// What the stations did, as the console reads it.
fn stations(bridge: &Bridge) -> Vec<StationStats> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let args = RedisArgs::of(
            bridge.redis.url(),
            ["leads_to_enrich", "failed_leads", "enriched_leads"],
        );
        let store = Store::connect(&args).await.expect("a store");
        store.stations(2).await.expect("figures")
    })
}

fn spent(bridge: &Bridge) -> u64 {
    let keys: Vec<String> = bridge.redis("KEYS leads_to_enrich:spent:*");
    keys.iter()
        .map(|key| bridge.redis::<u64>(&format!("GET {key}")))
        .sum()
}

/// Runs a command to its end: status, standard output, standard error.
fn run(flags: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = command(flags)
        .env("REDIS_URL", "redis://127.0.0.1:1/0")
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .output()
        .expect("the worker runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn five_workers_share_one_rate() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    bridge.push_numbered(101);
    let route = enrich(&service, "rate = \"10/s\"");
    let workers: Vec<Worker> = (0..5)
        .map(|_| worker(&bridge, &route, &["--concurrency", "20"]))
        .collect();
    eventually("all are done", || bridge.done() == 101);
    let mut at: Vec<_> = service
        .requests()
        .iter()
        .map(|request| request.at)
        .collect();
    at.sort_unstable();
    let took = (at[100] - at[0]).as_secs_f64();
    // Not faster than a tenth above the rate; slower only as far as a busy machine makes it.
    assert!(
        (9.0..=14.0).contains(&took),
        "100 more calls at 10/s took {took} s"
    );
    drop(workers);
}

#[test]
fn waiting_for_a_rate_is_not_the_leads_own_time() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    bridge.push_numbered(8);
    // The last one stands waiting more than three times as long as a lead may take.
    let route = enrich(&service, "rate = \"2/s\"\nconcurrency = 2");
    let _worker = worker(&bridge, &route, &["--lead-timeout", "1"]);
    eventually("all are done", || bridge.done() == 8);
    assert_eq!((bridge.stat("retried"), bridge.dead()), (0, 0));
}

#[test]
fn a_long_wait_goes_back_without_counting_as_an_attempt_and_blocks_nobody() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    for (n, slow) in [(0, true), (1, true), (2, true), (3, false), (4, false)] {
        bridge.push(json!({"name": "Ada", "n": n, "slow": slow}).to_string());
    }
    let route = enrich(&service, "rate = \"1/h\"\nwhen = \"slow\"");
    let _worker = worker(&bridge, &route, &["--concurrency", "1"]);
    eventually("what can be done is done", || bridge.done() == 3);
    eventually("two are put off", || bridge.stat("postponed") == 2);
    assert_eq!((bridge.retry(), bridge.stat("retried")), (2, 0));
    assert_eq!(service.requests().len(), 1);
    let waiting: Vec<(Vec<u8>, f64)> = bridge.run(&[
        b"ZRANGE",
        b"leads_to_enrich:retry",
        b"0",
        b"-1",
        b"WITHSCORES",
    ]);
    for (envelope, _) in &waiting {
        let envelope: Value = serde_json::from_slice(envelope).expect("an envelope");
        assert_eq!(
            (&envelope["attempts"], &envelope["retry_count"]),
            (&json!([]), &json!(0))
        );
    }
    eventually("the figures are written", || {
        stations(&bridge)
            .iter()
            .any(|station| station.postponed == 2 && station.skipped == 2)
    });
}

#[test]
fn a_days_budget_is_never_exceeded_by_five_workers() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    bridge.push_numbered(300);
    let route = format!(
        "[pipelines.main]\ndaily_budget = 1\n{}",
        enrich(&service, "cost = 0.01")
    );
    let _workers: Vec<Worker> = (0..5).map(|_| worker(&bridge, &route, &[])).collect();
    eventually("all are done", || bridge.done() == 300);
    assert_eq!(service.requests().len(), 100);
    assert_eq!(spent(&bridge), 1_000_000);
    assert_eq!((bridge.stat("skipped"), bridge.dead()), (200, 0));
    let leads = bridge.enriched();
    let skipped: Vec<&Value> = leads
        .iter()
        .filter(|lead| lead["_pipeline_skipped"].is_string())
        .collect();
    assert_eq!(skipped.len(), 200);
    assert_eq!(
        skipped[0]["_pipeline_skipped"],
        "enrich: it costs $0.01, and less than that is left of the day's budget of $1.00"
    );
    assert_eq!(
        (&skipped[0]["saved"], &skipped[0]["_pipeline_cost"]),
        (&json!(true), &json!(0.0))
    );
}

#[test]
fn a_limit_below_a_stations_cost_skips_its_leads_and_stops_no_worker() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok());
    bridge.push(r#"{"name":"Ada"}"#);
    let route = format!("[pipelines.main]\n{}", enrich(&service, "cost = 0.02"));
    let _worker = worker(&bridge, &route, &["--pipeline-budget-limit", "0.001"]);
    eventually("the lead ends", || bridge.done() == 1);
    assert_eq!(service.requests().len(), 0);
    assert!(
        bridge.enriched()[0]["_pipeline_skipped"]
            .as_str()
            .is_some_and(|why| why.starts_with("enrich: it costs"))
    );
}

#[test]
fn a_leads_budget_counts_all_its_attempts_and_the_operator_may_lower_it() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::status(503));
    bridge.push(r#"{"name":"Ada"}"#);
    let route = format!(
        "[pipelines.main]\nbudget = 100\n{}",
        enrich(&service, "cost = 0.02")
    );
    let flags = [
        "--retry-delay-base",
        "0.05",
        "--pipeline-budget-limit",
        "0.05",
    ];
    let _worker = worker(&bridge, &route, &flags);
    eventually("the lead ends", || bridge.done() == 1);
    assert_eq!(service.requests().len(), 2);
    let lead = &bridge.enriched()[0];
    assert_eq!(lead["_pipeline_cost"], 0.04);
    assert_eq!(
        lead["_pipeline_skipped"],
        "enrich: it costs $0.02, and $0.04 of the lead's budget of $0.05 are spent"
    );
    assert_eq!(spent(&bridge), 40_000);
}

#[test]
fn an_answer_is_remembered_for_the_same_question() {
    let bridge = Bridge::start();
    let service = Service::start(|request, _| Reply {
        body: format!("{{\"found\":{}}}", request.lead["n"]),
        ..Reply::ok()
    });
    let route = enrich(
        &service,
        "cost = 0.01\ncache = { ttl = \"1h\", key = [\"company\"] }",
    );
    let _worker = worker(&bridge, &route, &["--concurrency", "1"]);
    for (n, company) in ["Acme", "Acme", "Other", ""].iter().enumerate() {
        bridge.push(json!({"n": n, "company": company}).to_string());
    }
    bridge.push(r#"{"n":4}"#);
    eventually("all are done", || bridge.done() == 5);
    let found: Vec<Value> = bridge
        .enriched()
        .iter()
        .map(|lead| lead["found"].clone())
        .collect();
    assert_eq!(found, [json!(0), json!(0), json!(2), json!(3), json!(4)]);
    assert_eq!(bridge.enriched()[1]["_pipeline_cost"], 0.0);
    assert_eq!(spent(&bridge), 40_000);
    let keys: Vec<String> = bridge.redis("KEYS leads_to_enrich:cache:*");
    assert_eq!(keys.len(), 2);
    eventually("the figures are written", || {
        stations(&bridge)
            .iter()
            .any(|station| station.cached == 1 && station.calls == 4)
    });
}

#[test]
fn only_what_the_station_said_is_remembered() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply {
        body: r#"{"company":"Acme Inc","size":5}"#.into(),
        ..Reply::ok()
    });
    let route = enrich(
        &service,
        "cache = { ttl = \"1h\", key = [\"domain\"] }\nmap = { company = \"$.company\", \"info.size\" = \"$.size\" }",
    );
    let _worker = worker(&bridge, &route, &["--concurrency", "1"]);
    // The first has one value already, and data of its own beside the other.
    bridge.push(r#"{"domain":"a.example.com","company":"Acme Inc","info":{"phone":"555-0111"}}"#);
    bridge.push(r#"{"domain":"a.example.com","info":{"email":"b@example.com"}}"#);
    bridge.push(r#"{"domain":"a.example.com","info":"a text"}"#);
    eventually("all are over", || bridge.done() == 2 && bridge.dead() == 1);
    assert_eq!(service.requests().len(), 1);
    let second = &bridge.enriched()[1];
    assert_eq!(
        (&second["company"], &second["info"]),
        (
            &json!("Acme Inc"),
            &json!({"email": "b@example.com", "size": 5})
        )
    );
}

#[test]
fn what_stations_do_is_counted_and_every_key_of_a_route_ends() {
    let bridge = Bridge::start();
    let service = Service::start(|request, before| {
        if request.lead["n"] == 0 && before == 0 {
            Reply::status(503)
        } else if request.lead["n"] == 1 {
            Reply::status(400)
        } else {
            Reply::ok().after(20)
        }
    });
    bridge.push_numbered(10);
    let keys = "rate = \"1000/s\"\ncost = 0.01\ncache = { ttl = \"1h\", key = [\"n\"] }";
    let mut worker = worker(
        &bridge,
        &enrich(&service, keys),
        &["--retry-delay-base", "0.1"],
    );
    eventually("all are over", || bridge.done() == 9 && bridge.dead() == 1);
    worker.signal("TERM");
    assert!(worker.wait().success());
    let all = stations(&bridge);
    let [station] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!(
        (station.pipeline.as_str(), station.station.as_str()),
        ("main", "enrich")
    );
    assert_eq!((station.calls, station.cost.micros()), (11, 110_000));
    let failures: Vec<(&str, u64)> = station
        .failures
        .iter()
        .map(|(kind, n)| (kind.as_str(), *n))
        .collect();
    assert_eq!(failures, [("permanent", 1), ("transient", 1)]);
    assert_eq!(station.latency.count(), 11);
    let p95 = station.latency.quantile(0.95).expect("calls");
    assert!(p95 >= Duration::from_millis(20), "{p95:?}");
    let keys: Vec<String> = bridge.redis("KEYS leads_to_enrich:*");
    for key in keys.iter().filter(|key| *key != "leads_to_enrich:stats") {
        let left: i64 = bridge.redis(&format!("PTTL {key}"));
        assert!(left > 0, "{key} has no end");
    }
}

#[test]
fn a_changed_route_is_put_into_force_and_a_wrong_one_is_refused() {
    let bridge = Bridge::start();
    let route =
        |name: &str| format!("[[pipelines.main.stations]]\nkind = \"noop\"\nname = \"{name}\"\n");
    let file = bridge.route(&route("old"));
    let flags = ["--pipeline", file.as_str()];
    let worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    let by = |n: usize| {
        bridge.push(r#"{"name":"Ada"}"#);
        eventually("the lead is done", || bridge.done() == n);
        bridge.enriched()[n - 1]["_pipeline_stations_executed"][0].clone()
    };
    assert_eq!(by(1), "old");
    // As an editor does it: another file takes its name.
    let other = bridge.route(&route("new"));
    std::fs::rename(&other, &file).expect("renamed");
    eventually("it is seen", || worker.log().contains("is in force"));
    assert_eq!(by(2), "new");
    std::fs::write(&file, format!("{}tiemout = \"1s\"\n", route("wrong"))).expect("written");
    eventually("it is refused", || worker.log().contains("is refused"));
    let log = worker.log();
    assert!(
        log.contains(":4: station \\\"wrong\\\" has an unknown key \\\"tiemout\\\""),
        "{log}"
    );
    assert_eq!(by(3), "new");
    std::fs::write(&file, route("new")).expect("written");
    let forced = |n| worker.log().matches("is in force").count() == n;
    eventually("the mended one is seen", || forced(2));
    worker.signal("HUP");
    eventually("a signal reads it again", || forced(3));
    assert_eq!(by(4), "new");
    std::fs::remove_file(&file).expect("removed");
    eventually("its loss is told", || {
        worker.log().contains("a restart would fail")
    });
    assert_eq!(by(5), "new");
    std::fs::write(&file, route("new")).expect("written");
    eventually("its return is told", || {
        worker.log().contains("can be read again")
    });
}

#[test]
fn a_route_that_changes_while_the_worker_waits_for_redis_is_put_into_force() {
    let mut bridge = Bridge::start();
    let route =
        |name: &str| format!("[[pipelines.main.stations]]\nkind = \"noop\"\nname = \"{name}\"\n");
    let file = bridge.route(&route("old"));
    bridge.redis.kill();
    let flags = ["--pipeline", file.as_str()];
    let mut worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("it waits for Redis", || {
        worker.log().contains("waiting for Redis")
    });
    std::fs::write(&file, route("new")).expect("written");
    worker.signal("HUP");
    bridge.restart_redis();
    eventually("it is seen", || worker.log().contains("is in force"));
    assert!(!worker.has_ended());
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    assert_eq!(
        bridge.enriched()[0]["_pipeline_stations_executed"][0],
        "new"
    );
}

#[test]
fn a_route_that_changes_without_a_signal_before_the_worker_is_at_work_is_seen() {
    let mut bridge = Bridge::start();
    let route =
        |name: &str| format!("[[pipelines.main.stations]]\nkind = \"noop\"\nname = \"{name}\"\n");
    let file = bridge.route(&route("old"));
    bridge.redis.kill();
    let flags = ["--pipeline", file.as_str()];
    let worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("it waits for Redis", || {
        worker.log().contains("waiting for Redis")
    });
    std::fs::write(&file, route("new")).expect("written");
    bridge.restart_redis();
    eventually("it is seen", || worker.log().contains("is in force"));
}

#[test]
fn every_mistake_of_a_route_comes_out_with_its_line_and_a_hint() {
    let bridge = Bridge::start();
    let file = bridge.route(
        r#"default_pipeline = "mian"
[pipelines.main]
budjet = 0.10
[[pipelines.main.stations]]
kind = "identity"
name = "identity"
requires = ["linkdinUrl"]
[[pipelines.main.stations]]
kind = "http"
name = "enrich"
url = "http://127.0.0.1/${NO_SUCH_VARIABLE_HERE}"
when = "country = 'US'"
requires = ["phone"]
produces = ["email"]
rate = "fast"
[[pipelines.main.stations]]
kind = "noop"
name = "never"
when = "1 > 2"
produces = ["phone"]
[[pipelines.main.stations]]
kind = "noop"
name = "last"
requires = ["age"]
"#,
    );
    let expected = [
        (
            1,
            "no pipeline is called \"mian\"",
            "did you mean \"main\"?",
        ),
        (3, "unknown key \"budjet\"", "did you mean \"budget\"?"),
        (
            7,
            "requires \"linkdinUrl\"",
            "did you mean \"linkedinUrl\"?",
        ),
        (
            11,
            "NO_SUCH_VARIABLE_HERE is not set",
            "set NO_SUCH_VARIABLE_HERE",
        ),
        (12, "unexpected", "write it like"),
        (
            13,
            "which \"never\" brings only later",
            "put \"never\" before \"enrich\"",
        ),
        (15, "rate must be", "\"10/s\""),
        (16, "`1 > 2` is never true", "take the station out"),
        (
            24,
            "\"age\", which nobody produces",
            "input = [\"age\", ...]",
        ),
    ];
    let (status, said, error) = run(&["pipeline", "check", &file, "--json"], &[]);
    assert_eq!(status, Some(1));
    assert!(error.contains("9 mistakes"), "{error}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let faults = said["faults"].as_array().expect("a list");
    assert_eq!(faults.len(), expected.len(), "{said:#}");
    for (fault, (line, what, hint)) in faults.iter().zip(expected) {
        let text = |key: &str| fault[key].as_str().expect("text").to_owned();
        assert!(text("error").contains(what), "{fault}");
        assert!(text("hint").contains(hint), "{fault}");
        assert_eq!(
            (fault["line"].as_u64(), text("file")),
            (Some(line), file.clone()),
            "{fault}"
        );
    }
    let (status, said, _) = run(&["pipeline", "check", &file], &[]);
    assert_eq!(status, Some(1));
    assert_eq!(said.matches(&format!("{file}:")).count(), expected.len());
    // The worker refuses it in the same words.
    let (status, _, error) = run(&["--pipeline", &file], &[]);
    assert_eq!(status, Some(1));
    assert!(
        error.contains(&format!("{file}:15: rate must be")),
        "{error}"
    );

    let sound = bridge.route("[[pipelines.main.stations]]\nkind = \"noop\"\nname = \"n\"\n");
    let (status, said, _) = run(&["pipeline", "check", &sound], &[]);
    assert_eq!(status, Some(0));
    assert!(said.contains("1 pipeline, no mistakes"), "{said}");
    let (status, _, error) = run(&["pipeline", "check", "/nowhere/route.toml"], &[]);
    assert_eq!(status, Some(1));
    assert!(error.contains("/nowhere/route.toml"), "{error}");
}

#[test]
fn a_route_is_shown_with_its_contracts_and_cost() {
    let bridge = Bridge::start();
    let file = bridge.route(
        "[pipelines.main]\nbudget = 0.1\n[[pipelines.main.stations]]\nkind = \"identity\"\nname = \"who\"\n[[pipelines.main.stations]]\nkind = \"noop\"\nname = \"first\"\nrequires = [\"name\"]\nproduces = [\"email\"]\ncost = 0.02\nrate = \"10/s\"\nwhen = \"not email\"\n[[pipelines.main.stations.fallback]]\nkind = \"noop\"\nname = \"second\"\ncost = 0.03\n",
    );
    let (status, said, _) = run(&["pipeline", "show", &file], &[]);
    assert_eq!(status, Some(0));
    for line in [
        "a lead costs     up to $0.05",
        "1. who (identity)",
        "requires     name",
        "rate         10/s",
        "else second (noop)",
    ] {
        assert!(said.contains(line), "{line}\nnot in\n{said}");
    }
    let (_, said, _) = run(&["pipeline", "show", &file, "--json"], &[]);
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let first = &said[0]["stations"][1];
    assert_eq!(
        (
            &said[0]["cost"],
            &first["requires"],
            &first["fallback"][0]["produces"]
        ),
        (&json!(0.05), &json!(["name"]), &json!(["email"]))
    );
}

#[test]
fn a_lead_can_be_tried_without_redis_and_no_secret_is_shown() {
    let bridge = Bridge::start();
    // A service that tells back what it was given.
    let service = Service::start(|request, _| {
        if request.lead["n"] == 0 {
            Reply {
                body: "bad key hunter2-hunter2".into(),
                ..Reply::status(401)
            }
        } else {
            Reply {
                body: r#"{"email":"ada@example.com","echo":"key hunter2-hunter2\u001b[31m"}"#
                    .into(),
                ..Reply::ok()
            }
        }
    });
    let file = bridge.route(&format!(
        "[[pipelines.main.stations]]\nkind = \"identity\"\nname = \"who\"\n{}",
        enrich(
            &service,
            "headers = { authorization = \"Bearer ${ENRICHMENT_TOKEN}\" }\ncost = 0.02\nrate = \"1/h\"\ncache = { ttl = \"1h\", key = [\"name\"] }"
        )
    ));
    let lead = bridge.folder.path().join("lead.json");
    let lead_file = lead.to_str().expect("a plain path");
    let environment = [("ENRICHMENT_TOKEN", "hunter2-hunter2")];
    let try_out = |n: u32, flags: &[&str]| {
        std::fs::write(&lead, json!({"name": "Ada Example", "n": n}).to_string()).expect("written");
        let flags = [&["pipeline", "run", &file, "--lead", lead_file], flags].concat();
        let (status, said, error) = run(&flags, &environment);
        assert!(
            !said.contains("hunter2") && !error.contains("hunter2"),
            "{said}{error}"
        );
        (status, said, error)
    };
    let (status, said, error) = try_out(1, &["--json"]);
    assert_eq!(status, Some(0), "{error}");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&said["outcome"], &said["cost"]),
        (&json!("done"), &json!(0.02))
    );
    let [who, enrich] = said["stations"].as_array().expect("a list").as_slice() else {
        panic!("{said:#}");
    };
    assert_eq!(
        who["answer"],
        json!({"firstName": "Ada", "lastName": "Example"})
    );
    assert_eq!(enrich["input"]["firstName"], "Ada");
    assert_eq!(enrich["answer"]["email"], "ada@example.com");
    assert_eq!(said["lead"]["echo"], "key ${ENRICHMENT_TOKEN}\u{1b}[31m");

    let (status, said, _) = try_out(1, &[]);
    assert_eq!(status, Some(0));
    assert!(
        said.contains("enrich: ") && said.contains("done, $0.02"),
        "{said}"
    );
    assert!(!said.contains('\u{1b}'), "{said}");

    let (status, said, error) = try_out(0, &[]);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("failed, $0.02: enrich: HTTP 401") && said.contains("(permanent)"),
        "{said}"
    );
    assert!(error.contains("did not come through"), "{error}");
    assert!(
        service
            .requests()
            .iter()
            .all(|request| request.key.starts_with("dry-run-"))
    );
    // Nothing at all is in this Redis, which could have been reached.
    assert_eq!(bridge.redis::<usize>("DBSIZE"), 0);
}

#[test]
fn nothing_in_a_lead_gives_a_terminal_an_order() {
    let bridge = Bridge::start();
    let file = bridge.route(
        "[[pipelines.main.stations]]\nkind = \"noop\"\nname = \"a\u{202e}b\"\nproduces = [\"c\u{9b}31m\"]\n",
    );
    let lead = bridge.folder.path().join("lead.json");
    let lead_file = lead.to_str().expect("a plain path");
    let json = json!({"na\u{85}me": "\u{9b}31m \u{7f} \u{202e}x\u{2066} \u{1b}]0;x\u{7} Zo\u{eb}"});
    std::fs::write(&lead, json.to_string()).expect("written");
    let faulty =
        bridge.route("[[pipelines.main.stations]]\nkind = \"no\u{202e}\u{9b}op\"\nname = \"a\"\n");
    for flags in [
        &["pipeline", "run", &file, "--lead", lead_file] as &[&str],
        &["pipeline", "show", &file],
        &["pipeline", "check", &faulty],
        &["pipeline", "show", &faulty],
    ] {
        for more in [&[] as &[&str], &["--json"]] {
            let (_, said, error) = run(&[flags, more].concat(), &[]);
            let harmful = |c: &char| {
                c.is_control() && *c != '\n'
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            };
            let found: Vec<char> = said.chars().chain(error.chars()).filter(harmful).collect();
            assert!(found.is_empty(), "{flags:?} {more:?}: {found:?}");
            if flags[1] == "run" {
                assert!(said.contains("Zo\u{eb}"), "{said}");
            }
            if flags[1] == "run" && !more.is_empty() {
                let said: Value = serde_json::from_str(&said).expect("JSON");
                assert_eq!(said["stations"][0]["input"], json);
            }
        }
    }
}

#[test]
fn a_worker_says_in_which_order_its_stations_come() {
    let bridge = Bridge::start();
    let route = "[[pipelines.main.stations]]\nkind = \"http\"\nname = \"z\"\nurl = \"http://127.0.0.1:1\"\n\
                 [[pipelines.main.stations.fallback]]\nkind = \"noop\"\nname = \"m\"\n\
                 [[pipelines.main.stations]]\nkind = \"noop\"\nname = \"a\"\n";
    let _worker = worker(&bridge, route, &[]);
    eventually("the order is told", || {
        let told: Vec<String> = bridge.redis("HVALS leads_to_enrich:workers:info");
        told.iter()
            .any(|info| info.contains(r#""stations":["z","m","a"]"#))
    });
}
