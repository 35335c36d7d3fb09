//! A worker's side of the store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Cmd;

use super::window::Piece;
use super::{Reply, Store, StoreError};
use crate::clock::Millis;
use crate::envelope::HEAD;
use crate::stats::WorkerInfo;

/// Bytes of leads that share their memory: one slow lead may keep those it was fetched with.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

/// A lead in a worker's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number, counted by the worker from 1 and never used twice.
    pub number: u64,
    /// What was in the list: a bare lead or an envelope; of one that is too large to be taken, the
    /// beginning.
    pub payload: Bytes,
    /// How many bytes it has in all.
    pub size: u64,
}

impl Delivery {
    pub(super) fn new(number: u64, piece: Piece) -> Self {
        Self {
            number,
            payload: piece.bytes,
            size: piece.size,
        }
    }

    pub(super) fn whole(number: u64, payload: Bytes) -> Self {
        Self {
            number,
            size: payload.len() as u64,
            payload,
        }
    }

    /// Whether all of it is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.size
    }
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
    /// Nothing was taken: what waits, or the server, is not for batches.
    Unfit,
}

impl Fetched {
    /// Whether no lead waited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Taken(leads) if leads.is_empty())
    }

    /// Whether a fetch of so many leads, and of about so many bytes, found that no more wait; one
    /// that ends at its bytes does not know.
    #[must_use]
    pub fn is_last(deliveries: &[Delivery], asked: usize, bytes: usize) -> bool {
        let fetched = || deliveries.iter().map(|delivery| delivery.size).sum::<u64>();
        deliveries.len() < asked && fetched() < bytes as u64
    }
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

/// How far through its pipeline an enriched lead went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Completion {
    /// To the end.
    #[default]
    Full,
    /// It ended early, by design.
    Skipped,
    /// It ended early because a budget did not allow a call.
    OverBudget,
}

/// What came of a delivery, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Enriched.
    Done {
        /// The enriched lead, for the stream; empty where it does not go there.
        lead: Bytes,
        /// How far through its pipeline it went.
        completion: Completion,
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
    /// Given up without having been read, because it is too large.
    Aside {
        /// What stands in place of the delivery's first bytes.
        head: Bytes,
        /// How many those are.
        replaces: u64,
    },
    /// Not worked on: back to the front of the line.
    Requeue {
        /// The envelope, or the delivery as it came.
        envelope: Bytes,
    },
}

/// What a heartbeat brings back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulse {
    /// When the heartbeat was sent.
    pub sent: Option<Instant>,
    /// The server's time of the heartbeat.
    pub now: Millis,
    /// Whether the worker was still registered.
    pub registered: bool,
    /// Whether work is paused.
    pub paused: bool,
    /// When the next retry is due.
    pub next_retry: Option<Millis>,
    /// How many leads wait to be tried.
    pub trials: u64,
    /// Whether the lease of any worker has run out.
    pub has_expired: bool,
}

impl Pulse {
    /// The latest that it can be by the server's clock, if that goes as this machine's does and a
    /// request takes no longer than `travel`; `None` without a heartbeat.
    #[must_use]
    pub fn latest(&self, travel: Duration) -> Option<Millis> {
        let passed = (self.sent?.elapsed() + travel).as_millis();
        Some(self.now.saturating_add(i64::try_from(passed).ok()?))
    }
}

impl Outcome {
    /// About how many bytes it takes to record it.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Done { lead: bytes, .. }
            | Self::Retry {
                envelope: bytes, ..
            }
            | Self::Postponed {
                envelope: bytes, ..
            }
            | Self::Dead { envelope: bytes }
            | Self::Aside { head: bytes, .. }
            | Self::Requeue { envelope: bytes } => bytes.len(),
        }
    }
}

/// A dead worker's delivery and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The delivery's number.
    pub number: u64,
    /// Whether it goes to the dead letter queue rather than back to work.
    pub dead: bool,
    /// The envelope; `None` where it goes back to work as it came.
    pub envelope: Option<Bytes>,
}

impl Store {
    /// Takes up to `count` leads into the worker's hands, numbered from `first`. Of a payload of
    /// more than `whole` bytes only the beginning is sent.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. Where the answer was lost the leads may be in the
    /// worker's hands all the same: ask [`Store::held`].
    pub async fn fetch(
        &self,
        worker: &str,
        count: usize,
        first: u64,
        whole: usize,
    ) -> Result<Fetched, StoreError> {
        let script = &self.scripts().fetch;
        let cmd = self.fetch_call(worker, count, first, whole);
        fetched(first, self.run_bulk(script, &cmd).await?)
    }

