//! The dead letter queue, as its old readers know it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bridge_shared::clock::Millis;
use bridge_shared::filter::Filter;
use bridge_shared::row::Row;
use bridge_shared::store::dead_letters::{DeadLetter, DeadWalk, Destination, Looked, token};
use bridge_shared::store::{Store, StoreError};
use bridge_shared::terminal::harmless_json;
use bridge_shared::triage::{Matching, Move, OfAnother, Report, SCAN_WINDOW, WINDOW};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::problem::{Answer, Asked, Named, Problem, whole_number, yes_or_no};

/// The furthest place that Redis can be asked for.
const LAST_PLACE: u64 = i64::MAX as u64;

/// Which dead letters.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Window {
    /// How many at most; 50 of `/dlq/items`, 100 of `/dlq`.
    #[serde(default, deserialize_with = "some_places")]
    #[param(required = false)]
    limit: Option<u64>,
    /// How many to pass over, of those that match.
    #[serde(default, deserialize_with = "places")]
    #[param(required = false, default = 0)]
    offset: u64,
    /// Only those that match, as in `bridge dlq list --filter`.
    #[serde(default)]
    #[param(required = false, example = "error:\"HTTP 503\" age:>1h")]
    filter: String,
}

/// So many places of the list, as far as Redis can count.
fn places<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    whole_number(from, LAST_PLACE)
}

fn some_places<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    places(from).map(Some)
}

/// No parameters: where something is changed, one that is not known may be a misspelt one that was
/// to spare something.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// What only the description of the API needs.
#[derive(ToSchema)]
#[allow(
    dead_code,
    clippy::struct_field_names,
    reason = "rows are sent as they are read, one by one, under the names of the API"
)]
pub(super) struct Items<'a> {
    items: Vec<Row<'a>>,
    /// How many dead letters there are in all.
    total: u64,
    /// How many were too large to be looked into for the filter; only where there are some.
    too_large: Option<u64>,
}

/// The same under the name that `/dlq` has for it.
#[derive(ToSchema)]
#[allow(
    dead_code,
    clippy::struct_field_names,
    reason = "rows are sent as they are read, one by one, under the names of the API"
)]
pub(super) struct FailedLeads<'a> {
    failed_leads: Vec<Row<'a>>,
    /// How many dead letters there are in all.
    total: u64,
    /// How many were too large to be looked into for the filter; only where there are some.
    too_large: Option<u64>,
}

/// How many dead letters there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountAnswer {
    count: u64,
}

/// What came of putting dead letters back to work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetryAnswer {
    success: bool,
    message: String,
    retried_count: u64,
    /// The ids of what cannot be a lead and stayed.
    kept: Vec<String>,
    /// The ids of what somebody else took first.
    gone: Vec<String>,
    /// What came from another queue and stayed.
    other_queue: Vec<OfAnother>,
    /// The ids of what is too large to be looked into for the filter and stayed.
    too_large: Vec<String>,
}

/// What came of throwing everything away.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClearAnswer {
    success: bool,
    message: String,
    cleared: u64,
    /// Where it is for a day: `bridge dlq restore` brings it back by this name.
    trash: Option<String>,
}

/// What the caller saw.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Expected {
    /// The id that stood at the index; where another one stands there by now nothing happens.
    expect: Option<String>,
    /// Put it into this queue even if it came from another one.
    #[serde(default, deserialize_with = "yes_or_no")]
    #[param(required = false, value_type = bool)]
    into_this_queue: bool,
}

/// Which dead letters go back.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only those that match, as in `bridge dlq list --filter`.
    #[serde(default)]
    #[param(required = false)]
    filter: String,
    /// Put even those that came from another queue into this one.
    #[serde(default, deserialize_with = "yes_or_no")]
    #[param(required = false, value_type = bool)]
    into_this_queue: bool,
}

/// Where a dead letter may go.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Allowed {
    /// Put it into this queue even if it came from another one.
    #[serde(default, deserialize_with = "yes_or_no")]
    #[param(required = false, value_type = bool)]
    into_this_queue: bool,
}

