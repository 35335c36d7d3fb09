//! What the tests of the worker share: a Redis of their own, real worker processes, and a small
//! HTTP service whose answers each test decides.

#![allow(dead_code, unreachable_pub)] // Each test file uses its own part of it.

pub mod dns;
pub mod proxy;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge_shared::sandbox::Sandbox;
use redis::{Connection, FromRedisValue};
use serde_json::Value;
use tempfile::TempDir;

/// Listens to the events.
pub fn listen(connection: &mut Connection) -> redis::PubSub<'_> {
    let mut events = connection.as_pubsub();
    events
        .subscribe("leads_to_enrich:events")
        .expect("subscribed");
    events.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    events
}

/// How long a condition may take to come true. Long, because the machine may be busy; a test that
/// passes never waits that long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A route that does nothing.
pub const NOOP: &str =
    "default_pipeline = \"noop\"\n[[pipelines.noop.stations]]\nkind = \"noop\"\nname = \"noop\"\n";

/// A bridge of one's own.
pub struct Bridge {
    pub redis: Sandbox,
    pub folder: TempDir,
    connection: Mutex<Connection>,
}

impl Bridge {
    pub fn start() -> Self {
        Self::with_redis(&[])
    }

    pub fn with_redis(settings: &[&str]) -> Self {
        Self::on(Sandbox::start(settings).expect("a private Redis"))
    }

    /// A bridge in a Redis that was started in another way.
    pub fn on(redis: Sandbox) -> Self {
        let connection = Mutex::new(connect(&redis));
        let folder = TempDir::with_prefix("bridge-test-").expect("a folder");
        Self {
            redis,
            folder,
            connection,
        }
    }

    /// Runs a Redis command.
    pub fn run<T: FromRedisValue>(&self, command: &[&[u8]]) -> T {
        let mut cmd = redis::Cmd::new();
        for part in command {
            cmd.arg(*part);
        }
        let mut connection = self
            .connection
            .lock()
            .expect("no test panicked in a command");
        cmd.query(&mut connection).expect("Redis answers")
    }

    /// Runs a Redis command given as words.
    pub fn redis<T: FromRedisValue>(&self, words: &str) -> T {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        self.run(&words)
    }

    /// Kills Redis and starts it again on what it left on disk.
    pub fn restart_redis(&mut self) {
        self.redis.restart().expect("Redis starts again");
        *self
            .connection
            .get_mut()
            .expect("no test panicked in a command") = connect(&self.redis);
    }

    pub fn push(&self, lead: impl AsRef<[u8]>) {
        let _: u64 = self.run(&[b"LPUSH", b"leads_to_enrich", lead.as_ref()]);
    }

