//! The one door to Redis.
//!
//! - [`error`]: what can go wrong, in words
//! - [`work`]: a worker's side: fetch, commit, lease, recovery, due retries, events; [`hands`]: what
//!   it has in its hands; [`lane`]: fetch and commit by whole batches; [`sender`]: many events at
//!   once
//! - [`dead_letters`]: reading the dead letter queue and moving entries out of it
//! - [`figures`]: counts and charts
//! - [`former`]: lists by the names of earlier versions
//! - [`listen`]: the events, as they are told
//! - [`look`]: looking at what waits, is in flight or due again, and at the audit
//! - [`produce`]: pushing leads in, and looking for those already there
//! - [`route`]: what stations share: rates, money, what they found before, their figures
//! - [`lost_property`]: in-flight leads of workers that are not registered; [`survey`]: figures with
//!   those counted
//! - [`trash`]: what was thrown away, and bringing it back
//! - [`trial`]: trying a lead without recording anything
//! - [`control`]: pause, resume, the audit
//! - `door`: the connections, to one server or to the node that is the primary (`discovery` by
//!   `address`, `sentinel`, `cluster`), with what opens it (`access`) and what goes wrong with TLS (`tls`)
//! - `connect`: one connection, with a meter on it; `volume`: how much is asked for over it
//! - `target`: which Redis, and which setting names it
//! - `window`: a part of a list whose entries may be of any size
//! - `wire`: a connection for much at a time
//! - `*.lua`: every step that must not come apart, one file each
//!
//! Every call ends within a bounded time. No call changes more than one thing's state outside a
//! single atomic step on the server.

pub mod condition;
pub mod control;
pub mod dead_letters;
pub mod error;
pub mod figures;
pub mod former;
pub mod hands;
pub mod lane;
pub mod listen;
pub mod look;
pub mod lost_property;
pub mod produce;
pub mod route;
pub mod sender;
pub mod survey;
pub mod trash;
pub mod trial;
pub mod waiter;
pub mod work;

mod access;
mod address;
mod cluster;
mod connect;
mod discovery;
mod door;
mod script;
mod sentinel;
mod target;
mod tls;
mod volume;
mod window;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Arg, Cmd, FromRedisValue, Pipeline, Value};

use crate::clock::{Millis, ServerClock};
use crate::config::RedisArgs;
use crate::event::EventBatch;
use crate::keys::Keys;
use access::Source;
use door::{Connection, Door};
use script::{Script, Scripts};

pub use address::has_password;
pub use error::{StoreError, redact};
pub use target::Target;

/// How long a connection may be silent, with a call under way, before it counts as lost.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection of one's own that was not used for so long is not used again: a server may end those
/// that rest.
const IDLE: Duration = Duration::from_secs(10);

