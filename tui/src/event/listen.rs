//! The live events, in portions that a person can follow.

use std::collections::VecDeque;
use std::time::Duration;

use bridge_shared::event::EventBatch;
use bridge_shared::store::Store;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::app::live::Told;
use crate::message::Message;

/// Between two portions.
const PACE: Duration = Duration::from_millis(100);
/// Events of a portion that are shown, the newest; the rest is only counted.
const PORTION: usize = 200;
/// Silence after which a new connection is made.
const SILENCE: Duration = Duration::from_secs(30);
/// Before the next try where listening failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until it is dropped; a connection that is lost is made anew. That Redis is away the
/// readings of the figures tell.
pub(super) async fn run(store: &Store, messages: &mpsc::Sender<Message>) {
    loop {
        match store.subscribe().await {
            Ok(batches) => pass_on(batches, messages).await,
            Err(error) => tracing::warn!(%error, "no events"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Passes events on until the stream ends.
async fn pass_on(
    batches: impl futures::Stream<Item = bytes::Bytes>,
    messages: &mpsc::Sender<Message>,
) {
    let mut batches = std::pin::pin!(batches);
    let mut pace = tokio::time::interval(PACE);
    let (mut portion, mut skipped) = (VecDeque::with_capacity(PORTION), 0_u64);
    loop {
        tokio::select! {
            batch = tokio::time::timeout(SILENCE, batches.next()) => {
                // A connection whose other end has gone without a word is as silent as a bridge
                // where nothing happens.
                let Ok(Some(batch)) = batch else {
                    return;
                };
                // A message that is none of ours is no news.
                let Ok(batch) = EventBatch::decode(&batch) else {
                    continue;
                };
                let excess = batch.events.len().saturating_sub(PORTION);
                skipped += excess as u64;
                for event in batch.events.into_iter().skip(excess) {
                    if portion.len() == PORTION {
                        portion.pop_front();
                        skipped += 1;
                    }
                    portion.push_back(Told { worker: batch.worker.clone(), event });
                }
            }
            _ = pace.tick(), if !portion.is_empty() => {
                let events = portion.drain(..).collect();
                // Fails only when the console has ended.
                let _ = messages.send(Message::Events(events, std::mem::take(&mut skipped))).await;
            }
        }
    }
}
