//! The connections of a store: to one server, or to whichever holds the data just now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, Shared, TryFutureExt as _};
use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult,
    ServerErrorKind, Value,
};
use tokio::sync::watch;

use super::access::Access;
use super::address::Address;
use super::cluster::Cluster;
use super::sentinel::Sentinels;
use super::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT, StoreError};
use crate::keys::Keys;

/// How long a call waits before it asks whether another node is the primary by now.
const DOUBT: Duration = Duration::from_secs(1);

/// The way to Redis.
#[derive(Clone)]
pub(super) enum Door {
    /// One server, whatever it is.
    Plain(Arc<Plain>),
    /// The node that sentinels or a cluster name.
    Followed(Arc<Followed>),
}

impl Door {
    /// Makes the way without going it.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::Scattered`].
    pub(super) fn new(
        url: &str,
        access: &Access,
        shown: &str,
        keys: &Keys,
    ) -> Result<Self, StoreError> {
        let bad = |why: String| StoreError::BadUrl {
            url: shown.to_owned(),
            why,
        };
        let wrong = |error: RedisError| bad(super::error::words(&error));
        let finder = match Address::parse(url, access).map_err(bad)? {
            Address::Plain(info) => {
                let client = Client::open(info).map_err(wrong)?;
                let manager = Plain::manager(&client).map_err(wrong)?;
                return Ok(Self::Plain(Arc::new(Plain {
                    client: Arc::new(client),
                    manager: Mutex::new((0, manager)),
                })));
            }
            Address::Sentinel {
                sentinels,
                name,
                node,
            } => Finder::Sentinels(Box::new(
                Sentinels::new(sentinels, name, &node, access, shown.to_owned()).map_err(wrong)?,
            )),
            Address::Cluster { nodes } => {
                Finder::Cluster(Cluster::new(nodes, keys, shown.to_owned())?)
            }
        };
        Ok(Self::Followed(Arc::new(Followed {
            finder: Arc::new(tokio::sync::Mutex::new(finder)),
            current: Mutex::new(None),
            ended: watch::Sender::new(0),
            url: shown.to_owned(),
        })))
    }

    /// The connection that calls share.
    ///
    /// # Errors
    /// [`StoreError`], where nobody knows the primary or it cannot be reached.
    pub(super) async fn connection(&self) -> Result<Connection, StoreError> {
        match self {
            Self::Plain(plain) => {
                let (number, manager) = plain.current().clone();
                Ok(Connection::Plain {
                    manager,
                    number,
                    plain: Arc::clone(plain),
                })
            }
            Self::Followed(followed) => Ok(Connection::Followed {
                link: followed.link().await?,
                followed: Arc::clone(followed),
            }),
        }
    }

    /// How often a followed connection has ended.
    pub(super) fn changes(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Followed(followed) => *followed.ended.borrow(),
        }
    }

    /// The server that calls go to, for a connection of one's own.
    ///
    /// # Errors
    /// As [`Door::connection`].
    pub(super) async fn server(&self) -> Result<Server, StoreError> {
        match self {
            Self::Plain(plain) => Ok(Server {
                client: Arc::clone(&plain.client),
                link: None,
            }),
            Self::Followed(followed) => {
                let link = followed.link().await?;
                Ok(Server {
                    client: Arc::clone(&link.client),
                    link: Some((Arc::clone(followed), link.id)),
                })
            }
        }
    }
}

/// One server, and the connection to it that comes back by itself when it breaks.
pub(super) struct Plain {
    client: Arc<Client>,
    /// The connection, with its number. One whose other end has gone without a word does not
    /// break: it only never answers, and must be replaced.
    manager: Mutex<(u64, ConnectionManager)>,
}

