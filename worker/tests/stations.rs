//! The kinds of stations, each at work in a real worker with a real peer.

mod common;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use common::dns::{NameServer, Says};
use common::{Bridge, PATIENCE, Reply, Service, Worker, command, eventually};
use hickory_resolver::proto::op::ResponseCode;
use serde_json::{Value, json};

/// Starts a worker on a route with these stations; each is its kind and its other keys.
fn worker(bridge: &Bridge, stations: &[(&str, &str)], flags: &[&str]) -> Worker {
    let route = bridge.route(&route(stations));
    let flags = [&["--pipeline", route.as_str()], flags].concat();
    Worker::start(&bridge.redis.url(), &bridge.log(), &flags)
}

fn route(stations: &[(&str, &str)]) -> String {
    let table = |(n, (kind, keys)): (usize, &(&str, &str))| {
        format!("[[pipelines.main.stations]]\nname = \"{kind}-{n}\"\nkind = \"{kind}\"\n{keys}\n")
    };
    stations.iter().enumerate().map(table).collect()
}

/// Runs a lead through the stations without retries and returns what became of it: the enriched
/// lead, or the dead letter.
#[track_caller]
fn outcome(stations: &[(&str, &str)], lead: &Value) -> Result<Value, Value> {
    let bridge = Bridge::start();
    let _worker = worker(&bridge, stations, &["--max-retries", "0"]);
    bridge.push(lead.to_string());
    eventually("the lead has come to an end", || {
        bridge.done() + bridge.dead() == 1
    });
    match bridge.dead_letters().pop() {
        Some(letter) => Err(letter),
        None => Ok(bridge.enriched().remove(0)),
    }
}

#[test]
fn a_lead_is_checked_changed_and_let_through() {
    let stations = [
        (
            "transform",
            "rename = { full_name = \"name\", tel = \"contact.phone\" }\nset = { source = \"{{ platform | default('list') }}\" }",
        ),
        (
            "validate",
            "schema = { required = [\"name\"], properties = { contact = { type = \"object\" } } }",
        ),
        ("phone", "field = \"contact.phone\"\nregion = \"US\""),
        ("email", ""),
        (
            "gate",
            "condition = \"contact.phoneCountry != 'US'\"\nthen = \"fail\"",
        ),
        ("transform", "drop = [\"secret\"]"),
    ];
    let lead = json!({"full_name": "Ada", "tel": "(202) 555-0123", "email": "ada@EXAMPLE.com", "secret": 1});
    let done = outcome(&stations, &lead).expect("enriched");
    assert_eq!(done["name"], "Ada");
    assert_eq!(done["source"], "list");
    assert_eq!(done["contact"]["phone"], "+12025550123");
    assert_eq!(
        (&done["email"], &done["emailValid"]),
        (&json!("ada@example.com"), &json!(true))
    );
    for gone in ["full_name", "tel", "secret"] {
        assert_eq!(done.get(gone), None);
    }

    let foreign = json!({"full_name": "Ada", "tel": "+44 7400 123456", "email": "a@example.com"});
    let letter = outcome(&stations, &foreign).expect_err("not let through");
    assert_eq!(
        (&letter["station"], &letter["error_kind"]),
        (&json!("gate-4"), &json!("invalid"))
    );
    assert_eq!(
        letter["lead"], foreign,
        "a dead letter holds the lead as it came"
    );
    let nobody = outcome(&stations, &json!({"email": 7})).expect_err("nobody");
    let error = nobody["error"].as_str().expect("an error");
    assert!(
        error.contains("/: \"name\" is a required property"),
        "{error}"
    );
}

