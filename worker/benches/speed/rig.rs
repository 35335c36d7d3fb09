//! A bridge to measure: a private Redis, real leads, a real worker, and the proof that every lead
//! came out exactly once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bridge_shared::sandbox::Sandbox;
use redis::{Connection, FromRedisValue, Value};
use tempfile::TempDir;

use crate::common::{Worker, command, eventually, program};
use crate::{process, scripts};

/// Where leads wait until the clock runs.
const HELD_BACK: &str = "bench:held_back";
/// How long nothing may move before a run counts as stuck.
const STUCK: Duration = Duration::from_secs(60);

/// A bridge to measure.
pub(crate) struct Rig {
    pub(crate) redis: Sandbox,
    pub(crate) folder: TempDir,
    connection: Connection,
}

/// What a drain took.
pub(crate) struct Drain {
    pub(crate) leads: usize,
    pub(crate) seconds: f64,
    /// Processor time of the worker and of Redis.
    pub(crate) worker: Option<Duration>,
    pub(crate) server: Option<Duration>,
    /// The worker's memory at its highest while this ran, in bytes, looked at every few ms.
    pub(crate) memory: Option<u64>,
}

impl Drain {
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn rate(&self) -> f64 {
        self.leads as f64 / self.seconds
    }

    /// Milliseconds for 1,000 leads.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn per_thousand(&self, time: Option<Duration>) -> Option<f64> {
        time.map(|time| time.as_secs_f64() * 1_000.0 / (self.leads as f64 / 1_000.0))
    }
}

impl Rig {
    pub(crate) fn start(settings: &[&str]) -> Self {
        let redis = Sandbox::start(settings).expect("a private Redis");
        let connection = redis::Client::open(redis.url())
            .and_then(|client| client.get_connection())
            .expect("a connection to the private Redis");
        let mut rig = Self {
            redis,
            folder: TempDir::with_prefix("bridge-bench-").expect("a folder"),
            connection,
        };
        scripts::watch(&mut rig);
        rig
    }

