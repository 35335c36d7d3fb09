//! A worker's lanes: a whole batch of leads is taken, what came of it recorded, and the next batch
//! taken with that in one round trip. No script looks at the leads, which is most of what a lead
//! costs the server; so this is for leads that are over as soon as they are started.
//!
//! A batch stands in a list of its own. What came of it is recorded by a transaction that the server
//! drops where anybody has touched that list: a recoverer that opened it, because the lease ran out,
//! or the worker itself, because not all of it was over at once. The transaction is begun together
//! with the fetch, so that its commands cannot go out alone where beginning it was refused.

use std::time::Instant;

use bytes::Bytes;
use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, Pipeline, Value};

use super::door::Server;
use super::work::{Delivery, FETCH_BYTES, Fetched, Outcome, Record};
use super::{IDLE, RESPONSE_TIMEOUT, Reply, Store, StoreError, timed, unexpected};
use crate::clock::Millis;
use crate::keys::Keys;

/// Lanes of a worker: one batch is worked on while another one is on its way.
pub const LANES: usize = 2;
/// Bytes of the largest lead that goes by a batch.
const LARGEST: usize = 16 * 1024;

/// Seconds for which the counts of a minute are kept.
const MINUTE_KEPT: u32 = 90_000;

/// One lane, on a connection of its own.
pub struct Lane {
    store: Store,
    worker: String,
    /// From 1 to [`LANES`].
    number: usize,
    link: Option<Link>,
}

struct Link {
    connection: MultiplexedConnection,
    server: Server,
    /// Whether the transaction is begun that is to record the batch in hand.
    begun: bool,
    used: Instant,
}

/// What a round trip brought.
#[derive(Debug)]
pub struct Turn {
    /// Whether the outcomes were recorded. Where not, nothing was: the batch was opened, or taken
    /// away.
    pub recorded: bool,
    /// Of those recorded the places of which the server refused the write, each with its words:
    /// someone has just put something else in the key's place. They are in nobody's hands.
    pub refused: Vec<(usize, String)>,
    /// The minute of server time that those recorded were counted in, the refused among them.
    pub minute: Millis,
    /// Of two batches that were taken, the one with the lesser number was taken first.
    pub order: u64,
    /// The next batch, where one was asked for. What goes wrong there undoes nothing of the rest.
    pub fetched: Option<Result<Fetched, StoreError>>,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The lanes of a worker.
    #[must_use]
    pub fn lanes(&self, worker: &str) -> [Lane; LANES] {
        std::array::from_fn(|place| Lane {
            store: self.clone(),
            worker: worker.to_owned(),
            number: place + 1,
            link: None,
        })
    }

    /// Puts leads that are in nobody's hands at the front of the line, the last of them next.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn put_back(&self, leads: &[Bytes]) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("RPUSH");
        cmd.arg(&self.keys().queue);
        for lead in leads {
            cmd.arg(&lead[..]);
        }
        self.query::<u64>(&cmd).await.map(|_| ())
    }

    /// Takes outcomes out of the figures that were counted and not written.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn uncount(
        &self,
        records: impl Iterator<Item = &Record>,
        minute: Millis,
    ) -> Result<(), StoreError> {
        let mut pipe = Pipeline::new();
        count(self.keys(), &mut pipe, minute, records, -1);
        self.pipeline::<Value>(&pipe).await.map(|_| ())
    }
}

