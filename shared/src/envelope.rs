//! What travels with a lead once it has a history.
//!
//! A producer pushes the bare lead. The bridge wraps it only when there is something to remember:
//! a failed attempt, a death of the worker that held it, a retry by an operator. The wrapped form
//! is a JSON object that begins with `"envelope"`; it carries `lead`, `error`, `retry_count` and
//! `failed_at` where readers of the dead letter queue have always found them.
//!
//! The lead's own bytes are never re-encoded. Where they are not UTF-8 JSON that can stand inside
//! the envelope as it is, `lead_base64` holds them exactly and `lead` is for human eyes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

use crate::clock::{Millis, parse_rfc3339, rfc3339};
use crate::lead::{self, LeadError};
use crate::money::Money;

/// The version of the envelope that this code writes, and the newest it can read.
pub const VERSION: u32 = 1;

/// Why an attempt failed, which decides whether another can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The bytes are not a lead, or it lacks what no retry can bring.
    Invalid,
    /// Refused for good: an HTTP 4xx, a broken station contract.
    Permanent,
    /// May pass: an HTTP 5xx, 408, 425, 429, a network error.
    Transient,
    /// The lead's time was up.
    Timeout,
    /// A station panicked.
    Panic,
    /// The worker died, or lost its lease, with this lead in its hands.
    WorkerLost,
    /// That happened once too often: the lead itself may be what kills workers.
    Poison,
    /// Written by something else than this bridge.
    #[serde(other)]
    Unknown,
}

impl ErrorKind {
    /// Whether a retry can help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Transient | Self::Timeout | Self::Panic | Self::Unknown
        )
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::WorkerLost => "worker_lost",
            Self::Poison => "poison",
            Self::Unknown => "unknown",
        }
    }
}

/// One attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// When it ended, RFC 3339 by the server's clock.
    #[serde(default)]
    pub at: String,
    /// The station it failed at; empty where no station was reached.
    #[serde(default)]
    pub station: String,
    /// What went wrong, in words.
    #[serde(default)]
    pub error: String,
    /// The kind of failure.
    #[serde(default = "unknown_kind")]
    pub kind: ErrorKind,
    /// How long the attempt took, in milliseconds.
    #[serde(default)]
    pub ms: u64,
    /// The worker that tried.
    #[serde(default)]
    pub worker: String,
}

const fn unknown_kind() -> ErrorKind {
    ErrorKind::Unknown
}

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
    /// How often a person put it back to work.
    pub redrives: u32,
    /// What its attempts have cost since the last time a person put it back.
    pub spent: Money,
}

#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    envelope: u32,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    lead: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    lead_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Cow<'a, str>,
    #[serde(default)]
    retry_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed_at: Option<String>,
    #[serde(default = "unknown_kind")]
    error_kind: ErrorKind,
    #[serde(borrow, default)]
    station: Cow<'a, str>,
    #[serde(borrow, default)]
    worker: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_seen: Option<String>,
    #[serde(default)]
    attempts: Vec<Attempt>,
    #[serde(default)]
    deaths: u32,
    #[serde(default)]
    redrives: u32,
    /// Micro-dollars.
    #[serde(default, skip_serializing_if = "is_nothing")]
    spent: Money,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde asks for"
)]
fn is_nothing(spent: &Money) -> bool {
    *spent == Money::ZERO
}

