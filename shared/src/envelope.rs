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

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

use crate::clock::{Millis, parse_rfc3339, rfc3339};
use crate::lead::{self, LeadError};
use crate::money::Money;

/// The version of the envelope that this code writes, and the newest it can read.
pub const VERSION: u32 = 1;

/// How many bytes of an entry are enough to know what it is.
pub const HEAD: usize = 64 * 1024;
/// The longest lead that stands inside its envelope, in bytes.
const INSIDE: usize = 1 << 20;
/// The longest lead that stands inside its envelope as base64, in bytes; and how much of one that
/// is no JSON is shown to human eyes.
const INSIDE_BASE64: usize = 16 * 1024;
/// Attempts that are remembered; those in the middle make room. An envelope with more is none.
const ATTEMPTS: usize = 1_000;

/// What the error of an attempt that stands for many ends with; before it is how many.
const LEFT_OUT: &str = " attempts are left out here";

/// The longest error, and the longest name, in bytes, where there is no room for longer ones.
const LONGEST_ERROR: usize = 1024;
const LONGEST_NAME: usize = 256;
/// More bytes than an attempt that stands for many takes.
const MARKER_SIZE: usize = 2048;

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

impl Attempt {
    /// How many attempts it stands for: one, unless it is in the place of those left out.
    fn stands_for(&self) -> u64 {
        let left_out = self.error.strip_suffix(LEFT_OUT);
        left_out.and_then(|n| n.parse().ok()).unwrap_or(1)
    }

    /// How many bytes it takes in an envelope.
    fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len() + 1)
    }

    /// One in the place of others.
    fn instead_of(others: &[Self]) -> Self {
        let gone = others.iter().map(Self::stands_for);
        let gone = gone.fold(0, u64::saturating_add);
        Self {
            error: format!("{gone}{LEFT_OUT}"),
            kind: ErrorKind::Unknown,
            station: String::new(),
            worker: String::new(),
            ms: 0,
            at: others
                .last()
                .map(|last| last.at.clone())
                .unwrap_or_default(),
        }
    }
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

/// What stands in an envelope; the lead is written behind it.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    envelope: u32,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing, deserialize_with = "also_null")]
    lead: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing)]
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
    #[serde(default, deserialize_with = "some_attempts")]
    attempts: Cow<'a, [Attempt]>,
    #[serde(default)]
    deaths: u32,
    #[serde(default)]
    redrives: u32,
    /// Micro-dollars.
    #[serde(default, skip_serializing_if = "is_nothing")]
    spent: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lead_bytes: Option<u64>,
}

/// What tells that an envelope is newer.
#[derive(Default)]
struct Newer {
    version: Option<u64>,
    has_id: bool,
}

