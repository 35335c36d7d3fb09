//! The Lua scripts, each in a file of its own, with the same beginning.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

use super::error::unwrapped;

/// A script, known to the server by its hash.
#[derive(Debug)]
pub(super) struct Script {
    /// What it does, in one word.
    name: &'static str,
    source: &'static str,
    hash: String,
    /// Whether it only reads.
    reads: bool,
    /// Whether it is called as one that only reads: Redis lets a user who may not write call no
    /// other, but knows such calls only from 7.0 on.
    as_reader: AtomicBool,
}

/// All the scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) fetch: Script,
    pub(super) batch: Script,
    /// Sent as it is, so without a word that only we read.
    pub(super) seal: String,
    pub(super) in_hand: Script,
    pub(super) in_flight: Script,
    pub(super) commit: Script,
    pub(super) heartbeat: Script,
    pub(super) leave: Script,
    pub(super) recover: Script,
    pub(super) expired: Script,
    pub(super) search: Script,
    pub(super) adopt: Script,
    pub(super) promote: Script,
    pub(super) snapshot: Script,
    pub(super) probe: Script,
    pub(super) push: Script,
    pub(super) push_new: Script,
    pub(super) take: Script,
    pub(super) clear: Script,
    pub(super) restore: Script,
    pub(super) recall: Script,
    pub(super) pause: Script,
    pub(super) window: Script,
    pub(super) seen: Script,
    pub(super) pace: Script,
    pub(super) spend: Script,
    pub(super) tally: Script,
}

macro_rules! script {
    ($name:literal) => {
        Script::new(
            $name,
            concat!(
                include_str!("prelude.lua"),
                include_str!(concat!($name, ".lua"))
            ),
        )
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            fetch: script!("fetch"),
            batch: script!("batch"),
            seal: without_comments(include_str!("seal.lua")),
            in_hand: script!("in_hand").only_reads(),
            in_flight: script!("in_flight").only_reads(),
            commit: script!("commit"),
            heartbeat: script!("heartbeat"),
            leave: script!("leave"),
            recover: script!("recover"),
            expired: script!("expired"),
            search: script!("search"),
            adopt: script!("adopt"),
            promote: script!("promote"),
            snapshot: script!("snapshot").only_reads(),
            probe: script!("probe"),
            push: script!("push"),
            push_new: script!("push_new"),
            take: script!("take"),
            clear: script!("clear"),
            restore: script!("restore"),
            recall: script!("recall"),
            pause: script!("pause"),
            window: script!("window").only_reads(),
            seen: script!("seen"),
            pace: script!("pace"),
            spend: script!("spend"),
            tally: script!("tally"),
        }
    }
}

impl Script {
    fn new(name: &'static str, source: &'static str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Self {
            name,
            source,
            hash,
            reads: false,
            as_reader: AtomicBool::new(false),
        }
    }

    fn only_reads(self) -> Self {
        Self {
            reads: true,
            ..self
        }
    }

    /// What it does, in one word.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Begins a call. The arguments are written straight into the request, without a copy each.
    pub(super) fn call(&self, keys: &[&str]) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.hash).arg(keys.len());
        for key in keys {
            cmd.arg(key);
        }
        cmd
    }

    /// Whether this user was found to be one who may only read.
    pub(super) fn is_for_a_reader(&self) -> bool {
        self.as_reader.load(Ordering::Relaxed)
    }

    /// What makes it known to the server.
    pub(super) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(self.source);
        cmd
    }

    /// Makes a call, in whichever way the user may.
    pub(super) async fn run(
        &self,
        cmd: &Cmd,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<Value> {
        if self.as_reader.load(Ordering::Relaxed) {
            return self.send(&as_reader(cmd), connection).await;
        }
        match self.send(cmd, connection).await {
            Err(refused)
                if self.reads && refused.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) =>
            {
                // What is refused like this too is told in the words of the first refusal.
                let answer = self.send(&as_reader(cmd), connection).await;
                self.as_reader.store(answer.is_ok(), Ordering::Relaxed);
                answer.map_err(|_| refused)
            }
            answer => answer,
        }
    }

    /// Sends a call; where the server does not know the script, tells it and sends the call once
    /// more. Both go out together: calls that set out one after the other stay in that order.
    async fn send(&self, cmd: &Cmd, connection: &mut impl ConnectionLike) -> RedisResult<Value> {
        match cmd.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut both = redis::pipe();
                both.add_command(self.load()).ignore();
                both.add_command(cmd.clone());
                let answer = both.query_async::<(Value,)>(connection).await;
                answer.map(|(answer,)| answer).map_err(unwrapped)
            }
            answer => answer,
        }
    }
}

/// A script without the lines that are comments.
fn without_comments(source: &str) -> String {
    let lines = source.lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("--"));
    code.fold(String::new(), |code, line| code + line + "\n")
}

/// The same call of a script that only reads.
fn as_reader(cmd: &Cmd) -> Cmd {
    let mut reader = redis::cmd("EVALSHA_RO");
    for arg in cmd.args_iter().skip(1) {
        if let Arg::Simple(arg) = arg {
            reader.arg(arg);
        }
    }
    reader
}
