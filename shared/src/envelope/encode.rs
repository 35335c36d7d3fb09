//! How an envelope is written: the lead last, and what comes before it never too long to find it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::value::RawValue;

use super::wire::{BASE64_FIELD, LEAD_FIELD, Wire};
use super::{Attempt, Envelope, HEAD, VERSION};
use crate::clock::rfc3339;

/// The longest lead that stands inside its envelope, in bytes.
const INSIDE: usize = 1 << 20;
/// The longest lead that stands inside its envelope as base64, in bytes; and how much of one that
/// is no JSON is shown to human eyes.
const INSIDE_BASE64: usize = 16 * 1024;

/// The longest error, and the longest name, in bytes, where there is no room for longer ones.
const LONGEST_ERROR: usize = 1024;
const LONGEST_NAME: usize = 256;
/// More bytes than an attempt that stands for many takes.
const MARKER_SIZE: usize = 2048;

impl Envelope {
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
    pub(super) fn encode_before(&self, apart: Option<u64>) -> Vec<u8> {
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
            queue: cut(&self.queue, LONGEST_NAME),
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
            queue: self.queue.as_str().into(),
            station: self.station.as_str().into(),
            worker: self.worker.as_str().into(),
            first_seen: self.first_seen.map(rfc3339),
            attempts: self.attempts.as_slice().into(),
            deaths: self.deaths,
            first_death: self.first_death.map(rfc3339),
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
