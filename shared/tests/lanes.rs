//! What a lane does not take costs the server nothing, and what it has recorded leaves nothing behind.

use std::time::Duration;

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::stats::WorkerInfo;
use bridge_shared::store::Store;
use bridge_shared::store::lane::{Recorded, Turn};
use bridge_shared::store::work::{Completion, Delivery, Fetched, Outcome, Record};
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

/// A server of its own, and a worker `w` on its register.
async fn start() -> (Sandbox, MultiplexedConnection, Store) {
    let server = Sandbox::start(&[]).expect("a private Redis");
    let (redis, store) = reach(&server.url()).await;
    (server, redis, store)
}

/// The same where a server is there already.
async fn reach(url: &str) -> (MultiplexedConnection, Store) {
    let client = redis::Client::open(url).expect("a URL");
    let connection = client.get_multiplexed_async_connection().await;
    let args = RedisArgs::of(url, ["q", "f", "e"]);
    let store = Store::connect(&args).await.expect("a store");
    let (hour, info) = (Duration::from_secs(3_600), WorkerInfo::default());
    let beat = store.heartbeat("w", hour, &info, true).await;
    beat.expect("registered");
    (connection.expect("a connection"), store)
}

/// Asks for a batch where some leads are large, of which so many are taken; on a server of its own,
/// which says nothing of a peak but its highest.
async fn ask(case: &str, taken: usize, is_large: fn(usize) -> bool) {
    let (_server, mut redis, store) = start().await;
    let lead = |n: usize| format!("{n} {}", "x".repeat(if is_large(n) { LARGE } else { 300 }));
    for n in 0..BATCH {
        let _: u64 = run(&mut redis, &["LPUSH", "q", &lead(n)]).await;
    }

    let before = figure(&mut redis, "used_memory").await;
    let [mut lane, _] = store.lanes("w");
    let turn = lane.turn(&[], Some((BATCH, 1))).await.expect("an answer");
    let fetched = turn.fetched;
    match fetched {
        Some(Ok(Fetched::Unfit)) => assert_eq!(taken, 0, "{case}"),
        Some(Ok(Fetched::Taken(leads))) => {
            let expected = (0..taken).map(|n| lead(n).into_bytes());
            let leads = leads.iter().map(|lead| lead.payload.to_vec());
            assert!(leads.eq(expected), "{case}");
        }
        other => panic!("{case}: {other:?}"),
    }
    let more = figure(&mut redis, "used_memory_peak").await - before;
    assert!(more < 2 * LARGE, "{case}: {more} bytes more");

    let keys: Vec<String> = run(&mut redis, &["KEYS", "q:active:*"]).await;
    assert_eq!(keys.is_empty(), taken == 0, "{case}: {keys:?}");
    for n in taken..BATCH {
        let next: String = run(&mut redis, &["RPOP", "q"]).await;
        assert!(next == lead(n), "{case}: lead {n}");
    }
}

#[tokio::test]
async fn a_line_with_large_leads_is_left_as_it_is_and_not_copied() {
    ask("every other one", 0, |n| n % 2 == 0).await;
    ask("every other one from the second on", 1, |n| n % 2 == 1).await;
    ask("behind small ones", 16, |n| n >= 20).await;
    ask("so many in a row", 46, |n| (60..76).contains(&n)).await;
}

/// What came of the leads of a batch: every third is dead.
fn records(batch: &[Delivery]) -> Vec<Record> {
    let record = |delivery: &Delivery| Record {
        number: delivery.number,
        id: format!("id-{}", delivery.number),
        outcome: if delivery.number.is_multiple_of(3) {
            Outcome::Dead {
                envelope: delivery.payload.clone(),
            }
        } else {
            Outcome::Done {
                lead: delivery.payload.clone(),
                completion: Completion::Full,
            }
        },
    };
    batch.iter().map(record).collect()
}

