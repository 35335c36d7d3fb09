//! The users of `assets/acl`: each can do all of its work, and nothing else.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;

use crate::support::{
    Running, Server, api_of, ask, bridge, dead_ids, eventually, fails, said, service, succeeds,
    worker,
};

/// Rights that other tests make use of: behind sentinels, on a cluster, with replicas, and after an
/// error.
const ELSEWHERE: [&str; 5] = ["role", "cluster|keyslot", "cluster|slots", "type", "wait"];

/// A Redis with the users as they are shipped, each with a password.
fn server() -> Server {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut users = "user admin on >admin ~* &* +@all\nuser default off\n".to_owned();
    for role in ["producer", "worker", "console", "viewer", "api"] {
        let user = shipped(role);
        let name = format!("user bridge-{role} off ");
        assert!(
            user.starts_with(&name),
            "{role} is shipped without a way in"
        );
        users += &user.replace(&name, &format!("user bridge-{role} on >pass "));
    }
    std::fs::write(&file, users).expect("written");
    let path = file.path().to_str().expect("a plain path").to_owned();
    Server::start(
        &["--aclfile", &path, "--enable-debug-command", "local"],
        "admin:admin@",
    )
}

fn shipped(role: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../assets/acl/{role}.acl"));
    let user = std::fs::read_to_string(file).expect("a user");
    assert_eq!(user.lines().count(), 1, "an ACL file has a user a line");
    user
}

fn url(server: &Server, role: &str) -> String {
    format!(
        "redis://bridge-{role}:pass@127.0.0.1:{}/0",
        server.redis.port()
    )
}

/// What a user was refused, from the server's own book.
fn refused(server: &mut Server) -> Vec<String> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> = server.run("ACL LOG 100");
    log.iter()
        .map(|entry| format!("{:?} {:?}", entry["username"], entry["object"]))
        .collect()
}

