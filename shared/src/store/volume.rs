//! How much is asked for in one request, as far as the link and the server allow it.
//!
//! A slow link takes long for a large reply, and a server may allow none of that size
//! (`client-output-buffer-limit`): then the same request fails for ever. So half as much is asked
//! for after each connection that broke in the middle, and more again while all goes well.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes of leads that one reply holds at most, before the entry that goes beyond them.
pub(super) const MOST_BYTES: usize = 8 << 20;
/// The least that is asked for.
const LEAST_BYTES: usize = 64 << 10;
/// A request that takes longer than this is too large for its link.
const SLOW: Duration = Duration::from_secs(2);
/// How long no more is asked for after the first loss; twice as long after each further one.
const FIRST_HOLD: Duration = Duration::from_secs(5);
const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// How much to ask for.
#[derive(Debug)]
pub(super) struct Volume(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes: usize,
    hold: Duration,
    held_until: Option<Instant>,
    /// The last connection that was lost: its calls all fail together, and count once.
    lost: u64,
}

impl Default for Volume {
    fn default() -> Self {
        Self(Mutex::new(State {
            bytes: MOST_BYTES,
            hold: FIRST_HOLD,
            held_until: None,
            lost: 0,
        }))
    }
}

impl Volume {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes to ask for.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// How many leads to ask for in place of so many.
    pub(super) fn leads(&self, most: usize) -> usize {
        let halvings = MOST_BYTES.ilog2() - self.bytes().ilog2();
        (most >> halvings).max(1)
    }

    /// A request went through.
    pub(super) fn went(&self, bytes: u64, took: Duration) {
        let mut state = self.state();
        // One that brought little has waited for the server, not for the link.
        if took > SLOW && bytes >= LEAST_BYTES as u64 {
            let a_second = u128::from(bytes) * 1_000 / took.as_millis().max(1);
            let a_second = usize::try_from(a_second).unwrap_or(usize::MAX);
            state.bytes = a_second.clamp(LEAST_BYTES, state.bytes);
        } else if took <= SLOW
            && state.bytes < MOST_BYTES
            && state.held_until.is_none_or(|until| until <= Instant::now())
        {
            state.bytes = (state.bytes * 2).min(MOST_BYTES);
            if state.bytes == MOST_BYTES && bytes >= MOST_BYTES as u64 / 2 {
                state.hold = FIRST_HOLD;
            }
        }
    }

    /// A connection, known by a number, broke with a request under way.
    pub(super) fn lost(&self, connection: u64) {
        let mut state = self.state();
        if connection <= state.lost {
            return;
        }
        state.lost = connection;
        state.bytes = (state.bytes / 2).max(LEAST_BYTES);
        state.held_until = Some(Instant::now() + state.hold);
        state.hold = (state.hold * 2).min(LONGEST_HOLD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn half_is_asked_for_after_each_loss_and_more_again_later() {
        let volume = Volume::default();
        assert_eq!((volume.bytes(), volume.leads(50)), (MOST_BYTES, 50));
        volume.lost(1);
        volume.lost(1);
        assert_eq!((volume.bytes(), volume.leads(50)), (MOST_BYTES / 2, 25));
        for connection in 2..20 {
            volume.lost(connection);
        }
        assert_eq!((volume.bytes(), volume.leads(50)), (LEAST_BYTES, 1));
        volume.went(1_000, Duration::ZERO);
        assert_eq!(volume.bytes(), LEAST_BYTES, "not at once");
        tokio::time::advance(LONGEST_HOLD).await;
        for _ in 0..10 {
            volume.went(1_000, Duration::ZERO);
        }
        assert_eq!((volume.bytes(), volume.leads(50)), (MOST_BYTES, 50));
    }

    #[tokio::test(start_paused = true)]
    async fn over_a_slow_link_a_request_takes_about_a_second() {
        let volume = Volume::default();
        volume.went(5_600_000, Duration::from_secs(16));
        assert_eq!(volume.bytes(), 350_000);
        volume.went(350_000, Duration::from_secs(1));
        assert_eq!(volume.bytes(), 700_000);
        volume.went(10, Duration::from_secs(60));
        assert_eq!(volume.bytes(), 700_000, "the server was slow");
        volume.went(700_000, Duration::from_secs(60));
        assert_eq!(volume.bytes(), LEAST_BYTES);
    }
}
