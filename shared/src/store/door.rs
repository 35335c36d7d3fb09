//! The connections of a store: to one server, or to whichever holds the data just now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _, Shared, TryFutureExt as _};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, ServerErrorKind, Value,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::access::Source;
use super::address::Address;
use super::connect::{Endpoint, Meter};
use super::discovery::{Discovery, Primary};
use super::error::{in_the_middle, speaks_http};
use super::volume::Volume;
use super::{IDLE, RESPONSE_TIMEOUT, StoreError, Target};
use crate::keys::Keys;

/// How long a call waits before it asks whether another node is the primary by now.
const DOUBT: Duration = Duration::from_secs(1);

/// The way to Redis.
#[derive(Clone)]
pub(super) struct Door {
    source: Arc<Source>,
    /// The number of the database.
    database: i64,
    /// For calls that are short, in both directions.
    calls: Arc<Channel>,
    /// For those that may be long: nobody else waits behind them.
    bulk: Arc<Channel>,
    /// Of the connections for short calls, the last whose end was taken note of for the others.
    seen: Arc<AtomicU64>,
    /// When the server had no place for the second connection.
    refused: Arc<Mutex<Option<Instant>>>,
    volume: Arc<Volume>,
    primary: Primary,
}

impl Door {
    /// Makes the way without going it.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::BadAccess`], [`StoreError::Scattered`].
    pub(super) fn new(source: Arc<Source>, keys: &Keys) -> Result<Self, StoreError> {
        Self::with(source, keys, Primary::default())
    }

    fn with(source: Arc<Source>, keys: &Keys, primary: Primary) -> Result<Self, StoreError> {
        let (address, access) = source.read()?;
        let database = address.settings().db();
        if let Address::Plain(info) = &address
            && matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. })
        {
            // What is wrong with a certificate is told at the start.
            access.tls()?;
        }
        let discovery = Discovery::new(address, &source, keys, primary.clone())?;
        let follows = discovery.follows();
        let discovery = Arc::new(tokio::sync::Mutex::new(discovery));
        let last = Arc::new(AtomicU64::new(0));
        let channel = |is_second| {
            Arc::new(Channel {
                is_second,
                discovery: Arc::clone(&discovery),
                follows,
                primary: primary.clone(),
                current: Mutex::new(None),
                last: Arc::clone(&last),
                ended: watch::Sender::new(0),
                target: source.target().clone(),
            })
        };
        Ok(Self {
            calls: channel(false),
            bulk: channel(true),
            source,
            database,
            seen: Arc::default(),
            refused: Arc::default(),
            volume: Arc::default(),
            primary,
        })
    }

    /// The number of the database.
    pub(super) const fn database(&self) -> i64 {
        self.database
    }

    /// Makes another way to the same place, with connections of its own.
    ///
    /// # Errors
    /// As [`Door::new`].
    pub(super) fn beside(&self, keys: &Keys) -> Result<Self, StoreError> {
        Self::with(Arc::clone(&self.source), keys, self.primary.clone())
    }

    /// Whether calls may go to another server some day.
    pub(super) fn follows(&self) -> bool {
        self.calls.follows
    }

    /// A number for another connection.
    pub(super) fn next_id(&self) -> u64 {
        self.calls.next_id()
    }

    /// How much may be asked for at once.
    pub(super) fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The connection that short calls share.
    ///
    /// # Errors
    /// [`StoreError`], where nobody knows the primary or it cannot be reached.
    pub(super) async fn connection(&self) -> Result<Connection, StoreError> {
        Ok(Connection {
            link: self.calls.link().await?,
            channel: Arc::clone(&self.calls),
            volume: None,
        })
    }

    /// The connection that calls share whose requests or replies may be large; the other one where
    /// the server has no place for two.
    ///
    /// # Errors
    /// As [`Door::connection`].
    pub(super) async fn bulk(&self) -> Result<Connection, StoreError> {
        let ended = *self.calls.ended.borrow();
        if self.seen.swap(ended, Ordering::Relaxed) != ended {
            // What ended the one has mostly ended the other, which nobody may have noticed.
            self.bulk.end_current();
        }
        let mut channel = &self.bulk;
        if self.refused().is_some_and(|at| at.elapsed() < IDLE) {
            channel = &self.calls;
        }
        let mut link = channel.link().await;
        if link.is_err() && self.calls.is_up() {
            *self.refused() = Some(Instant::now());
            channel = &self.calls;
            link = channel.link().await;
        }
        Ok(Connection {
            link: link?,
            channel: Arc::clone(channel),
            volume: Some(Arc::clone(&self.volume)),
        })
    }

    fn refused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that grows whenever a connection has ended.
    pub(super) fn changes(&self) -> u64 {
        *self.calls.ended.borrow() + *self.bulk.ended.borrow()
    }

    /// The server that calls go to, for a connection of one's own.
    ///
    /// # Errors
    /// As [`Door::connection`].
    pub(super) async fn server(&self) -> Result<Server, StoreError> {
        let link = self.calls.link().await?;
        Ok(Server {
            endpoint: link.endpoint.clone(),
            link: link.id,
            channel: Arc::clone(&self.calls),
        })
    }

    /// A server that nobody has connected to.
    #[cfg(test)]
    pub(super) fn server_of_nothing(&self) -> Server {
        let addr = redis::ConnectionAddr::Tcp("127.0.0.1".into(), 1);
        Server {
            endpoint: Endpoint::new(addr, Arc::clone(&self.source)),
            link: 1,
            channel: Arc::clone(&self.calls),
        }
    }

    /// Logs in anew, with what the files of the login hold by now. Calls under way end where they
    /// began; where the new login fails the old connections stay.
    ///
    /// # Errors
    /// As [`Door::connection`].
    pub(super) async fn log_in_again(&self) -> Result<bool, StoreError> {
        if !self.source.has_files() {
            return Ok(false);
        }
        self.calls.replace().await?;
        if self.bulk.is_up() {
            self.bulk.replace().await?;
        }
        Ok(true)
    }
}

