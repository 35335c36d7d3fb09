//! When no worker counts as expired here: after an outage, and after the server's clock was moved.

use std::time::{Duration, Instant};

use bridge_shared::clock::Millis;

/// How much of a difference between the server's clock and this machine's monotonic one is a move of
/// the former: far less than any lease.
const MOVED_MS: i128 = 200;
/// The least time that a living worker is given to renew its lease: three of the longest heartbeat
/// intervals.
const LEAST: Duration = Duration::from_secs(3);

/// Time that a living worker is given to renew a lease that ended, or that went, through no fault of
/// its own.
pub(super) fn time_to_renew(lease: Duration) -> Duration {
    lease.max(LEAST)
}

/// What has kept this worker from renewing its lease has mostly kept the others from it as well: a
/// Redis that was away or refused to write, a machine that stood still. Their leases have then run
/// out and they are alive. So for half a lease after such a time no worker counts as expired here;
/// each that is alive has renewed its lease by then. The same for a whole lease after the server's clock
/// went forward, which ends all leases at once.
#[derive(Debug, Default)]
pub(super) struct Grace {
    last: Option<(Instant, Instant, Millis)>,
    until: Option<Instant>,
}

impl Grace {
    /// Takes note of a beat: when it was sent and answered, and the server's time in between; returns
    /// whether the others are to be spared.
    pub(super) fn spares(
        &mut self,
        sent: Instant,
        answered: Instant,
        server: Millis,
        lease: Duration,
    ) -> bool {
        let last = self.last.replace((sent, answered, server));
        let gap = last.map_or(lease, |(_, last, _)| answered - last);
        // More than the time of the server can have gone by between the two readings.
        let moved = last.is_some_and(|(sent_then, _, server_then)| {
            let passed = (answered - sent_then).as_millis();
            let told = i128::from(server) - i128::from(server_then);
            told - i128::try_from(passed).unwrap_or(i128::MAX) > MOVED_MS
        });
        // If every beat is late they are not spared for ever.
        let is_outage = gap > lease / 2 && self.until.is_none_or(|until| answered > until + lease);
        let spared = match (moved, is_outage) {
            (true, _) => Some(time_to_renew(lease)),
            (false, true) => Some(lease / 2),
            (false, false) => None,
        };
        let until = spared.map(|spared| answered + spared);
        self.until = self.until.max(until);
        self.until.is_some_and(|until| answered < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    #[test]
    fn after_an_outage_the_others_are_spared_for_half_a_lease() {
        let mut grace = Grace::default();
        let start = Instant::now();
        let mut spares = |s: f64| {
            let now = start + Duration::from_secs_f64(s);
            #[allow(clippy::cast_possible_truncation, reason = "a few seconds")]
            grace.spares(now, now, (s * 1e3) as Millis, LEASE)
        };
        assert!(spares(0.0), "nobody knows what was before");
        assert!(spares(4.0));
        assert!(!spares(5.0) && !spares(9.0));
        assert!(spares(19.0), "an outage");
        assert!(spares(23.5));
        assert!(!spares(24.5));
        let late = (0..10).map(|i| 30.0 + 6.0 * f64::from(i));
        assert_eq!(late.filter(|s| !spares(*s)).count(), 7, "late, and alive");
    }

    #[test]
    fn a_clock_that_goes_forward_soon_after_an_outage_is_noticed() {
        let mut grace = Grace::default();
        let start = Instant::now();
        let mut spares = |s: u64, ahead: i64| {
            let now = start + Duration::from_secs(s);
            let server = i64::try_from(s).expect("small") * 1_000 + ahead;
            grace.spares(now, now, server, LEASE)
        };
        for s in 0..20 {
            let ahead = if s < 6 { 0 } else { 15_000 };
            let expected = s < 5 || (6..16).contains(&s);
            assert_eq!(spares(s, ahead), expected, "{s}");
        }
    }

    #[test]
    fn after_the_servers_clock_went_forward_the_others_are_spared_for_a_lease() {
        let mut grace = Grace::default();
        let start = Instant::now();
        let mut spares = |s: u64, ahead: i64| {
            let now = start + Duration::from_secs(s);
            let server = i64::try_from(s).expect("small") * 1_000 + ahead;
            grace.spares(now, now, server, LEASE)
        };
        for s in 0..20 {
            assert_eq!(spares(s, 0), s < 5, "{s}");
        }
        for s in 20..40 {
            assert_eq!(spares(s, 15_000), s < 30, "{s}");
        }
        assert!(!spares(40, -3_600_000), "its going back ends no lease");
    }
}