#[test]
fn a_gate_ends_the_way_of_a_lead_as_done() {
    let service = Service::start(|_, _| Reply::ok());
    let bridge = Bridge::start();
    let call = format!("url = \"{}\"", service.url);
    let gate = "condition = \"do_not_call\"\nreason = \"{{ name }} is on the do-not-call list\"";
    let _worker = worker(&bridge, &[("gate", gate), ("http", &call)], &[]);
    bridge.push(r#"{"name":"Ada","do_not_call":true}"#);
    bridge.push(r#"{"name":"Bob"}"#);
    eventually("both are done", || bridge.done() == 2);
    assert_eq!((bridge.stat("skipped"), bridge.dead()), (1, 0));
    let called: Vec<Value> = service
        .requests()
        .iter()
        .map(|it| it.lead["name"].clone())
        .collect();
    assert_eq!(called, ["Bob"]);
}

#[test]
fn a_lead_seen_before_goes_no_further_but_is_not_its_own_like() {
    let bridge = Bridge::start();
    // Every lead fails at first: its second try must get past the memory of the first.
    let service = Service::start(|_, before| {
        if before == 0 {
            Reply::status(503)
        } else {
            Reply::ok()
        }
    });
    let call = format!("url = \"{}\"", service.url);
    let dedupe = "fields = [\"linkedinUrl\"]\nttl = \"1h\"";
    let _worker = worker(
        &bridge,
        &[("dedupe", dedupe), ("http", &call)],
        &["--retry-delay-base", "0.01", "--concurrency", "1"],
    );
    for lead in [
        json!({"linkedinUrl": "https://www.linkedin.com/in/ada", "n": 1}),
        json!({"linkedinUrl": "https://www.linkedin.com/in/ADA ", "n": 2}),
        json!({"linkedinUrl": "https://www.linkedin.com/in/bob", "n": 3}),
        json!({"name": "no address", "n": 4}),
        json!({"name": "no address", "n": 5}),
    ] {
        bridge.push(lead.to_string());
    }
    eventually("all are done", || bridge.done() == 5);
    assert_eq!((bridge.stat("skipped"), bridge.dead()), (1, 0));
    let called: HashSet<u64> = service
        .requests()
        .iter()
        .filter_map(|it| it.lead["n"].as_u64())
        .collect();
    assert_eq!(called, HashSet::from([1, 3, 4, 5]));
    let keys: Vec<String> = bridge.redis("KEYS leads_to_enrich:seen:*");
    assert_eq!(keys.len(), 2);
    for key in keys {
        let ms: i64 = bridge.redis(&format!("PTTL {key}"));
        assert!((1..=3_600_000).contains(&ms), "{key} ends after {ms} ms");
    }
}

#[test]
fn a_lead_is_forgotten_when_its_time_is_up() {
    let bridge = Bridge::start();
    let dedupe = "fields = [\"name\"]\nttl = \"50ms\"\nthen = \"fail\"";
    let _worker = worker(&bridge, &[("dedupe", dedupe)], &[]);
    for n in 1..=2 {
        bridge.push(r#"{"name":"Ada"}"#);
        eventually("it is done", || bridge.done() == n);
        eventually("it is forgotten", || {
            bridge
                .redis::<Vec<String>>("KEYS leads_to_enrich:seen:*")
                .is_empty()
        });
    }
    assert_eq!(bridge.dead(), 0);
}

#[test]
fn the_memory_may_go_away_and_come_back() {
    let mut bridge = Bridge::with_redis(&["--appendonly", "yes", "--appendfsync", "always"]);
    let service = Service::start(|_, _| Reply::ok().after(5));
    let call = format!("url = \"{}\"", service.url);
    let dedupe = "fields = [\"name\"]\nttl = \"1h\"\nthen = \"fail\"";
    // A lead whose mark was set, its answer lost, is asked for again by the same lead.
    let _worker = worker(
        &bridge,
        &[("dedupe", dedupe), ("http", &call), ("dedupe", dedupe)],
        &["--concurrency", "8", "--lease-seconds", "1"],
    );
    bridge.push_numbered(200);
    eventually("some are done", || bridge.done() > 60);
    bridge.restart_redis();
    eventually("all are done", || {
        bridge.done() >= 200 && bridge.in_flight() == 0
    });
    assert_eq!(
        (bridge.done(), bridge.dead(), bridge.stat("retried")),
        (200, 0, 0)
    );
}

#[test]
fn the_mail_servers_of_a_domain_are_looked_up_once() {
    let server = NameServer::start(|name, before| match (name, before) {
        ("example.com.", _) => Says::Mx(&["mx.example.com."]),
        ("null.example.", _) => Says::Mx(&["."]),
        ("empty.example.", _) => Says::Mx(&[]),
        ("wobbly.example.", 0..=9) => Says::Code(ResponseCode::ServFail),
        ("wobbly.example.", _) => Says::Mx(&["mx.wobbly.example."]),
        _ => Says::Code(ResponseCode::NXDomain),
    });
    let bridge = Bridge::start();
    let email = format!("mx = true\ndns = [\"{}\"]", server.address);
    let flags = [
        "--concurrency",
        "1",
        "--retry-delay-base",
        "0.01",
        "--max-retries",
        "20",
    ];
    let _worker = worker(&bridge, &[("email", &email)], &flags);
    let addresses = [
        ("a@example.com", true),
        ("b@Example.com", true),
        ("a@null.example", false),
        ("a@empty.example", false),
        ("a@none.example", false),
        ("a@wobbly.example", true),
    ];
    for (address, _) in addresses {
        bridge.push(json!({ "email": address }).to_string());
    }
    eventually("all are done", || bridge.done() == addresses.len());
    let found: HashSet<(String, bool)> = bridge
        .enriched()
        .iter()
        .map(|lead| {
            (
                lead["email"].as_str().expect("a text").to_lowercase(),
                lead["emailValid"] == true,
            )
        })
        .collect();
    let expected = addresses.map(|(address, valid)| (address.to_lowercase(), valid));
    assert_eq!(found, HashSet::from(expected));
    let asked = server.asked();
    let times = asked.iter().filter(|name| *name == "example.com.").count();
    assert_eq!(times, 1, "{asked:?}");
    assert!(
        bridge.stat("retried") > 0,
        "a name server that cannot tell says nothing of the lead"
    );
}

#[test]
fn a_name_server_that_never_answers_says_nothing_of_a_lead() {
    let server = NameServer::start(|_, _| Says::Nothing);
    let email = format!(
        "mx = true\ndns = [\"{}\"]\ninvalid = \"fail\"\ntimeout = \"300ms\"",
        server.address
    );
    let letter =
        outcome(&[("email", &email)], &json!({"email": "a@example.com"})).expect_err("no answer");
    assert_eq!(letter["error_kind"], "timeout", "{letter}");
    assert!(!server.asked().is_empty());
}

/// Writes a program beside the routes.
fn program(bridge: &Bridge, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let file = bridge.folder.path().join(name);
    std::fs::write(&file, text).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))
        .expect("made a program");
}

#[test]
fn a_python_enrichment_stays_and_answers_many_leads() {
    let bridge = Bridge::start();
    program(
        &bridge,
        "enrich.py",
        "import json, os, sys\nfor line in sys.stdin:\n    lead = json.loads(line)\n    print(json.dumps({'length': len(lead['name']), 'pid': os.getpid(), 'key': os.environ['KEY']}), flush=True)\n",
    );
    let exec = "command = [\"python3\", \"enrich.py\"]\nmode = \"lines\"\nprocesses = 2\nenvironment = { KEY = \"k\" }";
    let _worker = worker(&bridge, &[("exec", exec)], &[]);
    for n in 0..200 {
        bridge.push(json!({"name": "é\n".repeat(n)}).to_string());
    }
    eventually("all are done", || bridge.done() == 200);
    let mut pids = HashSet::new();
    for lead in bridge.enriched() {
        let name = lead["name"].as_str().expect("a text");
        assert_eq!(lead["length"], name.chars().count());
        assert_eq!(lead["key"], "k");
        pids.insert(lead["pid"].as_u64());
    }
    assert!(pids.len() <= 2, "{pids:?}");
}

/// Whether a process is there and no zombie.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        !state.starts_with('Z')
    })
}

