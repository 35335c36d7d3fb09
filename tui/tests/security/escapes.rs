//! Text from outside gives a terminal no orders, wherever it comes out.

use std::process::Command;

use bridge_shared::terminal::is_harmful;

use crate::support::{
    Console, Running, Server, bridge, dead_ids, eventually, said, service, worker,
};

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

/// Hostile text in every place that comes from outside: a worker that is a stranger, dead letters
/// new, old and broken, leads that wait, the audit, the figures.
fn fill(server: &mut Server) {
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
}

const ROUTE: &str = r#"
default_pipeline = "test"
[[pipelines.test.stations]]
kind = "exec"
name = "program"
command = ["sh", "-c", "cat > /dev/null; cat hostile >&2; echo '{}'"]
[[pipelines.test.stations]]
kind = "http"
name = "enrich"
url = "SERVICE/x"
"#;

/// A route whose program and service say hostile things.
fn route(server: &Server) -> String {
    server.file("hostile", HOSTILE);
    let service = service(|_, _| (400, HOSTILE.into()));
    server.file("route.toml", &ROUTE.replace("SERVICE", &service))
}

#[test]
fn what_a_worker_logs_is_harmless() {
    let mut server = Server::start(&[], "");
    let (url, route) = (server.redis.url(), route(&server));
    for (n, format) in ["text", "json"].into_iter().enumerate() {
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
            server.run::<usize>("LLEN failed_leads") == n + 1
        });
        working.stop();
        is_harmless(&format!("the {format} log"), &working.log());
    }
}

/// Commands that show all of it.
fn questions(server: &Server, url: &str) -> Vec<Command> {
    let route = route(server);
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
        commands.push(bridge(url, args));
    }
    for id in dead_ids(url) {
        commands.push(bridge(url, &["dlq", "show", &id]));
        commands.push(bridge(url, &["dlq", "show", &id, "--json"]));
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
        commands.push(bridge(url, &["--once", "text", "--keys", screen]));
    }
    commands.push(worker(
        url,
        &["pipeline", "run", &route, "--lead", &lead_file],
    ));
    commands.push(worker(
        url,
        &["pipeline", "run", &route, "--lead", &lead_file, "--json"],
    ));
    commands.push(worker(
        url,
        &["pipeline", "run", &route, "--lead", "\u{1b}[2J\u{9b}2J"],
    ));
    commands.push(worker(url, &["pipeline", "check", "\u{1b}[2J\u{9b}2J"]));
    commands
}

#[test]
fn what_a_command_prints_is_harmless() {
    let mut server = Server::start(&[], "");
    fill(&mut server);
    for mut command in questions(&server, &server.redis.url()) {
        let output = command.output().expect("it runs");
        is_harmless(&format!("{command:?}"), &said(&output));
    }
}

#[test]
fn what_the_console_sends_to_the_terminal_are_its_own_orders() {
    let mut server = Server::start(&[], "");
    fill(&mut server);
    let mut console = Console::open(&server.redis.url(), &[]);
    eventually("the console is open", || console.sent().len() > 2_000);
    for screen in ["3", "\r", "J", "4", "5", "6", "7", "1"] {
        console.press(screen);
    }
    let sent = console.sent();
    let text = String::from_utf8_lossy(&sent);
    assert!(text.contains("\\u{1b}"), "they are shown");
    for order in [
        "\u{1b}]0;",
        "\u{1b}]52;",
        "\u{1b}[6n",
        "\u{7}",
        "\u{8}",
        "\u{7f}",
        "\u{9b}",
        "\u{9d}",
        "\u{202e}",
        "\u{2066}",
        "\u{200b}",
        "\u{feff}",
        "H\u{1b}[31m",
    ] {
        assert!(!text.contains(order), "{order:?}");
    }
}
