//! Leads made to exhaust the worker that works on them: each fails by itself, within a bound of time and
//! memory, and the leads beside it are worked on once.

mod common;

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Bridge, Worker, eventually, program};
use serde_json::json;

/// The memory that a worker may take at its highest, in KiB. The leads of these tests have up to
/// 1 MiB, and a debug build with its threads takes some 60 MiB by itself.
const PEAK_KIB: u64 = 512 * 1024;

/// Starts a worker whose address space ends, so that a worker without limits dies in the test and does
/// not take the machine with it.
fn confined(bridge: &Bridge, flags: &[&str]) -> Worker {
    let log = bridge.log();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -v 6000000; exec \"$0\" \"$@\""]);
    command.arg(program()).args(flags);
    for (name, _) in std::env::vars() {
        if name != "PATH" && name != "HOME" {
            command.env_remove(name);
        }
    }
    let process = command
        .env("REDIS_URL", bridge.redis.url())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&log).expect("a log file"))
        .spawn()
        .expect("the worker starts");
    Worker::of(process, log)
}

/// The most memory that a process had so far, in KiB.
fn peak(worker: &Worker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid()));
    let status = status.expect("the worker runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).expect("a number")
}

/// Expressions that a route may well have, each beside what a lead makes of it: `big` is a text of 100 KB,
/// `list` has 10,000 texts, `texts` five of 100 KB, `n` is a huge number.
const EXPRESSIONS: &[&str] = &[
    "list * n",
    "texts * 100000",
    "big * n",
    "big * 100000",
    "(list * 10000) | list",
    "(list * 10000) | join(big)",
    "texts * 100000 | string",
    "big | replace('x', big)",
    "big | replace('', big)",
    "big | indent(n)",
    "lines | indent(100000)",
    "'%100000000d' | format(1)",
    "wide | format(1)",
    "'%s%s%s%s%s%s%s%s' | format(list, list, list, list, list, list, list, list) | replace('x', big)",
    "list | slice(n)",
    "list | slice(100000000) | list",
    "list | batch(n)",
    "list | batch(100000000, big) | list",
    "range(n) | list",
    "range(0, 100000) | map('string') | join(big)",
    "list | join(big)",
    "big | list | join(big)",
    "(list * 1000) | sort | list",
    "(list * 10000) | unique | list",
    "(list * 10000) | groupby(0) | list",
    "(list * 10000) | map('replace', 'x', big) | list",
    "(list * 10000) | select('in', list) | list",
    "(list * 10000) == (list * 10000)",
    "'y' in (list * 10000)",
    "(list * 10000)[99999999]",
    "(list * 10000)[::-1]",
    "(list * 10000)[50000000::2] | list",
    "(list * 10000) | tojson",
    "(list * 10000) | pprint",
    "(list * 10000) | reverse | list",
    "(list * 10000) | last",
    "(list * 10000) | length * big",
    "(list * 10000) | sum",
    "(list * 10000) | max",
    "(list * 10000) | zip(list * 10000) | list",
    "(list * 10000) | chain(list * 10000) | list",
    "(list * 10000) | dictsort",
    "(list * 10000) + (list * 10000) | list",
    "big ~ (list * 10000)",
    "(big ~ big ~ big ~ big) * 1000",
    "(big | list) * 1000 | list",
    "(big | upper) * 1000",
    "big | split('') | join(big)",
    "lines | lines | join(big)",
    "9 ** 9 ** 9 * list",
    "(list * 10000) | tojson(indent=n)",
    "list | tojson(indent=100000)",
    "dict(a=list * 10000, b=texts * 10000)",
    "[texts * 10000, texts * 10000]",
    "{'a': {'b': list * 10000}}",
];

/// The same for texts that are made.
const TEXTS: &[&str] = &[
    "{{ texts * 100000 }}",
    "{{ big * 100000 }}",
    "{% set a = [] %}{% for x in range(100000) %}{% for y in range(100000) %}{{ x }}{% endfor %}{% endfor %}",
    "{% for x in list %}{% for y in list %}{% for z in list %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for x in list %}{{ big }}{% endfor %}",
    "{% for x in list * 10000 %}x{% endfor %}",
    "{% set y %}{{ texts * 100000 }}{% endset %}{{ y }}",
    "{% set ns = namespace(t=big) %}{% for x in range(100) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace(t=list) %}{% for x in range(100) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}",
    "{% filter upper %}{{ texts * 100000 }}{% endfilter %}",
    "{{ lead * 3 }}{{ list * 100000 }}",
    "{{ texts * 100000 | safe }}",
    "{{ (texts * 100000) | e }}",
    "{{ deep }}{{ deep | tojson(indent=100000) }}",
];

/// A lead that asks for one of the stations.
fn hostile(case: &str) -> String {
    let text = |n: usize| "x".repeat(n);
    let mut deep = json!("x");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    json!({
        "case": case,
        "big": text(100_000),
        "lines": "x\n".repeat(10_000),
        "list": vec!["x"; 10_000],
        "texts": vec![text(100_000); 5],
        "n": 100_000_000,
        "wide": "%100000000d",
        "deep": deep,
    })
    .to_string()
}

