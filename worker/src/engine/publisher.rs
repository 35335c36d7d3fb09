//! Tells what happens, in few messages.
//!
//! Events are news, not records: what counts is in the store. So they never hold up a lead. While
//! nobody listens a busy worker only sends a sample four times a second, to learn from the answer
//! whether somebody does by now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bridge_shared::event::{Event, EventBatch};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Context;

/// How late an event may be told.
const FLUSH: Duration = Duration::from_millis(50);
/// Events in one message at most.
const CHUNK: usize = 500;
/// Events that may wait to be told while somebody listens.
const ROOM: i64 = 100_000;
/// Events told in each [`SAMPLE_EVERY`] while nobody listens.
const SAMPLE: i64 = 200;
/// How often a sample is sent.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// Where the roles put what they have to tell.
#[derive(Debug)]
pub(super) struct Publisher {
    events: mpsc::UnboundedSender<Event>,
    room: Arc<Room>,
    closed: CancellationToken,
}

/// How much may be told before the publisher grants more.
#[derive(Debug)]
struct Room {
    left: AtomicI64,
    /// Events not told for want of room while somebody listened.
    missed: AtomicU64,
    heard: AtomicBool,
}

/// The publisher's side of it.
pub(super) struct Inbox {
    events: mpsc::UnboundedReceiver<Event>,
    room: Arc<Room>,
    closed: CancellationToken,
}

/// A publisher and its inbox.
pub(super) fn new() -> (Publisher, Inbox) {
    let (sender, events) = mpsc::unbounded_channel();
    let room = Arc::new(Room {
        left: AtomicI64::new(SAMPLE),
        missed: AtomicU64::new(0),
        heard: AtomicBool::new(false),
    });
    let closed = CancellationToken::new();
    let publisher = Publisher {
        events: sender,
        room: Arc::clone(&room),
        closed: closed.clone(),
    };
    (
        publisher,
        Inbox {
            events,
            room,
            closed,
        },
    )
}

impl Publisher {
    /// Tells an event, if anybody may want to hear it; it is only made then.
    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.room.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            // Fails only when the publisher has ended.
            let _ = self.events.send(event());
        } else if self.room.heard.load(Ordering::Relaxed) {
            self.room.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Nothing more will be told.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }
}

/// Sends what is told, until [`Publisher::close`].
pub(super) async fn run(context: Arc<Context>, mut inbox: Inbox) {
    let mut batch = Vec::new();
    let mut granted = Instant::now();
    let closed = inbox.closed.clone();
    while closed
        .run_until_cancelled(inbox.events.recv_many(&mut batch, CHUNK))
        .await
        .is_some()
    {
        gather(&mut inbox.events, &mut batch).await;
        let before = inbox.room.heard.load(Ordering::Relaxed);
        let heard = publish(&context, &mut batch).await;
        inbox.room.heard.store(heard, Ordering::Relaxed);
        if heard || before {
            let waiting = i64::try_from(inbox.events.len()).unwrap_or(ROOM);
            inbox.grant(if heard { ROOM - waiting } else { SAMPLE });
            granted = Instant::now();
        } else {
            let spent = inbox.room.left.load(Ordering::Relaxed) <= 0;
            if spent {
                tokio::time::sleep(SAMPLE_EVERY.saturating_sub(granted.elapsed())).await;
            }
            if granted.elapsed() >= SAMPLE_EVERY {
                inbox.grant(SAMPLE);
                granted = Instant::now();
            }
        }
    }
    while inbox
        .events
        .try_recv()
        .map(|event| batch.push(event))
        .is_ok()
    {}
    while !batch.is_empty() {
        let mut chunk = batch.drain(..batch.len().min(CHUNK)).collect();
        publish(&context, &mut chunk).await;
    }
}

impl Inbox {
    fn grant(&self, room: i64) {
        self.room.left.store(room, Ordering::Relaxed);
        let missed = self.room.missed.swap(0, Ordering::Relaxed);
        if missed > 0 {
            tracing::warn!(
                events = missed,
                "more happened than could be told; the counts in the store are whole"
            );
        }
    }
}

/// Sends a message and empties the batch; returns whether anybody heard it. A failure is as good
/// as nobody listening: the heartbeat tells of it in the log.
async fn publish(context: &Context, batch: &mut Vec<Event>) -> bool {
    let news = EventBatch::new(context.id.as_str(), std::mem::take(batch));
    context
        .store
        .publish(&news)
        .await
        .is_ok_and(|listeners| listeners > 0)
}

/// Fills the batch with what else comes within the time an event may wait.
async fn gather(events: &mut mpsc::UnboundedReceiver<Event>, batch: &mut Vec<Event>) {
    let deadline = tokio::time::Instant::now() + FLUSH;
    while batch.len() < CHUNK {
        let room = CHUNK - batch.len();
        match tokio::time::timeout_at(deadline, events.recv_many(batch, room)).await {
            Ok(n) if n > 0 => {}
            _ => return,
        }
    }
}