impl Lane {
    /// Whether an outcome can be recorded by a lane.
    #[must_use]
    pub fn records(outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Done { lead, .. } => !lead.is_empty(),
            Outcome::Dead { .. } => true,
            _ => false,
        }
    }

    /// Records what came of the batch in hand, of all of it, and takes the next one: so many leads,
    /// numbered from so many on. Without records the batch in hand is left to
    /// [`Store::commit`].
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. It is then not known whether the outcomes were
    /// recorded: give them to [`Store::commit`] as sent before. Nor whether leads were taken: ask
    /// [`Store::held`].
    pub async fn turn(
        &mut self,
        records: &[Record],
        next: Option<(usize, u64)>,
    ) -> Result<Turn, StoreError> {
        // Out of its place meanwhile: a connection on which something went wrong is not used again.
        let mut link = match self.link.take().filter(|link| link.used.elapsed() < IDLE) {
            Some(link) => link,
            None => self.connect().await?,
        };
        let mut turn = Turn {
            recorded: false,
            refused: Vec::new(),
            minute: 0,
            order: 0,
            fetched: None,
        };
        let recording = !records.is_empty() && link.begun;
        let mut pipe = Pipeline::new();
        if recording {
            turn.minute = self.store.now() / 60_000;
            self.write(&mut pipe, records, turn.minute);
        }
        let unread = pipe.len();
        if link.begun {
            pipe.cmd(if recording { "EXEC" } else { "DISCARD" });
        }
        if let Some((count, first)) = next {
            self.fetch(&mut pipe, count, first);
        }
        let answers = pipe.len() - unread;
        if !pipe.is_empty() {
            let call = link.connection.req_packed_commands(&pipe, unread, answers);
            let answer = tokio::select! {
                answer = timed("lane", call) => answer,
                () = link.server.gone() => return Err(self.store.given_up()),
            };
            if let Err(error) = &answer {
                link.server.note(error);
            }
            let what = || "work by batches".to_owned();
            let mut answers = self.store.told(answer, what).await?.into_iter();
            if std::mem::take(&mut link.begun) {
                let answer = answers.next().ok_or_else(|| self.store.given_up())?;
                if recording {
                    self.read_recorded(answer, &mut turn).await?;
                }
            }
            if let Some((_, first)) = next {
                let order = &mut turn.order;
                let fetched = self.read_fetched(answers, &mut link, first, order).await;
                let failed = fetched.is_err();
                turn.fetched = Some(fetched);
                if failed {
                    return Ok(turn);
                }
            }
        }
        link.used = Instant::now();
        self.link = Some(link);
        Ok(turn)
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        let timeout = Some(RESPONSE_TIMEOUT);
        let (mut connection, server) = self.store.own_connection(timeout).await?;
        let load = self.store.scripts().batch.load();
        let answer = load.query_async::<Value>(&mut connection).await;
        self.store.told(answer, || "SCRIPT LOAD".into()).await?;
        Ok(Link {
            connection,
            server,
            begun: false,
            used: Instant::now(),
        })
    }

    /// Writes what is done where it belongs, and takes the batch out of the worker's hands.
    fn write(&self, pipe: &mut Pipeline, records: &[Record], minute: Millis) {
        let keys = self.store.keys();
        for Record { id, outcome, .. } in records {
            let cmd = match outcome {
                Outcome::Dead { envelope } => command("LPUSH", &[keys.failed.as_bytes(), envelope]),
                Outcome::Done { lead, .. } => {
                    let (key, id) = (keys.enriched.as_bytes(), id.as_bytes());
                    command("XADD", &[key, b"*", b"id", id, b"lead", lead])
                }
                _ => unreachable!("asked before"),
            };
            pipe.add_command(cmd);
        }
        pipe.cmd("DEL").arg(keys.batch(&self.worker, self.number));
        pipe.cmd("HDEL")
            .arg(keys.active(&self.worker))
            .arg(mark(self.number));
        count(keys, pipe, minute, records.iter(), 1);
    }

    /// Takes the next batch, makes sure that it is seen by whom nobody has taken it from, and begins
    /// to record it.
    fn fetch(&self, pipe: &mut Pipeline, count: usize, first: u64) {
        let keys = self.store.keys();
        let batch = keys.batch(&self.worker, self.number);
        let mut cmd = self.store.scripts().batch.call(&[
            &keys.queue,
            &keys.active(&self.worker),
            &batch,
            &keys.workers,
            &keys.paused,
            &keys.stats,
            &keys.enriched,
            &keys.failed,
        ]);
        cmd.arg(&self.worker).arg(self.number).arg(count).arg(first);
        cmd.arg(FETCH_BYTES).arg(LARGEST);
        pipe.add_command(cmd);
        pipe.cmd("WATCH").arg(&batch);
        pipe.cmd("LRANGE").arg(&batch).arg(0).arg(-1);
        // After that, so that it is the number of what was read.
        pipe.cmd("HGET")
            .arg(keys.active(&self.worker))
            .arg(mark(self.number));
        pipe.cmd("MULTI");
    }

    async fn read_recorded(&self, answer: Value, turn: &mut Turn) -> Result<(), StoreError> {
        match answer {
            Value::Nil => {}
            Value::Array(answers) => {
                turn.recorded = true;
                let refused = |(place, answer): (usize, Value)| {
                    let error = answer.extract_error().err()?;
                    Some((place, error.to_string()))
                };
                turn.refused = answers
                    .into_iter()
                    .enumerate()
                    .filter_map(refused)
                    .collect();
            }
            answer => {
                let error = answer.extract_error();
                let error = self.store.told(error, || "EXEC".into()).await;
                return Err(error.map_or_else(|error| error, |value| unexpected(&value)));
            }
        }
        Ok(())
    }

    async fn read_fetched(
        &self,
        answers: std::vec::IntoIter<Value>,
        link: &mut Link,
        first: u64,
        order: &mut u64,
    ) -> Result<Fetched, StoreError> {
        let name = || "batch".to_owned();
        let mut read = Vec::with_capacity(5);
        for answer in answers {
            let answer = answer.extract_error();
            if let Err(error) = &answer {
                link.server.note(error);
            }
            read.push(self.store.told(answer, name).await?);
        }
        let Ok([taken, _, leads, marked, _]) = <[Value; 5]>::try_from(read) else {
            return Err(self.store.given_up());
        };
        link.begun = true;
        let marked: Option<u64> = super::convert(marked)?;
        let mut reply = Reply::new(taken)?;
        self.store.shared.clock.observe(reply.now);
        match (reply.next::<u64>()?, reply.next::<usize>()?, leads) {
            (0, 0, _) => Ok(Fetched::Taken(Vec::new())),
            (0, n, Value::Array(leads)) if leads.len() == n && marked == Some(first) => {
                *order = reply.next()?;
                let delivery = |(number, lead): (u64, Value)| match lead {
                    Value::BulkString(lead) => Ok(Delivery::whole(number, lead.into())),
                    other => Err(unexpected(&other)),
                };
                let deliveries = (first..).zip(leads).map(delivery);
                deliveries.collect::<Result<_, _>>().map(Fetched::Taken)
            }
            (1, ..) => Ok(Fetched::Paused),
            (2, ..) => Ok(Fetched::NoLease),
            (3, ..) => Ok(Fetched::Unfit),
            // Taken and opened at once, or another one that came late stands there.
            _ => Err(StoreError::Answer(
                "a batch was opened before it could be read".into(),
            )),
        }
    }
}