    pub fn push_numbered(&self, n: usize) {
        for i in 0..n {
            self.push(format!(r#"{{"name":"Lead {i}","n":{i}}}"#));
        }
    }

    pub fn waiting(&self) -> usize {
        self.redis("LLEN leads_to_enrich")
    }

    pub fn retry(&self) -> usize {
        self.redis("ZCARD leads_to_enrich:retry")
    }

    pub fn dead(&self) -> usize {
        self.redis("LLEN failed_leads")
    }

    pub fn done(&self) -> usize {
        self.redis("XLEN enriched_leads")
    }

    pub fn stat(&self, field: &str) -> usize {
        self.redis::<Option<usize>>(&format!("HGET leads_to_enrich:stats {field}"))
            .unwrap_or(0)
    }

    /// The enriched leads, in order.
    pub fn enriched(&self) -> Vec<Value> {
        let entries: Vec<(String, HashMap<String, Vec<u8>>)> =
            self.redis("XRANGE enriched_leads - +");
        entries
            .iter()
            .map(|(_, fields)| {
                serde_json::from_slice(&fields["lead"]).expect("an enriched lead is JSON")
            })
            .collect()
    }

    /// The dead letters, the newest first.
    pub fn dead_letters(&self) -> Vec<Value> {
        let entries: Vec<Vec<u8>> = self.redis("LRANGE failed_leads 0 -1");
        entries
            .iter()
            .map(|entry| serde_json::from_slice(entry).expect("an envelope is JSON"))
            .collect()
    }

    /// Registered workers.
    pub fn workers(&self) -> Vec<String> {
        self.redis("ZRANGE leads_to_enrich:workers 0 -1")
    }

    pub fn in_flight(&self) -> usize {
        self.hands().iter().sum()
    }

    /// How many leads each worker has in hand, one by one and by whole batches.
    pub fn hands(&self) -> Vec<usize> {
        let lengths = |worker: &String| {
            let active = format!("leads_to_enrich:active:{worker}");
            let alone: Vec<String> = self.redis(&format!("HKEYS {active}"));
            let batches = (1..=2).map(|lane| self.redis::<usize>(&format!("LLEN {active}:{lane}")));
            let alone = alone.iter().filter(|field| !field.starts_with("batch:"));
            alone.count() + batches.sum::<usize>()
        };
        self.workers().iter().map(lengths).collect()
    }

    /// Starts a worker with the noop pipeline.
    pub fn worker(&self, flags: &[&str]) -> Worker {
        let route = self.route(NOOP);
        Worker::start(
            &self.redis.url(),
            &self.log(),
            &[&["--pipeline", &route], flags].concat(),
        )
    }

    /// Starts a worker whose leads all go to the service.
    pub fn worker_with(&self, service: &Service, flags: &[&str]) -> Worker {
        let route = self.route(&format!(
            "default_pipeline = \"test\"\n[[pipelines.test.stations]]\nkind = \"http\"\nname = \"enrich\"\nurl = \"{}\"\ntimeout = \"30s\"\n",
            service.url
        ));
        Worker::start(
            &self.redis.url(),
            &self.log(),
            &[&["--pipeline", &route], flags].concat(),
        )
    }

    pub fn route(&self, text: &str) -> String {
        let file = self.folder.path().join(format!("{}.toml", unique()));
        std::fs::write(&file, text).expect("a route file");
        file.to_str().expect("a plain path").to_owned()
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join(format!("{}.log", unique()))
    }
}

fn unique() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

pub fn connect(redis: &Sandbox) -> Connection {
    redis::Client::open(redis.url())
        .and_then(|client| client.get_connection())
        .expect("a connection to the private Redis")
}

/// Waits until a condition is true.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A worker process. Killed when dropped.
pub struct Worker {
    process: Child,
    log: PathBuf,
}

impl Worker {
    pub fn start(url: &str, log: &Path, flags: &[&str]) -> Self {
        let process = command(flags)
            .env("REDIS_URL", url)
            .stderr(std::fs::File::create(log).expect("a log file"))
            .spawn()
            .expect("the worker starts");
        Self::of(process, log.to_owned())
    }

    /// A worker that was started in another way.
    pub fn of(process: Child, log: PathBuf) -> Self {
        Self { process, log }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the worker ends", || {
            status = self.process.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        status.expect("just seen")
    }

    pub fn has_ended(&mut self) -> bool {
        self.process
            .try_wait()
            .expect("a child can be waited for")
            .is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- the worker's log\n{}", self.log());
        }
    }
}

/// The worker's program: that of this build, or another one that is to be looked at.
pub fn program() -> PathBuf {
    let built = env!("CARGO_BIN_EXE_scrapegoat-worker");
    std::env::var_os("SCRAPEGOAT_WORKER").map_or_else(|| built.into(), PathBuf::from)
}

/// The worker's command with nothing of this process's own settings.
pub fn command(flags: &[&str]) -> Command {
    command_of(&program(), flags)
}

/// The same for a worker's program of one's own choice.
pub fn command_of(program: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(program);
    for name in [
        "APP_REDIS_URL",
        "QUEUE_NAME",
        "FAILED_QUEUE_NAME",
        "ENRICHED_STREAM",
        "MAX_RETRIES",
        "RETRY_DELAY_BASE",
        "CONCURRENCY",
        "WORKER_THREADS",
        "LEASE_SECONDS",
        "LEAD_TIMEOUT",
        "SHUTDOWN_TIMEOUT",
        "MAX_LEAD_BYTES",
        "PIPELINE_FILE",
        "PIPELINE_NAME",
        "HEALTH_FILE",
        "PIPELINE_BUDGET_LIMIT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_SERVICE_NAME",
        "BRIDGE_HTTP",
        "BRIDGE_API_TOKEN",
        "BRIDGE_API_LISTEN",
        "BRIDGE_API_PUBLIC_READ",
        "BRIDGE_API_INSECURE",
        "BRIDGE_API_HOSTS",
        "BRIDGE_API_MAX_WAITING",
        "BRIDGE_API_WAIT_REPLICAS",
        "BRIDGE_API_WAIT_FSYNC",
        "BRIDGE_API_HEARTBEAT",
        "LOG_FORMAT",
        "RUST_LOG",
        "RUST_BACKTRACE",
        "REDIS_URL",
    ] {
        command.env_remove(name);
    }
    command
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A request as the service got it.
#[derive(Debug, Clone)]
pub struct Request {
    pub at: Instant,
    /// The idempotency key.
    pub key: String,
    /// Method and target: `POST /enrich`.
    pub line: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// The body as JSON; null where it is none.
    pub lead: Value,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

/// What the service answers, and after how long.
pub struct Reply {
    pub after: Duration,
    pub status: u16,
    pub headers: String,
    pub body: String,
    /// Sent instead of all this, as it is; then the connection ends.
    pub raw: Option<Vec<u8>>,
}

impl Reply {
    pub fn ok() -> Self {
        Self::status(200)
    }

    pub fn status(status: u16) -> Self {
        let body = if status == 200 {
            "{\"enriched\":true}"
        } else {
            "no"
        };
        Self {
            after: Duration::ZERO,
            status,
            headers: String::new(),
            body: body.into(),
            raw: None,
        }
    }

    /// A success with this body.
    pub fn body(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            ..Self::ok()
        }
    }

    /// Bytes that need not be HTTP.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            raw: Some(bytes.into()),
            ..Self::ok()
        }
    }

