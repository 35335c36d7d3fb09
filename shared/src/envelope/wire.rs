//! What stands on the wire, as serde reads and writes it.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::attempt::{Attempt, ErrorKind, unknown_kind};
use super::{ATTEMPTS, Envelope, VERSION};
use crate::clock::parse_rfc3339;
use crate::money::Money;

/// What stands before the lead inside an envelope; never within a text of it, where the quotes
/// would be escaped.
pub(super) const LEAD_FIELD: &[u8] = b",\"lead\":";
/// What stands before the bytes of a lead that is no JSON.
pub(super) const BASE64_FIELD: &[u8] = b",\"lead_base64\":\"";

/// What stands in an envelope; the lead is written behind it.
#[derive(Serialize, Deserialize)]
pub(super) struct Wire<'a> {
    #[serde(default)]
    pub(super) envelope: u32,
    #[serde(borrow, default)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing, deserialize_with = "also_null")]
    pub(super) lead: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing)]
    pub(super) lead_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) error: Cow<'a, str>,
    #[serde(default)]
    pub(super) retry_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failed_at: Option<String>,
    #[serde(default = "unknown_kind")]
    pub(super) error_kind: ErrorKind,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    pub(super) queue: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) station: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) worker: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_seen: Option<String>,
    #[serde(default, deserialize_with = "some_attempts")]
    pub(super) attempts: Cow<'a, [Attempt]>,
    #[serde(default)]
    pub(super) deaths: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_death: Option<String>,
    #[serde(default)]
    pub(super) redrives: u32,
    /// Micro-dollars.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub(super) spent: Money,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lead_bytes: Option<u64>,
}

impl<'a> Wire<'a> {
    /// Reads the first value of a payload, and where it ends.
    pub(super) fn first(payload: &'a [u8]) -> Option<(Self, usize)> {
        let mut values = serde_json::Deserializer::from_slice(payload).into_iter();
        let wire = values.next()?.ok()?;
        Some((wire, values.byte_offset()))
    }

    /// Where the lead begins, where it stands behind this envelope: that ends at `end` of a payload
    /// of `size` bytes.
    pub(super) fn lead_behind(&self, payload: &[u8], end: usize, size: usize) -> Option<usize> {
        let alone = self.lead.is_none() && self.lead_base64.is_none();
        let at = end + 1;
        (alone && payload.get(end) == Some(&b'\n') && at < size).then_some(())?;
        (self.lead_bytes == u64::try_from(size - at).ok()).then_some(at)
    }

    pub(super) fn into_envelope(self, lead: Bytes) -> Option<Envelope> {
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
            queue: self.queue.into_owned(),
            station: self.station.into_owned(),
            worker: self.worker.into_owned(),
            attempts: self.attempts.into_owned(),
            deaths: self.deaths,
            first_death: self.first_death.as_deref().and_then(parse_rfc3339),
            redrives: self.redrives,
            spent: self.spent,
        })
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

/// What tells that an envelope is newer.
#[derive(Default)]
pub(super) struct Newer {
    pub(super) version: Option<u64>,
    pub(super) has_id: bool,
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

/// What the old readers know of a dead letter. Every field is taken only if it has the type they
/// expect; anything else counts as missing, as it does for them.
#[derive(Deserialize)]
pub(super) struct Legacy<'a> {
    #[serde(borrow)]
    pub(super) lead: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) retry_count: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) failed_at: Option<&'a RawValue>,
}
