//! Pushing leads in, and looking at those already there.

use bytes::Bytes;
use redis::Value;

use super::{Store, StoreError, convert};
use crate::clock::Millis;

/// Leads that one call may push.
pub const PUSH_BATCH: usize = 500;

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

impl Store {
    /// Pushes up to [`PUSH_BATCH`] leads to the end of the line, first in first; returns how
    /// many wait then. Sent twice with the same number it pushes once: a run of a producer counts
    /// its batches from 1 and sends one again whose answer was lost. The server remembers a run
    /// for an hour after its last batch.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn push(&self, run: &str, batch: u64, leads: &[Bytes]) -> Result<u64, StoreError> {
        assert!(
            (1..=PUSH_BATCH).contains(&leads.len()),
            "a batch has 1 to {PUSH_BATCH} leads"
        );
        let keys = self.keys();
        let script = &self.scripts().push;
        let mut cmd = script.call(&[&keys.queue, &keys.push_run(run), &keys.stats]);
        cmd.arg(batch);
        for lead in leads {
            cmd.arg(&lead[..]);
        }
        self.run(script, &cmd).await?.next()
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
        let payloads: Vec<Vec<u8>> = self.query(&cmd).await?;
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
                let payloads: Vec<Vec<u8>> = self.query(&cmd).await?;
                let full = payloads.len() as u64 == SCAN;
                (if full { cursor + SCAN } else { 0 }, payloads)
            }
            Place::Retry => {
                let mut cmd = redis::cmd("ZSCAN");
                cmd.arg(&keys.retry).arg(cursor).arg("COUNT").arg(SCAN);
                let (next, members): (u64, Vec<Vec<u8>>) = self.query(&cmd).await?;
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

    /// Looks at every payload in the hands of workers.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn peek_in_flight(&self) -> Result<Vec<Bytes>, StoreError> {
        let mut cmd = redis::cmd("ZRANGE");
        cmd.arg(&self.keys().workers).arg(0).arg(-1);
        let workers: Vec<String> = self.query(&cmd).await?;
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
        let entries: Vec<(String, Vec<Value>)> = self.query(&cmd).await?;
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
