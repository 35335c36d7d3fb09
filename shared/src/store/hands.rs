//! What is in a worker's hands, read in short steps.

use redis::Value;

use super::window::Piece;
use super::work::{Delivery, FETCH_BYTES};
use super::{Store, StoreError};
use crate::envelope::HEAD;

/// Deliveries that one step asks for.
const STEP: usize = 200;

impl Store {
    /// The numbers of the deliveries in a worker's hands, in order.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn held(&self, worker: &str) -> Result<Vec<u64>, StoreError> {
        let script = &self.scripts().held;
        let cmd = script.call(&[&self.keys().active(worker)]);
        let mut numbers: Vec<u64> = self.run(script, &cmd).await?.rest()?;
        numbers.sort_unstable();
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
