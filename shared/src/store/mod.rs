//! The one door to Redis.
//!
//! - [`error`]: what can go wrong, in words
//! - [`work`]: a worker's side: fetch, commit, lease, recovery, due retries, events; [`hands`]: what
//!   it has in its hands; [`lane`]: fetch and commit by whole batches; [`sender`]: many events at
//!   once
//! - [`dead_letters`]: reading the dead letter queue and moving entries out of it
//! - [`figures`]: counts and charts
//! - [`look`]: looking at what waits, is in flight or due again, and at the audit
//! - [`produce`]: pushing leads in, and looking for those already there
//! - [`route`]: what stations share: rates, money, what they found before, their figures
//! - [`trash`]: what was thrown away, and bringing it back
//! - [`trial`]: trying a lead without recording anything
//! - [`control`]: pause, resume, the audit
//! - `door`: the connections, to one server or to whichever node holds the data (`address`,
//!   `sentinel`, `cluster`), with what opens it (`access`) and what goes wrong with TLS (`tls`)
//! - `window`: a part of a list whose entries may be of any size
//! - `wire`: a connection for much at a time
//! - `*.lua`: every step that must not come apart, one file each
//!
//! Every call ends within a bounded time. No call changes more than one thing's state outside a
//! single atomic step on the server.

pub mod control;
pub mod dead_letters;
pub mod error;
pub mod figures;
pub mod hands;
pub mod lane;
pub mod look;
pub mod produce;
pub mod route;
pub mod sender;
pub mod trash;
pub mod trial;
pub mod waiter;
pub mod work;

mod access;
mod address;
mod cluster;
mod door;
mod script;
mod sentinel;
mod tls;
mod window;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{Arg, AsyncConnectionConfig, Cmd, FromRedisValue, Pipeline, Value};

use crate::clock::{Millis, ServerClock};
use crate::config::RedisArgs;
use crate::event::EventBatch;
use crate::keys::Keys;
use access::Access;
use door::{Door, Server};
use script::{Script, Scripts};

pub use error::{StoreError, redact};

/// How long a call may take before the connection counts as lost.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection of one's own that was not used for so long is not used again: a server may end those
/// that rest.
const IDLE: Duration = Duration::from_secs(10);

/// How often a subscription makes sure that it listens at the right node.
const LISTEN_CHECK: Duration = Duration::from_secs(2);

/// The store: one multiplexed connection that comes back by itself, cheap to clone. Behind
/// sentinels and in a cluster it comes back at the node that is the primary by then.
#[derive(Clone)]
pub struct Store {
    door: Door,
    shared: Arc<Shared>,
}

struct Shared {
    keys: Keys,
    /// The URL as it may be shown.
    url: String,
    /// Who this is to the server.
    user: String,
    scripts: Scripts,
    clock: ServerClock,
    /// Calls that found the connection broken, or no server.
    broken: AtomicU64,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.shared.url)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a store without a connection: it comes about with the first call. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`]; [`StoreError::BadAccess`]; [`StoreError::Scattered`] for a cluster
    /// whose keys would not stand in one slot.
    pub fn new(args: &RedisArgs) -> Result<Self, StoreError> {
        let names = [
            &args.queue_name,
            &args.failed_queue_name,
            &args.enriched_stream,
        ];
        if names[0] == names[1] || names[1] == names[2] || names[0] == names[2] {
            let [queue, failed, enriched] = names.map(Clone::clone);
            return Err(StoreError::SameNames(queue, failed, enriched));
        }
        let url = args.url();
        let shown = redact(&url);
        let keys = args.keys();
        let access = Access::read(&args.access, &url)?;
        Ok(Self {
            door: Door::new(&url, &access, &shown, &keys)?,
            shared: Arc::new(Shared {
                keys,
                url: shown,
                user: address::user(&url),
                scripts: Scripts::new(),
                clock: ServerClock::default(),
                broken: AtomicU64::new(0),
            }),
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
        match self.query::<String>(redis::cmd("INFO").arg("server")).await {
            Ok(info) => self.check_info(&info)?,
            Err(StoreError::NotAllowed { .. }) => {}
            Err(error) => return Err(error),
        }
        self.observe_time().await.map(|_| ())
    }

    fn check_info(&self, info: &str) -> Result<(), StoreError> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let url = || self.shared.url.clone();
        match (field("redis_mode"), &self.door) {
            (Some("sentinel"), _) => return Err(StoreError::IsSentinel(url())),
            (Some("cluster"), Door::Plain { .. }) => return Err(StoreError::InCluster(url())),
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
        &self.shared.url
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

    /// Listens to the events, on a connection of its own. The stream ends when the connection
    /// does, or when another node becomes the primary.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn subscribe(
        &self,
    ) -> Result<impl futures::Stream<Item = Bytes> + Send + use<>, StoreError> {
        use futures::StreamExt as _;
        let server = self.door.server().await?;
        let connect = async {
            let mut pubsub = server.client.get_async_pubsub().await?;
            pubsub.subscribe(&self.shared.keys.events).await?;
            Ok(pubsub)
        };
        let pubsub = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| self.no_answer())?;
        let what = || format!("SUBSCRIBE {}", self.keys().events);
        let pubsub = self.told(pubsub, what).await?;
        Ok(pubsub
            .into_on_message()
            .map(|message| Bytes::copy_from_slice(message.get_payload_bytes()))
            .take_until(Box::pin(self.clone().replaced(server))))
    }

    /// Returns when calls no longer go to this server. A node that is no longer the primary may
    /// keep a subscription open for ever, so a call now and again finds out.
    async fn replaced(self, server: Server) {
        if !server.is_followed() {
            return std::future::pending().await;
        }
        let mut cmd = redis::cmd("EXISTS");
        cmd.arg(&self.keys().paused);
        while tokio::time::timeout(LISTEN_CHECK, server.gone())
            .await
            .is_err()
        {
            // What matters of the answer, the door takes note of.
            let _ = self.query::<Value>(&cmd).await;
        }
    }

    /// A connection of its own, whose answers may take so long, and the server it leads to.
    async fn own_connection(
        &self,
        response_timeout: Option<Duration>,
    ) -> Result<(redis::aio::MultiplexedConnection, Server), StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(response_timeout);
        let server = self.door.server().await?;
        let connection = server
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| {
                server.note(&error);
                self.error(&error)
            })?;
        Ok((connection, server))
    }

    fn scripts(&self) -> &Scripts {
        &self.shared.scripts
    }

    fn error(&self, error: &redis::RedisError) -> StoreError {
        let error = StoreError::new(error, &self.shared.url);
        if matches!(error, StoreError::Unreachable { .. }) {
            self.shared.broken.fetch_add(1, Ordering::Relaxed);
        }
        error
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
            url: self.url().to_owned(),
            cause: cause.into(),
        }
    }

    async fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.door.connection().await?;
        let answer = timed("command", cmd.query_async(&mut connection)).await;
        self.told(answer, || beginning(cmd)).await
    }

    async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let mut connection = self.door.connection().await?;
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
        let mut connection = self.door.connection().await?;
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

/// A time that a script gives as -1 where there is none.
fn time_or_none(value: i64) -> Option<Millis> {
    (value >= 0).then_some(value)
}
