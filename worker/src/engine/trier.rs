//! Tries leads that an operator wants to see along the route before thousands like them are put
//! back to work.

use std::sync::Arc;

use bridge_shared::store::StoreError;

use super::Context;
use crate::pipeline::trial::{self, Limits};

/// Tries what there is to be tried, one lead at a time, whenever the heartbeat has heard of some.
/// Also while work is paused: that is when it is looked into.
pub(super) async fn run(context: Arc<Context>) {
    let mut pulse = context.pulse.subscribe();
    while let Some(Ok(())) = context.end.run_until_cancelled(pulse.changed()).await {
        let wanted = pulse
            .borrow_and_update()
            .as_ref()
            .is_some_and(|pulse| pulse.trials > 0);
        if wanted && let Some(Err(error)) = context.end.run_until_cancelled(try_all(&context)).await
        {
            tracing::warn!("a lead could not be tried: {error}");
        }
    }
}

async fn try_all(context: &Context) -> Result<(), StoreError> {
    let store = &context.store;
    while let Some(question) = store.take_trial().await? {
        let pipeline = context.pipeline();
        let limits = Limits {
            time: context.settings.lead_timeout,
            bytes: context.settings.max_lead_bytes,
        };
        let lead = &question.lead;
        let tried = trial::run(&pipeline, Some(store), &context.ledger, lead, limits).await;
        store
            .answer_trial(&question.token, &tried.to_string())
            .await?;
    }
    Ok(())
}
