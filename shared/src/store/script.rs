//! The Lua scripts, each in a file of its own, with the same beginning.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::ConnectionLike;
use redis::{Arg, Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

use super::error::unwrapped;

/// A script, known to the server by its hash.
#[derive(Debug)]
pub(super) struct Script {
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
    pub(super) commit: Script,
    pub(super) heartbeat: Script,
    pub(super) leave: Script,
    pub(super) recover: Script,
    pub(super) promote: Script,
    pub(super) snapshot: Script,
    pub(super) push: Script,
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
    ($file:literal) => {
        Script::new(concat!(include_str!("prelude.lua"), include_str!($file)))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            fetch: script!("fetch.lua"),
            commit: script!("commit.lua"),
            heartbeat: script!("heartbeat.lua"),
            leave: script!("leave.lua"),
            recover: script!("recover.lua"),
            promote: script!("promote.lua"),
            snapshot: script!("snapshot.lua").only_reads(),
            push: script!("push.lua"),
            take: script!("take.lua"),
            clear: script!("clear.lua"),
            restore: script!("restore.lua"),
            recall: script!("recall.lua"),
            pause: script!("pause.lua"),
            window: script!("window.lua").only_reads(),
            seen: script!("seen.lua"),
            pace: script!("pace.lua"),
            spend: script!("spend.lua"),
            tally: script!("tally.lua"),
        }
    }
}

impl Script {
    fn new(source: &'static str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Self {
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

    /// Begins a call. The arguments are written straight into the request, without a copy each.
    pub(super) fn call(&self, keys: &[&str]) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.hash).arg(keys.len());
        for key in keys {
            cmd.arg(key);
        }
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
                both.cmd("SCRIPT").arg("LOAD").arg(self.source).ignore();
                both.add_command(cmd.clone());
                let answer = both.query_async::<(Value,)>(connection).await;
                answer.map(|(answer,)| answer).map_err(unwrapped)
            }
            answer => answer,
        }
    }
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
