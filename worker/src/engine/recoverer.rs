//! Brings the leads of dead workers back to work.

use std::sync::Arc;

use bridge_shared::event::EventKind;
use bridge_shared::store::StoreError;
use bridge_shared::store::work::Recovery;

use super::runner::bereaved;
use super::{Backoff, Context};

/// Deaths of workers after which a lead is given up as poison.
pub(super) const DEATHS: u32 = 3;

/// Looks at every pulse for workers whose lease has run out.
pub(super) async fn run(context: Arc<Context>) {
    let mut pulse = context.pulse.subscribe();
    let mut backoff = Backoff::default();
    while let Some(Ok(())) = context.end.run_until_cancelled(pulse.changed()).await {
        let expired = pulse
            .borrow_and_update()
            .as_ref()
            .map(|pulse| pulse.expired.clone());
        for worker in expired.unwrap_or_default() {
            match recover(&context, &worker).await {
                Ok(()) => backoff.reset("recovery"),
                // The worker is still expired at the next pulse.
                Err(error) => backoff.tell(&error, "recovery"),
            }
        }
    }
}

async fn recover(context: &Context, worker: &str) -> Result<(), StoreError> {
    let numbers = context.store.held(worker).await?;
    let mut moved = 0;
    // The youngest first: each goes to the front of the line, so the oldest is there at the end.
    let youngest_first: Vec<u64> = numbers.iter().rev().copied().collect();
    let whole = context.settings.whole();
    let mut hands = context.store.hands(worker, &youngest_first, whole);
    while let Some(found) = hands.next().await? {
        let now = context.store.now();
        let mut told = Vec::with_capacity(found.len());
        let mut recoveries = Vec::with_capacity(found.len());
        for delivery in found {
            let (number, is_whole) = (delivery.number, delivery.is_whole());
            let envelope = bereaved(&delivery, worker, now);
            let dead = is_whole && envelope.deaths >= DEATHS;
            recoveries.push(Recovery {
                number,
                dead,
                // One that is too large is never read by a worker, so it cannot have killed one.
                envelope: is_whole.then(|| envelope.encode()),
            });
            told.push((envelope.id, dead, envelope.error));
        }
        let Some(done) = context.store.recover(worker, &recoveries).await? else {
            tracing::info!(worker, "a worker that seemed dead is alive");
            return Ok(());
        };
        moved += done.len();
        let now = context.store.now();
        for (recovery, (id, dead, error)) in recoveries.iter().zip(&told) {
            if done.contains(&recovery.number) {
                let kind = if *dead {
                    EventKind::Dead
                } else {
                    EventKind::Recovered
                };
                context.emit(now, kind, id, |news| news.error = Some(error));
            }
        }
    }
    if numbers.is_empty() {
        context.store.recover(worker, &[]).await?;
    }
    tracing::warn!(
        worker,
        leads = moved,
        "a worker died; its leads are waiting again"
    );
    Ok(())
}
