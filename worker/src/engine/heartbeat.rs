//! Keeps the lease alive, and brings back what the store has to say.

use std::sync::Arc;
use std::time::Instant;

use bridge_shared::VERSION;
use bridge_shared::stats::{WorkerInfo, heartbeat_interval};

use super::grace::Grace;
use super::{Backoff, Context};

/// Beats until the engine ends, on the keeper's thread and its connections: no station holds them
/// up. While Redis is away the others see no pulse.
pub(super) async fn run(context: Arc<Context>) {
    let every = heartbeat_interval(context.settings.lease);
    let mut info = WorkerInfo {
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        pid: std::process::id(),
        version: VERSION.to_owned(),
        started: context.store.now(),
        concurrency: context.settings.concurrency,
        pipeline: String::new(),
        stations: Vec::new(),
        finished: 0,
        draining: false,
        lease_length_ms: u64::try_from(context.settings.lease.as_millis()).unwrap_or(u64::MAX),
        trouble: String::new(),
    };
    let mut backoff = Backoff::default();
    let mut register = true;
    let mut grace = Grace::default();
    while !context.end.is_cancelled() {
        let pipeline = context.pipeline();
        pipeline.name().clone_into(&mut info.pipeline);
        info.stations = pipeline.stations().collect();
        drop(pipeline);
        info.finished = context.totals.finished();
        info.draining = context.stop.is_cancelled();
        info.trouble = context.health.troubles();
        let sent = Instant::now();
        let beat = context
            .keeper_store
            .heartbeat(context.id.as_str(), context.settings.lease, &info, register)
            .await;
        match beat {
            Ok(mut pulse) => {
                backoff.reset("heartbeat");
                if grace.spares(sent, Instant::now(), pulse.now, context.settings.lease) {
                    pulse.has_expired = false;
                }
                // Taken off the register while it was away: the leads are in other hands by now.
                register = !pulse.registered;
                if register {
                    tracing::warn!(
                        "this worker was not registered any more: its lease ran out and its leads were taken over, or its registration was deleted; it registers again"
                    );
                    continue;
                }
                tell(&context);
                context
                    .health
                    .registered(context.id.as_str(), context.settings.lease, &info);
                context.pulse.send_replace(Some(pulse));
            }
            Err(error) => {
                backoff.tell(&error, "heartbeat");
                context.health.trouble(&error);
                context.pulse.send_replace(None);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = context.beat.notified() => {}
            () = context.end.cancelled() => {}
        }
    }
}

/// Figures that are as they are, for a process that has them taken.
#[allow(clippy::cast_precision_loss, reason = "far fewer leads than that")]
fn tell(context: &Context) {
    metrics::gauge!("bridge_worker_slots").set(context.settings.concurrency);
    metrics::gauge!("bridge_worker_in_hand").set(context.in_hand.len() as f64);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn three_beats_fit_into_a_lease() {
        assert_eq!(
            heartbeat_interval(Duration::from_secs(10)),
            Duration::from_secs(1)
        );
        assert!(heartbeat_interval(Duration::from_secs(1)) * 3 <= Duration::from_secs(1));
    }
}