fn pids(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().map(ToOwned::to_owned).collect()
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_its_children() {
    let bridge = Bridge::start();
    program(
        &bridge,
        "slow.sh",
        "#!/bin/sh\nsleep 600 &\necho $! $$ >> pids\necho \"I am slow\" >&2\nwait\n",
    );
    let exec = "command = [\"./slow.sh\"]\ntimeout = \"1s\"";
    let _worker = worker(&bridge, &[("exec", exec)], &["--max-retries", "0"]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is dead", || bridge.dead() == 1);
    assert_eq!(bridge.dead_letters()[0]["error_kind"], "timeout");
    let pids = pids(&bridge.folder.path().join("pids"));
    assert_eq!(pids.len(), 2);
    eventually("both are gone", || !pids.iter().any(|pid| lives(pid)));
}

#[test]
fn nothing_is_left_running_when_the_worker_stops() {
    let bridge = Bridge::start();
    program(
        &bridge,
        "stay.sh",
        "#!/bin/sh\necho $$ >> pids\nwhile read -r lead; do echo '{}'; done\nsleep 600\n",
    );
    let exec = "command = [\"./stay.sh\"]\nmode = \"lines\"";
    let mut worker = worker(&bridge, &[("exec", exec)], &[]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    let pids = pids(&bridge.folder.path().join("pids"));
    assert!(pids.len() == 1 && lives(&pids[0]));
    worker.signal("TERM");
    worker.wait();
    eventually("it is gone", || !lives(&pids[0]));
}

#[test]
fn what_a_program_says_goes_into_the_log_in_part_and_harmless() {
    let bridge = Bridge::start();
    let script = "for n in $(seq 500); do printf 'line %s \\033[31m%s %01000d\\n' $n $KEY 0 >&2; done; echo '{}'";
    let exec = format!(
        "command = [\"sh\", \"-c\", {}]\nenvironment = {{ KEY = \"sesame\" }}",
        json!(script)
    );
    let worker = worker(&bridge, &[("exec", &exec)], &[]);
    bridge.push(r#"{"name":"Ada"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    let log = worker.log();
    assert!(
        log.contains("line 1 [31m${KEY} 000")
            && !log.contains("sesame")
            && log.contains("line 20 "),
        "{log}"
    );
    assert!(
        log.contains("480 lines more") && !log.contains("line 21 "),
        "{log}"
    );
    assert!(!log.contains('\u{1b}') && !log.contains("\\u001b"), "{log}");
    assert!(log.len() < 40_000, "{}", log.len());
}

/// A figure of the stations, summed up over all of them.
fn figures(bridge: &Bridge, figure: &str) -> u64 {
    let keys: Vec<String> = bridge.redis("KEYS leads_to_enrich:stations:*");
    keys.iter()
        .flat_map(|key| bridge.redis::<HashMap<String, u64>>(&format!("HGETALL {key}")))
        .filter_map(|(name, value)| name.contains(figure).then_some(value))
        .sum()
}

/// An answer of a language model.
fn completion(content: &str) -> Reply {
    Reply::body(
        json!({
            "choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1_000, "completion_tokens": 100},
        })
        .to_string(),
    )
}

#[test]
fn a_language_models_answer_is_checked_paid_for_and_merged() {
    let service = Service::start(|_, before| match before {
        0 => Reply {
            headers: "Retry-After: 0\r\n".into(),
            ..Reply::status(429)
        },
        1 => completion("I think she is a CTO."),
        2 => completion(r#"{"seniority":"boss"}"#),
        _ => completion("```json\n{\"seniority\": \"c_level\", \"score\": 0.90}\n```"),
    });
    let bridge = Bridge::start();
    let llm = format!(
        "url = \"{}\"\napi_key = \"sesame\"\nmodel = \"small\"\nsystem = \"Be brief.\"\nprompt = \"How senior is {{{{ name }}}}?\"\nparameters = {{ temperature = 0, max_tokens = 50 }}\nprice_in = 0.15\nprice_out = 0.60\ntoken_rate = \"1000000/m\"\nschema = {{ required = [\"seniority\"], properties = {{ seniority = {{ enum = [\"c_level\", \"other\"] }}, score = {{ type = \"number\" }} }} }}",
        service.url
    );
    let _worker = worker(&bridge, &[("llm", &llm)], &["--retry-delay-base", "0.01"]);
    bridge.push(r#"{"name":"Ada \"A\" Example"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    let lead = &bridge.enriched()[0];
    assert_eq!(lead["seniority"], "c_level");
    assert_eq!(lead["score"].to_string(), "0.90");
    // Three answers were paid for: 1,000 x 0.15 and 100 x 0.60 micro-dollars each.
    assert_eq!(lead["_pipeline_cost"], json!(0.00063));
    eventually("its tokens are counted", || {
        ["tokens_in", "tokens_out"].map(|figure| figures(&bridge, figure)) == [3_000, 300]
    });
    let requests = service.requests();
    assert_eq!(requests.len(), 4);
    let request = &requests[0];
    assert_eq!(request.headers["authorization"], "Bearer sesame");
    assert_eq!(
        request.lead["messages"],
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How senior is Ada \"A\" Example?"},
        ])
    );
    assert_eq!(
        (&request.lead["model"], &request.lead["temperature"]),
        (&json!("small"), &json!(0))
    );
    assert_eq!(
        request.lead["response_format"]["json_schema"]["schema"]["required"],
        json!(["seniority"])
    );
    assert!(
        requests
            .windows(2)
            .all(|pair| pair[0].key == pair[1].key && !pair[0].key.is_empty())
    );
}

#[test]
fn a_language_model_may_answer_with_a_text_and_its_faults_are_named() {
    let keys = |service: &Service, more: &str| {
        format!(
            "url = \"{}\"\nmodel = \"m\"\nprompt = \"Hi {{{{ name }}}}\"\n{more}",
            service.url
        )
    };
    let ada = json!({"name": "Ada"});
    let service = Service::start(|_, _| completion(" Dear Ada, ... "));
    let done = outcome(&[("llm", &keys(&service, "into = \"intro\""))], &ada).expect("enriched");
    assert_eq!(done["intro"], "Dear Ada, ...");
    assert!(service.requests()[0].lead.get("response_format").is_none());

    for (body, kind, words) in [
        ("{}", "permanent", "no chat completion"),
        ("<html>", "permanent", "no chat completion"),
        (
            r#"{"choices":[{"message":{"content":"{"},"finish_reason":"length"}]}"#,
            "permanent",
            "max_tokens",
        ),
        (
            r#"{"choices":[{"message":{"content":"[1]"}}]}"#,
            "transient",
            "does not fit the schema: /: ",
        ),
    ] {
        let service = Service::start(move |_, _| Reply::body(body));
        let keys = keys(&service, "schema = { type = \"object\" }");
        let letter = outcome(&[("llm", &keys)], &ada).expect_err(body);
        let error = letter["error"].as_str().expect("an error");
        assert!(
            letter["error_kind"] == kind && error.contains(words),
            "{letter}"
        );
    }
    let silent = Service::start(|_, _| Reply::ok().after(PATIENCE.as_secs() * 1_000));
    let keys = keys(&silent, "into = \"intro\"\ntimeout = \"200ms\"");
    let letter = outcome(&[("llm", &keys)], &ada).expect_err("no answer");
    assert_eq!(letter["error_kind"], "timeout");
}

#[test]
fn tokens_are_shared_out_among_workers() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| completion("ok"));
    // Each call takes about 100 tokens, so that these take a second at least.
    let llm = format!(
        "url = \"{}\"\nmodel = \"m\"\nprompt = \"{{{{ name }}}}\"\ninto = \"x\"\nparameters = {{ max_tokens = 99 }}\ntoken_rate = \"60000/m\"",
        service.url
    );
    for n in 0..11 {
        bridge.push(json!({"name": "Ada", "n": n}).to_string());
    }
    let _workers = [0, 1].map(|_| worker(&bridge, &[("llm", &llm)], &[]));
    eventually("all are done", || bridge.done() == 11);
    let requests = service.requests();
    let at: Vec<_> = requests.iter().map(|request| request.at).collect();
    let took = *at.iter().max().expect("some") - *at.iter().min().expect("some");
    assert!(
        took.as_secs_f64() > 0.9,
        "1,000 more tokens at 1,000/s took {took:?}"
    );
}

/// The environment of the example routes.
fn surroundings(url: &str) -> Vec<(&'static str, String)> {
    let urls = ["FINDER_URL", "SECOND_FINDER_URL", "LLM_URL"];
    let keys = ["FINDER_KEY", "SECOND_FINDER_KEY", "LLM_KEY"];
    let urls = urls.map(|name| (name, url.to_owned()));
    let keys = keys.map(|name| (name, format!("key-of-{name}")));
    let demo = ("DEMO_ENRICHMENT", "127.0.0.1:1".to_owned());
    urls.into_iter().chain(keys).chain([demo]).collect()
}

/// Starts a worker on an example route.
fn example(bridge: &Bridge, file: &str, url: &str) -> Worker {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../assets/pipelines")
        .join(file);
    let log = bridge.log();
    let process = command(&["--pipeline", file.to_str().expect("a plain path")])
        .env("REDIS_URL", bridge.redis.url())
        .envs(surroundings(url))
        .stderr(std::fs::File::create(&log).expect("a log file"))
        .spawn()
        .expect("the worker starts");
    Worker::of(process, log)
}

#[test]
fn every_example_route_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pipelines");
    let mut files = 0;
    for file in std::fs::read_dir(folder).expect("the examples") {
        let file = file.expect("an example").path();
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        files += 1;
        let output = command(&["pipeline", "check", file.to_str().expect("a plain path")])
            .envs(surroundings("http://127.0.0.1:1"))
            .stdout(std::process::Stdio::piped())
            .output()
            .expect("the worker runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", file.display());
    }
    assert!(files >= 5, "{files}");
}

