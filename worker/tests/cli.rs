//! A user's mistakes, and what the worker says to them: one clear line, never a backtrace.

mod common;

use bridge_shared::sandbox::Sandbox;
use common::{Bridge, command};

/// Runs the worker and returns its status and what it said.
fn run(flags: &[&str], url: &str) -> (Option<i32>, String) {
    let output = command(flags)
        .env("REDIS_URL", url)
        .output()
        .expect("the worker runs");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

const NOWHERE: &str = "redis://127.0.0.1:1/0";

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let (status, said) = run(&["--concurency", "5"], NOWHERE);
    assert_eq!(status, Some(2));
    assert!(said.contains("--concurrency"), "{said}");
    for (flag, value) in [
        ("--concurrency", "0"),
        ("--concurrency", "-1"),
        ("--lease-seconds", "0.1"),
        ("--retry-delay-base", "soon"),
    ] {
        for command in [&[][..], &["run"][..]] {
            let (status, said) = run(&[command, &[flag, value]].concat(), NOWHERE);
            assert_eq!(status, Some(2), "{said}");
            assert!(said.contains(&format!("{flag} <")), "{said}");
        }
    }
}

#[test]
fn a_missing_route_file_is_named() {
    let (status, said) = run(&["--pipeline", "/nowhere/route.toml"], NOWHERE);
    assert_eq!(status, Some(1));
    assert!(
        said.contains("/nowhere/route.toml") && !said.contains("panicked"),
        "{said}"
    );
}

#[test]
fn a_wrong_url_is_shown_without_its_password() {
    let (status, said) = run(&[], "rediz://user:hunter2@host:6379");
    assert_eq!(status, Some(1));
    assert!(
        said.contains("is not a Redis URL") && !said.contains("hunter2"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_refused_login_ends_the_worker_and_never_shows_the_password() {
    let redis = Sandbox::start(&["--requirepass", "correct"]).expect("a private Redis");
    for url in [
        redis.url(),
        format!("redis://:hunter2@127.0.0.1:{}/0", redis.port()),
    ] {
        let (status, said) = run(&[], &url);
        assert_eq!(status, Some(1), "{said}");
        assert!(
            said.contains("refuses the login") && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[test]
fn app_redis_url_counts_where_redis_url_is_not_set() {
    let bridge = Bridge::start();
    let mut process = command(&[])
        .env("APP_REDIS_URL", bridge.redis.url())
        .env("REDIS_URL", "")
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the worker starts");
    common::eventually("it is registered", || bridge.workers().len() == 1);
    process.kill().expect("killed");
    process.wait().expect("ended");
}
