//! Leads in, one or any number of them, in constant memory.
//!
//! A thread reads leads out of the body as it arrives and runs ahead of the pushing by a bounded
//! number of them. Nobody reads on while Redis is slow, and so the sender's connection fills and it
//! waits.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bridge_shared::known::Known;
use bridge_shared::producer::{Producer, next_or_send};
use bridge_shared::source::{Format, Item, Options, Source, SourceError};
use bridge_shared::store::StoreError;
use bridge_shared::store::produce::Durability;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::io::{StreamReader, SyncIoBridge};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::problem::{Answer, Asked, Problem, whole_number, yes_or_no};

/// The longest lead, in bytes.
const LEAD_LIMIT: usize = 1 << 20;
/// Items that the reader may be ahead.
const AHEAD: usize = 64;
/// Silence after which a sender counts as gone.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a batch is sent again, a full waiting list waited out, or another upload with `dedupe`.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most replicas that an upload may wait for.
const MOST_REPLICAS: u32 = 100;
/// The most days that `dedupe` may look back.
const MOST_DAYS: u32 = 36_500;
/// What is read of a body after a mistake in it, in bytes, so that its sender comes to the answer.
const REST: u64 = 64 << 20;
/// How long that may take in all.
const REST_TIME: Duration = Duration::from_secs(60);

/// How to take leads.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct How {
    /// Skip leads whose LinkedIn URL is waiting, in flight, in retry, dead or enriched already.
    /// Looks through all of them first, so send many leads at once.
    #[serde(default, deserialize_with = "yes_or_no")]
    #[param(required = false, value_type = bool)]
    dedupe: bool,
    /// How many days back an enriched lead counts for `dedupe`.
    #[serde(default = "thirty", deserialize_with = "days")]
    #[param(required = false, default = 30, maximum = 36500)]
    dedupe_days: u32,
    /// How many replicas must have the leads before they are accepted: all of them, or a failover
    /// may still lose what was accepted in its last moments. 0 waits for none; without it the
    /// setting of the API counts.
    #[serde(default, deserialize_with = "replicas")]
    #[param(required = false, value_type = u32, maximum = 100)]
    wait_replicas: Option<u32>,
    /// Whether the leads must be on the disk of the primary before they are accepted, and of as many
    /// replicas as `wait_replicas` says: needs Redis 7.2 with `appendonly yes`. Without it the setting
    /// of the API counts.
    #[serde(default, deserialize_with = "maybe")]
    #[param(required = false, value_type = bool)]
    wait_fsync: Option<bool>,
}

fn maybe<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    yes_or_no(from).map(Some)
}

fn replicas<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let replicas = whole_number(from, u64::from(MOST_REPLICAS))?;
    Ok(u32::try_from(replicas).ok())
}

fn thirty() -> u32 {
    30
}

/// Not so many that they lead out of the calendar.
fn days<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let days = whole_number(from, u64::from(MOST_DAYS))?;
    Ok(u32::try_from(days).unwrap_or(MOST_DAYS))
}

/// What only the description of the API needs.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "leads are read as they come, one by one")]
pub(super) enum Leads {
    /// A lead: any fields, those of the wire contract among them.
    One(HashMap<String, serde_json::Value>),
    /// Any number of them.
    Many(Vec<HashMap<String, serde_json::Value>>),
}

/// Leads, one a line. A text: a client that took it for an array would send one.
#[derive(ToSchema)]
#[allow(dead_code, reason = "leads are read as they come, one by one")]
pub(super) struct Lines(String);

/// What was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushAnswer {
    success: bool,
    /// Leads that wait for a worker now, or did for a moment.
    accepted: u64,
    /// Leads that `dedupe` left out.
    skipped: u64,
    /// How many leads waited after the last of them.
    waiting: Option<u64>,
}

