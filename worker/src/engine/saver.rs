//! Saves enriched leads in the sinks of their pipeline, in batches, until they are durable there;
//! then the committer records them. Where the stream is the only sink nothing comes by here.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge_shared::envelope::Envelope;
use bridge_shared::money::Money;
use bridge_shared::store::work::Outcome;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Context;
use super::committer::{self, Committed};
use super::runner::{give_back, judge, millis};
use crate::pipeline::sink::{Enriched, Sinks};

/// Leads saved in one step at most.
const BATCH: usize = 256;
/// Batches of one pipeline under way at once.
const LANES: usize = 2;
/// How long sinks in trouble are still waited for when their route is no longer in force.
const MOMENT: Duration = Duration::from_secs(3);

/// What it takes to save a lead, and to judge it should that fail.
#[derive(Debug)]
pub(super) struct Saving {
    /// Where to.
    pub(super) sinks: Arc<Sinks>,
    /// The lead as it came, with its history.
    pub(super) envelope: Envelope,
    /// What the lead had cost before this attempt.
    pub(super) spent_before: Money,
    /// When the attempt began.
    pub(super) started: Instant,
}

/// The way of an outcome: to the committer, or first to the sinks.
#[derive(Clone)]
pub(super) struct Outcomes(Arc<Ways>);

struct Ways {
    to_saver: mpsc::Sender<Committed>,
    to_committer: mpsc::Sender<Committed>,
}

impl Outcomes {
    /// Waits while there is no room. Fails, with the outcome lost, only if the other end is gone;
    /// the lease will run out on the lead then.
    pub(super) async fn send(&self, committed: Committed) {
        let way = if committed.saving.is_some() {
            &self.0.to_saver
        } else {
            &self.0.to_committer
        };
        let _ = way.send(committed).await;
    }
}

/// What the saver works on.
pub(super) struct Inbox {
    enriched: mpsc::Receiver<Committed>,
    to_committer: mpsc::Sender<Committed>,
}

/// The way of outcomes, and its two ends. No more leads wait for the sinks than are worked on at
/// once, so that a sink that is away does not make the worker hoard.
pub(super) fn new(context: &Arc<Context>) -> (Outcomes, Inbox, mpsc::Receiver<Committed>) {
    let room = (context.settings.concurrency as usize).clamp(1, committer::BACKLOG);
    let (to_saver, enriched) = mpsc::channel(room);
    let (to_committer, to_commit) = mpsc::channel(committer::BACKLOG);
    let inbox = Inbox {
        enriched,
        to_committer: to_committer.clone(),
    };
    let ways = Ways {
        to_saver,
        to_committer,
    };
    (Outcomes(Arc::new(ways)), inbox, to_commit)
}

type Batch = Vec<(Committed, Saving)>;

/// The leads of one pipeline. Each has its own, so that sinks that are away hold up no leads of
/// another route: a changed one may have been put into force to mend just that.
struct Queue {
    sinks: Arc<Sinks>,
    waiting: Batch,
    lanes: usize,
}

impl Queue {
    /// The next batch to set out, where there is one and a free lane.
    fn next(&mut self) -> Option<Batch> {
        if self.waiting.is_empty() || self.lanes >= LANES {
            return None;
        }
        self.lanes += 1;
        let rest = self.waiting.split_off(self.waiting.len().min(BATCH));
        Some(std::mem::replace(&mut self.waiting, rest))
    }
}

/// The queues of the route in force and of those before it that still have leads.
#[derive(Default)]
struct Queues(Vec<Queue>);

