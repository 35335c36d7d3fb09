//! Large leads among small ones: what a lane does not take costs the server no memory either.

use std::time::Duration;

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::stats::WorkerInfo;
use bridge_shared::store::Store;
use bridge_shared::store::work::Fetched;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;

/// Leads of a batch.
const BATCH: usize = 128;
/// Bytes of a large lead.
const LARGE: usize = 900_000;

async fn run<T: FromRedisValue>(redis: &mut MultiplexedConnection, words: &[&str]) -> T {
    let (name, args) = words.split_first().expect("a command");
    let mut cmd = redis::cmd(name);
    cmd.arg(args).query_async(redis).await.expect("an answer")
}

/// A figure of `INFO memory`, in bytes.
async fn figure(redis: &mut MultiplexedConnection, name: &str) -> usize {
    let info: String = run(redis, &["INFO", "memory"]).await;
    let mut figures = info.lines().filter_map(|line| line.split_once(':'));
    let (_, figure) = figures.find(|(key, _)| *key == name).expect("it is there");
    figure.parse().expect("a number")
}

/// Asks for a batch where some leads are large, on a server of its own, which says nothing of a
/// peak but its highest.
async fn ask(case: &str, is_large: fn(usize) -> bool) {
    let server = Sandbox::start(&[]).expect("a private Redis");
    let client = redis::Client::open(server.url()).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await;
    let mut redis = connection.expect("a connection");
    let args = RedisArgs::of(server.url(), ["q", "f", "e"]);
    let store = Store::connect(&args).await.expect("a store");
    let (hour, info) = (Duration::from_secs(3_600), WorkerInfo::default());
    let beat = store.heartbeat("w", hour, &info, true).await;
    beat.expect("registered");
    let lead = |n: usize| format!("{n} {}", "x".repeat(if is_large(n) { LARGE } else { 300 }));
    for n in 0..BATCH {
        let _: u64 = run(&mut redis, &["LPUSH", "q", &lead(n)]).await;
    }

    let before = figure(&mut redis, "used_memory").await;
    let [mut lane, _] = store.lanes("w");
    let turn = lane.turn(&[], Some((BATCH, 1))).await.expect("an answer");
    let fetched = turn.fetched;
    assert!(
        matches!(fetched, Some(Ok(Fetched::Unfit))),
        "{case}: {fetched:?}"
    );
    let more = figure(&mut redis, "used_memory_peak").await - before;
    // The first eight, at the very most.
    assert!(more < 9 * LARGE, "{case}: {more} bytes more");

    let keys: Vec<String> = run(&mut redis, &["KEYS", "q:active:*"]).await;
    assert!(keys.is_empty(), "{case}: {keys:?}");
    for n in 0..BATCH {
        let next: String = run(&mut redis, &["RPOP", "q"]).await;
        assert!(next == lead(n), "{case}: lead {n}");
    }
}

#[tokio::test]
async fn a_line_with_large_leads_is_left_as_it_is_and_not_copied() {
    ask("every other one", |n| n % 2 == 0).await;
    ask("every other one from the second on", |n| n % 2 == 1).await;
    ask("behind small ones", |n| n >= 20).await;
    ask("so many in a row", |n| (60..76).contains(&n)).await;
}
