//! One attempt at bringing a lead through: what it has cost, and the time it stood waiting for
//! others. Shared with whoever watches over the lead's time, and there even where that is up.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::money::Money;
use bridge_shared::store::StoreError;
use tokio::time::Instant;

use super::Failure;

/// The longest wait for a shared rate or a free place that a lead stands out in its slot. It is
/// long, because going away is not free: the lead runs through all its stations again. And leads
/// that all need the same station lose nothing by waiting: their slots could do nothing else.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same for a lead that has cost money in this attempt, which it would cost again.
const PATIENCE_WHEN_PAID: Duration = Duration::from_secs(600);
/// The longest that a lead is sent away for, so that a rate made faster is felt soon.
pub(super) const AWAY: Duration = Duration::from_secs(600);

/// One attempt.
#[derive(Debug)]
pub(crate) struct Journey {
    /// Micro-dollars, those of earlier attempts included.
    spent: AtomicU64,
    spent_before: Money,
    /// Microseconds that do not count as the lead's own time.
    waited: AtomicU64,
}

impl Journey {
    /// An attempt at a lead whose earlier ones cost so much.
    pub(crate) fn new(spent_before: Money) -> Self {
        Self {
            spent: AtomicU64::new(spent_before.micros()),
            spent_before,
            waited: AtomicU64::new(0),
        }
    }

    /// What the lead has cost so far, in all its attempts.
    pub(crate) fn spent(&self) -> Money {
        Money::from_micros(self.spent.load(Ordering::Relaxed))
    }

    /// Adds what a call cost.
    pub(super) fn spend(&self, cost: Money) {
        if cost > Money::ZERO {
            self.spent.fetch_add(cost.micros(), Ordering::Relaxed);
        }
    }

    /// How long the lead may stand waiting for a free moment before it is sent away.
    pub(super) fn patience(&self) -> Duration {
        if self.spent() > self.spent_before {
            PATIENCE_WHEN_PAID
        } else {
            PATIENCE
        }
    }

    /// Time that the lead stood waiting for others, which is not its own.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX / 2);
        self.waited.fetch_add(us, Ordering::Relaxed);
    }

    /// Sleeps outside the lead's own time.
    pub(super) async fn sleep(&self, time: Duration) {
        if !time.is_zero() {
            self.add(time);
            tokio::time::sleep(time).await;
        }
    }

    /// Waits for something outside the lead's own time, but not longer than `limit`.
    pub(super) async fn wait<T>(
        &self,
        limit: Duration,
        what: impl Future<Output = T>,
    ) -> Option<T> {
        let started = Instant::now();
        self.add(limit);
        let done = tokio::time::timeout(limit, what).await.ok();
        let unused = limit.saturating_sub(started.elapsed());
        let us = u64::try_from(unused.as_micros()).unwrap_or(0);
        self.waited.fetch_sub(us, Ordering::Relaxed);
        done
    }

    /// Does something within a time that began at `started`, since when nothing was waited for; what
    /// is waited for others from here on does not count. `None` where the time was up. Whoever asks
    /// pins the work, or it would stand in memory twice.
    pub(crate) async fn within<T>(
        &self,
        started: Instant,
        limit: Duration,
        mut work: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    ) -> Option<T> {
        let before = self.waited();
        // What waits for nothing needs no timer.
        if let Poll::Ready(done) = futures::poll!(work.as_mut()) {
            return Some(done);
        }
        let end = || started + limit + self.waited().saturating_sub(before);
        loop {
            if let Ok(done) = tokio::time::timeout_at(end(), work.as_mut()).await {
                return Some(done);
            }
            if Instant::now() >= end() {
                return None;
            }
        }
    }

    /// Asks Redis until it answers: while it is away no lead can be finished anyway, and none
    /// shall use up its attempts on that.
    ///
    /// # Errors
    /// [`Failure`] where no waiting helps.
    pub(super) async fn answer<T, A>(&self, mut ask: impl FnMut() -> A) -> Result<T, Failure>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = Duration::from_millis(50);
        loop {
            let asked = Instant::now();
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_transient() => {
                    self.add(asked.elapsed());
                    self.sleep(pause.mul_f64(0.75 + fastrand::f64() * 0.25))
                        .await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) => return Err(Failure::new(ErrorKind::Transient, error.to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[tokio::test]
    async fn waiting_for_others_takes_nothing_of_the_leads_time() {
        let journey = Journey::new(Money::ZERO);
        let limit = Duration::from_millis(40);
        let work = async {
            journey.sleep(Duration::from_millis(120)).await;
            let done = journey
                .wait(Duration::from_secs(60), async { 7 })
                .await
                .expect("it is there at once");
            (done, journey.waited() < Duration::from_secs(1))
        };
        assert_eq!(
            journey.within(Instant::now(), limit, pin!(work)).await,
            Some((7, true))
        );
        let forever = std::future::pending::<()>();
        assert_eq!(
            journey.within(Instant::now(), limit, pin!(forever)).await,
            None
        );
        assert_eq!(
            journey.wait(limit, std::future::pending::<()>()).await,
            None
        );
    }

    #[test]
    fn a_lead_that_was_paid_for_waits_longer() {
        let journey = Journey::new(Money::from_micros(5));
        assert_eq!(journey.patience(), PATIENCE);
        journey.spend(Money::from_micros(2));
        assert_eq!(journey.spent(), Money::from_micros(7));
        assert_eq!(journey.patience(), PATIENCE_WHEN_PAID);
    }
}