/// Takes leads: an object, an array of objects, or objects one after another (NDJSON).
///
/// It stops at the first mistake. What came before it is accepted, and the answer says how many
/// those are, and in which line or element of an array, counted from 1, the mistake is.
#[utoipa::path(post, path = "/leads", tag = "leads", params(How),
    request_body(content(
        (Leads = "application/json", example = json!({"name": "Ada Example", "linkedinUrl": "https://linkedin.com/in/ada-example"})),
        (Lines = "application/x-ndjson", example = "{\"name\": \"Ada Example\"}\n{\"name\": \"Max Example\"}\n"),
    )),
    responses(
        (status = ACCEPTED, body = PushAnswer),
        (status = BAD_REQUEST, description = "The body broke off", body = Problem, content_type = "application/problem+json"),
        (status = REQUEST_TIMEOUT, description = "The body did not go on", body = Problem, content_type = "application/problem+json"),
        (status = PAYLOAD_TOO_LARGE, description = "A lead is too long", body = Problem, content_type = "application/problem+json"),
        (status = UNSUPPORTED_MEDIA_TYPE, body = Problem, content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "A line is no lead", body = Problem, content_type = "application/problem+json"),
        (status = SERVICE_UNAVAILABLE, description = "Redis is away or full, or too many wait", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn push(
    State(api): State<Arc<Api>>,
    Asked(how): Asked<How>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Answer<PushAnswer>), Problem> {
    let format = format(&headers)?;
    let Ok(one_of_few) = Arc::clone(&api.uploads).try_acquire_owned() else {
        return Err(busy("as many uploads as are taken at once are under way"));
    };
    // Until the leads are in, and until nobody reads the body any more.
    let one_of_few = Arc::new(one_of_few);
    let mut known = None;
    if how.dedupe {
        // One look at a time. What others push after it is left out in the step that pushes.
        let turn = tokio::time::timeout(PATIENCE, api.dedupe.acquire()).await;
        let _turn = turn.map_err(|_| busy("another upload looks at what is there"))?;
        api.fresh().await?;
        let scanned = Known::scan(&api.store, how.dedupe_days).await?;
        if let Some(gap) = scanned.gap() {
            tracing::warn!("{gap}");
        }
        known = Some(scanned);
    }
    let durability = Durability {
        replicas: how.wait_replicas.unwrap_or(api.durability.replicas),
        fsync: how.wait_fsync.unwrap_or(api.durability.fsync),
    };
    let seen = Arc::new(Seen::default());
    let body = patient(body, api.stop.clone(), Arc::clone(&seen));
    let mut upload = Upload {
        producer: Producer::new(&api.store, known).waiting_for(durability),
        max_waiting: api.max_waiting,
        accepted: 0,
        skipped: 0,
        waiting: None,
    };
    let mut items = read(body, format, Arc::clone(&one_of_few));
    let taken = upload.all(&mut items, &seen).await;
    metrics::counter!("bridge_http_leads_accepted_total").increment(upload.accepted);
    let empty = format == Format::Values && !seen.anything.load(Ordering::Relaxed);
    let taken = taken.and_then(|()| if empty { Err(nothing()) } else { Ok(()) });
    taken.map_err(|problem| {
        problem
            .with("accepted", upload.accepted)
            .with("skipped", upload.skipped)
    })?;
    let accepted = PushAnswer {
        success: true,
        accepted: upload.accepted,
        skipped: upload.skipped,
        waiting: upload.waiting,
    };
    Ok((StatusCode::ACCEPTED, Answer(accepted)))
}

fn nothing() -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "the body is empty; send a lead, or an array of them",
    )
}

fn busy(why: &str) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{why}; try again in a moment"),
    )
    .retry_after(2)
}

/// What the body is written in.
fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let wrong = |what: &str| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "{what}; send application/json (one object, or an array of them) or application/x-ndjson (one a line)"
            ),
        )
    };
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(wrong("a packed body is not unpacked here"));
    }
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Ok(Format::Values);
    };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/json" => Ok(Format::Values),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines" => Ok(Format::Jsonl),
        _ => Err(wrong(&format!("{essence:?} is no form of leads"))),
    }
}

/// What was seen of a body.
#[derive(Debug, Default)]
struct Seen {
    /// Whether it has anything but blanks.
    anything: AtomicBool,
    /// Why it ended before its end.
    end: AtomicU8,
}

/// The sender hung up, or sent what is no HTTP.
const BROKE: u8 = 0;
/// The sender fell silent.
const SILENT: u8 = 1;
/// The API stops.
const STOPPING: u8 = 2;