/// Dead letters, the newest first.
#[utoipa::path(get, path = "/dlq/items", tag = "dead letters", params(Window), responses(
    (status = OK, body = Items), (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn items(
    State(api): State<Arc<Api>>,
    Asked(window): Asked<Window>,
) -> Result<Response, Problem> {
    rows(&api, "items", 50, &window).await
}

/// The same as `/dlq/items`, under other names.
#[utoipa::path(get, path = "/dlq", tag = "dead letters", params(Window), responses(
    (status = OK, body = FailedLeads), (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn failed_leads(
    State(api): State<Arc<Api>>,
    Asked(window): Asked<Window>,
) -> Result<Response, Problem> {
    rows(&api, "failed_leads", 100, &window).await
}

/// How many dead letters there are.
#[utoipa::path(get, path = "/dlq/count", tag = "dead letters", responses((status = OK, body = CountAnswer)))]
pub(super) async fn count(State(api): State<Arc<Api>>) -> Result<Answer<CountAnswer>, Problem> {
    api.fresh().await?;
    let count = api.store.dead_count().await?;
    Ok(Answer(CountAnswer { count }))
}

/// Puts the dead letter at an index back to work, 0 the newest.
#[utoipa::path(post, path = "/dlq/retry/{item_index}", tag = "dead letters", params(("item_index" = u64, Path), Expected), responses(
    (status = OK, body = RetryAnswer),
    (status = BAD_REQUEST, description = "It cannot be a lead", body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, description = "Beyond the end", body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, description = "Another one stands there by now, or it came from another queue", body = Problem, content_type = "application/problem+json"),
    (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn retry_at(
    State(api): State<Arc<Api>>,
    Named(index): Named<u64>,
    Asked(expected): Asked<Expected>,
) -> Result<Answer<RetryAnswer>, Problem> {
    api.fresh().await?;
    let (total, letters) = if index < LAST_PLACE {
        api.store.dead_window(index, 1).await?
    } else {
        (api.store.dead_count().await?, Vec::new())
    };
    let Some(letter) = letters.into_iter().next() else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("there is no index {index}: the dead letter queue has {total}, counted from 0"),
        ));
    };
    if let Some(expect) = expected.expect
        && expect != letter.id()
    {
        let detail = format!(
            "the list has changed: at {index} is now {}; look it up again, or retry by id",
            letter.id()
        );
        return Err(Problem::new(StatusCode::CONFLICT, detail).with("found", letter.id()));
    }
    retry_one(&api, letter, expected.into_this_queue).await
}

/// Puts the dead letter of an id back to work.
#[utoipa::path(post, path = "/dlq/items/{id}/retry", tag = "dead letters", params(("id" = String, Path), Allowed), responses(
    (status = OK, body = RetryAnswer),
    (status = BAD_REQUEST, description = "It cannot be a lead", body = Problem, content_type = "application/problem+json"),
    (status = NOT_FOUND, description = "None has this id", body = Problem, content_type = "application/problem+json"),
    (status = CONFLICT, description = "Somebody else was faster, or it came from another queue", body = Problem, content_type = "application/problem+json"),
    (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    Named(id): Named<String>,
    Asked(allowed): Asked<Allowed>,
) -> Result<Answer<RetryAnswer>, Problem> {
    api.fresh().await?;
    let found = api.store.find_dead(std::slice::from_ref(&id)).await?;
    let Some(letter) = found.into_iter().next() else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            format!("no dead letter has the id {id}; /dlq/items lists those there are"),
        ));
    };
    retry_one(&api, letter, allowed.into_this_queue).await
}

async fn retry_one(
    api: &Api,
    letter: DeadLetter,
    into_this_queue: bool,
) -> Result<Answer<RetryAnswer>, Problem> {
    let id = letter.id().to_owned();
    let mut progress = |_| true;
    let mut work = api.redrive(&mut progress, into_this_queue);
    let moved = work.letters(vec![letter]).await;
    moved.map_err(|error| unsure(error, &id))?;
    let report = work.report;
    if !report.refused.is_empty() {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "{id} cannot be a lead, so it stays; `bridge dlq retry --force` puts it back all the same"
            ),
        ));
    }
    if let Some(other) = report.other_queue.first() {
        let detail = format!(
            "{id} came from the queue {} and not {}, so it stays; retry it there, or here with ?into_this_queue",
            other.queue,
            api.store.keys().queue
        );
        return Err(Problem::new(StatusCode::CONFLICT, detail).with("queue", &*other.queue));
    }
    if report.moved == 0 {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("{id} is no longer there: somebody else was faster"),
        ));
    }
    tracing::info!(id, "a dead letter was put back to work");
    Ok(Answer(retried(report, format!("{id} is back at work"))))
}

