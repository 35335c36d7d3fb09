//! Whole batches of leads that are over as soon as they are started: taken, and recorded, by lanes.
//!
//! While one batch is worked on another is on its way; what came of the one and the fetch of the next
//! go out together. The first batch of which a lead has to wait, or is to come back, ends that: its
//! leads are recorded one by one like any others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bridge_shared::store::StoreError;
use bridge_shared::store::lane::{LANES, Lane, Recorded, Turn};
use bridge_shared::store::work::{Delivery, Fetched, Record};
use futures::future::{BoxFuture, FutureExt as _, ready, select_all};

use super::{Fetcher, Slice};
use crate::engine::appetite::BATCH;
use crate::engine::committer::Committed;
use crate::engine::runner::{Begun, Ended, UnderWay};
use crate::engine::{committer, runner};

/// How long no batch is asked for where what waits was not fit for one.
const REST: Duration = Duration::from_secs(1);
/// The same where that was so again and again.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// The lanes of this worker, those that are not under way.
#[derive(Debug)]
pub(super) struct Lanes {
    home: VecDeque<Lane>,
    /// Until when they rest.
    rest: Option<Instant>,
    /// How long they rest next.
    pause: Duration,
    /// Whether this user may not use them.
    refused: bool,
}

impl Lanes {
    pub(super) fn new(lanes: [Lane; LANES]) -> Self {
        Self {
            home: lanes.into(),
            rest: None,
            pause: REST,
            refused: false,
        }
    }

    fn are_ready(&self) -> bool {
        !self.refused && self.rest.is_none_or(|until| until <= Instant::now())
    }

    fn next(&mut self) -> Option<Lane> {
        self.home.pop_front()
    }

    fn put_back(&mut self, lane: Lane) {
        self.home.push_back(lane);
    }

    /// What waits is not for batches: they are asked for again in a while.
    fn rest(&mut self) {
        self.rest = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_REST);
    }

    /// Something went wrong on a lane. A user who may not do what it does works without.
    fn note(&mut self, error: &StoreError) {
        self.rest();
        if let StoreError::NotAllowed { .. } = error {
            self.refused = true;
            tracing::warn!("this worker goes on without batches, which is slower: {error}");
        }
    }
}

/// A batch of which everything is over.
#[derive(Debug, Default)]
struct Over {
    records: Vec<Record>,
    /// What to tell of each once it is recorded.
    told: Vec<Ended>,
    bytes: usize,
}

impl Over {
    /// Room for another batch.
    fn emptied(mut self, leads: usize) -> Self {
        self.records.clear();
        self.records.reserve(leads);
        self.told.clear();
        self.told.reserve(leads);
        self.bytes = 0;
        self
    }

    /// Adds what came of a lead; gives it back where no lane can record it.
    fn add(&mut self, committed: Committed) -> Option<Committed> {
        let outcome = &committed.record.outcome;
        self.bytes += outcome.size();
        if committed.saving.is_some() || !Lane::records(outcome) || self.bytes > committer::BYTES {
            return Some(committed);
        }
        self.records.push(committed.record);
        self.told.push(committed.event);
        None
    }

    /// Each lead by itself.
    fn apart(self) -> impl Iterator<Item = Committed> {
        let both = self.records.into_iter().zip(self.told);
        both.map(|(record, event)| Committed {
            record,
            event,
            saving: None,
        })
    }
}

/// What ends the taking of batches.
enum Last {
    /// No more leads wait.
    Lead,
    /// The right to take any: work is paused, or the lease has run out.
    Right,
    /// Something went wrong.
    Trouble(StoreError),
}

/// What is not started when a batch turned out not to be over at once.
#[derive(Default)]
struct Left {
    /// Attempts that were begun and found no free slot.
    waits: Vec<UnderWay>,
    /// Leads, with the order in which their batches were taken.
    batches: Vec<(u64, Vec<Delivery>)>,
}

impl Left {
    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// A lane that is back: what it carried there, what it asked for, and what it brought.
struct Back {
    lane: Lane,
    over: Over,
    /// How many leads, and the number of the first.
    next: Option<(usize, u64)>,
    turn: Result<Turn, StoreError>,
}

/// Sends a lane on its way, there with what came of a batch, and back with the next: as much as the
/// connection takes at once goes out before this returns.
async fn set_out(
    mut lane: Lane,
    over: Over,
    next: Option<(usize, u64)>,
) -> BoxFuture<'static, Back> {
    let mut way = async move {
        let turn = lane.turn(&over.records, next).await;
        Back {
            lane,
            over,
            next,
            turn,
        }
    }
    .boxed();
    match futures::poll!(&mut way) {
        Poll::Ready(back) => ready(back).boxed(),
        Poll::Pending => way,
    }
}

impl Fetcher {
    /// Whether whole batches may be taken by lanes, after a fetch that was full.
    pub(super) fn may_go_by_lanes(&self) -> bool {
        self.appetite.is_for_batches() && self.lanes.are_ready() && self.may_go_ahead()
    }

