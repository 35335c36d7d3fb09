//! Takes leads from the waiting list, as many as there are free slots.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_shared::store::StoreError;
use bridge_shared::store::work::{Delivery, Fetched, Waiter};
use futures::future::{BoxFuture, FutureExt as _, MaybeDone, maybe_done};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use super::appetite::{Appetite, BATCH};
use super::saver::Outcomes;
use super::{Backoff, Context, runner};

/// How long one wait for a lead lasts.
const WAIT: Duration = Duration::from_secs(5);
/// How long a fetch whose answer was lost is looked for in the worker's hands.
const DOUBT: Duration = Duration::from_secs(60);
/// How long after a break it is looked for what Redis has forgotten: by then another server has
/// taken over, or the same one is back.
const SETTLED: Duration = Duration::from_secs(3);

struct Fetcher {
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    leads: TaskTracker,
    outcomes: Outcomes,
    waiter: Waiter,
    backoff: Backoff,
    /// The number of the next delivery.
    next: u64,
    doubtful: Doubtful,
    forgotten: Forgotten,
    appetite: Appetite,
    room: runner::Room,
}

/// Takes leads until the stop.
pub(super) async fn run(
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    leads: TaskTracker,
    outcomes: Outcomes,
) {
    let waiter = context.store.waiter();
    let stop = context.stop.clone();
    let mut fetcher = Fetcher {
        context,
        slots,
        leads,
        outcomes,
        waiter,
        backoff: Backoff::default(),
        next: 1,
        doubtful: Doubtful::default(),
        forgotten: Forgotten::default(),
        appetite: Appetite::default(),
        room: None,
    };
    while !stop.is_cancelled() {
        fetcher.step().await;
    }
    // What an unheard answer may have brought is given back with the rest.
    fetcher.adopt().await;
}

impl Fetcher {
    async fn step(&mut self) {
        let context = Arc::clone(&self.context);
        if !self.may_fetch() {
            let mut pulse = context.pulse.subscribe();
            let _ = context.stop.run_until_cancelled(pulse.changed()).await;
            return;
        }
        if self.doubtful.is_due() {
            self.adopt().await;
        }
        let broken = context.store.interruptions();
        if let Some(before) = self.forgotten.due(broken, self.next, SETTLED) {
            self.take_up(before).await;
        }
        let Some(slots) = self.free_slots().await else {
            return;
        };
        let mut fetch = self.set_out(slots.num_permits());
        let mut slots = Some(slots);
        // Not given up half-way by a stop: the leads would be in hand and nobody would know.
        loop {
            match fetch.answer().await {
                Ok(Fetched::Taken(deliveries)) => {
                    self.backoff.reset("fetch");
                    let more_wait = deliveries.len() == fetch.count;
                    let next =
                        more_wait && self.appetite.is_ahead() && !context.stop.is_cancelled();
                    let mut next = next.then(|| self.set_out(0));
                    if let Some(next) = &mut next {
                        next.send().await;
                    }
                    self.start(deliveries, slots.take()).await;
                    if let Some(next) = next {
                        fetch = next;
                        continue;
                    }
                    if !more_wait {
                        self.wait_for_a_lead().await;
                    }
                }
                Ok(Fetched::Paused | Fetched::NoLease) => {
                    drop(slots);
                    let mut pulse = context.pulse.subscribe();
                    context.beat.notify_one();
                    let _ = context.stop.run_until_cancelled(pulse.changed()).await;
                }
                Err(error) => {
                    drop(slots);
                    self.doubtful.add(fetch.first, fetch.count);
                    self.trouble(&error).await;
                }
            }
            return;
        }
    }

    /// Begins a fetch, with so many free slots.
    fn set_out(&mut self, free_slots: usize) -> Fetch {
        let (first, count) = (self.next, self.appetite.leads(free_slots));
        self.next += count as u64;
        let context = Arc::clone(&self.context);
        let answer = async move { context.store.fetch(context.id.as_str(), count, first).await };
        Fetch {
            first,
            count,
            answer: maybe_done(answer.boxed()),
        }
    }

