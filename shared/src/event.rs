//! What is told about a lead over Redis pub/sub, as it happens.
//!
//! One message carries all that a process has to say since its last one:
//! `{"v":1,"worker":"host-7-k3x","events":[{"at":1764000000000,"event":"received","lead":"k3x-1"},...]}`.
//!
//! A channel belongs to the whole server, not to one of its databases. So a message of any database
//! but the first also says which: `"db":1`. A listener drops the messages of other databases.

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::json::push_text;

/// The version of the message this code writes. A reader shows what it knows of a newer one.
pub const VERSION: u32 = 1;

/// What happened to a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Taken from the waiting list by a worker.
    Received,
    /// Its first station is about to run.
    Started,
    /// A station answered.
    Station,
    /// Enriched and stored.
    Succeeded,
    /// Done early, on purpose.
    Skipped,
    /// Failed, and due again later.
    RetryScheduled,
    /// Given up, or brought back by a person from the trash or from the waiting list: now in the
    /// dead letter queue.
    Dead,
    /// Its worker died; another one put it back to waiting.
    Recovered,
    /// Handed back by its worker, which stopped or had taken too many; it is waiting again. Workers of
    /// before this kind told it as recovered.
    Requeued,
    /// A worker finished it after its lease was taken away; that result was dropped.
    LeaseLost,
    /// Put back to work by a person.
    Redriven,
    /// Thrown away by a person.
    Dropped,
    /// Something a newer version knows.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Received,
        Self::Started,
        Self::Station,
        Self::Succeeded,
        Self::Skipped,
        Self::RetryScheduled,
        Self::Dead,
        Self::Recovered,
        Self::Requeued,
        Self::LeaseLost,
        Self::Redriven,
        Self::Dropped,
        Self::Unknown,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Started => "started",
            Self::Station => "station",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::RetryScheduled => "retry_scheduled",
            Self::Dead => "dead",
            Self::Recovered => "recovered",
            Self::Requeued => "requeued",
            Self::LeaseLost => "lease_lost",
            Self::Redriven => "redriven",
            Self::Dropped => "dropped",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the lead's way is over with it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Dead)
    }
}

/// One thing that happened to one lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds of server time.
    pub at: Millis,
    /// What.
    pub event: EventKind,
    /// The lead's id; empty where a newer version tells of something that is about no lead.
    #[serde(default)]
    pub lead: String,
    /// The station concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub station: Option<String>,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Which retry comes next, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u32>,
    /// How long it took, or how long until the retry, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
}

impl Event {
    /// An event with nothing more to say than what happened.
    #[must_use]
    pub fn new(at: Millis, event: EventKind, lead: impl Into<String>) -> Self {
        Self {
            at,
            event,
            lead: lead.into(),
            station: None,
            error: None,
            retry: None,
            ms: None,
        }
    }
}

/// An [`Event`] on its way out, which has nothing of its own.
#[derive(Debug, Clone, Copy)]
pub struct News<'a> {
    /// When, in milliseconds of server time.
    pub at: Millis,
    /// What.
    pub event: EventKind,
    /// The lead's id.
    pub lead: &'a str,
    /// The station concerned.
    pub station: Option<&'a str>,
    /// What went wrong, in words.
    pub error: Option<&'a str>,
    /// Which retry comes next, from 1.
    pub retry: Option<u32>,
    /// How long it took, or how long until the retry, in milliseconds.
    pub ms: Option<u64>,
}

impl<'a> News<'a> {
    /// News with nothing more to say than what happened.
    #[must_use]
    pub const fn new(at: Millis, event: EventKind, lead: &'a str) -> Self {
        Self {
            at,
            event,
            lead,
            station: None,
            error: None,
            retry: None,
            ms: None,
        }
    }

    /// Writes it as an [`Event`] is written, but for [`Message::opening`]. By hand, for there are four
    /// in the life of a lead.
    fn write(&self, out: &mut Vec<u8>) {
        let number = |out: &mut Vec<u8>, name: &[u8], number: u64| {
            out.extend_from_slice(name);
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        };
        let text = |out: &mut Vec<u8>, name: &[u8], text: &str| {
            out.extend_from_slice(name);
            push_text(out, text);
        };
        out.extend_from_slice(self.event.as_str().as_bytes());
        text(out, b"\",\"lead\":", self.lead);
        if let Some(station) = self.station {
            text(out, b",\"station\":", station);
        }
        if let Some(error) = self.error {
            text(out, b",\"error\":", error);
        }
        if let Some(retry) = self.retry {
            number(out, b",\"retry\":", retry.into());
        }
        if let Some(ms) = self.ms {
            number(out, b",\"ms\":", ms);
        }
        out.push(b'}');
    }
}

