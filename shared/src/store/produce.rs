//! Pushing leads in, and looking at those already there.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};

use super::connect::Meter;
use super::door::Server;
use super::script::Script;
use super::{RESPONSE_TIMEOUT, Reply, Store, StoreError, convert, timed};
use crate::clock::Millis;

/// Leads that one call may push.
pub const PUSH_BATCH: usize = 500;

/// The same where the server looks at each person: about 2 ms.
pub const PUSH_NEW_BATCH: usize = 150;

/// How long it is remembered who was pushed by a run that leaves out known people.
pub const CLAIM: Duration = Duration::from_secs(CLAIM_SECONDS);
const CLAIM_SECONDS: u64 = 3_600;
/// How long a server may take to hear from its replicas that they have a batch.
const REPLICAS_TIMEOUT_MS: u64 = 2_000;

/// About how many payloads one step of a scan shows.
const SCAN: u64 = 1_000;
/// How many dead letters two steps of a scan share.
pub const SCAN_OVERLAP: u64 = 200;

/// Where the payloads that [`Store::peek`] shows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The waiting list, the next to be taken first.
    Waiting,
    /// The retry set, the first due first.
    Retry,
    /// The dead letter queue, the oldest first.
    Dead,
}

/// A batch of a producer's run.
pub(crate) struct PushBatch<'a> {
    pub(crate) run: &'a str,
    /// Counted from 1.
    pub(crate) number: u64,
    pub(crate) leads: &'a [Bytes],
    /// Where known people are left out: since when, in server time, others may have pushed some
    /// unseen, and the person of each lead.
    pub(crate) people: Option<(Millis, &'a [Option<Person>])>,
}

/// What must be so before a batch counts as pushed, besides the primary's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durability {
    /// How many replicas have it.
    pub replicas: u32,
    /// It is in the append-only file on the primary's disk, and on those of the replicas.
    pub fsync: bool,
}

impl Durability {
    /// Whether the primary's answer is enough.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Waits until what was written over a connection is as safe as this, or for
    /// [`REPLICAS_TIMEOUT_MS`]; returns whether it is on the primary's disk, where that was asked for, and
    /// how many replicas have it.
    async fn wait(self, connection: &mut MultiplexedConnection) -> RedisResult<(bool, u32)> {
        if self.fsync {
            let mut wait = redis::cmd("WAITAOF");
            wait.arg(1).arg(self.replicas).arg(REPLICAS_TIMEOUT_MS);
            let (disks, replicas): (u32, u32) = wait.query_async(connection).await?;
            return Ok((disks > 0, replicas));
        }
        let mut wait = redis::cmd("WAIT");
        wait.arg(self.replicas).arg(REPLICAS_TIMEOUT_MS);
        Ok((true, wait.query_async(connection).await?))
    }

    /// What is missing, if anything is.
    fn missing(self, (on_disk, have): (bool, u32)) -> Option<StoreError> {
        let replicas = self.replicas;
        if !self.fsync && have < replicas {
            return Some(StoreError::TooFewReplicas { have, replicas });
        }
        let is_missing = !on_disk || have < replicas;
        is_missing.then(|| StoreError::NotOnDisk {
            missing: if on_disk {
                format!("{} of {replicas} replicas", replicas - have)
            } else {
                "the primary".into()
            },
        })
    }
}

/// What stands for a person: half of the SHA-256 of a clean LinkedIn URL.
pub(crate) type Person = [u8; 16];

fn hex(person: Person) -> String {
    person.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// How many leads wait now.
    pub waiting: u64,
    /// How many of the batch another run had pushed meanwhile.
    pub left_out: usize,
}

fn pushed(mut reply: Reply, batch: &PushBatch<'_>) -> Result<Pushed, StoreError> {
    Ok(Pushed {
        waiting: reply.next()?,
        left_out: match batch.people {
            Some(_) => reply.next()?,
            None => 0,
        },
    })
}

/// The connection of a run that waits for replicas: nobody else waits behind it.
#[derive(Default)]
pub(crate) struct ReplicaLink(Option<OwnLink>);

struct OwnLink {
    connection: MultiplexedConnection,
    meter: Arc<Meter>,
    server: Server,
}

