//! The workers: real processes, each behind a proxy of its own.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

use crate::clock::Clock;
use crate::common::proxy::Proxy;
use crate::common::proxy::scripts::Scripts;
use crate::common::{Worker, command_of, program};
use crate::plan::{Expressions, Kind, Log, Plan};
use crate::site::Site;
use crate::station::Station;

/// The worker of an older build, which then stands at every other post. At the first stands this
/// build's, for only that recovers all that it may have in hand.
pub fn older() -> Option<PathBuf> {
    std::env::var_os("CHECKER_OLD_WORKER").map(PathBuf::from)
}

/// Where a worker stands; whoever comes after it stands there too.
pub struct Post {
    pub proxy: Proxy,
    url: String,
    clock: Option<Clock>,
    holder: Mutex<Option<Holder>>,
}

/// A worker at its post.
struct Holder {
    number: usize,
    worker: Worker,
    /// What reads its log, if that is a pipe.
    reader: Option<JoinHandle<()>>,
}

impl Holder {
    /// Whether it ended because Redis and the file had different passwords when it started: whoever
    /// looks after it starts another one.
    fn was_refused(&mut self) -> bool {
        let log = self.worker.log();
        log.contains("refuses the login")
            && !log.contains("worker started")
            && self.worker.has_ended()
    }
}

/// The workers of a run.
pub struct Crew {
    plan: Plan,
    station: Arc<Station>,
    /// The sinks' part of a route file.
    sinks: String,
    password_file: Option<PathBuf>,
    pub posts: Vec<Post>,
    next: AtomicUsize,
    folder: TempDir,
    /// What no worker may do.
    pub trouble: Mutex<Vec<String>>,
}

impl Crew {
    /// The posts, with nobody there yet.
    pub fn new(
        plan: &Plan,
        site: &Site,
        station: Arc<Station>,
        sinks: String,
        scripts: &Arc<Scripts>,
    ) -> Self {
        let post = |clock: &i64| {
            let proxy = site.proxy(scripts);
            Post {
                url: if plan.kind == Kind::Sentinel {
                    site.url()
                } else {
                    site.url_of(proxy.port())
                },
                proxy,
                clock: (*clock != 0).then(|| Clock::new(*clock)),
                holder: Mutex::new(None),
            }
        };
        Self {
            posts: plan.clocks.iter().map(post).collect(),
            plan: plan.clone(),
            station,
            sinks,
            password_file: site.password_file(),
            next: AtomicUsize::new(0),
            folder: TempDir::with_prefix("bridge-checker-").expect("a folder"),
            trouble: Mutex::default(),
        }
    }