/// What went wrong with putting one back. Where the answer was lost it may be done: no header may
/// then invite to do the same again, for at that index may stand another one by now.
fn unsure(error: StoreError, id: &str) -> Problem {
    if !error.is_unreachable() {
        return error.into();
    }
    let detail = format!(
        "{error} Whether {id} was put back to work is not known. Do not ask for its index again, where another one may stand by now; POST /dlq/items/{id}/retry is safe, and says 404 where it was"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("id", id)
}

/// Puts all dead letters back to work, or all that match. What cannot be a lead stays.
#[utoipa::path(post, path = "/dlq/retry-all", tag = "dead letters", params(Which), responses(
    (status = OK, body = RetryAnswer), (status = UNPROCESSABLE_ENTITY, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn retry_all(
    State(api): State<Arc<Api>>,
    Asked(which): Asked<Which>,
) -> Result<Answer<RetryAnswer>, Problem> {
    let wanted = Matching {
        filter: Filter::parse(&which.filter)?,
        ..Matching::default()
    };
    api.fresh().await?;
    // It goes on when the caller hangs up: half of it done is nothing that anybody asked for.
    let work = api.tasks.spawn({
        let api = Arc::clone(&api);
        async move {
            let mut progress = |_| !api.stop.is_cancelled();
            let mut work = api.redrive(&mut progress, which.into_this_queue);
            let ended = work.matching(&wanted).await;
            (work.report, ended)
        }
    });
    let (report, ended) = work.await.map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "a fault of the bridge ended the work; its log says where",
        )
    })?;
    let moved = report.moved;
    tracing::info!(leads = moved, "dead letters were put back to work");
    if let Err(error) = ended {
        let detail = format!("{error} {moved} were put back before that");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with("retried_count", moved)
            .retry_after(1));
    }
    if report.stopped {
        let detail = format!("the API is stopping; {moved} were put back before that");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with("retried_count", moved)
            .retry_after(5));
    }
    let mut message = format!("{moved} back at work");
    if !report.refused.is_empty() {
        let stay = report.refused.len();
        message = format!("{message}; {stay} cannot be a lead and stay");
    }
    if !report.other_queue.is_empty() {
        let others = OfAnother::in_words(&report.other_queue);
        message =
            format!("{message}; {others} stay: retry them there, or here with ?into_this_queue");
    }
    if !report.too_large.is_empty() {
        let stay = report.too_large.len();
        message = format!("{message}; {stay} too large to be looked into stay");
    }
    Ok(Answer(retried(report, message)))
}

fn retried(report: Report, message: String) -> RetryAnswer {
    RetryAnswer {
        success: true,
        message,
        retried_count: report.moved,
        kept: report.refused,
        gone: report.gone,
        other_queue: report.other_queue,
        too_large: report.too_large,
    }
}

/// Throws all dead letters into a trash that is kept for a day.
#[utoipa::path(delete, path = "/dlq/clear", tag = "dead letters", responses((status = OK, body = ClearAnswer)))]
pub(super) async fn clear(
    State(api): State<Arc<Api>>,
    Asked(NoParameters {}): Asked<NoParameters>,
) -> Result<Answer<ClearAnswer>, Problem> {
    api.fresh().await?;
    let name = token();
    // It goes on when the caller hangs up, so that the log has the name.
    let work = api.tasks.spawn({
        let (api, name) = (Arc::clone(&api), name.clone());
        async move {
            let cleared = api.store.clear_dead(&name, &api.who).await;
            match &cleared {
                Ok(cleared) => tracing::info!(cleared, trash = name, "dead letters were cleared"),
                Err(error) => tracing::warn!(trash = name, "clearing dead letters: {error}"),
            }
            cleared
        }
    });
    let unknown = |why: String| {
        let detail = format!(
            "{why} Whether anything was thrown away is not known; what was comes back with: bridge dlq restore {name}"
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with("trash", name.as_str())
    };
    let cleared = match work.await {
        Ok(Ok(cleared)) => cleared,
        Ok(Err(error)) => return Err(unknown(error.to_string())),
        Err(_) => return Err(unknown("A fault of the bridge.".into())),
    };
    let message = if cleared == 0 {
        "there were no dead letters".to_owned()
    } else {
        format!(
            "{cleared} thrown into the trash for a day; bring back with: bridge dlq restore {name}"
        )
    };
    Ok(Answer(ClearAnswer {
        success: true,
        message,
        cleared,
        trash: (cleared > 0).then_some(name),
    }))
}

impl Api {
    fn redrive<'a>(
        &'a self,
        progress: &'a mut (dyn FnMut(u64) -> bool + Send),
        into_this_queue: bool,
    ) -> Move<'a> {
        Move {
            store: &self.store,
            who: self.who.clone(),
            destination: Destination::Redrive,
            force: false,
            into_this_queue,
            progress,
            report: Report::default(),
        }
    }
}