/// A body that ends where its sender falls silent, and where the API stops.
fn patient(
    body: Body,
    stop: CancellationToken,
    seen: Arc<Seen>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let frames = Box::pin(body.into_data_stream());
    futures::stream::unfold(Some(frames), move |frames| {
        let (stop, seen) = (stop.clone(), Arc::clone(&seen));
        async move {
            let mut frames = frames?;
            let end = |cause: u8, words: &str| {
                seen.end.store(cause, Ordering::Relaxed);
                Some((Err(io::Error::other(words.to_owned())), None))
            };
            tokio::select! {
                frame = tokio::time::timeout(SILENCE, frames.next()) => match frame {
                    Err(_) => end(SILENT, "silence"),
                    Ok(None) => None,
                    Ok(Some(Err(error))) => end(BROKE, &error.to_string()),
                    Ok(Some(Ok(bytes))) => {
                        if !bytes.trim_ascii().is_empty() {
                            seen.anything.store(true, Ordering::Relaxed);
                        }
                        Some((Ok(bytes), Some(frames)))
                    }
                },
                () = stop.cancelled() => end(STOPPING, "stopping"),
            }
        }
    })
}

/// Starts the reader, which keeps the permit until it ends.
fn read(
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    format: Format,
    permit: Arc<OwnedSemaphorePermit>,
) -> mpsc::Receiver<Item> {
    let (sender, items) = mpsc::channel(AHEAD);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let body = StreamReader::new(Box::pin(body));
        let mut body = SyncIoBridge::new_with_handle(body, runtime.clone());
        let options = Options {
            format: Some(format),
            limit: LEAD_LIMIT,
        };
        for item in Source::new(&mut body, "", &options) {
            let last = item.result.is_err();
            // The other side has ended: nobody wants the rest.
            if sender.blocking_send(item).is_err() || last {
                break;
            }
        }
        drop(sender);
        runtime.block_on(drain(body.into_inner()));
        drop(permit);
    });
    items
}

/// Reads on after a mistake: else the sender would find its connection broken, and no answer.
async fn drain(body: impl AsyncRead + Unpin) {
    let (mut rest, mut nowhere) = (body.take(REST), tokio::io::sink());
    // It fails where the body did.
    let _ = tokio::time::timeout(REST_TIME, tokio::io::copy(&mut rest, &mut nowhere)).await;
}

/// An upload under way.
struct Upload<'a> {
    producer: Producer<'a>,
    max_waiting: Option<u64>,
    accepted: u64,
    skipped: u64,
    waiting: Option<u64>,
}

impl Upload<'_> {
    async fn all(&mut self, items: &mut mpsc::Receiver<Item>, seen: &Seen) -> Result<(), Problem> {
        loop {
            let item = next_or_send(items, async || self.send().await).await?;
            let Some(item) = item else {
                self.send().await?;
                return Ok(());
            };
            match item.result {
                Ok(lead) => self.take(lead).await?,
                Err(error) => {
                    self.send().await?;
                    let why = seen.end.load(Ordering::Relaxed);
                    return Err(mistake((item.line, item.element), &error, why));
                }
            }
        }
    }

    async fn take(&mut self, lead: Bytes) -> Result<(), Problem> {
        if self.producer.knows(&lead) {
            self.skipped += 1;
            return Ok(());
        }
        if self.producer.is_full_for(&lead) {
            self.send().await?;
        }
        self.producer.add(lead);
        Ok(())
    }

    /// Sends what is in hand, as far as there is room.
    async fn send(&mut self) -> Result<(), Problem> {
        while self.producer.gathered() > 0 {
            self.skipped += self.producer.leave_out_known().await? as u64;
            let n = self.producer.gathered().min(self.room().await?);
            if n > 0 {
                let left_out = self.send_batch(n).await?;
                self.skipped += left_out as u64;
                self.accepted += (n - left_out) as u64;
            }
        }
        Ok(())
    }

    /// How many leads may go now; waits until it is at least one.
    async fn room(&self) -> Result<usize, Problem> {
        let Some(max) = self.max_waiting else {
            return Ok(usize::MAX);
        };
        let deadline = Instant::now() + PATIENCE;
        self.producer
            .room(max, Some(deadline))
            .await?
            .ok_or_else(|| {
                let detail = format!("{max} leads wait, and no more are taken for now");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(10)
            })
    }

    /// Sends a batch until it is in, or for as long as patience lasts; returns how many of it
    /// another run had pushed.
    async fn send_batch(&mut self, n: usize) -> Result<usize, Problem> {
        // A server that was reached and whose answer was lost may have done it, and so may a primary
        // whose replicas have not heard of it.
        let is_doubtful = |error: &StoreError| {
            let is_unsafe = matches!(
                error,
                StoreError::TooFewReplicas { .. } | StoreError::NotOnDisk { .. }
            );
            error.is_unreachable() || is_unsafe
        };
        let mut in_doubt = false;
        let again = |error: &StoreError| in_doubt |= is_doubtful(error);
        let pushed = self.producer.send(n, PATIENCE, again).await;
        let pushed = pushed.map_err(|error| {
            let in_doubt = in_doubt || is_doubtful(&error);
            let problem = Problem::from(error);
            if in_doubt {
                problem.with("in_doubt", n)
            } else {
                problem
            }
        })?;
        self.waiting = Some(pushed.waiting);
        Ok(pushed.left_out)
    }
}

