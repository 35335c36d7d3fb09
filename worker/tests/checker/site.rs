//! The Redis of a run: how it is started, what it is put through, and what it still knows.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge_shared::config::RedisArgs;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::store::dead_letters::token;
use redis::{Connection, FromRedisValue, RedisResult};

use crate::clock::Clock;
use crate::common::eventually;
use crate::common::proxy::scripts::Scripts;
use crate::common::proxy::{Proxy, url};
use crate::crew::older;
use crate::disk::Disk;
use crate::plan::{Kind, Plan, ms};
use crate::record::Effect;
use crate::secret::Secret;

/// A key whose number grows all the time: what it is after a break tells from when on Redis has
/// forgotten.
const MARK: &str = "checker:mark";
/// What a power cut may take: the time between two fsyncs.
const UNWRITTEN: Duration = Duration::from_secs(1);

/// One Redis, or a primary with its replica.
pub struct Site {
    kind: Kind,
    secret: Secret,
    /// The clock of a server that follows nobody.
    clock: Clock,
    servers: Mutex<Servers>,
    sentinel: Option<Sandbox>,
    /// The port of the primary.
    port: AtomicU16,
    /// When each mark was sent.
    marks: Mutex<Vec<Instant>>,
    /// How long the append-only file was when.
    lengths: Mutex<Vec<(Instant, u64)>>,
    file: Option<PathBuf>,
    folder: PathBuf,
    /// After the servers, which write to it until they end.
    disk: Option<Disk>,
    over: AtomicBool,
}

struct Servers {
    primary: Sandbox,
    replica: Option<Sandbox>,
}

impl Site {
    pub fn start(plan: &Plan) -> Self {
        let kind = plan.kind;
        let disk = plan.needs_disk().then(Disk::mount).flatten();
        let common = [
            "--enable-debug-command",
            "yes",
            "--enable-protected-configs",
            "yes",
            "--busy-reply-threshold",
            "30",
            "--repl-diskless-sync-delay",
            "0",
            "--loading-process-events-interval-bytes",
            "1024",
            "--key-load-delay",
            "50",
        ];
        let fsync = if kind == Kind::Always {
            "always"
        } else {
            "everysec"
        };
        let with = ["--appendonly", "yes", "--appendfsync", fsync];
        let place = disk.as_ref().map(|disk| disk.folder().to_string_lossy());
        let place: Vec<&str> = place.iter().flat_map(|place| ["--dir", place]).collect();
        let secret = Secret::new();
        let password = secret.password();
        let login = ["--requirepass", &password, "--masterauth", &password];
        // A replica writes its own settings, and is never started again.
        let file = secret.settings();
        let login = if kind == Kind::Sentinel {
            &login[..]
        } else {
            &[file.to_str().expect("a plain path")]
        };
        let settings = [
            login,
            &common[..],
            &place[..],
            if kind == Kind::Sentinel {
                &[]
            } else {
                &with[..]
            },
        ]
        .concat();
        let clock = Clock::new(0);
        let environment = match kind {
            Kind::Sentinel => Vec::new(),
            _ => clock.environment().to_vec(),
        };
        let primary = Sandbox::start_within(&environment, &settings).expect("a private Redis");
        let port = primary.port();
        let (mut replica, mut sentinel) = (None, None);
        if kind == Kind::Sentinel {
            let port = port.to_string();
            let following = [&settings[..], &["--replicaof", "127.0.0.1", &port]].concat();
            let server = Sandbox::start(&following).expect("a replica");
            let watch = primary
                .sentinel("leads", ms(4_000), &[])
                .expect("a sentinel");
            tell(&watch, &format!("auth-pass {password}"));
            eventually("the sentinel knows the replica", || {
                is_ready(&server, &watch, &password)
            });
            (replica, sentinel) = (Some(server), Some(watch));
        }
        let mut connection = connect(port, &password).expect("it answers");
        let (_, folder): (String, String) =
            run(&mut connection, "CONFIG GET dir").expect("it answers");
        let folder = PathBuf::from(folder);
        let file = (kind != Kind::Sentinel)
            .then(|| folder.join("appendonlydir/appendonly.aof.1.incr.aof"));
        Self {
            kind,
            secret,
            clock,
            servers: Mutex::new(Servers { primary, replica }),
            sentinel,
            port: AtomicU16::new(port),
            marks: Mutex::default(),
            lengths: Mutex::default(),
            file,
            folder,
            disk,
            over: AtomicBool::new(false),
        }
    }

