//! A wait for leads, with the fetch that is sent behind it.

use std::time::{Duration, Instant};

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::stats::WorkerInfo;
use bridge_shared::store::Store;
use bridge_shared::store::waiter::{Waited, Waiter};
use bridge_shared::store::work::Fetched;
use redis::Connection;

/// Far longer than any answer takes.
const LONG: Duration = Duration::from_secs(60);

struct Bench {
    server: Sandbox,
    redis: Connection,
    store: Store,
    waiter: Waiter,
}

impl Bench {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[&str]) -> Self {
        let server = Sandbox::start(settings).expect("a private Redis");
        let client = redis::Client::open(server.url()).expect("a URL");
        let redis = client.get_connection().expect("a connection");
        let args = RedisArgs::of(server.url(), ["q", "f", "e"]);
        let store = Store::connect(&args).await.expect("a store");
        let beat = store
            .heartbeat("w", LONG, &WorkerInfo::default(), true)
            .await;
        beat.expect("registered");
        // A worker's first look, by which the server knows the script.
        let fetched = store.fetch("w", 1, 0, 1_000).await;
        assert_eq!(fetched.expect("an answer"), Fetched::Taken(Vec::new()));
        let waiter = store.waiter("w");
        Self {
            server,
            redis,
            store,
            waiter,
        }
    }

    fn run<T: redis::FromRedisValue>(&mut self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut cmd = redis::cmd(words.next().expect("a command"));
        cmd.arg(words.collect::<Vec<_>>());
        cmd.query(&mut self.redis).expect("an answer")
    }

    /// Pushes a lead as soon as somebody waits for one.
    fn push_when_waited_for(&self, lead: &str) -> std::thread::JoinHandle<()> {
        let (url, lead) = (self.server.url(), lead.to_owned());
        std::thread::spawn(move || {
            let client = redis::Client::open(url).expect("a URL");
            let mut redis = client.get_connection().expect("a connection");
            let begun = Instant::now();
            loop {
                let info: String = redis::cmd("INFO")
                    .arg("clients")
                    .query(&mut redis)
                    .expect("an answer");
                if info.contains("blocked_clients:1") {
                    break;
                }
                assert!(begun.elapsed() < LONG, "nobody waits");
            }
            let _: u64 = redis::cmd("LPUSH")
                .arg("q")
                .arg(lead)
                .query(&mut redis)
                .expect("an answer");
        })
    }

    async fn wait(&mut self, timeout: Duration, first: u64) -> Waited {
        let waited = self.waiter.fetch(timeout, 10, first, 1_000).await;
        waited.expect("an answer")
    }

    async fn fetch(&mut self, timeout: Duration, first: u64) -> Fetched {
        let Waited { fetched, refused } = self.wait(timeout, first).await;
        assert!(refused.is_none(), "{refused:?}");
        fetched.expect("a known script")
    }

    /// Waits, and expects one lead that comes meanwhile.
    async fn expect_one(&mut self, number: u64) {
        let lead = format!("lead {number}");
        let push = self.push_when_waited_for(&lead);
        let Fetched::Taken(leads) = self.fetch(LONG, number).await else {
            panic!("work is not paused")
        };
        push.join().expect("pushed");
        let leads: Vec<_> = leads
            .iter()
            .map(|lead| (lead.number, &lead.payload[..]))
            .collect();
        assert_eq!(leads, [(number, lead.as_bytes())]);
        assert_eq!(
            self.run::<String>(&format!("HGET q:active:w {number}")),
            lead
        );
        assert_eq!(self.run::<u64>("LLEN q"), 0);
    }
}

#[tokio::test]
async fn the_lead_that_ends_a_wait_is_taken_with_it() {
    let mut bench = Bench::start().await;
    bench.expect_one(1).await;
    // Nothing comes.
    let nothing = Fetched::Taken(Vec::new());
    assert_eq!(bench.fetch(Duration::from_millis(10), 2).await, nothing);
    // On the same connection.
    bench.expect_one(3).await;
    assert_eq!(
        bench
            .run::<String>("INFO commandstats")
            .matches("cmdstat_client|reply:calls=4")
            .count(),
        1,
        "asked once whether it may, then once for each wait"
    );
    let _: () = bench.run("SET q:paused 1");
    let _: u64 = bench.run("LPUSH q more");
    assert_eq!(bench.fetch(LONG, 4).await, Fetched::Paused);
    let _: u64 = bench.run("DEL q:paused q:workers");
    assert_eq!(bench.fetch(LONG, 5).await, Fetched::NoLease);
    assert_eq!(bench.run::<u64>("LLEN q"), 1);
}

#[tokio::test]
async fn a_server_that_has_forgotten_the_script_takes_no_lead() {
    let mut bench = Bench::start().await;
    bench.expect_one(1).await;
    let _: () = bench.run("SCRIPT FLUSH");
    let _: u64 = bench.run("LPUSH q again");
    let unknown = bench.wait(LONG, 2).await.fetched;
    assert!(unknown.is_none(), "{unknown:?}");
    assert_eq!(bench.run::<u64>("LLEN q"), 1);
    let fetched = bench.store.fetch("w", 10, 3, 1_000).await;
    assert!(matches!(fetched, Ok(Fetched::Taken(leads)) if leads.len() == 1));
    bench.expect_one(4).await;
}

#[tokio::test]
async fn where_the_server_cannot_be_silenced_each_lead_comes_once() {
    let mut bench = Bench::start().await;
    let _: () = bench.run("ACL SETUSER default -client|reply");
    bench.expect_one(1).await;
    bench.expect_one(2).await;
    // A server, or something before it, that knows no such command.
    let mut bench = Bench::with(&["--rename-command", "CLIENT", ""]).await;
    bench.expect_one(1).await;
    bench.expect_one(2).await;
}

#[tokio::test]
async fn a_refused_wait_is_heard_of_though_nobody_is_answered() {
    let mut bench = Bench::start().await;
    let _: () = bench.run("ACL SETUSER default -blmove");
    // The first is silent and over at once, the second is asked for its answer.
    assert_eq!(bench.fetch(LONG, 1).await, Fetched::Taken(Vec::new()));
    for (first, leads) in [(2, 0), (3, 1), (4, 0)] {
        for _ in 0..leads {
            let _: u64 = bench.run("LPUSH q lead");
        }
        let Waited { fetched, refused } = bench.wait(LONG, first).await;
        let refused = refused.expect("refused").to_string();
        assert!(refused.contains("may not BLMOVE q"), "{refused}");
        let Some(Fetched::Taken(taken)) = fetched else {
            panic!("work is not paused: {fetched:?}")
        };
        assert_eq!(taken.len(), leads, "leads come all the same");
    }
    let _: () = bench.run("ACL SETUSER default +blmove");
    bench.expect_one(5).await;
}
