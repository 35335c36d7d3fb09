//! Waits for leads, and takes them in the same round trip.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

use super::connect::Meter;
use super::door::Server;
use super::error::in_the_middle;
use super::work::{Fetched, fetched};
use super::{CONNECT_TIMEOUT, IDLE, Reply, Store, StoreError};

/// A wait that ends sooner than this after the way there and back may have been refused.
const AT_ONCE: Duration = Duration::from_millis(5);

/// Waits on a connection of its own: the server moves the rightmost lead onto its own place, so a
/// wait takes nothing. The fetch is sent behind it, and the server makes it as soon as the wait is
/// over. The lead that ends the wait may be of any size, so the server is told not to answer with
/// it.
pub struct Waiter {
    store: Store,
    worker: String,
    link: Option<Link>,
    /// Whether the last wait was refused, or may have been, for it was over at once though no lead
    /// was there, and nobody was told. Then the next one is to have an answer.
    doubt: bool,
}

/// What a wait brought.
#[derive(Debug)]
pub struct Waited {
    /// What the fetch behind it brought. `None` where the server did not know the script, and
    /// nothing was taken: a [`Store::fetch`] tells it.
    pub fetched: Option<Fetched>,
    /// Why the server did not wait, and made the fetch at once.
    pub refused: Option<StoreError>,
}

struct Link {
    connection: MultiplexedConnection,
    meter: Arc<Meter>,
    /// Its number among all of the process's.
    id: u64,
    server: Server,
    /// Whether the server cannot be silenced: every wait then has its answer.
    openly: bool,
    /// How long it is there and back.
    way: Duration,
    used: Instant,
}

/// Why it is not known what a wait brought.
#[derive(Debug)]
pub enum Missed {
    /// Nothing was taken.
    Untaken(StoreError),
    /// As with [`Store::fetch`], leads may be in the worker's hands all the same.
    Unheard(StoreError),
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

impl Store {
    /// What waits for leads for a worker.
    #[must_use]
    pub fn waiter(&self, worker: &str) -> Waiter {
        Waiter {
            store: self.clone(),
            worker: worker.to_owned(),
            link: None,
            doubt: false,
        }
    }
}

impl Waiter {
    /// Makes a [`Store::fetch`] as soon as a lead waits, or after `timeout`.
    ///
    /// Leads may be in the worker's hands too where this is given up half-way.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet, with what is known of the leads. The next call connects
    /// anew where that is needed.
    pub async fn fetch(
        &mut self,
        timeout: Duration,
        count: usize,
        first: u64,
        whole: usize,
    ) -> Result<Waited, Missed> {
        // Out of its place meanwhile: a connection on which something went wrong is not used again.
        let mut link = match self.link.take().filter(|link| link.used.elapsed() < IDLE) {
            Some(link) => link,
            None => self.connect().await.map_err(Missed::Untaken)?,
        };
        let queue = &self.store.keys().queue;
        let mut wait = redis::cmd("BLMOVE");
        wait.arg(queue)
            .arg(queue)
            .arg("RIGHT")
            .arg("RIGHT")
            .arg(timeout.as_secs_f64());
        let what = super::beginning(&wait);
        let openly = link.openly || std::mem::take(&mut self.doubt);
        let mut pipe = redis::pipe();
        if !openly {
            pipe.cmd("CLIENT").arg("REPLY").arg("SKIP");
        }
        let call = self.store.fetch_call(&self.worker, count, first, whole);
        pipe.add_command(wait).add_command(call);
        let begun = Instant::now();
        let answers = usize::from(openly) + 1;
        let before = link.meter.bytes();
        let answers = link.connection.req_packed_commands(&pipe, 0, answers);
        // Longer than the server may wait, so that a dead connection is noticed.
        let answers = link.meter.patiently(timeout + CONNECT_TIMEOUT, answers);
        let answers = tokio::select! {
            biased;
            () = link.server.gone() => return Err(Missed::Unheard(self.store.given_up())),
            answers = answers => answers,
        };
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                let (volume, bytes) = (self.store.door.volume(), link.meter.bytes() - before);
                let asked = volume.bytes();
                let error = if bytes == 0 {
                    error
                } else {
                    volume.lost(link.id);
                    in_the_middle(&error, bytes, asked, begun.elapsed())
                };
                let told = self.store.told(Err(error), || what).await;
                return told.map_err(|error| {
                    link.server.note(&error);
                    Missed::Unheard(error)
                });
            }
        };
        let answer = answers.pop().unwrap_or(Value::Nil).extract_error();
        let waited = answers.pop().unwrap_or(Value::Nil).extract_error();
        for error in [answer.as_ref().err(), waited.as_ref().err()]
            .into_iter()
            .flatten()
        {
            link.server.note(&link.server.endpoint.error(error));
        }
        let fetched = match answer {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => None,
            answer => Some(self.read(answer, first).await.map_err(Missed::Unheard)?),
        };
        let refused = self.store.told(waited, || what).await.err();
        let nothing = fetched.as_ref().is_some_and(Fetched::is_empty);
        let at_once = begun.elapsed() < AT_ONCE + link.way * 2;
        self.doubt = refused.is_some() || (!openly && nothing && at_once);
        link.used = Instant::now();
        self.link = Some(link);
        Ok(Waited { fetched, refused })
    }

    async fn read(&self, answer: RedisResult<Value>, first: u64) -> Result<Fetched, StoreError> {
        let reply = Reply::new(self.store.told(answer, || "fetch".into()).await?)?;
        self.store.shared.clock.observe(reply.now);
        fetched(first, reply)
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        let server = self.store.door.server().await?;
        let connect = server.endpoint.connect().await;
        let (mut connection, meter) = connect.inspect_err(|error| server.note(error))?;
        let mut may = redis::cmd("CLIENT");
        may.arg("REPLY").arg("ON");
        let begun = Instant::now();
        let asked = may.query_async::<Value>(&mut connection);
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, asked).await;
        let way = begun.elapsed();
        let openly = match asked.map_err(|_| self.store.no_answer())? {
            Ok(_) => false,
            Err(error) if error.is_io_error() => {
                let error = self.store.error(&error);
                server.note(&error);
                return Err(error);
            }
            // The user may not, or the server knows no such command.
            Err(_) => true,
        };
        Ok(Link {
            connection,
            meter,
            id: self.store.door.next_id(),
            server,
            openly,
            way,
            used: Instant::now(),
        })
    }
}
