//! An entry of which only the beginning is at hand.

use bytes::Bytes;

use super::wire::{LEAD_FIELD, Wire};
use super::{Envelope, Origin, looks_like_envelope, raw_id};

/// An entry of which only the beginning is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What is known of it. Its lead is the beginning of the lead.
    pub envelope: Envelope,
    /// Who wrote it.
    pub origin: Origin,
    /// Where the lead's part of the entry begins.
    at: usize,
    /// How many bytes the lead has, where it stands behind its envelope or alone.
    lead_bytes: Option<u64>,
}

impl Opened {
    /// Reads what can be known of an entry of `size` bytes from its beginning.
    #[must_use]
    pub fn new(head: &Bytes, size: u64) -> Self {
        let whole = usize::try_from(size).unwrap_or(usize::MAX);
        if looks_like_envelope(head) {
            if let Some((envelope, at)) = Envelope::apart(head, whole) {
                return Self {
                    envelope,
                    origin: Origin::Envelope,
                    at,
                    lead_bytes: Some(size - at as u64),
                };
            }
            if let Some(opened) = Self::inside(head) {
                return opened;
            }
        }
        Self::bare(head, size)
    }

    /// The same, with all of the entry taken for the lead where it is not certain that the lead can
    /// be told from what is around it.
    #[must_use]
    pub fn certain(head: &Bytes, size: u64) -> Self {
        let opened = Self::new(head, size);
        if opened.lead_bytes.is_some() {
            opened
        } else {
            Self::bare(head, size)
        }
    }

    fn bare(head: &Bytes, size: u64) -> Self {
        Self {
            envelope: Envelope::new(raw_id(head, size), head.clone(), None),
            origin: Origin::Bare,
            at: 0,
            lead_bytes: Some(size),
        }
    }

    /// An envelope as this version writes it, whose end is not there.
    fn inside(head: &Bytes) -> Option<Self> {
        let at = find(head, LEAD_FIELD)?;
        let before = [&head[..at], b"}"].concat();
        let wire: Wire<'_> = serde_json::from_slice(&before).ok()?;
        let at = at + LEAD_FIELD.len();
        Some(Self {
            envelope: wire.into_envelope(head.slice(at..))?,
            origin: Origin::Envelope,
            at,
            lead_bytes: None,
        })
    }

    /// How many bytes the lead has; `None` where it stands inside its envelope, whose end is not
    /// there.
    #[must_use]
    pub const fn lead_bytes(&self) -> Option<u64> {
        self.lead_bytes
    }

    /// What this entry becomes with another history: new bytes, and how many of the entry's own
    /// they take the place of.
    #[must_use]
    pub fn with(&self, envelope: &Envelope) -> (Bytes, u64) {
        let head = envelope.encode_before(self.lead_bytes);
        (head.into(), self.at as u64)
    }

    /// The entry with which it goes back to work, in the same terms. An envelope of a newer version
    /// goes back as the bytes it was.
    #[must_use]
    pub fn redriven(&self) -> (Bytes, u64) {
        if self.origin == Origin::Bare {
            return (Bytes::new(), 0);
        }
        // Behind its envelope alone: nothing comes after it.
        if let Some(size) = self.lead_bytes
            && Envelope::newer_version_of(&self.envelope.lead, size).is_some()
        {
            return (Bytes::new(), self.at as u64);
        }
        let mut envelope = self.envelope.clone();
        envelope.start_anew();
        self.with(&envelope)
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
}