/// A route with a station for each expression and text, which only leads of that case come to.
fn route() -> (String, Vec<String>) {
    let (mut route, mut cases) = (String::from("[pipelines.p]\n"), Vec::new());
    let mut station = |case: String, keys: &str| {
        let _ = write!(
            route,
            "[[pipelines.p.stations]]\nkind = \"transform\"\nname = \"{case}\"\nwhen = \"case == '{case}'\"\n{keys}\n"
        );
        cases.push(case);
    };
    for (n, expression) in EXPRESSIONS.iter().enumerate() {
        let value = toml::Value::String((*expression).to_owned());
        station(format!("e{n}"), &format!("compute = {{ made = {value} }}"));
    }
    for (n, text) in TEXTS.iter().enumerate() {
        let value = toml::Value::String((*text).to_owned());
        station(format!("t{n}"), &format!("set = {{ made = {value} }}"));
    }
    (route, cases)
}

#[test]
fn an_expression_over_a_hostile_lead_ends_within_its_limits_and_fails_that_lead_alone() {
    let bridge = Bridge::start();
    let (route, cases) = route();
    let route = bridge.route(&route);
    let flags = ["--pipeline", &route, "--lease-seconds", "2"];
    let mut worker = confined(&bridge, &flags);
    let mut slowest = (Duration::ZERO, String::new());
    for (through, case) in (1..).zip(&cases) {
        let begun = Instant::now();
        bridge.push(hostile(case));
        eventually(case, || {
            assert!(!worker.has_ended(), "{case}: {}", worker.log());
            bridge.done() + bridge.dead() == through
        });
        slowest = slowest.max((begun.elapsed(), case.clone()));
        assert!(peak(&worker) < PEAK_KIB, "{case}: {} KiB", peak(&worker));
    }
    let within = Duration::from_secs(10);
    assert!(slowest.0 < within, "{slowest:?}");
    for dead in bridge.dead_letters() {
        assert_eq!(dead["error_kind"], json!("invalid"), "{}", dead["error"]);
    }
    // The worst of them: what is refused there would be gigabytes.
    assert!(bridge.dead() > cases.len() / 2, "{} dead", bridge.dead());
    assert_eq!(bridge.stat("lease_lost") + bridge.stat("recovered"), 0);
    eprintln!("peak {} KiB, slowest {slowest:?}", peak(&worker));
}

#[test]
fn a_lead_beside_a_hostile_one_is_worked_on_once() {
    let bridge = Bridge::start();
    let service = common::Service::start(|_, _| common::Reply::ok());
    let route = bridge.route(&format!(
        "[pipelines.p]\n[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\n\
         [[pipelines.p.stations]]\nkind = \"transform\"\nname = \"total\"\ncompute = {{ total = \"price * quantity\" }}\n",
        service.url
    ));
    let flags = ["--pipeline", &route, "--lease-seconds", "1"];
    let mut workers = [confined(&bridge, &flags), confined(&bridge, &flags)];
    let price: Vec<String> = vec!["x".repeat(100_000); 5];
    for n in 0..60 {
        if n % 20 == 10 {
            bridge.push(json!({"name": n, "price": price, "quantity": 100_000}).to_string());
        } else {
            bridge.push(json!({"name": n, "price": 2, "quantity": n}).to_string());
        }
    }
    eventually("all are through", || {
        for worker in &mut workers {
            assert!(!worker.has_ended(), "{}", worker.log());
        }
        bridge.done() == 57 && bridge.dead() == 3
    });
    let dead = bridge.dead_letters();
    for dead in &dead {
        assert_eq!(dead["station"], json!("total"), "{}", dead["error"]);
        assert_eq!(dead["error_kind"], json!("invalid"));
    }
    assert_eq!(service.requests().len(), 60, "each was called once");
    assert_eq!(bridge.stat("lease_lost") + bridge.stat("recovered"), 0);
}

#[test]
fn a_schema_that_takes_long_for_a_hostile_lead_holds_up_no_other_and_ends_by_lead_timeout() {
    let bridge = Bridge::start();
    // Look-ahead makes this one go back, and each `ab` doubles the ways.
    let route = bridge.route(
        "[pipelines.p]\n[[pipelines.p.stations]]\nkind = \"validate\"\nname = \"check\"\n\
         [pipelines.p.stations.schema.properties.list.items]\npattern = \"^(a|b|ab)*(?=c)d\"\n",
    );
    let flags = ["--pipeline", &route, "--lease-seconds", "1"];
    let more = [
        "--lead-timeout",
        "2",
        "--max-retries",
        "0",
        "--max-lead-bytes",
        "16000000",
    ];
    let mut worker = confined(&bridge, &[&flags[..], &more].concat());
    // Below the limit of each text, so that all of them are looked at.
    let text = format!("{}xcd", "ab".repeat(12));
    bridge.push(json!({"list": vec![text; 60_000]}).to_string());
    eventually("it is in hand", || bridge.in_flight() == 1);
    bridge.push_numbered(10);
    eventually("the others are through", || bridge.done() == 10);
    assert_eq!(bridge.dead(), 0, "they waited for it");
    eventually("its time is up", || bridge.dead() == 1);
    // The lead stands behind its envelope.
    let dead: Vec<u8> = bridge.redis("LINDEX failed_leads 0");
    let head = dead.split(|byte| *byte == b'\n').next();
    let head = String::from_utf8_lossy(head.unwrap_or_default());
    assert!(head.contains("\"error_kind\":\"timeout\""), "{head}");
    worker.signal("TERM");
    assert!(worker.wait().success());
    assert_eq!(bridge.stat("lease_lost") + bridge.stat("recovered"), 0);
}
