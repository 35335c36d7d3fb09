//! Behind sentinels and on a cluster: a real worker goes where the data is.
//!
//! Before a primary is killed everything it has acknowledged is on its replica, so what must add
//! up afterwards is known. Some of it needs the console's program beside the worker's, which
//! `make test` builds first.

#[path = "../common/mod.rs"]
mod common;

mod cluster;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bridge_shared::config::RedisArgs;
use bridge_shared::event::{Event, EventBatch, EventKind};
use bridge_shared::sandbox::Sandbox;
use bridge_shared::stats::Snapshot;
use bridge_shared::store::{Store, StoreError};
use common::{PATIENCE, Reply, Service, Worker, eventually};
use futures::StreamExt as _;
use redis::FromRedisValue;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than any failover takes here: no lease runs out meanwhile.
const LEASE: [&str; 2] = ["--lease-seconds", "60"];
/// Nothing counts as down before a test wants it to, however busy the machine is.
const PATIENT: Duration = Duration::from_secs(60);
/// Replicas get their copy at once, not with others some seconds later.
const AT_ONCE: [&str; 2] = ["--repl-diskless-sync-delay", "0"];

/// A bridge whose Redis may be another one tomorrow.
struct Site {
    args: RedisArgs,
    store: Store,
    runtime: Runtime,
    folder: TempDir,
}

impl Site {
    fn new(url: &str, names: [&str; 3]) -> Self {
        let args = RedisArgs::of(url, names);
        let runtime = Runtime::new().expect("a runtime");
        let store = {
            let _inside = runtime.enter();
            Store::new(&args).expect("a store")
        };
        Self {
            args,
            store,
            runtime,
            folder: TempDir::with_prefix("bridge-test-").expect("a folder"),
        }
    }

    /// Starts a worker whose leads all go to the service.
    fn worker(&self, service: &Service) -> Worker {
        self.worker_with(service, &[])
    }

    fn worker_with(&self, service: &Service, more: &[&str]) -> Worker {
        let route = self.folder.path().join("route.toml");
        let text = format!(
            "default_pipeline = \"test\"\n[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ntimeout = \"50s\"\n",
            service.url
        );
        std::fs::write(&route, text).expect("a route file");
        let names = names(&self.args);
        let mut flags = vec!["--pipeline", route.to_str().expect("a plain path")];
        flags.extend(["--concurrency", "10"]);
        if !more.contains(&LEASE[0]) {
            flags.extend(LEASE);
        }
        flags.extend(names.iter().flat_map(|(flag, name)| [*flag, *name]));
        flags.extend(more);
        Worker::start(&url(&self.args), &self.folder.path().join("log"), &flags)
    }

