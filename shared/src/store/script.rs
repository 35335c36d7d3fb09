//! The Lua scripts, each in a file of its own, with the same beginning.

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

/// A script, known to the server by its hash.
#[derive(Debug)]
pub(super) struct Script {
    name: &'static str,
    source: &'static str,
    hash: String,
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
        Script::new(
            $file,
            concat!(include_str!("prelude.lua"), include_str!($file)),
        )
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
            snapshot: script!("snapshot.lua"),
            push: script!("push.lua"),
            take: script!("take.lua"),
            clear: script!("clear.lua"),
            restore: script!("restore.lua"),
            recall: script!("recall.lua"),
            pause: script!("pause.lua"),
            window: script!("window.lua"),
            seen: script!("seen.lua"),
            pace: script!("pace.lua"),
            spend: script!("spend.lua"),
            tally: script!("tally.lua"),
        }
    }
}

impl Script {
    fn new(file: &'static str, source: &'static str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        let name = file.strip_suffix(".lua").unwrap_or(file);
        Self { name, source, hash }
    }

    /// What it is called, for the figures.
    pub(super) fn name(&self) -> &'static str {
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

    /// Sends a call; where the server does not know the script, tells it and sends the call once
    /// more. Both go out together: calls that set out one after the other stay in that order.
    pub(super) async fn run(
        &self,
        cmd: &Cmd,
        connection: &mut impl ConnectionLike,
    ) -> RedisResult<Value> {
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

/// The server's own error, out of a pipeline's.
fn unwrapped(error: RedisError) -> RedisError {
    match error.clone().into_server_errors().as_deref() {
        Some([(_, first), ..]) => first.clone().into(),
        _ => error,
    }
}
