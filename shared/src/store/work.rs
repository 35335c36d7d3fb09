//! A worker's side of the store.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::door::Server;
use super::{Store, StoreError, convert, time_or_none};
use crate::clock::Millis;
use crate::stats::WorkerInfo;

/// Bytes of leads after which a fetch takes no more, whatever the number.
const FETCH_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that one slow lead may keep in memory of those it was fetched with. Leads of a longer
/// fetch get memory of their own.
const SHARED_BYTES: usize = 256 * 1024;

/// A lead in a worker's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number, counted by the worker from 1 and never used twice.
    pub number: u64,
    /// What was in the list: a bare lead or an envelope.
    pub payload: Bytes,
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// Leads; fewer than asked for, or none, where no more wait.
    Taken(Vec<Delivery>),
    /// Work is paused.
    Paused,
    /// The worker's lease has run out: it must register again first.
    NoLease,
}

/// A delivery with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The delivery's number.
    pub number: u64,
    /// The lead's id.
    pub id: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a delivery, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Enriched.
    Done {
        /// The enriched lead, for the stream; empty where it does not go there.
        lead: Bytes,
        /// Whether it ended early, on purpose.
        skipped: bool,
    },
    /// Due again later.
    Retry {
        /// The envelope, with the failed attempt in it.
        envelope: Bytes,
        /// How long to wait, in milliseconds.
        delay_ms: u64,
        /// Which retry this will be, from 1.
        retry: u32,
    },
    /// Not worked on for now: due again later, which counts as no attempt.
    Postponed {
        /// The envelope.
        envelope: Bytes,
        /// How long to wait, in milliseconds.
        delay_ms: u64,
    },
    /// Given up.
    Dead {
        /// The envelope, with its history.
        envelope: Bytes,
    },
    /// Not worked on: back to the front of the line.
    Requeue {
        /// The envelope.
        envelope: Bytes,
    },
}

/// What a heartbeat brings back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Whether the worker was still registered.
    pub registered: bool,
    /// Whether work is paused.
    pub paused: bool,
    /// When the next retry is due.
    pub next_retry: Option<Millis>,
    /// How many leads wait to be tried.
    pub trials: u64,
    /// Workers whose lease has run out.
    pub expired: Vec<String>,
}

/// A dead worker's delivery and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The delivery's number.
    pub number: u64,
    /// Whether it goes to the dead letter queue rather than back to work.
    pub dead: bool,
    /// The envelope.
    pub envelope: Bytes,
}