/// The store: one multiplexed connection that comes back by itself, cheap to clone. Behind
/// sentinels and in a cluster it comes back at the node that is the primary by then.
#[derive(Clone)]
pub struct Store {
    door: Door,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    /// Where this is, as it may be shown.
    target: Target,
    /// The number of the database.
    database: i64,
    /// Who this is to the server.
    user: String,
    scripts: Scripts,
    clock: ServerClock,
    /// Calls that found the connection broken, or no server.
    broken: AtomicU64,
    /// What the user may not look at.
    denied: condition::Denied,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.shared.target.url)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a store without a connection: it comes about with the first call. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`]; [`StoreError::BadAccess`]; [`StoreError::NameTaken`]; [`StoreError::Scattered`] for a cluster
    /// whose keys would not stand in one slot.
    pub fn new(args: &RedisArgs) -> Result<Self, StoreError> {
        let source = Source::new(args);
        let keys = args.keys();
        keys.check()?;
        let (target, user) = (source.target().clone(), source.user());
        let door = Door::new(Arc::new(source), &keys)?;
        Ok(Self {
            shared: Arc::new(Shared {
                keys,
                database: door.database(),
                target,
                user,
                scripts: Scripts::new(),
                clock: ServerClock::default(),
                broken: AtomicU64::new(0),
                denied: condition::Denied::default(),
            }),
            door,
        })
    }

    /// Makes a store with connections of its own and the clock of this one, for another runtime: a
    /// runtime whose threads compute drives no connection.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn beside(&self) -> Result<Self, StoreError> {
        Ok(Self {
            door: self.door.beside(self.keys())?,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Makes a store and makes sure that a Redis of the right version answers.
    ///
    /// # Errors
    /// Every [`StoreError`] that a first call can meet.
    pub async fn connect(args: &RedisArgs) -> Result<Self, StoreError> {
        let store = Self::new(args)?;
        store.check().await?;
        Ok(store)
    }

    /// Makes sure that a Redis of the right version answers. A user who may not ask for the
    /// version is taken at their word.
    ///
    /// # Errors
    /// Every [`StoreError`] that a first call can meet; [`StoreError::TooOld`],
    /// [`StoreError::IsSentinel`], [`StoreError::InCluster`].
    pub async fn check(&self) -> Result<(), StoreError> {
        // At once: on a slow link each way there counts.
        let mut ask = redis::cmd("INFO");
        let (info, time) =
            tokio::join!(self.query::<String>(ask.arg("server")), self.observe_time());
        match info {
            Ok(info) => self.check_info(&info)?,
            Err(StoreError::NotAllowed { .. }) => {}
            Err(error) => return Err(error),
        }
        time.map(|_| ())
    }

    fn check_info(&self, info: &str) -> Result<(), StoreError> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let url = || self.shared.target.clone();
        match field("redis_mode") {
            Some("sentinel") => return Err(StoreError::IsSentinel(url())),
            Some("cluster") if !self.door.follows() => return Err(StoreError::InCluster(url())),
            _ => {}
        }
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
        if let Some(version) = field("redis_version") {
            let mut parts = version.split('.');
            let (major, minor) = (number(parts.next()), number(parts.next()));
            if major.is_some() && (major, minor) < (Some(6), Some(2)) {
                return Err(StoreError::TooOld {
                    url: url(),
                    version: version.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The names of everything in this store.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    /// Where this store is, without the password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.target.url
    }

    /// The number of the database that this store uses.
    #[must_use]
    pub fn database(&self) -> i64 {
        self.shared.database
    }

    /// Reads the files of the login again, and goes on with what they hold. `false` where there are
    /// none. Where it fails the connections in use stay.
    ///
    /// # Errors
    /// Every [`StoreError`] that comes with a connection.
    pub async fn log_in_again(&self) -> Result<bool, StoreError> {
        self.door.log_in_again().await
    }

    /// How many leads to ask for in place of so many, as far as the link allows.
    #[must_use]
    pub fn leads_at_once(&self, most: usize) -> usize {
        self.door.volume().leads(most)
    }

    /// Bytes of leads to send or ask for at once, as far as the link allows.
    #[must_use]
    pub fn bytes_at_once(&self) -> usize {
        self.door.volume().bytes()
    }

    /// The server's time as far as this process knows it, in milliseconds since the epoch; 0
    /// before the first answer.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.shared.clock.now()
    }

    /// What [`Store::now`] was at that moment.
    #[must_use]
    pub fn at(&self, moment: Instant) -> Millis {
        self.shared.clock.at(moment)
    }

    /// Asks the server for its time.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn observe_time(&self) -> Result<Millis, StoreError> {
        let (seconds, micros): (i64, i64) = self.query(&redis::cmd("TIME")).await?;
        let now = seconds * 1_000 + micros / 1_000;
        self.shared.clock.observe(now);
        Ok(now)
    }

    /// A number that grows whenever the connection breaks or leads to another server. What was
    /// recorded just before may then be undone: a server that starts again has lost what it had
    /// not yet written down, and a replica that takes over what it had not yet heard.
    #[must_use]
    pub fn interruptions(&self) -> u64 {
        self.shared.broken.load(Ordering::Relaxed) + self.door.changes()
    }

    /// Publishes events; returns how many listen.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn publish(&self, batch: &EventBatch) -> Result<u64, StoreError> {
        self.publish_messages(&[batch.encode()]).await
    }

    async fn publish_messages(&self, messages: &[Vec<u8>]) -> Result<u64, StoreError> {
        let mut pipe = Pipeline::new();
        for message in messages {
            pipe.cmd("PUBLISH").arg(&self.keys().events).arg(message);
        }
        let listeners: Vec<u64> = self.pipeline(&pipe).await?;
        Ok(listeners.last().copied().unwrap_or(0))
    }

    fn scripts(&self) -> &Scripts {
        &self.shared.scripts
    }

    fn error(&self, error: &redis::RedisError) -> StoreError {
        let error = StoreError::new(error, &self.shared.target);
        self.note_broken(&error);
        error
    }

    fn note_broken(&self, error: &StoreError) {
        if error.is_unreachable() {
            self.shared.broken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What a call ends with whose connection leads to a server that is no longer the one.
    fn given_up(&self) -> StoreError {
        self.unreachable("the connection was given up")
    }

    fn no_answer(&self) -> StoreError {
        self.unreachable("no answer in time")
    }

    fn unreachable(&self, cause: &str) -> StoreError {
        StoreError::Unreachable {
            url: self.shared.target.clone(),
            cause: cause.into(),
        }
    }

    async fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.door.connection().await?;
        let answer = timed("command", cmd.query_async(&mut connection)).await;
        self.told(answer, || beginning(cmd)).await
    }

    /// A command whose request or reply may be large.
    async fn query_bulk<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.door.bulk().await?;
        let answer = timed("command", cmd.query_async(&mut connection)).await;
        self.told(answer, || beginning(cmd)).await
    }

    async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let connection = self.door.connection().await?;
        self.pipeline_over(connection, pipeline).await
    }

    /// Commands whose requests or replies may be large.
    async fn pipeline_bulk<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let connection = self.door.bulk().await?;
        self.pipeline_over(connection, pipeline).await
    }

    async fn pipeline_over<T: FromRedisValue>(
        &self,
        mut connection: Connection,
        pipeline: &Pipeline,
    ) -> Result<T, StoreError> {
        let answer = timed("pipeline", pipeline.query_async(&mut connection)).await;
        let cmds = || {
            let cmds: Vec<String> = pipeline.cmd_iter().map(beginning).take(3).collect();
            cmds.join(", ")
        };
        self.told(answer, cmds).await
    }

    /// Puts what went wrong into words that name the key, and who was refused what: the server's
    /// do not.
    async fn told<T>(
        &self,
        answer: redis::RedisResult<T>,
        what: impl FnOnce() -> String,
    ) -> Result<T, StoreError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(match self.error(&error) {
                StoreError::WrongType { cause, .. } => StoreError::WrongType {
                    cause,
                    keys: Box::pin(self.wrong_types()).await,
                },
                StoreError::NotAllowed { cause, .. } => StoreError::NotAllowed {
                    // Asked for only where keys are what is refused: a refusal stands in the server's log.
                    keys: if cause.contains("key") {
                        Box::pin(self.no_access()).await
                    } else {
                        Vec::new()
                    },
                    cause: self.refusal(&cause, &what()),
                },
                error => error,
            }),
        }
    }

    /// Who may not do what, and the server's words.
    fn refusal(&self, cause: &str, what: &str) -> String {
        // Redis 7.0 adds where in the script it was, by a hash that nobody knows.
        let cause = cause.split(" script: ").next().unwrap_or_default();
        let cause = cause.trim_end_matches('.');
        format!("{} may not {what}: {cause}", self.shared.user)
    }

    /// The keys that hold something else than the bridge keeps there.
    async fn wrong_types(&self) -> Vec<(String, String, &'static str)> {
        let mut wrong = Vec::new();
        for (key, wants) in self.keys().types() {
            if let Some(Ok(holds)) = self.type_of(key).await
                && holds != wants
                && holds != "none"
            {
                wrong.push((key.to_owned(), holds, wants));
            }
        }
        wrong
    }

    /// The keys that the user has no access to at all.
    async fn no_access(&self) -> Vec<String> {
        let mut none = Vec::new();
        for (key, _) in self.keys().types() {
            // A user who may not ask for the type at all is told so in other words.
            if let Some(Err(error)) = self.type_of(key).await
                && error.to_string().contains("keys")
            {
                none.push(key.to_owned());
            }
        }
        none
    }

    async fn type_of(&self, key: &str) -> Option<redis::RedisResult<String>> {
        let mut connection = self.door.connection().await.ok()?;
        Some(
            redis::cmd("TYPE")
                .arg(key)
                .query_async(&mut connection)
                .await,
        )
    }

    /// Runs a script; its answer is a list that begins with the server's time, which is noted
    /// and taken off.
    async fn run(&self, script: &Script, cmd: &Cmd) -> Result<Reply, StoreError> {
        let connection = self.door.connection().await?;
        self.run_over(connection, script, cmd).await
    }

    /// Runs a script whose request or reply may be large.
    async fn run_bulk(&self, script: &Script, cmd: &Cmd) -> Result<Reply, StoreError> {
        let connection = self.door.bulk().await?;
        self.run_over(connection, script, cmd).await
    }

    async fn run_over(
        &self,
        mut connection: Connection,
        script: &Script,
        cmd: &Cmd,
    ) -> Result<Reply, StoreError> {
        let answer = timed(script.name(), script.run(cmd, &mut connection)).await;
        let name = || script.name().to_owned();
        let answer = self.told(answer, name).await?;
        let reply = Reply::new(answer)?;
        self.shared.clock.observe(reply.now);
        Ok(reply)
    }
}

/// Measures a call, for a process that has its figures taken.
async fn timed<T>(
    call: &'static str,
    work: impl Future<Output = redis::RedisResult<T>>,
) -> redis::RedisResult<T> {
    let begun = Instant::now();
    let answer = work.await;
    metrics::histogram!("bridge_redis_call_seconds", "call" => call).record(begun.elapsed());
    if answer.is_err() {
        metrics::counter!("bridge_redis_errors_total", "call" => call).increment(1);
    }
    answer
}

/// A command's name and what comes next, mostly its key.
fn beginning(cmd: &Cmd) -> String {
    let words = cmd.args_iter().take(2).filter_map(|arg| match arg {
        Arg::Simple(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A script's answer, taken apart from the left.
struct Reply {
    values: std::vec::IntoIter<Value>,
    now: Millis,
}

impl Reply {
    fn new(answer: Value) -> Result<Self, StoreError> {
        let Value::Array(values) = answer else {
            return Err(unexpected(&answer));
        };
        let mut reply = Self {
            values: values.into_iter(),
            now: 0,
        };
        reply.now = reply.next()?;
        Ok(reply)
    }

    fn next<T: FromRedisValue>(&mut self) -> Result<T, StoreError> {
        let value = self
            .values
            .next()
            .ok_or_else(|| StoreError::Answer("a script's answer is too short".into()))?;
        convert(value)
    }

    fn rest<T: FromRedisValue>(self) -> Result<Vec<T>, StoreError> {
        self.values.map(convert).collect()
    }
}

fn convert<T: FromRedisValue>(value: Value) -> Result<T, StoreError> {
    T::from_redis_value(value).map_err(|error| StoreError::Answer(error.to_string()))
}

fn unexpected(value: &Value) -> StoreError {
    StoreError::Answer(format!(
        "a script's answer is of an unexpected kind: {value:?}"
    ))
}