    /// A proxy to the server.
    pub fn proxy(&self, scripts: &Arc<Scripts>) -> Proxy {
        Proxy::start(self.port(), &self.secret.password(), Arc::clone(scripts))
    }

    /// The port of the primary.
    fn port(&self) -> u16 {
        self.port.load(Ordering::SeqCst)
    }

    /// Where workers find it that do not go through a proxy.
    pub fn url(&self) -> String {
        match &self.sentinel {
            Some(sentinel) => format!(
                "redis+sentinel://{}127.0.0.1:{}/leads/0",
                older().map_or(String::new(), |_| format!(":{}@", self.secret.password())),
                sentinel.port()
            ),
            None => self.url_of(self.port()),
        }
    }

    /// The URL of the server, or of a proxy before it. An older worker may know no password file.
    pub fn url_of(&self, port: u16) -> String {
        url(
            port,
            &older().map_or(String::new(), |_| self.secret.password()),
        )
    }

    /// The file with the password, if no URL has it.
    pub fn password_file(&self) -> Option<PathBuf> {
        older().is_none().then(|| self.secret.file())
    }

    /// The names of the lists, and where they are.
    pub fn args(&self, url: String) -> RedisArgs {
        let names = ["leads_to_enrich", "failed_leads", "enriched_leads"];
        let mut args = RedisArgs::of(url, names);
        args.access.redis_password_file = self.password_file();
        args
    }

    pub fn connect(&self) -> RedisResult<Connection> {
        self.connect_to(self.port())
    }

    /// A connection with the password in force.
    pub fn connect_to(&self, port: u16) -> RedisResult<Connection> {
        connect(port, &self.secret.password())
    }

