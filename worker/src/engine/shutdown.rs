//! The signals, and the way out: stop taking leads, finish those in hand, give the rest back.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Context;
use crate::signals;

/// How long the last outcomes may take to be recorded after the time of the leads is up.
pub(super) const LAST_COMMITS: Duration = Duration::from_secs(5);

/// The first SIGTERM or SIGINT stops the worker, the second gives back at once what is in hand,
/// the third ends the process.
pub(super) fn listen(
    stop: CancellationToken,
    give_back: CancellationToken,
    last: impl Future<Output = ()> + Send + 'static,
) {
    signals::listen(
        move |signal| {
            tracing::info!(signal, "stopping: leads in hand are finished first");
            stop.cancel();
        },
        move |signal| {
            tracing::warn!(signal, "stopping at once: leads in hand are given back");
            give_back.cancel();
        },
        last,
    );
}

/// Waits for the end of everything in hand, and gives back what takes too long.
pub(super) async fn drain(
    context: &Arc<Context>,
    fetcher: JoinHandle<()>,
    leads: TaskTracker,
    saver: JoinHandle<()>,
    committer: JoinHandle<()>,
) {
    context.stop.cancelled().await;
    // Said at once: if the worker is killed while it stops, its leads are not to blame.
    context.beat.notify_one();
    let timeout = context.settings.shutdown_timeout;
    let timer = tokio::spawn({
        let context = Arc::clone(context);
        async move {
            tokio::time::sleep(timeout).await;
            context.give_back.cancel();
            tokio::time::sleep(LAST_COMMITS).await;
            tracing::error!(
                "Redis does not take the last outcomes; those leads go to another worker when the lease runs out"
            );
            context.end.cancel();
        }
    });
    // These fail only if the task panicked, which the log has told.
    let _ = fetcher.await;
    leads.close();
    if !leads.is_empty() {
        tracing::info!(
            leads = leads.len(),
            seconds = timeout.as_secs_f64(),
            "finishing leads in hand"
        );
    }
    leads.wait().await;
    let _ = saver.await;
    let _ = committer.await;
    timer.abort();
}

/// Says goodbye to the store.
pub(super) async fn leave(context: &Context) {
    match context.store.leave(context.id.as_str()).await {
        Ok(0) => {}
        Ok(held) => tracing::warn!(
            leads = held,
            "left with leads in hand; another worker takes them"
        ),
        Err(error) => {
            tracing::warn!("could not say goodbye; the lease will run out by itself: {error}");
        }
    }
}