/// The rights of a user that were not made use of since `CONFIG RESETSTAT`.
fn unused(server: &mut Server, role: &str) -> BTreeSet<String> {
    let stats: String = server.run("INFO commandstats");
    let used: BTreeSet<&str> = stats
        .lines()
        .filter_map(|line| Some(line.strip_prefix("cmdstat_")?.split_once(':')?.0))
        .collect();
    let shipped = shipped(role);
    let rights = shipped
        .split([' ', '(', ')', '\n'])
        .filter_map(|word| word.strip_prefix('+'));
    rights
        .filter(|right| !used.contains(right) && !ELSEWHERE.contains(right))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn every_right_is_used(server: &mut Server, role: &str) {
    let unused = unused(server, role);
    assert!(unused.is_empty(), "{role} never uses {unused:?}");
}

/// What a user must not be able to do.
#[track_caller]
fn may_not(server: &mut Server, role: &str, commands: &[&str]) {
    for command in commands {
        let answer: String = server.run(&format!("ACL DRYRUN bridge-{role} {command}"));
        assert!(answer.contains("no permissions"), "{role} may {command}");
    }
}

/// What nobody but the administrator may do.
const NOBODY: [&str; 14] = [
    "FLUSHALL",
    "FLUSHDB",
    "CONFIG GET *",
    "CONFIG SET dir /",
    "KEYS *",
    "ACL LIST",
    "CLIENT KILL TYPE normal",
    "CLIENT LIST",
    "MONITOR",
    "DEBUG SLEEP 1",
    "SCRIPT FLUSH",
    "DEL leads_to_enrich",
    "SET leads_to_enrich x",
    "GET another_key",
];

const ROUTE: &str = r#"
default_pipeline = "test"
[pipelines.test]
daily_budget = 1000
[[pipelines.test.stations]]
kind = "dedupe"
name = "dedupe"
fields = ["email"]
ttl = "1h"
[[pipelines.test.stations]]
kind = "http"
name = "enrich"
url = "SERVICE"
cost = 0.01
rate = "1000/s"
cache = { ttl = "1h", key = ["email"] }
# Nobody is there, and what was taken out of the day's money for it goes back.
[[pipelines.test.stations]]
kind = "http"
name = "nobody"
url = "http://127.0.0.1:1/"
cost = 0.01
on_error = "skip"
when = "name == 'sound'"
[[pipelines.test.stations]]
kind = "http"
name = "slow"
url = "SERVICE/slow"
cost = 0.01
when = "slow"
"#;

fn answer(head: &str, body: &str) -> (u16, String) {
    if head.starts_with("POST /slow") {
        std::thread::sleep(std::time::Duration::from_secs(600));
    }
    if body.contains("broken") {
        (503, "{}".into())
    } else {
        (200, r#"{"found":true}"#.into())
    }
}

/// A route whose leads are over at once, but for some.
const QUICK: &str = r#"
default_pipeline = "quick"
[[pipelines.quick.stations]]
kind = "http"
name = "enrich"
url = "SERVICE"
when = "again"
"#;

/// Whole batches, of which some of the last are not over at once.
fn work_by_batches(server: &mut Server, url: &str, flags: &[&str]) {
    const LEADS: u64 = 3_000;
    let route = server.file("quick.toml", &QUICK.replace("SERVICE", &service(answer)));
    let flags = [&["--pipeline", &route], flags].concat();
    let leads: Vec<String> = (0..LEADS)
        .map(|n| (n, n > LEADS / 2 && n % 300 == 299))
        .map(|(n, again)| format!(r#"{{"name":"Ada {n}","again":{again}}}"#))
        .collect();
    let before = server.run::<u64>("XLEN enriched_leads");
    lpush(server, "leads_to_enrich", &leads);
    let mut worker = worker(url, &flags);
    worker.env("BRIDGE_API_TOKEN", "token");
    let mut worker = Running::start(worker, server.path("quick.log"));
    eventually("whole batches are done", || {
        server.run::<u64>("XLEN enriched_leads") >= before + LEADS
    });
    worker.stop();
}

#[test]
fn a_worker_does_all_its_work_with_its_own_rights() {
    let mut server = server();
    let route = server.file("route.toml", &ROUTE.replace("SERVICE", &service(answer)));
    let flags = [
        "--pipeline",
        &route,
        "--retry-delay-base",
        "0.05",
        "--max-retries",
        "1",
        "--lease-seconds",
        "1",
        "--shutdown-timeout",
        "0.1",
    ];
    let _: () = server.run("CONFIG RESETSTAT");
    let url = url(&server, "worker");
    let mut first = Running::start(worker(&url, &flags), server.path("first.log"));
    server.push(r#"{"email":"slow@example.com","slow":true}"#);
    eventually("the first has it in hand", || {
        let workers: Vec<String> = server.run("ZRANGE leads_to_enrich:workers 0 -1");
        workers
            .iter()
            .any(|id| server.run::<u64>(&format!("HLEN leads_to_enrich:active:{id}")) == 1)
    });
    first.kill();
    for n in 0..20 {
        let name = if n % 4 == 0 { "broken" } else { "sound" };
        server.push(&format!(
            r#"{{"name":"{name}","email":"{name}{n}@example.com"}}"#
        ));
    }
    server.push(r#"{"name":"sound","email":"sound1@example.com"}"#);
    // What a lead leaves behind in the hands of a worker that is no longer registered.
    let mut second = Running::start(worker(&url, &flags), server.path("second.log"));
    eventually("all have come to their end, but the slow one", || {
        server.run::<u64>("XLEN enriched_leads") == 16
            && server.run::<u64>("LLEN failed_leads") == 5
    });
    eventually("the slow one was recovered", || {
        server.run::<Option<u64>>("HGET leads_to_enrich:stats recovered") == Some(1)
    });
    try_a_lead(&mut server);
    second.stop();
    work_by_batches(&mut server, &url, &[]);
    assert_eq!(refused(&mut server), Vec::<String>::new());
    every_right_is_used(&mut server, "worker");
    may_not(&mut server, "worker", &NOBODY);
    may_not(
        &mut server,
        "worker",
        &[
            "LRANGE failed_leads 0 -1",
            "RPOP failed_leads",
            "XRANGE enriched_leads - +",
            "XTRIM enriched_leads MAXLEN 0",
            "RENAME failed_leads x",
            "EXPIRE leads_to_enrich 1",
            "SET leads_to_enrich:paused x",
            "XADD leads_to_enrich:audit * who x",
            "SUBSCRIBE another",
            "PUBLISH another x",
        ],
    );
}

/// A trial, asked for by a console.
fn try_a_lead(server: &mut Server) {
    let _: () = server.call(&[
        b"RPUSH",
        b"leads_to_enrich:try",
        b"token\n{\"email\":\"try@example.com\"}",
    ]);
    eventually("the trial is answered", || {
        server.run::<bool>("EXISTS leads_to_enrich:try:token")
    });
}

/// Dead letters that the commands below work on.
fn bury(server: &mut Server, n: usize) {
    let letters: Vec<String> = (0..n)
        .map(|i| {
            format!(
                r#"{{"lead":{{"name":"Ada {i}","email":"a{i}@example.com"}},"error":"boom","retry_count":3,"failed_at":"2026-01-15T10:30:00Z"}}"#
            )
        })
        .collect();
    lpush(server, "failed_leads", &letters);
}

fn lpush(server: &mut Server, list: &str, entries: &[String]) {
    let command = [&b"LPUSH"[..], list.as_bytes()];
    let parts: Vec<&[u8]> = command
        .into_iter()
        .chain(entries.iter().map(String::as_bytes))
        .collect();
    let _: u64 = server.call(&parts);
}

/// Every screen of the console.
#[track_caller]
fn screens(url: &str) {
    for keys in [
        "1", "1 w", "2", "3", "3 enter", "3 f", "3 T", "4", "4 l", "4 l l", "5", "6", "7",
    ] {
        let frame = succeeds(bridge(url, &["--once", "text", "--keys", keys]));
        assert!(!frame.contains("may not"), "{keys}: {frame}");
    }
}

#[test]
fn a_console_does_all_its_work_with_its_own_rights() {
    let mut server = server();
    let url = url(&server, "console");
    let _: () = server.run("CONFIG RESETSTAT");
    let workers = [
        "ZADD leads_to_enrich:workers 99999999999999 w",
        "HSET leads_to_enrich:workers:info w {}",
        "HSET leads_to_enrich:active:w 1 {} batch:1 2",
        "LPUSH leads_to_enrich:active:w:1 {}",
        "ZADD leads_to_enrich:retry 99999999999999 {}",
    ];
    for command in workers {
        let _: u64 = server.run(command);
    }
    bury(&mut server, 8);
    let leads = server.file(
        "leads.jsonl",
        "{\"name\":\"Grace\",\"linkedinUrl\":\"https://linkedin.com/in/grace\"}\n",
    );
    screens(&url);
    succeeds(bridge(
        &url,
        &["push", "--dedupe", "--max-depth", "100", &leads],
    ));
    succeeds(bridge(&url, &["status"]));
    let ids = dead_ids(&url);
    succeeds(bridge(&url, &["dlq", "count"]));
    succeeds(bridge(&url, &["dlq", "groups"]));
    succeeds(bridge(&url, &["dlq", "show", &ids[0]]));
    succeeds(bridge(&url, &["dlq", "retry", &ids[0], &ids[1]]));
    let dropped = succeeds(bridge(&url, &["dlq", "drop", &ids[2]]));
    let trash = dropped
        .trim()
        .rsplit(' ')
        .next()
        .expect("a trash")
        .to_owned();
    succeeds(bridge(&url, &["dlq", "restore", &trash]));
    succeeds(bridge(&url, &["dlq", "export", "-"]));
    succeeds(bridge(&url, &["dlq", "clear", "--yes"]));
    succeeds(bridge(&url, &["pause"]));
    succeeds(bridge(&url, &["resume"]));
    // Retry and undo, then a trial that nobody answers.
    bury(&mut server, 2);
    succeeds(bridge(&url, &["--once", "text", "--keys", "3 r y u y"]));
    eventually("the retry was undone", || {
        server.run::<u64>("LLEN failed_leads") == 2
    });
    succeeds(bridge(&url, &["--once", "text", "--keys", "3 t"]));
    // In the middle of a long list an entry is taken in another way than at its ends.
    bury(&mut server, 31_000);
    succeeds(bridge(
        &url,
        &["dlq", "retry", "--all", "--filter", "lead:a15500@"],
    ));
    assert_eq!(refused(&mut server), Vec::<String>::new());
    // On a busy machine a frame may be drawn before all of it was read.
    eventually("every right is used", || {
        let unused = unused(&mut server, "console");
        unused.is_empty() || {
            screens(&url);
            false
        }
    });
    may_not(&mut server, "console", &NOBODY);
    may_not(
        &mut server,
        "console",
        &[
            "EVAL 1 0",
            "RPOP leads_to_enrich",
            "XADD enriched_leads * id x",
            "HSET leads_to_enrich:active:w 1 x",
            "ZADD leads_to_enrich:workers 1 w",
            "XTRIM leads_to_enrich:audit MAXLEN 0",
            "PUBLISH another x",
            "EXPIRE failed_leads 1",
        ],
    );
}

#[test]
fn a_viewer_sees_everything_and_changes_nothing() {
    let mut server = server();
    let (url, name) = (url(&server, "viewer"), "bridge-viewer");
    let _: () = server.run("CONFIG RESETSTAT");
    let _: u64 = server.run("ZADD leads_to_enrich:workers 99999999999999 w");
    let _: u64 = server.run("HSET leads_to_enrich:workers:info w {}");
    let _: u64 = server.run("HSET leads_to_enrich:active:w 1 {} batch:1 2");
    let _: u64 = server.run("LPUSH leads_to_enrich:active:w:1 {}");
    let _: u64 = server.run("ZADD leads_to_enrich:retry 99999999999999 {}");
    let _: u64 = server.run("LPUSH failed_leads:trash:t {}");
    server.push("{}");
    bury(&mut server, 3);
    let before: String = server.run("DEBUG DIGEST");
    screens(&url);
    let leads = server.file("leads.jsonl", "{\"name\":\"Grace\"}\n");
    succeeds(bridge(&url, &["push", "--dedupe", "--dry-run", &leads]));
    succeeds(bridge(&url, &["status"]));
    let ids = dead_ids(&url);
    succeeds(bridge(&url, &["dlq", "groups"]));
    succeeds(bridge(&url, &["dlq", "show", &ids[0]]));
    succeeds(bridge(&url, &["dlq", "export", "-"]));
    assert_eq!(refused(&mut server), Vec::<String>::new());
    // On a busy machine a frame may be drawn before all of it was read.
    eventually("every right is used", || {
        let unused = unused(&mut server, "viewer");
        unused.is_empty() || {
            screens(&url);
            false
        }
    });
    for args in [
        &["push", &leads][..],
        &["dlq", "retry", &ids[0]],
        &["dlq", "retry", "--all"],
        &["dlq", "drop", &ids[0]],
        &["dlq", "clear", "--yes"],
        &["dlq", "restore", "x"],
        &["pause"],
        &["resume"],
    ] {
        let words = fails(bridge(&url, args));
        assert!(
            words.contains(name) && words.contains("may not"),
            "{args:?}: {words}"
        );
    }
    eventually("the console says so too", || {
        succeeds(bridge(&url, &["--once", "text", "--keys", "3 r y"])).contains("may not")
    });
    assert_eq!(before, server.run::<String>("DEBUG DIGEST"));
    // And no command that writes, on any key.
    let writes: Vec<String> = server.run("ACL CAT write");
    let user = shipped("viewer");
    for command in writes {
        let right = format!("+{command}");
        assert!(
            !user.split([' ', '\n']).any(|word| word == right),
            "{command}"
        );
    }
    may_not(&mut server, "viewer", &NOBODY);
    may_not(&mut server, "viewer", &["EVAL 1 0"]);
}

#[test]
fn a_producer_can_push_and_nothing_else() {
    let mut server = server();
    let url = url(&server, "producer");
    let _: () = server.run("CONFIG RESETSTAT");
    let mut plain = redis::Client::open(url.as_str())
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let pushed: u64 = redis::cmd("LPUSH")
        .arg("leads_to_enrich")
        .arg("{}")
        .query(&mut plain)
        .expect("pushed");
    assert_eq!(pushed, 1);
    let pong: String = redis::cmd("PING").query(&mut plain).expect("answered");
    assert_eq!(pong, "PONG");
    let leads = server.file("leads.jsonl", "{\"name\":\"Grace\"}\n{\"name\":\"Ada\"}\n");
    succeeds(bridge(&url, &["push", "--max-depth", "100", &leads]));
    assert_eq!(server.run::<u64>("LLEN leads_to_enrich"), 3);
    every_right_is_used(&mut server, "producer");
    // The version is asked for, and a user who may not ask is taken at their word.
    assert!(
        refused(&mut server)
            .iter()
            .all(|what| what.contains("info"))
    );
    for args in [
        &["status"][..],
        &["dlq", "list"],
        &["dlq", "clear", "--yes"],
        &["pause"],
        &["push", "--dedupe", &leads],
    ] {
        let words = fails(bridge(&url, args));
        assert!(
            words.contains("bridge-producer") && words.contains("may not"),
            "{args:?}: {words}"
        );
    }
    may_not(&mut server, "producer", &NOBODY);
    may_not(
        &mut server,
        "producer",
        &[
            "EVAL 1 0",
            "RPOP leads_to_enrich",
            "LRANGE leads_to_enrich 0 -1",
            "EXPIRE leads_to_enrich 1",
            "LPUSH failed_leads x",
            "PUBLISH leads_to_enrich:events x",
        ],
    );
}

#[test]
fn a_worker_without_its_rights_says_what_is_missing_and_who_lacks_it() {
    let server = server();
    let url = url(&server, "viewer");
    let health = server.path("health");
    let flags = ["--health-file", health.to_str().expect("a plain path")];
    let worker = Running::start(worker(&url, &flags), server.path("log"));
    eventually("it says so", || {
        worker
            .log()
            .contains("the Redis user bridge-viewer may not heartbeat")
    });
    // And whoever looks after it hears that it is not well.
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bridge"));
    eventually("it is ill", || {
        std::process::Command::new(program.with_file_name("scrapegoat-worker"))
            .arg("healthcheck")
            .env("HEALTH_FILE", &health)
            .output()
            .is_ok_and(|output| said(&output).contains("bridge-viewer"))
    });
}

#[test]
fn a_key_of_another_type_is_named_to_whoever_meets_it() {
    let mut server = server();
    // What the worker writes to, and what the others read.
    let _: () = server.run("MSET enriched_leads mine failed_leads mine");
    let named = "the key failed_leads is a string, and the bridge keeps a list there";
    let worker = Running::start(worker(&url(&server, "worker"), &[]), server.path("log"));
    server.push(r#"{"name":"sound"}"#);
    eventually("the worker names it", || worker.log().contains(named));
    for role in ["console", "viewer", "api"] {
        let output = bridge(&url(&server, role), &["status"]).output();
        let said = said(&output.expect("it runs"));
        assert!(said.contains(named), "{role}: {said}");
    }
    assert_eq!(refused(&mut server), Vec::<String>::new());
}

#[test]
fn a_worker_that_serves_the_api_does_all_of_its_work_as_one_user() {
    let mut server = server();
    let _: () = server.run("CONFIG RESETSTAT");
    let route = server.file("route.toml", &ROUTE.replace("SERVICE", &service(answer)));
    let flags = [
        "--pipeline",
        &route,
        "--retry-delay-base",
        "0.05",
        "--max-retries",
        "1",
        "--http",
        "127.0.0.1:0",
    ];
    let mut worker = worker(&url(&server, "api"), &flags);
    worker.env("BRIDGE_API_TOKEN", "token");
    let mut worker = Running::start(worker, server.path("log"));
    let address = api_of(&worker);
    let asked = |request: &str, body: &str| {
        let answer = ask(&address, "token", request, body);
        assert!(answer.starts_with("HTTP/1.1 20"), "{request}: {answer}");
    };
    let leads =
        r#"[{"name":"sound","email":"a@example.com"},{"name":"broken","email":"b@example.com"}]"#;
    asked("POST /leads", leads);
    asked("POST /leads?dedupe=true", leads);
    eventually("one is enriched, and one is dead", || {
        server.run::<u64>("XLEN enriched_leads") >= 1 && server.run::<u64>("LLEN failed_leads") >= 1
    });
    let mut listener = TcpStream::connect(&address).expect("a connection");
    write!(
        listener,
        "GET /events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer token\r\n\r\n"
    )
    .expect("sent");
    eventually("somebody listens to the events", || {
        let (_, listeners): (String, u64) = server.run("PUBSUB NUMSUB leads_to_enrich:events");
        listeners == 1
    });
    drop(listener);
    try_a_lead(&mut server);
    bury(&mut server, 4);
    for request in [
        "GET /dlq/items",
        "GET /dlq/count",
        "GET /status",
        "GET /metrics",
        "GET /readyz",
        "POST /dlq/retry/0",
        "POST /dlq/retry-all?filter=Ada",
    ] {
        asked(request, "");
    }
    // In the middle of a long list an entry is taken in another way than at its ends.
    bury(&mut server, 31_000);
    asked("POST /dlq/retry/15500", "");
    asked("DELETE /dlq/clear", "");
    worker.stop();
    let url = url(&server, "api");
    work_by_batches(&mut server, &url, &["--http", "127.0.0.1:0"]);
    assert_eq!(refused(&mut server), Vec::<String>::new());
    every_right_is_used(&mut server, "api");
    may_not(&mut server, "api", &NOBODY);
    may_not(
        &mut server,
        "api",
        &[
            "SET leads_to_enrich:paused x",
            "RPUSH leads_to_enrich:try x",
            "LREM leads_to_enrich 1 x",
            "LTRIM failed_leads:trash:t 0 0",
            "XREVRANGE leads_to_enrich:audit + -",
            "XTRIM enriched_leads MAXLEN 0",
            "PUBLISH another x",
        ],
    );
}

#[test]
fn the_user_of_the_api_has_the_rights_of_a_worker_and_some_of_a_console() {
    let rights = |role: &str| -> BTreeSet<String> {
        let user = shipped(role);
        let (_, rights) = user.trim_end().split_once(" off ").expect("a user");
        rights.split(" (").skip(1).map(str::to_owned).collect()
    };
    // The right to publish stands outside of parentheses here, as it does for the console.
    let worker = rights("worker").into_iter();
    let mut worker = worker.filter(|rights| !rights.contains("+publish"));
    assert!(worker.all(|right| rights("api").contains(&right)));
    let words = |role: &str| -> BTreeSet<String> {
        let shipped = shipped(role);
        let words = shipped.split([' ', '(', ')', '\n']);
        words
            .filter(|word| word.starts_with('+'))
            .map(str::to_owned)
            .collect()
    };
    let known = &words("worker") | &words("console");
    assert!(words("api").is_subset(&known));
}