impl Plain {
    fn manager(client: &Client) -> RedisResult<ConnectionManager> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500))
            .set_number_of_retries(1);
        ConnectionManager::new_lazy_with_config(client.clone(), config)
    }

    fn current(&self) -> MutexGuard<'_, (u64, ConnectionManager)> {
        self.manager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a call's end: after one without an answer the next goes over another
    /// connection.
    fn note<T>(&self, number: u64, result: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &result
            && error.is_timeout()
        {
            let mut current = self.current();
            if current.0 == number
                && let Ok(fresh) = Self::manager(&self.client)
            {
                *current = (number + 1, fresh);
            }
        }
        result
    }
}

/// A server, as long as calls go to it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) client: Arc<Client>,
    link: Option<(Arc<Followed>, u64)>,
}

impl Server {
    /// Whether calls may go to another one some day.
    pub(super) const fn is_followed(&self) -> bool {
        self.link.is_some()
    }

    /// Returns when calls no longer go to this server.
    pub(super) async fn gone(&self) {
        match &self.link {
            None => std::future::pending().await,
            Some((followed, id)) => followed.ended(*id).await,
        }
    }

    /// Takes note of what went wrong on a connection of one's own.
    pub(super) fn note(&self, error: &RedisError) {
        if let Some((followed, id)) = &self.link {
            followed.note(*id, error);
        }
    }
}

/// Something that knows where the primary is.
enum Finder {
    Sentinels(Box<Sentinels>),
    Cluster(Cluster),
}

impl Finder {
    async fn find(&mut self) -> Result<Client, StoreError> {
        match self {
            Self::Sentinels(sentinels) => sentinels.find().await,
            Self::Cluster(cluster) => cluster.find().await,
        }
    }
}

/// A primary that may be another node tomorrow. There is at most one connection to it; when that
/// breaks, or the node says it is no longer the one, the next call asks anew where to go.
pub(super) struct Followed {
    finder: Arc<tokio::sync::Mutex<Finder>>,
    /// The connection, or the attempt at one that all who need it wait for.
    current: Mutex<Option<(u64, Attempt)>>,
    /// The number of the last connection that has ended.
    ended: watch::Sender<u64>,
    url: String,
}

type Attempt = Shared<BoxFuture<'static, Result<Arc<Link>, StoreError>>>;

/// A connection to the primary.
pub(super) struct Link {
    /// Counted from 1.
    id: u64,
    client: Arc<Client>,
    connection: MultiplexedConnection,
}

impl Link {
    async fn new(
        id: u64,
        finder: Arc<tokio::sync::Mutex<Finder>>,
        url: String,
    ) -> Result<Self, StoreError> {
        let client = finder.lock().await.find().await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| StoreError::new(&error, &url))?;
        Ok(Self {
            id,
            client: Arc::new(client),
            connection,
        })
    }
}

impl Followed {
    async fn link(&self) -> Result<Arc<Link>, StoreError> {
        let (id, attempt) = self.attempt();
        let link = attempt.await;
        if link.is_err() {
            self.end(id);
        }
        link
    }

    fn attempt(&self) -> (u64, Attempt) {
        let mut current = self.current();
        let (id, attempt) = current.get_or_insert_with(|| {
            let id = *self.ended.borrow() + 1;
            let link = Link::new(id, Arc::clone(&self.finder), self.url.clone());
            (id, link.map_ok(Arc::new).boxed().shared())
        });
        (*id, attempt.clone())
    }

