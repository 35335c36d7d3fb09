//! The HTTP API: dead letters, leads and figures for programs that speak no Redis.
//!
//! - `server`: connections, and the way out
//! - `strangers`: places for connections, apart for those that have not shown that they may ask
//! - `guard`: who may ask
//! - `dead_letters`, `leads`, `events`, `status`: the answers
//! - `look`: the state of Redis, once a second at most
//! - `prometheus`, `page`: figures for Prometheus
//! - `problem`: errors, as RFC 9457 tells them
//! - `request`: what is known of every request: its id, its time, its end
//!
//! It holds nothing: all that it says comes from Redis, and so any number of them may run, beside a
//! worker or alone.

mod dead_letters;
mod events;
mod guard;
mod leads;
mod look;
mod page;
mod problem;
mod prometheus;
mod request;
mod server;
mod status;
mod strangers;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::{Router, middleware};
use bridge_shared::clock::Millis;
use bridge_shared::stats::Snapshot;
use bridge_shared::store::produce::Durability;
use bridge_shared::store::survey::Survey;
use bridge_shared::store::{Store, StoreError};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::csrf::CsrfLayer;
use tower_http::limit::RequestBodyLimitLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::health::Reader;
use crate::pipeline::Ledger;
use problem::Problem;
use prometheus::Recorder;

pub(crate) use guard::Guard;

/// Bytes of a body where none is needed.
const SMALL_BODY: usize = 64 << 10;
/// Uploads of leads at once.
const UPLOADS: usize = 32;
/// Readers of events at once.
const STREAMS: usize = 64;

/// How often it is tried whether Redis answers again, before what was asked for fails.
const FRESH_TRIES: u32 = 3;
/// Between two of these tries.
const FRESH_PAUSE: Duration = Duration::from_millis(50);
/// How long an answer waits for a search for in-flight leads of workers that are not registered, which
/// goes on behind it.
const SEARCH_WAIT: Duration = Duration::from_millis(300);
/// How often the figures of this process are made smaller.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// How to serve.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where to listen: address and port.
    pub(crate) listen: String,
    /// Who may ask.
    pub(crate) guard: Guard,
    /// Whether it may listen where others can reach it, without a token.
    pub(crate) insecure: bool,
    /// How many leads may wait before no more are taken.
    pub(crate) max_waiting: Option<u64>,
    /// How safe leads must be before they are accepted, unless a request says otherwise.
    pub(crate) durability: Durability,
    /// Between two signs of life of a stream of events.
    pub(crate) heartbeat: Duration,
}

/// A worker that serves beside its work.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    /// How it is.
    pub(crate) health: Reader,
    /// What its stations did.
    pub(crate) ledger: Arc<Ledger>,
}

/// What every answer needs.
struct Api {
    store: Store,
    survey: Arc<Survey>,
    /// Who changes things here, for the audit.
    who: String,
    worker: Option<Reader>,
    max_waiting: Option<u64>,
    durability: Durability,
    heartbeat: Duration,
    figures: prometheus::Figures,
    looks: look::Looks,
    uploads: Arc<Semaphore>,
    dedupe: Semaphore,
    streams: Arc<Semaphore>,
    /// Work that goes on when its caller hangs up.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Api {
    /// Makes sure of the connection before anything is done, and says what time it is on the
    /// server: after a restart of Redis the first call finds the old connection broken.
    async fn fresh(&self) -> Result<Millis, Problem> {
        for _ in 0..FRESH_TRIES {
            match self.store.observe_time().await {
                Err(error) if error.is_transient() => tokio::time::sleep(FRESH_PAUSE).await,
                answer => return Ok(answer?),
            }
        }
        Ok(self.store.observe_time().await?)
    }

    /// Reads every figure, with the in-flight leads of workers that are not registered.
    async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.survey.settled(SEARCH_WAIT).await
    }
}

/// An API that has its address and does not answer yet.
pub(crate) struct Server {
    listener: TcpListener,
    settings: Settings,
    recorder: Recorder,
}

