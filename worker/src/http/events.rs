//! What happens, as it happens: server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use bridge_shared::event::EventBatch;
use bridge_shared::store::{Store, StoreError};
use bridge_shared::terminal::harmless_json;
use bytes::Bytes;
use futures::{FutureExt as _, Stream, StreamExt as _};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::Api;
use super::problem::Problem;

/// Messages of workers that may wait for a slow reader.
const BACKLOG: usize = 16;
/// Silence after which the subscription is made anew: a connection whose other end has gone without
/// a word is as silent as a bridge where nothing happens.
const SILENCE: Duration = Duration::from_secs(30);
/// Before the next try where listening failed.
const PAUSE: Duration = Duration::from_secs(1);

/// News of leads, until the reader hangs up. `lost` says how many a slow reader missed, and
/// `interrupted` that Redis was away, so that nobody knows what was missed.
#[utoipa::path(get, path = "/events", tag = "figures", responses(
    (status = OK, body = String, content_type = "text/event-stream"),
    (status = SERVICE_UNAVAILABLE, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn events(
    State(api): State<Arc<Api>>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Problem> {
    let Ok(place) = Arc::clone(&api.streams).try_acquire_owned() else {
        let detail = "as many listen as may listen at once";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5));
    };
    // What goes wrong so far can still be told with a status.
    api.fresh().await?;
    let first = subscribe(&api.store).await?;
    let (sender, news) = mpsc::channel(BACKLOG);
    let pump = Pump {
        store: api.store.clone(),
        news: sender,
        missed: 0,
    };
    let reader = Reader {
        news,
        ready: VecDeque::from([Message::default().comment("listening")]),
        _pump: AbortOnDropHandle::new(tokio::spawn(pump.run(first))),
        _place: place,
    };
    let messages = futures::stream::unfold(reader, async |mut reader| {
        let message = reader.next().await?;
        Some((Ok(message), reader))
    });
    let messages = messages.take_until(api.stop.clone().cancelled_owned());
    let heartbeat = KeepAlive::new().interval(api.heartbeat).text("heartbeat");
    Ok(Sse::new(messages).keep_alive(heartbeat))
}

type Subscription = futures::stream::BoxStream<'static, Bytes>;

async fn subscribe(store: &Store) -> Result<Subscription, StoreError> {
    Ok(store.subscribe().await?.boxed())
}

/// What there is to tell.
enum News {
    Batch(EventBatch),
    /// So many events found no room.
    Missed(u64),
    Interrupted,
}

/// Takes the news from Redis as fast as they come, so that they pile up nowhere.
struct Pump {
    store: Store,
    news: mpsc::Sender<News>,
    /// Events that found no room, and of which the reader does not know yet.
    missed: u64,
}

impl Pump {
    async fn run(mut self, mut batches: Subscription) {
        let news = self.news.clone();
        loop {
            let batch = tokio::select! {
                batch = tokio::time::timeout(SILENCE, batches.next()) => batch,
                room = news.reserve(), if self.missed > 0 => {
                    // Fails only when the reader has hung up, and this task ends with it.
                    if let Ok(room) = room {
                        room.send(News::Missed(std::mem::take(&mut self.missed)));
                    }
                    continue;
                }
            };
            match batch {
                Ok(Some(batch)) => self.pass_on(&batch),
                Ok(None) => batches = self.again().await,
                Err(_) => match subscribe(&self.store).await {
                    Ok(fresh) => {
                        // What came in before the new one began.
                        while let Some(Some(batch)) = batches.next().now_or_never() {
                            self.pass_on(&batch);
                        }
                        batches = fresh;
                    }
                    Err(_) => batches = self.again().await,
                },
            }
        }
    }

    /// Listens again once that works, and says that something may be missing.
    async fn again(&self) -> Subscription {
        loop {
            tokio::time::sleep(PAUSE).await;
            if let Ok(batches) = subscribe(&self.store).await {
                let _ = self.news.send(News::Interrupted).await;
                return batches;
            }
        }
    }

    fn pass_on(&mut self, batch: &Bytes) {
        // A message that is none of ours is no news.
        let Ok(batch) = EventBatch::decode(batch) else {
            return;
        };
        let events = batch.events.len() as u64;
        // What was missed is told first.
        if self.missed > 0 || self.news.try_send(News::Batch(batch)).is_err() {
            self.missed += events;
        }
    }
}

/// A reader's end of it.
struct Reader {
    news: mpsc::Receiver<News>,
    ready: VecDeque<Message>,
    _pump: AbortOnDropHandle<()>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            match self.news.recv().await? {
                News::Batch(batch) => self.ready.extend(batch.events.iter().map(|event| {
                    let mut data = json!(event);
                    data["worker"] = json!(batch.worker);
                    message(event.event.as_str(), &data)
                })),
                News::Missed(events) => {
                    let lost = message("lost", &json!({ "events": events }));
                    self.ready.push_back(lost);
                }
                News::Interrupted => self.ready.push_back(message(
                    "interrupted",
                    &json!({ "detail": "Redis was away; what happened meanwhile is not told" }),
                )),
            }
        }
    }
}

fn message(kind: &str, data: &serde_json::Value) -> Message {
    Message::default()
        .event(kind)
        .data(harmless_json(data.to_string()))
}
