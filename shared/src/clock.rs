//! Time as the Redis server tells it.
//!
//! A worker's own wall clock is never used for anything that is stored: every script answers with
//! the server's `TIME`, and between answers the process adds its monotonic clock to the last one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use jiff::Timestamp;

/// Milliseconds since the Unix epoch, by the Redis server's clock.
pub type Millis = i64;

/// The server's clock, carried forward by this machine's monotonic clock between readings.
///
/// Before the first reading it answers with 0, so that a missing reading is plain to see and is
/// never mistaken for a time.
///
/// Asked several times for each lead, so it takes no lock.
#[derive(Debug)]
pub struct ServerClock {
    begun: Instant,
    /// The server's time when this clock was begun; [`UNKNOWN`] before the first reading.
    offset: AtomicI64,
}

const UNKNOWN: Millis = i64::MIN;

impl Default for ServerClock {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            offset: AtomicI64::new(UNKNOWN),
        }
    }
}

impl ServerClock {
    /// Takes a reading that has just arrived in a reply.
    pub fn observe(&self, now: Millis) {
        let offset = now - self.until(Instant::now());
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// The server's time, in milliseconds since the Unix epoch; 0 before the first reading.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.at(Instant::now())
    }

    /// What [`ServerClock::now`] was at that moment.
    #[must_use]
    pub fn at(&self, moment: Instant) -> Millis {
        match self.offset.load(Ordering::Relaxed) {
            UNKNOWN => 0,
            offset => offset + self.until(moment),
        }
    }

    fn until(&self, moment: Instant) -> Millis {
        let time = moment.saturating_duration_since(self.begun);
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2)
    }
}

/// Writes a time as RFC 3339 in UTC with milliseconds, as `failed_at` is written.
///
/// ```
/// assert_eq!(bridge_shared::clock::rfc3339(1_768_473_000_250), "2026-01-15T10:30:00.25Z");
/// ```
#[must_use]
pub fn rfc3339(millis: Millis) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |at| at.to_string())
}

/// Reads an RFC 3339 time; `None` where the text is not one.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_millisecond)
}

/// Writes a span of time in its largest unit: `850ms`, `12s`, `4m`, `3h`, `9d`.
#[must_use]
pub fn human_duration(millis: i64) -> String {
    const SECOND: i64 = 1_000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match millis.max(0) {
        ms if ms < SECOND => format!("{ms}ms"),
        ms if ms < 2 * MINUTE => format!("{}s", ms / SECOND),
        ms if ms < 2 * HOUR => format!("{}m", ms / MINUTE),
        ms if ms < 2 * DAY => format!("{}h", ms / HOUR),
        ms => format!("{}d", ms / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_without_a_reading_says_zero_and_then_follows_the_server() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), 0);
        clock.observe(5_000);
        assert!((5_000..6_000).contains(&clock.now()));
    }

    #[test]
    fn times_survive_the_round_trip() {
        let at = 1_768_473_000_123;
        assert_eq!(parse_rfc3339(&rfc3339(at)), Some(at));
        assert_eq!(parse_rfc3339("Unknown"), None);
    }

    #[test]
    fn spans_are_written_in_their_largest_unit() {
        assert_eq!(human_duration(850), "850ms");
        assert_eq!(human_duration(-3), "0ms");
        assert_eq!(human_duration(119_000), "119s");
        assert_eq!(human_duration(3 * 3_600_000), "3h");
        assert_eq!(human_duration(9 * 86_400_000), "9d");
    }
}