impl Store {
    /// Takes up to `count` leads into the worker's hands, numbered from `first`.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. Where the answer was lost the leads may be in the
    /// worker's hands all the same: ask [`Store::held`].
    pub async fn fetch(
        &self,
        worker: &str,
        count: usize,
        first: u64,
    ) -> Result<Fetched, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().fetch;
        let mut cmd = script.call(&[
            &keys.queue,
            &keys.active(worker),
            &keys.workers,
            &keys.paused,
            &keys.stats,
        ]);
        cmd.arg(worker).arg(count).arg(first).arg(FETCH_BYTES);
        let mut reply = self.run(script, &cmd).await?;
        match reply.next::<i64>()? {
            0 => {
                let (lengths, payloads) = (reply.next::<String>()?, payload(reply.next()?)?);
                Ok(Fetched::Taken(apart(first, &lengths, &payloads)?))
            }
            1 => Ok(Fetched::Paused),
            _ => Ok(Fetched::NoLease),
        }
    }

    /// Records outcomes in one step; returns the deliveries that the worker no longer held, for
    /// which nothing was recorded.
    ///
    /// `resend` tells that the same batch was sent before and its answer lost: what is no longer
    /// held was then recorded the first time, and nothing is returned.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; send the batch again with `resend`.
    pub async fn commit(
        &self,
        worker: &str,
        records: &[Record],
        resend: bool,
    ) -> Result<Vec<u64>, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().commit;
        let mut cmd = script.call(&[
            &keys.active(worker),
            &keys.queue,
            &keys.failed,
            &keys.enriched,
            &keys.retry,
            &keys.stats,
        ]);
        cmd.arg(u8::from(resend));
        let letters: Vec<u8> = records
            .iter()
            .map(|record| letter(&record.outcome))
            .collect();
        cmd.arg(letters);
        for Record {
            number,
            id,
            outcome,
        } in records
        {
            cmd.arg(number);
            match outcome {
                Outcome::Done { lead, .. } => cmd.arg(&lead[..]).arg(id),
                Outcome::Retry {
                    envelope,
                    delay_ms,
                    retry,
                } => cmd.arg(&envelope[..]).arg(delay_ms).arg(retry),
                Outcome::Postponed { envelope, delay_ms } => cmd.arg(&envelope[..]).arg(delay_ms),
                Outcome::Dead { envelope } | Outcome::Requeue { envelope } => {
                    cmd.arg(&envelope[..])
                }
            };
        }
        self.run(script, &cmd).await?.rest()
    }

    /// Renews the worker's lease, or registers it.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn heartbeat(
        &self,
        worker: &str,
        lease: Duration,
        info: &WorkerInfo,
        register: bool,
    ) -> Result<Pulse, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().heartbeat;
        let mut cmd = script.call(&[
            &keys.workers,
            &keys.workers_info,
            &keys.paused,
            &keys.retry,
            &keys.queue,
            &keys.stats,
            &keys.trials,
        ]);
        cmd.arg(worker)
            .arg(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX))
            .arg(serde_json::to_vec(info).expect("plain fields are JSON"))
            .arg(u8::from(register));
        let mut reply = self.run(script, &cmd).await?;
        Ok(Pulse {
            registered: reply.next::<i64>()? == 1,
            paused: reply.next::<i64>()? == 1,
            next_retry: time_or_none(reply.next()?),
            trials: reply.next()?,
            expired: reply.rest()?,
        })
    }

    /// Takes the worker off the register; returns how many leads it still held. Where it held
    /// some its lease ends at once, and the next recoverer takes them.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn leave(&self, worker: &str) -> Result<u64, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().leave;
        let mut cmd = script.call(&[&keys.workers, &keys.workers_info, &keys.active(worker)]);
        cmd.arg(worker);
        self.run(script, &cmd).await?.next()
    }

    /// The numbers of the deliveries in a worker's hands, in no order. Read in steps, so that a
    /// thousand leads in hand hold nobody up.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn held(&self, worker: &str) -> Result<Vec<u64>, StoreError> {
        let active = self.keys().active(worker);
        let (mut cursor, mut numbers) = (0_u64, Vec::new());
        loop {
            let mut cmd = redis::cmd("HSCAN");
            cmd.arg(&active).arg(cursor).arg("COUNT").arg(500);
            let (next, fields): (u64, Vec<Value>) = self.query(&cmd).await?;
            for field in fields.into_iter().step_by(2) {
                numbers.push(convert(field)?);
            }
            cursor = next;
            if cursor == 0 {
                // A scan may show a field twice.
                numbers.sort_unstable();
                numbers.dedup();
                return Ok(numbers);
            }
        }
    }

    /// Deliveries in a worker's hands, by number; those no longer there are left out.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn deliveries(
        &self,
        worker: &str,
        numbers: &[u64],
    ) -> Result<Vec<Delivery>, StoreError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut cmd = redis::cmd("HMGET");
        cmd.arg(self.keys().active(worker)).arg(numbers);
        let payloads: Vec<Value> = self.query(&cmd).await?;
        numbers
            .iter()
            .zip(payloads)
            .filter(|(_, value)| *value != Value::Nil)
            .map(|(&number, value)| {
                Ok(Delivery {
                    number,
                    payload: payload(value)?,
                })
            })
            .collect()
    }

    /// Moves deliveries out of a dead worker's hands, the oldest last; an empty list only takes
    /// a worker without leads off the register. Returns the numbers moved, or `None` where the
    /// worker turned out to be alive.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn recover(
        &self,
        worker: &str,
        recoveries: &[Recovery],
    ) -> Result<Option<Vec<u64>>, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().recover;
        let mut cmd = script.call(&[
            &keys.workers,
            &keys.workers_info,
            &keys.active(worker),
            &keys.queue,
            &keys.failed,
            &keys.stats,
        ]);
        cmd.arg(worker);
        for recovery in recoveries {
            cmd.arg(if recovery.dead { "dead" } else { "requeue" })
                .arg(recovery.number)
                .arg(&recovery.envelope[..]);
        }
        let mut reply = self.run(script, &cmd).await?;
        if reply.next::<i64>()? == 1 {
            return Ok(None);
        }
        reply.rest().map(Some)
    }

    /// Puts up to `limit` due retries at the front of the line; returns how many, and when the
    /// next one is due.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn promote(&self, limit: usize) -> Result<(usize, Option<Millis>), StoreError> {
        let keys = self.keys();
        let script = &self.scripts().promote;
        let mut cmd = script.call(&[&keys.retry, &keys.queue]);
        cmd.arg(limit);
        let mut reply = self.run(script, &cmd).await?;
        Ok((reply.next()?, time_or_none(reply.next()?)))
    }

    /// A connection that waits for leads.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        Waiter {
            store: self.clone(),
            connection: None,
        }
    }
}