    fn current(&self) -> MutexGuard<'_, Option<(u64, Attempt)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of a connection, so that the next call asks where to go.
    fn end(&self, id: u64) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|(current, _)| *current == id) {
            *current = None;
            self.ended.send_replace(id);
        }
    }

    fn has_ended(&self, id: u64) -> bool {
        *self.ended.borrow() >= id
    }

    async fn ended(&self, id: u64) {
        // Fails only when the sender is gone, which is part of this.
        let _ = self.ended.subscribe().wait_for(|ended| *ended >= id).await;
    }

    /// Lets go of a connection that broke, or whose other end is not, or no longer, the one to
    /// talk to. While a slot is on its way (`ASK`, `TRYAGAIN`) it is still this one's.
    fn note(&self, id: u64, error: &RedisError) {
        let on_its_way = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::TryAgain)
        );
        let elsewhere = matches!(
            StoreError::new(error, &self.url),
            StoreError::Unreachable { .. }
                | StoreError::ReadOnly(_)
                | StoreError::Loading(_)
                | StoreError::MasterDown(_)
                | StoreError::Moved(_)
                | StoreError::ClusterDown { .. }
        );
        if (elsewhere && !on_its_way) || error.is_unrecoverable_error() {
            self.end(id);
        }
    }

    /// Returns when it turns out that another node is the primary by now: one that was cut off
    /// or hangs cannot say so itself.
    async fn replaced(&self, link: &Link) {
        let at = |client: &Client| client.get_connection_info().addr().clone();
        loop {
            tokio::time::sleep(DOUBT).await;
            if self.has_ended(link.id) {
                return;
            }
            // One asks for all.
            let Ok(mut finder) = self.finder.try_lock() else {
                continue;
            };
            if let Ok(client) = finder.find().await
                && at(&client) != at(&link.client)
            {
                self.end(link.id);
                return;
            }
        }
    }

    /// Sees a call through. A node that turns it away has done nothing: it is made once more,
    /// where it belongs by now.
    async fn call<T, F>(
        &self,
        link: &Arc<Link>,
        refused: impl Fn(&T) -> Option<RedisError>,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut link = Arc::clone(link);
        let mut again = true;
        loop {
            let result = tokio::select! {
                biased;
                result = call(link.connection.clone()) => result,
                () = self.replaced(&link) => Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionAborted,
                    "another node is the primary now",
                )
                .into()),
            };
            let error = match &result {
                Ok(answer) => refused(answer),
                Err(error) => Some(error.clone()),
            };
            let Some(error) = error else {
                return result;
            };
            self.note(link.id, &error);
            if !std::mem::take(&mut again) || !is_turned_away(&error) {
                return result;
            }
            let Ok(other) = self.link().await else {
                return result;
            };
            link = other;
        }
    }
}

/// Whether the node says that another one is to be asked.
fn is_turned_away(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ReadOnly)
    )
}

/// A connection, ready for a call.
pub(super) enum Connection {
    /// Comes back by itself when it breaks.
    Plain {
        /// The connection.
        manager: ConnectionManager,
        /// Its number.
        number: u64,
        /// Who is told when it does not answer.
        plain: Arc<Plain>,
    },
    /// Good until it breaks.
    Followed {
        /// The connection.
        link: Arc<Link>,
        /// Who is told when it breaks.
        followed: Arc<Followed>,
    },
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Plain {
                manager,
                number,
                plain,
            } => async move {
                let result = manager.send_packed_command(cmd).await;
                plain.note(*number, result)
            }
            .boxed(),
            Self::Followed { link, followed } => {
                let call = move |mut connection: MultiplexedConnection| async move {
                    connection.send_packed_command(cmd).await
                };
                followed.call(link, refusal, call).boxed()
            }
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Plain {
                manager,
                number,
                plain,
            } => async move {
                let result = manager.send_packed_commands(pipeline, offset, count).await;
                plain.note(*number, result)
            }
            .boxed(),
            Self::Followed { link, followed } => {
                let refused = |values: &Vec<Value>| values.iter().find_map(refusal);
                let call = move |mut connection: MultiplexedConnection| async move {
                    connection
                        .send_packed_commands(pipeline, offset, count)
                        .await
                };
                followed.call(link, refused, call).boxed()
            }
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Plain { manager, .. } => manager.get_db(),
            Self::Followed { link, .. } => link.connection.get_db(),
        }
    }
}

/// The error in an answer, which the driver leaves there until the answer is read.
fn refusal(value: &Value) -> Option<RedisError> {
    match value {
        Value::ServerError(error) => Some(error.clone().into()),
        _ => None,
    }
}
