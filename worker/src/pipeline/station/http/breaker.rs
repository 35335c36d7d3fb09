//! The circuit breaker: a service that is down is left alone, and asked again by one lead at a
//! time until it answers. Each worker process has its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Time that leads wait for the one that is out, before they too have to come again.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether calls may go out.
#[derive(Debug)]
enum State {
    /// They do; so many in a row have failed.
    Closed { failures: u32 },
    /// None does until then.
    Open { until: Instant },
    /// One is out to see whether the service is back; the others wait for what it finds.
    HalfOpen,
}

/// The breaker of one service.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Whose it is, for the log.
    owner: String,
    /// Failures in a row that open it.
    threshold: u32,
    /// How long it stays open.
    cooldown: Duration,
    state: Mutex<State>,
    /// Wakes those that wait for the one that is out.
    settled: Notify,
}

/// Leave to make one call. Dropped without [`Leave::worked`] it counts as a failure: the service
/// refused, or did not answer in the time there was.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    breaker: &'a Breaker,
    trial: bool,
    worked: bool,
}

impl Breaker {
    pub(super) fn new(owner: String, threshold: u32, cooldown: Duration) -> Self {
        Self {
            owner,
            threshold,
            cooldown,
            state: Mutex::new(State::Closed { failures: 0 }),
            settled: Notify::new(),
        }
    }

    /// Asks for leave; waits a little while another call is out to see whether the service is back.
    ///
    /// # Errors
    /// How long the service will be left alone.
    pub(super) async fn ask(&self) -> Result<Leave<'_>, Duration> {
        loop {
            // Made before the state is looked at, so that no change in between is missed.
            let settled = self.settled.notified();
            {
                let mut state = self.state();
                let now = Instant::now();
                let trial = match *state {
                    State::Closed { .. } => Some(false),
                    State::Open { until } if now < until => return Err(until - now),
                    State::Open { .. } => {
                        *state = State::HalfOpen;
                        Some(true)
                    }
                    State::HalfOpen => None,
                };
                if let Some(trial) = trial {
                    return Ok(Leave {
                        breaker: self,
                        trial,
                        worked: false,
                    });
                }
            }
            if tokio::time::timeout(PATIENCE, settled).await.is_err() {
                return Err(PATIENCE);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &mut State, to: State) {
        if matches!(state, State::HalfOpen) {
            self.settled.notify_waiters();
        }
        *state = to;
    }
}

impl Leave<'_> {
    /// The service answered.
    pub(super) fn worked(mut self) {
        self.worked = true;
        let mut state = self.breaker.state();
        // An answer to a call from before it opened does not close it: only the trial does.
        if self.trial {
            tracing::info!("{}: the service answers again", self.breaker.owner);
        }
        if self.trial || matches!(*state, State::Closed { .. }) {
            self.breaker.set(&mut state, State::Closed { failures: 0 });
        }
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.worked {
            return;
        }
        let breaker = self.breaker;
        let mut state = breaker.state();
        let failures = match *state {
            State::Closed { failures } => failures + 1,
            State::HalfOpen if self.trial => breaker.threshold,
            // The failure of a call from before it opened is no news.
            State::Open { .. } | State::HalfOpen => return,
        };
        let to = if failures >= breaker.threshold {
            tracing::warn!(
                "{}: the service fails and is left alone for {} s",
                breaker.owner,
                breaker.cooldown.as_secs_f64()
            );
            State::Open {
                until: Instant::now() + breaker.cooldown,
            }
        } else {
            State::Closed { failures }
        };
        breaker.set(&mut state, to);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn breaker(threshold: u32) -> Breaker {
        Breaker::new("station \"x\"".into(), threshold, COOLDOWN)
    }

    async fn leave(breaker: &Breaker) -> Leave<'_> {
        breaker.ask().await.expect("leave")
    }

    async fn fail(breaker: &Breaker) {
        drop(leave(breaker).await);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_one_call_at_a_time_finds_out_whether_it_may_close() {
        let breaker = breaker(2);
        fail(&breaker).await;
        leave(&breaker).await.worked();
        fail(&breaker).await;
        leave(&breaker).await.worked();
        fail(&breaker).await;
        fail(&breaker).await;
        assert_eq!(breaker.ask().await.err(), Some(COOLDOWN), "two in a row");

        tokio::time::advance(COOLDOWN).await;
        let trial = leave(&breaker).await;
        let mut waiting = Box::pin(breaker.ask());
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        drop(trial);
        assert_eq!(waiting.await.err(), Some(COOLDOWN), "one is enough now");

        tokio::time::advance(COOLDOWN).await;
        let trial = leave(&breaker).await;
        let mut waiting = Box::pin(breaker.ask());
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        assert_eq!(waiting.await.err(), Some(PATIENCE), "but not for long");
        let mut waiting = Box::pin(breaker.ask());
        assert!(waiting.as_mut().now_or_never().is_none());
        trial.worked();
        waiting.await.expect("leave").worked();
        fail(&breaker).await;
        leave(&breaker).await.worked();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_from_before_it_opened_change_nothing() {
        let breaker = breaker(1);
        let (late_success, late_failure) = (leave(&breaker).await, leave(&breaker).await);
        fail(&breaker).await;
        late_success.worked();
        assert_eq!(breaker.ask().await.err(), Some(COOLDOWN));
        tokio::time::advance(COOLDOWN).await;
        let trial = leave(&breaker).await;
        drop(late_failure);
        trial.worked();
        leave(&breaker).await.worked();
    }
}