#[test]
fn the_example_of_a_waterfall_works() {
    let service = Service::start(|request, _| match request.line.as_str() {
        line if line.starts_with("GET /v2/people?linkedin=") => {
            assert_eq!(request.headers["authorization"], "Bearer key-of-FINDER_KEY");
            if line.ends_with("in%2Fada") {
                Reply::body(
                    r#"{"person":{"emails":[{"address":"Ada@EXAMPLE.com"}],"phones":["202-555-0123"]}}"#,
                )
            } else {
                Reply::status(404)
            }
        }
        "POST /lookup" => match request.lead["full_name"].as_str() {
            Some("Bob Example") => {
                Reply::body(r#"{"matches":[{"email":null,"mobile":"(202) 555-0199"}]}"#)
            }
            _ => Reply::body(r#"{"matches":[]}"#),
        },
        _ => completion(r#"{"opening":"Good day!","seniority":"other"}"#),
    });
    let bridge = Bridge::start();
    let base = service.url.trim_end_matches("/enrich");
    let _worker = example(&bridge, "waterfall.toml", base);
    for (name, more) in [
        ("Ada", json!(null)),
        ("Bob", json!(null)),
        ("Cy", json!(null)),
        ("Dora", json!(true)),
    ] {
        let slug = name.to_lowercase();
        let lead = json!({"name": format!("{name} Example"), "linkedinUrl": format!("linkedin.com/in/{slug}"), "do_not_call": more});
        bridge.push(lead.to_string());
    }
    bridge.push(r#"{"name":"No Address"}"#);
    eventually("all have come to an end", || {
        bridge.done() + bridge.dead() == 5
    });
    assert_eq!((bridge.done(), bridge.stat("skipped")), (4, 2));
    let error = bridge.dead_letters()[0]["error"].to_string();
    assert!(error.contains("linkedinUrl"), "{error}");

    let leads = bridge.enriched();
    let lead = |name: &str| {
        let name = json!(format!("{name} Example"));
        leads
            .iter()
            .find(|lead| lead["name"] == name)
            .expect("enriched")
    };
    let ada = lead("Ada");
    assert_eq!(
        (&ada["email"], &ada["phone"]),
        (&json!("Ada@example.com"), &json!("+12025550123"))
    );
    assert_eq!(
        (&ada["opening"], &ada["greeting"]),
        (&json!("Good day!"), &json!("Dear Ada,"))
    );
    assert_eq!(
        (&ada["reachable_by"], &ada["_pipeline_cost"]),
        (&json!(["email"]), &json!(0.02021))
    );
    let bob = lead("Bob");
    assert_eq!(
        (&bob["phone"], bob.get("opening")),
        (&json!("+12025550199"), None)
    );
    assert_eq!(
        (&bob["reachable_by"], &bob["_pipeline_cost"]),
        (&json!(["phone"]), &json!(0.07))
    );
    assert_eq!(
        (lead("Cy").get("greeting"), lead("Dora").get("greeting")),
        (None, None)
    );
}

#[test]
fn the_example_of_a_program_works() {
    let bridge = Bridge::start();
    let _worker = example(&bridge, "exec.toml", "");
    bridge.push(r#"{"name":"Ada Example","title":"CTO"}"#);
    eventually("the lead is done", || bridge.done() == 1);
    assert_eq!(bridge.enriched()[0]["score"], 40);
}

#[test]
fn waiting_for_a_busy_program_is_no_time_of_the_leads() {
    let bridge = Bridge::start();
    bridge.push_numbered(8);
    let route = "[[pipelines.main.stations]]\nkind = \"exec\"\nname = \"slow\"\ncost = 0.01\n\
         command = [\"sh\", \"-c\", \"while read -r lead; do sleep 0.3; echo '{}'; done\"]\n\
         mode = \"lines\"\ntimeout = \"2s\"\n";
    let file = bridge.route(route);
    // The last one waits longer than a call may take.
    let flags = ["--pipeline", file.as_str(), "--concurrency", "8"];
    let _worker = Worker::start(&bridge.redis.url(), &bridge.log(), &flags);
    eventually("all are done", || bridge.done() == 8);
    assert_eq!((bridge.stat("retried"), bridge.dead()), (0, 0));
}
