//! The keeper: a thread beside the engine's, with a runtime and connections of its own. It sends the
//! heartbeats, hears the signals and writes the health file, so no station can hold these up.
//!
//! It also watches the engine. An engine whose threads compute without a pause still has its lease, for
//! its leads are being worked on; but the log, the heartbeats and `healthcheck` say so, SIGTERM ends the
//! process in time, and so does [`stall_limit`].

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bridge_shared::envelope::Envelope;
use bridge_shared::event::{Event, EventBatch, EventKind};
use bridge_shared::store::work::{Delivery, Outcome, Record};
use bridge_shared::store::{Store, StoreError};
use bytes::Bytes;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Context, Settings, lead_id};
use crate::log;

/// Time between two signs of life of the engine, and between two looks at them.
const TICK: Duration = Duration::from_millis(500);
/// Time without a sign of life after which the log says so.
const NOTICE: Duration = Duration::from_secs(3);
/// Time without a sign of life after which the worker is not well.
const ILL: Duration = Duration::from_secs(10);
/// The least time without a sign of life after which the worker ends.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// How much longer than `SHUTDOWN_TIMEOUT` a stopping engine may give no sign of life.
const GRACE: Duration = Duration::from_secs(5);
/// How long the leads in hand may take to be given back when the process ends.
const RELEASE: Duration = Duration::from_secs(3);
/// The same at the third signal.
const RELEASE_AT_ONCE: Duration = Duration::from_secs(1);

/// Events of one message.
const EVENTS_AT_ONCE: usize = 500;

/// Time without a sign of life after which the worker ends rather than holding its leads for ever:
/// twice `LEAD_TIMEOUT`, and a minute at least.
fn stall_limit(settings: &Settings) -> Duration {
    settings.lead_timeout.saturating_mul(2).max(STALL_LIMIT)
}

/// A runtime of one thread, beside the engine's; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Thread {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Thread {
    /// Starts it.
    ///
    /// # Errors
    /// One line, where the system has no thread left.
    pub(crate) fn start(name: &str) -> Result<Self, String> {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(name).enable_all();
        let runtime = runtime
            .build()
            .map_err(|error| format!("cannot start the thread \"{name}\": {error}"))?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Where its tasks are started.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // A runtime may not be waited for within another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The keeper's thread.
#[derive(Debug)]
pub(crate) struct Keeper {
    thread: Thread,
    watch: Arc<EngineWatch>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// As [`Thread::start`].
    pub(crate) fn start() -> Result<Self, String> {
        Ok(Self {
            thread: Thread::start("keeper")?,
            watch: Arc::default(),
        })
    }

    /// Where its tasks are started.
    pub(crate) const fn handle(&self) -> &Handle {
        self.thread.handle()
    }

    pub(super) const fn watch(&self) -> &Arc<EngineWatch> {
        &self.watch
    }
}

/// What the keeper needs to give the leads back without the engine.
#[derive(Debug)]
pub(super) struct Lease {
    /// On the keeper's connections.
    pub(super) store: Store,
    pub(super) worker: String,
    /// Bytes of a payload that is read whole.
    pub(super) whole: usize,
    /// Ends the heartbeats, which would renew the lease.
    pub(super) end: CancellationToken,
}

/// What the keeper sees of the engine.
#[derive(Debug, Default)]
pub(super) struct EngineWatch {
    /// Signs of life.
    ticks: AtomicU64,
    /// The delivery that is worked on at this moment, 0 if none. With several threads it is that which
    /// was begun last; they all have to compute before the engine gives no sign of life.
    delivery: AtomicU64,
    /// Where in memory the name of its station stands, 0 if it is not known.
    station: AtomicUsize,
    lease: OnceLock<Lease>,
}

impl EngineWatch {
    /// Gives signs of life from the runtime this is called in, until the result is dropped.
    pub(super) fn tick(self: &Arc<Self>) -> AbortOnDropHandle<()> {
        let watch = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                watch.ticks.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(TICK).await;
            }
        }))
    }

    /// The worker has a name, and may have leads in hand from now on.
    pub(super) fn keep(&self, lease: Lease) {
        let _ = self.lease.set(lease);
    }

    /// Marks a delivery as worked on while the work at it is under way.
    pub(super) fn during<'a, F: Future>(
        &'a self,
        number: u64,
        mut work: Pin<&'a mut F>,
    ) -> impl Future<Output = F::Output> + use<'a, F> {
        poll_fn(move |context| {
            self.station.store(0, Ordering::Relaxed);
            self.delivery.store(number, Ordering::Relaxed);
            let polled = work.as_mut().poll(context);
            self.delivery.store(0, Ordering::Relaxed);
            polled
        })
    }

    /// The delivery has come to a station.
    pub(super) fn at_station(&self, station: &str) {
        self.station
            .store(station.as_ptr().addr(), Ordering::Relaxed);
    }

    /// Gives the leads back before the third signal ends the process.
    pub(super) async fn before_the_end(self: Arc<Self>) {
        self.release(RELEASE_AT_ONCE).await;
    }

    /// Gives all leads in hand back without the engine, and takes the worker off the register.
    async fn release(&self, limit: Duration) {
        let Some(lease) = self.lease.get() else {
            return;
        };
        match tokio::time::timeout(limit, lease.give_back()).await {
            Ok(Ok(leads)) => {
                tracing::info!(leads = leads.len(), "gave the leads in hand back");
                // News, which nothing depends on.
                let _ = tokio::time::timeout(RELEASE_AT_ONCE, lease.tell(&leads)).await;
            }
            Ok(Err(error)) => {
                tracing::warn!("could not give the leads in hand back: {error}");
            }
            Err(_) => tracing::warn!(
                "could not give the leads in hand back in time; they go to another worker when the lease runs out"
            ),
        }
    }

    /// Takes the worker off the register with its leads in hand, which other workers then take over.
    async fn leave(&self) {
        if let Some(lease) = self.lease.get() {
            lease.end.cancel();
            let leave = lease.store.leave(&lease.worker);
            if !matches!(tokio::time::timeout(RELEASE, leave).await, Ok(Ok(_))) {
                tracing::warn!("could not say goodbye; the lease will run out by itself");
            }
        }
    }
}

