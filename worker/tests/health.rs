//! What `scrapegoat-worker healthcheck` says of a real worker.

mod common;

use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{Bridge, command, eventually};

/// Whether the worker is well, and the one line that says so.
fn health(file: &Path) -> (bool, String) {
    let output = command(&["healthcheck"])
        .env("HEALTH_FILE", file)
        .stdout(std::process::Stdio::piped())
        .output()
        .expect("the worker runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.success(), said)
}

fn says(file: &Path, well: bool, words: &str) -> bool {
    let (is_well, said) = health(file);
    is_well == well && said.contains(words)
}

#[test]
fn a_worker_is_well_while_it_is_registered_and_while_it_waits_for_redis() {
    let mut bridge = Bridge::start();
    let file = bridge.folder.path().join("health");
    assert!(says(&file, false, "no worker runs here"));
    let mut worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
    eventually("registered", || says(&file, true, "registered as"));
    bridge.redis.kill();
    eventually("waiting", || says(&file, true, "waiting for Redis"));
    bridge.restart_redis();
    eventually("registered again", || says(&file, true, "registered as"));
    worker.signal("TERM");
    assert!(worker.wait().success());
    assert!(says(&file, false, "no worker runs here"));
}

#[test]
fn a_worker_that_hangs_is_ill_until_it_goes_on() {
    let bridge = Bridge::start();
    let file = bridge.folder.path().join("health");
    let worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
    eventually("registered", || says(&file, true, "registered as"));
    worker.signal("STOP");
    // As if it had been stopped for half a minute. Whoever was at the file before the signal
    // reached it may write once more.
    eventually("ill", || {
        let _ = std::fs::File::options()
            .write(true)
            .open(&file)
            .map(|file| {
                file.set_modified(SystemTime::now() - Duration::from_secs(30))
                    .expect("a time can be set");
            });
        says(&file, false, "its last sign of life is 3")
    });
    worker.signal("CONT");
    eventually("well", || says(&file, true, "registered as"));
}

#[test]
fn a_worker_that_redis_refuses_is_ill() {
    let bridge = Bridge::start();
    let file = bridge.folder.path().join("health");
    let _worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
    eventually("registered", || says(&file, true, "registered as"));
    let () = bridge.redis("ACL SETUSER default -evalsha -eval");
    eventually("ill", || says(&file, false, "may not heartbeat"));
}

#[test]
fn a_worker_is_ill_while_redis_refuses_writes() {
    let bridge = Bridge::start();
    let file = bridge.folder.path().join("health");
    let _worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
    eventually("registered", || says(&file, true, "registered as"));
    let () = bridge.redis("CONFIG SET maxmemory 1");
    eventually("ill", || says(&file, false, "OOM"));
    let () = bridge.redis("CONFIG SET maxmemory 0");
    eventually("well", || says(&file, true, "registered as"));
    let () = bridge.redis("REPLICAOF 127.0.0.1 1");
    eventually("ill", || says(&file, false, "replica"));
}

#[test]
fn an_idle_worker_is_ill_while_a_key_holds_something_else() {
    let bridge = Bridge::start();
    let file = bridge.folder.path().join("health");
    let _worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
    eventually("registered", || says(&file, true, "registered as"));
    let () = bridge.redis("SET leads_to_enrich:stats x");
    eventually("ill", || {
        says(&file, false, "the key leads_to_enrich:stats is a string")
    });
    let _: u64 = bridge.redis("DEL leads_to_enrich:stats");
    eventually("well", || says(&file, true, "registered as"));
}

#[test]
fn a_worker_that_cannot_record_is_ill_and_says_so_with_its_heartbeats() {
    let bridge = Bridge::start();
    let file = bridge.folder.path().join("health");
    let _: String =
        bridge.redis("XADD enriched_leads 18446744073709551615-18446744073709551615 n 1");
    let _worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
    bridge.push_numbered(3);
    eventually("ill", || {
        says(
            &file,
            false,
            "cannot record outcomes: the stream has reached",
        )
    });
    eventually("told", || {
        let info: Vec<String> = bridge.redis("HVALS leads_to_enrich:workers:info");
        info.iter().any(|info| info.contains("cannot record"))
    });
    let _: () = bridge.redis("RENAME enriched_leads full");
    eventually("recorded", || bridge.done() == 3);
    eventually("well", || says(&file, true, "registered as"));
}

#[test]
fn a_worker_is_ill_where_scripts_cannot_be_run_or_loaded() {
    for renamed in ["EVALSHA", "SCRIPT"] {
        let bridge = Bridge::with_redis(&["--rename-command", renamed, ""]);
        let file = bridge.folder.path().join("health");
        let _worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
        eventually("ill", || {
            says(&file, false, &format!("command '{renamed}'"))
        });
    }
    let bridge = Bridge::start();
    let file = bridge.folder.path().join("health");
    let _worker = bridge.worker(&["--health-file", file.to_str().expect("a plain path")]);
    eventually("registered", || says(&file, true, "registered as"));
    // Those that are loaded still run.
    let () = bridge.redis("ACL SETUSER default -script");
    eventually("ill", || says(&file, false, "may not SCRIPT LOAD"));
}

#[test]
fn a_health_file_that_cannot_be_written_is_an_error_at_the_start() {
    let output = command(&["--health-file", "/nowhere/health"])
        .output()
        .expect("the worker runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("/nowhere/health") && said.lines().count() == 1,
        "{said}"
    );
}