impl<'de> Visitor<'de> for &mut Newer {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match &*name {
                "envelope" => self.version = Some(map.next_value()?),
                "id" => self.has_id = !map.next_value::<Cow<'_, str>>()?.is_empty(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// Reads a lead; one that is `null` is there.
fn also_null<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads attempts, and no more than a bridge would write: each takes more room than its text.
fn some_attempts<'de, 'a, D: Deserializer<'de>>(from: D) -> Result<Cow<'a, [Attempt]>, D::Error> {
    struct Attempts;
    impl<'de> Visitor<'de> for Attempts {
        type Value = Vec<Attempt>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {ATTEMPTS} attempts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut attempts = Vec::new();
            while let Some(attempt) = seq.next_element()? {
                if attempts.len() == ATTEMPTS {
                    return Err(serde::de::Error::invalid_length(ATTEMPTS + 1, &self));
                }
                attempts.push(attempt);
            }
            Ok(attempts)
        }
    }
    from.deserialize_seq(Attempts).map(Cow::Owned)
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
        self.spent = Money::ZERO;
        self.redrives = self.redrives.saturating_add(1);
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
        let exact = (self.lead.len() <= INSIDE)
            .then(|| std::str::from_utf8(&self.lead).ok())
            .flatten()
            .and_then(|text| serde_json::from_str::<&RawValue>(text).ok())
            .filter(|raw| raw.get().len() == self.lead.len());
        if exact.is_none() && self.lead.len() > INSIDE_BASE64 {
            let mut out = self.encode_before(Some(self.lead.len() as u64));
            out.extend_from_slice(&self.lead);
            return out.into();
        }
        let mut out = self.encode_before(None);
        if let Some(raw) = exact {
            out.extend_from_slice(raw.get().as_bytes());
        } else {
            let text = String::from_utf8_lossy(&self.lead);
            let shown = serde_json::from_str::<Box<RawValue>>(&text)
                .or_else(|_| serde_json::value::to_raw_value(&text))
                .expect("a text is always JSON");
            out.extend_from_slice(shown.get().as_bytes());
            out.extend_from_slice(BASE64_FIELD);
            out.extend_from_slice(BASE64.encode(&self.lead).as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
        out.into()
    }

    /// The envelope up to the lead's own bytes: those of a lead that stands behind it, where
    /// `apart` says how many they are. It fits into [`HEAD`], so that the lead is always found:
    /// where it would not, long texts are cut, and attempts in the middle left out.
    fn encode_before(&self, apart: Option<u64>) -> Vec<u8> {
        let before = self.write_before(apart);
        if before.len() <= HEAD {
            return before;
        }
        let mut short = self.cut();
        let before = short.write_before(apart);
        if before.len() <= HEAD {
            return before;
        }
        short.leave_out(before.len());
        short.write_before(apart)
    }

    /// The same with no long text.
    fn cut(&self) -> Self {
        let attempts = self.attempts.iter().map(|attempt| Attempt {
            at: cut(&attempt.at, LONGEST_NAME),
            station: cut(&attempt.station, LONGEST_NAME),
            error: cut(&attempt.error, LONGEST_ERROR),
            worker: cut(&attempt.worker, LONGEST_NAME),
            ..*attempt
        });
        Self {
            error: cut(&self.error, LONGEST_ERROR),
            station: cut(&self.station, LONGEST_NAME),
            worker: cut(&self.worker, LONGEST_NAME),
            attempts: attempts.collect(),
            ..self.clone()
        }
    }

    /// Leaves out attempts in the middle, of an envelope that takes `size` bytes before its lead.
    fn leave_out(&mut self, size: usize) {
        let sizes: Vec<usize> = self.attempts.iter().map(Attempt::size).collect();
        let others = size - sizes.iter().sum::<usize>().min(size);
        let mut room = HEAD.saturating_sub(others + MARKER_SIZE);
        let (mut first, mut last) = (0, sizes.len());
        while first < last {
            // In turn, the newest first.
            let newest = sizes.len() - last <= first;
            let next = sizes[if newest { last - 1 } else { first }];
            if next > room {
                break;
            }
            room -= next;
            if newest {
                last -= 1;
            } else {
                first += 1;
            }
        }
        if first < last {
            let stands = Attempt::instead_of(&self.attempts[first..last]);
            self.attempts.splice(first..last, [stands]);
        }
    }

    fn write_before(&self, apart: Option<u64>) -> Vec<u8> {
        let wire = Wire {
            envelope: VERSION,
            id: self.id.as_str().into(),
            lead: None,
            lead_base64: None,
            error: self.error.as_str().into(),
            retry_count: self.retry_count,
            failed_at: self.failed_at.map(rfc3339),
            error_kind: self.error_kind,
            station: self.station.as_str().into(),
            worker: self.worker.as_str().into(),
            first_seen: self.first_seen.map(rfc3339),
            attempts: self.attempts.as_slice().into(),
            deaths: self.deaths,
            redrives: self.redrives,
            spent: self.spent,
            lead_bytes: apart,
        };
        let mut out = Vec::with_capacity(512 + self.lead.len());
        serde_json::to_writer(&mut out, &wire).expect("an envelope is always JSON");
        if apart.is_some() {
            out.push(b'\n');
        } else {
            out.pop();
            out.extend_from_slice(LEAD_FIELD);
        }
        out
    }
}

/// What stands before the lead inside an envelope; never within a text of it, where the quotes
/// would be escaped.
const LEAD_FIELD: &[u8] = b",\"lead\":";
/// What stands before the bytes of a lead that is no JSON.
const BASE64_FIELD: &[u8] = b",\"lead_base64\":\"";

impl<'a> Wire<'a> {
    /// Reads the first value of a payload, and where it ends.
    fn first(payload: &'a [u8]) -> Option<(Self, usize)> {
        let mut values = serde_json::Deserializer::from_slice(payload).into_iter();
        let wire = values.next()?.ok()?;
        Some((wire, values.byte_offset()))
    }

    /// Where the lead begins, where it stands behind this envelope: that ends at `end` of a payload
    /// of `size` bytes.
    fn lead_behind(&self, payload: &[u8], end: usize, size: usize) -> Option<usize> {
        let alone = self.lead.is_none() && self.lead_base64.is_none();
        let at = end + 1;
        (alone && payload.get(end) == Some(&b'\n') && at < size).then_some(())?;
        (self.lead_bytes == u64::try_from(size - at).ok()).then_some(at)
    }

