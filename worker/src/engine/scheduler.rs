//! Puts retries back into the waiting list when they are due.

use std::sync::Arc;
use std::time::Duration;

use bridge_shared::clock::Millis;
use tokio::sync::mpsc;

use super::{Backoff, Context};
use crate::health::Task;

/// Retries moved in one step.
const BATCH: usize = 200;
/// How far ahead the scheduler ever sleeps; the next pulse tells more.
const HORIZON: Duration = Duration::from_secs(3600);

/// Sleeps until the next retry is due, as the pulse and this worker's own commits tell.
pub(super) async fn run(context: Arc<Context>, mut delays: mpsc::UnboundedReceiver<Millis>) {
    let mut pulse = context.pulse.subscribe();
    let mut backoff = Backoff::default();
    let mut next: Option<Millis> = None;
    let mut open = true;
    while !context.end.is_cancelled() {
        let until = next.map_or(HORIZON, |due| {
            Duration::from_millis(u64::try_from(due - context.store.now()).unwrap_or(0))
        });
        tokio::select! {
            () = context.end.cancelled() => return,
            changed = pulse.changed() => {
                if changed.is_err() {
                    return;
                }
                next = pulse.borrow_and_update().as_ref().and_then(|pulse| pulse.next_retry);
            }
            delay = delays.recv(), if open => match delay {
                Some(due) => next = Some(next.map_or(due, |next| next.min(due))),
                None => open = false,
            },
            () = tokio::time::sleep(until.min(HORIZON)), if next.is_some() => {
                match promote(&context).await {
                    Ok(due) => {
                        backoff.reset("retries");
                        context.health.succeeded(Task::Retry);
                        next = due;
                    }
                    Err(error) => {
                        backoff.tell(&error, "retries");
                        context.health.failed(Task::Retry, &error);
                        backoff.wait().await;
                    }
                }
            }
        }
    }
}

/// Moves everything that is due, in steps; returns when the next one is.
async fn promote(context: &Context) -> Result<Option<Millis>, bridge_shared::store::StoreError> {
    loop {
        let (moved, next) = context.store.promote(BATCH).await?;
        if moved < BATCH {
            return Ok(next);
        }
    }
}
