//! What these tests share: a private Redis, both programs, and a service that a route can ask.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bridge_shared::sandbox::Sandbox;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program with nothing of this process's own settings.
fn program(path: &Path, url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", "/dev/null")
        .env("USER", "tester")
        .env("REDIS_URL", url)
        .args(args)
        .stdin(Stdio::null());
    command
}

/// `bridge`.
pub(crate) fn bridge(url: &str, args: &[&str]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_bridge")), url, args)
}

/// `scrapegoat-worker`.
pub(crate) fn worker(url: &str, args: &[&str]) -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_bridge")).with_file_name("scrapegoat-worker");
    assert!(
        path.is_file(),
        "build it first: cargo build --workspace --bins"
    );
    program(&path, url, args)
}

/// Everything that a program said.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a program to its end, which must be a good one; returns what it printed.
#[track_caller]
pub(crate) fn succeeds(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

/// Runs a program to its end, which must be a failure; returns what it said.
#[track_caller]
pub(crate) fn fails(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    assert!(!output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

/// A process that runs beside the test, its words in a file. Killed when dropped.
pub(crate) struct Running {
    process: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Self {
        let out = std::fs::File::create(&log).expect("a log file");
        command
            .stdout(out.try_clone().expect("the same file"))
            .stderr(out);
        let process = command.spawn().expect("it starts");
        Self { process, log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    pub(crate) fn kill(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        eventually("it ends", || {
            self.process.try_wait().expect("a status").is_some()
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- it said\n{}", self.log());
        }
    }
}

/// A console on a terminal of its own, and every byte that it sends there. Killed when dropped.
pub(crate) struct Console {
    process: Box<dyn portable_pty::Child + Send + Sync>,
    keys: Box<dyn std::io::Write + Send>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Console {
    pub(crate) fn open(url: &str, settings: &[(&str, &str)]) -> Self {
        let size = PtySize {
            rows: 30,
            cols: 120,
            ..PtySize::default()
        };
        let pty = native_pty_system().openpty(size).expect("a terminal");
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_bridge"));
        command.env_clear();
        command.args(["--redis-url", url]);
        command.cwd(std::env::temp_dir());
        for (name, value) in [
            ("TERM", "xterm"),
            ("LANG", "C.UTF-8"),
            ("HOME", "/dev/null"),
        ] {
            command.env(name, value);
        }
        for (name, value) in settings {
            command.env(name, value);
        }
        let process = pty.slave.spawn_command(command).expect("it starts");
        let mut output = pty.master.try_clone_reader().expect("a reader");
        let sent = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&sent);
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                into.lock()
                    .expect("no panic")
                    .extend_from_slice(&bytes[..n]);
            }
        });
        Self {
            process,
            keys: pty.master.take_writer().expect("a writer"),
            sent,
        }
    }

    pub(crate) fn sent(&self) -> Vec<u8> {
        self.sent.lock().expect("no panic").clone()
    }

    /// Presses keys; returns when something was sent in answer.
    pub(crate) fn press(&mut self, keys: &str) {
        let before = self.sent().len();
        self.keys.write_all(keys.as_bytes()).expect("typed");
        self.keys.flush().expect("typed");
        eventually("the console answers a key", || self.sent().len() > before);
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The ids of the dead letters.
pub(crate) fn dead_ids(url: &str) -> Vec<String> {
    let list = succeeds(bridge(url, &["dlq", "list", "--json"]));
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|item| item["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// Where a worker that serves the HTTP API as well does so, by its log.
pub(crate) fn api_of(worker: &Running) -> String {
    let mut address = None;
    eventually("the API listens", || {
        let log = worker.log();
        address = log.lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            Some(line["address"].as_str()?.to_owned())
        });
        address.is_some()
    });
    address.expect("just seen")
}

/// Sends a request with this token to an API; returns all that it answered.
pub(crate) fn ask(address: &str, token: &str, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let limit = stream.set_read_timeout(Some(PATIENCE));
    limit.expect("a limit");
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until a condition is true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never true: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A private Redis with a folder for files, looked at as its administrator.
pub(crate) struct Server {
    pub(crate) redis: Sandbox,
    pub(crate) folder: TempDir,
    connection: Connection,
}

impl Server {
    /// Starts one. `settings` are further arguments; `login` is the administrator's.
    pub(crate) fn start(settings: &[&str], login: &str) -> Self {
        Self::of(Sandbox::start(settings).expect("a private Redis"), login)
    }

    /// One that was started in another way.
    pub(crate) fn of(redis: Sandbox, login: &str) -> Self {
        let url = format!("redis://{login}127.0.0.1:{}/0", redis.port());
        let connection = redis::Client::open(url)
            .and_then(|client| client.get_connection())
            .expect("a connection");
        let folder = TempDir::with_prefix("bridge-test-").expect("a folder");
        Self {
            redis,
            folder,
            connection,
        }
    }

    /// Runs a command given as words.
    #[track_caller]
    pub(crate) fn run<T: FromRedisValue>(&mut self, words: &str) -> T {
        self.call(&words.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// Runs a command.
    #[track_caller]
    pub(crate) fn call<T: FromRedisValue>(&mut self, parts: &[&[u8]]) -> T {
        let mut cmd = redis::Cmd::new();
        for part in parts {
            cmd.arg(*part);
        }
        cmd.query(&mut self.connection).expect("Redis answers")
    }

    pub(crate) fn push(&mut self, lead: &str) {
        let _: u64 = self.call(&[b"LPUSH", b"leads_to_enrich", lead.as_bytes()]);
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    }

    /// The name of a file that is not there yet.
    pub(crate) fn file_name(&self, name: &str) -> String {
        self.path(name).to_str().expect("a plain path").to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// An HTTP service on the loopback; `answer` gets the request's head and body and says status and
/// body. Its threads end with the test.
pub(crate) fn service(
    answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + Copy + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = serve(&stream, answer);
            });
        }
    });
    format!("http://{address}")
}

fn serve(stream: &TcpStream, answer: impl Fn(&str, &str) -> (u16, String)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let lower = head.to_ascii_lowercase();
        let length = lower
            .split_once("content-length:")
            .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, body) = answer(&head, &String::from_utf8_lossy(&body));
        write!(
            &mut &*stream,
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
}
