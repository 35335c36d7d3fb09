//! Connections: how many, how long, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once.
const CONNECTIONS: usize = 1_024;
/// How long a connection may take to say what it wants, the first time and between two requests.
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
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    while let Some(Some((stream, place))) =
        stop.run_until_cancelled(accept(&listener, &places)).await
    {
        // Small answers and events go out at once. Fails only on a broken connection.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(
                TokioIo::new(stream),
                TowerToHyperService::new(router.clone()),
            );
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection ended: {error}");
            }
            drop(place);
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

/// The next connection, as soon as there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) => {
                // Too many open files, mostly: others end, and then it goes on.
                tracing::warn!("a connection could not be taken: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
