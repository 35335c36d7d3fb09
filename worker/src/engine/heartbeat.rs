//! Keeps the lease alive, and brings back what the store has to say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bridge_shared::VERSION;
use bridge_shared::stats::WorkerInfo;

use super::{Backoff, Context};

/// Beats at least once a second, so that a pause is honoured within one, and at least three times
/// within a lease.
fn interval(lease: Duration) -> Duration {
    (lease / 3).min(Duration::from_secs(1))
}

/// Beats until the engine ends. While Redis is away the others see no pulse.
pub(super) async fn run(context: Arc<Context>) {
    let every = interval(context.settings.lease);
    let mut info = WorkerInfo {
        host: gethostname::gethostname().to_string_lossy().into_owned(),
        pid: std::process::id(),
        version: VERSION.to_owned(),
        started: context.store.now(),
        concurrency: context.settings.concurrency,
        pipeline: String::new(),
        finished: 0,
        draining: false,
    };
    let mut backoff = Backoff::default();
    let mut register = true;
    while !context.end.is_cancelled() {
        context.pipeline().name().clone_into(&mut info.pipeline);
        info.finished = context.finished.load(Ordering::Relaxed);
        info.draining = context.stop.is_cancelled();
        let beat = context
            .store
            .heartbeat(context.id.as_str(), context.settings.lease, &info, register)
            .await;
        match beat {
            Ok(pulse) => {
                backoff.reset("heartbeat");
                // Taken off the register while it was away: the leads are in other hands by now.
                register = !pulse.registered;
                if register {
                    tracing::warn!("the lease ran out and the leads in hand were taken away");
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
    use super::*;

    #[test]
    fn three_beats_fit_into_a_lease() {
        assert_eq!(interval(Duration::from_secs(10)), Duration::from_secs(1));
        assert!(interval(Duration::from_secs(1)) * 3 <= Duration::from_secs(1));
    }
}
