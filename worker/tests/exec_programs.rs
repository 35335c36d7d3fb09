//! The worker as a process among others: programs of `exec` stations end with it, orphans that fall
//! to it are reaped, and what the machine lacks is no lead's fault.

mod common;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use common::{Bridge, Reply, Service, Worker, command, eventually, program};

/// A route with one `exec` station that runs a script.
fn exec(script: &str, more: &str) -> String {
    format!(
        "default_pipeline = \"p\"\n[[pipelines.p.stations]]\nkind = \"exec\"\nname = \"program\"\n\
         command = [\"sh\", \"-c\", {script:?}]\ntimeout = \"60s\"\n{more}"
    )
}

/// Starts a worker by a shell, which does something before.
fn worker_after(bridge: &Bridge, first: &str, route: &str, flags: &[&str]) -> Worker {
    let log = bridge.log();
    let plain = command(&[]);
    let mut shell = Command::new("bash");
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let process = shell
        .args(["-c", &format!("{first} exec \"$@\""), "bash"])
        .arg(program())
        .args(["--pipeline", &bridge.route(route)])
        .args(flags)
        .env("REDIS_URL", bridge.redis.url())
        .stderr(File::create(&log).expect("a log file"))
        .spawn();
    Worker::of(process.expect("the worker starts"), log)
}

/// The state and the parent of a process, as `/proc` has them.
fn process(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, fields.next()?.parse().ok()?))
}

fn is_running(pid: u32) -> bool {
    process(pid).is_some_and(|(state, _)| state != "Z")
}

fn children(parent: u32) -> Vec<(u32, String)> {
    let all = std::fs::read_dir("/proc").expect("Linux").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, process(pid)?)))
        .filter(|(_, (_, of))| *of == parent)
        .map(|(pid, (state, _))| (pid, state))
        .collect()
}

fn guardian(worker: &Worker) -> Option<u32> {
    let found = children(worker.pid()).into_iter().find(|(pid, state)| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        state != "Z" && name.is_ok_and(|name| name.trim() == "exec-guardian")
    });
    found.map(|(pid, _)| pid)
}

/// The numbers that a program wrote down.
fn pids(file: &Path, n: usize) -> Vec<u32> {
    let mut found = Vec::new();
    eventually("the program runs", || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        found = text.lines().filter_map(|line| line.parse().ok()).collect();
        found.len() == n
    });
    found
}

#[test]
fn programs_end_with_a_worker_that_is_killed_and_so_does_what_they_started() {
    let bridge = Bridge::start();
    for mode in ["", "mode = \"lines\"\n"] {
        let file = bridge.folder.path().join(format!("pids{}", mode.len()));
        let script = format!(
            "sleep 600 & echo $! >> {0}; echo $$ >> {0}; wait",
            file.display()
        );
        let mut worker = worker_after(&bridge, "", &exec(&script, mode), &[]);
        bridge.push_numbered(1);
        let programs = pids(&file, 2);
        assert!(programs.iter().all(|pid| is_running(*pid)));
        // Somebody may kill the guardian too.
        let mut first = None;
        eventually("there is a guardian", || {
            first = guardian(&worker);
            first.is_some()
        });
        let first = first.expect("just seen").to_string();
        let killed = Command::new("kill").args(["-KILL", &first]).status();
        assert!(killed.expect("sent").success());
        eventually("there is another guardian", || {
            guardian(&worker).is_some_and(|pid| pid.to_string() != first)
        });
        worker.signal("KILL");
        worker.wait();
        eventually("the programs are gone", || {
            !programs.iter().any(|pid| is_running(*pid))
        });
        let _: usize = bridge.redis("DEL leads_to_enrich");
        let gone = bridge.redis::<usize>("DEL leads_to_enrich:workers");
        assert!(gone <= 1);
    }
}

#[test]
fn a_guardian_ends_with_its_worker() {
    let bridge = Bridge::start();
    let mut worker = worker_after(&bridge, "", &exec("cat", ""), &[]);
    bridge.push_numbered(3);
    eventually("every lead is done", || bridge.done() == 3);
    let guardian = guardian(&worker).expect("a guardian");
    worker.signal("TERM");
    assert!(worker.wait().success());
    eventually("the guardian is gone", || !is_running(guardian));
}

#[test]
fn a_worker_that_is_the_init_of_a_container_reaps_orphans_and_loses_no_status() {
    let bridge = Bridge::start();
    // The program ends well while an orphan in a session of its own lives on for a moment.
    let script = "setsid sh -c 'sleep 0.2' & sleep 0.05; cat";
    // What a subreaper has is what PID 1 has: orphans fall to it.
    let subreaper = "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0; os.execv(sys.argv[1], sys.argv[1:])";
    let first = format!("set -- python3 -c {} \"$@\";", quoted(subreaper));
    let mut worker = worker_after(&bridge, &first, &exec(script, ""), &["--max-retries", "0"]);
    bridge.push_numbered(40);
    eventually("every lead is done", || bridge.done() == 40);
    assert_eq!(
        bridge.dead(),
        0,
        "a program's status was lost: {}",
        worker.log()
    );
    eventually("no zombie is left", || {
        !children(worker.pid()).iter().any(|(_, state)| state == "Z")
    });
    worker.signal("TERM");
    assert!(worker.wait().success());
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn leads_are_put_off_and_not_at_fault_where_the_machine_has_no_file_left() {
    let bridge = Bridge::start();
    let service = Service::start(|_, _| Reply::ok().after(100));
    let http = format!(
        "default_pipeline = \"p\"\n[[pipelines.p.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ntimeout = \"30s\"\n",
        service.url
    );
    for (route, n) in [
        (http.as_str(), 100),
        (exec("sleep 0.2; cat", "").as_str(), 200),
    ] {
        let flags = ["--concurrency", "100", "--max-retries", "0"];
        let mut worker = worker_after(&bridge, "ulimit -n 60;", route, &flags);
        eventually("it works", || !bridge.workers().is_empty());
        bridge.push_numbered(100);
        eventually("every lead came to its end", || {
            bridge.done() + bridge.dead() >= n
        });
        assert_eq!((bridge.dead(), bridge.done()), (0, n), "{}", worker.log());
        assert!(
            worker.log().contains("this machine lacks resources"),
            "{}",
            worker.log()
        );
        worker.signal("TERM");
        worker.wait();
    }
}

#[test]
fn the_limit_of_open_files_is_raised_for_the_worker_and_not_for_programs() {
    let bridge = Bridge::start();
    let script = "sleep 0.3; printf '{\"limit\":%s}' $(ulimit -Sn)";
    let worker = worker_after(
        &bridge,
        "ulimit -Sn 200; ulimit -Hn 4000;",
        &exec(script, ""),
        &[],
    );
    bridge.push_numbered(1);
    eventually("the lead is done", || bridge.done() == 1);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.pid()));
    let limits = limits.expect("Linux");
    let open = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let open: Vec<&str> = open.expect("a limit").split_whitespace().collect();
    assert_eq!(open[3..5], ["4000", "4000"]);
    assert_eq!(bridge.enriched()[0]["limit"], 200);
}