    pub fn after(mut self, ms: u64) -> Self {
        self.after = Duration::from_millis(ms);
        self
    }
}

/// An HTTP service on the loopback. Its threads end with the test.
pub struct Service {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Service {
    /// Starts it; `answer` gets each request and how many came with the same key before.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::keeping(usize::MAX, answer)
    }

    /// The same for a long run: only the last few requests are kept.
    pub fn quiet(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::keeping(5_000, answer)
    }

    fn keeping(
        most: usize,
        answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!(
            "http://{}/enrich",
            listener.local_addr().expect("an address")
        );
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let _ = serve(&stream, connection, (&log, most), &*answer);
                });
            }
        });
        Self { url, requests }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no answer panicked").clone()
    }
}

fn serve(
    stream: &TcpStream,
    connection: usize,
    (log, most): (&Mutex<Vec<Request>>, usize),
    answer: &(impl Fn(&Request, usize) -> Reply + ?Sized),
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader, connection)? {
        let before = {
            let mut log = log.lock().expect("no answer panicked");
            let before = log
                .iter()
                .filter(|earlier| earlier.key == request.key)
                .count();
            if log.len() >= most {
                log.drain(..most / 2);
            }
            log.push(request.clone());
            before
        };
        let reply = answer(&request, before);
        std::thread::sleep(reply.after);
        let mut out = stream;
        if let Some(raw) = reply.raw {
            return out.write_all(&raw);
        }
        write!(
            out,
            "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}",
            reply.status,
            reply.body.len(),
            reply.headers,
            reply.body
        )?;
    }
    Ok(())
}

/// Reads a request; `None` where the connection has ended.
fn read_request(
    reader: &mut BufReader<&TcpStream>,
    connection: usize,
) -> std::io::Result<Option<Request>> {
    let (mut first, mut headers) = (String::new(), HashMap::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            let words: Vec<&str> = line.split(' ').take(2).collect();
            first = words.join(" ");
        } else if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        at: Instant::now(),
        key: headers.get("idempotency-key").cloned().unwrap_or_default(),
        line: first,
        lead: serde_json::from_slice(&body).unwrap_or(Value::Null),
        headers,
        connection,
    }))
}
