//! Reading a part of a list whose entries may be of any size.

use bytes::Bytes;
use redis::Value;

use super::{Store, StoreError, convert};
use crate::envelope::HEAD;

/// Bytes that one step reads, before the entry that goes beyond them.
pub(super) const READ: usize = 4 << 20;
/// Entries that a step reads at once at first, where none is known to be large.
const ASK: usize = 8;
/// Bytes of a window of which nothing is cut off, where only large entries are.
const WHOLE: usize = 8 << 20;

/// An entry of a list, or its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its first bytes, [`HEAD`] or more of them.
    pub(super) bytes: Bytes,
    /// How many there are in all.
    pub(super) size: u64,
}

impl Piece {
    pub(super) fn new(value: Value) -> Result<Self, StoreError> {
        let (size, bytes) = match value {
            Value::Array(_) => convert::<(u64, Vec<u8>)>(value)?,
            value => {
                let bytes: Vec<u8> = convert(value)?;
                (bytes.len() as u64, bytes)
            }
        };
        Ok(Self {
            bytes: bytes.into(),
            size,
        })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }
}

impl Store {
    /// Reads the entries of a list from one index to another, which count from the left end, or
    /// from the right one where they are negative; returns how many the list has, and those. They
    /// come whole, but for large ones beyond the first few: so the answer has an end. Each step
    /// on the server is short, but for the time it takes to copy one entry.
    pub(super) async fn window(
        &self,
        key: &str,
        first: i64,
        last: i64,
    ) -> Result<(u64, Vec<Piece>), StoreError> {
        let script = &self.scripts().window;
        let (mut total, mut pieces, mut room) = (None, Vec::new(), WHOLE);
        let (mut first, mut last) = (first, last);
        let mut ask = ASK;
        loop {
            let mut cmd = script.call(&[key]);
            cmd.arg(first).arg(last);
            cmd.arg(READ.min(self.bytes_at_once()))
                .arg(room)
                .arg(HEAD)
                .arg(ask);
            let mut reply = self.run_bulk(script, &cmd).await?;
            let length: u64 = reply.next()?;
            let step: Vec<Piece> = reply.values.map(Piece::new).collect::<Result<_, _>>()?;
            let sent: usize = step.iter().map(|piece| piece.bytes.len()).sum();
            room = room.saturating_sub(sent);
            let signed = i64::try_from(length).unwrap_or(i64::MAX);
            // Counted from the right end: what comes in at the left meanwhile changes nothing.
            let from_right = |index: i64| if index < 0 { index } else { index - signed };
            let begun = from_right(first).max(-signed);
            let read = i64::try_from(step.len()).unwrap_or(i64::MAX);
            (first, last) = (begun + read, from_right(last).min(-1));
            let large = step.last().is_some_and(|piece| piece.size > HEAD as u64);
            ask = if large { 1 } else { ASK };
            pieces.extend(step);
            let total = *total.get_or_insert(length);
            if read == 0 || first > last {
                return Ok((total, pieces));
            }
        }
    }
}
