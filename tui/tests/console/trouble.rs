//! A Redis that is away, refuses, or changes its mind.

use bridge_shared::sandbox::Sandbox;

use super::redis::Redis;
use super::terminal::Terminal;

/// Retries the dead letter under the cursor.
fn retry(console: &mut Terminal) {
    console.press("r");
    console.sees("back to work?");
    console.press("y");
    console.until("no question", |text| !text.contains("back to work?"));
}

#[test]
fn redis_goes_away_and_comes_back() {
    let mut redis = Redis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let entry = r#"{"lead":{"name":"Ada Example"},"error":"boom"}"#;
    let _: u64 = redis.ask(&["LPUSH", "failed_leads", entry]);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Ada Example");
    redis.server.kill();
    console.sees("connection refused. Is it running?");
    console.sees("lost, figures");
    console.sees("Ada Example");
    redis.server.restart().expect("restarted");
    console.sees("live");
    console.sees("Redis answers again");
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_cut_subscription_leaves_a_line_where_events_are_missing() {
    let mut redis = Redis::start();
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.sees("live");
    console.press("2");
    console.sees("nothing has happened since");
    let killed: u64 = redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, 1, "the console listens");
    console.sees("events before this line are missing");
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_console_opens_without_a_redis_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.server.kill();
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.sees("no Redis");
    redis.server.restart().expect("restarted");
    console.sees("live");
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_refused_login_is_told_in_words_and_without_the_password() {
    let redis = Sandbox::start(&["--requirepass", "correct"]).expect("a private Redis");
    let url = format!("redis://:hunter2@127.0.0.1:{}/0", redis.port());
    let mut console = Terminal::open(&url, &[]);
    console.sees("refuses the login");
    assert!(!console.text().contains("hunter2"));
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn a_console_lives_through_all_that_redis_refuses_and_says_what_to_do() {
    let mut redis = Redis::with_dead(5);
    let allow = |redis: &mut Redis, rules: &[&str]| {
        let _: () = redis.ask(&[&["ACL", "SETUSER", "ops"], rules].concat());
    };
    let all = ["on", ">hunter2", "allkeys", "allchannels", "+@all"];
    allow(&mut redis, &all);
    let url = format!("redis://ops:hunter2@127.0.0.1:{}/0", redis.server.port());
    let mut console = Terminal::open(&url, &[]);
    console.sees("live");
    console.press("3");
    console.sees("Person4 Example");

    // Another program's value where the waiting list should be.
    let _: () = redis.ask(&["SET", "leads_to_enrich", "x"]);
    console.says("the key leads_to_enrich is a string, and the bridge keeps a list there");
    console.sees("wrong type, figures");
    let _: () = redis.ask(&["DEL", "leads_to_enrich"]);
    console.sees("Redis answers again");

    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    retry(&mut console);
    console.says("It is out of memory: raise its maxmemory");
    console.sees("refuses writes");
    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    console.sees("live");

    // A replica, first one that still answers, then one that does not.
    let _: () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    retry(&mut console);
    console.says("is a read-only replica. Set --redis-url or REDIS_URL to the primary");
    let _: () = redis.ask(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    console.says("a replica that has lost its primary");
    let _: () = redis.ask(&["REPLICAOF", "NO", "ONE"]);
    console.sees("Redis answers again");
    redis.depths(0, 5);

    // Reading goes on for a user who may only read; writing is told.
    allow(&mut redis, &["resetkeys", "%R~*"]);
    let entry = r#"{"envelope":1,"id":"late","lead":{"name":"Late Example"},"error":"boom"}"#;
    let _: u64 = redis.ask(&["LPUSH", "failed_leads", entry]);
    console.sees("Late Example");
    console.press("g");
    retry(&mut console);
    console.says("the Redis user ops may not");
    allow(
        &mut redis,
        &["resetkeys", "~leads_to_enrich*", "~enriched_leads"],
    );
    console.says("It has no access to failed_leads.");
    console.sees("not allowed, figures");
    allow(&mut redis, &["resetkeys", "~*"]);
    console.sees("Redis answers again");
    // What only one screen needs takes nothing from the others.
    allow(&mut redis, &["-xrevrange"]);
    console.press("7");
    console.says("What belongs here cannot be read");
    console.sees("live");
    console.press("1");
    console.until("the overview", |text| !text.contains("What belongs here"));

    let _: u64 = redis.ask(&["ACL", "DELUSER", "ops"]);
    console.says("refuses the login");
    console.sees("login refused, figures");
    assert!(!console.text().contains("hunter2"));
    allow(&mut redis, &all);
    console.sees("Redis answers again");
    redis.depths(0, 6);
    console.press("q");
    assert_eq!(console.ends(), 0);
}
