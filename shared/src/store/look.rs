//! Looking at what waits, is in flight or is due again, and at the audit, without touching any
//! of it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::window::Piece;
use super::{Store, StoreError};
use crate::clock::Millis;
use crate::envelope::{Envelope, HEAD, Opened, Origin};

/// Where a lead is that has not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// In the waiting list, the next to be taken first.
    #[default]
    Waiting,
    /// In the hands of a worker, in no order.
    InFlight,
    /// Due again later, the first due first.
    Retry,
}

/// A lead that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is stored: a bare lead or an envelope; of a large one the beginning.
    pub payload: Bytes,
    /// The envelope, where it is one.
    pub envelope: Option<Envelope>,
    /// When it is due, where it waits for a retry.
    pub due: Option<Millis>,
    /// Who has it in hand, where somebody has.
    pub worker: Option<String>,
}

impl Entry {
    fn new(payload: Bytes) -> Self {
        Self {
            envelope: Envelope::from_payload(&payload),
            payload,
            due: None,
            worker: None,
        }
    }

    fn of_piece(piece: Piece) -> Self {
        if piece.is_whole() {
            return Self::new(piece.bytes);
        }
        let opened = Opened::new(&piece.bytes, piece.size);
        Self {
            envelope: (opened.origin == Origin::Envelope).then_some(opened.envelope),
            payload: piece.bytes,
            due: None,
            worker: None,
        }
    }

    /// The lead's own bytes.
    #[must_use]
    pub fn lead(&self) -> &Bytes {
        self.envelope
            .as_ref()
            .map_or(&self.payload, |envelope| &envelope.lead)
    }
}

/// An entry of the audit: who changed what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in milliseconds of server time.
    pub at: Millis,
    /// Who: `user@host`.
    pub who: String,
    /// What was done: `redriven`, `edited`, `recalled`, `dropped`, `cleared`, `restored`,
    /// `paused`, `resumed`.
    pub what: String,
    /// To how many.
    pub count: u64,
    /// The ids, or the trash they went to.
    pub detail: String,
}

/// Entries of a stream as the server sends them: id, and fields.
type Rows = Vec<(String, HashMap<String, Vec<u8>>)>;

impl Store {
    /// The keys of fixed names that are there, but for what looks whether Redis accepts a write.
    ///
    /// # Errors
    /// [`StoreError`] where Redis is away, or the user may not.
    pub async fn keys_in_use(&self) -> Result<Vec<String>, StoreError> {
        let keys = self.keys();
        let names = keys.types().map(|(name, _)| name);
        let names: Vec<&str> = names
            .into_iter()
            .filter(|name| *name != keys.probe)
            .collect();
        let mut pipe = redis::pipe();
        for name in &names {
            pipe.cmd("EXISTS").arg(*name);
        }
        let there: Vec<bool> = self.pipeline(&pipe).await?;
        let there = names.into_iter().zip(there).filter(|(_, there)| *there);
        Ok(there.map(|(name, _)| name.to_owned()).collect())
    }

