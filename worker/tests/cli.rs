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
fn a_usage_error_shows_the_usage_and_not_what_the_environment_sets() {
    let (status, said) = run(&["api", "--listn", "127.0.0.1:0"], NOWHERE);
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("Usage: scrapegoat-worker api [OPTIONS]\n") && !said.contains("--redis-url"),
        "{said}"
    );
}

#[test]
fn a_flag_that_a_command_does_not_use_is_an_error_and_a_variable_is_none() {
    for (flags, words) in [
        (
            &["api", "--http", "127.0.0.1:0"][..],
            "--http is for `run`, and `api` does not use it; it listens where --listen says",
        ),
        (
            &["--concurrency", "7", "api"],
            "--concurrency is for `run`, and `api` does not use it",
        ),
        (
            &["pipeline", "check", "--public-read"],
            "--public-read is for `run`, and `pipeline` does not use it",
        ),
        (
            &["healthcheck", "--http", "127.0.0.1:0"],
            "--http is for `run`, and `healthcheck` does not use it",
        ),
    ] {
        // Were it accepted, an API would say here that it may not listen, and end.
        let listen = if flags.contains(&"api") {
            &["--listen", "nowhere"][..]
        } else {
            &[]
        };
        let (status, said) = run(&[flags, listen].concat(), NOWHERE);
        assert_eq!(status, Some(2), "{flags:?}: {said}");
        assert!(said.contains(words), "{said}");
    }
    let output = command(&["pipeline", "check"])
        .env("BRIDGE_HTTP", "127.0.0.1:0")
        .output()
        .expect("the worker runs");
    assert!(output.status.success());
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let output = command(&["pipeline", "check"])
        .envs([
            ("CONCURRENCY", ""),
            ("LEAD_TIMEOUT", " "),
            ("QUEUE_NAME", ""),
            ("LOG_FORMAT", ""),
            ("BRIDGE_API_PUBLIC_READ", ""),
            ("BRIDGE_API_MAX_WAITING", ""),
        ])
        .output()
        .expect("the worker runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
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
