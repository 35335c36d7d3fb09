//! The live events, in portions that a person can follow.

use std::collections::VecDeque;
use std::time::Duration;

use bridge_shared::event::{self, EventBatch};
use bridge_shared::store::Store;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::app::live::Told;
use crate::message::Message;
use crate::screen::Screen;

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
            Err(error) if error.is_transient() => tracing::warn!(%error, "no events"),
            // Fails only when the console has ended.
            Err(error) => {
                let _ = messages.send(Message::Refused(Screen::Live, error)).await;
            }
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
    // Of a newer version: which, and how many messages could not be read at all.
    let (mut newer, mut unread) = (None, 0_u64);
    loop {
        tokio::select! {
            batch = tokio::time::timeout(SILENCE, batches.next()) => {
                // A connection whose other end has gone without a word is as silent as a bridge
                // where nothing happens.
                let Ok(Some(batch)) = batch else {
                    return;
                };
                let Ok(batch) = EventBatch::decode(&batch) else {
                    (newer, unread) = (newer.or(Some(0)), unread + 1);
                    continue;
                };
                if batch.v > event::VERSION {
                    newer = newer.max(Some(batch.v));
                }
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
            _ = pace.tick(), if !portion.is_empty() || newer.is_some() => {
                let events = portion.drain(..).collect();
                // Both fail only when the console has ended.
                let _ = messages.send(Message::Events(events, std::mem::take(&mut skipped))).await;
                if let Some(version) = newer.take() {
                    let unread = std::mem::take(&mut unread);
                    let _ = messages.send(Message::Newer { version, unread }).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge_shared::config::RedisArgs;
    use bridge_shared::sandbox::Sandbox;

    #[tokio::test]
    async fn events_of_a_newer_version_are_shown_as_far_as_they_are_known_and_told() {
        let redis = Sandbox::start(&[]).expect("a private Redis");
        let args = RedisArgs::of(redis.url(), ["q", "f", "e"]);
        let store = Store::new(&args).expect("a store");
        let (messages, mut heard) = mpsc::channel(8);
        let listening = store.clone();
        tokio::spawn(async move { run(&listening, &messages).await });
        let client = redis::Client::open(redis.url()).expect("a URL");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("connected");
        let newer = r#"{"v":2,"worker":"w","events":[{"at":1,"event":"cloned","lead":"a"}]}"#;
        for (message, expected) in [(newer, (2, 0)), (r#"{"v":3,"news":"all new"}"#, (0, 1))] {
            // Until somebody listens.
            while redis::cmd("PUBLISH")
                .arg("q:events")
                .arg(message)
                .query_async::<u64>(&mut connection)
                .await
                .expect("published")
                == 0
            {
                tokio::task::yield_now().await;
            }
            loop {
                match heard.recv().await.expect("a message") {
                    Message::Newer { version, unread } => {
                        assert_eq!((version, unread), expected);
                        break;
                    }
                    Message::Events(events, 0) => {
                        assert!(events.iter().all(|told| told.event.lead == "a"));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