    pub(super) fn fetch_call(&self, worker: &str, count: usize, first: u64, whole: usize) -> Cmd {
        let keys = self.keys();
        let mut cmd = self.scripts().fetch.call(&[
            &keys.queue,
            &keys.active(worker),
            &keys.workers,
            &keys.paused,
            &keys.stats,
        ]);
        cmd.arg(worker).arg(count).arg(first);
        cmd.arg(self.bytes_at_once());
        cmd.arg(whole).arg(HEAD).arg(PIECE_BYTES);
        cmd
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
                Outcome::Aside { head, replaces } => cmd.arg(&head[..]).arg(replaces),
            };
        }
        self.run_bulk(script, &cmd).await?.rest()
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
        let sent = Instant::now();
        let mut reply = self.run(script, &cmd).await?;
        Ok(Pulse {
            sent: Some(sent),
            now: reply.now,
            registered: reply.next::<i64>()? == 1,
            paused: reply.next::<i64>()? == 1,
            next_retry: reply.next()?,
            trials: reply.next()?,
            has_expired: reply.values.next().is_some(),
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
        let mut cmd = script.call(&[
            &keys.workers,
            &keys.workers_info,
            &keys.active(worker),
            &keys.workers_state,
        ]);
        cmd.arg(worker);
        self.run(script, &cmd).await?.next()
    }

    /// Moves deliveries out of a dead worker's hands, the oldest last; an empty list only takes
    /// a worker without leads off the register. Returns the numbers moved, or `None` where the
    /// worker turned out to be alive. Fields of `rubbish` go to the dead letters as they are. The loss is recorded with `by`, the worker that recovers.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn recover(
        &self,
        worker: &str,
        by: &str,
        latest: Option<Millis>,
        recoveries: &[Recovery],
        rubbish: &[Vec<u8>],
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
            &keys.lost,
        ]);
        cmd.arg(worker).arg(by);
        cmd.arg(latest.map_or_else(String::new, |latest| latest.to_string()));
        for recovery in recoveries {
            let operation = match &recovery.envelope {
                None => "as it is",
                Some(_) if recovery.dead => "dead",
                Some(_) => "requeue",
            };
            cmd.arg(operation)
                .arg(recovery.number)
                .arg(recovery.envelope.as_deref().unwrap_or_default());
        }
        for field in rubbish {
            cmd.arg("rubbish").arg(field).arg("");
        }
        let mut reply = self.run_bulk(script, &cmd).await?;
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
        Ok((reply.next()?, reply.next()?))
    }
}

/// The letter that an outcome has in `commit.lua`.
const fn letter(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Done { completion, .. } => match completion {
            Completion::Full => b'd',
            Completion::Skipped => b's',
            Completion::OverBudget => b'b',
        },
        Outcome::Retry { .. } => b'r',
        Outcome::Postponed { .. } => b'p',
        Outcome::Dead { .. } => b'x',
        Outcome::Aside { .. } => b'a',
        Outcome::Requeue { .. } => b'q',
    }
}

/// Reads what `fetch.lua` answers.
pub(super) fn fetched(first: u64, mut reply: Reply) -> Result<Fetched, StoreError> {
    match reply.next::<i64>()? {
        0 => {
            let lengths: String = reply.next()?;
            Ok(Fetched::Taken(apart(first, &lengths, reply.rest()?)?))
        }
        1 => Ok(Fetched::Paused),
        _ => Ok(Fetched::NoLease),
    }
}

/// Takes payloads apart that came one behind the other.
fn apart(first: u64, lengths: &str, pieces: Vec<Vec<u8>>) -> Result<Vec<Delivery>, StoreError> {
    let wrong = || StoreError::Answer("a fetch's lengths are not those of its leads".into());
    let mut pieces = pieces.into_iter().map(Bytes::from);
    let mut rest = Bytes::new();
    let mut deliveries = Vec::new();
    for (number, word) in (first..).zip(lengths.split_ascii_whitespace()) {
        let (sent, size) = word.split_once('/').unwrap_or((word, word));
        let sent: usize = sent.parse().map_err(|_| wrong())?;
        let size: u64 = size.parse().map_err(|_| wrong())?;
        if rest.is_empty() && sent > 0 {
            rest = pieces.next().ok_or_else(wrong)?;
        }
        if sent > rest.len() {
            return Err(wrong());
        }
        deliveries.push(Delivery {
            number,
            payload: rest.split_to(sent),
            size,
        });
    }
    if rest.is_empty() && pieces.all(|piece| piece.is_empty()) {
        Ok(deliveries)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_that_came_one_behind_the_other_are_what_they_were() {
        let pieces = |pieces: &[&str]| {
            pieces
                .iter()
                .map(|piece| piece.as_bytes().to_vec())
                .collect()
        };
        let found = apart(7, "2 0 3 2/900 0", pieces(&["abcde", "fg"])).expect("sound");
        let found: Vec<_> = found
            .iter()
            .map(|delivery| {
                (
                    delivery.number,
                    &delivery.payload[..],
                    delivery.size,
                    delivery.is_whole(),
                )
            })
            .collect();
        let expected: [(u64, &[u8], u64, bool); 5] = [
            (7, b"ab", 2, true),
            (8, b"", 0, true),
            (9, b"cde", 3, true),
            (10, b"fg", 900, false),
            (11, b"", 0, true),
        ];
        assert_eq!(found, expected);
        let none = apart(1, "", pieces(&[""])).expect("sound");
        assert_eq!(none, []);
        for (lengths, payloads) in [
            ("3", ["ab"]),
            ("1", ["ab"]),
            ("2 1", ["ab"]),
            ("two", ["ab"]),
            ("2/x", ["ab"]),
        ] {
            assert!(apart(1, lengths, pieces(&payloads)).is_err(), "{lengths}");
        }
    }
}