    /// Whether the store has been heard of and work is not paused.
    fn may_fetch(&self) -> bool {
        self.context
            .pulse
            .borrow()
            .as_ref()
            .is_some_and(|pulse| !pulse.paused)
    }

    /// Waits for a free slot and takes what else is free with it; `None` on the stop.
    async fn free_slots(&self) -> Option<OwnedSemaphorePermit> {
        let acquire = Arc::clone(&self.slots).acquire_owned();
        let mut slots = self
            .context
            .stop
            .run_until_cancelled(acquire)
            .await?
            .expect("the slots are never closed");
        let more = self.slots.available_permits().min(BATCH - 1);
        if let Ok(rest) =
            Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(0))
        {
            slots.merge(rest);
        }
        Some(slots)
    }

    /// Starts attempts, in slots that were taken for them, else as slots become free.
    async fn start(&mut self, deliveries: Vec<Delivery>, mut slots: Option<OwnedSemaphorePermit>) {
        let numbers = deliveries.iter().map(|delivery| delivery.number);
        self.context.in_hand.add(numbers);
        let (leads, mut all_over) = (deliveries.len(), true);
        let mut free = None;
        for delivery in deliveries {
            let slot = match free.take().or_else(|| slots.as_mut()?.split(1)) {
                Some(slot) => slot,
                None => self.slot().await,
            };
            free = runner::start(
                &self.context,
                &self.leads,
                &self.outcomes,
                &mut self.room,
                delivery,
                slot,
            )
            .await;
            all_over &= free.is_some();
        }
        self.appetite.learn(leads, all_over);
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.expect("the slots are never closed")
    }

    async fn wait_for_a_lead(&mut self) {
        let stop = self.context.stop.clone();
        let wait = self.waiter.wait(self.forgotten.wait_at_most(WAIT));
        // A wait cut short leaves no lead anywhere: it takes none.
        if let Some(Err(error)) = stop.run_until_cancelled(wait).await {
            self.trouble(&error).await;
        }
    }

    async fn trouble(&mut self, error: &StoreError) {
        self.backoff.tell(error, "fetch");
        let stop = self.context.stop.clone();
        stop.run_until_cancelled(self.backoff.wait()).await;
    }

    /// Takes over what fetches brought whose answers were lost.
    async fn adopt(&mut self) {
        let Ok(found) = self
            .context
            .store
            .deliveries(self.context.id.as_str(), &self.doubtful.numbers())
            .await
        else {
            return;
        };
        self.doubtful.looked(&found);
        self.start(found, None).await;
    }

    /// Works again on deliveries from before a number that are still, or again, in this worker's
    /// hands, though nobody here works on them.
    async fn take_up(&mut self, before: u64) {
        let (store, id) = (&self.context.store, self.context.id.as_str());
        let found = async {
            let mut numbers = store.held(id).await?;
            // Asked before the leads are read: one that is recorded in between is not read.
            let in_hand = &self.context.in_hand;
            numbers.retain(|number| {
                *number < before && !in_hand.has(*number) && !self.doubtful.has(*number)
            });
            store.deliveries(id, &numbers).await
        };
        match found.await {
            Ok(found) => {
                if !found.is_empty() {
                    tracing::warn!(
                        leads = found.len(),
                        "Redis has forgotten what came of leads; they are worked on again"
                    );
                }
                self.start(found, None).await;
            }
            Err(error) => {
                self.forgotten.look_again(before);
                self.trouble(&error).await;
            }
        }
    }
}

/// A fetch under way.
struct Fetch {
    /// The number of its first delivery.
    first: u64,
    /// How many leads it asks for.
    count: usize,
    answer: MaybeDone<BoxFuture<'static, Result<Fetched, StoreError>>>,
}

impl Fetch {
    /// Sends it, for an answer that is waited for later.
    async fn send(&mut self) {
        let _ = futures::poll!(&mut self.answer);
    }

    async fn answer(&mut self) -> Result<Fetched, StoreError> {
        (&mut self.answer).await;
        Pin::new(&mut self.answer)
            .take_output()
            .expect("asked for once")
    }
}

