//! An entry of the dead letter queue, as it was read.

use bytes::Bytes;

use super::READ_WHOLE;
use crate::envelope::{Envelope, Opened, Origin};
use crate::lead;
use crate::store::window::Piece;

/// An entry of the dead letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place when it was read, 0 the newest, at the left end.
    pub index: u64,
    /// How many entries there were when it was read.
    pub of: u64,
    /// Its bytes, or the first of them where it is too large to be read with others.
    pub bytes: Bytes,
    /// How many bytes it has in all.
    pub size: u64,
    /// The lead and its history; of a lead that is not here whole, its beginning.
    pub envelope: Envelope,
    /// Who wrote it.
    pub origin: Origin,
}

impl DeadLetter {
    /// Takes an entry apart.
    #[must_use]
    pub fn new(index: u64, of: u64, bytes: Bytes) -> Self {
        let (envelope, origin) = Envelope::from_dead_letter(&bytes);
        Self {
            index,
            of,
            size: bytes.len() as u64,
            bytes,
            envelope,
            origin,
        }
    }

    pub(super) fn of_piece(index: u64, of: u64, piece: Piece) -> Self {
        if piece.is_whole() {
            return Self::new(index, of, piece.bytes);
        }
        let Opened {
            envelope, origin, ..
        } = Opened::new(&piece.bytes, piece.size);
        Self {
            index,
            of,
            bytes: piece.bytes,
            size: piece.size,
            envelope,
            origin,
        }
    }

    /// Whether all of it is here. [`Store::whole_dead`](crate::store::Store::whole_dead) reads the rest.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }

    /// About how many bytes its lead has: what is missing of the entry is missing of the lead.
    #[must_use]
    pub fn lead_size(&self) -> u64 {
        self.envelope.lead.len() as u64 + (self.size - self.bytes.len() as u64)
    }

    /// Whether its lead can be worked on, as far as is seen of it.
    #[must_use]
    pub fn is_lead(&self) -> bool {
        if self.is_whole() {
            self.envelope.is_lead()
        } else {
            lead::begins_as_object(&self.envelope.lead)
        }
    }

    /// Whether another reading is of the same entry.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.is_of(&other.bytes, other.size)
    }

    /// Whether an entry of `size` bytes that begins with these is the same.
    pub(super) fn is_of(&self, bytes: &[u8], size: u64) -> bool {
        let both = self.bytes.len().min(bytes.len());
        self.size == size && self.bytes[..both] == bytes[..both]
    }

    /// Whether it must be read whole to be put back to work: its beginning does not tell with
    /// certainty where the lead is. The largest are taken for leads as they are.
    pub(super) fn must_be_whole(&self) -> bool {
        !self.is_whole() && self.size <= READ_WHOLE && {
            let opened = Opened::new(&self.bytes, self.size);
            opened.origin != Origin::Envelope || opened.lead_bytes().is_none()
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.envelope.id
    }

    /// Its place counted from the right end, -1 the oldest: that stays true while new entries
    /// arrive at the left.
    #[must_use]
    pub(super) fn place(&self) -> i64 {
        -i64::try_from(self.from_end()).unwrap_or(i64::MAX)
    }

    /// Its place counted from the oldest, which is 1. New entries do not change it.
    #[must_use]
    pub fn from_end(&self) -> u64 {
        self.of.saturating_sub(self.index)
    }
}
