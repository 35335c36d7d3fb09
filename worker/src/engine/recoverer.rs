//! Brings the leads of dead workers back to work.

use std::sync::Arc;

use bridge_shared::clock::Millis;
use bridge_shared::envelope::ErrorKind;
use bridge_shared::event::EventKind;
use bridge_shared::store::StoreError;
use bridge_shared::store::work::{Pulse, Recovery};

use super::runner::bereaved;
use super::{Backoff, Context};

/// Deaths of workers after which a lead is given up as poison.
pub(super) const DEATHS: u32 = 3;
/// Time within which these deaths count together.
pub(super) const DEATH_WINDOW_MS: Millis = 72 * 3_600_000;

/// Expired workers that one step looks at: well below 5 ms.
const STEP: usize = 128;
/// Rubbish fields that are moved in one step.
const RUBBISH: usize = 128;

/// Looks at every pulse for workers whose lease has run out.
pub(super) async fn run(context: Arc<Context>) {
    let mut pulse = context.pulse.subscribe();
    let mut backoff = Backoff::default();
    let mut failed = Backoff::default();
    while let Some(Ok(())) = context.end.run_until_cancelled(pulse.changed()).await {
        let expired = pulse.borrow_and_update().clone();
        let Some(pulse) = expired.filter(|pulse| pulse.has_expired) else {
            continue;
        };
        match sweep(&context, &pulse).await {
            Ok(workers) => {
                backoff.reset("recovery");
                for (worker, was_draining) in workers {
                    // One that fails does not keep the others from theirs; it is still expired at the
                    // next pulse.
                    match recover(&context, &pulse, &worker, was_draining).await {
                        Ok(()) => failed.reset("recovery"),
                        Err(error) => failed.tell(&error, "recovery"),
                    }
                }
            }
            Err(error) => backoff.tell(&error, "recovery"),
        }
    }
}

/// The time by the server's clock after which it was moved forward since the heartbeat, so that the
/// leases of living workers seem over; a living worker's has more than half of its length left.
fn latest(context: &Context, pulse: &Pulse) -> Option<Millis> {
    pulse.latest(context.settings.lease / 2)
}

/// Takes the expired workers without leads off the register; returns those with leads, and whether
/// each was stopping.
async fn sweep(context: &Context, pulse: &Pulse) -> Result<Vec<(String, bool)>, StoreError> {
    let mut workers = Vec::new();
    let mut gone = 0;
    loop {
        let by = context.id.as_str();
        let expired = context
            .store
            .expired(by, latest(context, pulse), workers.len(), STEP)
            .await?;
        gone += expired.looked_at - expired.with_leads.len();
        let with_leads = expired.with_leads.into_iter();
        workers.extend(with_leads.map(|(worker, info)| (worker, info.draining)));
        for (key, holds) in &expired.foreign {
            // A worker is taken off the register once, so this is told once.
            tracing::warn!(
                key,
                holds,
                "a lost worker's key for in-flight leads was overwritten by another program with another type; leads that it held are gone. Rename or delete it"
            );
        }
        if expired.looked_at < STEP {
            break;
        }
    }
    if gone > 0 {
        tracing::warn!(workers = gone, "workers died with no lead in flight");
    }
    Ok(workers)
}

async fn recover(
    context: &Context,
    pulse: &Pulse,
    worker: &str,
    was_draining: bool,
) -> Result<(), StoreError> {
    let by = context.id.as_str();
    // Opens its batches, also one whose number was deleted with the hash. Only this call asks whether the
    // clock was moved: those with leads may travel for longer than a lease.
    let latest = latest(context, pulse);
    if context
        .store
        .recover(worker, by, latest, &[], &[])
        .await?
        .is_none()
    {
        return Ok(());
    }
    let (numbers, rubbish) = context.store.held_and_rubbish(worker).await?;
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
            let mut envelope = bereaved(&delivery, worker, was_draining, now);
            envelope.queue.clone_from(&context.store.keys().queue);
            let dead = is_whole && envelope.error_kind == ErrorKind::Poison;
            recoveries.push(Recovery {
                number,
                dead,
                // One that is too large is never read by a worker, so it cannot have killed one.
                envelope: is_whole.then(|| envelope.encode()),
            });
            told.push((envelope.id, dead, envelope.error));
        }
        let Some(done) = context
            .store
            .recover(worker, by, None, &recoveries, &[])
            .await?
        else {
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
                if *dead {
                    context.deaths.note("", ErrorKind::Poison, error);
                }
                context.emit(now, kind, id, |news| news.error = Some(error));
            }
        }
    }
    for fields in rubbish.chunks(RUBBISH) {
        context.store.recover(worker, by, None, &[], fields).await?;
    }
    if !rubbish.is_empty() {
        tracing::warn!(
            worker,
            fields = rubbish.len(),
            "what stood among the leads of a dead worker under no delivery's number is in the dead letters"
        );
    }
    tracing::warn!(
        worker,
        leads = moved,
        "a worker died; its leads are waiting again"
    );
    Ok(())
}