/// The field of a worker's hash that has the number of the first lead of a lane's batch.
pub(super) fn mark(lane: usize) -> String {
    format!("batch:{lane}")
}

/// Adds outcomes to the figures, or takes them out again.
fn count<'a>(
    keys: &Keys,
    pipe: &mut Pipeline,
    minute: Millis,
    records: impl Iterator<Item = &'a Record>,
    each: i64,
) {
    let (mut done, mut skips, mut dead) = (0, 0, 0);
    for record in records {
        match record.outcome {
            Outcome::Dead { .. } => dead += each,
            Outcome::Done { skipped, .. } => {
                done += each;
                skips += i64::from(skipped) * each;
            }
            _ => unreachable!("asked before"),
        }
    }
    let minute = keys.minute(minute);
    for (field, n) in [("done", done), ("skipped", skips), ("dead", dead)] {
        if n != 0 {
            pipe.cmd("HINCRBY").arg(&keys.stats).arg(field).arg(n);
            pipe.cmd("HINCRBY").arg(&minute).arg(field).arg(n);
        }
    }
    pipe.cmd("EXPIRE").arg(minute).arg(MINUTE_KEPT);
}

fn command(name: &str, args: &[&[u8]]) -> Cmd {
    let bytes: usize = args.iter().map(|arg| arg.len()).sum();
    let mut cmd = Cmd::with_capacity(args.len() + 1, bytes + name.len());
    cmd.arg(name);
    for arg in args {
        cmd.arg(*arg);
    }
    cmd
}