    /// Runs a Redis command given as words.
    pub(crate) fn run<T: FromRedisValue>(&mut self, words: &str) -> T {
        let mut cmd = redis::Cmd::new();
        words.split(' ').for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut self.connection).expect("Redis answers")
    }

    /// A connection of one's own.
    pub(crate) fn connect(&self) -> Connection {
        redis::Client::open(self.redis.url())
            .and_then(|client| client.get_connection())
            .expect("a connection to the private Redis")
    }

    /// What `redis-benchmark` reaches on this Redis, in requests a second.
    pub(crate) fn redis_benchmark(&self, args: &[&str]) -> f64 {
        let port = self.redis.port().to_string();
        let output = Command::new("redis-benchmark")
            .args(["-p", &port, "--csv"])
            .args(args)
            .output()
            .expect("redis-benchmark runs; it comes with redis-server");
        let words = String::from_utf8_lossy(&output.stdout);
        // Below the names of the columns, of which the second is the rate.
        let rate = words
            .lines()
            .nth(1)
            .and_then(|line| line.split("\",\"").nth(1)?.parse().ok());
        rate.unwrap_or_else(|| panic!("redis-benchmark said {words:?}"))
    }

    /// Pushes values to the left end of a list, many at a time.
    pub(crate) fn push(&mut self, key: &str, values: impl Iterator<Item = Vec<u8>>) {
        let mut values = values.peekable();
        while values.peek().is_some() {
            let mut cmd = redis::cmd("LPUSH");
            cmd.arg(key);
            for value in values.by_ref().take(1_000) {
                cmd.arg(value);
            }
            let _: u64 = cmd.query(&mut self.connection).expect("Redis takes leads");
        }
    }

    /// A worker on the route that does nothing, ready and with nothing to do.
    pub(crate) fn worker(&mut self) -> Worker {
        let worker = self.worker_at_work();
        self.until_ready();
        worker
    }

    /// A worker that finds leads waiting.
    pub(crate) fn worker_at_work(&self) -> Worker {
        Worker::start(&self.redis.url(), &self.log(), &["--pipeline", &noop()])
    }

    /// The same as [`Rig::worker`], with a log at a level of one's own.
    pub(crate) fn worker_that_logs(&mut self, level: &str) -> (Worker, PathBuf) {
        let log = self.log();
        let process = command(&["--pipeline", &noop(), "--log-format", "json"])
            .env("REDIS_URL", self.redis.url())
            .env("RUST_LOG", level)
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("the worker starts");
        self.until_ready();
        (Worker::of(process, log.clone()), log)
    }

    fn log(&self) -> PathBuf {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.folder.path().join(format!("worker-{n}.log"))
    }

    /// Waits until a worker waits for leads.
    fn until_ready(&mut self) {
        eventually("the worker waits for leads", || {
            self.run::<String>("INFO clients")
                .contains("blocked_clients:1")
        });
    }

    /// Waits until no worker waits for leads, as where all have heard of a pause.
    pub(crate) fn until_not_blocked(&mut self) {
        self.until("the worker has heard", |rig| {
            rig.run::<String>("INFO clients")
                .contains("blocked_clients:0")
        });
    }

    /// Waits for something that this connection can tell.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&mut Self) -> bool) {
        eventually(what, || condition(self));
    }

    /// Puts leads into a worker's hands, under the numbers it would give them.
    pub(crate) fn in_hands_of(&mut self, worker: &str, leads: impl Iterator<Item = Vec<u8>>) {
        let mut leads = (1_usize..).zip(leads).peekable();
        while leads.peek().is_some() {
            let mut cmd = redis::cmd("HSET");
            cmd.arg(format!("leads_to_enrich:active:{worker}"));
            for (number, lead) in leads.by_ref().take(1_000) {
                cmd.arg(number).arg(lead);
            }
            let _: u64 = cmd.query(&mut self.connection).expect("Redis takes leads");
        }
    }

    /// Lets a worker drain so many leads, and proves that each came out once.
    pub(crate) fn drain(&mut self, worker: &Worker, leads: usize) -> Drain {
        self.push(HELD_BACK, numbered(0..leads));
        self.release(worker, leads)
    }

    /// The same with what stands in the list that was held back.
    fn release(&mut self, worker: &Worker, leads: usize) -> Drain {
        let (pid, server) = (worker.pid(), self.redis.pid());
        let used = || (process::cpu(pid), process::cpu(server));
        let before = used();
        let started = Instant::now();
        // All at once, as if they had been waiting.
        let () = self.run(&format!("RENAME {HELD_BACK} leads_to_enrich"));
        let memory = self.until_done(leads, worker);
        let seconds = started.elapsed().as_secs_f64();
        let after = used();
        let took = |after: Option<Duration>, before: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        self.prove(leads);
        Drain {
            leads,
            seconds,
            worker: took(after.0, before.0),
            server: took(after.1, before.1),
            memory,
        }
    }

    /// Waits until so many leads are done; returns the most memory the worker was seen to hold.
    pub(crate) fn until_done(&mut self, leads: usize, worker: &Worker) -> Option<u64> {
        let (mut done, mut moved, mut memory) = (0, Instant::now(), None);
        while done < leads {
            std::thread::sleep(Duration::from_millis(3));
            memory = memory.max(process::memory(worker.pid()));
            let now: usize = self.run("XLEN enriched_leads");
            if now > done {
                (done, moved) = (now, Instant::now());
            }
            assert!(
                moved.elapsed() < STUCK,
                "{done} of {leads} leads came out\n{}",
                worker.log()
            );
        }
        memory
    }

    /// Proves that the leads numbered from 0 came out, each once, and that nothing else did; then
    /// makes room for the next run.
    pub(crate) fn prove(&mut self, leads: usize) {
        let mut seen = vec![false; leads];
        let mut from = "-".to_owned();
        loop {
            let mut cmd = redis::cmd("XRANGE");
            cmd.arg("enriched_leads")
                .arg(&from)
                .arg("+")
                .arg("COUNT")
                .arg(1_000);
            let entries: Vec<(String, Vec<Value>)> =
                cmd.query(&mut self.connection).expect("Redis answers");
            let Some((last, _)) = entries.last() else {
                break;
            };
            from = format!("({last}");
            for (_, fields) in &entries {
                let [_, _, _, Value::BulkString(lead)] = fields.as_slice() else {
                    panic!("not an enriched lead: {fields:?}");
                };
                let number = number(lead);
                assert!(number < leads, "a lead that nobody pushed: {number}");
                assert!(
                    !std::mem::replace(&mut seen[number], true),
                    "lead {number} came out twice"
                );
            }
        }
        let lost = seen.iter().filter(|seen| !**seen).count();
        assert_eq!(lost, 0, "leads were lost");
        eventually("nothing is left behind", || {
            let waiting: usize = self.run("LLEN leads_to_enrich");
            let workers: Vec<String> = self.run("ZRANGE leads_to_enrich:workers 0 -1");
            let held: usize = workers
                .iter()
                .map(|id| self.run::<usize>(&format!("HLEN leads_to_enrich:active:{id}")))
                .sum();
            waiting + held == 0
        });
        let stat = |rig: &mut Self, name: &str| {
            rig.run::<Option<usize>>(&format!("HGET leads_to_enrich:stats {name}"))
                .unwrap_or(0)
        };
        assert_eq!(
            stat(self, "done"),
            leads,
            "the statistics tell another story"
        );
        let _: u64 = self.run("UNLINK enriched_leads leads_to_enrich:stats");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            scripts::note(self);
        }
    }
}

/// The route that does nothing.
fn noop() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/pipelines/noop.toml");
    file.to_str().expect("a plain path").to_owned()
}

/// The sample leads, over and over, each with its number.
pub(crate) fn numbered(numbers: std::ops::Range<usize>) -> impl Iterator<Item = Vec<u8>> {
    const SAMPLES: &str = include_str!("../../../assets/leads/leads.jsonl");
    let samples: Vec<&str> = SAMPLES
        .lines()
        .filter_map(|line| line.trim().strip_suffix('}'))
        .collect();
    numbers.map(move |n| format!("{}, \"n\": {n}}}", samples[n % samples.len()]).into_bytes())
}

/// The number of a lead.
fn number(lead: &[u8]) -> usize {
    #[derive(serde::Deserialize)]
    struct Numbered {
        n: usize,
    }
    let lead: Numbered = serde_json::from_slice(lead).expect("an enriched lead with its number");
    lead.n
}

/// The console's program, which is built beside the worker.
pub(crate) fn bridge(rig: &Rig) -> Command {
    let program = program().with_file_name("bridge");
    assert!(
        program.is_file(),
        "{} is not built: cargo build --release --bins, or make bench",
        program.display()
    );
    let mut command = Command::new(program);
    command.env("REDIS_URL", rig.redis.url());
    command
}
