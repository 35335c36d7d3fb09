//! The commands for scripts, driven as a script would.

use std::process::{Command, Output, Stdio};

use bridge_shared::sandbox::Sandbox;
use redis::{Connection, FromRedisValue};
use serde_json::{Value, json};

const OLD: &str = r#"{"lead":{"name":"Ada Example","linkedinUrl":"https://linkedin.com/in/ada"},"error":"boom","retry_count":3,"failed_at":"2026-01-15T10:30:00Z"}"#;
const BARE: &str = r#"{"name":"Grace Example"}"#;

struct Bridge {
    redis: Sandbox,
    connection: Connection,
}

impl Bridge {
    fn start() -> Self {
        let redis = Sandbox::start(&[]).expect("a private Redis");
        let connection = redis::Client::open(redis.url())
            .and_then(|client| client.get_connection())
            .expect("a connection");
        Self { redis, connection }
    }

    fn redis<T: FromRedisValue>(&mut self, parts: &[&[u8]]) -> T {
        let mut cmd = redis::Cmd::new();
        for part in parts {
            cmd.arg(*part);
        }
        cmd.query(&mut self.connection).expect("Redis answers")
    }

    fn bury(&mut self, entry: &[u8]) {
        let _: u64 = self.redis(&[b"LPUSH", b"failed_leads", entry]);
    }

    fn waiting(&mut self) -> Vec<Vec<u8>> {
        self.redis(&[b"LRANGE", b"leads_to_enrich", b"0", b"-1"])
    }

    fn run(&self, args: &[&str]) -> Output {
        bridge(&self.redis.url(), args)
    }

    /// Runs a command that must succeed; returns what it printed.
    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            output.status.success(),
            "{args:?}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said.trim_end().to_owned()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[&["--json"], args].concat())).expect("JSON")
    }
}

