//! What an operator is told when something is wrong, by the commands, the console and the API.

#[allow(dead_code, reason = "the tests of security use the rest")]
#[path = "security/support.rs"]
mod support;

use std::fmt::Write as _;

use serde_json::Value;
use support::{Running, Server, ask, bridge, eventually, succeeds, worker};

const NOOP: &str =
    "default_pipeline = \"noop\"\n[[pipelines.noop.stations]]\nkind = \"noop\"\nname = \"noop\"\n";

fn server() -> Server {
    Server::start(&["--dbfilename", "taken"], "")
}

fn status(server: &Server) -> Value {
    let said = succeeds(bridge(&server.redis.url(), &["status", "--json"]));
    serde_json::from_str(&said).expect("JSON")
}

/// The names of what is wrong, as a script reads them.
fn findings(server: &Server) -> Vec<String> {
    let status = status(server);
    let found = status["findings"].as_array().cloned().unwrap_or_default();
    let name = |finding: &Value| finding["name"].as_str().unwrap_or_default().to_owned();
    found.iter().map(name).collect()
}

/// One frame of the console, in one line without the breaks.
fn frame(server: &Server, flags: &[&str]) -> String {
    let args = [&["--once", "text", "--size", "160x50"], flags].concat();
    let mut command = bridge(&server.redis.url(), &args);
    command.env("LC_ALL", "C.UTF-8");
    let text = succeeds(command);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn text(server: &Server) -> String {
    succeeds(bridge(&server.redis.url(), &["status"]))
}

fn noop(server: &Server, name: &str, flags: &[&str]) -> Running {
    let route = server.file("noop.toml", NOOP);
    let flags = [&["--pipeline", &route, "--lease-seconds", "4"], flags].concat();
    Running::start(worker(&server.redis.url(), &flags), server.path(name))
}

fn api(server: &Server) -> (Running, String) {
    let flags = ["api", "--listen", "127.0.0.1:0"];
    let process = Running::start(worker(&server.redis.url(), &flags), server.path("api.log"));
    let address = support::api_of(&process);
    (process, address)
}

fn get(address: &str, path: &str) -> String {
    ask(address, "", &format!("GET {path}"), "")
}

/// Makes a server refuse writes.
type Refuse = fn(&mut Server);

/// Makes every save fail from now on.
fn break_saving(server: &mut Server) {
    let dir: Vec<String> = server.run("CONFIG GET dir");
    // Where the file should go there is a folder.
    let taken = std::path::Path::new(&dir[1]).join("taken");
    std::fs::create_dir(taken).expect("a folder");
    let _: () = server.call(&[b"CONFIG", b"SET", b"save", b"3600 1000000"]);
    let _: String = server.run("BGSAVE");
    eventually("the save fails", || {
        let info: String = server.run("INFO persistence");
        info.contains("rdb_last_bgsave_status:err")
    });
}

#[test]
fn a_redis_that_refuses_writes_is_told_by_everything_that_speaks_of_it() {
    let refusals: [(&str, Refuse); 4] = [
        ("OOM", |server| server.run("CONFIG SET maxmemory 1")),
        ("NOREPLICAS", |server| {
            let () = server.run("CONFIG SET min-replicas-to-write 1");
        }),
        ("replica", |server| server.run("REPLICAOF 127.0.0.1 1")),
        ("MISCONF", break_saving),
    ];
    for (word, refuse) in refusals {
        let mut server = server();
        let (_api, address) = api(&server);
        eventually("ready", || get(&address, "/readyz").contains(" 200 "));
        assert_eq!(findings(&server), Vec::<String>::new());
        let calm = frame(&server, &[]);
        assert!(
            calm.contains("● live") && calm.contains("● all well"),
            "{calm}"
        );
        assert!(get(&address, "/metrics").contains("\nbridge_redis_writable 1\n"));

        refuse(&mut server);
        assert_eq!(findings(&server), ["writes_refused"], "{word}");
        let told = status(&server);
        assert_eq!(told["redis"]["writes"], "refused", "{word}");
        let said = text(&server);
        assert!(said.contains("■ ") && said.contains(word), "{said}");
        let seen = frame(&server, &[]);
        assert!(
            !seen.contains("● live") && seen.contains("■ refuses writes"),
            "{seen}"
        );
        assert!(seen.contains(word), "{seen}");
        eventually("not ready", || {
            let ready = get(&address, "/readyz");
            ready.contains(" 503 ") && ready.contains("refuses writes")
        });
        let page = get(&address, "/metrics");
        assert!(page.contains("\nbridge_redis_writable 0\n"), "{page}");
    }
}

#[test]
fn a_console_that_may_only_read_says_what_it_knows_of_writes_and_tries_none() {
    let mut server = server();
    let seen = frame(&server, &["--read-only"]);
    assert!(
        !seen.contains("● live") && seen.contains("○ live, writes not tried"),
        "{seen}"
    );
    let _: () = server.run("CONFIG RESETSTAT");
    frame(&server, &["--read-only"]);
    let stats: String = server.run("INFO commandstats");
    assert!(!stats.contains("cmdstat_set:"), "{stats}");
    // A worker's heartbeat is a write.
    let _worker = noop(&server, "worker.log", &[]);
    eventually("the worker's heartbeats are seen", || {
        frame(&server, &["--read-only"]).contains("● live")
    });
    let _: () = server.run("CONFIG SET maxmemory 1");
    let seen = frame(&server, &["--read-only"]);
    assert!(seen.contains("■ refuses writes"), "{seen}");
}

#[test]
fn memory_and_a_policy_that_evicts_are_told() {
    let mut server = server();
    let _: () = server.run("CONFIG SET maxmemory 100mb");
    let (_api, address) = api(&server);
    let told = status(&server);
    assert_eq!(told["redis"]["max_memory"], 100 << 20);
    assert!(
        told["redis"]["used_memory"].as_u64() > Some(100_000),
        "{told}"
    );
    assert!(text(&server).contains("of 100 MiB"), "{}", text(&server));
    assert!(frame(&server, &[]).contains("of 100 MiB"));
    assert_eq!(findings(&server), Vec::<String>::new());

    for (policy, name) in [
        ("allkeys-lru", "evicting"),
        ("volatile-ttl", "evicting_some"),
    ] {
        let _: () = server.run(&format!("CONFIG SET maxmemory-policy {policy}"));
        assert_eq!(findings(&server), [name]);
        assert!(text(&server).contains(policy), "{}", text(&server));
        assert!(frame(&server, &[]).contains(policy));
        eventually("readyz tells", || get(&address, "/readyz").contains(policy));
        eventually("the metrics tell", || {
            get(&address, "/metrics")
                .contains(&format!("bridge_redis_evicting{{policy=\"{policy}\"}} 1"))
        });
        let file = server.file_name("health");
        let mut worker = noop(&server, &format!("{policy}.log"), &["--health-file", &file]);
        eventually("the worker tells at its start", || {
            worker.log().contains(policy)
        });
        eventually("healthcheck tells", || {
            let said = support::said(
                &support::worker("", &["healthcheck", "--health-file", &file])
                    .output()
                    .expect("it runs"),
            );
            said.contains(policy)
        });
        worker.stop();
    }

    let _: () = server.run("CONFIG SET maxmemory-policy noeviction");
    let used: u64 = status(&server)["redis"]["used_memory"]
        .as_u64()
        .expect("a number");
    let _: () = server.run(&format!("CONFIG SET maxmemory {}", used + used / 50));
    assert_eq!(findings(&server), ["memory_short"]);
}

#[test]
fn leads_stored_without_enrichment_for_want_of_money_are_counted_apart() {
    let mut server = server();
    let url = support::service(|_, _| (200, "{\"score\":1}".into()));
    let route = server.file(
        "route.toml",
        &format!(
            "default_pipeline = \"sales\"\n[pipelines.sales]\ndaily_budget = 0.02\n\
             [[pipelines.sales.stations]]\nkind = \"gate\"\nname = \"gate\"\ncondition = \"out\"\n\
             [[pipelines.sales.stations]]\nkind = \"http\"\nname = \"enrich\"\ncost = 0.01\nurl = \"{url}\"\n"
        ),
    );
    let (_api, address) = api(&server);
    let flags = ["--pipeline", &route];
    let _worker = Running::start(worker(&server.redis.url(), &flags), server.path("w.log"));
    for n in 0..7 {
        server.push(&format!("{{\"n\":{n}}}"));
    }
    server.push("{\"n\":8,\"out\":true}");
    eventually("all are stored", || {
        server.run::<u64>("XLEN enriched_leads") == 8
    });
    let told = status(&server);
    let totals = &told["totals"];
    assert_eq!(
        (&totals["done"], &totals["skipped"], &totals["over_budget"]),
        (&Value::from(8), &Value::from(6), &Value::from(5)),
    );
    assert_eq!(told["budgets"][0]["pipeline"], "sales");
    assert!(told["budgets"][0]["since"].as_i64() > Some(0), "{told}");
    assert_eq!(findings(&server), ["budget_spent"]);
    let said = text(&server);
    assert!(
        said.contains("5 without enrichment") && said.contains("budget of sales"),
        "{said}"
    );
    let seen = frame(&server, &[]);
    assert!(
        seen.contains("▲ budget of sales") && seen.contains("5 plain"),
        "{seen}"
    );
    let page = get(&address, "/metrics");
    assert!(
        page.contains("\nbridge_leads_over_budget_total 5\n"),
        "{page}"
    );
    assert!(
        page.contains("\nbridge_budget_spent{pipeline=\"sales\"} 1\n"),
        "{page}"
    );
    assert!(get(&address, "/status").contains("\"over_budget\":5"));
}

#[test]
fn leads_that_cannot_be_afforded_are_counted_in_whole_batches_too() {
    let mut server = server();
    let route = server.file(
        "route.toml",
        "default_pipeline = \"sales\"\n[[pipelines.sales.stations]]\nkind = \"exec\"\nname = \"enrich\"\ncost = 0.05\ncommand = [\"cat\"]\n",
    );
    let leads: Vec<String> = (0..2_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    let file = leads.iter().fold(String::new(), |mut file, lead| {
        let _ = writeln!(file, "{lead}");
        file
    });
    let file = server.file("leads.jsonl", &file);
    succeeds(bridge(&server.redis.url(), &["push", &file]));
    let mut command = worker(&server.redis.url(), &["--pipeline", &route]);
    command.env("PIPELINE_BUDGET_LIMIT", "0.01");
    let _worker = Running::start(command, server.path("w.log"));
    eventually("all are stored", || {
        server.run::<u64>("XLEN enriched_leads") == 2_000
    });
    eventually("and counted", || {
        let told = status(&server);
        told["totals"]["over_budget"] == 2_000 && told["totals"]["skipped"] == 2_000
    });
    let batches: String = server.run("INFO commandstats");
    assert!(batches.contains("cmdstat_sort:"), "none went by a batch");
}

#[test]
fn a_worker_that_falls_silent_is_told_at_once_and_a_lost_one_afterwards() {
    let mut server = server();
    let slow = support::service(|_, _| {
        std::thread::sleep(std::time::Duration::from_secs(30));
        (200, "{}".into())
    });
    let route = server.file(
        "route.toml",
        &format!("default_pipeline = \"p\"\n[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{slow}\"\ntimeout = \"60s\"\n"),
    );
    let flags = ["--pipeline", &route, "--lease-seconds", "8"];
    let mut first = Running::start(worker(&server.redis.url(), &flags), server.path("1.log"));
    for n in 0..3 {
        server.push(&format!("{{\"n\":{n}}}"));
    }
    eventually("the first has them", || status(&server)["in_flight"] == 3);
    let first_id = status(&server)["workers"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    first.kill();
    // Long before its lease has run out.
    let mut told = Value::Null;
    eventually("it is silent", || {
        told = status(&server);
        told["workers"][0]["state"] == "silent"
    });
    assert!(
        told["workers"][0]["lease_ms"].as_i64() > Some(2_000),
        "{told}"
    );
    assert!(
        told["workers"][0]["silent_ms"].as_i64() >= Some(2_000),
        "{told}"
    );
    assert_eq!(findings(&server), ["worker_silent"]);
    assert!(text(&server).contains("SILENT for"), "{}", text(&server));
    for screen in ["1", "5"] {
        let seen = frame(&server, &["--keys", screen]);
        assert!(seen.contains("▲") && seen.contains("silent"), "{seen}");
    }

    let second = Running::start(worker(&server.redis.url(), &flags), server.path("2.log"));
    eventually("its leads are with the second", || {
        let told = status(&server);
        told["workers"]
            .as_array()
            .is_some_and(|workers| workers.len() == 1 && workers[0]["id"] != *first_id)
            && told["in_flight"] == 3
    });
    let told = status(&server);
    let lost = &told["lost_workers"][0];
    assert_eq!(lost["worker"], *first_id, "{told}");
    assert_eq!(
        (&lost["recovered"], &lost["dead"]),
        (&Value::from(3), &Value::from(0))
    );
    assert_eq!(lost["recovered_by"], told["workers"][0]["id"]);
    assert_eq!(findings(&server), ["worker_lost"]);
    let words = "lost";
    assert!(
        text(&server).contains(&format!("worker {first_id} was {words}")),
        "{}",
        text(&server)
    );
    for screen in ["1", "5"] {
        let seen = frame(&server, &["--keys", screen]);
        assert!(
            seen.contains(&first_id) && seen.contains("3 leads"),
            "{seen}"
        );
    }
    let ttl: i64 = server.run("TTL leads_to_enrich:workers:lost");
    assert!((1..=86_400).contains(&ttl), "{ttl}");
    drop(second);
}

#[test]
fn commands_console_and_api_show_the_same_rate() {
    let mut server = server();
    let now: Vec<u64> = server.run("TIME");
    let minute = now[0] / 60;
    for minute in minute - 1..=minute + 1 {
        let _: u64 = server.run(&format!(
            "HSET leads_to_enrich:stats:{minute} done 6000 dead 0 retried 600"
        ));
    }
    let (_api, address) = api(&server);
    let told = status(&server);
    let rate = told["rate_per_s"].as_f64().expect("a number");
    assert!(rate >= 100.0, "{told}");
    let failed = told["failed_per_s"].as_f64().expect("a number");
    assert!(failed >= 10.0, "{told}");
    // It goes down from second to second.
    eventually("the console shows the same", || {
        let rate = status(&server)["rate_per_s"].as_f64().expect("a number");
        let per_second = format!(" {rate:.0} ");
        let chart = format!("Done/s {rate:.0} ");
        let seen = frame(&server, &[]);
        seen.contains(&per_second) && seen.contains(&chart)
    });
    assert!(get(&address, "/metrics").contains("bridge_rate_per_second"));
}