/// A server, as long as calls go to it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) endpoint: Endpoint,
    link: u64,
    channel: Arc<Channel>,
}

impl Server {
    /// Whether calls may go to another one some day.
    pub(super) fn is_followed(&self) -> bool {
        self.channel.follows
    }

    /// Returns when calls no longer go to this server.
    pub(super) async fn gone(&self) {
        if self.is_followed() {
            tokio::select! {
                () = self.channel.ended(self.link) => {}
                () = self.channel.primary.elsewhere(&self.endpoint.addr) => {
                    self.channel.end(self.link);
                }
            }
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Takes note of what went wrong on a connection of one's own.
    pub(super) fn note(&self, error: &StoreError) {
        if self.is_followed() {
            self.channel.note(self.link, error);
        }
    }
}

/// A connection that calls share, to a server that may be another one tomorrow. When it breaks, or
/// the node says it is no longer the one, the next call asks anew where to go.
pub(super) struct Channel {
    discovery: Arc<tokio::sync::Mutex<Discovery>>,
    /// Whether the server may be another one tomorrow.
    follows: bool,
    primary: Primary,
    /// Whether calls can do without it.
    is_second: bool,
    /// The connection, or the attempt at one that all who need it wait for.
    current: Mutex<Option<(u64, Attempt)>>,
    /// The number of the last connection of the process's.
    last: Arc<AtomicU64>,
    /// The number of the last connection that has ended.
    ended: watch::Sender<u64>,
    target: Target,
}

type Attempt = Shared<BoxFuture<'static, Result<Arc<Link>, StoreError>>>;

/// A connection to the server.
pub(super) struct Link {
    /// Counted from 1.
    id: u64,
    endpoint: Endpoint,
    connection: MultiplexedConnection,
    meter: Arc<Meter>,
}

impl Link {
    async fn new(
        id: u64,
        discovery: Arc<tokio::sync::Mutex<Discovery>>,
        is_second: bool,
    ) -> Result<Self, StoreError> {
        let endpoint = discovery.lock().await.find().await?;
        let (connection, meter) = if is_second {
            endpoint.connect_for_sure().await?
        } else {
            endpoint.connect().await?
        };
        Ok(Self {
            id,
            endpoint,
            connection,
            meter,
        })
    }
}

impl Channel {
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
        if let Some((id, attempt)) = &*current
            && let Some(Ok(link)) = attempt.peek()
            && self.primary.is_elsewhere(&link.endpoint.addr)
        {
            self.ended.send_replace(*id);
            *current = None;
        }
        let (id, attempt) = current.get_or_insert_with(|| {
            let id = self.next_id();
            let link = Link::new(id, Arc::clone(&self.discovery), self.is_second);
            (id, link.map_ok(Arc::new).boxed().shared())
        });
        (*id, attempt.clone())
    }

    fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn current(&self) -> MutexGuard<'_, Option<(u64, Attempt)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a connection.
    fn is_up(&self) -> bool {
        let current = self.current();
        let attempt = current.as_ref().and_then(|(_, attempt)| attempt.peek());
        attempt.is_some_and(Result::is_ok)
    }

    /// Puts a new connection in the place of this one, which calls under way keep.
    async fn replace(&self) -> Result<(), StoreError> {
        let id = self.next_id();
        let link = Arc::new(Link::new(id, Arc::clone(&self.discovery), self.is_second).await?);
        let attempt = futures::future::ready(Ok(link)).boxed().shared();
        // Waited for, so that it counts as up.
        let _ = attempt.clone().await;
        *self.current() = Some((id, attempt));
        Ok(())
    }

    /// Lets go of whatever connection there is.
    fn end_current(&self) {
        let current = self.current().as_ref().map(|(id, _)| *id);
        if let Some(id) = current {
            self.end(id);
        }
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
    /// talk to.
    fn note(&self, id: u64, error: &StoreError) {
        let is_elsewhere = || {
            matches!(
                error,
                StoreError::ReadOnly(_)
                    | StoreError::Loading(_)
                    | StoreError::MasterDown(_)
                    | StoreError::Moved(_)
                    | StoreError::ClusterDown { .. }
            )
        };
        if error.is_unreachable() || (self.follows && is_elsewhere()) {
            self.end(id);
        }
    }

    /// Returns when it turns out that another node is the primary by now: one that was cut off
    /// or hangs cannot say so itself.
    async fn replaced(&self, link: &Link) {
        if !self.follows {
            return std::future::pending().await;
        }
        loop {
            let found = self.primary.elsewhere(&link.endpoint.addr);
            if tokio::time::timeout(DOUBT, found).await.is_ok() {
                return self.end(link.id);
            }
            if self.has_ended(link.id) {
                return;
            }
            // One asks for all.
            let Ok(mut discovery) = self.discovery.try_lock() else {
                continue;
            };
            if let Ok(endpoint) = discovery.find().await
                && endpoint.addr != link.endpoint.addr
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
        volume: Option<&Volume>,
        refused: impl Fn(&T) -> Option<RedisError>,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> RedisResult<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut link = Arc::clone(link);
        let mut again = self.follows;
        loop {
            let (before, begun) = (link.meter.bytes(), Instant::now());
            let answer = link
                .meter
                .patiently(RESPONSE_TIMEOUT, call(link.connection.clone()));
            let mut result = tokio::select! {
                biased;
                result = answer => result,
                () = self.replaced(&link) => Err(std::io::Error::new(
                    std::io::ErrorKind::ConnectionAborted,
                    "another node is the primary now",
                )
                .into()),
            };
            if let Some(volume) = volume {
                let (bytes, took) = (link.meter.bytes() - before, begun.elapsed());
                match &result {
                    Ok(_) => volume.went(bytes, took),
                    Err(error) if error.is_unrecoverable_error() || error.is_timeout() => {
                        // Where nothing passed, the server is busy, or the connection was dead before.
                        if bytes > 0 {
                            let asked = volume.bytes();
                            volume.lost(link.id);
                            result = Err(in_the_middle(error, bytes, asked, took));
                        }
                    }
                    Err(_) => {}
                }
            }
            if result.is_err() && link.meter.is_http() {
                result = Err(speaks_http());
            }
            let error = match &result {
                Ok(answer) => refused(answer),
                Err(error) => Some(error.clone()),
            };
            let Some(error) = error else {
                return result;
            };
            self.note_call(link.id, &error);
            if !std::mem::take(&mut again) || !is_turned_away(&error) {
                return result;
            }
            let Ok(other) = self.link().await else {
                return result;
            };
            link = other;
        }
    }

    /// Takes note of a call's end. While a slot is on its way (`ASK`, `TRYAGAIN`) it is still this
    /// node's.
    fn note_call(&self, id: u64, error: &RedisError) {
        let on_its_way = matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::TryAgain)
        );
        if error.is_unrecoverable_error() {
            self.end(id);
        } else if !on_its_way {
            self.note(id, &StoreError::new(error, &self.target));
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

/// A connection, ready for a call. Good until it breaks.
pub(super) struct Connection {
    link: Arc<Link>,
    /// Who is told when it breaks.
    channel: Arc<Channel>,
    /// Where it is noted how much gets through, where that may be much.
    volume: Option<Arc<Volume>>,
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let call = move |mut connection: MultiplexedConnection| async move {
            connection.send_packed_command(cmd).await
        };
        let volume = self.volume.as_deref();
        self.channel.call(&self.link, volume, refusal, call).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let refused = |values: &Vec<Value>| values.iter().find_map(refusal);
        let call = move |mut connection: MultiplexedConnection| async move {
            connection
                .send_packed_commands(pipeline, offset, count)
                .await
        };
        let volume = self.volume.as_deref();
        self.channel.call(&self.link, volume, refused, call).boxed()
    }

    fn get_db(&self) -> i64 {
        self.link.connection.get_db()
    }
}

/// The error in an answer, which the driver leaves there until the answer is read.
fn refusal(value: &Value) -> Option<RedisError> {
    match value {
        Value::ServerError(error) => Some(error.clone().into()),
        _ => None,
    }
}
