//! Connections: how many, how long, and how they end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::future::{BoxFuture, FutureExt as _, ready};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::guard::Guard;
use super::problem::Problem;
use super::strangers::{Place, Places, STRANGER_TIMEOUT};

/// How long a connection may take for the head of another request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take when the API stops.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Takes an address where the API may listen.
///
/// # Errors
/// One line that says why it cannot, or may not.
pub(super) async fn bind(address: &str, open: bool) -> Result<TcpListener, String> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host(address)
        .await
        .map_err(|error| {
            format!("cannot listen at {address}: {error}. Give an address and a port, such as 127.0.0.1:8000.")
        })?
        .collect();
    if open && found.iter().any(|found| !found.ip().is_loopback()) {
        return Err(format!(
            "the API has no token, so it listens on the loopback only and not at {address}. Set BRIDGE_API_TOKEN, or say --insecure where nobody else can reach it."
        ));
    }
    TcpListener::bind(&*found)
        .await
        .map_err(|error| format!("cannot listen at {address}: {error}. Is another program there?"))
}

/// Serves until the stop, and then until the requests under way have their answers.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    guard: Arc<Guard>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Places::default());
    let graceful = GracefulShutdown::new();
    while let Some(stream) = stop.run_until_cancelled(accept(&listener)).await {
        // Closed at once if there is none.
        let Some(place) = places.enter() else {
            continue;
        };
        // Small answers and events go out at once. Fails only on a broken connection.
        let _ = stream.set_nodelay(true);
        let service = Admission {
            router: TowerToHyperService::new(router.clone()),
            guard: Arc::clone(&guard),
            places: Arc::clone(&places),
            place: Arc::clone(&place),
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        let places = Arc::clone(&places);
        tokio::spawn(async move {
            if let Err(error) = within_its_place(connection, &place).await {
                tracing::debug!("a connection ended: {error}");
            }
            places.leave(&place);
        });
    }
    drop(listener);
    tasks.close();
    let ended = tokio::time::timeout(LAST_ANSWERS, async {
        tokio::join!(graceful.shutdown(), tasks.wait());
    });
    if ended.await.is_err() {
        tracing::warn!("some requests had no answer yet when the API stopped");
    }
}

/// Serves a connection until it ends, or has to: for another one, or because it says nothing.
async fn within_its_place(
    connection: impl Future<Output = hyper::Result<()>>,
    place: &Place,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        () = place.evicted.cancelled() => return Ok(()),
        () = tokio::time::sleep(STRANGER_TIMEOUT) => {}
    }
    if !place.has_spoken() {
        return Ok(());
    }
    tokio::select! {
        ended = connection => ended,
        () = place.evicted.cancelled() => Ok(()),
    }
}

/// Makes a stranger known by the first request that may be made, before it is answered.
#[derive(Debug, Clone)]
struct Admission {
    router: TowerToHyperService<Router>,
    guard: Arc<Guard>,
    places: Arc<Places>,
    place: Arc<Place>,
}

impl Service<Request<Incoming>> for Admission {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let place = Arc::clone(&self.place);
        place.asked();
        let has_place =
            place.is_known() || !self.guard.knows(&request) || self.places.promote(&place);
        if !has_place {
            place.answered();
            let problem = Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the API has too many connections; close some, or ask again later",
            );
            return ready(Ok(problem.into_response())).boxed();
        }
        let answer = self.router.call(request);
        async move {
            let answer = answer.await;
            place.answered();
            answer
        }
        .boxed()
    }
}

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Too many open files, mostly: others end, and then it goes on.
                tracing::warn!("a connection could not be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