    /// Looks at up to `count` leads of a stage from `offset` on; returns how many there are in
    /// all, and those. `unregistered` names workers that have
    /// leads in flight and are not registered.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn look(
        &self,
        stage: Stage,
        offset: u64,
        count: u64,
        unregistered: &[String],
    ) -> Result<(u64, Vec<Entry>), StoreError> {
        match stage {
            Stage::Waiting => {
                // The next to be taken is the rightmost.
                let index = |n: u64| -1 - i64::try_from(n).unwrap_or(i64::MAX - 1);
                let last = offset.saturating_add(count.max(1)) - 1;
                let queue = &self.keys().queue;
                let (total, mut pieces) = self.window(queue, index(last), index(offset)).await?;
                pieces.reverse();
                Ok((total, pieces.into_iter().map(Entry::of_piece).collect()))
            }
            Stage::Retry => self.look_at_retry(offset, count).await,
            Stage::InFlight => self.look_in_hands(offset, count, unregistered).await,
        }
    }

    async fn look_at_retry(
        &self,
        offset: u64,
        count: u64,
    ) -> Result<(u64, Vec<Entry>), StoreError> {
        let retry = &self.keys().retry;
        let mut pipe = redis::pipe();
        pipe.cmd("ZCARD").arg(retry);
        pipe.cmd("ZRANGE")
            .arg(retry)
            .arg(offset)
            .arg(offset.saturating_add(count.max(1)) - 1)
            .arg("WITHSCORES");
        let (total, members): (u64, Vec<(Vec<u8>, f64)>) = self.pipeline_bulk(&pipe).await?;
        let entries = members.into_iter().map(|(payload, due)| Entry {
            #[allow(clippy::cast_possible_truncation)]
            due: Some(due as Millis),
            ..Entry::new(payload.into())
        });
        Ok((total, entries.collect()))
    }

    /// The names of the registered workers, and of these others.
    pub(super) async fn workers_and(&self, others: &[String]) -> Result<Vec<String>, StoreError> {
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(&self.keys().workers).arg(0).arg(-1);
        let mut workers: Vec<String> = self.query(&cmd).await?;
        let registered: HashSet<&String> = workers.iter().collect();
        let others = others.iter().filter(|other| !registered.contains(other));
        let others: Vec<String> = others.cloned().collect();
        workers.extend(others);
        Ok(workers)
    }

    async fn look_in_hands(
        &self,
        offset: u64,
        count: u64,
        unregistered: &[String],
    ) -> Result<(u64, Vec<Entry>), StoreError> {
        let workers = self.workers_and(unregistered).await?;
        let (mut total, mut skip, mut entries) = (0, offset, Vec::new());
        for worker in workers {
            let numbers = self.held(&worker).await?;
            let held = numbers.len() as u64;
            total += held;
            if skip >= held {
                skip -= held;
                continue;
            }
            let missing = count.saturating_sub(entries.len() as u64);
            let found = self.in_hands(&worker, &numbers, skip, missing).await?;
            entries.extend(found.into_iter().map(|piece| Entry {
                worker: Some(worker.clone()),
                ..Entry::of_piece(piece)
            }));
            skip = 0;
        }
        Ok((total, entries))
    }

    /// Payloads in a worker's hands, from one on; large ones cut.
    async fn in_hands(
        &self,
        worker: &str,
        numbers: &[u64],
        skip: u64,
        count: u64,
    ) -> Result<Vec<Piece>, StoreError> {
        let in_range = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let from = in_range(skip).min(numbers.len());
        let to = in_range(skip.saturating_add(count)).min(numbers.len());
        let mut hands = self.hands(worker, &numbers[from..to], HEAD);
        let mut seen = Vec::new();
        while let Some(found) = hands.next().await? {
            seen.extend(found.into_iter().map(|delivery| Piece {
                bytes: delivery.payload,
                size: delivery.size,
            }));
        }
        Ok(seen)
    }

    /// The newest entries of the audit, newest first; returns how many there are in all, and
    /// those.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn audit(&self, count: u64) -> Result<(u64, Vec<AuditEntry>), StoreError> {
        let audit = &self.keys().audit;
        let mut pipe = redis::pipe();
        pipe.cmd("XLEN").arg(audit);
        pipe.cmd("XREVRANGE")
            .arg(audit)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(count);
        let (total, rows): (u64, Rows) = self.pipeline_bulk(&pipe).await?;
        Ok((total, rows.into_iter().map(audit_entry).collect()))
    }

    /// Up to `count` entries of the audit, newest first, from an id on (`+` the newest, `(id` those
    /// before that one), each with its id.
    pub(super) async fn audit_before(
        &self,
        from: &str,
        count: u64,
    ) -> Result<Vec<(String, AuditEntry)>, StoreError> {
        let mut cmd = redis::cmd("XREVRANGE");
        cmd.arg(&self.keys().audit).arg(from).arg("-");
        cmd.arg("COUNT").arg(count);
        let rows: Rows = self.query_bulk(&cmd).await?;
        let entries = rows.into_iter();
        Ok(entries
            .map(|row| (row.0.clone(), audit_entry(row)))
            .collect())
    }
}

fn audit_entry((id, mut fields): (String, HashMap<String, Vec<u8>>)) -> AuditEntry {
    let mut take = |field: &str| {
        let value = fields.remove(field).unwrap_or_default();
        String::from_utf8_lossy(&value).into_owned()
    };
    AuditEntry {
        at: id
            .split('-')
            .next()
            .and_then(|ms| ms.parse().ok())
            .unwrap_or(0),
        who: take("who"),
        what: take("what"),
        count: take("count").parse().unwrap_or(0),
        detail: take("detail"),
    }
}
