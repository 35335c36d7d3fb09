//! Takes leads from the waiting list, as many as there are free slots.

mod lanes;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_shared::clock::Millis;
use bridge_shared::store::StoreError;
use bridge_shared::store::hands::Hands;
use bridge_shared::store::waiter::{Missed, Waited, Waiter};
use bridge_shared::store::work::{Delivery, Fetched};
use futures::future::{BoxFuture, FutureExt as _, MaybeDone, maybe_done};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::appetite::{Appetite, BATCH};
use super::saver::Outcomes;
use super::{Backoff, Context, committer, runner};
use crate::health::Task;
use lanes::Lanes;

/// How long one wait for a lead lasts.
const WAIT: Duration = Duration::from_secs(5);
/// How long a fetch whose answer was lost is looked for in the worker's hands.
const DOUBT: Duration = Duration::from_secs(60);
/// How long after a break it is looked for strays: by then another server has taken over, or the
/// same one is back.
const SETTLED: Duration = Duration::from_secs(3);
/// How often it is looked for strays where nothing broke.
const ROUND: Duration = Duration::from_secs(15);
/// How often it is looked whether a suspect has passed its first moment.
const GLANCE: Duration = Duration::from_millis(5);

struct Fetcher {
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    leads: TaskTracker,
    outcomes: Outcomes,
    waiter: Waiter,
    /// Whether the last fetch found that no more leads wait.
    is_dry: bool,
    backoff: Backoff,
    /// The wait's own: a fetch that goes well says nothing of it.
    wait_backoff: Backoff,
    /// The number of the next delivery.
    next: u64,
    doubtful: Doubtful,
    strays: Strays,
    appetite: Appetite,
    room: runner::Room,
    lanes: Lanes,
    delays: mpsc::UnboundedSender<Millis>,
}

/// Takes leads until the stop.
pub(super) async fn run(
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    leads: TaskTracker,
    outcomes: Outcomes,
    delays: mpsc::UnboundedSender<Millis>,
) {
    let waiter = context.store.waiter(context.id.as_str());
    let lanes = Lanes::new(context.store.lanes(context.id.as_str()));
    let stop = context.stop.clone();
    let mut fetcher = Fetcher {
        context,
        slots,
        leads,
        outcomes,
        waiter,
        is_dry: false,
        backoff: Backoff::default(),
        wait_backoff: Backoff::default(),
        next: 1,
        doubtful: Doubtful::default(),
        strays: Strays::default(),
        appetite: Appetite::default(),
        room: None,
        lanes,
        delays,
    };
    while !stop.is_cancelled() {
        fetcher.step().await;
    }
    // What an unheard answer may have brought is given back with the rest; what cannot be read now
    // goes to other workers with the lease.
    let _ = fetcher.adopt().await;
}

impl Fetcher {
    async fn step(&mut self) {
        let context = Arc::clone(&self.context);
        if !self.may_fetch() {
            let mut pulse = context.pulse.subscribe();
            let _ = context.stop.run_until_cancelled(pulse.changed()).await;
            return;
        }
        if self.doubtful.is_due()
            && let Err(error) = self.adopt().await
        {
            // What a lost fetch brought may fill every slot: no more is taken before that is known.
            return self.trouble(&error).await;
        }
        let broken = context.store.interruptions();
        if let Some(before) = self.strays.due(broken, self.next, SETTLED, ROUND) {
            self.take_up(before).await;
        }
        let Some(slots) = self.free_slots().await else {
            return;
        };
        while context.in_hand.has_a_fresh_suspect() {
            let glance = tokio::time::sleep(GLANCE);
            if context.stop.run_until_cancelled(glance).await.is_none() {
                return;
            }
        }
        let fetch = if std::mem::take(&mut self.is_dry) {
            match self.wait_for_leads(slots.num_permits()).await {
                Some(fetch) => fetch,
                None => return,
            }
        } else {
            self.set_out(slots.num_permits())
        };
        self.take(fetch, slots).await;
    }

