//! Waits for leads, and takes them in the same round trip.

use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{ErrorKind, RedisResult, ServerErrorKind, Value};

use super::door::Server;
use super::work::{Fetched, fetched};
use super::{CONNECT_TIMEOUT, Reply, Store, StoreError};

/// A wait that ends sooner than this may have been refused.
const AT_ONCE: Duration = Duration::from_millis(5);

/// Waits on a connection of its own: the server moves the rightmost lead onto its own place, so a
/// wait takes nothing. The fetch is sent behind it, and the server makes it as soon as the wait is
/// over. The lead that ends the wait may be of any size, so the server is told not to answer with
/// it.
pub struct Waiter {
    store: Store,
    worker: String,
    link: Option<Link>,
    /// Whether the last wait was over at once, though no lead was there: it may have been refused,
    /// and nobody was told. Then the next one is to have an answer.
    doubt: bool,
}

struct Link {
    connection: MultiplexedConnection,
    server: Server,
    /// Whether the user may not silence the server: every wait then has its answer.
    openly: bool,
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
    /// # Errors
    /// Every [`StoreError`] a call can meet; the next call connects anew. As with
    /// [`Store::fetch`] leads may then be in the worker's hands all the same, and they may be where
    /// this is given up half-way.
    pub async fn fetch(
        &mut self,
        timeout: Duration,
        count: usize,
        first: u64,
        whole: usize,
    ) -> Result<Fetched, StoreError> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect().await?,
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
        let answers = link.connection.req_packed_commands(&pipe, 0, answers);
        let answers = async {
            // Longer than the server may take, so that a dead connection is noticed.
            match tokio::time::timeout(timeout + CONNECT_TIMEOUT, answers).await {
                Ok(answers) => answers.and_then(last),
                Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
            }
        };
        let answer = tokio::select! {
            answer = answers => answer,
            () = link.server.gone() => return Err(self.store.given_up()),
        };
        if let Err(error) = &answer {
            if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
                // Nothing was taken; the next connection tells it anew.
                return Ok(Fetched::Taken(Vec::new()));
            }
            link.server.note(error);
        }
        let reply = Reply::new(self.store.told(answer, || what).await?)?;
        self.store.shared.clock.observe(reply.now);
        let fetched = fetched(first, reply)?;
        let nothing = matches!(&fetched, Fetched::Taken(leads) if leads.is_empty());
        self.doubt = !openly && nothing && begun.elapsed() < AT_ONCE;
        self.link = Some(link);
        Ok(fetched)
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        let (mut connection, server) = self.store.own_connection(None).await?;
        let load = self.store.scripts().fetch.load();
        let mut may = redis::cmd("CLIENT");
        may.arg("REPLY").arg("ON");
        let asked = async {
            load.query_async::<Value>(&mut connection).await?;
            match may.query_async::<Value>(&mut connection).await {
                Ok(_) => Ok(false),
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => {
                    Ok(true)
                }
                Err(error) => Err(error),
            }
        };
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, asked);
        let asked = asked
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        if let Err(error) = &asked {
            server.note(error);
        }
        let openly = self.store.told(asked, || "SCRIPT LOAD".into()).await?;
        Ok(Link {
            connection,
            server,
            openly,
        })
    }
}

/// The last answer, where none before it is an error.
fn last(answers: Vec<Value>) -> RedisResult<Value> {
    let answers = answers.into_iter().map(Value::extract_error);
    let mut answers = answers.collect::<RedisResult<Vec<Value>>>()?;
    Ok(answers.pop().unwrap_or(Value::Nil))
}
