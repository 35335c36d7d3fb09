//! Tells what happens, in few messages.
//!
//! Events are news, not records: what counts is in the store. So they never hold up a lead. While
//! nobody listens a busy worker only sends a sample four times a second, to learn from the answer
//! whether somebody does by now.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_shared::event::{Message, News};
use bridge_shared::store::sender::Sender;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Context;

/// How late an event may be told.
const FLUSH: Duration = Duration::from_millis(50);
/// Events in one message at most.
const CHUNK: usize = 2_000;
/// Messages sent at once at most. Batches of leads are longer than a message, and so is the wait for
/// an answer to it.
const AT_ONCE: usize = 4;
/// Events that may wait to be told while somebody listens.
const ROOM: i64 = 100_000;
/// Events told in each [`SAMPLE_EVERY`] while nobody listens.
const SAMPLE: i64 = 200;
/// How often a sample is sent.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Where the roles put what they have to tell.
#[derive(Debug)]
pub(super) struct Publisher {
    told: Arc<Told>,
    closed: CancellationToken,
}

/// What is told and not sent, and how much more may be told before the publisher grants it.
#[derive(Debug)]
struct Told {
    /// Messages already written: an event is written into the last one where it happens, so that
    /// it costs no memory of its own. Never empty.
    messages: Mutex<VecDeque<Message>>,
    worker: String,
    db: i64,
    /// There is something to send.
    some: Notify,
    /// There is a message with no room left in it, or nothing more may be told.
    full: Notify,
    left: AtomicI64,
    /// Events not told for want of room while somebody listened.
    missed: AtomicU64,
    heard: AtomicBool,
}

/// The publisher's side of it.
pub(super) struct Inbox {
    told: Arc<Told>,
    closed: CancellationToken,
}

/// A publisher for a worker in this database, and its inbox.
pub(super) fn new(worker: &str, db: i64) -> (Publisher, Inbox) {
    let told = Arc::new(Told {
        messages: Mutex::new(VecDeque::from([Message::new(worker, db)])),
        worker: worker.to_owned(),
        db,
        some: Notify::new(),
        full: Notify::new(),
        left: AtomicI64::new(SAMPLE),
        missed: AtomicU64::new(0),
        heard: AtomicBool::new(false),
    });
    let closed = CancellationToken::new();
    let publisher = Publisher {
        told: Arc::clone(&told),
        closed: closed.clone(),
    };
    (publisher, Inbox { told, closed })
}

impl Publisher {
    /// Tells an event, if anybody may want to hear it; it is only made then.
    pub(super) fn emit<'a>(&self, news: impl FnOnce() -> News<'a>) {
        let told = &*self.told;
        // Looked at first: while nobody listens this is all that an event costs.
        let left = match told.left.load(Ordering::Relaxed) {
            1.. => told.left.fetch_sub(1, Ordering::Relaxed),
            none => none,
        };
        if left > 0 {
            told.add(&news());
            if left == 1 {
                told.full.notify_one();
            }
        } else if told.heard.load(Ordering::Relaxed) {
            told.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing more will be told.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}

impl Told {
    fn add(&self, news: &News<'_>) {
        let mut messages = self.messages();
        let next = match messages.back() {
            None => Some(Message::new(&self.worker, self.db)),
            Some(last) => (last.len() >= CHUNK).then(|| last.following()),
        };
        messages.extend(next);
        let Some(last) = messages.back_mut() else {
            return;
        };
        last.push(news);
        let events = last.len();
        drop(messages);
        if events == 1 {
            self.some.notify_one();
        }
        if events == CHUNK {
            self.full.notify_one();
        }
    }

    /// The oldest messages, where anything is told, and how many events wait behind them.
    fn next(&self) -> Option<(Vec<Vec<u8>>, usize)> {
        let mut messages = self.messages();
        let full = (messages.len() - 1).min(AT_ONCE);
        let mut next: Vec<_> = messages.drain(..full).map(Message::into_bytes).collect();
        if next.is_empty() {
            let only = messages.front_mut().filter(|only| !only.is_empty())?;
            next.push(only.take());
        }
        Some((next, messages.iter().map(Message::len).sum()))
    }

    fn has_full(&self) -> bool {
        self.messages()
            .front()
            .is_some_and(|message| message.len() >= CHUNK)
    }

    fn messages(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(&self, room: i64) {
        self.left.store(room, Ordering::Relaxed);
        let missed = self.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            tracing::warn!(
                events = missed,
                "more happened than could be told; the counts in the store are whole"
            );
        }
    }
}

/// Sends what is told, until [`Publisher::close`].
pub(super) async fn run(context: Arc<Context>, inbox: Inbox) {
    let Inbox { told, closed } = inbox;
    let mut granted = Instant::now();
    let mut sender = context.store.sender();
    while closed
        .run_until_cancelled(told.some.notified())
        .await
        .is_some()
    {
        if !told.has_full() {
            // Until then a message takes what else comes.
            let _ = tokio::time::timeout(FLUSH, told.full.notified()).await;
        }
        let Some((messages, waiting)) = told.next() else {
            continue;
        };
        if waiting > 0 {
            told.some.notify_one();
        }
        let before = told.heard.load(Ordering::Relaxed);
        let heard = publish(&mut sender, &messages).await;
        told.heard.store(heard, Ordering::Relaxed);
        if heard || before {
            let waiting = i64::try_from(waiting).unwrap_or(ROOM);
            told.grant(if heard { ROOM - waiting } else { SAMPLE });
            granted = Instant::now();
        } else {
            let spent = told.left.load(Ordering::Relaxed) <= 0;
            if spent {
                tokio::time::sleep(SAMPLE_EVERY.saturating_sub(granted.elapsed())).await;
            }
            if granted.elapsed() >= SAMPLE_EVERY {
                told.grant(SAMPLE);
                granted = Instant::now();
            }
        }
    }
    while let Some((messages, _)) = told.next() {
        publish(&mut sender, &messages).await;
    }
}

/// Sends messages; returns whether anybody heard it. A failure is as good as nobody listening: the
/// heartbeat tells of it in the log.
async fn publish(sender: &mut Sender, messages: &[Vec<u8>]) -> bool {
    let listeners = sender.send(messages).await;
    listeners.is_ok_and(|listeners| listeners > 0)
}
