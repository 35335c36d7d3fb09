//! A password that is changed while the programs run.

mod common;

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::store::Store;
use common::{Bridge, NOOP, Worker, connect, eventually};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::runtime::Runtime;

const PLAIN: [&str; 3] = ["leads_to_enrich", "failed_leads", "enriched_leads"];
const TAGGED: [&str; 3] = ["{leads}_to_enrich", "{leads}_failed", "{leads}_enriched"];

/// A Redis whose password stands in a file, and is another one tomorrow.
struct Rotating {
    bridge: Bridge,
    file: PathBuf,
}

impl Rotating {
    fn start() -> Self {
        let bridge = Bridge::start();
        let file = bridge.folder.path().join("password");
        let rotating = Self { bridge, file };
        rotating.rotate("first");
        rotating
    }

    fn write(&self, password: &str) {
        std::fs::write(&self.file, format!("{password}\n")).expect("written");
    }

    /// Gives Redis and the file another password; connections that are logged in stay so.
    fn rotate(&self, password: &str) {
        let set = format!("CONFIG SET requirepass {password}");
        let _: () = self.bridge.redis(&set);
        self.write(password);
    }

    fn worker(&self) -> Worker {
        let route = self.bridge.route(NOOP);
        let flags = ["--pipeline", &route, "--redis-password-file"];
        let file = self.file.to_str().expect("a plain path");
        Worker::start(
            &self.bridge.redis.url(),
            &self.bridge.log(),
            &[&flags[..], &[file]].concat(),
        )
    }
}

fn store(url: &str, names: [&str; 3], file: &Path) -> (Runtime, Store) {
    let runtime = Runtime::new().expect("a runtime");
    let mut args = RedisArgs::of(url, names);
    args.access.redis_password_file = Some(file.to_owned());
    let store = {
        let _inside = runtime.enter();
        Store::new(&args).expect("a store")
    };
    (runtime, store)
}

/// Changes the password of a server, by a connection of its own, and cuts everybody else off.
fn rotate(connection: &mut redis::Connection, file: &Path, password: &str) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("requirepass").arg(password);
    set.exec(connection).expect("set");
    std::fs::write(file, password).expect("written");
    let mut kill = redis::cmd("CLIENT");
    kill.arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]);
    kill.exec(connection).expect("cut off");
}

#[test]
fn a_worker_logs_in_with_the_password_that_is_in_the_file_by_then() {
    let redis = Rotating::start();
    let worker = redis.worker();
    redis.bridge.push(r#"{"n":1}"#);
    eventually("the first lead is done", || redis.bridge.done() == 1);
    redis.rotate("second");
    let _: usize = redis.bridge.redis("CLIENT KILL TYPE normal SKIPME yes");
    redis.bridge.push(r#"{"n":2}"#);
    eventually("the second lead is done", || redis.bridge.done() == 2);
    // Where the file is late, the worker waits, and names it.
    let _: () = redis.bridge.redis("CONFIG SET requirepass third");
    let _: usize = redis.bridge.redis("CLIENT KILL TYPE normal SKIPME yes");
    let file = redis.file.display().to_string();
    eventually("the log names the file", || {
        let log = worker.log();
        log.contains("refuses the login") && log.contains(&file)
    });
    redis.write("third");
    redis.bridge.push(r#"{"n":3}"#);
    eventually("the third lead is done", || redis.bridge.done() == 3);
    assert!(!worker.log().contains("second"), "{}", worker.log());
}

#[test]
fn a_hangup_logs_in_again_and_a_wrong_password_changes_nothing() {
    let redis = Rotating::start();
    let worker = redis.worker();
    redis.bridge.push(r#"{"n":1}"#);
    eventually("the first lead is done", || redis.bridge.done() == 1);
    redis.write("wrong");
    worker.signal("HUP");
    eventually("the wrong password is told", || {
        worker.log().contains("the new Redis login is refused")
    });
    redis.bridge.push(r#"{"n":2}"#);
    eventually("the second lead is done", || redis.bridge.done() == 2);
    redis.rotate("second");
    worker.signal("HUP");
    eventually("the new login is in force", || {
        worker.log().contains("logged in to Redis again")
    });
    redis.bridge.push(r#"{"n":3}"#);
    eventually("the third lead is done", || redis.bridge.done() == 3);
}

#[test]
fn a_store_logs_in_with_the_new_password_also_behind_sentinels_and_in_a_cluster() {
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "first").expect("written");
    let primary = Sandbox::start(&[]).expect("a Redis");
    let patient = Duration::from_secs(60);
    let sentinel = primary.sentinel("leads", patient, &[]).expect("a sentinel");
    let node = Sandbox::cluster_node(&[]).expect("a node");
    let mut at_node = connect(&node);
    let mut slots = redis::cmd("CLUSTER");
    slots.arg("ADDSLOTSRANGE").arg(0).arg(16383);
    slots.exec(&mut at_node).expect("slots");
    let by_sentinel = format!("redis+sentinel://127.0.0.1:{}/leads", sentinel.port());
    let cluster = format!("redis+cluster://127.0.0.1:{}", node.port());
    for (url, names, server) in [
        (primary.url(), PLAIN, &primary),
        (by_sentinel, PLAIN, &primary),
        (cluster, TAGGED, &node),
    ] {
        let mut own = connect(server);
        rotate(&mut own, &file, "first");
        let (runtime, reached) = store(&url, names, &file);
        eventually("figures", || runtime.block_on(reached.snapshot()).is_ok());
        rotate(&mut own, &file, "second");
        eventually("figures again", || {
            runtime.block_on(reached.snapshot()).is_ok()
        });
        let mut forget = redis::cmd("CONFIG");
        forget.arg("SET").arg("requirepass").arg("");
        forget.exec(&mut own).expect("as before");
    }
}
