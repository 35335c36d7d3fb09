//! The workers: real processes, each behind a proxy of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tempfile::TempDir;

use crate::clock;
use crate::common::proxy::Proxy;
use crate::common::proxy::scripts::Scripts;
use crate::common::{Worker, command_of, program};
use crate::plan::{Kind, Plan};
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
    clock: i64,
    holder: Mutex<Option<(usize, Worker)>>,
}

/// The workers of a run.
pub struct Crew {
    plan: Plan,
    station: Arc<Station>,
    /// The sinks' part of a route file.
    sinks: String,
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
                    proxy.url()
                },
                proxy,
                clock: *clock,
                holder: Mutex::new(None),
            }
        };
        Self {
            posts: plan.clocks.iter().map(post).collect(),
            plan: plan.clone(),
            station,
            sinks,
            next: AtomicUsize::new(0),
            folder: TempDir::with_prefix("bridge-checker-").expect("a folder"),
            trouble: Mutex::default(),
        }
    }

    fn holder(&self, post: usize) -> MutexGuard<'_, Option<(usize, Worker)>> {
        self.posts[post]
            .holder
            .lock()
            .expect("nobody panics with it")
    }

    /// Starts a worker at a post that is free.
    pub fn hire(&self, post: usize) {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let file = |name: &str| self.folder.path().join(format!("{number}.{name}"));
        let (route, log) = (file("toml"), file("log"));
        let station = if self.plan.quick {
            "kind = \"noop\"\nname = \"noop\"\n".to_owned()
        } else {
            let url = self.station.url(number);
            format!("kind = \"http\"\nname = \"enrich\"\nurl = \"{url}\"\ntimeout = \"20s\"\n")
        };
        let text = format!(
            "default_pipeline = \"checker\"\n[[pipelines.checker.stations]]\n{station}{}",
            self.sinks
        );
        std::fs::write(&route, text).expect("a route file");
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
        clock::shift(&mut worker, post_of.clock);
        let worker = worker
            .env("REDIS_URL", &post_of.url)
            .env("WORKER_THREADS", (1 + post % 2).to_string())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("the worker starts");
        *self.holder(post) = Some((number, Worker::of(worker, log)));
    }

    /// The number of the worker at a post.
    pub fn number(&self, post: usize) -> Option<usize> {
        self.holder(post).as_ref().map(|(number, _)| *number)
    }

    /// Tells the worker at a post to end, again where it was told already.
    pub fn remind(&self, post: usize) {
        if let Some((_, worker)) = &mut *self.holder(post)
            && !worker.has_ended()
        {
            worker.signal("TERM");
        }
    }

    /// Sends a signal to the worker at a post.
    pub fn signal(&self, post: usize, name: &str) {
        if let Some((number, worker)) = &mut *self.holder(post) {
            if worker.has_ended() {
                self.complain(format!("worker {number} has ended by itself"));
            } else {
                worker.signal(name);
            }
        }
    }

    /// Waits for the end of the worker at a post, which was told to end, or killed where no code
    /// is expected.
    pub fn see_off(&self, post: usize, codes: &[i32]) {
        let Some((number, mut worker)) = self.holder(post).take() else {
            return;
        };
        let code = worker.wait().code();
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
        for line in worker.log().lines().filter(|line| line.contains("panic")) {
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
