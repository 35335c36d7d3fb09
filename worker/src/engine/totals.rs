//! What became of the leads of this worker, for its last word.

use std::sync::atomic::{AtomicU64, Ordering};

use bridge_shared::event::EventKind;

/// Outcomes since the start.
#[derive(Debug, Default)]
pub(super) struct Totals {
    succeeded: AtomicU64,
    skipped: AtomicU64,
    dead: AtomicU64,
    retried: AtomicU64,
    postponed: AtomicU64,
    given_back: AtomicU64,
    lease_lost: AtomicU64,
}

impl Totals {
    /// Adds outcomes of a kind that were recorded; of those to come back, `postponed` had not failed.
    pub(super) fn add(&self, kind: EventKind, n: u64, postponed: u64) {
        let add = |total: &AtomicU64, n| {
            total.fetch_add(n, Ordering::Relaxed);
        };
        match kind {
            EventKind::Succeeded => add(&self.succeeded, n),
            EventKind::Skipped => add(&self.skipped, n),
            EventKind::Dead => add(&self.dead, n),
            EventKind::RetryScheduled => {
                add(&self.retried, n - postponed);
                add(&self.postponed, postponed);
            }
            EventKind::Requeued => add(&self.given_back, n),
            EventKind::LeaseLost => add(&self.lease_lost, n),
            _ => {}
        }
    }

    /// Leads brought to their end, done or dead.
    pub(super) fn finished(&self) -> u64 {
        let ends = [&self.succeeded, &self.skipped, &self.dead];
        ends.map(|total| total.load(Ordering::Relaxed)).iter().sum()
    }

    /// The last word of a worker.
    pub(super) fn tell(&self) {
        let of = |total: &AtomicU64| total.load(Ordering::Relaxed);
        tracing::info!(
            finished = self.finished(),
            done = of(&self.succeeded) + of(&self.skipped),
            skipped = of(&self.skipped),
            dead = of(&self.dead),
            retried = of(&self.retried),
            postponed = of(&self.postponed),
            given_back = of(&self.given_back),
            lease_lost = of(&self.lease_lost),
            "worker stopped"
        );
    }
}
