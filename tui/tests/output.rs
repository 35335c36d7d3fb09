//! Commands whose output cannot be written: a full disk is an error, a reader that has gone is none,
//! and neither changes what a command did or hides that it failed.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use bridge_shared::sandbox::Sandbox;

fn bridge(
    url: &str,
    args: &[&str],
    stdout: impl Into<Stdio>,
    stderr: impl Into<Stdio>,
) -> ExitStatus {
    let status = Command::new(env!("CARGO_BIN_EXE_bridge"))
        .args(args)
        .env("REDIS_URL", url)
        .env("HOME", "/dev/null")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .status();
    status.expect("the command runs")
}

fn full_disk() -> File {
    let full = OpenOptions::new().write(true).open("/dev/full");
    full.expect("/dev/full")
}

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe");
    writer.into()
}

#[test]
fn output_that_cannot_be_written_is_a_status_and_never_a_crash() {
    let redis = Sandbox::start(&[]).expect("a private Redis");
    let folder = tempfile::tempdir().expect("a folder");
    let leads = folder.path().join("leads.jsonl");
    std::fs::write(&leads, "{\"name\":\"Ada\"}\nnonsense\n").expect("a file");
    let leads = leads.to_str().expect("a plain path");
    let url = redis.url();
    let ask = |args: &[&str], full: i32, gone: i32| {
        let status = bridge(&url, args, full_disk(), full_disk());
        assert_eq!(
            (status.code(), status.signal()),
            (Some(full), None),
            "full: {args:?}"
        );
        let status = bridge(&url, args, closed(), closed());
        assert_eq!(
            (status.code(), status.signal()),
            (Some(gone), None),
            "gone: {args:?}"
        );
    };
    ask(&["status"], 1, 0);
    ask(&["--help"], 1, 0);
    ask(&["dlq", "list"], 1, 0);
    ask(&["pause"], 1, 0);
    ask(&["resume"], 1, 0);
    // What failed has failed, whoever reads of it.
    ask(&["push", leads], 1, 1);
    ask(&["dlq", "retry", "nobody"], 1, 1);
    ask(&["dlq", "show", "nobody"], 1, 1);
    ask(&["--no-such-flag"], 2, 2);
    ask(&[], 1, 1);
}