    fn into_envelope(self, lead: Bytes) -> Option<Envelope> {
        if self.envelope == 0 || self.envelope > VERSION || self.id.is_empty() {
            return None;
        }
        Some(Envelope {
            lead,
            failed_at: self.failed_at.as_deref().and_then(parse_rfc3339),
            first_seen: self.first_seen.as_deref().and_then(parse_rfc3339),
            id: self.id.into_owned(),
            error: self.error.into_owned(),
            error_kind: self.error_kind,
            retry_count: self.retry_count,
            station: self.station.into_owned(),
            worker: self.worker.into_owned(),
            attempts: self.attempts.into_owned(),
            deaths: self.deaths,
            redrives: self.redrives,
            spent: self.spent,
        })
    }
}

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

/// A text of at most so many bytes, which says how many it had.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let all = format!("… ({} bytes in all)", text.len());
    format!(
        "{}{all}",
        &text[..text.floor_char_boundary(most - all.len())]
    )
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|part| part == what)
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
        assert_eq!(round_trip(b"null")["lead"], serde_json::Value::Null);
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
        let newer = b"{\"envelope\":9,\"id\":\"a\",\"x\":[]}";
        assert_eq!(Envelope::newer_version(newer), Some(9));
        assert_eq!(Envelope::newer_version(b"{\"envelope\":1}"), None);
        assert_eq!(Envelope::newer_version(b"{\"x\":{\"envelope\":9}}"), None);
        let spaced =
            Bytes::from_static(b" { \"envelope\" : 1, \"id\":\"a\", \"lead\": {\"b\": 1} }");
        let envelope = Envelope::from_payload(&spaced).expect("re-encoded by another language");
        assert_eq!(&envelope.lead[..], b"{\"b\": 1}");
    }

    #[test]
    fn an_envelope_of_a_newer_version_goes_into_the_queue_of_the_dead_and_back_whole() {
        let newer = Bytes::from_static(br#"{"envelope":2,"id":"a", "lead":{"n":1},"more":[1]}"#);
        assert_eq!(Envelope::newer_version(&newer), Some(2));
        let mut dead = Envelope::new("tok-7", newer.clone(), None);
        dead.fail(2_000, attempt());
        let (read, origin) = Envelope::from_dead_letter(&dead.encode());
        assert_eq!(read.redriven(origin, || unreachable!()), newer);
        for other in [
            &br#"{"envelope":1,"id":"a","lead":{}}"#[..],
            br#"{"envelope":2,"id":""}"#,
            br#"{"envelope":"2","id":"a"}"#,
            br#"{"id":"a","envelope":2}"#,
            br#"{"envelope":2,"id":"a","#,
        ] {
            assert_eq!(Envelope::newer_version(other), None);
        }
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

        // Of types that nobody expects there: nothing is known, and nothing is made up.
        let odd = br#"{"lead":{"name":"Ada"},"error":{},"retry_count":"three","failed_at":7}"#;
        let (envelope, origin) = Envelope::from_dead_letter(&Bytes::from_static(odd));
        assert_eq!(
            (origin, envelope.error.as_str(), envelope.retry_count),
            (Origin::Legacy, "", 0)
        );
        let back = envelope.redriven(origin, || "fresh-2".into());
        let back = Envelope::from_payload(&back).expect("an envelope");
        assert_eq!(back.attempts, []);

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

    /// An envelope with a long history, and a lead that stands behind it.
    fn long_history(lead: Bytes) -> Envelope {
        let mut envelope = Envelope::new("tok-7", lead, Some(1_000));
        for _ in 0..1_000 {
            envelope.fail(2_000, attempt());
        }
        envelope
    }

    #[test]
    fn a_long_history_never_hides_the_lead_behind_it() {
        let large = Bytes::from(format!("{{\"x\":\"{}\"}}", "x".repeat(2 << 20)));
        let small = Bytes::from_static(b"{\"x\":1}");
        for lead in [large, small, Bytes::from(vec![0xfe; 20_000])] {
            let envelope = long_history(lead.clone());
            let bytes = envelope.encode();
            let read = Envelope::from_payload(&bytes).expect("its own envelope");
            assert_eq!((&read.id, &read.lead), (&envelope.id, &lead));
            let head = bytes.slice(..bytes.len().min(HEAD));
            let opened = Opened::new(&head, bytes.len() as u64);
            assert_eq!(opened.envelope.id, "tok-7");
            assert_eq!(opened.envelope.attempts, read.attempts);

            // Every attempt is there or counted, the oldest and the newest as they were.
            let counted: u64 = read.attempts.iter().map(Attempt::stands_for).sum();
            assert_eq!(counted, 1_000);
            assert!(read.attempts.len() > 300, "{}", read.attempts.len());
            assert_eq!(read.attempts.first(), Some(&attempt()));
            assert_eq!(read.attempts.last(), Some(&attempt()));

            // And so after one more.
            let mut again = read;
            again.fail(3_000, attempt());
            let again = Envelope::from_payload(&again.encode()).expect("its own envelope");
            let counted: u64 = again.attempts.iter().map(Attempt::stands_for).sum();
            assert_eq!(counted, 1_001);
            let markers = again.attempts.iter().filter(|one| one.stands_for() > 1);
            assert_eq!(markers.count(), 1);
        }
    }

    #[test]
    fn a_long_error_is_cut_where_it_would_hide_the_lead() {
        let mut envelope = Envelope::new("tok-7", Bytes::from(vec![0xfe; 20_000]), None);
        let error = "\u{1}é".repeat(60_000);
        envelope.fail(
            2_000,
            Attempt {
                error: error.clone(),
                ..attempt()
            },
        );
        let bytes = envelope.encode();
        let opened = Opened::new(&bytes.slice(..HEAD.min(bytes.len())), bytes.len() as u64);
        let read = opened.envelope;
        assert_eq!((read.id.as_str(), read.attempts.len()), ("tok-7", 1));
        assert!(
            read.error.ends_with("(180000 bytes in all)"),
            "{}",
            read.error
        );
        assert!(error.starts_with(read.error.split('…').next().expect("a part")));
        assert_eq!(read.error, read.attempts[0].error);
    }

    #[test]
    fn a_head_that_others_made_too_long_is_read_where_all_of_it_is_there() {
        let lead = vec![0xfe; 20_000];
        let head = format!(
            "{{\"envelope\":1,\"id\":\"a\",\"error\":\"{}\",\"lead_bytes\":20000}}\n",
            "e".repeat(HEAD)
        );
        let bytes = Bytes::from([head.as_bytes(), &lead].concat());
        let read = Envelope::from_payload(&bytes).expect("an envelope");
        assert_eq!((read.id.as_str(), &read.lead[..]), ("a", &lead[..]));
    }

    #[test]
    fn a_lead_of_blanks_behind_its_envelope_is_that_lead() {
        let mut envelope = Envelope::new("tok-7", Bytes::from(vec![b' '; 20_000]), None);
        envelope.fail(2_000, attempt());
        let read = Envelope::from_payload(&envelope.encode());
        assert_eq!(read, Some(envelope));
    }

    #[test]
    fn a_count_that_others_made_too_large_does_not_overflow() {
        let mut envelope = long_history(Bytes::from_static(b"{}"));
        envelope.attempts[ATTEMPTS / 2].error = format!("{}{LEFT_OUT}", u64::MAX);
        envelope.fail(2_000, attempt());
        assert_eq!(envelope.attempts[ATTEMPTS / 2].stands_for(), u64::MAX);
    }

    #[test]
    fn a_newer_envelope_with_its_lead_behind_it_comes_back_whole_too() {
        let head = br#"{"envelope":2,"id":"a","lead_bytes":300000}"#;
        let newer = Bytes::from([&head[..], b"\n", &vec![0xfe; 300_000]].concat());
        let inside = format!(
            r#"{{"envelope":2,"id":"a","lead":"{}"}}"#,
            "x".repeat(300_000)
        );
        for newer in [newer, Bytes::from(inside)] {
            assert_eq!(Envelope::newer_version(&newer), Some(2));
            let mut dead = Envelope::new("tok-7", newer.clone(), None);
            dead.fail(2_000, attempt());
            let (read, origin) = Envelope::from_dead_letter(&dead.encode());
            assert_eq!(read.redriven(origin, || unreachable!()), newer);

            // Also where only its beginning was ever at hand.
            let bare = Opened::certain(&newer.slice(..HEAD), newer.len() as u64);
            let (head, replaces) = bare.with(&dead);
            assert_eq!(replaces, 0);
            let entry = Bytes::from([&head[..], &newer[..]].concat());
            let opened = Opened::certain(&entry.slice(..HEAD), entry.len() as u64);
            let (put, replaces) = opened.redriven();
            let replaces = usize::try_from(replaces).expect("small");
            assert_eq!([&put[..], &entry[replaces..]].concat(), newer);
        }
    }
}
