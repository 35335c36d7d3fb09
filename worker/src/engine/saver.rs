//! Saves enriched leads in the sinks of their pipeline, in batches, until they are durable there;
//! then the committer records them. Where the stream is the only sink nothing comes by here.

use std::sync::Arc;
use std::time::Instant;

use bridge_shared::envelope::Envelope;
use bridge_shared::event::EventKind;
use bridge_shared::store::work::Outcome;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Context;
use super::committer::{self, Committed};
use super::runner::{Ended, judge, millis};
use crate::pipeline::sink::{Enriched, Sinks};

/// Leads saved in one step at most.
const BATCH: usize = 256;
/// Batches under way at once.
const LANES: usize = 2;

/// What it takes to save a lead, and to judge it should that fail.
#[derive(Debug)]
pub(super) struct Saving {
    /// Where to.
    pub(super) sinks: Arc<Sinks>,
    /// The lead as it came, with its history.
    pub(super) envelope: Envelope,
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

/// Saves until the last attempt is over and everything is saved, or given back.
pub(super) async fn run(context: Arc<Context>, mut inbox: Inbox) {
    let mut lanes = FuturesUnordered::new();
    let mut batch = Vec::new();
    let mut open = true;
    while open || !lanes.is_empty() {
        tokio::select! {
            n = inbox.enriched.recv_many(&mut batch, BATCH), if open && lanes.len() < LANES => {
                open = n > 0;
                for batch in by_sinks(std::mem::take(&mut batch)) {
                    lanes.push(save(&context, batch, &inbox.to_committer));
                }
            }
            Some(()) = lanes.next() => {}
        }
    }
}

type Batch = Vec<(Committed, Saving)>;

/// Leads of one pipeline stay together; only around a change of the route there are several.
fn by_sinks(leads: Vec<Committed>) -> Vec<(Arc<Sinks>, Batch)> {
    let mut batches: Vec<(Arc<Sinks>, Batch)> = Vec::new();
    for mut committed in leads {
        let Some(saving) = committed.saving.take() else {
            continue;
        };
        let sinks = Arc::clone(&saving.sinks);
        let known = batches
            .iter_mut()
            .find(|(other, _)| Arc::ptr_eq(other, &sinks));
        match known {
            Some((_, batch)) => batch.push((committed, *saving)),
            None => batches.push((sinks, vec![(committed, *saving)])),
        }
    }
    batches
}

async fn save(
    context: &Context,
    (sinks, batch): (Arc<Sinks>, Batch),
    to_committer: &mpsc::Sender<Committed>,
) {
    let leads: Vec<Enriched> = batch
        .iter()
        .filter_map(|(lead, _)| enriched(lead))
        .collect();
    let failures = context
        .give_back
        .run_until_cancelled(sinks.save(&leads))
        .await;
    // Given back: what is saved by now is saved again by whoever takes the lead next.
    let given_back = failures.is_none();
    let failures = failures.unwrap_or_else(|| vec![None; batch.len()]);
    for ((mut committed, saving), failure) in batch.into_iter().zip(failures) {
        if given_back {
            committed.outcome = Outcome::Requeue {
                envelope: saving.envelope.encode(),
            };
            committed.event = Ended {
                kind: EventKind::Recovered,
                ..Ended::default()
            };
        } else if let Some(failure) = failure {
            let ms = millis(saving.started.elapsed());
            (committed.outcome, committed.event) = judge(context, saving.envelope, failure, ms);
        } else if !sinks.stream()
            && let Outcome::Done { lead, .. } = &mut committed.outcome
        {
            *lead = Bytes::new();
        }
        // Fails only if the committer is gone, and then the lease will run out on these leads.
        let _ = to_committer.send(committed).await;
    }
}

fn enriched(committed: &Committed) -> Option<Enriched> {
    let Outcome::Done { id, lead, .. } = &committed.outcome else {
        return None;
    };
    Some(Enriched {
        id: id.clone(),
        lead: lead.clone(),
    })
}
