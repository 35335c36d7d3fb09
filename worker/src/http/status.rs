//! How the bridge is, for people, balancers and whoever restarts it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bridge_shared::VERSION;
use bridge_shared::stats;
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
}

/// Depths, rates, totals and workers, as `bridge status --json` gives them.
#[utoipa::path(get, path = "/status", tag = "figures", responses((status = OK, body = stats::Status)))]
pub(super) async fn status(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    api.fresh().await?;
    let snapshot = api.store.snapshot().await?;
    Ok(Answer(snapshot.status()).into_response())
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
        api.store.check().await
    };
    let redis = match tokio::time::timeout(SOON, check).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer within {} s", SOON.as_secs())),
    };
    if let Some(why) = &redis {
        // Said here and not in the answer, which anybody may read.
        tracing::warn!("not ready: {why}");
    }
    let working = api.worker.as_ref().map(Reader::standing);
    let (pipeline, trouble) = match working {
        None => (None, None),
        Some(Ok(pipeline)) => (Some(pipeline), None),
        Some(Err(why)) => (None, Some(why.to_owned())),
    };
    let detail = match (&redis, trouble) {
        (Some(_), _) => Some("Redis cannot be used; the log says why".to_owned()),
        (None, trouble) => trouble,
    };
    let ready = Readiness {
        ready: detail.is_none() && !api.stop.is_cancelled(),
        redis: redis.is_none(),
        pipeline,
        detail,
    };
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Answer(ready)).into_response()
}
