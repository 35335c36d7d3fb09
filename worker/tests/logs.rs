//! A log that cannot be written, and one that nobody reads: neither may cost a lead, a lease or a
//! worker.

mod common;

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use common::{Bridge, NOOP, Worker, command, eventually};

/// A program that talks more than a pipe holds, for each lead.
const TALKS: &str = "default_pipeline = \"p\"\n[[pipelines.p.stations]]\nkind = \"exec\"\nname = \"talks\"\ncommand = [\"sh\", \"-c\", \"i=0; while [ $i -lt 20 ]; do echo $i-$(printf %0400d 7) >&2; i=$((i+1)); done; cat > /dev/null\"]\n";

/// A worker whose log goes to `stderr`.
fn worker(bridge: &Bridge, route: &str, stderr: impl Into<Stdio>, flags: &[&str]) -> Worker {
    let route = bridge.route(route);
    let process = command(&[&["--pipeline", &route], flags].concat())
        .env("REDIS_URL", bridge.redis.url())
        .stderr(stderr)
        .spawn()
        .expect("the worker starts");
    Worker::of(process, bridge.log())
}

fn full_disk() -> File {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("/dev/full")
}

/// Reads a pipe to its end.
fn drain(mut pipe: PipeReader) -> Vec<Value> {
    let mut text = String::new();
    pipe.read_to_string(&mut text).expect("a log");
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    text.lines().map(line).collect()
}

#[test]
fn a_worker_whose_log_is_on_a_full_disk_goes_on_working() {
    let bridge = Bridge::start();
    let mut worker = worker(&bridge, NOOP, full_disk(), &[]);
    bridge.push_numbered(100);
    eventually("every lead is done", || bridge.done() == 100);
    worker.signal("TERM");
    let status = worker.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert_eq!((bridge.in_flight(), bridge.dead()), (0, 0));
}

#[test]
fn a_worker_whose_logs_reader_has_gone_goes_on_working() {
    let bridge = Bridge::start();
    let (reader, stderr) = std::io::pipe().expect("a pipe");
    let mut worker = worker(&bridge, TALKS, stderr, &[]);
    bridge.push_numbered(1);
    eventually("the first lead is done", || bridge.done() == 1);
    drop(reader);
    bridge.push_numbered(50);
    eventually("every lead is done", || bridge.done() == 51);
    worker.signal("TERM");
    let status = worker.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

#[test]
fn a_worker_whose_log_nobody_reads_keeps_its_lease_and_stops_when_told() {
    let bridge = Bridge::start();
    let (reader, stderr) = std::io::pipe().expect("a pipe");
    let mut worker = worker(&bridge, TALKS, stderr, &["--lease-seconds", "2"]);
    // Each says 8 KB; the pipe holds 64 KB, and the worker 1 MB.
    bridge.push_numbered(300);
    eventually("every lead is done", || bridge.done() == 300);
    let lost: usize = bridge.stat("lease_lost") + bridge.stat("recovered");
    assert_eq!(lost, 0, "the lease ran out");
    worker.signal("TERM");
    // The pipe is still full: the end of the log is waited for no longer than a second.
    let status = worker.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    assert!(bridge.workers().is_empty(), "it said goodbye");
    drop(reader);
}

#[test]
fn lines_that_were_dropped_are_counted_in_the_log_once_it_is_read_again() {
    let bridge = Bridge::start();
    let (reader, stderr) = std::io::pipe().expect("a pipe");
    let mut worker = worker(&bridge, TALKS, stderr, &[]);
    bridge.push_numbered(300);
    eventually("every lead is done", || bridge.done() == 300);
    let log = std::thread::spawn(move || drain(reader));
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(0));
    let log = log.join().expect("whole lines of JSON");
    let said = log.iter().filter(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("the program says: ")
    });
    let said = said.count() as u64;
    let dropped = log.iter().filter(|line| {
        line["level"] == "WARN"
            && line["message"] == "log lines dropped, the log could not be written"
    });
    let dropped: u64 = dropped
        .map(|line| line["lines"].as_u64().expect("a number"))
        .sum();
    assert!(dropped > 0 && said > 0, "{said} {dropped}");
    assert!(
        log.last()
            .is_some_and(|line| line["message"] == "worker stopped"),
        "{:?}",
        log.last()
    );
    assert!(said + dropped >= 300 * 20, "{said} and {dropped} of 6000");
}

