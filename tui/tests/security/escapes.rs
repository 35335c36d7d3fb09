//! Text from outside gives a terminal no orders, wherever it comes out.

use bridge_shared::terminal::is_harmful;

use crate::support::{Running, Server, bridge, eventually, said, service, worker};

/// Orders of every kind: colours, the window's title, the clipboard, a question to be answered by
/// typing, one byte alone, what turns the direction, and a line that was never logged.
const HOSTILE: &str = "H\u{1b}[31m\u{1b}]0;title\u{7}\u{1b}]52;c;eA==\u{7}\u{1b}[6n\u{9b}2J\u{9d}0;x\u{9c}\u{7f}\u{8}\u{202e}\u{2066}\u{200b}\u{feff}\r\n2026-01-01T00:00:00.000000Z ERROR forged";

#[track_caller]
fn is_harmless(what: &str, text: &str) {
    let found = text.chars().find(|c| is_harmful(*c) && *c != '\n');
    assert!(found.is_none(), "{what}: {found:?} in {text:?}");
    let forged = text.lines().find(|line| line.starts_with("2026-01-01"));
    assert!(forged.is_none(), "{what}: {forged:?} in {text:?}");
}

fn lead(name: &str) -> String {
    serde_json::json!({ "name": name, "linkedinUrl": "https://linkedin.com/in/x" }).to_string()
}

fn hostile_service(_: &str, _: &str) -> (u16, String) {
    (400, HOSTILE.into())
}

#[test]
fn what_both_programs_print_is_harmless() {
    let mut server = Server::start(&[], "");
    let url = server.redis.url();
    // A worker's log, in both forms, with what a service and a program say.
    let route = server.file(
        "route.toml",
        &format!(
            "default_pipeline = \"test\"\n[[pipelines.test.stations]]\nkind = \"exec\"\nname = \"program\"\ncommand = [\"sh\", \"-c\", \"cat > /dev/null; cat hostile >&2; echo '{{}}'\"]\n[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}/x\"\n",
            service(hostile_service)
        ),
    );
    server.file("hostile", HOSTILE);
    for format in ["text", "json"] {
        let flags = [
            "--pipeline",
            &route,
            "--log-format",
            format,
            "--max-retries",
            "0",
        ];
        let mut working = Running::start(worker(&url, &flags), server.path(format));
        server.push(&lead(HOSTILE));
        eventually("the program is heard", || {
            working.log().contains("program says")
        });
        eventually("the lead is dead", || {
            server.run::<u64>("LLEN failed_leads") == if format == "text" { 1 } else { 2 }
        });
        working.stop();
        is_harmless(&format!("the {format} log"), &working.log());
    }
    // A worker that is a stranger, an old dead letter, one that is no JSON, one that waits.
    let id = HOSTILE.as_bytes();
    let info =
        serde_json::json!({"host": HOSTILE, "version": HOSTILE, "pipeline": HOSTILE}).to_string();
    let _: u64 = server.call(&[b"ZADD", b"leads_to_enrich:workers", b"99999999999999", id]);
    let _: u64 = server.call(&[
        b"HSET",
        b"leads_to_enrich:workers:info",
        id,
        info.as_bytes(),
    ]);
    let active = [b"leads_to_enrich:active:", id].concat();
    let _: u64 = server.call(&[b"HSET", &active, b"1", lead(HOSTILE).as_bytes()]);
    let envelope = serde_json::json!({"envelope": 1, "id": HOSTILE, "lead": {"name": HOSTILE}, "error": HOSTILE, "retry_count": 3, "failed_at": HOSTILE, "error_kind": HOSTILE, "station": HOSTILE, "worker": HOSTILE, "attempts": [{"at": HOSTILE, "station": HOSTILE, "error": HOSTILE, "kind": HOSTILE, "ms": 1, "worker": HOSTILE}]});
    let old = serde_json::json!({"lead": {"name": HOSTILE}, "error": HOSTILE, "retry_count": 3, "failed_at": HOSTILE});
    for letter in [
        envelope.to_string().as_bytes(),
        old.to_string().as_bytes(),
        HOSTILE.as_bytes(),
        b"\xff\x9b2J\x1b[2J",
    ] {
        let _: u64 = server.call(&[b"LPUSH", b"failed_leads", letter]);
    }
    server.push(&lead(HOSTILE));
    let _: u64 = server.call(&[
        b"ZADD",
        b"leads_to_enrich:retry",
        b"99999999999999",
        lead(HOSTILE).as_bytes(),
    ]);
    for field in ["who", "what", "detail"] {
        let _: String = server.call(&[
            b"XADD",
            b"leads_to_enrich:audit",
            b"*",
            field.as_bytes(),
            id,
        ]);
    }
    let _: u64 = server.call(&[
        b"HSET",
        b"leads_to_enrich:stations:1",
        serde_json::json!([HOSTILE, HOSTILE, "calls"])
            .to_string()
            .as_bytes(),
        b"1",
    ]);

    let list = bridge(&url, &["dlq", "list", "--json"])
        .output()
        .expect("it runs");
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let items = list["items"].as_array().expect("items");
    let ids: Vec<&str> = items
        .iter()
        .map(|item| item["id"].as_str().expect("an id"))
        .collect();
    let leads = server.file("leads.jsonl", &format!("{HOSTILE}\n{}\n", lead(HOSTILE)));
    let lead_file = server.file("lead.json", &lead(HOSTILE));
    let mut commands = Vec::new();
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["dlq", "list"],
        &["dlq", "list", "--json"],
        &["dlq", "groups"],
        &["dlq", "groups", "--json"],
        &["dlq", "show", HOSTILE],
        &["dlq", "retry", HOSTILE],
        &["dlq", "restore", HOSTILE],
        &["push", "--strict", &leads],
        &["push", "/nonexistent\u{1b}[2J"],
        &["--profile", HOSTILE, "status"],
        &["--redis-url", HOSTILE, "status"],
        &["--once", "text", "--keys", "\u{1b}[2J"],
    ] {
        commands.push(bridge(&url, args));
    }
    for id in &ids {
        commands.push(bridge(&url, &["dlq", "show", id]));
        commands.push(bridge(&url, &["dlq", "show", id, "--json"]));
    }
    for screen in [
        "1",
        "2",
        "3",
        "3 enter",
        "3 enter J",
        "3 j enter",
        "3 f",
        "4",
        "4 l",
        "4 l l",
        "5",
        "6",
        "7",
    ] {
        commands.push(bridge(&url, &["--once", "text", "--keys", screen]));
    }
    commands.push(worker(
        &url,
        &["pipeline", "run", &route, "--lead", &lead_file],
    ));
    commands.push(worker(
        &url,
        &["pipeline", "run", &route, "--lead", &lead_file, "--json"],
    ));
    commands.push(worker(
        &url,
        &["pipeline", "run", &route, "--lead", HOSTILE],
    ));
    commands.push(worker(&url, &["pipeline", "check", "\u{1b}[2J\u{9b}2J"]));
    for mut command in commands {
        let output = command.output().expect("it runs");
        is_harmless(&format!("{command:?}"), &said(&output));
    }
}
