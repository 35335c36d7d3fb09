//! What travels with a lead once it has a history.
//!
//! A producer pushes the bare lead. The bridge wraps it only when there is something to remember:
//! a failed attempt, a death of the worker that held it, a retry by an operator. The wrapped form
//! is a JSON object that begins with `"envelope"`; it carries `lead`, `error`, `retry_count` and
//! `failed_at` where readers of the dead letter queue have always found them.
//!
//! The lead's own bytes are never re-encoded. Where they are not UTF-8 JSON that can stand inside
//! the envelope as it is, `lead_base64` holds them exactly and `lead` is for human eyes. A lead that
//! is too large for either stands behind its envelope as it is: `{"envelope":1,...,"lead_bytes":N}`,
//! a line feed, and N bytes.
//!
//! The lead comes last in each form, so that the beginning of an entry of any size tells all that
//! there is to know of it ([`Opened`]).
//!
//! - `attempt`: what failed, and why
//! - `wire`: what stands on the wire; `encode`: how it is written
//! - `opened`: what the beginning of an entry tells

mod attempt;
mod encode;
mod opened;
mod wire;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Deserializer as _;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

pub use attempt::{Attempt, ErrorKind};
pub use opened::Opened;
use wire::{Legacy, Newer, Wire};

use crate::clock::{Millis, parse_rfc3339, rfc3339};
use crate::lead::{self, LeadError};
use crate::money::Money;

/// The version of the envelope that this code writes, and the newest it can read.
pub const VERSION: u32 = 1;

/// How many bytes of an entry are enough to know what it is.
pub const HEAD: usize = 64 * 1024;
/// Attempts that are remembered; those in the middle make room. An envelope with more is none.
const ATTEMPTS: usize = 1_000;

/// Where an entry came from, which decides what may be promised about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Written by this bridge.
    Envelope,
    /// `{"lead":...,"error":...}` by the old workers or their readers.
    Legacy,
    /// The bare lead, or bytes that are nothing at all.
    Bare,
}

/// A lead with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The lead's id: the same through every retry, and the idempotency key of its side effects.
    pub id: String,
    /// The lead's own bytes.
    pub lead: Bytes,
    /// The last error, empty before the first failure.
    pub error: String,
    /// The kind of the last error.
    pub error_kind: ErrorKind,
    /// How many retries were made since the last time a person put it back.
    pub retry_count: u32,
    /// When it last failed, in server time; `None` where that is unknown.
    pub failed_at: Option<Millis>,
    /// The queue it was last worked on in; empty if that is unknown, as in envelopes of earlier
    /// versions. A retry into another queue needs a word of the operator.
    pub queue: String,
    /// The station of the last error; empty where none was reached.
    pub station: String,
    /// The worker of the last error.
    pub worker: String,
    /// When the bridge first had it in hand.
    pub first_seen: Option<Millis>,
    /// Every failed attempt, oldest first.
    pub attempts: Vec<Attempt>,
    /// How many workers died with it in their hands.
    pub deaths: u32,
    /// When the first of these deaths was; `None` if an older worker did not say.
    pub first_death: Option<Millis>,
    /// How often a person put it back to work.
    pub redrives: u32,
    /// What its attempts have cost since the last time a person put it back.
    pub spent: Money,
}

impl Envelope {
    /// A lead seen for the first time.
    #[must_use]
    pub fn new(id: impl Into<String>, lead: Bytes, first_seen: Option<Millis>) -> Self {
        Self {
            id: id.into(),
            lead,
            error: String::new(),
            error_kind: ErrorKind::Unknown,
            retry_count: 0,
            failed_at: None,
            queue: String::new(),
            station: String::new(),
            worker: String::new(),
            first_seen,
            attempts: Vec::new(),
            deaths: 0,
            first_death: None,
            redrives: 0,
            spent: Money::ZERO,
        }
    }