    fn holder(&self, post: usize) -> MutexGuard<'_, Option<Holder>> {
        self.posts[post]
            .holder
            .lock()
            .expect("nobody panics with it")
    }

    /// Starts a worker at a post that is free, whose log cannot be written if so said.
    pub fn hire(&self, post: usize, spoilt: Option<Log>) {
        let holder = self.start(post, spoilt);
        *self.holder(post) = Some(holder);
    }

    /// Replaces each worker that was refused by Redis when it started.
    pub fn replace_refused(&self) {
        for post in 0..self.posts.len() {
            let mut holder = self.holder(post);
            if holder.as_mut().is_some_and(Holder::was_refused) {
                *holder = Some(self.start(post, None));
            }
        }
    }

    fn route(&self, number: usize) -> String {
        let transform = |name: &str, keys: &str| {
            format!(
                "kind = \"transform\"\nname = \"{name}\"\n{keys}\n[[pipelines.checker.stations]]\n"
            )
        };
        let computes = transform(
            "total",
            "when = \"price\"\ncompute = { total = \"price * quantity\" }",
        ) + &transform(
            "text",
            "when = \"copies\"\nset = { text = \"{{ names * copies }}\" }",
        ) + &transform(
            "pairs",
            "when = \"rows\"\nset = { pairs = \"{% for a in rows %}{% for b in rows %}{% endfor %}{% endfor %}\" }",
        );
        let computes = if self.plan.expressions == Expressions::Before && !self.plan.old {
            computes
        } else {
            String::new()
        };
        let station = if self.plan.quick {
            "kind = \"noop\"\nname = \"noop\"\n".to_owned()
        } else {
            let url = self.station.url(number);
            format!("kind = \"http\"\nname = \"enrich\"\nurl = \"{url}\"\ntimeout = \"20s\"\n")
        };
        format!(
            "default_pipeline = \"checker\"\n[[pipelines.checker.stations]]\n{computes}{station}{}",
            self.sinks
        )
    }

    fn start(&self, post: usize, spoilt: Option<Log>) -> Holder {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let file = |name: &str| self.folder.path().join(format!("{number}.{name}"));
        let (route, log) = (file("toml"), file("log"));
        std::fs::write(&route, self.route(number)).expect("a route file");
        let seconds = |duration: std::time::Duration| duration.as_secs_f64().to_string();
        let (lease, shutdown) = (seconds(self.plan.lease), seconds(self.plan.shutdown));
        let program = match older() {
            Some(older) if post % 2 == 1 => older,
            _ => program(),
        };
        let flags = [
            "--pipeline",
            route.to_str().expect("a plain path"),
            "--lease-seconds",
            &lease,
            "--shutdown-timeout",
            &shutdown,
            "--concurrency",
            "6",
            "--retry-delay-base",
            "0.1",
            "--lead-timeout",
            "30",
        ];
        let mut worker = command_of(&program, &flags);
        let post_of = &self.posts[post];
        worker.envs(post_of.clock.iter().flat_map(Clock::environment));
        if let Some(file) = &self.password_file {
            worker.env("REDIS_PASSWORD_FILE", file);
        }
        if spoilt.is_some() {
            // Enough to fill all that lies between.
            worker.env("RUST_LOG", "trace");
        }
        let (stderr, reader) = stderr(&log, spoilt);
        let worker = worker
            .env("REDIS_URL", &post_of.url)
            .env("WORKER_THREADS", (1 + post % 2).to_string())
            .stderr(stderr)
            .spawn()
            .expect("the worker starts");
        Holder {
            number,
            worker: Worker::of(worker, log),
            reader,
        }
    }

    /// The number of the worker at a post.
    pub fn number(&self, post: usize) -> Option<usize> {
        self.holder(post).as_ref().map(|holder| holder.number)
    }

    /// Tells the worker at a post to end, again where it was told already.
    pub fn remind(&self, post: usize) {
        if let Some(holder) = &mut *self.holder(post)
            && !holder.worker.has_ended()
        {
            holder.worker.signal("TERM");
        }
    }

    /// Sends a signal to the worker at a post.
    pub fn signal(&self, post: usize, name: &str) {
        if let Some(holder) = &mut *self.holder(post) {
            if !holder.worker.has_ended() {
                holder.worker.signal(name);
            } else if !holder.was_refused() {
                let number = holder.number;
                self.complain(format!("worker {number} has ended by itself"));
            }
        }
    }

    /// Waits for the end of the worker at a post, which was told to end, or killed where no code
    /// is expected.
    pub fn see_off(&self, post: usize, codes: &[i32]) {
        let Some(mut holder) = self.holder(post).take() else {
            return;
        };
        let code = holder.worker.wait().code();
        if let Some(reader) = holder.reader.take() {
            reader.join().expect("no panic");
        }
        if holder.was_refused() {
            return;
        }
        let Holder { number, worker, .. } = holder;
        // Before it hears signals it ends by them.
        let fit = match code {
            Some(code) => codes.contains(&code),
            None => codes.is_empty() || !worker.log().contains("worker started"),
        };
        if !fit {
            self.complain(format!(
                "worker {number} ended with {code:?}:\n{}",
                worker.log()
            ));
        }
        let log = worker.log();
        let is_line = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_ok();
        // A kill may cut the last one short.
        if code.is_some()
            && let Some(line) = log.lines().find(|line| !is_line(line))
        {
            self.complain(format!("worker {number} wrote half a line: {line}"));
        }
        for line in log.lines().filter(|line| line.contains("panic")) {
            self.complain(format!("worker {number} panicked: {line}"));
        }
    }

    fn complain(&self, what: String) {
        self.trouble
            .lock()
            .expect("nobody panics with it")
            .push(what);
    }

    /// Keeps the logs for whoever looks into a violation; returns where they are.
    pub fn keep_logs(mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        let folder: &Path = self.folder.path();
        folder.to_owned()
    }
}

/// Where a worker's log goes; what cannot be read of it is not there.
fn stderr(log: &Path, spoilt: Option<Log>) -> (Stdio, Option<JoinHandle<()>>) {
    let file = File::create(log).expect("a log file");
    let (reading, time) = match spoilt {
        None => return (file.into(), None),
        Some(Log::Full) => {
            let full = OpenOptions::new().write(true).open("/dev/full");
            return (full.expect("/dev/full").into(), None);
        }
        Some(Log::Closed) => (false, Duration::ZERO),
        Some(Log::Stalled(time)) => (true, time),
    };
    let (pipe, stderr) = std::io::pipe().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let (mut pipe, mut file, mut line) = (BufReader::new(pipe), file, Vec::new());
        let mut started = false;
        while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
            let _ = file.write_all(&line);
            if !started && line.windows(14).any(|part| part == b"worker started") {
                if !reading {
                    return;
                }
                started = true;
                std::thread::sleep(time);
            }
            line.clear();
        }
    });
    (stderr.into(), Some(reader))
}