impl Queues {
    fn of(&mut self, sinks: &Arc<Sinks>) -> &mut Queue {
        let known = |queue: &Queue| Arc::ptr_eq(&queue.sinks, sinks);
        let place = self.0.iter().position(known).unwrap_or_else(|| {
            self.0.push(Queue {
                sinks: Arc::clone(sinks),
                waiting: Vec::new(),
                lanes: 0,
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    fn add(&mut self, mut committed: Committed) {
        if let Some(saving) = committed.saving.take() {
            self.of(&saving.sinks).waiting.push((committed, *saving));
        }
    }

    /// Whether more leads are to be taken. What comes from routes before the one in force was in
    /// hand when that came, so it has an end.
    fn have_room(&self, in_force: &Arc<Sinks>) -> bool {
        let full = |queue: &Queue| queue.lanes >= LANES && Arc::ptr_eq(&queue.sinks, in_force);
        !self.0.iter().any(full)
    }
}

/// Saves until the last attempt is over and everything is saved, or given back.
pub(super) async fn run(context: Arc<Context>, mut inbox: Inbox) {
    let mut lanes = FuturesUnordered::new();
    let mut queues = Queues::default();
    let mut arrived = Vec::new();
    let mut route = context.route.subscribe();
    let mut open = true;
    while open || !lanes.is_empty() {
        let room = queues.have_room(route.borrow_and_update().sinks());
        tokio::select! {
            n = inbox.enriched.recv_many(&mut arrived, BATCH), if open && room => {
                open = n > 0;
                arrived.drain(..).for_each(|committed| queues.add(committed));
            }
            Some(sinks) = lanes.next() => queues.of(&sinks).lanes -= 1,
            Ok(()) = route.changed() => {}
        }
        for queue in &mut queues.0 {
            while let Some(batch) = queue.next() {
                let sinks = Arc::clone(&queue.sinks);
                lanes.push(save(&context, sinks, batch, &inbox.to_committer));
            }
        }
        queues.0.retain(|queue| queue.lanes > 0);
    }
}

/// Saves a batch, or gives it back; returns whose lane is free.
async fn save(
    context: &Context,
    sinks: Arc<Sinks>,
    mut batch: Batch,
    to_committer: &mpsc::Sender<Committed>,
) -> Arc<Sinks> {
    let leads: Vec<Enriched> = batch
        .iter()
        .filter_map(|(lead, _)| enriched(lead))
        .collect();
    let trouble = AtomicUsize::new(0);
    let failures = tokio::select! {
        failures = sinks.save(&leads, &trouble) => Some(failures),
        () = context.give_back.cancelled() => None,
        () = superseded(context, &sinks, &trouble) => {
            tracing::warn!(
                leads = leads.len(),
                "the sinks of the route before do not take these leads; they are given back for the route in force"
            );
            None
        }
    };
    // Given back: what is saved by now is saved again by whoever takes the lead next.
    let given_back = failures.is_none();
    if given_back {
        // Each goes to the front of the line: the youngest first, so that the oldest is next.
        batch.sort_by_key(|(committed, _)| Reverse(committed.record.number));
    }
    let failures = failures.unwrap_or_else(|| vec![None; batch.len()]);
    for ((mut committed, saving), failure) in batch.into_iter().zip(failures) {
        if given_back {
            (committed.record.outcome, committed.event) =
                give_back(saving.envelope, saving.spent_before);
        } else if let Some(failure) = failure {
            let ms = millis(saving.started.elapsed());
            (committed.record.outcome, committed.event) =
                judge(context, saving.envelope, failure, ms);
        } else if !sinks.stream()
            && let Outcome::Done { lead, .. } = &mut committed.record.outcome
        {
            *lead = Bytes::new();
        }
        // Fails only if the committer is gone, and then the lease will run out on these leads.
        let _ = to_committer.send(committed).await;
    }
    sinks
}

/// Returns when sinks have had their moment since their route left force, and are in trouble. Those
/// that are only slow are let finish: a lead done again may cost again.
async fn superseded(context: &Context, sinks: &Arc<Sinks>, trouble: &AtomicUsize) {
    let mut route = context.route.subscribe();
    let _ = route
        .wait_for(|pipeline| !Arc::ptr_eq(pipeline.sinks(), sinks))
        .await;
    loop {
        tokio::time::sleep(MOMENT).await;
        if trouble.load(Ordering::Relaxed) > 0 {
            return;
        }
    }
}

fn enriched(committed: &Committed) -> Option<Enriched> {
    let Outcome::Done { lead, .. } = &committed.record.outcome else {
        return None;
    };
    Some(Enriched {
        id: committed.record.id.clone(),
        lead: lead.clone(),
    })
}