/// A message that is written event by event: an [`EventBatch`] that is never held in parts.
#[derive(Debug)]
pub struct Message {
    bytes: Vec<u8>,
    /// Where the first event begins.
    head: usize,
    events: usize,
    /// What stands before an event, and the time in it: many have the same.
    opening: Vec<u8>,
    at: Option<Millis>,
}

impl Message {
    /// The beginning of a message of one process that works in this database, in the version this
    /// code writes.
    #[must_use]
    pub fn new(worker: &str, db: i64) -> Self {
        let mut bytes = EventBatch::new(worker, db, Vec::new()).encode();
        // Without the end of the list and of the message.
        bytes.truncate(bytes.len() - 2);
        Self::begun(bytes)
    }

    fn begun(bytes: Vec<u8>) -> Self {
        Self {
            head: bytes.len(),
            bytes,
            events: 0,
            opening: Vec::new(),
            at: None,
        }
    }

    /// The beginning of another one, which will be about as long.
    #[must_use]
    pub fn following(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + 64);
        bytes.extend_from_slice(&self.bytes[..self.head]);
        Self::begun(bytes)
    }

    /// Adds an event.
    pub fn push(&mut self, news: &News<'_>) {
        if self.at != Some(news.at) {
            self.at = Some(news.at);
            self.opening.clear();
            self.opening.extend_from_slice(b",{\"at\":");
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(news.at).as_bytes();
            self.opening.extend_from_slice(digits);
            self.opening.extend_from_slice(b",\"event\":\"");
        }
        let comma = usize::from(self.events == 0);
        self.bytes.extend_from_slice(&self.opening[comma..]);
        news.write(&mut self.bytes);
        self.events += 1;
    }

    /// How many events are in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.events
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The message as it is published; a new one begins.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        let next = self.following();
        std::mem::replace(self, next).into_bytes()
    }

    /// The message as it is published.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"]}");
        self.bytes
    }
}

/// All that one process has to tell since its last message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBatch {
    /// The version of the message.
    pub v: u32,
    /// Who tells it: a worker's id, or an operator's console.
    #[serde(default)]
    pub worker: String,
    /// The number of the database in which it happened.
    #[serde(default, skip_serializing_if = "is_first")]
    pub db: i64,
    /// What happened, in order.
    pub events: Vec<Event>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_first(db: &i64) -> bool {
    *db == 0
}

impl EventBatch {
    /// Events of one process in one database, in the version this code writes.
    #[must_use]
    pub fn new(worker: impl Into<String>, db: i64, events: Vec<Event>) -> Self {
        Self {
            v: VERSION,
            worker: worker.into(),
            db,
            events,
        }
    }

    /// The message as it is published.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("events are always JSON")
    }

    /// Reads a message.
    ///
    /// # Errors
    /// The parser's words where the bytes are not a message of events.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire_and_leaves_out_what_it_lacks() {
        let batch = EventBatch::new("w", 0, vec![Event::new(7, EventKind::LeaseLost, "t-1")]);
        let bytes = batch.encode();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            r#"{"v":1,"worker":"w","events":[{"at":7,"event":"lease_lost","lead":"t-1"}]}"#
        );
        assert_eq!(EventBatch::decode(&bytes).unwrap(), batch);
        let elsewhere = EventBatch { db: 3, ..batch };
        let bytes = elsewhere.encode();
        assert!(bytes.starts_with(br#"{"v":1,"worker":"w","db":3,"events":["#));
        assert_eq!(EventBatch::decode(&bytes).unwrap(), elsewhere);
    }

    #[test]
    fn every_kind_stands_at_its_number() {
        for (number, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn a_message_written_event_by_event_is_the_same() {
        let mut event = Event::new(7, EventKind::Dead, "t-1");
        event.station = Some("a \"station\"".into());
        event.error = Some("HTTP 503\n".into());
        (event.retry, event.ms) = (Some(2), Some(9));
        let other = Event::new(8, EventKind::Received, "t-2");
        let mut message = Message::new("w", 2);
        for events in [vec![], vec![event.clone(), other.clone()], vec![other]] {
            for event in &events {
                message.push(&News {
                    station: event.station.as_deref(),
                    error: event.error.as_deref(),
                    retry: event.retry,
                    ms: event.ms,
                    ..News::new(event.at, event.event, &event.lead)
                });
            }
            assert_eq!(message.len(), events.len());
            assert_eq!(message.take(), EventBatch::new("w", 2, events).encode());
            assert!(message.is_empty());
        }
    }

    #[test]
    fn a_newer_workers_events_are_read_as_far_as_they_are_known() {
        let newer =
            br#"{"v":2,"worker":"w","x":1,"events":[{"at":1,"event":"cloned","lead":"a","y":[]},{"at":2,"event":"reloaded"}]}"#;
        let batch = EventBatch::decode(newer).unwrap();
        assert_eq!(batch.events[0].event, EventKind::Unknown);
        assert_eq!(batch.events[1].lead, "");
    }
}