impl Store {
    /// Pushes up to [`PUSH_BATCH`] leads to the end of the line, first in first; returns how
    /// many wait then. Sent twice with the same number it pushes once: a run of a producer counts
    /// its batches from 1 and sends one again whose answer was lost. The server remembers a run
    /// for an hour after its last batch.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn push(&self, run: &str, batch: u64, leads: &[Bytes]) -> Result<u64, StoreError> {
        let batch = PushBatch {
            run,
            number: batch,
            leads,
            people: None,
        };
        Ok(self.push_batch(&batch, None).await?.waiting)
    }

    /// The same for a batch of either kind, which counts as pushed only where it is as safe as asked for.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; [`StoreError::TooFewReplicas`] or
    /// [`StoreError::NotOnDisk`], and then it is pushed; [`StoreError::NoFsync`].
    pub(crate) async fn push_batch(
        &self,
        batch: &PushBatch<'_>,
        durability: Option<(Durability, &mut ReplicaLink)>,
    ) -> Result<Pushed, StoreError> {
        assert!(
            (1..=PUSH_BATCH).contains(&batch.leads.len()),
            "a batch has 1 to {PUSH_BATCH} leads"
        );
        let (script, cmd) = self.push_call(batch);
        let Some((durability, link)) = durability else {
            return pushed(self.run_bulk(script, &cmd).await?, batch);
        };
        let wait = if durability.fsync { "WAITAOF" } else { "WAIT" };
        let what = || format!("{} or {wait}", script.name());
        let mut own = match link.0.take() {
            Some(own) => own,
            None => self.replica_link(durability).await?,
        };
        let call = async {
            let reply = script.run(&cmd, &mut own.connection).await?;
            // The same connection: it waits for what was written over it.
            let safe = durability.wait(&mut own.connection).await?;
            Ok((reply, safe))
        };
        let meter = Arc::clone(&own.meter);
        let answer = tokio::select! {
            biased;
            () = own.server.gone() => return Err(self.given_up()),
            answer = timed("push", meter.patiently(RESPONSE_TIMEOUT, call)) => answer,
        };
        let told = self.told(answer, what).await;
        let (reply, safe) = told.inspect_err(|error| own.server.note(error))?;
        link.0 = Some(own);
        if let Some(error) = durability.missing(safe) {
            return Err(error);
        }
        let reply = Reply::new(reply)?;
        self.shared.clock.observe(reply.now);
        pushed(reply, batch)
    }

    fn push_call(&self, batch: &PushBatch<'_>) -> (&Script, Cmd) {
        let keys = self.keys();
        let script = match batch.people {
            None => &self.scripts().push,
            Some(_) => &self.scripts().push_new,
        };
        let mut cmd = script.call(&[&keys.queue, &keys.push_run(batch.run), &keys.stats]);
        cmd.arg(batch.number);
        match &batch.people {
            None => {
                for lead in batch.leads {
                    cmd.arg(&lead[..]);
                }
            }
            Some((since, people)) => {
                cmd.arg(since).arg(keys.claims());
                cmd.arg(CLAIM_SECONDS * 1_000);
                for (person, lead) in people.iter().zip(batch.leads) {
                    let person = person.map(hex).unwrap_or_default();
                    cmd.arg(person).arg(&lead[..]);
                }
            }
        }
        (script, cmd)
    }

    async fn replica_link(&self, durability: Durability) -> Result<OwnLink, StoreError> {
        let server = self.door.server().await?;
        let connect = server.endpoint.connect().await;
        let (mut connection, meter) = connect.inspect_err(|error| server.note(error))?;
        if durability.fsync {
            // Before anything is pushed: not every server can tell.
            let mut ask = redis::cmd("WAITAOF");
            let ask = ask
                .arg(1)
                .arg(0)
                .arg(1)
                .query_async::<Value>(&mut connection);
            match meter.patiently(RESPONSE_TIMEOUT, ask).await {
                Err(error) if error.code() == Some("ERR") => {
                    return Err(StoreError::NoFsync {
                        cause: error.detail().unwrap_or_default().to_owned(),
                    });
                }
                answer => self.told(answer, || "WAITAOF".into()).await?,
            };
        }
        Ok(OwnLink {
            connection,
            meter,
            server,
        })
    }

    /// How many leads wait.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn waiting_count(&self) -> Result<u64, StoreError> {
        let mut cmd = redis::cmd("LLEN");
        cmd.arg(&self.keys().queue);
        self.query(&cmd).await
    }

    /// Looks at `count` payloads from `offset` on, without touching them.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn peek(
        &self,
        place: Place,
        offset: u64,
        count: u64,
    ) -> Result<Vec<Bytes>, StoreError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let (offset, count) = (
            i64::try_from(offset).unwrap_or(i64::MAX),
            i64::try_from(count).unwrap_or(i64::MAX),
        );
        let last = offset.saturating_add(count).saturating_sub(1);
        let keys = self.keys();
        let mut cmd;
        let reversed = match place {
            Place::Retry => {
                cmd = redis::cmd("ZRANGE");
                cmd.arg(&keys.retry).arg(offset).arg(last);
                false
            }
            Place::Waiting | Place::Dead => {
                cmd = redis::cmd("LRANGE");
                let key = if place == Place::Waiting {
                    &keys.queue
                } else {
                    &keys.failed
                };
                cmd.arg(key).arg(-1 - last).arg(-1 - offset);
                true
            }
        };
        let payloads: Vec<Vec<u8>> = self.query_bulk(&cmd).await?;
        let mut payloads: Vec<Bytes> = payloads.into_iter().map(Bytes::from).collect();
        if reversed {
            payloads.reverse();
        }
        Ok(payloads)
    }

    /// Walks through a place without touching it: call it with 0, then with the cursor it
    /// returned, until that is 0.
    ///
    /// Every payload of the waiting list and the retry set that is there from the first call to
    /// the last is shown at least once, whatever others put in and take out meanwhile. Dead
    /// letters may be taken out of the middle; the walk overlaps itself so that up to
    /// [`SCAN_OVERLAP`] of them may go between two calls.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn scan(&self, place: Place, cursor: u64) -> Result<(u64, Vec<Bytes>), StoreError> {
        let keys = self.keys();
        let (next, payloads): (u64, Vec<Vec<u8>>) = match place {
            Place::Waiting => {
                // From the left end: leads are taken and given back at the right one, and what
                // is pushed at the left only moves the rest further along.
                let mut cmd = redis::cmd("LRANGE");
                cmd.arg(&keys.queue).arg(cursor).arg(cursor + SCAN - 1);
                let payloads: Vec<Vec<u8>> = self.query_bulk(&cmd).await?;
                let full = payloads.len() as u64 == SCAN;
                (if full { cursor + SCAN } else { 0 }, payloads)
            }
            Place::Retry => {
                let mut cmd = redis::cmd("ZSCAN");
                cmd.arg(&keys.retry).arg(cursor).arg("COUNT").arg(SCAN);
                let (next, members): (u64, Vec<Vec<u8>>) = self.query_bulk(&cmd).await?;
                // Each member is followed by its score.
                (next, members.into_iter().step_by(2).collect())
            }
            Place::Dead => {
                let entries = self.peek(place, cursor, SCAN).await?;
                let full = entries.len() as u64 == SCAN;
                let next = if full {
                    cursor + SCAN - SCAN_OVERLAP
                } else {
                    0
                };
                return Ok((next, entries));
            }
        };
        Ok((next, payloads.into_iter().map(Bytes::from).collect()))
    }

    /// Looks at every payload in the hands of the registered workers, and of these others.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn peek_in_flight(&self, others: &[String]) -> Result<Vec<Bytes>, StoreError> {
        let workers = self.workers_and(others).await?;
        let mut payloads = Vec::new();
        for worker in workers {
            let numbers = self.held(&worker).await?;
            let mut hands = self.hands(&worker, &numbers, u32::MAX as usize);
            while let Some(found) = hands.next().await? {
                payloads.extend(found.into_iter().map(|delivery| delivery.payload));
            }
        }
        Ok(payloads)
    }

    /// Reads up to `count` enriched leads after the stream entry `after`, or from the time
    /// `since` on where there is none yet; returns them with the last entry's id. An empty list
    /// is the end.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn peek_enriched(
        &self,
        since: Millis,
        after: Option<&str>,
        count: u64,
    ) -> Result<(Vec<Bytes>, Option<String>), StoreError> {
        let from = after.map_or_else(|| since.max(0).to_string(), |id| format!("({id}"));
        let mut cmd = redis::cmd("XRANGE");
        cmd.arg(&self.keys().enriched)
            .arg(from)
            .arg("+")
            .arg("COUNT")
            .arg(count);
        let entries: Vec<(String, Vec<Value>)> = self.query_bulk(&cmd).await?;
        let last = entries.last().map(|(id, _)| id.clone());
        let mut leads = Vec::with_capacity(entries.len());
        for (_, fields) in entries {
            let mut fields = fields.into_iter();
            while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
                if convert::<Vec<u8>>(field)? == b"lead" {
                    leads.push(Bytes::from(convert::<Vec<u8>>(value)?));
                }
            }
        }
        Ok((leads, last))
    }
}
