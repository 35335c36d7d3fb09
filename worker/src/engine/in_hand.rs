//! The deliveries that this process works on.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The numbers of the deliveries from the moment they are started until their outcome is recorded,
/// or known to be lost. However long that takes, nobody needs to start them again.
#[derive(Debug, Default)]
pub(super) struct InHand(Mutex<HashSet<u64>>);

impl InHand {
    /// Deliveries are about to be started.
    pub(super) fn add(&self, numbers: impl Iterator<Item = u64>) {
        self.numbers().extend(numbers);
    }

    /// Whether a delivery is among them.
    pub(super) fn has(&self, number: u64) -> bool {
        self.numbers().contains(&number)
    }

    /// Nothing is to be done for these any more.
    pub(super) fn over(&self, numbers: impl Iterator<Item = u64>) {
        let mut known = self.numbers();
        for number in numbers {
            known.remove(&number);
        }
    }

    fn numbers(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
