//! How the bridge is, for people, balancers and whoever restarts it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bridge_shared::VERSION;
use bridge_shared::findings::{Finding, of_redis};
use bridge_shared::status::Status;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::problem::{Answer, Problem};
use crate::health::Reader;

/// How long Redis may take to answer whether it does.
const SOON: Duration = Duration::from_secs(2);

/// The process is there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alive {
    status: &'static str,
    version: &'static str,
}

/// Whether requests and leads are served.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Whether Redis can be used.
    redis: bool,
    /// The pipeline in force, of a process that works on leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline: Option<String>,
    /// What is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What is wrong with Redis though it can be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Depths, rates, totals and workers, as `bridge status --json` gives them.
#[utoipa::path(get, path = "/status", tag = "figures", responses((status = OK, body = Status)))]
pub(super) async fn status(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    api.fresh().await?;
    let condition = api.looks.look(&api.store).await?;
    let snapshot = api.snapshot().await?;
    Ok(Answer(Status::new(&snapshot, &condition)).into_response())
}

/// Whether the process is there. Needs no token.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = OK, body = Alive)), security(()))]
pub(super) async fn healthz() -> Answer<Alive> {
    Answer(Alive {
        status: "ok",
        version: VERSION,
    })
}

/// Whether Redis can be used and, in a process that works on leads, whether it works on them.
/// Needs no token.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = OK, body = Readiness), (status = SERVICE_UNAVAILABLE, body = Readiness),
))]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    // Whether it worked, the check says.
    let check = async {
        let _ = api.fresh().await;
        api.store.check().await?;
        api.looks.look(&api.store).await
    };
    let away = "Redis cannot be used; the log says why".to_owned();
    let mut warnings = Vec::new();
    // Why not, for the log, and in words that anybody may read.
    let redis = match tokio::time::timeout(SOON, check).await {
        Ok(Ok(condition)) => {
            let found = of_redis(&condition, &[]);
            let (stops, harmless): (Vec<Finding>, _) =
                found.into_iter().partition(Finding::stops_work);
            warnings.extend(harmless.into_iter().map(|finding| finding.text));
            let stop = stops.into_iter().next();
            stop.map(|stop| (format!("{}. {}", stop.text, stop.remedy), public(&stop)))
        }
        Ok(Err(error)) => Some((error.to_string(), away)),
        Err(_) => Some((format!("no answer within {} s", SOON.as_secs()), away)),
    };
    if let Some((why, _)) = &redis {
        // Said here and not in the answer, which anybody may read.
        tracing::warn!("not ready: {why}");
    }
    let working = api.worker.as_ref().map(Reader::standing);
    let (pipeline, trouble) = match working {
        None => (None, None),
        Some(Ok(pipeline)) => (Some(pipeline), None),
        Some(Err(why)) => (None, Some(why.to_owned())),
    };
    let is_usable = redis.is_none();
    let detail = match (redis, trouble) {
        (Some((_, public)), _) => Some(public),
        (None, trouble) => trouble,
    };
    let ready = Readiness {
        ready: detail.is_none() && !api.stop.is_cancelled(),
        redis: is_usable,
        pipeline,
        detail,
        warnings,
    };
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Answer(ready)).into_response()
}

/// What stops the work, without names and the server's own words.
fn public(finding: &Finding) -> String {
    let what = match finding.name {
        "writes_refused" => "Redis refuses writes",
        "wrong_type" => "a key of the bridge holds something else",
        "stream_full" => "the stream of enriched leads takes no more",
        _ => "Redis refuses scripts",
    };
    format!("{what}; the log says why")
}
