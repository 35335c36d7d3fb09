//! What the console and the commands say where Redis, or what is in it, is not as it should be.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use bridge_shared::sandbox::Sandbox;
use redis::{Connection, FromRedisValue};

fn connect(server: &Sandbox) -> Connection {
    redis::Client::open(server.url())
        .and_then(|client| client.get_connection())
        .expect("a connection")
}

fn ask<T: FromRedisValue>(connection: &mut Connection, parts: &[&str]) -> T {
    let mut cmd = redis::Cmd::new();
    for part in parts {
        cmd.arg(*part);
    }
    cmd.query(connection).expect("Redis answers")
}

fn bridge(url: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bridge"))
        .args(args)
        .env("REDIS_URL", url)
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/dev/null")
        .env_remove("APP_REDIS_URL")
        .env_remove("BRIDGE_CONFIG")
        .output()
        .expect("it runs")
}

/// One frame of the console, in one line without the breaks.
fn frame(url: &str, keys: &str) -> String {
    let output = bridge(url, &["--once", "--size", "120x30", "--keys", keys]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a command says when it fails.
fn complaint(url: &str, args: &[&str]) -> String {
    let output = bridge(url, args);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

const LETTER: &str = r#"{"envelope":1,"id":"id-1","lead":{"name":"Ada Example"},"error":"boom"}"#;

#[test]
fn a_server_that_may_not_write_is_told_with_what_to_do_and_nothing_is_moved() {
    for (settings, words) in [
        (
            &["CONFIG", "SET", "maxmemory", "1"][..],
            "raise its maxmemory",
        ),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            "min-replicas-to-write",
        ),
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            "Set --redis-url or REDIS_URL to the primary",
        ),
    ] {
        let server = Sandbox::start(&[]).expect("a private Redis");
        let mut connection = connect(&server);
        let _: u64 = ask(&mut connection, &["LPUSH", "failed_leads", LETTER]);
        let _: () = ask(&mut connection, settings);
        for args in [
            &["dlq", "retry", "id-1"][..],
            &["dlq", "drop", "id-1"],
            &["dlq", "retry", "--all"],
        ] {
            let said = complaint(&server.url(), args);
            assert!(said.contains(words), "{args:?}: {said}");
        }
        let left: u64 = ask(&mut connection, &["LLEN", "failed_leads"]);
        assert_eq!(left, 1);
        // Reading goes on.
        assert!(frame(&server.url(), "3").contains("Ada Example"));
    }
}

#[test]
fn a_disk_that_takes_nothing_is_told() {
    let server = Sandbox::start(&["--dbfilename", "taken"]).expect("a private Redis");
    let mut connection = connect(&server);
    let _: u64 = ask(&mut connection, &["LPUSH", "failed_leads", LETTER]);
    // Where the file should go there is a folder, so no save succeeds.
    let dir: Vec<String> = ask(&mut connection, &["CONFIG", "GET", "dir"]);
    std::fs::create_dir(std::path::Path::new(&dir[1]).join("taken")).expect("a folder");
    let _: () = ask(&mut connection, &["CONFIG", "SET", "save", "3600 1000000"]);
    let _: String = ask(&mut connection, &["BGSAVE"]);
    let failed = |connection: &mut Connection| {
        let info: String = ask(connection, &["INFO", "persistence"]);
        info.contains("rdb_last_bgsave_status:err")
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while !failed(&mut connection) {
        assert!(Instant::now() < deadline, "the save does not fail");
        sleep(Duration::from_millis(10));
    }
    let said = complaint(&server.url(), &["dlq", "drop", "id-1"]);
    assert!(
        said.contains("MISCONF") && said.contains("Its disk may be full"),
        "{said}"
    );
}

#[test]
fn a_key_that_holds_something_else_is_named() {
    for (key, words) in [
        (
            "leads_to_enrich",
            "the key leads_to_enrich is a string, and the bridge keeps a list there",
        ),
        (
            "failed_leads",
            "the key failed_leads is a string, and the bridge keeps a list there",
        ),
        (
            "leads_to_enrich:workers",
            "the key leads_to_enrich:workers is a string, and the bridge keeps a zset there",
        ),
    ] {
        let server = Sandbox::start(&[]).expect("a private Redis");
        let _: () = ask(&mut connect(&server), &["SET", key, "another program's"]);
        assert!(
            complaint(&server.url(), &["status"]).contains(words),
            "{key}"
        );
        let shown = frame(&server.url(), "1");
        assert!(
            shown.contains(words) && shown.contains("wrong type"),
            "{shown}"
        );
    }
}

#[test]
fn a_user_who_may_only_read_sees_everything_and_is_told_what_else_it_takes() {
    let server = Sandbox::start(&[]).expect("a private Redis");
    let mut connection = connect(&server);
    let _: u64 = ask(&mut connection, &["LPUSH", "failed_leads", LETTER]);
    // As the manual says.
    let user = "ACL SETUSER viewer on >look resetkeys %R~* resetchannels &leads_to_enrich:events \
                -@all +@read +@connection +time +evalsha +evalsha_ro +script|load +subscribe";
    let _: () = ask(
        &mut connection,
        &user.split_whitespace().collect::<Vec<_>>(),
    );
    let url = format!("redis://viewer:look@127.0.0.1:{}/0", server.port());
    for (keys, words) in [
        ("1", "live"),
        ("2", "nothing has happened"),
        ("3", "Ada Example"),
        ("4", "no lead waits"),
        ("6", "no station"),
        ("7", "nobody has changed"),
        ("3 T", "nothing was thrown away"),
    ] {
        let shown = frame(&url, keys);
        assert!(
            shown.contains(words) && !shown.contains("may not"),
            "{keys}: {shown}"
        );
    }
    for args in [&["dlq", "retry", "id-1"][..], &["pause"]] {
        let said = complaint(&url, args);
        assert!(
            said.contains("the Redis user viewer may not") && said.contains("assets/acl"),
            "{said}"
        );
    }
    // Without the channel only the live events are missing, and that is said.
    let _: () = ask(
        &mut connection,
        &["ACL", "SETUSER", "viewer", "resetchannels"],
    );
    let shown = frame(&url, "2");
    assert!(
        shown.contains("What belongs here cannot be read"),
        "{shown}"
    );
    assert!(shown.contains("live"), "{shown}");
    // Nor may one look at what is not one's own.
    let _: () = ask(
        &mut connection,
        &[
            "ACL",
            "SETUSER",
            "viewer",
            "resetkeys",
            "%R~leads_to_enrich*",
        ],
    );
    let said = complaint(&url, &["status"]);
    assert!(
        said.contains("It has no access to failed_leads, enriched_leads."),
        "{said}"
    );
}

#[test]
fn a_server_that_loads_its_data_is_waited_for() {
    let primary = Sandbox::start(&["--repl-diskless-sync-delay", "0"]).expect("a private Redis");
    let mut connection = connect(&primary);
    let mut pipe = redis::pipe();
    for n in 0..20_000 {
        pipe.cmd("SET").arg(n).arg("x").ignore();
    }
    let () = pipe.query(&mut connection).expect("filled");
    // Each key takes half a millisecond, and between them the server answers.
    let slowly = [
        "--key-load-delay",
        "500",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let server = Sandbox::start(&slowly).expect("a private Redis");
    let mut asking = connect(&server);
    let port = primary.port().to_string();
    let _: () = ask(&mut asking, &["REPLICAOF", "127.0.0.1", &port]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let loads = |asking: &mut Connection| {
        let answer: redis::RedisResult<u64> = redis::cmd("LLEN").arg("failed_leads").query(asking);
        answer.is_err_and(|error| error.code() == Some("LOADING"))
    };
    while !loads(&mut asking) {
        assert!(Instant::now() < deadline, "it does not load");
        sleep(Duration::from_millis(10));
    }
    let said = complaint(&server.url(), &["dlq", "count"]);
    assert!(said.contains("is still loading its data"), "{said}");
    let shown = frame(&server.url(), "1");
    assert!(
        shown.contains("loading") && shown.contains("The console goes on trying"),
        "{shown}"
    );
}

/// A way to a server on which every answer comes later.
fn slow_way_to(server: &Sandbox, later: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let to = server.port();
    let pass = |mut from: TcpStream, mut to: TcpStream, later: Duration| {
        let mut bytes = [0; 4_096];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            sleep(later);
            if to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        // Fails where the other side has gone already.
        let _ = to.shutdown(Shutdown::Both);
    };
    spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let far = TcpStream::connect(("127.0.0.1", to)).expect("the server");
            let (back, forth) = (
                near.try_clone().expect("near"),
                far.try_clone().expect("far"),
            );
            spawn(move || pass(near, far, Duration::ZERO));
            spawn(move || pass(forth, back, later));
        }
    });
    port
}

#[test]
fn a_slow_server_is_told_with_its_time() {
    let server = Sandbox::start(&[]).expect("a private Redis");
    let port = slow_way_to(&server, Duration::from_millis(1_100));
    let shown = frame(&format!("redis://127.0.0.1:{port}/0"), "1");
    assert!(shown.contains("slow, "), "{shown}");
    assert!(shown.contains("redis-cli --latency"), "{shown}");
}

#[test]
fn what_a_newer_bridge_wrote_is_told() {
    let server = Sandbox::start(&[]).expect("a private Redis");
    let mut connection = connect(&server);
    let newer = r#"{"envelope":9,"id":"id-9","lead":{"name":"Ada Example"},"moods":[]}"#;
    let _: u64 = ask(&mut connection, &["LPUSH", "failed_leads", newer]);
    let worker = r#"{"host":"enrich-1","pid":"seven","version":"99.1.0","concurrency":50,"x":{}}"#;
    let _: u64 = ask(
        &mut connection,
        &["ZADD", "leads_to_enrich:workers", "99999999999999", "w-1"],
    );
    let _: u64 = ask(
        &mut connection,
        &["HSET", "leads_to_enrich:workers:info", "w-1", worker],
    );
    let _: u64 = ask(
        &mut connection,
        &["HSET", "leads_to_enrich:stats", "done", "7", "joy", "1.5"],
    );
    let shown = frame(&server.url(), "3 enter");
    let words = "written by a newer bridge (envelope version 9): update this one";
    assert!(shown.contains(words), "{shown}");
    let shown = frame(&server.url(), "5");
    assert!(
        shown.contains("1 worker is newer than this console"),
        "{shown}"
    );
    assert!(
        shown.contains("0/50") && shown.contains("99.1.0 newer"),
        "{shown}"
    );
    // It goes back as it was.
    assert!(
        bridge(&server.url(), &["dlq", "retry", "--all"])
            .status
            .success()
    );
    let waiting: Vec<String> = ask(&mut connection, &["LRANGE", "leads_to_enrich", "0", "-1"]);
    assert_eq!(waiting, [newer]);
}

/// Somebody at a port who is not Redis: says this to whoever comes, and waits for their end.
fn somebody(says: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    spawn(move || {
        for mut stream in listener.incoming().flatten() {
            spawn(move || {
                let mut heard = [0; 1024];
                if !says.is_empty() && stream.read(&mut heard).is_ok() {
                    let _ = stream.write_all(says);
                }
                while matches!(stream.read(&mut heard), Ok(1..)) {}
            });
        }
    });
    format!("127.0.0.1:{port}")
}

#[test]
fn what_is_no_redis_is_told_with_what_it_is() {
    let http = somebody(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    let said = complaint(&format!("redis://{http}/0"), &["dlq", "count"]);
    assert!(
        said.contains("is not Redis") && said.contains("HTTP"),
        "{said}"
    );
    assert!(said.contains("Set --redis-url or REDIS_URL"), "{said}");
    assert!(
        !said.contains("\\n") && !said.contains("Expected"),
        "{said}"
    );
    // A plain port that waits for the end of a line, and one that answers.
    let plain = Sandbox::start(&[]).expect("a private Redis");
    let silent = somebody(b"");
    for at in [format!("127.0.0.1:{}", plain.port()), silent] {
        let said = complaint(&format!("rediss://{at}/0"), &["dlq", "count"]);
        assert!(
            said.contains("TLS") && said.contains("write redis://"),
            "{said}"
        );
        assert!(!said.contains("Is it running?"), "{said}");
    }
}

#[test]
fn a_url_with_a_password_as_it_is_is_told_with_how_to_write_it() {
    for url in [
        "redis://:hun/ter2@127.0.0.1:1/0",
        "redis://ada:12/hunter2@127.0.0.1:1/0",
        "redis://ada:hun#ter2@127.0.0.1:1/0",
        "redis://ada:hun?ter2@127.0.0.1:1/0",
    ] {
        let said = complaint(url, &["dlq", "count"]);
        assert!(
            said.contains("%40") && said.contains("REDIS_PASSWORD_FILE"),
            "{said}"
        );
        for word in ["hun", "ter2", "InvalidClientConfig", "Invalid database"] {
            assert!(!said.contains(word), "{url}: {said}");
        }
    }
    // What stands alone before the @ may be a password that nobody wrote a : before.
    let server = Sandbox::start(&[]).expect("a private Redis");
    let mut connection = connect(&server);
    let _: () = ask(&mut connection, &["CONFIG", "SET", "requirepass", "x"]);
    let url = server.url().replace("://", "://hunter2@");
    let said = complaint(&url, &["dlq", "count"]);
    assert!(!said.contains("hunter2"), "{said}");
    assert!(said.contains("redis://:password@host"), "{said}");
    let said = complaint("redis://127.0.0.1:1/0", &["dlq", "count"]);
    assert!(said.contains("Set --redis-url or REDIS_URL"), "{said}");
}

#[test]
fn advice_names_the_profile_that_is_in_force() {
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let file = folder.path().join("config.toml");
    let text = "[profiles.prod]\nurl = \"redis://127.0.0.1:1/0\"\n";
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("a plain path");
    let args = ["--config", file, "--profile", "prod", "dlq", "count"];
    let said = complaint("redis://127.0.0.1:2/0", &args);
    assert!(
        said.contains("the url of profile \"prod\"") && said.contains(file),
        "{said}"
    );
    assert!(!said.contains("REDIS_URL"), "{said}");
}

#[test]
fn a_number_that_is_none_is_told_in_plain_words() {
    for args in [
        &["--fps", "x", "status"][..],
        &["push", "--rate", "-1", "-"],
        &["push", "--dedupe", "--dedupe-days", "soon", "-"],
        &["dlq", "list", "--limit", "many"],
    ] {
        let output = bridge("redis://127.0.0.1:1/0", args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("give a whole number"), "{args:?}: {said}");
        assert!(!said.contains("invalid digit"), "{args:?}: {said}");
    }
}
