//! Connections that have not shown yet that they may ask for anything, apart from those that have: what
//! says nothing takes no place of those with the token, and none of health.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Strangers at once. One more takes the place of the oldest that waits for nothing from here.
const STRANGERS: usize = 128;
/// Connections at once that are strangers no more.
const CONNECTIONS: usize = 1_024;
/// How long a stranger may take for the head of its first request.
pub(super) const STRANGER_TIMEOUT: Duration = Duration::from_secs(10);

/// The places of an API.
#[derive(Debug)]
pub(super) struct Places {
    /// The oldest first.
    strangers: Mutex<VecDeque<Arc<Place>>>,
    known: Arc<Semaphore>,
}

/// The place of one connection.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The connection has to end, for another one.
    pub(super) evicted: CancellationToken,
    /// Requests that have come, and answers that have gone.
    requests: AtomicUsize,
    answers: AtomicUsize,
    /// There once the connection is no stranger any more.
    known: OnceLock<OwnedSemaphorePermit>,
}

impl Place {
    /// Whether it has sent the head of a request.
    pub(super) fn has_spoken(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// Whether it is a stranger no more.
    pub(super) fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// The head of a request has come.
    pub(super) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer is on its way.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    fn waits_for_an_answer(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > self.answers.load(Ordering::Relaxed)
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            strangers: Mutex::default(),
            known: Arc::new(Semaphore::new(CONNECTIONS)),
        }
    }
}

impl Places {
    /// A place for a new connection; `None` if every stranger waits for an answer.
    pub(super) fn enter(&self) -> Option<Arc<Place>> {
        let mut strangers = self.strangers();
        if strangers.len() >= STRANGERS {
            let silent = strangers
                .iter()
                .position(|one| !one.waits_for_an_answer())?;
            if let Some(silent) = strangers.remove(silent) {
                silent.evicted.cancel();
            }
        }
        let place = Arc::<Place>::default();
        strangers.push_back(Arc::clone(&place));
        Some(place)
    }

    /// A connection has shown that it may ask; `false` if there is no place for it.
    pub(super) fn promote(&self, place: &Arc<Place>) -> bool {
        let Ok(permit) = Arc::clone(&self.known).try_acquire_owned() else {
            return false;
        };
        let _ = place.known.set(permit);
        self.leave(place);
        true
    }

    /// A connection has ended, or is a stranger no more.
    pub(super) fn leave(&self, place: &Arc<Place>) {
        self.strangers().retain(|one| !Arc::ptr_eq(one, place));
    }

    fn strangers(&self) -> MutexGuard<'_, VecDeque<Arc<Place>>> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_silent_stranger() {
        let places = Places::default();
        let entered: Vec<_> = (0..STRANGERS).filter_map(|_| places.enter()).collect();
        entered[0].asked();
        assert!(places.promote(&entered[1]));
        let _fills_the_gap = places.enter().expect("a place");
        let newcomer = places.enter().expect("the place of another");
        assert!(entered[2].evicted.is_cancelled(), "the oldest silent one");
        let others = [&entered[0], &entered[1], &entered[3], &newcomer];
        assert!(others.iter().all(|other| !other.evicted.is_cancelled()));
        for place in places.strangers().iter() {
            place.asked();
        }
        assert!(places.enter().is_none(), "all of them wait for answers");
        entered[0].answered();
        assert!(places.enter().is_none(), "it asked twice");
        entered[0].answered();
        assert!(places.enter().is_some() && entered[0].evicted.is_cancelled());
    }
}
