//! Searches for in-flight leads of workers that are not registered, and registers those workers, so that
//! the recoverer finds them. One worker of the fleet searches at a time.

use bridge_shared::store::StoreError;
use bridge_shared::store::lost_property::{DENIED_PAUSE, STEP_PAUSE};
use std::sync::Arc;

use super::grace::time_to_renew;
use super::{Backoff, Context};

/// Searches about once a lease, unless another worker does.
pub(super) async fn run(context: Arc<Context>) {
    let lease = context.settings.lease;
    let mut backoff = Backoff::default();
    let mut is_denied = false;
    let mut pulse = context.pulse.subscribe();
    let heard = pulse.wait_for(Option::is_some);
    if context.end.run_until_cancelled(heard).await.is_none() {
        return;
    }
    loop {
        let mut pause = lease.mul_f64(1.0 + fastrand::f64() * 0.1);
        match context.end.run_until_cancelled(search(&context)).await {
            None => return,
            Some(Ok(())) => {
                is_denied = false;
                backoff.reset("search for leads without a worker");
            }
            Some(Err(error @ StoreError::NotAllowed { .. })) => {
                if !std::mem::replace(&mut is_denied, true) {
                    tracing::warn!(
                        "leads of workers whose registration was deleted are not searched for: {error}"
                    );
                }
                pause = DENIED_PAUSE;
            }
            Some(Err(error)) => backoff.tell(&error, "search for leads without a worker"),
        }
        let wait = tokio::time::sleep(pause);
        if context.end.run_until_cancelled(wait).await.is_none() {
            return;
        }
    }
}

async fn search(context: &Context) -> Result<(), StoreError> {
    let (store, lease) = (&context.store, context.settings.lease);
    if !store.may_search(lease).await? {
        return Ok(());
    }
    let mut cursor = 0;
    loop {
        let (next, workers) = store.scan_workers(cursor).await?;
        if !workers.is_empty() {
            for (worker, leads) in store.adopt(&workers, time_to_renew(lease)).await? {
                tracing::warn!(
                    worker,
                    leads,
                    "leads of a worker whose registration was deleted; they go to others unless it comes back"
                );
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
        tokio::time::sleep(STEP_PAUSE).await;
    }
}