    /// Runs a command of the console that must succeed; returns what it printed as JSON.
    #[track_caller]
    fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = bridge(&self.args, &[&["--json"], args].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Asks the store, which may have to look for its Redis first.
    fn snapshot(&self) -> Option<Snapshot> {
        self.runtime.block_on(self.store.snapshot()).ok()
    }

    #[track_caller]
    fn eventually(&self, what: &str, condition: impl Fn(&Snapshot) -> bool) {
        eventually(what, || self.snapshot().is_some_and(|now| condition(&now)));
    }

    fn push(&self, run: &str, numbers: std::ops::Range<usize>) {
        let leads = numbers.map(|n| format!(r#"{{"name":"Lead {n}","n":{n}}}"#).into());
        let leads: Vec<bytes::Bytes> = leads.collect();
        eventually("the leads are pushed", || {
            let push = self.store.push(run, 1, &leads);
            self.runtime.block_on(push).is_ok()
        });
    }

    /// How often each lead came out.
    fn outcomes(&self) -> BTreeMap<u64, usize> {
        let mut leads = Vec::new();
        eventually("Redis answers", || {
            let peek = self.store.peek_enriched(0, None, 100_000);
            let seen = self.runtime.block_on(peek);
            seen.map(|(seen, _)| leads = seen).is_ok()
        });
        let mut times = BTreeMap::new();
        for lead in leads {
            let lead: serde_json::Value = serde_json::from_slice(&lead).expect("JSON");
            *times
                .entry(lead["n"].as_u64().expect("a number"))
                .or_default() += 1;
        }
        times
    }

    #[track_caller]
    fn assert_each_once(&self, leads: usize) {
        let times = self.outcomes();
        assert!(
            times.len() == leads && times.values().all(|n| *n == 1),
            "each exactly once: {times:?}"
        );
    }
}

fn url(args: &RedisArgs) -> String {
    args.redis_url.clone().expect("given")
}

fn names<'a>(args: &'a RedisArgs) -> [(&'static str, &'a str); 3] {
    let given = |name: &'a Option<String>| name.as_deref().expect("given");
    [
        ("--queue-name", &args.queue_name),
        ("--failed-queue-name", given(&args.failed_queue_name)),
        ("--enriched-stream", given(&args.enriched_stream)),
    ]
}

/// Runs a command of the console.
fn bridge(redis: &RedisArgs, args: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_scrapegoat-worker")).with_file_name("bridge");
    Command::new(program)
        .args(args)
        .args(names(redis).iter().flat_map(|(flag, name)| [*flag, *name]))
        .env("REDIS_URL", url(redis))
        .stdin(Stdio::null())
        .output()
        .expect("the console's program is built")
}

const PLAIN: [&str; 3] = ["leads_to_enrich", "failed_leads", "enriched_leads"];
const TAGGED: [&str; 3] = ["{leads}_to_enrich", "{leads}_failed", "{leads}_enriched"];

/// A connection to one node for the test's own commands.
struct Node(redis::Connection);

impl Node {
    fn of(server: &Sandbox) -> Self {
        let client = redis::Client::open(server.url()).expect("a URL");
        Self(client.get_connection().expect("a connection"))
    }

    #[track_caller]
    fn run<T: FromRedisValue>(&mut self, words: &str) -> T {
        let mut cmd = redis::Cmd::new();
        words.split(' ').for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut self.0)
            .unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    /// Waits until the replica has all this node has acknowledged so far.
    fn wait_for_the_replica(&mut self, key: &str) {
        let _: String = self.run(&format!("SET {key} 1"));
        let replicas: usize = self.run(&format!("WAIT 1 {}", PATIENCE.as_millis()));
        assert_eq!(replicas, 1, "the replica follows");
    }
}

/// An enrichment service that can hold all its answers back.
struct Gate {
    service: Service,
    open: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Gate {
    fn start() -> Self {
        let open = Arc::new(AtomicBool::new(true));
        let waiting = Arc::new(AtomicUsize::new(0));
        let (gate, count) = (Arc::clone(&open), Arc::clone(&waiting));
        let service = Service::start(move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            while !gate.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            count.fetch_sub(1, Ordering::SeqCst);
            Reply::ok().after(5)
        });
        Self {
            service,
            open,
            waiting,
        }
    }

    /// Holds answers back, and waits until the worker has nothing to tell Redis.
    fn close(&self, site: &Site) {
        self.open.store(false, Ordering::SeqCst);
        eventually("every slot waits for the service", || {
            self.waiting.load(Ordering::SeqCst) == 10
        });
        let asked = self.service.requests().len() as u64;
        site.eventually("all but these ten are recorded", |now| {
            now.in_flight == 10 && now.totals.done + 10 == asked
        });
    }

    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

/// A primary with a replica, and a sentinel that watches them.
struct Watched {
    primary: Sandbox,
    replica: Sandbox,
    sentinel: Sandbox,
}

impl Watched {
    fn start(sentinel_settings: &[&str]) -> Self {
        let primary = Sandbox::start(&AT_ONCE).expect("a primary");
        let port = primary.port().to_string();
        let replica = Sandbox::start(&["--replicaof", "127.0.0.1", &port]).expect("a replica");
        eventually("the replica follows", || is_following(&replica));
        let sentinel = primary
            .sentinel("leads", PATIENT, sentinel_settings)
            .expect("a sentinel");
        Self {
            primary,
            replica,
            sentinel,
        }
    }

    fn url(&self) -> String {
        // The first one is not there, as may happen.
        format!(
            "redis+sentinel://127.0.0.1:1,127.0.0.1:{}/leads/0",
            self.sentinel.port()
        )
    }

    /// Waits until the replica could become the primary with nothing lost, and makes the sentinel
    /// ready to decide that.
    fn prepare_failover(&self) {
        let mut sentinel = Node::of(&self.sentinel);
        eventually("the sentinel knows the replica", || {
            let replicas: Vec<HashMap<String, String>> = sentinel.run("SENTINEL REPLICAS leads");
            let is_well = |replica: &HashMap<String, String>| {
                replica["flags"] == "slave" && replica["master-link-status"] == "ok"
            };
            replicas.iter().any(is_well)
        });
        Node::of(&self.primary).wait_for_the_replica("mark");
        let _: String = sentinel.run("SENTINEL SET leads down-after-milliseconds 700");
    }
}

fn is_following(replica: &Sandbox) -> bool {
    let info: String = Node::of(replica).run("INFO replication");
    info.contains("master_link_status:up")
}

#[test]
fn a_worker_goes_on_at_the_new_primary_when_the_old_one_is_killed() {
    let mut redis = Watched::start(&[]);
    let site = Site::new(&redis.url(), PLAIN);
    let gate = Gate::start();
    site.push("a", 0..300);
    let worker = site.worker(&gate.service);
    site.eventually("it is at work", |now| now.totals.done > 50);
    gate.close(&site);
    redis.prepare_failover();
    redis.primary.kill();
    // The results of the leads in hand come while there is no primary.
    gate.open();

    site.eventually("all are done", |now| now.totals.done == 300);
    site.assert_each_once(300);
    let now = site.snapshot().expect("Redis answers");
    assert_eq!(
        (now.waiting, now.in_flight, now.retry, now.dead),
        (0, 0, 0, 0)
    );
    assert_eq!((now.totals.received, now.totals.lease_lost), (300, 0));
    assert_eq!(gate.service.requests().len(), 300, "each was tried once");
    let at_the_replica: usize = Node::of(&redis.replica).run("XLEN enriched_leads");
    assert_eq!(at_the_replica, 300);
    drop(worker);
}

#[test]
fn a_primary_that_hangs_is_left_by_calls_the_waiter_and_a_subscription() {
    let redis = Watched::start(&[]);
    let site = Site::new(&redis.url(), PLAIN);
    let service = Service::start(|_, _| Reply::ok());
    let _worker = site.worker(&service);
    site.eventually("it is registered", |now| now.workers.len() == 1);
    let mut events = Box::pin(
        site.runtime
            .block_on(site.store.subscribe())
            .expect("a subscription"),
    );
    redis.prepare_failover();
    // It keeps its connections open and says nothing more.
    signal(&redis.primary, "STOP");
    let ends = async { while events.next().await.is_some() {} };
    site.runtime
        .block_on(async { tokio::time::timeout(PATIENCE, ends).await })
        .expect("the subscription ends");
    let mut replica = Node::of(&redis.replica);
    let info: String = replica.run("INFO replication");
    assert!(info.contains("role:master"), "{info}");

    let mut events = None;
    eventually("the new primary takes a subscription", || {
        events = site.runtime.block_on(site.store.subscribe()).ok();
        events.is_some()
    });
    let mut events = Box::pin(events.expect("just seen"));
    let _: u64 = replica.run("LPUSH leads_to_enrich {\"n\":1}");
    let heard = site.runtime.block_on(async {
        let heard = events
            .by_ref()
            .filter_map(async |message| message.ok())
            .any(async |batch: EventBatch| {
                let done = |event: &Event| event.event == EventKind::Succeeded;
                batch.events.iter().any(done)
            });
        tokio::time::timeout(PATIENCE, heard).await
    });
    assert_eq!(heard, Ok(true), "the worker's events are heard");
    site.assert_each_once(1);
}

#[test]
fn a_hung_primary_is_left_by_every_connection_as_soon_as_one_finds_out() {
    let redis = Watched::start(&[]);
    let site = Site::new(&redis.url(), PLAIN);
    let lead = bytes::Bytes::from_static(b"{}");
    // Both connections are up: the one that large calls share, and the one of short calls.
    site.push("a", 0..1);
    let keeper = {
        let _inside = site.runtime.enter();
        site.store.beside().expect("a store")
    };
    let interruptions = site.store.interruptions();
    site.eventually("figures", |now| now.waiting == 1);
    redis.prepare_failover();
    signal(&redis.primary, "STOP");
    // One finds out. The others are idle meanwhile.
    eventually("a lead is pushed to the new primary", || {
        let push = keeper.push("b", 1, std::slice::from_ref(&lead));
        site.runtime.block_on(push).is_ok()
    });
    assert_eq!(site.store.interruptions(), interruptions);
    let news = EventBatch::decode(br#"{"v":1,"events":[]}"#).expect("a message");
    let told = site.runtime.block_on(site.store.publish(&news));
    assert_eq!(told.map_err(|error| error.to_string()), Ok(0));
}

#[test]
fn leads_whose_outcomes_redis_forgot_are_worked_on_again() {
    let mut redis = Sandbox::start(&[]).expect("a private Redis");
    let site = Site::new(&redis.url(), PLAIN);
    let gate = Gate::start();
    site.push("a", 0..20);
    let _worker = site.worker_with(&gate.service, &["--lead-timeout", "4"]);
    gate.close(&site);
    let before = site.outcomes().len();
    let _: String = Node::of(&redis).run("SAVE");
    gate.open();
    site.eventually("all are done", |now| now.totals.done == 20);
    // Back to where ten were in hand, as when a replica takes over that had not heard the rest.
    redis.restart().expect("Redis starts again");
    site.eventually("Redis is back", |_| true);
    assert!(site.outcomes().len() >= before);
    site.eventually("all are done again", |now| {
        now.totals.done == 20 && now.in_flight == 0
    });
    site.assert_each_once(20);
}

fn signal(server: &Sandbox, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &server.pid().to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
}

#[test]
fn a_url_that_does_not_lead_to_the_primary_says_why() {
    let redis = Watched::start(&["--requirepass", "guard"]);
    let (primary, sentinel) = (redis.primary.port(), redis.sentinel.port());
    let runtime = Runtime::new().expect("a runtime");
    let connect = |url: String| {
        runtime
            .block_on(Store::connect(&RedisArgs::of(&url, PLAIN)))
            .map(|store| store.url().to_owned())
    };
    let says = |url: String| connect(url).expect_err("it is wrong");
    let with = "sentinel_password=guard";

    let shown = connect(format!(
        "redis+sentinel://127.0.0.1:{sentinel}/leads?{with}"
    ));
    assert!(!shown.expect("that is right").contains("guard"));
    let error = says(format!("redis+sentinel://127.0.0.1:{sentinel}/lead?{with}"));
    let text = "the sentinels do not know a primary `lead`; they know leads.";
    assert!(error.to_string().starts_with(text), "{error}");
    assert!(!error.is_transient());
    let error = says(format!("redis+sentinel://127.0.0.1:{sentinel}/leads"));
    assert!(matches!(error, StoreError::SentinelLogin { .. }), "{error}");
    let error = says(format!("redis+sentinel://127.0.0.1:{primary}/leads"));
    assert!(matches!(error, StoreError::NotASentinel(_)), "{error}");
    let error = says("redis+sentinel://127.0.0.1:1/leads".into());
    assert!(matches!(error, StoreError::NoSentinel { .. }), "{error}");
    assert!(error.is_transient());
    let error = says(format!("redis://:guard@127.0.0.1:{sentinel}"));
    assert!(matches!(error, StoreError::IsSentinel(_)), "{error}");
    let error = runtime
        .block_on(Store::connect(&RedisArgs::of(
            format!("redis+cluster://127.0.0.1:{primary}"),
            TAGGED,
        )))
        .expect_err("it is none");
    assert!(matches!(error, StoreError::NotACluster(_)), "{error}");
}
