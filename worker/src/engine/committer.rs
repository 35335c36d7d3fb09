//! Records outcomes, in batches, until they are recorded.

use std::sync::Arc;
use std::time::Duration;

use bridge_shared::clock::Millis;
use bridge_shared::event::EventKind;
use bridge_shared::store::Store;
use bridge_shared::store::work::{Outcome, Record};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::runner::Ended;
use super::saver::Saving;
use super::{Backoff, Context};
use crate::health::Task;

/// Outcomes that may wait to be recorded; beyond that no slot becomes free.
pub(super) const BACKLOG: usize = 512;
/// Outcomes recorded in one step at most.
const BATCH: usize = 256;
/// Bytes recorded in one step at most, unless one outcome alone has more.
pub(super) const BYTES: usize = 8 << 20;
/// Batches under way at once.
const LANES: usize = 2;

/// An outcome on its way to the store.
#[derive(Debug)]
pub(super) struct Committed {
    /// What is recorded.
    pub(super) record: Record,
    /// What to tell once that is recorded.
    pub(super) event: Ended,
    /// What the saver needs, where the lead goes to sinks first.
    pub(super) saving: Option<Box<Saving>>,
}

/// Records outcomes until the last attempt is over and everything is recorded. The lanes are
/// driven by one task, so that batches set out in the order they were made.
pub(super) async fn run(
    context: Arc<Context>,
    mut outcomes: mpsc::Receiver<Committed>,
    delays: mpsc::UnboundedSender<Millis>,
) {
    let mut lanes = FuturesUnordered::new();
    let mut batch = Vec::new();
    let mut given_back = Vec::new();
    let mut open = true;
    while open || !lanes.is_empty() {
        tokio::select! {
            n = outcomes.recv_many(&mut batch, BATCH), if open && lanes.len() < LANES => {
                open = n > 0;
                // Before the stop they are to be taken again; with it, not before everything is over.
                let stopping = context.stop.is_cancelled();
                let back = |committed: &mut Committed| stopping && matches!(committed.record.outcome, Outcome::Requeue { .. });
                given_back.extend(batch.extract_if(.., back));
                if !batch.is_empty() {
                    lanes.push(record(&context, std::mem::take(&mut batch), &delays));
                }
            }
            Some(()) = lanes.next() => {}
        }
    }
    // Each goes to the front of the line: the youngest first, so that the oldest is next.
    given_back.sort_by_key(|committed| std::cmp::Reverse(committed.record.number));
    while !given_back.is_empty() {
        let batch = given_back.drain(..given_back.len().min(BATCH)).collect();
        record(&context, batch, &delays).await;
    }
}

/// Records outcomes, and tells of them.
pub(super) async fn record(
    context: &Context,
    batch: Vec<Committed>,
    delays: &mpsc::UnboundedSender<Millis>,
) {
    let (records, told): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .map(|committed| (committed.record, committed.event))
        .unzip();
    record_all(context, &records, &told, false, delays).await;
}

/// The same where, with `doubt`, they may be recorded already, the answer lost.
pub(super) async fn record_all(
    context: &Context,
    records: &[Record],
    told: &[Ended],
    doubt: bool,
    delays: &mpsc::UnboundedSender<Millis>,
) {
    let mut lost = Vec::new();
    let (mut at, mut backoff) = (0, Backoff::default());
    // Before this one they may be recorded already. What was sent and what was not never goes out
    // together: of the former nobody knows what was lost.
    let mut sent = if doubt { records.len() } else { 0 };
    while at < records.len() {
        let in_doubt = at < sent;
        let left = &records[at..if in_doubt { sent } else { records.len() }];
        // Less after each loss, or a slow link would never take it.
        let step = &left[..that_fit(left, &context.store)];
        let worker = context.id.as_str();
        match context.store.commit(worker, step, in_doubt).await {
            Ok(more) => {
                backoff.reset("commit");
                context.health.succeeded(Task::Record);
                lost.extend(more);
                at += step.len();
            }
            Err(error) => {
                backoff.tell(&error, "commit");
                context.health.failed(Task::Record, &error);
                sent = sent.max(at + step.len());
                let wait = context.end.run_until_cancelled(backoff.wait());
                if wait.await.is_none() {
                    // They are in the worker's hands as far as the store knows, and go to another.
                    return;
                }
            }
        }
    }
    if !lost.is_empty() {
        tracing::warn!(
            leads = lost.len(),
            "the lease was gone; these results were dropped"
        );
    }
    tell(context, records, told, &lost, delays);
}

/// Tells what became of deliveries that are in hand no longer; of the lost ones others decide.
pub(super) fn tell(
    context: &Context,
    records: &[Record],
    told: &[Ended],
    lost: &[u64],
    delays: &mpsc::UnboundedSender<Millis>,
) {
    context
        .in_hand
        .over(records.iter().map(|record| record.number));
    let now = context.store.now();
    let mut postponed = 0;
    let mut counts = [0_u64; EventKind::ALL.len()];
    let times = metrics::histogram!("bridge_worker_attempt_seconds");
    for (Record { number, id, .. }, ended) in records.iter().zip(told) {
        let kind = if lost.contains(number) {
            EventKind::LeaseLost
        } else {
            ended.kind
        };
        counts[kind as usize] += 1;
        if let (EventKind::Succeeded | EventKind::Skipped, Some(ms)) = (kind, ended.ms) {
            times.record(Duration::from_millis(ms));
        }
        if kind == EventKind::RetryScheduled
            && let Some(ms) = ended.ms
        {
            // Fails only when the scheduler has ended, and then another worker's will do it.
            let _ = delays.send(now + i64::try_from(ms).unwrap_or(i64::MAX / 2));
        }
        if kind == EventKind::RetryScheduled && ended.retry.is_none() {
            postponed += 1;
        }
        if kind == EventKind::Dead {
            let (station, error) = (ended.station.as_deref(), ended.error.as_deref());
            let (station, error) = (station.unwrap_or_default(), error.unwrap_or_default());
            context.deaths.note(station, ended.error_kind, error);
        }
        context.emit(now, kind, id, |news| {
            news.station = ended.station.as_deref();
            news.error = ended.error.as_deref();
            news.retry = ended.retry;
            news.ms = ended.ms;
        });
    }
    for (kind, n) in EventKind::ALL.into_iter().zip(counts) {
        if n > 0 {
            context.totals.add(kind, n, postponed);
            metrics::counter!("bridge_worker_leads_total", "outcome" => kind.as_str()).increment(n);
        }
    }
}

/// How many outcomes fit into one step.
fn that_fit(records: &[Record], store: &Store) -> usize {
    let (mut bytes, most) = (0, BYTES.min(store.bytes_at_once()));
    let fit = records.iter().take(store.leads_at_once(BATCH));
    let fit = fit.take_while(|record| {
        bytes += record.outcome.size();
        bytes <= most
    });
    fit.count().max(1)
}
