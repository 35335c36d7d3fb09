//! The demo, without a terminal. It needs the worker's program beside its own, which `make test`
//! builds first.

use std::process::{Command, Stdio};

#[test]
fn a_headless_demo_adds_up_and_leaves_nothing_behind() {
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_bridge"))
        .args(["demo", "--headless", "--leads", "120", "--json"])
        .env_remove("REDIS_URL")
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the demo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&summary["pushed"], &summary["adds_up"]),
        (&120.into(), &true.into())
    );
    let count = |field: &str| summary[field].as_u64().expect("a number");
    assert_eq!(count("done") + count("dead"), 120);
    assert!(count("done") >= 80, "{summary}");
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .expect("a folder")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_demo_leaves_a_redis_that_is_in_use_alone() {
    let redis = bridge_shared::sandbox::Sandbox::start(&[]).expect("a private Redis");
    let mut connection = redis::Client::open(redis.url())
        .and_then(|client| client.get_connection())
        .expect("a connection");
    let pushed: u64 = redis::cmd("LPUSH")
        .arg("leads_to_enrich")
        .arg("{}")
        .query(&mut connection)
        .expect("pushed");
    let demo = |flags: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_bridge"))
            .args(["demo", "--headless", "--leads", "5"])
            .args(flags)
            .env("REDIS_URL", redis.url())
            .stdin(Stdio::null())
            .output()
            .expect("it runs")
    };
    let output = demo(&["--redis-url", &redis.url()]);
    assert_eq!((pushed, output.status.code()), (1, Some(1)));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("is in use: it has leads_to_enrich."),
        "{said}"
    );
    // What the environment names is not touched, whether something waits there or not.
    for waiting in [1, 0] {
        let output = demo(&[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let left: Vec<String> = redis::cmd("KEYS")
            .arg("*")
            .query(&mut connection)
            .expect("read");
        assert_eq!(left.len(), waiting, "{left:?}");
        let deleted: redis::RedisResult<()> = redis::cmd("DEL")
            .arg("leads_to_enrich")
            .query(&mut connection);
        deleted.expect("deleted");
    }
}
