//! Keeps the lease alive, and brings back what the store has to say.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bridge_shared::VERSION;
use bridge_shared::stats::WorkerInfo;

use super::{Backoff, Context};

/// Beats at least once a second, so that a pause is honoured within one, and at least three times
/// within a lease.
fn interval(lease: Duration) -> Duration {
    (lease / 3).min(Duration::from_secs(1))
}

/// What has kept this worker from renewing its lease has mostly kept the others from it as well: a
/// Redis that was away or refused to write, a machine that stood still. Their leases have then run
/// out and they are alive. So for half a lease after such a time nobody counts as expired here;
/// whoever is alive has beaten by then.
#[derive(Debug, Default)]
struct Grace {
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Grace {
    /// Takes note of a beat; returns whether the others are to be spared.
    fn spares(&mut self, now: Instant, lease: Duration) -> bool {
        let gap = self.last.replace(now).map_or(lease, |last| now - last);
        // Where every beat is late they are not spared for ever.
        if gap > lease / 2 && self.until.is_none_or(|until| now > until + lease) {
            self.until = Some(now + lease / 2);
        }
        self.until.is_some_and(|until| now < until)
    }
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
        stations: Vec::new(),
        finished: 0,
        draining: false,
    };
    let mut backoff = Backoff::default();
    let mut register = true;
    let mut grace = Grace::default();
    while !context.end.is_cancelled() {
        let pipeline = context.pipeline();
        pipeline.name().clone_into(&mut info.pipeline);
        info.stations = pipeline.stations().collect();
        drop(pipeline);
        info.finished = context.finished.load(Ordering::Relaxed);
        info.draining = context.stop.is_cancelled();
        let beat = context
            .store
            .heartbeat(context.id.as_str(), context.settings.lease, &info, register)
            .await;
        match beat {
            Ok(mut pulse) => {
                backoff.reset("heartbeat");
                if grace.spares(Instant::now(), context.settings.lease) {
                    pulse.expired.clear();
                }
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
    fn after_an_outage_the_others_are_spared_for_half_a_lease() {
        let (mut grace, lease) = (Grace::default(), Duration::from_secs(10));
        let start = Instant::now();
        let mut spares = |s: f64| grace.spares(start + Duration::from_secs_f64(s), lease);
        assert!(spares(0.0), "nobody knows what was before");
        assert!(spares(4.0));
        assert!(!spares(5.0) && !spares(9.0));
        assert!(spares(19.0), "an outage");
        assert!(spares(23.5));
        assert!(!spares(24.5));
        let late = (0..10).map(|i| 30.0 + 6.0 * f64::from(i));
        assert_eq!(late.filter(|s| !spares(*s)).count(), 7, "late, and alive");
    }

    #[test]
    fn three_beats_fit_into_a_lease() {
        assert_eq!(interval(Duration::from_secs(10)), Duration::from_secs(1));
        assert!(interval(Duration::from_secs(1)) * 3 <= Duration::from_secs(1));
    }
}