fn bridge(url: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bridge"))
        .args(args)
        .env("REDIS_URL", url)
        .env_remove("APP_REDIS_URL")
        .env_remove("QUEUE_NAME")
        .env_remove("FAILED_QUEUE_NAME")
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Leads that are valid JSON and that a stricter reader refuses, or writes in another way.
fn odd_leads() -> [String; 5] {
    let depth = 200;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    [
        r#"{"name":"half a pair \ud800"}"#.to_owned(),
        format!(r#"{{"name":"deep","nested":{nested}}}"#),
        r#"{"name":"numbers","a":1e999,"b":1E5,"c":-0.0,"d":123456789012345678901234567890}"#
            .to_owned(),
        r#"{"name":"twice","a":1,"a":2}"#.to_owned(),
        "{\r\n  \"name\": \"lines\",\n  \"text\": \"a\\nb\"\r\n}".to_owned(),
    ]
}

/// The lead as it came, on one line: line breaks between its values are spaces.
fn on_one_line(lead: &str) -> String {
    lead.replace(['\r', '\n'], " ")
}

#[test]
fn scripts_get_every_lead_as_it_came_and_on_one_line() {
    let mut bridge = Bridge::start();
    let leads = odd_leads();
    for lead in leads.iter().rev() {
        bridge.bury(lead.as_bytes());
    }
    let list = bridge.says(&["--json", "dlq", "list"]);
    let exported = bridge.says(&["dlq", "export", "-"]);
    let rows: Vec<&str> = exported.lines().collect();
    assert_eq!(rows.len(), leads.len(), "one lead is one line: {exported}");
    for (lead, row) in leads.iter().zip(rows) {
        let whole = format!("\"lead_data\":{}", on_one_line(lead));
        assert!(row.contains(&whole), "{row} does not hold {whole}");
        assert!(list.contains(&whole), "{list} does not hold {whole}");
    }
    assert_eq!(list.lines().count(), 1);
}

#[test]
fn a_lead_is_shown_with_every_part_as_it_came() {
    let mut bridge = Bridge::start();
    for (n, lead) in odd_leads().iter().enumerate() {
        bridge.bury(format!(r#"{{"envelope":1,"id":"odd-{n}","lead":{lead}}}"#).as_bytes());
    }
    let without_space = |text: &str| -> String { text.split_whitespace().collect() };
    for (n, lead) in odd_leads().iter().enumerate() {
        let shown = bridge.says(&["dlq", "show", &format!("odd-{n}")]);
        let (_, shown) = shown.split_once("\nlead\n").expect("the lead is last");
        assert_eq!(without_space(shown), without_space(lead));
        // Indented, and not on one line.
        assert!(shown.lines().count() > 2, "{shown}");
    }
}

#[test]
fn old_entries_are_listed_as_their_readers_know_them() {
    let mut bridge = Bridge::start();
    for entry in [OLD.as_bytes(), BARE.as_bytes(), b"\xff rubbish \x1b[2J"] {
        bridge.bury(entry);
    }
    assert_eq!(bridge.says(&["dlq", "count"]), "3");
    let list = bridge.json(&["dlq", "list"]);
    assert_eq!(list["total"], 3);
    let items = &list["items"];
    assert_eq!(items[2]["index"], 2);
    assert_eq!(items[2]["lead_data"]["name"], "Ada Example");
    assert_eq!(
        (&items[2]["error"], &items[2]["retry_count"]),
        (&json!("boom"), &json!(3))
    );
    assert_eq!(items[2]["failed_at"], "2026-01-15T10:30:00Z");
    assert_eq!(items[1]["lead_data"], json!({"name":"Grace Example"}));
    assert_eq!(
        (&items[1]["error"], &items[1]["failed_at"]),
        (&json!("Unknown error"), &json!("Unknown"))
    );
    assert_eq!(
        (&items[0]["retry_count"], &items[0]["can_retry"]),
        (&json!(0), &json!(false))
    );

    let text = bridge.says(&["dlq", "list"]);
    assert!(
        !text.contains('\x1b')
            && text.contains("Ada Example")
            && text.ends_with("3 of 3 dead letters"),
        "{text}"
    );
    assert_eq!(
        ids(&bridge.json(&["dlq", "list", "--filter", "boom"])).len(),
        1
    );
    assert_eq!(ids(&bridge.json(&["dlq", "list", "--limit", "2"])).len(), 2);
    let shown = bridge.says(&["dlq", "show", &ids(&list)[2]]);
    assert!(
        shown.contains("boom") && shown.contains("\"name\": \"Ada Example\""),
        "{shown}"
    );
}

#[test]
fn retry_puts_back_what_was_asked_for_and_nothing_else() {
    let mut bridge = Bridge::start();
    for entry in [OLD.as_bytes(), BARE.as_bytes(), b"\xff rubbish"] {
        bridge.bury(entry);
    }
    let ids = ids(&bridge.json(&["dlq", "list"]));
    // Bare bytes go back as they came; the old entry's history goes with it.
    assert_eq!(bridge.json(&["dlq", "retry", &ids[1]])["moved"], 1);
    assert_eq!(bridge.waiting(), [BARE.as_bytes()]);
    assert_eq!(bridge.json(&["dlq", "retry", &ids[2]])["moved"], 1);
    let back: Value = serde_json::from_slice(&bridge.waiting()[0]).expect("an envelope");
    assert_eq!(back["lead"]["name"], "Ada Example");
    assert_eq!(
        (&back["retry_count"], &back["attempts"][0]["error"]),
        (&json!(0), &json!("boom"))
    );

    let refused = bridge.run(&["--json", "dlq", "retry", &ids[0], "no-such-id"]);
    assert_eq!(refused.status.code(), Some(1));
    let refused: Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(
        (&refused["refused"], &refused["gone"]),
        (&json!([ids[0]]), &json!(["no-such-id"]))
    );
    assert_eq!(bridge.says(&["dlq", "count"]), "1");
    bridge.says(&["dlq", "retry", "--force", &ids[0]]);
    assert_eq!(bridge.waiting()[0], b"\xff rubbish");
    assert_eq!(bridge.says(&["dlq", "count"]), "0");
}

#[test]
fn retry_all_leaves_what_cannot_be_a_lead() {
    let mut bridge = Bridge::start();
    for i in 0..950 {
        match i % 10 {
            0 => bridge.bury(format!("rubbish {i}").as_bytes()),
            _ => bridge.bury(format!(r#"{{"lead":{{"n":{i}}},"error":"e{}"}}"#, i % 2).as_bytes()),
        }
    }
    let odd = bridge.json(&["dlq", "retry", "--all", "--filter", "error:e1"]);
    assert_eq!((&odd["moved"], &odd["refused"]), (&json!(475), &json!([])));
    let rest = bridge.run(&["--json", "dlq", "retry", "--all"]);
    let rest: Value = serde_json::from_slice(&rest.stdout).expect("JSON");
    assert_eq!(rest["moved"], 380);
    assert_eq!(rest["refused"].as_array().map(Vec::len), Some(95));
    assert_eq!(bridge.says(&["dlq", "count"]), "95");
    assert_eq!(bridge.waiting().len(), 855);
}

#[test]
fn what_is_thrown_away_is_kept_for_a_day() {
    let mut bridge = Bridge::start();
    for entry in [OLD, BARE, OLD] {
        bridge.bury(entry.as_bytes());
    }
    let ids = ids(&bridge.json(&["dlq", "list"]));
    assert_eq!(ids[0], ids[2], "equal bytes are the same to everybody");
    bridge.says(&["dlq", "drop", &ids[0]]);
    assert_eq!(bridge.says(&["dlq", "count"]), "2");

    let refused = bridge.run(&["dlq", "clear"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("2 dead letters"));
    assert_eq!(bridge.says(&["dlq", "count"]), "2");
    let cleared = bridge.json(&["dlq", "clear", "--yes"]);
    assert_eq!(cleared["cleared"], 2);
    assert_eq!(bridge.says(&["dlq", "count"]), "0");

    let trash: Vec<String> = bridge.redis(&[b"KEYS", b"failed_leads:trash:*"]);
    assert_eq!(trash.len(), 2);
    for key in trash {
        let left: i64 = bridge.redis(&[b"TTL", key.as_bytes()]);
        assert!((86_000..=86_400).contains(&left));
    }
    let audit: u64 = bridge.redis(&[b"XLEN", b"leads_to_enrich:audit"]);
    assert_eq!(audit, 2);
    let name = cleared["trash"].as_str().expect("a name");
    let known = bridge.json(&["dlq", "trash"]);
    let found = known["trashes"].as_array().expect("a list");
    let this = found.iter().find(|trash| trash["trash"] == name);
    let this = this.expect("the one cleared into");
    assert_eq!((found.len(), &this["count"]), (2, &2.into()));
    assert!(
        this["who"].as_str().is_some_and(|who| who.contains('@')),
        "{this}"
    );
    let said = bridge.says(&["dlq", "trash"]);
    assert!(
        said.contains(name) && said.contains("3 dead letters in the trash"),
        "{said}"
    );
    assert!(
        bridge
            .says(&["dlq", "restore", name])
            .contains("2 dead letters brought back")
    );
    assert_eq!(bridge.says(&["dlq", "count"]), "2");
    let again = bridge.run(&["dlq", "restore", name]);
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn export_writes_every_dead_letter() {
    let mut bridge = Bridge::start();
    for i in 0..450 {
        bridge.bury(format!(r#"{{"n":{i}}}"#).as_bytes());
    }
    let lines = bridge.says(&["dlq", "export", "-"]);
    assert_eq!(lines.lines().count(), 450);
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["lead_data"]["n"], 449);
}

#[test]
fn dead_letters_are_grouped_by_what_they_died_of() {
    let mut bridge = Bridge::start();
    for i in 0..30 {
        let error = if i % 3 == 0 {
            format!("HTTP 503 after {i} ms")
        } else {
            "nobody is known".into()
        };
        bridge.bury(format!(r#"{{"lead":{{"n":{i}}},"error":"{error}"}}"#).as_bytes());
    }
    let all = bridge.json(&["dlq", "groups"]);
    assert_eq!(
        (
            &all["total"],
            &all["groups"][0]["count"],
            &all["groups"][1]["count"]
        ),
        (&json!(30), &json!(20), &json!(10))
    );
    assert_eq!(all["groups"][1]["error"], "HTTP 503 after # ms");
    let cause = format!(
        "cause:{}",
        all["groups"][1]["cause"].as_str().expect("an id")
    );
    assert_eq!(
        ids(&bridge.json(&["dlq", "list", "--filter", &cause])).len(),
        10
    );
    assert!(
        bridge
            .says(&["dlq", "groups", "--filter", &cause])
            .ends_with("10 dead letters in 1 group")
    );
}

#[test]
fn a_read_only_environment_refuses_every_command_that_changes_anything() {
    let mut bridge = Bridge::start();
    bridge.bury(b"{}");
    for args in [
        &["pause"][..],
        &["resume"],
        &["dlq", "clear", "--yes"],
        &["dlq", "retry", "--all"],
        &["push", "-"],
    ] {
        let refused = bridge.run(&[args, &["--read-only"]].concat());
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only"));
    }
    assert_eq!(bridge.says(&["dlq", "count", "--read-only"]), "1");
}

#[test]
fn the_three_names_must_differ() {
    let bridge = Bridge::start();
    for (flag, name) in [
        ("--failed-queue-name", "leads_to_enrich"),
        ("--enriched-stream", "failed_leads"),
    ] {
        let refused = bridge.run(&["status", flag, name]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("the name of"));
    }
}

#[test]
fn bytes_that_are_no_text_are_exported_whole_and_no_file_is_written_over() {
    let mut bridge = Bridge::start();
    bridge.bury(b"\xff\xfe raw");
    let row: Value = serde_json::from_str(&bridge.says(&["dlq", "export", "-"])).expect("JSON");
    assert_eq!(row["lead_base64"], "//4gcmF3");
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let file = folder.path().join("out.jsonl");
    let file = file.to_str().expect("a name");
    bridge.says(&["dlq", "export", file]);
    let refused = bridge.run(&["dlq", "export", file]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is there already"));
}

#[test]
fn status_pause_and_resume() {
    let mut bridge = Bridge::start();
    let _: u64 = bridge.redis(&[b"LPUSH", b"leads_to_enrich", b"{}"]);
    bridge.bury(b"{}");
    bridge.says(&["pause"]);
    let status = bridge.json(&["status"]);
    for (field, value) in [
        ("waiting", 1),
        ("in_flight", 0),
        ("retry", 0),
        ("dead", 1),
        ("done", 0),
    ] {
        assert_eq!(status[field], value, "{field}");
    }
    assert_eq!(
        (&status["rate_per_s"], &status["workers"]),
        (&json!(0.0), &json!([]))
    );
    assert_eq!(status["paused"], true);
    assert!(bridge.says(&["status"]).contains("PAUSED"));
    assert_eq!(
        bridge.json(&["resume"]),
        json!({"paused": false, "changed": true})
    );
    assert_eq!(bridge.json(&["status"])["paused"], false);
}

#[test]
fn mistakes_get_one_clear_line() {
    let nowhere = "redis://user:hunter2@127.0.0.1:1/0";
    let output = bridge(nowhere, &["status"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("connection refused") && said.contains("--redis-url"),
        "{said}"
    );
    assert!(
        !said.contains("hunter2") && said.lines().count() == 1,
        "{said}"
    );

    for (args, part) in [
        (&["--jsn", "status"][..], "--json"),
        (
            &["dlq", "list", "--filter", "colour:red"],
            "no field \"colour\"",
        ),
        (&["dlq", "retry"], "--all"),
        (&["dlq", "retry", "x", "--all"], "cannot be used with"),
    ] {
        let output = bridge(nowhere, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(part), "{said}");
    }
    let bridge = Bridge::start();
    let output = bridge.run(&["dlq", "show", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no dead letter has the id nobody"));
}

/// A command's help has what works there, and nothing of what only the console can do.
#[test]
fn the_help_of_a_command_has_only_what_works_there() {
    let help = |args: &[&str]| {
        let output = bridge("redis://127.0.0.1:1", &[args, &["--help"]].concat());
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let of_the_console = ["--theme", "--mouse", "--fps", "--stats", "--once", "--keys"];
    let everywhere = ["--profile", "--config", "--redis-url"];
    for args in [
        &["push"][..],
        &["status"],
        &["dlq"],
        &["dlq", "list"],
        &["dlq", "export"],
        &["pause"],
        &["resume"],
    ] {
        let help = help(args);
        for option in of_the_console {
            assert!(!help.contains(option), "{args:?} has {option}\n{help}");
        }
        for option in everywhere {
            assert!(help.contains(option), "{args:?} lacks {option}\n{help}");
        }
        assert!(!help.contains("Console:"), "{help}");
    }
    let whole = help(&[]);
    for option in of_the_console.iter().chain(&everywhere) {
        assert!(whole.contains(option), "{option}\n{whole}");
    }
    // The demo has a console too, and an environment of its own.
    let demo = help(&["demo"]);
    assert!(
        demo.contains("--theme") && demo.contains("--mouse"),
        "{demo}"
    );
    assert!(
        !demo.contains("--profile") && !demo.contains("--config"),
        "{demo}"
    );
}

#[test]
fn a_configuration_with_a_password_that_others_may_read_is_told_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let bridge = Bridge::start();
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let file = folder.path().join("config.toml");
    let port = bridge.redis.port();
    for (url, mode, is_told) in [
        (format!("redis://:hunter2@127.0.0.1:{port}"), 0o644, true),
        (format!("redis://:hunter2@127.0.0.1:{port}"), 0o600, false),
        (format!("redis://127.0.0.1:{port}"), 0o644, false),
        (format!("redis://:${{HOME}}@127.0.0.1:{port}"), 0o644, false),
        (
            format!("redis://:${{HOME}}hunter2${{HOME}}@127.0.0.1:{port}"),
            0o644,
            true,
        ),
    ] {
        std::fs::write(&file, format!("[profiles.a]\nurl = \"{url}\"\n")).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
        let config = file.to_str().expect("a plain path");
        let output = bridge.run(&["--config", config, "status"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            said.contains("chmod 600"),
            is_told,
            "{url} {mode:o}: {said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn the_examples_of_the_readme_work_as_they_are_written() {
    let bridge = Bridge::start();
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let readme = include_str!("../../README.md");
    let examples: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let holding = |what: &str| {
        let example = examples.iter().find(|example| example.contains(what));
        example.expect("the README has it")
    };
    let config = folder.path().join("config.toml");
    std::fs::write(&config, holding("[profiles.local]")).expect("written");
    std::fs::create_dir(folder.path().join("themes")).expect("a folder");
    let theme = folder.path().join("themes/night.toml");
    std::fs::write(theme, holding("base = ")).expect("written");
    let config = config.to_str().expect("a plain path");
    let once = ["--config", config, "--once", "text"];
    assert!(bridge.says(&once).contains("Overview"));
    let night = [&once[..], &["--theme", "night"]].concat();
    assert!(bridge.says(&night).contains("Overview"));
}
