//! What is in a worker's hands, read in short steps.

use redis::{Pipeline, Value};

use super::lane::{LANES, mark};
use super::window::Piece;
use super::work::{Delivery, FETCH_BYTES};
use super::{Store, StoreError, convert};
use crate::envelope::HEAD;

/// Deliveries that one step asks for.
const STEP: usize = 128;

impl Store {
    /// The numbers of the deliveries in a worker's hands, in order; some that leave them meanwhile
    /// may be among them.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn held(&self, worker: &str) -> Result<Vec<u64>, StoreError> {
        let keys = self.keys();
        let active = keys.active(worker);
        let mut pipe = Pipeline::new();
        // The batches first: one that is opened meanwhile is then found twice and not missed.
        for lane in 1..=LANES {
            pipe.cmd("HGET").arg(&active).arg(mark(lane));
            pipe.cmd("LLEN").arg(keys.batch(worker, lane));
        }
        // No script, which takes five times as long for so many; and only the numbers, for a scan
        // would bring the leads along, which may be of any size.
        pipe.cmd("HKEYS").arg(&active);
        let mut read = self.pipeline::<Vec<Value>>(&pipe).await?;
        let fields: Vec<String> = convert(read.pop().unwrap_or(Value::Nil))?;
        let mut numbers: Vec<u64> = fields.iter().filter_map(|n| n.parse().ok()).collect();
        for batch in read.chunks_exact(2) {
            let first: Option<u64> = convert(batch[0].clone())?;
            let leads: u64 = convert(batch[1].clone())?;
            numbers.extend(
                first
                    .into_iter()
                    .flat_map(|first| first..first.saturating_add(leads)),
            );
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    /// Reads deliveries in a worker's hands, by number and in this order. Of a payload of more than
    /// `whole` bytes only the beginning is sent.
    #[must_use]
    pub fn hands<'a>(&'a self, worker: &'a str, numbers: &'a [u64], whole: usize) -> Hands<'a> {
        Hands {
            store: self,
            worker,
            left: numbers,
            whole,
        }
    }
}

/// Deliveries in a worker's hands, of which some are still to be read.
#[derive(Debug)]
pub struct Hands<'a> {
    store: &'a Store,
    worker: &'a str,
    left: &'a [u64],
    whole: usize,
}

impl Hands<'_> {
    /// The next of them, no more than fit into about as many bytes as a fetch may bring; those no
    /// longer there are left out. `None` at the end.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; the next call asks for the same again.
    pub async fn next(&mut self) -> Result<Option<Vec<Delivery>>, StoreError> {
        if self.is_over() {
            return Ok(None);
        }
        let numbers = &self.left[..self.left.len().min(STEP)];
        let script = &self.store.scripts().in_hand;
        let mut cmd = script.call(&[&self.store.keys().active(self.worker)]);
        cmd.arg(FETCH_BYTES).arg(self.whole).arg(HEAD).arg(numbers);
        let reply = self.store.run(script, &cmd).await?;
        // As many as were looked at, from the first on.
        let looked_at = reply.values.len();
        let mut found = Vec::with_capacity(looked_at);
        for (&number, value) in numbers.iter().zip(reply.values) {
            if value != Value::Nil {
                found.push(Delivery::new(number, Piece::new(value)?));
            }
        }
        self.left = &self.left[looked_at.clamp(1, numbers.len())..];
        Ok(Some(found))
    }

    /// Whether there are no more to be read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }
}
