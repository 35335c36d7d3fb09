//! SIGTERM and SIGINT: the first asks to stop, the second to hurry, the third ends the process.
//! SIGHUP: the files of the Redis login are read again.

use crate::log;
use bridge_shared::store::Store;
use tokio::signal::unix::{SignalKind, signal};

/// Hears the signals from now on; each of the first two is told by its name. `last` is what the third
/// does before it ends the process. Must be called within the runtime that is to hear them.
pub(crate) fn listen(
    stop: impl FnOnce(&'static str) + Send + 'static,
    hurry: impl FnOnce(&'static str) + Send + 'static,
    last: impl Future<Output = ()> + Send + 'static,
) {
    let (Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be heard; the process will only stop when it is killed");
        return;
    };
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        stop(next().await);
        hurry(next().await);
        next().await;
        last.await;
        log::exit(130);
    });
}

/// Reads the files of the Redis login again at each SIGHUP, until the process ends.
pub(crate) fn log_in_again_on_hangup(store: Store) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be heard; changed login files count from the next login on");
        return;
    };
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            log_in_again(&store).await;
        }
    });
}

/// Reads the files of the Redis login again; a login that fails is told, and changes nothing.
pub(crate) async fn log_in_again(store: &Store) {
    match store.log_in_again().await {
        Ok(true) => tracing::info!("logged in to Redis again with the login files as they are now"),
        Ok(false) => {}
        Err(error) => {
            tracing::error!("{error}");
            tracing::error!("the new Redis login is refused; the connections in use stay");
        }
    }
}