    /// Reads what was taken from the queue: an envelope, where the bytes are one that this
    /// version can read, else `None`, and the bytes themselves are the lead.
    ///
    /// An envelope from a newer version is not taken apart: see [`Envelope::newer_version`].
    #[must_use]
    pub fn from_payload(payload: &Bytes) -> Option<Self> {
        if !looks_like_envelope(payload) {
            return None;
        }
        let (wire, end) = Wire::first(payload)?;
        if let Some(at) = wire.lead_behind(payload, end, payload.len()) {
            return wire.into_envelope(payload.slice(at..));
        }
        payload[end..].trim_ascii().is_empty().then_some(())?;
        let lead = match (&wire.lead_base64, wire.lead) {
            (Some(text), _) => Bytes::from(BASE64.decode(text.as_bytes()).ok()?),
            (None, Some(raw)) => payload.slice_ref(raw.get().as_bytes()),
            (None, None) => return None,
        };
        wire.into_envelope(lead)
    }

    /// Reads an envelope that the lead stands behind, and where the lead's bytes begin. `size` is
    /// that of the whole payload, of which at least the envelope must be there.
    fn apart(payload: &Bytes, size: usize) -> Option<(Self, usize)> {
        let (wire, end) = Wire::first(payload)?;
        let at = wire.lead_behind(payload, end, size)?;
        Some((wire.into_envelope(payload.slice(at..))?, at))
    }

    /// The version of an envelope that this code cannot read, because it is newer; `None` for all
    /// else. No worker of this version may work on it as if it were the lead: it goes whole into the
    /// dead letter queue, and from there whole back to a newer worker. Its lead may stand behind it.
    #[must_use]
    pub fn newer_version(payload: &[u8]) -> Option<u64> {
        Self::newer_version_of(payload, payload.len() as u64)
    }

    /// The same of a payload of `size` bytes, of which the beginning is enough.
    #[must_use]
    pub fn newer_version_of(payload: &[u8], size: u64) -> Option<u64> {
        if !looks_like_envelope(payload) {
            return None;
        }
        let mut seen = Newer::default();
        let read = serde_json::Deserializer::from_slice(payload).deserialize_map(&mut seen);
        let is_cut = (payload.len() as u64) < size;
        if read.is_err_and(|error| !(is_cut && error.is_eof())) || !seen.has_id {
            return None;
        }
        seen.version.filter(|version| *version > u64::from(VERSION))
    }

    /// Reads an entry of the dead letter queue, whoever wrote it.
    ///
    /// An entry without an id of its own gets one from its bytes (`raw-...`): two such entries
    /// with the same bytes are the same to every reader, so they may share it.
    #[must_use]
    pub fn from_dead_letter(entry: &Bytes) -> (Self, Origin) {
        if let Some(envelope) = Self::from_payload(entry) {
            return (envelope, Origin::Envelope);
        }
        let id = raw_id(entry, entry.len() as u64);
        if let Some(legacy) = Self::from_legacy(entry, &id) {
            return (legacy, Origin::Legacy);
        }
        (Self::new(id, entry.clone(), None), Origin::Bare)
    }

    fn from_legacy(entry: &Bytes, id: &str) -> Option<Self> {
        if looks_like_envelope(entry) {
            return None;
        }
        let legacy: Legacy<'_> = serde_json::from_slice(entry).ok()?;
        let lead = legacy.lead.filter(|raw| raw.get() != "null")?;
        let text = |raw: Option<&RawValue>| -> Option<String> {
            raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        };
        let mut envelope = Self::new(id, entry.slice_ref(lead.get().as_bytes()), None);
        envelope.error = text(legacy.error).unwrap_or_default();
        envelope.failed_at = text(legacy.failed_at).as_deref().and_then(parse_rfc3339);
        envelope.retry_count = legacy
            .retry_count
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or(0);
        Some(envelope)
    }

    /// Records a failed attempt; its error becomes the envelope's own.
    pub fn fail(&mut self, at: Millis, attempt: Attempt) {
        self.error.clone_from(&attempt.error);
        self.error_kind = attempt.kind;
        self.station.clone_from(&attempt.station);
        self.worker.clone_from(&attempt.worker);
        self.failed_at = Some(at);
        self.remember(attempt);
    }

