//! SIGTERM and SIGINT: the first asks to stop, the second to hurry, the third ends the process.

use tokio::signal::unix::{SignalKind, signal};

/// Hears the signals from now on; each of the first two is told by its name.
pub(crate) fn listen(
    stop: impl FnOnce(&'static str) + Send + 'static,
    hurry: impl FnOnce(&'static str) + Send + 'static,
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
        std::process::exit(130);
    });
}
