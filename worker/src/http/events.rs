//! What happens, as it happens: server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use bridge_shared::event::EventBatch;
use bridge_shared::store::listen::{Heard, Listener};
use bridge_shared::terminal::harmless_json;
use futures::{Stream, StreamExt as _};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::Api;
use super::problem::Problem;

/// Messages of workers that may wait for a slow reader.
const BACKLOG: usize = 16;
/// News of leads, until the reader hangs up. The name of each is what happened: `received`, `started`,
/// `station`, `succeeded`, `skipped`, `retry_scheduled`, `dead`, `recovered` (taken from a lost worker),
/// `requeued` (handed back by a living one), `lease_lost`, `redriven`, `dropped`; skip those that you do
/// not know, since a newer version may tell more. `lost` says how many a slow reader missed, and
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
    let listener = api.store.listen().await?;
    let (sender, news) = mpsc::channel(BACKLOG);
    let pump = Pump {
        news: sender,
        missed: 0,
    };
    let reader = Reader {
        news,
        ready: VecDeque::from([Message::default().comment("listening")]),
        _pump: AbortOnDropHandle::new(tokio::spawn(pump.run(listener))),
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

/// What there is to tell.
enum News {
    Batch(EventBatch),
    /// So many events found no room.
    Missed(u64),
    Interrupted,
}

/// Takes the news from Redis as fast as they come, so that they pile up nowhere.
struct Pump {
    news: mpsc::Sender<News>,
    /// Events that found no room, and of which the reader does not know yet.
    missed: u64,
}

impl Pump {
    async fn run(mut self, mut listener: Listener) {
        let news = self.news.clone();
        loop {
            let heard = tokio::select! {
                heard = listener.next() => heard,
                room = news.reserve(), if self.missed > 0 => {
                    // Fails only when the reader has hung up, and this task ends with it.
                    if let Ok(room) = room {
                        room.send(News::Missed(std::mem::take(&mut self.missed)));
                    }
                    continue;
                }
            };
            match heard {
                Ok(Heard::Batch(batch)) => self.pass_on(batch),
                // A message that is none of ours is no news.
                Ok(Heard::Unread) => {}
                Ok(Heard::Interrupted) => {
                    let _ = news.send(News::Interrupted).await;
                }
                Err(error) => tracing::warn!(%error, "no events"),
            }
        }
    }

    fn pass_on(&mut self, batch: EventBatch) {
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