    /// Starts what a fetch brings, and what those bring that set out before that is done. None is
    /// given up half-way by a stop: the leads would be in hand and nobody would know.
    async fn take(&mut self, mut fetch: Fetch, slots: OwnedSemaphorePermit) {
        let context = Arc::clone(&self.context);
        let mut slots = Some(slots);
        loop {
            match fetch.answer().await {
                Ok(Fetched::Taken(deliveries)) => {
                    self.backoff.reset("fetch");
                    context.health.succeeded(Task::Fetch);
                    // All of them before the first is started: one must know of the others.
                    context.in_hand.add(&deliveries, false);
                    let is_full = deliveries.len() == fetch.count;
                    let is_last =
                        Fetched::is_last(&deliveries, fetch.count, context.store.bytes_at_once());
                    if is_full && self.may_go_by_lanes() {
                        self.start(deliveries, slots.take()).await;
                        return self.go_by_lanes().await;
                    }
                    let mut next = (is_full && self.may_go_ahead()).then(|| self.set_out(0));
                    if let Some(next) = &mut next {
                        next.send().await;
                    }
                    self.start(deliveries, slots.take()).await;
                    if let Some(next) = next {
                        fetch = next;
                        continue;
                    }
                    self.is_dry = is_last;
                }
                Ok(Fetched::Paused | Fetched::NoLease | Fetched::Unfit) => {
                    drop(slots);
                    self.wait_for_a_pulse().await;
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

    /// Makes a fetch as soon as a lead waits, with so many free slots; `None` where none was made,
    /// on the stop or because something is wrong.
    async fn wait_for_leads(&mut self, free_slots: usize) -> Option<Fetch> {
        let (first, count) = self.numbers(free_slots);
        let whole = self.context.settings.whole();
        let wait = self.strays.wait_at_most(WAIT);
        let stop = self.context.stop.clone();
        let answer = self.waiter.fetch(wait, count, first, whole);
        let Some(answer) = stop.run_until_cancelled(answer).await else {
            // It may be on its way, and the server make it before it sees that nobody waits.
            self.doubtful.add(first, count);
            return None;
        };
        let (fetched, error) = match answer {
            Ok(Waited { fetched, refused }) => (fetched, refused),
            Err(Missed::Untaken(error)) => (None, Some(error)),
            Err(Missed::Unheard(error)) => {
                self.doubtful.add(first, count);
                (None, Some(error))
            }
        };
        match error {
            None => {
                self.wait_backoff.reset("waiting for leads");
                self.context.health.succeeded(Task::Fetch);
            }
            Some(error) => {
                self.wait_backoff.tell(&error, "waiting for leads");
                self.context.health.failed(Task::Fetch, &error);
                if fetched.as_ref().is_none_or(Fetched::is_empty) {
                    stop.run_until_cancelled(self.wait_backoff.wait()).await;
                    return None;
                }
            }
        }
        Some(Fetch {
            first,
            count,
            answer: MaybeDone::Done(Ok(fetched?)),
        })
    }

    /// How many leads to ask for, with so many free slots, and the number of the first.
    fn numbers(&mut self, free_slots: usize) -> (u64, usize) {
        let count = self.appetite.leads(free_slots);
        let (first, count) = (self.next, self.context.store.leads_at_once(count));
        self.next += count as u64;
        (first, count)
    }

    /// Begins a fetch, with so many free slots.
    fn set_out(&mut self, free_slots: usize) -> Fetch {
        let (first, count) = self.numbers(free_slots);
        let context = Arc::clone(&self.context);
        let answer = async move { fetch(&context, count, first).await };
        Fetch {
            first,
            count,
            answer: maybe_done(answer.boxed()),
        }
    }

    /// Whether a fetch may set out before the leads of the last one are started. Not while a suspect
    /// is in hand, for others may come with it and nobody would know of them until then; and not
    /// when it is time to look for leads nobody works on, for what it brings would look like those.
    fn may_go_ahead(&self) -> bool {
        let context = &self.context;
        self.appetite.is_ahead()
            && !context.stop.is_cancelled()
            && !context.in_hand.has_suspects()
            && !self.doubtful.is_due()
            && !self.strays.is_due(context.store.interruptions(), ROUND)
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

    /// Starts attempts at leads that are known to be in hand, in slots that were taken for them,
    /// else as slots become free.
    async fn start(
        &mut self,
        mut deliveries: Vec<Delivery>,
        mut slots: Option<OwnedSemaphorePermit>,
    ) {
        let leads = deliveries.len();
        // First, and without a slot: what they stand beside waits for their going, maybe in the last
        // slot that there is.
        self.send_away(&mut deliveries).await;
        let mut deliveries = VecDeque::from(deliveries);
        let mut all_over = true;
        let mut free = None;
        let mut slice = Slice::begin();
        while let Some(delivery) = deliveries.pop_front() {
            let slot = free.take().or_else(|| slots.as_mut()?.split(1));
            let slot = slot.or_else(|| Arc::clone(&self.slots).try_acquire_owned().ok());
            if slot.is_none() && deliveries.len() >= BATCH {
                self.give_back(deliveries.split_off(BATCH - 1)).await;
            }
            let slot = match slot {
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
            slice.give_way().await;
        }
        self.appetite.learn(leads, all_over);
    }

    /// Sends suspects away that may not be worked on next to another one.
    async fn send_away(&self, deliveries: &mut Vec<Delivery>) {
        if !self.context.in_hand.has_suspects() {
            return;
        }
        let must_go = |delivery: &mut Delivery| self.context.in_hand.must_go(delivery.number);
        let going: Vec<Delivery> = deliveries.extract_if(.., must_go).collect();
        for delivery in going {
            runner::send_away(&self.context, &self.outcomes, delivery).await;
        }
    }

    /// Puts leads back to the front of the line that were taken too much: another worker may have a
    /// slot for them.
    async fn give_back(
        &self,
        deliveries: impl IntoIterator<Item = Delivery, IntoIter: DoubleEndedIterator>,
    ) {
        // The youngest first, so that the oldest is next.
        let untouched = deliveries.into_iter().rev();
        let untouched = untouched.map(|delivery| runner::untouched(&self.context, delivery));
        let untouched = untouched.collect();
        committer::record(&self.context, untouched, &self.delays).await;
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        slot.expect("the slots are never closed")
    }

    /// Waits for what the next heartbeat brings, which is asked for.
    async fn wait_for_a_pulse(&self) {
        let mut pulse = self.context.pulse.subscribe();
        self.context.beat.notify_one();
        let _ = self.context.stop.run_until_cancelled(pulse.changed()).await;
    }

    async fn trouble(&mut self, error: &StoreError) {
        self.backoff.tell(error, "fetch");
        self.context.health.failed(Task::Fetch, error);
        let stop = self.context.stop.clone();
        stop.run_until_cancelled(self.backoff.wait()).await;
    }

    /// Takes over what fetches brought whose answers were lost.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. It is then not known what else they brought.
    async fn adopt(&mut self) -> Result<(), StoreError> {
        let (context, numbers) = (Arc::clone(&self.context), self.doubtful.numbers());
        let mut hands = in_hand(&context, &numbers);
        while let Some(found) = hands.next().await? {
            self.doubtful.found(&found);
            self.start_found(found, !hands.is_over()).await;
        }
        self.doubtful.looked();
        Ok(())
    }

    /// Works again on deliveries from before a number that are still, or again, in this worker's
    /// hands, though nobody here works on them.
    async fn take_up(&mut self, before: u64) {
        if let Err(error) = self.take_up_all(before).await {
            self.strays.look_again(before);
            self.trouble(&error).await;
        }
    }

    async fn take_up_all(&mut self, before: u64) -> Result<(), StoreError> {
        let context = Arc::clone(&self.context);
        let mut numbers = context.store.held(context.id.as_str()).await?;
        // Asked before the leads are read: one that is recorded in between is not read.
        numbers.retain(|number| {
            *number < before && !context.in_hand.has(*number) && !self.doubtful.has(*number)
        });
        let mut hands = in_hand(&context, &numbers);
        while let Some(found) = hands.next().await? {
            if !found.is_empty() {
                tracing::warn!(
                    leads = found.len(),
                    "leads were in hand and nobody worked on them: Redis has forgotten what came of them, or a fetch came late"
                );
            }
            self.start_found(found, !hands.is_over()).await;
        }
        Ok(())
    }

    /// Starts leads that were in hand without being known to be, of which more may be still to read.
    async fn start_found(&mut self, deliveries: Vec<Delivery>, more_to_come: bool) {
        self.context.in_hand.add(&deliveries, more_to_come);
        self.start(deliveries, None).await;
    }
}

/// How long leads that wait for nothing may hold their thread. The heartbeat, which keeps the lease,
/// may need that one too.
const SLICE: Duration = Duration::from_millis(20);

/// A time in which nothing else had its turn on this thread.
struct Slice(Instant);

impl Slice {
    fn begin() -> Self {
        Self(Instant::now())
    }

    /// Lets the others have their turn, where it is time for that; returns the time it is.
    async fn give_way(&mut self) -> Instant {
        let now = Instant::now();
        if now.duration_since(self.0) < SLICE {
            return now;
        }
        tokio::task::yield_now().await;
        *self = Self::begin();
        self.0
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

async fn fetch(context: &Context, count: usize, first: u64) -> Result<Fetched, StoreError> {
    let whole = context.settings.whole();
    let store = &context.store;
    store.fetch(context.id.as_str(), count, first, whole).await
}

/// Reads what this worker has in its hands.
fn in_hand<'a>(context: &'a Context, numbers: &'a [u64]) -> Hands<'a> {
    let whole = context.settings.whole();
    context.store.hands(context.id.as_str(), numbers, whole)
}

/// Leads that are in this worker's hands as far as Redis knows, and nobody works on them.
///
/// Their outcomes may have been recorded and be so no longer: a Redis that starts again, or a
/// replica that takes over, may not know the last things that were recorded. So a while after the
/// last break in the connection they are taken up again, if they were not in hand here as well: an
/// attempt may take long, and an outcome wait long to be saved or recorded. And the network may bring
/// a fetch that was given up long ago: so it is looked for them now and again in any case.
#[derive(Debug)]
struct Strays {
    /// The breaks looked after.
    breaks: u64,
    /// The first number that is not suspected, and when to look.
    look: Option<(u64, Instant)>,
    looked: Instant,
}

impl Default for Strays {
    fn default() -> Self {
        Self {
            breaks: 0,
            look: None,
            looked: Instant::now(),
        }
    }
}

impl Strays {
    /// Takes note of how many breaks there were and of the next number; returns the first number
    /// that is not suspected when it is time to look: so long after a break, and every so often.
    fn due(&mut self, breaks: u64, next: u64, after: Duration, every: Duration) -> Option<u64> {
        if breaks != self.breaks {
            self.breaks = breaks;
            self.look = Some((next, Instant::now() + after));
        }
        if !self.is_due(breaks, every) {
            return None;
        }
        self.looked = Instant::now();
        Some(self.look.take().map_or(next, |(before, _)| before))
    }

    /// Whether there is a break to be noted, or it is time to look.
    fn is_due(&self, breaks: u64, every: Duration) -> bool {
        let time_to_look = match self.look {
            Some((_, when)) => when <= Instant::now(),
            None => self.looked.elapsed() >= every,
        };
        breaks != self.breaks || time_to_look
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

    /// These were found.
    fn found(&mut self, found: &[Delivery]) {
        self.numbers
            .retain(|(number, _)| found.iter().all(|delivery| delivery.number != *number));
    }

    /// All were looked for.
    fn looked(&mut self) {
        self.looked = Some(Instant::now());
        self.numbers.retain(|(_, since)| since.elapsed() < DOUBT);
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
            size: 0,
        };
        doubtful.found(&[found]);
        doubtful.looked();
        assert_eq!(doubtful.numbers(), [5, 7]);
        assert!(!doubtful.is_due());
    }

    #[test]
    fn after_each_break_what_came_before_it_is_looked_at_once() {
        let mut strays = Strays::default();
        let (long, now) = (Duration::from_secs(3600), Duration::ZERO);
        assert_eq!(strays.due(0, 5, now, long), None);
        assert_eq!(strays.due(2, 7, long, long), None);
        assert_eq!(strays.due(2, 8, now, now), None, "not before its time");
        assert_eq!(strays.due(3, 9, now, long), Some(9), "another break counts");
        assert_eq!(strays.due(3, 9, now, long), None);
        strays.look_again(9);
        assert_eq!(strays.due(3, 11, now, long), Some(9));
        assert!(strays.look.is_none());
        assert_eq!(strays.due(3, 12, long, now), Some(12), "and now and again");
    }
}