impl Lease {
    /// Puts what is in hand back to the front of the line, which is no death of a worker; returns the ids
    /// of those leads.
    async fn give_back(&self) -> Result<Vec<String>, StoreError> {
        // The lease first: without one the fetch that stands behind an idle worker's wait takes nothing,
        // so it cannot take what is given back.
        self.end.cancel();
        if self.store.leave(&self.worker).await? == 0 {
            return Ok(Vec::new());
        }
        let numbers = self.store.held(&self.worker).await?;
        // Each goes to the front of the line, so the oldest is there at the end.
        let youngest_first: Vec<u64> = numbers.iter().rev().copied().collect();
        let mut hands = self.store.hands(&self.worker, &youngest_first, self.whole);
        let mut leads = Vec::new();
        while let Some(found) = hands.next().await? {
            // One that is too large to be read is for the recoverer.
            let found = found.into_iter().filter(Delivery::is_whole);
            let records: Vec<Record> = found
                .map(|delivery| Record {
                    number: delivery.number,
                    id: self.id_of(&delivery),
                    outcome: Outcome::Requeue {
                        envelope: self.envelope_of(delivery),
                    },
                })
                .collect();
            if records.is_empty() {
                continue;
            }
            let lost = self.store.commit(&self.worker, &records, false).await?;
            let given_back = records
                .into_iter()
                .filter(|record| !lost.contains(&record.number));
            leads.extend(given_back.map(|record| record.id));
        }
        self.store.leave(&self.worker).await?;
        Ok(leads)
    }

    /// Tells that these leads were handed back.
    async fn tell(&self, leads: &[String]) -> Result<(), StoreError> {
        let at = self.store.now();
        for leads in leads.chunks(EVENTS_AT_ONCE) {
            let event = |lead: &String| Event::new(at, EventKind::Requeued, lead);
            let events = leads.iter().map(event).collect();
            let batch = EventBatch::new(&self.worker, self.store.database(), events);
            self.store.publish(&batch).await?;
        }
        Ok(())
    }

    fn id_of(&self, delivery: &Delivery) -> String {
        let envelope = Envelope::from_payload(&delivery.payload);
        envelope.map_or_else(
            || lead_id(&self.worker, delivery.number),
            |envelope| envelope.id,
        )
    }

    /// The payload, in an envelope if it is bare. Services were called with the lead's id as the
    /// idempotency key, so it must keep that id.
    fn envelope_of(&self, delivery: Delivery) -> Bytes {
        let payload = delivery.payload;
        if Envelope::from_payload(&payload).is_some() || Envelope::newer_version(&payload).is_some()
        {
            return payload;
        }
        let id = lead_id(&self.worker, delivery.number);
        Envelope::new(id, payload, Some(self.store.now())).encode()
    }