/// Answers with rows, as many as were asked for, in constant memory.
async fn rows(
    api: &Api,
    name: &'static str,
    default_limit: u64,
    window: &Window,
) -> Result<Response, Problem> {
    let filter = Filter::parse(&window.filter)?;
    let limit = window.limit.unwrap_or(default_limit);
    let offset = window.offset;
    let (start, skip, size) = if filter.is_empty() {
        (offset, 0, limit.clamp(1, WINDOW))
    } else {
        (0, offset, SCAN_WINDOW)
    };
    let now = api.fresh().await?;
    let mut listing = Listing {
        store: api.store.clone(),
        walk: api.store.walk_dead_from(start, size),
        filter,
        now,
        skip,
        left: limit,
        too_large: 0,
        begun: false,
    };
    // What goes wrong so far can still be told with a status.
    let mut first = format!("{{\"{name}\":[").into_bytes();
    let more = listing.add(&mut first).await?;
    let store = api.store.clone();
    let end = async move |too_large: u64| -> Result<Bytes, StoreError> {
        let total = store.dead_count().await?;
        let too_large = match too_large {
            0 => String::new(),
            some => format!(",\"too_large\":{some}"),
        };
        Ok(format!("],\"total\":{total}{too_large}}}").into())
    };
    let body = if more {
        let first = Ok::<_, StoreError>(Bytes::from(first));
        let rest = futures::stream::try_unfold(Some((listing, end)), async |state| {
            let Some((mut listing, end)) = state else {
                return Ok(None);
            };
            let mut chunk = Vec::new();
            if listing.add(&mut chunk).await? {
                return Ok(Some((Bytes::from(chunk), Some((listing, end)))));
            }
            chunk.extend_from_slice(&end(listing.too_large).await?);
            Ok(Some((chunk.into(), None)))
        });
        Body::from_stream(futures::StreamExt::chain(
            futures::stream::iter([first]),
            rest,
        ))
    } else {
        first.extend_from_slice(&end(listing.too_large).await?);
        Body::from(first)
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Rows under way.
struct Listing {
    store: Store,
    walk: DeadWalk,
    filter: Filter,
    now: Millis,
    /// Matches that are passed over.
    skip: u64,
    /// Rows that are still wanted.
    left: u64,
    /// How many were too large to be looked into.
    too_large: u64,
    begun: bool,
}

impl Listing {
    /// Adds the rows of the next window; returns whether there may be more.
    async fn add(&mut self, chunk: &mut Vec<u8>) -> Result<bool, StoreError> {
        if self.left == 0 {
            return Ok(false);
        }
        let Some(window) = self.walk.next().await? else {
            return Ok(false);
        };
        for letter in window {
            if self.left == 0 {
                return Ok(false);
            }
            match self
                .store
                .look_into(&self.filter, &letter, self.now)
                .await?
            {
                Looked::Fits(_) => {}
                Looked::Not | Looked::Gone => continue,
                Looked::TooLarge => {
                    self.too_large += 1;
                    continue;
                }
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let row = serde_json::to_string(&Row::new(&letter)).expect("a row is always JSON");
            if std::mem::replace(&mut self.begun, true) {
                chunk.push(b',');
            }
            chunk.extend_from_slice(harmless_json(row).as_bytes());
            self.left -= 1;
        }
        Ok(self.left > 0)
    }
}
