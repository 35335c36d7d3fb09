//! The deliveries that this process works on.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_shared::envelope::Envelope;
use bridge_shared::store::work::Delivery;
use tokio::sync::Notify;

use super::recoverer::DEATHS;

/// The numbers of the deliveries from the moment they are started until their outcome is recorded,
/// or known to be lost. However long that takes, nobody needs to start them again.
///
/// Among them are suspects: leads that may be what kills workers, because one more death makes them
/// poison. Whatever is in hand when a worker dies shares in that death, so a worker has one suspect
/// in hand at a time, and the last death is the culprit's own.
#[derive(Debug, Default)]
pub(super) struct InHand {
    numbers: Mutex<Numbers>,
    /// Something left the hand while a suspect waited to be the only one.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Numbers {
    all: BTreeSet<u64>,
    suspects: BTreeSet<u64>,
    /// The suspect that may be worked on, and since when it is.
    current: Option<(u64, Option<Instant>)>,
}

/// How long no lead is taken while a suspect is worked on: another suspect would be in hand for the
/// moment it takes to send it away, and what kills workers mostly does so at once.
const FIRST_MOMENT: Duration = Duration::from_secs(1);

/// Whether one more death makes a lead poison.
pub(super) const fn is_suspect(envelope: &Envelope) -> bool {
    envelope.deaths.saturating_add(1) >= DEATHS
}

/// Whether a delivery is a suspect. One that is not whole is never read, and kills nobody.
fn may_kill(delivery: &Delivery) -> bool {
    let envelope = || Envelope::from_payload(&delivery.payload);
    delivery.is_whole() && envelope().is_some_and(|envelope| is_suspect(&envelope))
}

impl Numbers {
    fn is_current(&self, number: u64) -> bool {
        self.current.is_some_and(|(current, _)| current == number)
    }
}

impl InHand {
    /// Deliveries are about to be started. Where more of them are still to come, none of their
    /// suspects may be worked on: nobody knows yet what else is in hand.
    pub(super) fn add(&self, deliveries: &[Delivery], more_to_come: bool) {
        let suspects: Vec<u64> = deliveries
            .iter()
            .filter(|delivery| may_kill(delivery))
            .map(|delivery| delivery.number)
            .collect();
        let mut numbers = self.numbers();
        let all = deliveries.iter().map(|delivery| delivery.number);
        numbers.all.extend(all);
        if !more_to_come && numbers.current.is_none() {
            numbers.current = suspects.first().map(|first| (*first, None));
        }
        numbers.suspects.extend(suspects);
    }

    /// Whether there are suspects among them.
    pub(super) fn has_suspects(&self) -> bool {
        !self.numbers().suspects.is_empty()
    }

    /// Whether a delivery is a suspect that may not be worked on next to the one that is.
    pub(super) fn must_go(&self, number: u64) -> bool {
        let numbers = self.numbers();
        numbers.suspects.contains(&number) && !numbers.is_current(number)
    }

    /// Whether a delivery is among them.
    pub(super) fn has(&self, number: u64) -> bool {
        self.numbers().all.contains(&number)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.numbers().all.len()
    }

