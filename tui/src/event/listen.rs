//! The live events, in portions that a person can follow.

use std::collections::VecDeque;
use std::time::Duration;

use bridge_shared::event::{self, EventBatch};
use bridge_shared::store::listen::{Heard, Listener};
use bridge_shared::store::{Store, StoreError};
use tokio::sync::mpsc;

use crate::app::live::Told;
use crate::message::Message;
use crate::screen::Screen;

/// Between two portions.
const PACE: Duration = Duration::from_millis(100);
/// Events of a portion that are shown, the newest; the rest is only counted.
const PORTION: usize = 200;
/// Before the next try where listening failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens until it is dropped. That Redis is away the readings of the figures tell.
pub(super) async fn run(store: &Store, messages: &mpsc::Sender<Message>) {
    let mut was_away = false;
    let listener = loop {
        match store.listen().await {
            Ok(listener) => break listener,
            Err(error) if error.is_transient() => tracing::warn!(%error, "no events"),
            Err(error) => refused(messages, error).await,
        }
        was_away = true;
        tokio::time::sleep(PAUSE).await;
    };
    pass_on(store, listener, was_away, messages).await;
}

/// Tells that the user may not listen.
async fn refused(messages: &mpsc::Sender<Message>, error: StoreError) {
    // Fails only when the console has ended.
    let _ = messages.send(Message::Refused(Screen::Live, error)).await;
}

/// Passes events on.
async fn pass_on(
    store: &Store,
    mut listener: Listener,
    was_away: bool,
    messages: &mpsc::Sender<Message>,
) {
    let mut pace = tokio::time::interval(PACE);
    let (mut portion, mut skipped) = (VecDeque::with_capacity(PORTION), 0_u64);
    if was_away {
        portion.push_back(Told::Gap(store.now()));
    }
    // Of a newer version: which, and how many messages could not be read at all.
    let (mut newer, mut unread) = (None, 0_u64);
    loop {
        tokio::select! {
            heard = listener.next() => match heard {
                // The listener tries again by itself.
                Err(error) => refused(messages, error).await,
                Ok(Heard::Unread) => (newer, unread) = (newer.or(Some(0)), unread + 1),
                Ok(Heard::Interrupted) => portion.push_back(Told::Gap(store.now())),
                Ok(Heard::Batch(EventBatch { v, worker, events, .. })) => {
                    if v > event::VERSION {
                        newer = newer.max(Some(v));
                    }
                    let excess = events.len().saturating_sub(PORTION);
                    skipped += excess as u64;
                    for event in events.into_iter().skip(excess) {
                        if portion.len() >= PORTION {
                            let gone = portion.pop_front();
                            skipped += u64::from(matches!(gone, Some(Told::Event { .. })));
                        }
                        portion.push_back(Told::Event { worker: worker.clone(), event });
                    }
                }
            },
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
                        let is_newer = |told: &Told| matches!(told, Told::Event { event, .. } if event.lead == "a");
                        assert!(events.iter().all(is_newer));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
