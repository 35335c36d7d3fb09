//! Why dead letters died, as few causes instead of many errors.
//!
//! Two errors have one cause where they came from the same station, are of the same kind and read
//! the same once numbers, ids, quoted texts and addresses are left out.

use sha2::{Digest as _, Sha256};

use crate::envelope::{Envelope, ErrorKind};

/// Bytes of an error that its cause is made of: what comes after that is an answer quoted in full.
const LOOKED_AT: usize = 1_024;

/// A cause that dead letters share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cause {
    /// Eight letters and digits, the same for the same cause at any time and on any machine.
    pub id: String,
    /// The error with what differs between leads left out.
    pub text: String,
}

impl Cause {
    /// The cause of a dead letter.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self::new(&envelope.station, envelope.error_kind, &envelope.error)
    }

    /// The cause of a dead letter that failed at a station with an error of a kind.
    #[must_use]
    pub fn new(station: &str, kind: ErrorKind, error: &str) -> Self {
        use std::fmt::Write as _;
        let text = essence(&error[..error.floor_char_boundary(LOOKED_AT)]);
        let mut hash = Sha256::new();
        for part in [station, kind.as_str(), &text] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let id = hash.finalize()[..4]
            .iter()
            .fold(String::with_capacity(8), |mut id, byte| {
                let _ = write!(id, "{byte:02x}");
                id
            });
        Self { id, text }
    }
}

/// An error without what differs from lead to lead: numbers, ids and quoted texts become `#` and
/// `"…"`, the query of a URL is left off. The number after `HTTP` stays, for it is the cause.
fn essence(error: &str) -> String {
    if error.is_empty() {
        return "Unknown error".to_owned();
    }
    let mut out = String::with_capacity(error.len());
    let mut quoted = false;
    let mut last = "";
    for word in error.split_inclusive([' ', '"']) {
        if quoted {
            quoted = !word.ends_with('"');
            if !quoted {
                out.push('"');
            }
            continue;
        }
        if last == "HTTP " {
            out.push_str(word);
        } else {
            plain(word, &mut out);
        }
        if word.ends_with('"') {
            out.push('…');
            quoted = true;
        }
        last = word;
    }
    out
}

/// One word, its numbers and ids left out: any run of letters, digits, `-` and `_` that has a digit
/// in it, but for a unit (`10ms`).
fn plain(word: &str, out: &mut String) {
    let query = word.find("://").and_then(|_| word.find('?'));
    let (mut rest, after) = query.map_or((word, ""), |query| {
        let end = word.trim_end_matches([' ', '"', ',', '.', ';', ':']).len();
        (&word[..query], &word[end.max(query)..])
    });
    let in_run = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    while let Some(c) = rest.chars().next() {
        let run = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        if run == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let part = &rest[..run];
        rest = &rest[run..];
        if part.bytes().any(|byte| byte.is_ascii_digit()) {
            let unit = part.trim_start_matches(|c: char| c.is_ascii_digit());
            out.push('#');
            if unit.len() <= 2 && unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                out.push_str(unit);
            }
        } else {
            out.push_str(part);
        }
    }
    out.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn cause(error: &str, station: &str) -> Cause {
        let mut envelope = Envelope::new("x", Bytes::new(), None);
        error.clone_into(&mut envelope.error);
        station.clone_into(&mut envelope.station);
        Cause::of(&envelope)
    }

    #[test]
    fn what_differs_from_lead_to_lead_is_left_out() {
        for (error, expected) in [
            ("", "Unknown error"),
            (
                "HTTP 503 from https://x.example/leads/17?key=9: overloaded",
                "HTTP 503 from https://x.example/leads/#: overloaded",
            ),
            ("no answer within 10 s", "no answer within # s"),
            ("took 1234ms", "took #ms"),
            ("no \"email\" for 'x'", "no \"…\" for 'x'"),
            (
                "user 550e8400-e29b-41d4-a716-446655440000 is gone",
                "user # is gone",
            ),
            ("plain words", "plain words"),
        ] {
            assert_eq!(cause(error, "").text, expected);
        }
    }

    #[test]
    fn the_id_tells_station_and_words_apart_and_nothing_else() {
        let same = cause("HTTP 503 after 10 ms", "enrich");
        assert_eq!(same, cause("HTTP 503 after 12 ms", "enrich"));
        assert_ne!(same.id, cause("HTTP 503 after 12 ms", "other").id);
        assert_ne!(same.id, cause("HTTP 500 after 12 ms", "enrich").id);
        assert_eq!(same.id.len(), 8);
    }
}
