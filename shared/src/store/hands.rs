//! What is in a worker's hands, read in short steps.

use redis::{Pipeline, Value};

use super::lane::{LANES, mark};
use super::window::Piece;
use super::work::Delivery;
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
        Ok(self.held_and_rubbish(worker).await?.0)
    }

    /// The same, and the fields of the worker's hash that are no delivery's number.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn held_and_rubbish(
        &self,
        worker: &str,
    ) -> Result<(Vec<u64>, Vec<Vec<u8>>), StoreError> {
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
        let mut read = self.pipeline_bulk::<Vec<Value>>(&pipe).await?;
        let fields: Vec<Vec<u8>> = convert(read.pop().unwrap_or(Value::Nil))?;
        let (mut numbers, mut rubbish) = (Vec::new(), Vec::new());
        for field in fields {
            match number_of(&field) {
                Some(number) => numbers.push(number),
                None if (1..=LANES).any(|lane| mark(lane).as_bytes() == field) => {}
                None => rubbish.push(field),
            }
        }
        for batch in read.chunks_exact(2) {
            let first: Option<Vec<u8>> = convert(batch[0].clone())?;
            let first = first.and_then(|first| number_of(&first));
            let leads: u64 = convert(batch[1].clone())?;
            numbers.extend(
                first
                    .into_iter()
                    .flat_map(|first| first..first.saturating_add(leads)),
            );
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok((numbers, rubbish))
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
        let most = self.store.bytes_at_once();
        let read = self.read(numbers, self.whole.min(most), HEAD, 0).await?;
        // As many as were looked at, from the first on.
        let looked_at = read.len();
        let mut found = Vec::with_capacity(looked_at);
        for (&number, piece) in numbers.iter().zip(read) {
            let piece = match piece {
                // The server may allow no reply that holds all of it.
                Some(piece) if !piece.is_whole() && piece.size <= self.whole as u64 => {
                    self.read_on(number, piece).await?
                }
                piece => piece,
            };
            found.extend(piece.map(|piece| Delivery::new(number, piece)));
        }
        self.left = &self.left[looked_at.clamp(1, numbers.len())..];
        Ok(Some(found))
    }

    /// Reads the first of some deliveries, whole up to so many bytes; of a larger one so many bytes, from
    /// an offset on.
    async fn read(
        &self,
        numbers: &[u64],
        whole: usize,
        part: usize,
        from: usize,
    ) -> Result<Vec<Option<Piece>>, StoreError> {
        let script = &self.store.scripts().in_hand;
        let mut cmd = script.call(&[&self.store.keys().active(self.worker)]);
        cmd.arg(self.store.bytes_at_once())
            .arg(whole)
            .arg(part)
            .arg(from)
            .arg(numbers);
        let reply = self.store.run_bulk(script, &cmd).await?;
        let read = |value| match value {
            Value::Nil => Ok(None),
            value => Piece::new(value).map(Some),
        };
        reply.values.map(read).collect()
    }

    /// Reads the rest of a payload, in parts; `None` where it has left these hands.
    async fn read_on(&self, number: u64, piece: Piece) -> Result<Option<Piece>, StoreError> {
        let Piece { bytes, size } = piece;
        let mut bytes = Vec::from(bytes);
        while (bytes.len() as u64) < size {
            let part = self.store.bytes_at_once();
            let read = self.read(&[number], 0, part, bytes.len()).await?;
            match read.into_iter().next().flatten() {
                Some(more) if more.size == size && !more.bytes.is_empty() => {
                    bytes.extend_from_slice(&more.bytes);
                }
                _ => return Ok(None),
            }
        }
        let bytes = bytes.into();
        Ok(Some(Piece { bytes, size }))
    }

    /// Whether there are no more to be read.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }
}

/// The number of a delivery, as a field of its own; one that Lua could not tell from another is none.
fn number_of(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?;
    let number: u64 = text.parse().ok()?;
    (number < 1 << 53 && number.to_string() == text).then_some(number)
}