/// Leads whose outcomes were recorded and are so no longer. A Redis that starts again, or a
/// replica that takes over, may not know the last things that were recorded; such leads are then
/// in this worker's hands and nobody works on them. So a while after the last break in the
/// connection they are taken up again, if they were not in hand here as well: an attempt may take
/// long, and an outcome wait long to be saved or recorded.
#[derive(Debug, Default)]
struct Forgotten {
    /// The breaks looked after.
    breaks: u64,
    /// The first number that is not suspected, and when to look.
    look: Option<(u64, Instant)>,
}

impl Forgotten {
    /// Takes note of how many breaks there were and of the next number; returns the first number
    /// that is not suspected when it is time to look.
    fn due(&mut self, breaks: u64, next: u64, after: Duration) -> Option<u64> {
        if breaks != self.breaks {
            self.breaks = breaks;
            self.look = Some((next, Instant::now() + after));
        }
        let (before, when) = self.look?;
        (when <= Instant::now()).then(|| {
            self.look = None;
            before
        })
    }

    /// How long the fetcher may wait without being late for a look.
    fn wait_at_most(&self, longest: Duration) -> Duration {
        let until = |when: Instant| when.saturating_duration_since(Instant::now());
        // Never 0, which is for ever to Redis.
        self.look.map_or(longest, |(_, when)| {
            until(when).clamp(Duration::from_millis(50), longest)
        })
    }

    /// The look failed.
    fn look_again(&mut self, before: u64) {
        self.look = Some((before, Instant::now()));
    }
}

/// Deliveries of fetches whose answers were lost. The server may still carry such a fetch out
/// after the connection broke, so they are looked for now and again for a while.
#[derive(Debug, Default)]
struct Doubtful {
    numbers: Vec<(u64, Instant)>,
    looked: Option<Instant>,
}

impl Doubtful {
    fn add(&mut self, first: u64, count: usize) {
        let now = Instant::now();
        self.numbers
            .extend((first..first + count as u64).map(|number| (number, now)));
        self.looked = None;
    }

    fn is_due(&self) -> bool {
        let rested = |looked: Instant| looked.elapsed() > Duration::from_secs(1);
        !self.numbers.is_empty() && self.looked.is_none_or(rested)
    }

    fn has(&self, number: u64) -> bool {
        self.numbers.iter().any(|(known, _)| *known == number)
    }

    fn numbers(&self) -> Vec<u64> {
        self.numbers.iter().map(|(number, _)| *number).collect()
    }

    fn looked(&mut self, found: &[Delivery]) {
        self.looked = Some(Instant::now());
        self.numbers.retain(|(number, since)| {
            since.elapsed() < DOUBT && found.iter().all(|delivery| delivery.number != *number)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubtful_delivery_is_taken_over_once_and_the_rest_looked_for_again() {
        let mut doubtful = Doubtful::default();
        assert!(!doubtful.is_due());
        doubtful.add(5, 3);
        assert!(doubtful.is_due());
        let found = Delivery {
            number: 6,
            payload: bytes::Bytes::new(),
        };
        doubtful.looked(&[found]);
        assert_eq!(doubtful.numbers(), [5, 7]);
        assert!(!doubtful.is_due());
    }

    #[test]
    fn after_each_break_what_came_before_it_is_looked_at_once() {
        let mut forgotten = Forgotten::default();
        let (long, now) = (Duration::from_secs(3600), Duration::ZERO);
        assert_eq!(forgotten.due(0, 5, now), None);
        assert_eq!(forgotten.due(2, 7, long), None);
        assert_eq!(forgotten.due(2, 8, now), None, "not before its time");
        assert_eq!(forgotten.due(3, 9, now), Some(9), "another break counts");
        assert_eq!(forgotten.due(3, 9, now), None);
        forgotten.look_again(9);
        assert_eq!(forgotten.due(3, 11, now), Some(9));
        assert!(forgotten.look.is_none());
    }
}