    /// The id of a lead in hand.
    async fn lead(&self, number: u64) -> Option<String> {
        let numbers = [number];
        let mut hands = self.store.hands(&self.worker, &numbers, self.whole);
        let found = tokio::time::timeout(RELEASE, hands.next()).await;
        let found = found.ok()?.ok()??;
        found.first().map(|delivery| self.id_of(delivery))
    }
}

/// An engine without a sign of life.
#[derive(Debug, Default)]
struct Stall {
    /// For how long, without the times in which the whole machine stood still.
    held: Duration,
    /// The lead that it works on, once it was told.
    told: Option<String>,
}

/// Watches the engine until it ends, or this is aborted.
pub(super) async fn run(context: Arc<Context>) {
    let mut stall = Stall::default();
    let mut ticks = 0;
    let mut last = Instant::now();
    let mut deadline: Option<Instant> = None;
    loop {
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        // A process that was stopped, or swapped out, was so with all of its threads.
        let passed = (now - last).min(TICK * 2);
        last = now;
        if context.stop.is_cancelled() {
            let end = now + context.settings.shutdown_timeout + GRACE;
            let end = *deadline.get_or_insert(end);
            if context.give_back.is_cancelled() {
                deadline = Some(end.min(now + GRACE));
            }
        }
        let seen = context.watch.ticks.load(Ordering::Relaxed);
        if seen != std::mem::replace(&mut ticks, seen) {
            if stall.told.is_some() {
                context.health.stalled(None);
                let seconds = stall.held.as_secs();
                tracing::info!(seconds, "the engine goes on");
            }
            stall = Stall::default();
            continue;
        }
        stall.held += passed;
        judge(&context, &mut stall, deadline.is_some_and(|end| now >= end)).await;
    }
}

/// Says what is to be said of an engine without a sign of life, and ends the process when it is time.
async fn judge(context: &Context, stall: &mut Stall, is_time_up: bool) {
    if stall.held < NOTICE {
        return;
    }
    let seconds = stall.held.as_secs();
    if stall.told.is_none() {
        let words = work_under_way(context).await;
        tracing::warn!(
            seconds,
            "the engine gives no sign of life{words}; its lease is kept, its other leads wait"
        );
        stall.told = Some(words);
    }
    let words = stall.told.as_deref().unwrap_or_default();
    if stall.held >= ILL {
        context.health.stalled(Some(format!(
            "the engine has given no sign of life for {seconds} s{words}"
        )));
    }
    if is_time_up {
        tracing::error!(
            seconds,
            "the engine gives no sign of life{words} and does not stop; the process ends without it"
        );
        context.watch.release(RELEASE).await;
        log::exit(1);
    }
    let limit = stall_limit(&context.settings);
    if stall.held >= limit {
        tracing::error!(
            limit = limit.as_secs(),
            "the engine has given no sign of life for too long{words}; the process ends, and its leads go to other workers"
        );
        context.watch.leave().await;
        log::exit(1);
    }
}

/// What the engine works on, as far as that is known.
async fn work_under_way(context: &Context) -> String {
    let watch = &context.watch;
    let number = watch.delivery.load(Ordering::Relaxed);
    let station = watch.station.load(Ordering::Relaxed);
    let lead = match watch.lease.get() {
        Some(lease) if number != 0 => lease.lead(number).await,
        _ => None,
    };
    let Some(lead) = lead else {
        return String::new();
    };
    match context.pipeline().station_named_at(station) {
        Some(station) => format!(" at the lead {lead} in the station \"{station}\""),
        None => format!(" at the lead {lead}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_may_be_silent_for_longer_than_a_lead_may_take() {
        let limit = |seconds| {
            stall_limit(&Settings {
                concurrency: 1,
                max_retries: 3,
                retry_delay_base: Duration::from_secs(5),
                lead_timeout: Duration::from_secs(seconds),
                lease: Duration::from_secs(10),
                shutdown_timeout: Duration::from_secs(25),
                max_lead_bytes: 1 << 20,
            })
        };
        assert_eq!(limit(1).as_secs(), 60);
        assert_eq!(limit(120).as_secs(), 240);
    }

    #[tokio::test]
    async fn a_delivery_counts_as_worked_on_only_while_it_is() {
        let watch = EngineWatch::default();
        let work = std::pin::pin!(async {
            assert_eq!(watch.delivery.load(Ordering::Relaxed), 7);
            tokio::task::yield_now().await;
        });
        let mut during = std::pin::pin!(watch.during(7, work));
        assert!(futures::poll!(during.as_mut()).is_pending());
        assert_eq!(watch.delivery.load(Ordering::Relaxed), 0);
        during.await;
    }
}