    /// Counts the death of a worker. Deaths from before a window, in milliseconds, no longer count.
    pub fn count_death(&mut self, at: Millis, window: Millis) {
        if self.first_death.is_some_and(|first| at - first > window) {
            (self.deaths, self.first_death) = (0, None);
        }
        self.deaths = self.deaths.saturating_add(1);
        self.first_death.get_or_insert(at);
    }

    /// Keeps an attempt. Where there are too many, one that stands for those in the middle says how
    /// many they were.
    fn remember(&mut self, attempt: Attempt) {
        const MIDDLE: usize = ATTEMPTS / 2;
        if self.attempts.len() >= ATTEMPTS {
            let stands = Attempt::instead_of(&self.attempts[MIDDLE..MIDDLE + 2]);
            self.attempts.splice(MIDDLE..MIDDLE + 2, [stands]);
        }
        self.attempts.push(attempt);
    }

    /// The entry with which this dead letter goes back to work: the retries start anew, the
    /// history stays. A bare entry goes back as the bare bytes it was, and so does an envelope of
    /// a newer version.
    #[must_use]
    pub fn redriven(mut self, origin: Origin, fresh_id: impl FnOnce() -> String) -> Bytes {
        match origin {
            Origin::Bare => return self.lead,
            Origin::Envelope if Self::newer_version(&self.lead).is_some() => return self.lead,
            Origin::Envelope => {}
            Origin::Legacy => {
                self.id = fresh_id();
                // Where nothing is known of the failure there is no attempt to tell of.
                if !self.error.is_empty() || self.failed_at.is_some() {
                    self.remember(Attempt {
                        at: self.failed_at.map(rfc3339).unwrap_or_default(),
                        station: String::new(),
                        error: self.error.clone(),
                        kind: ErrorKind::Unknown,
                        ms: 0,
                        worker: String::new(),
                    });
                }
            }
        }
        self.start_anew();
        self.encode()
    }

    fn start_anew(&mut self) {
        self.retry_count = 0;
        self.deaths = 0;
        self.first_death = None;
        self.spent = Money::ZERO;
        self.redrives = self.redrives.saturating_add(1);
    }

    /// Whether it is known to come from another queue than this one.
    #[must_use]
    pub fn is_of_another(&self, queue: &str) -> bool {
        !self.queue.is_empty() && self.queue != queue
    }

    /// Whether the lead's bytes can be worked on at all.
    #[must_use]
    pub fn is_lead(&self) -> bool {
        lead::is_object(&self.lead)
    }

    /// Reads the lead.
    ///
    /// # Errors
    /// [`LeadError`] where the bytes are not a JSON object.
    pub fn parse_lead(&self) -> Result<lead::Lead, LeadError> {
        lead::Lead::parse(&self.lead)
    }
}

/// Whether bytes begin as an envelope does. Cheap, for the one in a thousand that is one.
fn looks_like_envelope(payload: &[u8]) -> bool {
    let skip = |bytes: &[u8]| -> usize {
        bytes
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count()
    };
    let payload = &payload[skip(payload)..];
    let Some(payload) = payload.strip_prefix(b"{") else {
        return false;
    };
    payload[skip(payload)..].starts_with(b"\"envelope\"")
}

/// An id made of an entry's bytes, for entries that carry none. Of a large one its beginning and its
/// size must do, for often no more is at hand.
fn raw_id(bytes: &[u8], size: u64) -> String {
    use std::fmt::Write as _;
    let mut hash = Sha256::new();
    if size <= HEAD as u64 {
        hash.update(bytes);
    } else {
        hash.update(&bytes[..HEAD.min(bytes.len())]);
        hash.update(size.to_be_bytes());
    }
    hash.finalize()[..12]
        .iter()
        .fold(String::from("raw-"), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
}