/// What the old readers know of a dead letter. Every field is taken only if it has the type they
/// expect; anything else counts as missing, as it does for them.
#[derive(Deserialize)]
struct Legacy<'a> {
    #[serde(borrow)]
    lead: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    retry_count: Option<&'a RawValue>,
    #[serde(borrow)]
    failed_at: Option<&'a RawValue>,
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
            station: String::new(),
            worker: String::new(),
            first_seen,
            attempts: Vec::new(),
            deaths: 0,
            redrives: 0,
            spent: Money::ZERO,
        }
    }

    /// Reads what was taken from the queue: an envelope, where the bytes are one that this
    /// version can read, else `None`, and the bytes themselves are the lead.
    ///
    /// An envelope from a newer version is not taken apart: it goes through whole, so that it
    /// lands whole in the dead letter queue and a newer worker can have it back unharmed.
    #[must_use]
    pub fn from_payload(payload: &Bytes) -> Option<Self> {
        if !looks_like_envelope(payload) {
            return None;
        }
        let wire: Wire<'_> = serde_json::from_slice(payload).ok()?;
        if wire.envelope == 0 || wire.envelope > VERSION || wire.id.is_empty() {
            return None;
        }
        let lead = match (&wire.lead_base64, wire.lead) {
            (Some(text), _) => Bytes::from(BASE64.decode(text.as_bytes()).ok()?),
            (None, Some(raw)) => payload.slice_ref(raw.get().as_bytes()),
            (None, None) => return None,
        };
        Some(Self {
            lead,
            failed_at: wire.failed_at.as_deref().and_then(parse_rfc3339),
            first_seen: wire.first_seen.as_deref().and_then(parse_rfc3339),
            id: wire.id.into_owned(),
            error: wire.error.into_owned(),
            error_kind: wire.error_kind,
            retry_count: wire.retry_count,
            station: wire.station.into_owned(),
            worker: wire.worker.into_owned(),
            attempts: wire.attempts,
            deaths: wire.deaths,
            redrives: wire.redrives,
            spent: wire.spent,
        })
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
        let id = raw_id(entry);
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
        self.attempts.push(attempt);
    }

    /// The entry with which this dead letter goes back to work: the retries start anew, the
    /// history stays. A bare entry goes back as the bare bytes it was.
    #[must_use]
    pub fn redriven(mut self, origin: Origin, fresh_id: impl FnOnce() -> String) -> Bytes {
        match origin {
            Origin::Bare => return self.lead,
            Origin::Envelope => {}
            Origin::Legacy => {
                self.id = fresh_id();
                self.attempts.push(Attempt {
                    at: self.failed_at.map(rfc3339).unwrap_or_default(),
                    station: String::new(),
                    error: self.error.clone(),
                    kind: ErrorKind::Unknown,
                    ms: 0,
                    worker: String::new(),
                });
            }
        }
        self.retry_count = 0;
        self.deaths = 0;
        self.spent = Money::ZERO;
        self.redrives += 1;
        self.encode()
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

    /// The wrapped form, as it is stored.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let exact = std::str::from_utf8(&self.lead)
            .ok()
            .and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
            .filter(|raw| raw.get().len() == self.lead.len());
        let shown;
        let (lead, lead_base64) = if let Some(raw) = exact {
            (raw, None)
        } else {
            let text = String::from_utf8_lossy(&self.lead);
            shown = serde_json::from_str::<Box<RawValue>>(&text)
                .or_else(|_| serde_json::value::to_raw_value(&text))
                .expect("a text is always JSON");
            (&*shown, Some(BASE64.encode(&self.lead).into()))
        };
        let wire = Wire {
            envelope: VERSION,
            id: self.id.as_str().into(),
            lead: Some(lead),
            lead_base64,
            error: self.error.as_str().into(),
            retry_count: self.retry_count,
            failed_at: self.failed_at.map(rfc3339),
            error_kind: self.error_kind,
            station: self.station.as_str().into(),
            worker: self.worker.as_str().into(),
            first_seen: self.first_seen.map(rfc3339),
            attempts: self.attempts.clone(),
            deaths: self.deaths,
            redrives: self.redrives,
            spent: self.spent,
        };
        serde_json::to_vec(&wire)
            .expect("an envelope is always JSON")
            .into()
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

/// An id made of an entry's bytes, for entries that carry none.
fn raw_id(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let hash = Sha256::digest(bytes);
    hash[..12]
        .iter()
        .fold(String::from("raw-"), |mut id, byte| {
            let _ = write!(id, "{byte:02x}");
            id
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            at: "2026-01-15T10:30:00Z".into(),
            station: "enrich".into(),
            error: "HTTP 503".into(),
            kind: ErrorKind::Transient,
            ms: 12,
            worker: "host-1-abc".into(),
        }
    }

    fn round_trip(lead: &'static [u8]) -> serde_json::Value {
        let mut envelope = Envelope::new("tok-7", Bytes::from_static(lead), Some(1_000));
        envelope.retry_count = 2;
        envelope.fail(2_000, attempt());
        let bytes = envelope.encode();
        assert!(looks_like_envelope(&bytes));
        assert_eq!(
            Envelope::from_payload(&bytes).expect("its own envelope"),
            envelope
        );
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn the_leads_bytes_come_back_exactly_whatever_they_are() {
        let seen = round_trip(br#"{"name":"Ada",  "n":1.00}"#);
        assert_eq!(seen["lead"]["name"], "Ada");
        assert!(seen.get("lead_base64").is_none());
        assert_eq!(round_trip(b"  {\"a\":1}\n")["lead"]["a"], 1);
        assert_eq!(round_trip(b"not json")["lead"], "not json");
        assert!(round_trip(b"\xff\x00\xfe")["lead_base64"].is_string());
        assert_eq!(round_trip(b"")["lead"], "");
    }

    #[test]
    fn readers_of_the_dead_letter_queue_find_their_fields() {
        let seen = round_trip(b"{}");
        assert_eq!(seen["error"], "HTTP 503");
        assert_eq!(seen["retry_count"], 2);
        assert_eq!(seen["failed_at"], "1970-01-01T00:00:02Z");
        assert_eq!(seen["error_kind"], "transient");
        assert_eq!(seen["attempts"][0]["station"], "enrich");
    }

    #[test]
    fn a_lead_is_not_mistaken_for_an_envelope() {
        for bytes in [
            &b"{\"name\":\"envelope\"}"[..],
            b"{\"envelope\":true}",
            b"{\"envelope\":0,\"id\":\"a\",\"lead\":{}}",
            b"{\"envelope\":1,\"id\":\"\",\"lead\":{}}",
            b"{\"envelope\":1,\"id\":\"a\"}",
            b"{\"envelope\":9,\"id\":\"a\",\"lead\":{}}",
            b"{\"envelope\":1,\"id\":\"a\",\"lead_base64\":\"*\"}",
            b"",
            b"{",
        ] {
            assert_eq!(Envelope::from_payload(&Bytes::from_static(bytes)), None);
        }
        let spaced =
            Bytes::from_static(b" { \"envelope\" : 1, \"id\":\"a\", \"lead\": {\"b\": 1} }");
        let envelope = Envelope::from_payload(&spaced).expect("re-encoded by another language");
        assert_eq!(&envelope.lead[..], b"{\"b\": 1}");
    }

    #[test]
    fn old_entries_are_understood_as_their_readers_do() {
        let old = Bytes::from_static(
            br#"{"lead":{"name":"Ada"},"error":"boom","retry_count":3,"failed_at":"2026-01-15T10:30:00Z"}"#,
        );
        let (envelope, origin) = Envelope::from_dead_letter(&old);
        assert_eq!(origin, Origin::Legacy);
        assert_eq!(&envelope.lead[..], br#"{"name":"Ada"}"#);
        assert_eq!((envelope.error.as_str(), envelope.retry_count), ("boom", 3));
        assert_eq!(envelope.failed_at, Some(1_768_473_000_000));

        let back = envelope.redriven(origin, || "fresh-1".into());
        let back = Envelope::from_payload(&back).expect("an envelope");
        assert_eq!(
            (back.id.as_str(), back.redrives, back.retry_count),
            ("fresh-1", 1, 0)
        );
        assert_eq!(back.attempts[0].error, "boom");

        for bare in [
            &br#"{"name":"Ada"}"#[..],
            b"rubbish",
            br#"{"lead":null,"name":"x"}"#,
            b"[1]",
        ] {
            let bare = Bytes::from_static(bare);
            let (envelope, origin) = Envelope::from_dead_letter(&bare);
            assert_eq!(origin, Origin::Bare);
            assert_eq!(envelope.lead, bare);
            assert!(envelope.id.starts_with("raw-"));
            assert_eq!(envelope.redriven(origin, || unreachable!()), bare);
        }
        let odd = Bytes::from_static(br#"{"lead":{"a":1},"error":{"x":1},"retry_count":"two"}"#);
        let (envelope, _) = Envelope::from_dead_letter(&odd);
        assert_eq!((envelope.error.as_str(), envelope.retry_count), ("", 0));
    }
}