    /// Sends marks until the end of the run.
    pub fn mark(&self) {
        let mut connection = None;
        while !self.over.load(Ordering::SeqCst) {
            std::thread::sleep(ms(5));
            if connection.is_none() {
                connection = self.connect().ok();
            }
            let Some(open) = &mut connection else {
                continue;
            };
            let number = {
                let mut marks = self.marks.lock().expect("nobody panics with it");
                marks.push(Instant::now());
                marks.len()
            };
            let sent = run::<String>(open, &format!("SET {MARK} {number}"));
            if sent.is_err() {
                connection = None;
            }
            if let Some(length) = self.file.as_ref().and_then(|file| file.metadata().ok()) {
                let mut lengths = self.lengths.lock().expect("nobody panics with it");
                lengths.push((Instant::now(), length.len()));
            }
        }
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Kills the server, as a crash does, and starts it again after a while.
    pub fn restart(&self, pause: Duration) -> Effect {
        self.back(pause, || {})
    }

    /// Kills the server and takes from its file what a disk may not have had yet.
    pub fn power_cut(&self) -> Effect {
        let file = self.file.as_ref().expect("it writes one");
        self.back(ms(50), || {
            let now = Instant::now();
            let mut lengths = self.lengths.lock().expect("nobody panics with it");
            let lost = lengths.iter().find(|(at, _)| now - *at < UNWRITTEN);
            if let Some((_, length)) = lost {
                let file = File::options().write(true).open(file).expect("its file");
                file.set_len(*length).expect("a shorter file");
            }
            lengths.clear();
        })
    }

    fn back(&self, pause: Duration, meanwhile: impl FnOnce()) -> Effect {
        let mut servers = self.servers.lock().expect("nobody panics with it");
        let marks = self.marks.lock().expect("nobody panics with it");
        servers.primary.kill();
        let killed = Instant::now();
        meanwhile();
        std::thread::sleep(pause);
        servers.primary.restart().expect("Redis starts again");
        self.forgotten(&marks, killed)
    }

    /// Kills the primary and waits until the sentinel has made the replica the new one.
    pub fn fail_over(&self) -> Effect {
        let sentinel = self.sentinel.as_ref().expect("it has one");
        tell(sentinel, "down-after-milliseconds 700");
        let mut servers = self.servers.lock().expect("nobody panics with it");
        let marks = self.marks.lock().expect("nobody panics with it");
        servers.primary.kill();
        let killed = Instant::now();
        let replica = servers
            .replica
            .take()
            .expect("there is one failover in a run");
        eventually("the replica is the primary", || {
            let info = self
                .connect_to(replica.port())
                .and_then(|mut at| run::<String>(&mut at, "INFO replication"));
            info.is_ok_and(|info| info.contains("role:master"))
        });
        self.port.store(replica.port(), Ordering::SeqCst);
        servers.primary = replica;
        self.forgotten(&marks, killed)
    }

    /// What the server has forgotten when it is back, before it gets another mark.
    fn forgotten(&self, marks: &[Instant], killed: Instant) -> Effect {
        let known: Option<usize> = self.ask(&format!("GET {MARK}"));
        let since = known.map_or(marks[0], |known| marks[known - 1]);
        // Where everything is on the disk before it is acknowledged nothing may be forgotten.
        if self.kind == Kind::Always {
            return Effect::None;
        }
        Effect::Forgets(since.min(killed))
    }

    pub fn sleep(&self, time: Duration) {
        // The answer comes when it wakes up.
        let _: String = self.ask(&format!("DEBUG SLEEP {}", time.as_secs_f64()));
    }

    pub fn busy(&self, time: Duration) {
        let mut at = self.connect().expect("it answers");
        let script = std::thread::spawn(move || {
            let _: RedisResult<String> = redis::cmd("EVAL")
                .arg("while true do end")
                .arg(0)
                .query(&mut at);
        });
        std::thread::sleep(time);
        // It can be killed when it is late enough to count as busy.
        eventually("the script is killed", || {
            let killed = self
                .connect()
                .and_then(|mut at| run::<String>(&mut at, "SCRIPT KILL"));
            killed.is_ok() || script.is_finished()
        });
        script.join().expect("it ends with an error");
    }

    pub fn pause(&self, time: Duration) {
        let _: String = self.ask(&format!("CLIENT PAUSE {} WRITE", time.as_millis()));
        std::thread::sleep(time);
    }

    pub fn kill_clients(&self) {
        let _: usize = self.ask("CLIENT KILL TYPE normal SKIPME yes");
    }

    /// Moves the server's clock so many seconds forward, or back.
    pub fn step_clock(&self, seconds: i64) {
        self.clock.step(seconds);
    }

    /// Deletes the register of workers, as people do to be rid of a lost one.
    pub fn deregister(&self) {
        let _: usize = self.ask("DEL leads_to_enrich:workers leads_to_enrich:workers:info");
    }

    pub fn flush_scripts(&self) {
        let _: String = self.ask("SCRIPT FLUSH");
    }

    /// A setting for a while.
    pub fn set(&self, time: Duration, name: &str, bad: &str, good: &str) {
        let _: String = self.ask(&format!("CONFIG SET {name} {bad}"));
        std::thread::sleep(time);
        let _: String = self.ask(&format!("CONFIG SET {name} {good}"));
    }

    /// Ends each connection whose replies wait for more than 2 MB, for a while.
    pub fn limit_replies(&self, time: Duration) {
        const LIMITED: &str = "normal\u{a0}2mb\u{a0}2mb\u{a0}0";
        const UNLIMITED: &str = "normal\u{a0}0\u{a0}0\u{a0}0";
        self.set(time, "client-output-buffer-limit", LIMITED, UNLIMITED);
    }

    /// Gives the servers another password, the clients so much later, and cuts all connections.
    pub fn rotate_password(&self, late: Duration) {
        let servers = self.servers.lock().expect("nobody panics with it");
        let password = token();
        // A server that starts again begins with it.
        self.secret.tell_server(&password);
        let replica = servers.replica.as_ref().map(Sandbox::port);
        for port in replica.into_iter().chain([self.port()]) {
            eventually("the server takes a password", || {
                let set = ["masterauth", "requirepass"].map(|name| {
                    let set = format!("CONFIG SET {name} {password}");
                    self.connect_to(port)
                        .and_then(|mut at| run::<String>(&mut at, &set))
                });
                set.iter().all(Result::is_ok) || connect(port, &password).is_ok()
            });
        }
        self.secret.change(password);
        if let Some(sentinel) = &self.sentinel {
            tell(sentinel, &format!("auth-pass {}", self.secret.password()));
        }
        drop(servers);
        std::thread::sleep(late);
        self.secret.tell_clients();
        self.kill_clients();
    }

    /// Makes it a replica of nobody who is there, for a while.
    pub fn read_only(&self, time: Duration) {
        let _: String = self.ask("REPLICAOF 127.0.0.1 1");
        std::thread::sleep(time);
        let _: String = self.ask("REPLICAOF NO ONE");
    }

    pub fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Leaves no room on its disk for a while. With `everysec` it refuses writes until it could write
    /// what it has accepted; with `always` it ends, and again when somebody starts it too early, as
    /// whoever looks after it does.
    pub fn disk_full(&self, time: Duration) {
        let disk = self.disk.as_ref().expect("it has one");
        let until = Instant::now() + time;
        disk.fill();
        if self.kind == Kind::EverySecond {
            let writes = |status: &str| {
                let info: String = self.ask("INFO persistence");
                info.contains(&format!("aof_last_write_status:{status}"))
            };
            eventually("it cannot write", || writes("err"));
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
            disk.clear();
            eventually("it can write", || writes("ok"));
            return;
        }
        let mut servers = self.servers.lock().expect("nobody panics with it");
        eventually("it has ended", || servers.primary.has_ended());
        while Instant::now() < until {
            if servers.primary.has_ended() {
                // Fails where it ends before it answers.
                let _ = servers.primary.restart();
            }
            std::thread::sleep(ms(20));
        }
        disk.clear();
        eventually("it is back", || {
            let has_ended = servers.primary.has_ended();
            let starts = !has_ended || servers.primary.restart().is_ok();
            let written = self
                .connect()
                .and_then(|mut at| run::<String>(&mut at, "SET checker:disk has\u{a0}room"));
            starts && written.is_ok()
        });
    }

    /// Makes its snapshots fail, which it answers by refusing writes, for a while.
    pub fn no_snapshots(&self, time: Duration) {
        let in_the_way = self.folder.join("in-the-way");
        std::fs::create_dir_all(&in_the_way).expect("a folder");
        let _: String = self.ask("CONFIG SET dbfilename in-the-way");
        let _: String = self.ask("CONFIG SET save 3600\u{a0}1");
        let _: String = self.ask("BGSAVE SCHEDULE");
        let ended = |status: &str| {
            let info: String = self.ask("INFO persistence");
            info.contains("rdb_bgsave_in_progress:0")
                && info.contains(&format!("rdb_last_bgsave_status:{status}"))
        };
        eventually("a snapshot fails", || ended("err"));
        std::thread::sleep(time);
        let _: String = self.ask("CONFIG SET dbfilename dump.rdb");
        eventually("a snapshot is made", || {
            let _: RedisResult<String> = self
                .connect()
                .and_then(|mut at| run(&mut at, "BGSAVE SCHEDULE"));
            ended("ok")
        });
        let _: String = self.ask("CONFIG SET save \u{a0}");
    }

    /// Asks the primary directly, as long as it takes.
    pub fn ask<T: FromRedisValue>(&self, words: &str) -> T {
        let mut answer = None;
        eventually(words, || {
            answer = self.connect().and_then(|mut at| run(&mut at, words)).ok();
            answer.is_some()
        });
        answer.expect("just seen")
    }
}

fn connect(port: u16, password: &str) -> RedisResult<Connection> {
    let connection =
        redis::Client::open(url(port, password))?.get_connection_with_timeout(ms(2_000))?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(connection)
}

/// Runs a command given as words; a space that cannot be broken stands for one within a word.
pub fn run<T: FromRedisValue>(connection: &mut Connection, words: &str) -> RedisResult<T> {
    let mut cmd = redis::Cmd::new();
    for word in words.split(' ') {
        cmd.arg(word.replace('\u{a0}', " ").trim());
    }
    cmd.query(connection)
}

/// Changes a setting of what a sentinel watches.
fn tell(sentinel: &Sandbox, setting: &str) {
    let set = format!("SENTINEL SET leads {setting}");
    let said = ask_sentinel(sentinel, &set);
    said.expect("the sentinel answers");
}

fn ask_sentinel(sentinel: &Sandbox, words: &str) -> RedisResult<String> {
    let client = redis::Client::open(sentinel.url())?;
    run(&mut client.get_connection()?, words)
}

fn is_ready(replica: &Sandbox, sentinel: &Sandbox, password: &str) -> bool {
    let follows = connect(replica.port(), password)
        .and_then(|mut at| run::<String>(&mut at, "INFO replication"));
    let known = ask_sentinel(sentinel, "INFO sentinel");
    follows.is_ok_and(|info| info.contains("master_link_status:up"))
        && known.is_ok_and(|info| info.contains("slaves=1"))
}