/// The leads of a turn that went well.
fn taken(turn: Turn) -> Vec<Delivery> {
    match turn.fetched {
        Some(Ok(Fetched::Taken(leads))) => leads,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_recorded_is_known_to_be_and_leaves_nothing_behind() {
    let (_server, mut redis, store) = start().await;
    for n in 1..=20 {
        let _: u64 = run(&mut redis, &["LPUSH", "q", &n.to_string()]).await;
    }
    let [mut lane, _] = store.lanes("w");
    let batch = taken(lane.turn(&[], Some((5, 1))).await.expect("an answer"));
    let turn = lane.turn(&records(&batch), Some((5, 6))).await;
    let turn = turn.expect("an answer");
    assert_eq!(turn.recorded, Recorded::All);
    let batch = taken(turn);

    // With nothing more to take, and where work is paused.
    let turn = lane.turn(&records(&batch), None).await.expect("an answer");
    assert_eq!(turn.recorded, Recorded::All);
    let left: Vec<String> = run(&mut redis, &["KEYS", "q:active:*"]).await;
    assert!(left.is_empty(), "{left:?}");
    let batch = taken(lane.turn(&[], Some((5, 11))).await.expect("an answer"));
    let () = run(&mut redis, &["SET", "q:paused", "1"]).await;
    let turn = lane.turn(&records(&batch), Some((5, 16))).await;
    let turn = turn.expect("an answer");
    assert_eq!(turn.recorded, Recorded::All);
    assert!(matches!(turn.fetched, Some(Ok(Fetched::Paused))));
    let left: Vec<String> = run(&mut redis, &["KEYS", "q:active:*"]).await;
    assert!(left.is_empty(), "{left:?}");
    let () = run(&mut redis, &["RENAME", "q:paused", "kept"]).await;

    // Somebody opened it: nothing is written, and all of it is still in hand.
    let batch = taken(lane.turn(&[], Some((5, 16))).await.expect("an answer"));
    let outcomes = records(&batch);
    let lost = store.commit("w", &outcomes[..1], false).await;
    assert_eq!(lost.expect("an answer"), Vec::<u64>::new());
    let turn = lane.turn(&outcomes, None).await.expect("an answer");
    assert_eq!(turn.recorded, Recorded::Nothing);
    assert_eq!(store.held("w").await.expect("an answer"), [17, 18, 19, 20]);
    let written: [u64; 2] = [
        run(&mut redis, &["XLEN", "e"]).await,
        run(&mut redis, &["LLEN", "f"]).await,
    ];
    assert_eq!(written, [11, 5]);
    let figures: Vec<u64> = run(&mut redis, &["HMGET", "q:stats", "done", "dead"]).await;
    assert_eq!(figures, written);
}

#[tokio::test]
async fn a_lane_has_its_login_and_its_database_whatever_the_way_to_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("redis.sock");
    let socket = socket.to_str().expect("a plain path");
    let user = ["--user", "ada", "on", ">hunter2", "~*", "&*", "+@all"];
    let settings = [&["--unixsocket", socket][..], &user].concat();
    let server = Sandbox::start(&settings).expect("a private Redis");
    let port = server.port();
    for url in [
        format!("redis://ada:hunter2@localhost:{port}/3"),
        format!("unix://{socket}?user=ada&pass=hunter2&db=4"),
    ] {
        let (mut redis, store) = reach(&url).await;
        for n in 1..=20 {
            let _: u64 = run(&mut redis, &["LPUSH", "q", &n.to_string()]).await;
        }
        let [mut lane, _] = store.lanes("w");
        let batch = taken(lane.turn(&[], Some((20, 1))).await.expect(&url));
        let turn = lane.turn(&records(&batch), None).await.expect(&url);
        assert_eq!((batch.len(), turn.recorded), (20, Recorded::All), "{url}");
        assert_eq!(run::<u64>(&mut redis, &["XLEN", "e"]).await, 14, "{url}");
        let users: String = run(&mut redis, &["CLIENT", "LIST", "TYPE", "NORMAL"]).await;
        let others = users.lines().filter(|line| line.contains("user=default"));
        assert_eq!(others.count(), 0, "{users}");
    }
}

#[tokio::test]
async fn a_worker_that_did_not_look_whether_its_batch_was_recorded_leaves_all_the_same() {
    let (_server, mut redis, store) = start().await;
    let _: u64 = run(&mut redis, &["HSET", "q:active:w", "batch:2", "7"]).await;
    assert_eq!(store.held("w").await.expect("an answer"), Vec::<u64>::new());
    assert_eq!(store.leave("w").await.expect("an answer"), 0);
    let left: Vec<String> = run(&mut redis, &["KEYS", "q:active:*"]).await;
    assert!(left.is_empty(), "{left:?}");
}