impl Server {
    /// Takes the address and begins to measure.
    ///
    /// # Errors
    /// One line that says why it cannot listen there, or may not.
    pub(crate) async fn bind(settings: Settings) -> Result<Self, String> {
        let open = !settings.guard.has_token() && !settings.insecure;
        let listener = server::bind(&settings.listen, open).await?;
        let recorder = Recorder::install()?;
        Ok(Self {
            listener,
            settings,
            recorder,
        })
    }

    /// Serves until the stop, and then until the requests under way have their answers.
    pub(crate) async fn serve(self, store: Store, beside: Option<Beside>, stop: CancellationToken) {
        let guard = Arc::new(self.settings.guard);
        if !guard.has_token() {
            tracing::warn!("the API is open to whoever reaches it: BRIDGE_API_TOKEN is not set");
        } else if guard.has_public_read() {
            tracing::warn!(
                "reading needs no token: BRIDGE_API_PUBLIC_READ or --public-read is set; whoever reaches the API can read leads"
            );
        }
        let address = self
            .listener
            .local_addr()
            .map(|address| address.to_string());
        tracing::info!(address = address.unwrap_or_default(), "the API listens");
        let tasks = TaskTracker::new();
        let health = beside.as_ref().map(|beside| beside.health.clone());
        let figures = prometheus::Figures::new(store.clone(), self.recorder, beside);
        let survey = Arc::new(Survey::new(store.clone()));
        let api = Arc::new(Api {
            store,
            survey: Arc::clone(&survey),
            who: format!("api@{}", gethostname::gethostname().to_string_lossy()),
            worker: health,
            max_waiting: self.settings.max_waiting,
            durability: self.settings.durability,
            heartbeat: self.settings.heartbeat,
            figures,
            looks: look::Looks::default(),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            dedupe: Semaphore::new(1),
            streams: Arc::new(Semaphore::new(STREAMS)),
            tasks: tasks.clone(),
            stop: stop.clone(),
        });
        let tidying = AbortOnDropHandle::new(tokio::spawn(tidy(Arc::clone(&api))));
        let searching =
            AbortOnDropHandle::new(tokio::spawn(async move { survey.run(|| ()).await }));
        let router = router(api, Arc::clone(&guard));
        server::serve(self.listener, router, guard, stop, tasks).await;
        drop((tidying, searching));
        tracing::info!("the API stopped");
    }
}

/// Takes note of what was counted before, and keeps the figures small while nobody asks.
async fn tidy(api: Arc<Api>) {
    api.figures.begin().await;
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        api.figures.tidy();
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Redis Bridge",
        description = "Leads in, dead letters back to work, and figures. Errors are problem details (RFC 9457). Where the bridge has a token, send it as `Authorization: Bearer TOKEN`."
    ),
    security((), ("token" = [])),
)]
struct Description;

fn router(api: Arc<Api>, guard: Arc<Guard>) -> Router {
    let small = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(dead_letters::items))
        .routes(routes!(dead_letters::failed_leads))
        .routes(routes!(dead_letters::count))
        .routes(routes!(dead_letters::retry_at))
        .routes(routes!(dead_letters::retry))
        .routes(routes!(dead_letters::retry_all))
        .routes(routes!(dead_letters::clear))
        .routes(routes!(status::status))
        .routes(routes!(status::healthz))
        .routes(routes!(status::readyz))
        .routes(routes!(events::events))
        .routes(routes!(prometheus::metrics))
        .layer(RequestBodyLimitLayer::new(SMALL_BODY));
    let (router, mut description) = small.routes(routes!(leads::push)).split_for_parts();
    description
        .components
        .get_or_insert_default()
        .add_security_scheme(
            "token",
            SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
        );
    for path in description.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            responses.insert("default".into(), problem::described().into());
        }
    }
    let description = description.to_json().expect("a description is always JSON");
    router
        .route(
            "/openapi.json",
            axum::routing::get(async |State(json): State<Bytes>| {
                ([(header::CONTENT_TYPE, "application/json")], json).into_response()
            })
            .with_state(Bytes::from(description)),
        )
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .with_state(api)
        .layer(CsrfLayer::new().with_rejection_response(guard::cross_site))
        .layer(middleware::from_fn_with_state(guard, guard::check))
        .layer(middleware::map_response(request::as_problem))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(request::observe))
}
