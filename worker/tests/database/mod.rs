//! A PostgreSQL of a test's own, on a free port of the loopback, in a temporary folder.

#![allow(dead_code, unreachable_pub)] // As in `common`.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

use crate::common::eventually;

/// A PostgreSQL. Ends, and takes its folder with it, when dropped.
pub struct Database {
    server: Option<Child>,
    programs: PathBuf,
    port: u16,
    folder: TempDir,
}

impl Database {
    /// Makes and starts one; `None`, and a word about it, where PostgreSQL is not installed. With
    /// `REQUIRE_POSTGRES` set, as the landing does, that is a failure.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os("REQUIRE_POSTGRES").is_none(),
                "REQUIRE_POSTGRES is set and PostgreSQL is not installed"
            );
            eprintln!("SKIPPED: PostgreSQL is not installed (make postgres)");
            return None;
        };
        let folder = TempDir::with_prefix("bridge-postgres-").expect("a folder");
        if let Some((user, group)) = postgres_user() {
            chown(folder.path(), Some(user), Some(group)).expect("root may give a folder away");
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let mut database = Self {
            server: None,
            programs,
            port,
            folder,
        };
        let made = database
            .command("initdb")
            .args(["--auth=trust", "--username=bridge", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "-D"])
            .arg(database.data())
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", text(&made));
        database.start_again();
        Some(database)
    }

    pub fn url(&self) -> String {
        format!("postgres://bridge@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it, and waits until it answers.
    pub fn start_again(&mut self) {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        let server = self
            .command("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("postgres starts");
        self.server = Some(server);
        eventually("PostgreSQL answers", || {
            self.psql("SELECT 1").status.success()
        });
    }

    /// Ends it at once, as a crash would.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = Command::new("kill")
                .args(["-QUIT", &server.id().to_string()])
                .status();
            let _ = server.wait();
        }
    }

    /// The answer to a query, its columns parted by `|`.
    #[track_caller]
    pub fn ask(&self, query: &str) -> String {
        let output = self.psql(query);
        assert!(output.status.success(), "{query}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The number that a query answers; 0 while its table is not there.
    pub fn count(&self, query: &str) -> usize {
        let output = self.psql(query);
        let answer = String::from_utf8_lossy(&output.stdout);
        answer.trim().parse().unwrap_or(0)
    }

    fn psql(&self, query: &str) -> Output {
        self.command("psql")
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--command"])
            .arg(query)
            .arg(self.url())
            .output()
            .expect("psql runs")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// PostgreSQL refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path());
        if let Some((user, group)) = postgres_user() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log"));
            eprintln!("--- PostgreSQL's log\n{}", log.unwrap_or_default());
        }
        self.crash();
    }
}

/// Where the programs are: on the PATH, or where Debian and Homebrew put them.
fn programs() -> Option<PathBuf> {
    let complete = |folder: &Path| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| folder.join(program).exists())
    };
    let below = |folder: &str, end: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path().join(end))
            .collect::<Vec<_>>()
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(below("/usr/lib/postgresql", "bin"))
        .chain(below("/opt/homebrew/opt", "bin"))
        .find(|folder| complete(folder))
}

/// The user to run as and its group, where this process is root's.
fn postgres_user() -> Option<(u32, u32)> {
    let id = |flags: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(flags).output().ok()?;
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    if id(&["-u"])? != 0 {
        return None;
    }
    Some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