    /// Waits until a suspect is the only one in hand; `false` where another one is worked on, and
    /// this one must go.
    pub(super) async fn is_alone(&self, number: u64) -> bool {
        loop {
            {
                let mut numbers = self.numbers();
                if !numbers.is_current(number) {
                    return false;
                }
                if numbers.suspects.iter().all(|other| *other == number) {
                    numbers.current = Some((number, Some(Instant::now())));
                    return true;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Whether a suspect is worked on that would take what is taken now along.
    pub(super) fn has_a_fresh_suspect(&self) -> bool {
        // One that waits for others to go has its first moment still to come.
        let is_fresh = |since: Option<Instant>| since.is_none_or(|at| at.elapsed() < FIRST_MOMENT);
        self.numbers()
            .current
            .is_some_and(|(_, since)| is_fresh(since))
    }

    /// Nothing is to be done for these any more.
    pub(super) fn over(&self, over: impl Iterator<Item = u64>) {
        let mut numbers = self.numbers();
        for number in over {
            numbers.all.remove(&number);
            if !numbers.suspects.is_empty() && numbers.suspects.remove(&number) {
                numbers.current = numbers.current.filter(|(current, _)| *current != number);
                self.changed.notify_one();
            }
        }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_suspect_that_waits_for_others_to_go_has_its_first_moment_still_to_come() {
        let hand = InHand::default();
        hand.add(&[delivery(1, 2), delivery(2, 2)], false);
        assert!(hand.is_alone(1).now_or_never().is_none());
        assert!(hand.has_a_fresh_suspect(), "the other one is still in hand");
        hand.over([2].into_iter());
        assert!(hand.has_a_fresh_suspect(), "it is about to begin");
        assert_eq!(hand.is_alone(1).now_or_never(), Some(true));
        assert!(hand.has_a_fresh_suspect(), "it has just begun");
        let long_ago = Instant::now().checked_sub(FIRST_MOMENT * 2);
        hand.numbers().current = Some((1, long_ago));
        assert!(!hand.has_a_fresh_suspect(), "it is at work for long");
        hand.add(&[delivery(3, 2)], false);
        hand.over([3].into_iter());
        assert!(!hand.has_a_fresh_suspect(), "another one came and went");
        hand.over([1].into_iter());
        assert!(!hand.has_a_fresh_suspect());
    }

    fn delivery(number: u64, deaths: u32) -> Delivery {
        let mut envelope = Envelope::new("a-1", "{}".into(), None);
        envelope.deaths = deaths;
        let payload = envelope.encode();
        let size = payload.len() as u64;
        Delivery {
            number,
            payload,
            size,
        }
    }

    #[test]
    fn one_suspect_is_worked_on_when_the_others_have_gone() {
        let hand = InHand::default();
        hand.add(&[delivery(1, 2), delivery(2, 2), delivery(3, 1)], false);
        let mut first = std::pin::pin!(hand.is_alone(1));
        assert_eq!(
            first.as_mut().now_or_never(),
            None,
            "another is still in hand"
        );
        assert_eq!(
            [1, 2, 3].map(|number| hand.must_go(number)),
            [false, true, false]
        );
        assert_eq!(hand.is_alone(2).now_or_never(), Some(false));
        hand.over([2].into_iter());
        assert_eq!(first.now_or_never(), Some(true));
        assert!(hand.has_a_fresh_suspect());
        hand.add(&[delivery(4, 2)], false);
        assert_eq!(hand.is_alone(4).now_or_never(), Some(false));
        hand.over([1].into_iter());
        assert!(
            hand.must_go(4),
            "what came beside another goes, whatever came of that"
        );
        assert_eq!(hand.is_alone(4).now_or_never(), Some(false));
        hand.over([4].into_iter());
        assert!(!hand.has(1) && hand.has(3) && !hand.has_suspects());
        assert!(!hand.has_a_fresh_suspect());
        hand.add(&[delivery(5, 2)], false);
        assert_eq!(hand.is_alone(5).now_or_never(), Some(true));
    }

    #[test]
    fn no_suspect_is_worked_on_while_it_is_not_known_what_else_is_in_hand() {
        let hand = InHand::default();
        hand.add(&[delivery(1, 2)], true);
        assert!(hand.must_go(1));
        hand.add(&[delivery(2, 2)], false);
        assert!(!hand.must_go(2));
        let mut last = std::pin::pin!(hand.is_alone(2));
        assert_eq!(last.as_mut().now_or_never(), None);
        hand.over([1].into_iter());
        assert_eq!(last.now_or_never(), Some(true));
    }

    #[test]
    fn what_is_not_whole_is_no_suspect() {
        let hand = InHand::default();
        let mut large = delivery(1, 2);
        large.size += 1;
        hand.add(&[large], false);
        assert!(hand.has(1) && !hand.has_suspects());
    }
}