/// What is wrong with a line or an element of an array, or with the body from there on.
fn mistake((line, element): (u64, Option<u64>), error: &SourceError, why: u8) -> Problem {
    let status = match (error, why) {
        (SourceError::Read(_), SILENT) => StatusCode::REQUEST_TIMEOUT,
        (SourceError::Read(_), STOPPING) => StatusCode::SERVICE_UNAVAILABLE,
        (SourceError::Read(_), _) => StatusCode::BAD_REQUEST,
        (SourceError::TooLong(_), _) => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let detail = match (error, why) {
        (SourceError::Read(_), SILENT) => {
            format!("the body did not go on within {} s", SILENCE.as_secs())
        }
        (SourceError::Read(_), STOPPING) => "the API is stopping; send the rest again".into(),
        (SourceError::Read(_), _) => "the body broke off".into(),
        // No other file than JSON would do here.
        (SourceError::Packed(kind), _) => format!("{kind}, not text; unpack it before you send it"),
        (SourceError::Binary, _) => "binary data, not text; send JSON in UTF-8".into(),
        _ => match element {
            Some(element) => format!("element {element} of the array, in line {line}: {error}"),
            None => format!("line {line}: {error}"),
        },
    };
    let problem = Problem::new(status, format!("{detail}; what came before was accepted"));
    let problem = problem.with("line", line);
    match element {
        Some(element) => problem.with("element", element),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_where_its_sender_falls_silent() {
        let begun = futures::stream::iter([Ok::<_, io::Error>("{}\n")]);
        let body = Body::from_stream(begun.chain(futures::stream::pending()));
        let seen = Arc::new(Seen::default());
        let stream = patient(body, CancellationToken::new(), Arc::clone(&seen));
        let before = Instant::now();
        let ended: Vec<_> = stream.collect().await;
        assert!(matches!(&ended[..], [Ok(_), Err(_)]), "{ended:?}");
        assert_eq!(before.elapsed().as_secs(), SILENCE.as_secs());
        let why = seen.end.load(Ordering::Relaxed);
        let problem = mistake((2, None), &SourceError::Read("silence".into()), why);
        let status = problem.into_response().status();
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_of_a_refused_body_has_an_end_in_time() {
        let drops = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
        });
        let before = Instant::now();
        drain(StreamReader::new(Box::pin(drops))).await;
        assert_eq!(before.elapsed().as_secs(), REST_TIME.as_secs());
    }

    #[test]
    fn the_content_type_tells_how_leads_are_written() {
        let of = |given: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(header::CONTENT_TYPE, given.parse().expect("a value"));
            }
            format(&headers).ok()
        };
        assert_eq!(of(None), Some(Format::Values));
        assert_eq!(
            of(Some("application/json; charset=utf-8")),
            Some(Format::Values)
        );
        assert_eq!(of(Some("Application/X-NDJSON")), Some(Format::Jsonl));
        assert_eq!(of(Some("application/x-www-form-urlencoded")), None);
        assert_eq!(of(Some("text/plain")), None);
    }
}
