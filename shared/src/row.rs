//! A dead letter as scripts and files get it.

use std::borrow::Cow;

use crate::clock::rfc3339;
use crate::envelope::Envelope;
use crate::json;
use crate::store::dead_letters::DeadLetter;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde::Serialize;
use serde_json::value::RawValue;

/// A dead letter as scripts get it: the names of the old readers, and more.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Row<'a> {
    /// Its place when it was read, 0 the newest.
    pub index: u64,
    /// Its id.
    pub id: &'a str,
    /// The lead as it came, its line breaks between values as spaces; if that is no JSON, as a text.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub lead_data: Box<RawValue>,
    /// The lead's bytes, where `lead_data` cannot show them all: they are no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_base64: Option<String>,
    /// Its last error; `Unknown error` where there is none.
    pub error: Cow<'a, str>,
    /// How many retries were made.
    pub retry_count: u32,
    /// When it failed, RFC 3339; `Unknown` where that is unknown.
    pub failed_at: String,
    /// The kind of the last error.
    pub error_kind: &'a str,
    /// The queue that it was last worked on in, if that is known.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub queue: &'a str,
    /// The station of the last error.
    pub station: &'a str,
    /// The worker of the last error.
    pub worker: &'a str,
    /// When the bridge first had it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<String>,
    /// Every failed attempt, oldest first.
    pub attempts: &'a [crate::envelope::Attempt],
    /// How often a person put it back to work.
    pub redrives: u32,
    /// Whether it can be a lead at all.
    pub can_retry: bool,
    /// About how many bytes the lead has, where `lead_data` is only its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_bytes: Option<u64>,
}

impl<'a> Row<'a> {
    /// The row of a dead letter.
    #[must_use]
    pub fn new(letter: &'a DeadLetter) -> Self {
        let envelope = &letter.envelope;
        Self {
            index: letter.index,
            id: letter.id(),
            lead_data: lead_as_json(&envelope.lead),
            lead_base64: (letter.is_whole() && std::str::from_utf8(&envelope.lead).is_err())
                .then(|| BASE64.encode(&envelope.lead)),
            error: error_or_unknown(letter),
            retry_count: envelope.retry_count,
            failed_at: envelope.failed_at.map_or_else(|| "Unknown".into(), rfc3339),
            error_kind: envelope.error_kind.as_str(),
            queue: &envelope.queue,
            station: &envelope.station,
            worker: &envelope.worker,
            first_seen: envelope.first_seen.map(rfc3339),
            attempts: &envelope.attempts,
            redrives: envelope.redrives,
            can_retry: letter.is_lead(),
            lead_bytes: (!letter.is_whole()).then(|| letter.lead_size()),
        }
    }
}

/// The lead as it is, on one line; if that is no JSON, as a text.
fn lead_as_json(lead: &[u8]) -> Box<RawValue> {
    let line: Vec<u8> = lead.iter().copied().map(json::on_one_line).collect();
    serde_json::from_slice(&line).unwrap_or_else(|_| {
        serde_json::value::to_raw_value(&String::from_utf8_lossy(lead)).expect("a text is JSON")
    })
}

/// Its error, as the old readers show it; of what a newer bridge wrote, why it cannot be told.
#[must_use]
pub fn error_or_unknown(letter: &DeadLetter) -> Cow<'_, str> {
    match letter.envelope.error.as_str() {
        "" => newer(letter).map_or(Cow::Borrowed("Unknown error"), Cow::Owned),
        error => Cow::Borrowed(error),
    }
}

/// What to do about an entry that a newer bridge wrote, where it is one.
#[must_use]
pub fn newer(letter: &DeadLetter) -> Option<String> {
    let version = Envelope::newer_version_of(&letter.bytes, letter.size)?;
    Some(format!(
        "written by a newer bridge (envelope version {version}): update this one to read it; a retry puts it back whole"
    ))
}
