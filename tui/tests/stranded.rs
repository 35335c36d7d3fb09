//! In-flight leads of workers that are not registered, as every program tells of them while no
//! worker is there that would register those workers again.

#[allow(dead_code, reason = "the tests of security use the rest")]
#[path = "security/support.rs"]
mod support;

use serde_json::Value;
use support::{Running, Server, ask, bridge, eventually, succeeds, worker};

const NOOP: &str =
    "default_pipeline = \"noop\"\n[[pipelines.noop.stations]]\nkind = \"noop\"\nname = \"noop\"\n";

/// A Redis with three leads in flight of a worker that was killed and whose registration is gone.
struct Stranded {
    server: Server,
    worker: String,
}

impl Stranded {
    fn new() -> Self {
        let mut server = Server::start(&[], "");
        let slow = support::service(|_, _| {
            std::thread::sleep(std::time::Duration::from_secs(60));
            (200, "{}".into())
        });
        let route = server.file(
            "slow.toml",
            &format!("default_pipeline = \"p\"\n[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{slow}\"\ntimeout = \"60s\"\n"),
        );
        let flags = ["--pipeline", &route, "--lease-seconds", "1"];
        let log = server.path("victim.log");
        let mut victim = Running::start(worker(&server.redis.url(), &flags), log);
        for n in 0..3 {
            server.push(&format!("{{\"name\":\"Person{n} Example\"}}"));
        }
        let url = server.redis.url();
        eventually("it has them", || status(&url)["in_flight"] == 3);
        let worker = status(&url)["workers"][0]["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        victim.kill();
        let _: u64 = server.run("DEL leads_to_enrich:workers leads_to_enrich:workers:info");
        Self { server, worker }
    }

    fn url(&self) -> String {
        self.server.redis.url()
    }

    fn frame(&self, flags: &[&str]) -> String {
        frame(&self.url(), flags)
    }
}

fn status(url: &str) -> Value {
    let said = succeeds(bridge(url, &["status", "--json"]));
    serde_json::from_str(&said).expect("JSON")
}

/// The names of what is wrong.
fn findings(status: &Value) -> Vec<&str> {
    let found = status["findings"].as_array().expect("findings").iter();
    found
        .filter_map(|finding| finding["name"].as_str())
        .collect()
}

/// One frame of the console, in one line without the breaks.
fn frame(url: &str, flags: &[&str]) -> String {
    let mut command = bridge(url, &[&["--once", "text"], flags].concat());
    command.env("LC_ALL", "C.UTF-8");
    let text = succeeds(command);
    println!("{text}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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

#[test]
fn the_commands_tell_of_them_until_a_worker_has_recovered_them() {
    let mut stranded = Stranded::new();
    let url = stranded.url();
    let told = status(&url);
    assert_eq!(told["in_flight"], 3, "{told}");
    assert_eq!(told["in_flight_complete"], true, "{told}");
    assert_eq!(findings(&told), ["worker_unregistered"], "{told}");
    let only = &told["workers"][0];
    assert_eq!(
        (&only["id"], &only["state"], &only["in_flight"]),
        (
            &Value::from(stranded.worker.as_str()),
            &Value::from("unregistered"),
            &Value::from(3)
        )
    );
    let said = succeeds(bridge(&url, &["status"]));
    println!("{said}");
    let wanted = [
        format!(
            "worker {} is lost and not registered any more, with 3 leads in flight",
            stranded.worker
        ),
        "Start a worker: it recovers them.".into(),
        "in flight  3\n".into(),
        "workers    none, and 1 not registered".into(),
        format!("{}  NOT REGISTERED  3 in flight", stranded.worker),
    ];
    for wanted in wanted {
        assert!(said.contains(&wanted), "{wanted}: {said}");
    }
    // They are only looked at.
    let registered: u64 = stranded
        .server
        .run("EXISTS leads_to_enrich:workers leads_to_enrich:workers:info");
    assert_eq!(registered, 0);

    let route = stranded.server.file("noop.toml", NOOP);
    let flags = ["--pipeline", &route, "--lease-seconds", "1"];
    let log = stranded.server.path("heir.log");
    let _heir = Running::start(worker(&url, &flags), log);
    eventually("they are recovered", || {
        let told = status(&url);
        let workers = told["workers"].as_array().map_or(0, Vec::len);
        told["in_flight"] == 0 && told["done"] == 3 && workers == 1
    });
    let told = status(&url);
    assert_eq!(findings(&told), ["worker_lost"], "{told}");
    let totals = &told["totals"];
    assert_eq!(
        (&totals["recovered"], &totals["requeued"]),
        (&3.into(), &0.into())
    );
    // As a worker counts what it hands back when it stops.
    let _: u64 = (stranded.server).run("HINCRBY leads_to_enrich:stats requeued 1234");
    let said = succeeds(bridge(&url, &["status"]));
    let wanted = "returned   3 recovered from lost workers, 1,234 handed back";
    assert!(said.contains(wanted), "{said}");
    for size in ["80x24", "160x50"] {
        let seen = stranded.frame(&["--size", size]);
        let is_told = |told| seen.contains(told);
        assert!(
            is_told("3 recovered from lost workers") && is_told("1,234 handed back"),
            "{seen}"
        );
    }
}

#[test]
fn the_console_shows_them_on_every_screen_that_speaks_of_workers() {
    let stranded = Stranded::new();
    let name = &stranded.worker[..12];
    for size in ["80x24", "160x50"] {
        let seen = stranded.frame(&["--size", size]);
        assert!(!seen.contains("all well"), "{seen}");
        assert!(
            seen.contains("Workers 0") && seen.contains("UNREGISTERED 3"),
            "{seen}"
        );
        assert!(
            seen.contains("and not registered any more, with 3 leads in flight"),
            "{seen}"
        );
        let seen = stranded.frame(&["--size", size, "--keys", "5"]);
        assert!(
            seen.contains(name) && seen.contains("UNREGISTERED 3"),
            "{seen}"
        );
        assert!(seen.contains("Start a worker: it recovers them."), "{seen}");
        let seen = stranded.frame(&["--size", size, "--keys", "4 t"]);
        assert!(
            seen.contains("[in flight 3]") && seen.contains("Person2 Example"),
            "{seen}"
        );
        let seen = stranded.frame(&["--size", size, "--read-only", "--keys", "5"]);
        assert!(seen.contains("UNREGISTERED 3"), "{seen}");
    }
}

#[test]
fn the_api_counts_them_in_status_and_metrics() {
    let mut stranded = Stranded::new();
    let (_api, address) = api(&stranded.server);
    let told = get(&address, "/status");
    for wanted in [
        "\"in_flight\":3",
        "\"in_flight_complete\":true",
        "\"state\":\"unregistered\"",
        "\"name\":\"worker_unregistered\"",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    let page = get(&address, "/metrics");
    for wanted in [
        "bridge_in_flight 3",
        "bridge_in_flight_complete 1",
        "bridge_workers{state=\"unregistered\"} 1",
        "bridge_findings{name=\"worker_unregistered\"} 1",
    ] {
        assert!(page.contains(&format!("\n{wanted}\n")), "{wanted}: {page}");
    }
    // They are counted at each reading, and not as they were when they were found.
    let keys = format!("leads_to_enrich:active:{}", stranded.worker);
    let _: u64 = stranded
        .server
        .run(&format!("DEL {keys} {keys}:1 {keys}:2"));
    assert!(get(&address, "/metrics").contains("\nbridge_in_flight 0\n"));
}

#[test]
fn a_user_who_may_not_search_is_told_that_there_may_be_more() {
    let mut stranded = Stranded::new();
    let () = stranded
        .server
        .run("ACL SETUSER blind on >pass ~* &* +@all -scan");
    let url = stranded.url().replace("redis://", "redis://blind:pass@");
    let told = status(&url);
    assert_eq!(
        (&told["in_flight"], &told["in_flight_complete"]),
        (&Value::from(0), &Value::from(false))
    );
    let note = told["in_flight_note"].as_str().unwrap_or_default();
    assert!(note.contains("+scan"), "{told}");
    let said = succeeds(bridge(&url, &["status"]));
    assert!(
        said.contains("in flight  0 or more: this Redis user may not search"),
        "{said}"
    );
    let seen = frame(&url, &["--size", "80x24"]);
    assert!(
        seen.contains("or more") && seen.contains("may not search"),
        "{seen}"
    );
    assert!(!seen.contains("all well"), "{seen}");
    let seen = frame(&url, &["--size", "80x24", "--keys", "5"]);
    assert!(
        seen.contains("in flight may be more: this Redis user may not search"),
        "{seen}"
    );

    let () = stranded.server.run("ACL LOG RESET");
    let flags = ["api", "--listen", "127.0.0.1:0", "--redis-url", &url];
    let log = stranded.server.path("api.log");
    let api = Running::start(worker(&url, &flags), log);
    let address = support::api_of(&api);
    for _ in 0..3 {
        assert!(get(&address, "/status").contains("\"in_flight_complete\":false"));
        assert!(get(&address, "/metrics").contains("\nbridge_in_flight_complete 0\n"));
    }
    let denials: Vec<std::collections::HashMap<String, redis::Value>> =
        stranded.server.run("ACL LOG");
    assert_eq!(denials.len(), 1, "each denial stands in the server's log");
    assert_eq!(api.log().matches("in flight may be more").count(), 1);
}

#[test]
fn workers_that_do_not_search_are_not_taken_at_their_word() {
    let mut stranded = Stranded::new();
    // As a worker of before the search is registered.
    let (seconds, _): (u64, u64) = stranded.server.run("TIME");
    let lease = (seconds + 60) * 1_000;
    let _: u64 = stranded
        .server
        .run(&format!("ZADD leads_to_enrich:workers {lease} old"));
    let _: u64 = stranded
        .server
        .run("HSET leads_to_enrich:workers:info old {\"lease_length_ms\":60000}");
    let _: u64 = stranded.server.run("DEL leads_to_enrich:workers:state");
    let told = status(&stranded.url());
    assert_eq!(told["in_flight"], 3, "{told}");
    let said = succeeds(bridge(&stranded.url(), &["status"]));
    assert!(
        said.contains("The running workers do not search for them"),
        "{said}"
    );
    // One that searches does it for all: nothing is asked of Redis beside it.
    let now = seconds * 1_000;
    let _: u64 = stranded
        .server
        .run(&format!("HSET leads_to_enrich:workers:state finder {now}"));
    let () = stranded.server.run("CONFIG RESETSTAT");
    assert_eq!(status(&stranded.url())["in_flight_complete"], true);
    let stats: String = stranded.server.run("INFO commandstats");
    assert!(!stats.contains("cmdstat_scan:"), "{stats}");
}

#[test]
fn a_console_that_goes_on_finds_what_is_stranded_later_and_sees_it_recovered() {
    let mut server = Server::start(&[], "");
    let console = support::Console::open(&server.redis.url(), &[]);
    let sees = |what: &str| {
        eventually(what, || {
            String::from_utf8_lossy(&console.sent()).contains(what)
        });
    };
    sees("all well");
    let _: u64 = server.call(&[b"HSET", b"leads_to_enrich:active:gone", b"7", b"{\"n\":1}"]);
    sees("worker gone is lost");
    let route = server.file("noop.toml", NOOP);
    let flags = ["--pipeline", &route, "--lease-seconds", "1"];
    let _heir = Running::start(worker(&server.redis.url(), &flags), server.path("heir.log"));
    sees("worker gone was lost");
    let done: u64 = server.run("XLEN enriched_leads");
    assert!(done <= 1);
}
