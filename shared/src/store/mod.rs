//! The one door to Redis.
//!
//! - [`error`]: what can go wrong, in words
//! - [`work`]: a worker's side: fetch, commit, lease, recovery, due retries, events
//! - [`dead_letters`]: reading the dead letter queue and moving entries out of it
//! - [`figures`]: counts and charts
//! - [`produce`]: pushing leads in, and looking for those already there
//! - [`control`]: pause, resume, the audit
//! - `*.lua`: every step that must not come apart, one file each
//!
//! Every call ends within a bounded time. No call changes more than one thing's state outside a
//! single atomic step on the server.

pub mod control;
pub mod dead_letters;
pub mod error;
pub mod figures;
pub mod produce;
pub mod work;

mod script;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, Value};

use crate::clock::{Millis, ServerClock};
use crate::config::RedisArgs;
use crate::event::EventBatch;
use crate::keys::Keys;
use script::{Script, Scripts};

pub use error::{StoreError, redact};

/// How long a call may take before the connection counts as lost.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The store: one multiplexed connection that comes back by itself, cheap to clone.
#[derive(Clone)]
pub struct Store {
    connection: ConnectionManager,
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    keys: Keys,
    /// The URL as it may be shown.
    url: String,
    scripts: Scripts,
    clock: ServerClock,
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
    /// [`StoreError::BadUrl`].
    pub fn new(args: &RedisArgs) -> Result<Self, StoreError> {
        let url = args.url();
        let shown = redact(&url);
        let bad = |error: &redis::RedisError| StoreError::BadUrl {
            url: shown.clone(),
            why: error
                .detail()
                .map_or_else(|| error.to_string(), ToOwned::to_owned)
                .replace(&url, &shown),
        };
        let client = Client::open(url.as_str()).map_err(|error| bad(&error))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)
            .map_err(|error| bad(&error))?;
        let shared = Shared {
            client,
            keys: args.keys(),
            url: shown,
            scripts: Scripts::new(),
            clock: ServerClock::default(),
        };
        Ok(Self {
            connection,
            shared: Arc::new(shared),
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
    /// Every [`StoreError`] that a first call can meet; [`StoreError::TooOld`].
    pub async fn check(&self) -> Result<(), StoreError> {
        self.observe_time().await?;
        let info: String = match self.query(redis::cmd("INFO").arg("server")).await {
            Err(StoreError::NotAllowed(_)) => return Ok(()),
            answer => answer?,
        };
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<u32>().ok());
        if let Some(version) = version {
            let mut parts = version.trim().split('.');
            let (major, minor) = (number(parts.next()), number(parts.next()));
            if major.is_some() && (major, minor) < (Some(6), Some(2)) {
                return Err(StoreError::TooOld {
                    url: self.shared.url.clone(),
                    version: version.trim().to_owned(),
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

    /// Publishes events; returns how many listen.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn publish(&self, batch: &EventBatch) -> Result<u64, StoreError> {
        let mut cmd = redis::cmd("PUBLISH");
        cmd.arg(&self.keys().events).arg(batch.encode());
        self.query(&cmd).await
    }

    /// Listens to the events, on a connection of its own. The stream ends when the connection
    /// does.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn subscribe(
        &self,
    ) -> Result<impl futures::Stream<Item = Bytes> + Send + use<>, StoreError> {
        use futures::StreamExt as _;
        let connect = async {
            let mut pubsub = self.shared.client.get_async_pubsub().await?;
            pubsub.subscribe(&self.shared.keys.events).await?;
            Ok(pubsub)
        };
        let pubsub = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| StoreError::Unreachable {
                url: self.shared.url.clone(),
                cause: "no answer in time".into(),
            })?
            .map_err(|error: redis::RedisError| self.error(&error))?;
        Ok(pubsub
            .into_on_message()
            .map(|message| Bytes::copy_from_slice(message.get_payload_bytes())))
    }

    /// A connection of its own for a blocking command.
    async fn blocking_connection(&self) -> Result<redis::aio::MultiplexedConnection, StoreError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        self.shared
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| self.error(&error))
    }

    fn scripts(&self) -> &Scripts {
        &self.shared.scripts
    }

    fn error(&self, error: &redis::RedisError) -> StoreError {
        StoreError::new(error, &self.shared.url)
    }

    async fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, StoreError> {
        cmd.query_async(&mut self.connection.clone())
            .await
            .map_err(|error| self.error(&error))
    }

    async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        pipeline
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| self.error(&error))
    }

    /// Runs a script; its answer is a list that begins with the server's time, which is noted
    /// and taken off.
    async fn run(&self, script: &Script, cmd: &Cmd) -> Result<Reply, StoreError> {
        let answer = script
            .run(cmd, &mut self.connection.clone())
            .await
            .map_err(|error| self.error(&error))?;
        let Value::Array(values) = answer else {
            return Err(unexpected(&answer));
        };
        let mut reply = Reply {
            values: values.into_iter(),
            now: 0,
        };
        reply.now = reply.next()?;
        self.shared.clock.observe(reply.now);
        Ok(reply)
    }
}

/// A script's answer, taken apart from the left.
struct Reply {
    values: std::vec::IntoIter<Value>,
    now: Millis,
}

impl Reply {
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