/// Waits for a lead without taking it: the server moves the rightmost lead onto its own place,
/// so nothing is in anybody's hands when the answer is lost.
pub struct Waiter {
    store: Store,
    connection: Option<(redis::aio::MultiplexedConnection, Server)>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

impl Waiter {
    /// Returns as soon as a lead waits, or after `timeout`, or when another node becomes the
    /// primary.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; the next call connects anew.
    pub async fn wait(&mut self, timeout: Duration) -> Result<(), StoreError> {
        let (mut connection, server) = match self.connection.take() {
            Some(connection) => connection,
            None => self.store.blocking_connection().await?,
        };
        let queue = &self.store.keys().queue;
        let mut cmd = redis::cmd("BLMOVE");
        cmd.arg(queue)
            .arg(queue)
            .arg("RIGHT")
            .arg("RIGHT")
            .arg(timeout.as_secs_f64());
        // Longer than the server may take, so that a dead connection is noticed.
        let answer = tokio::time::timeout(
            timeout + super::CONNECT_TIMEOUT,
            cmd.query_async::<Value>(&mut connection),
        );
        tokio::select! {
            () = server.gone() => Ok(()),
            answer = answer => match answer {
                Ok(Ok(_)) => {
                    self.connection = Some((connection, server));
                    Ok(())
                }
                Ok(Err(error)) => {
                    server.note(&error);
                    Err(self.store.error(&error))
                }
                Err(_) => Err(StoreError::Unreachable {
                    url: self.store.url().to_owned(),
                    cause: "no answer in time".into(),
                }),
            },
        }
    }
}

/// The letter that an outcome has in `commit.lua`.
const fn letter(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Done { skipped: false, .. } => b'd',
        Outcome::Done { skipped: true, .. } => b's',
        Outcome::Retry { .. } => b'r',
        Outcome::Postponed { .. } => b'p',
        Outcome::Dead { .. } => b'x',
        Outcome::Requeue { .. } => b'q',
    }
}

/// Takes payloads apart that came in one piece.
fn apart(first: u64, lengths: &str, payloads: &Bytes) -> Result<Vec<Delivery>, StoreError> {
    let wrong = || StoreError::Answer("a fetch's lengths are not those of its leads".into());
    let own_memory = payloads.len() > SHARED_BYTES;
    let mut rest = payloads.clone();
    let mut deliveries = Vec::new();
    for (number, length) in (first..).zip(lengths.split_ascii_whitespace()) {
        let length: usize = length.parse().map_err(|_| wrong())?;
        if length > rest.len() {
            return Err(wrong());
        }
        let payload = rest.split_to(length);
        let payload = if own_memory {
            Bytes::copy_from_slice(&payload)
        } else {
            payload
        };
        deliveries.push(Delivery { number, payload });
    }
    if rest.is_empty() {
        Ok(deliveries)
    } else {
        Err(wrong())
    }
}

fn payload(value: Value) -> Result<Bytes, StoreError> {
    convert::<Vec<u8>>(value).map(Bytes::from)
}