    /// Takes whole batches as long as all of them are over at once and more wait.
    pub(super) async fn go_by_lanes(&mut self) {
        let (mut trips, mut left) = (Vec::new(), Left::default());
        let mut last = None;
        while self.may_go_by_lanes()
            && let Some(lane) = self.lanes.next()
        {
            trips.push(self.send(lane, Over::default(), true).await);
        }
        while !trips.is_empty() {
            // All get on while one is waited for. Whichever is back first mostly has the older leads.
            let (back, _, others) = select_all(trips).await;
            trips = others;
            let Back {
                lane,
                over,
                next,
                turn,
            } = back;
            let order = turn.as_ref().map_or(0, |turn| turn.order);
            match self.settle(&over, turn, next).await {
                Ok(Some(Fetched::Taken(deliveries))) => {
                    let (asked, taken) = (next.map_or(0, |(count, _)| count), deliveries.len());
                    if Fetched::is_last(&deliveries, asked, self.context.store.bytes_at_once()) {
                        last = Some(Last::Lead);
                    }
                    self.lanes.pause = REST;
                    let over = over.emptied(taken);
                    let over = self.work_on(order, deliveries, over, &mut left).await;
                    self.appetite.learn(taken, over.is_some());
                    if taken < asked {
                        self.appetite.shrink();
                    }
                    let more = last.is_none() && self.may_go_by_lanes();
                    match over {
                        Some(over) if more || taken > 0 => {
                            trips.push(self.send(lane, over, more).await);
                        }
                        _ => self.lanes.put_back(lane),
                    }
                    continue;
                }
                Ok(None) => {}
                Ok(Some(Fetched::Unfit)) => {
                    self.appetite.shrink();
                    self.lanes.rest();
                }
                Ok(Some(Fetched::Paused | Fetched::NoLease)) => last = Some(Last::Right),
                Err(error) => {
                    self.lanes.note(&error);
                    last = Some(Last::Trouble(error));
                }
            }
            self.lanes.put_back(lane);
        }
        left.batches.sort_unstable_by_key(|(order, _)| *order);
        let batches = left.batches.into_iter();
        // All of them together: one may have to go so that another one can be worked on.
        let mut leads: Vec<Delivery> = batches.flat_map(|(_, batch)| batch).collect();
        self.send_away(&mut leads).await;
        if !left.waits.is_empty() {
            // No slot was free.
            let most = BATCH - left.waits.len();
            let surplus = leads.split_off(most.min(leads.len()));
            let go_on = async {
                for attempt in left.waits {
                    let slot = self.slot().await;
                    runner::go_on(&self.leads, &self.outcomes, attempt, slot);
                }
            };
            // At once, for those that are begun wait for nothing but a slot.
            tokio::join!(self.give_back(surplus), go_on);
        }
        if !leads.is_empty() {
            self.start(leads, None).await;
        }
        match last {
            None => {}
            Some(Last::Lead) => self.is_dry = true,
            Some(Last::Right) => self.wait_for_a_pulse().await,
            Some(Last::Trouble(error)) => self.trouble(&error).await,
        }
    }

    /// Sends a lane on its way with what came of its batch, for the next one where more are wanted.
    async fn send(&mut self, lane: Lane, over: Over, more: bool) -> BoxFuture<'static, Back> {
        let count = self.context.store.leads_at_once(self.appetite.batch());
        let next = more.then_some((count, self.next));
        self.next += next.map_or(0, |(count, _)| count as u64);
        set_out(lane, over, next).await
    }

    /// Sees to what a lane carried: whatever it did not bring there is recorded like any other.
    async fn settle(
        &mut self,
        over: &Over,
        turn: Result<Turn, StoreError>,
        next: Option<(usize, u64)>,
    ) -> Result<Option<Fetched>, StoreError> {
        let Over { records, told, .. } = over;
        let (context, delays) = (&*self.context, &self.delays);
        match turn.as_ref().map(|turn| turn.recorded) {
            Ok(Recorded::All) => {
                self.backoff.reset("fetch");
                committer::tell(context, records, told, &[], delays);
            }
            Ok(Recorded::Nothing) => {
                committer::record_all(context, records, told, false, delays).await;
            }
            // Those that are done are known to be, and the others are in hand.
            Ok(Recorded::Done) | Err(_) => {
                committer::record_all(context, records, told, true, delays).await;
            }
        }
        let fetched = turn.and_then(|turn| turn.fetched.transpose());
        if let (Err(_), Some((count, first))) = (&fetched, next) {
            self.doubtful.add(first, count);
        }
        fetched
    }

    /// Starts a lane's batch; `over` is room for what comes of it. What came of it, where all of it is
    /// over and a lane can record that; else each goes its own way, and the first that is recorded
    /// opens the batch. What cannot be started then is left to when every lane is back: another one
    /// may have brought what came first.
    async fn work_on(
        &mut self,
        order: u64,
        deliveries: Vec<Delivery>,
        mut over: Over,
        left: &mut Left,
    ) -> Option<Over> {
        let context = Arc::clone(&self.context);
        context.in_hand.add(&deliveries, false);
        if !left.is_empty() || context.in_hand.has_suspects() {
            left.batches.push((order, deliveries));
            return None;
        }
        let mut deliveries = deliveries.into_iter();
        let mut slice = Slice::begin();
        while let Some(delivery) = deliveries.next() {
            let now = slice.give_way().await;
            let alone = match runner::begin(&context, &mut self.room, delivery, now) {
                Begun::Over(committed) => match over.add(committed) {
                    None => continue,
                    alone => alone,
                },
                Begun::Waits(attempt) => {
                    match Arc::clone(&self.slots).try_acquire_owned() {
                        Ok(slot) => runner::go_on(&self.leads, &self.outcomes, attempt, slot),
                        Err(_) => left.waits.push(attempt),
                    }
                    None
                }
            };
            for committed in over.apart().chain(alone) {
                self.outcomes.send(committed).await;
            }
            left.batches.push((order, deliveries.collect()));
            return None;
        }
        Some(over)
    }
}