#[test]
fn an_api_whose_log_is_on_a_full_disk_answers() {
    let bridge = Bridge::start();
    let address = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").to_string()
    };
    let process = command(&["api", "--listen", &address])
        .env("REDIS_URL", bridge.redis.url())
        .env("RUST_LOG", "trace")
        .stderr(full_disk())
        .spawn()
        .expect("the API starts");
    let mut api = Worker::of(process, bridge.log());
    let asks = || {
        let asked = command(&["healthcheck", "--api", &address])
            .stderr(Stdio::null())
            .status();
        asked.expect("it runs").success()
    };
    eventually("the API answers", asks);
    assert!(asks());
    api.signal("TERM");
    let status = api.wait();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

#[test]
fn an_error_that_cannot_be_told_is_a_status() {
    for (args, stdout) in [
        (&["pipeline", "check", "/nowhere"][..], Stdio::null()),
        (&["healthcheck"], Stdio::null()),
        (&["--no-such-flag"], Stdio::null()),
        (&["--help"], Stdio::from(full_disk())),
        (&["pipeline", "show"], Stdio::from(full_disk())),
    ] {
        let status = command(args).stdout(stdout).stderr(full_disk()).status();
        let status = status.expect("it runs");
        assert!(matches!(status.code(), Some(1 | 2)), "{args:?}: {status:?}");
    }
    // A reader that has seen enough is no error.
    let program = common::program();
    let shell = format!("set -o pipefail; '{}' --help | true", program.display());
    let status = Command::new("bash").args(["-c", &shell]).status();
    assert!(status.expect("it runs").success());
}

#[test]
fn a_level_that_is_none_is_told_and_the_log_is_at_info() {
    let bridge = Bridge::start();
    for (level, is_told) in [
        ("inof", true),
        ("redis=loud", true),
        ("", false),
        ("info,redis=warn", false),
    ] {
        let log = bridge.log();
        let route = bridge.route(NOOP);
        let process = command(&["--pipeline", &route])
            .env("REDIS_URL", bridge.redis.url())
            .env("RUST_LOG", level)
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("the worker starts");
        let mut worker = Worker::of(process, log);
        eventually("it says that it works", || {
            worker.log().contains("worker started")
        });
        let told = worker
            .log()
            .contains("the levels are off, error, warn, info, debug and trace");
        assert_eq!(told, is_told, "{level}: {}", worker.log());
        worker.signal("TERM");
        assert_eq!(worker.wait().code(), Some(0));
    }
}

#[test]
fn dead_leads_are_told_once_a_cause_and_counted_at_the_end() {
    let bridge = Bridge::start();
    let route = "default_pipeline = \"p\"\n[[pipelines.p.stations]]\nkind = \"exec\"\nname = \"picky\"\ncommand = [\"sh\", \"-c\", \"grep -q good && exit 0; exit 65\"]\n";
    let (reader, stderr) = std::io::pipe().expect("a pipe");
    let mut worker = worker(&bridge, route, stderr, &[]);
    for n in 0..30 {
        bridge.push(format!(r#"{{"name":"bad {n}"}}"#));
    }
    bridge.push(r#"{"name":"good"}"#);
    eventually("every lead came to its end", || {
        bridge.dead() == 30 && bridge.done() == 1
    });
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(0));
    let log = drain(reader);
    let warned: Vec<&Value> = log
        .iter()
        .filter(|line| line["cause"].is_string())
        .collect();
    let leads: u64 = warned
        .iter()
        .filter_map(|line| line["leads"].as_u64())
        .sum();
    assert_eq!(leads, 30, "{warned:?}");
    // One at once, and no more than one every five seconds.
    assert!((1..=4).contains(&warned.len()), "{warned:?}");
    let cause = warned[0]["cause"].as_str().expect("a cause");
    let look = format!("bridge dlq list --filter cause:{cause}");
    let told = warned[0]["message"].as_str().expect("a message");
    assert!(
        warned[0]["level"] == "WARN" && told.contains(&look),
        "{told}"
    );
    let last = log.last().expect("a last word");
    assert_eq!(last["message"], "worker stopped");
    for (field, n) in [
        ("finished", 31),
        ("done", 1),
        ("dead", 30),
        ("retried", 0),
        ("postponed", 0),
        ("given_back", 0),
    ] {
        assert_eq!(last[field], n, "{field}: {last}");
    }
}
