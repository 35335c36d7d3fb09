//! The names of the lists: none may be a key of the bridge's, those that are not set follow the queue,
//! and a dead letter knows its queue.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Bridge, Worker, command, eventually};
use serde_json::Value;

/// Runs the console with these settings.
fn console(bridge: &Bridge, settings: &[(&str, &str)], args: &[&str]) -> Output {
    let built = Path::new(env!("CARGO_BIN_EXE_scrapegoat-worker"));
    let mut command = Command::new(built.with_file_name("bridge"));
    for name in ["QUEUE_NAME", "FAILED_QUEUE_NAME", "ENRICHED_STREAM"] {
        command.env_remove(name);
    }
    command
        .args(args)
        .env("REDIS_URL", bridge.redis.url())
        .env("HOME", bridge.folder.path())
        .env_remove("XDG_CONFIG_HOME")
        .envs(settings.iter().copied())
        .output()
        .expect("the console runs")
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A worker with these settings, whose leads without a name die at once.
fn worker(bridge: &Bridge, settings: &[(&str, &str)]) -> Worker {
    let route =
        "[pipelines.main]\n[[pipelines.main.stations]]\nkind = \"identity\"\nname = \"identity\"\n";
    let (route, log) = (bridge.route(route), bridge.log());
    let process = command(&["--pipeline", &route])
        .env("REDIS_URL", bridge.redis.url())
        .envs(settings.iter().copied())
        .stderr(std::fs::File::create(&log).expect("a log file"))
        .spawn()
        .expect("the worker starts");
    Worker::of(process, log)
}

#[test]
fn a_name_that_is_a_key_of_the_bridge_is_refused_by_every_program() {
    let bridge = Bridge::start();
    for (setting, name, words) in [
        (
            "ENRICHED_STREAM",
            "leads_to_enrich:audit",
            "belong to QUEUE_NAME",
        ),
        (
            "FAILED_QUEUE_NAME",
            "leads_to_enrich:active:w",
            "belong to QUEUE_NAME",
        ),
        (
            "QUEUE_NAME",
            "failed_leads:trash:x",
            "belong to FAILED_QUEUE_NAME",
        ),
        ("ENRICHED_STREAM", "failed_leads", "the name of"),
        ("FAILED_QUEUE_NAME", "leads_to_enrich", "the name of"),
    ] {
        // Where the queue is another one the dead letters follow it.
        let settings = [("FAILED_QUEUE_NAME", "failed_leads"), (setting, name)];
        for flags in [&["run"][..], &["api", "--listen", "127.0.0.1:0"]] {
            let mut process = command(flags)
                .env("REDIS_URL", bridge.redis.url())
                .envs(settings)
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("the worker starts");
            let mut status = None;
            eventually("it refuses its names", || {
                status = process.try_wait().expect("its status");
                // One that accepts them goes on for ever.
                status.is_some() || bridge.workers().len() == 1
            });
            let _ = process.kill();
            let said = told(&process.wait_with_output().expect("ended"));
            assert!(
                status.is_some_and(|status| status.code() == Some(1)),
                "{flags:?} accepts {setting}={name}: {said}"
            );
            let words = said.contains(words) && said.contains(&format!("Set {setting} to"));
            assert!(words, "{said}");
        }
        for args in [&["status"][..], &["pause"], &["--once"]] {
            let refused = console(&bridge, &settings, args);
            assert_eq!(refused.status.code(), Some(1), "{args:?} {setting}={name}");
            assert!(told(&refused).contains(words), "{}", told(&refused));
        }
    }
    let folder = bridge.folder.path().join(".config/redis-bridge");
    std::fs::create_dir_all(&folder).expect("a folder");
    let profile = "[profiles.wrong]\nenriched_stream = \"leads_to_enrich:stats:1\"\n";
    std::fs::write(folder.join("config.toml"), profile).expect("written");
    let refused = console(&bridge, &[], &["status", "--profile", "wrong"]);
    assert!(told(&refused).contains("Set ENRICHED_STREAM to another name"));
}

#[test]
fn names_that_are_not_set_follow_the_queue_and_environments_share_nothing() {
    let bridge = Bridge::start();
    let production = worker(&bridge, &[]);
    let staging = worker(&bridge, &[("QUEUE_NAME", "staging")]);
    bridge.push("{\"no\":\"name\"}");
    bridge.push("{\"name\":\"Ada\"}");
    let _: u64 = bridge.redis("LPUSH staging {\"no\":\"name\"} {\"name\":\"Grace\"}");
    eventually("all four are through", || {
        let count = |command: &str| bridge.redis::<usize>(command);
        bridge.dead() + bridge.done() == 2
            && count("LLEN staging:failed") + count("XLEN staging:enriched") == 2
    });
    assert_eq!((bridge.dead(), bridge.done()), (1, 1));
    assert_eq!(bridge.redis::<usize>("LLEN staging:failed"), 1);
    for (worker, queue, failed) in [
        (&production, "leads_to_enrich", "failed_leads"),
        (&staging, "staging", "staging:failed"),
    ] {
        let started = worker.log();
        let started: Value = started
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(|line: &Value| line["message"] == "worker started")
            .expect("it says so");
        assert_eq!(
            (&started["queue"], &started["dead_letters"]),
            (&queue.into(), &failed.into())
        );
        let letter: Vec<u8> = bridge.redis(&format!("LINDEX {failed} 0"));
        let letter: Value = serde_json::from_slice(&letter).expect("an envelope");
        assert_eq!(letter["queue"], queue);
        // The lists of production are its own.
        assert!(!worker.log().contains("earlier versions"));
    }
    // What was reported: this moved the dead letters of production into staging.
    let moved = console(
        &bridge,
        &[("QUEUE_NAME", "staging")],
        &["dlq", "retry", "--all"],
    );
    assert!(moved.status.success(), "{}", told(&moved));
    assert_eq!(bridge.dead(), 1);
}

#[test]
fn a_dead_letter_of_another_queue_stays_unless_that_is_asked_for() {
    let bridge = Bridge::start();
    let shared = [
        ("QUEUE_NAME", "staging"),
        ("FAILED_QUEUE_NAME", "failed_leads"),
    ];
    for (settings, queue) in [(&[][..], "leads_to_enrich"), (&shared, "staging")] {
        let mut worker = worker(&bridge, settings);
        let before = bridge.dead();
        let _: u64 = bridge.redis(&format!("LPUSH {queue} {{\"no\":\"name\"}}"));
        eventually("it is dead", || bridge.dead() == before + 1);
        worker.signal("TERM");
        worker.wait();
    }
    let _: u64 = bridge.redis("LPUSH failed_leads {\"bare\":\"of_any_queue\"}");
    let waiting = || bridge.redis::<usize>("LLEN staging");
    let retry = console(&bridge, &shared, &["dlq", "retry", "--all", "--json"]);
    assert_eq!(retry.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&retry.stdout).expect("JSON");
    assert_eq!(report["moved"], 2, "{report}");
    assert_eq!(report["other_queue"][0]["queue"], "leads_to_enrich");
    assert_eq!((bridge.dead(), waiting(), bridge.waiting()), (1, 2, 0));
    let id = report["other_queue"][0]["id"].as_str().expect("an id");
    let retry = console(&bridge, &shared, &["dlq", "retry", id]);
    assert_eq!((retry.status.code(), bridge.dead()), (Some(1), 1));
    let said = told(&retry);
    let words = "came from the queue leads_to_enrich and not staging, so it stays";
    assert!(
        said.contains(words) && said.contains("--into-this-queue"),
        "{said}"
    );
    let retry = console(&bridge, &shared, &["dlq", "retry", id, "--into-this-queue"]);
    assert!(retry.status.success(), "{}", told(&retry));
    assert_eq!((bridge.dead(), waiting()), (0, 3));
}

#[test]
fn lists_of_earlier_versions_are_told_of() {
    let bridge = Bridge::start();
    let _: u64 = bridge.redis("LPUSH failed_leads x y");
    let acme = [("QUEUE_NAME", "acme")];
    let words = "failed_leads holds 2 entries, and earlier versions used it for this queue; this one uses acme:failed. Set FAILED_QUEUE_NAME=failed_leads to go on with it.";
    let worker = worker(&bridge, &acme);
    eventually("the worker says so", || worker.log().contains(words));
    let count = console(&bridge, &acme, &["dlq", "count"]);
    assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), "0");
    assert!(told(&count).contains(words), "{}", told(&count));
    let chosen = [acme[0], ("FAILED_QUEUE_NAME", "failed_leads")];
    assert!(!told(&console(&bridge, &chosen, &["dlq", "count"])).contains("earlier"));
    // With a bridge of the default queue beside it they are that one's.
    bridge.push("{}");
    assert!(!told(&console(&bridge, &acme, &["dlq", "count"])).contains("earlier"));
}
