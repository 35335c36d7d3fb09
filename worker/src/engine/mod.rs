//! From the waiting list to a recorded outcome. One file for each role, each with the same shape:
//! what it needs, a loop, an end.
//!
//! - `fetcher`: waiting -> in flight, as many as its `appetite` says: the free slots; or whole batches
//!   by its `lanes`, of leads that are over at once
//! - `runner`: one attempt at one lead, with its time limit
//! - `saver`: enriched leads -> the sinks of their pipeline, until they are durable there
//! - `committer`: outcomes -> the store, in batches, until they are recorded
//! - `heartbeat`: the lease, and what the store has to say
//! - `keeper`: a thread beside the engine's, for the heartbeat and the signals; it watches the engine
//! - `finder`: leads of workers that are not registered -> the register; `grace`, when no worker
//!   counts as dead
//! - `recoverer`: dead workers' leads -> back to work
//! - `scheduler`: due retries -> waiting
//! - `publisher`: events
//! - `deaths`: dead letters -> the log, by their causes; `totals`, the worker's last word
//! - `accountant`: what the stations did and cost -> the store
//! - `reloader`: a changed route file -> the route in force
//! - `self_check`: whether Redis can be worked with, beyond what the heartbeat needs
//! - `shutdown`: the signals, and the way out
//!
//! ```text
//!             pulse (pause, dead workers, due retries)
//!   heartbeat ------> fetcher --> runner ----> committer ---> store
//!             ------> recoverer     +-> saver ->+
//!             ------> scheduler <---------------+ (delays of its own retries)
//! ```
//!
//! A lead is never only in this process: until its outcome is recorded it stands in the worker's
//! hash of deliveries, and whoever finds the lease run out takes it from there. `in_hand` is what
//! this process knows of the same, so that it starts none twice.

mod accountant;
mod appetite;
mod committer;
mod deaths;
mod fetcher;
mod finder;
mod grace;
mod heartbeat;
mod in_hand;
mod keeper;
mod publisher;
mod recoverer;
mod reloader;
mod runner;
mod saver;
mod scheduler;
mod self_check;
mod shutdown;
mod totals;
mod trier;

use std::sync::Arc;
use std::time::Duration;

use bridge_shared::clock::Millis;
use bridge_shared::event::{EventKind, News};
use bridge_shared::store::dead_letters::token;
use bridge_shared::store::work::Pulse;
use bridge_shared::store::{Store, StoreError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::health::Health;
use crate::pipeline::{Ledger, Pipeline, Source};
use crate::traces::Traces;
use keeper::Lease;
pub(crate) use keeper::{Keeper, Thread};
use publisher::Publisher;

/// How the worker works.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Leads worked on at once.
    pub(crate) concurrency: u32,
    /// Retries after the first attempt.
    pub(crate) max_retries: u32,
    /// Time before the first retry; each further one waits twice as long.
    pub(crate) retry_delay_base: Duration,
    /// Time one attempt may take.
    pub(crate) lead_timeout: Duration,
    /// Time without a sign of life after which this worker counts as dead.
    pub(crate) lease: Duration,
    /// Time that leads in hand get to finish when the worker stops.
    pub(crate) shutdown_timeout: Duration,
    /// The largest lead that is worked on, in bytes.
    pub(crate) max_lead_bytes: usize,
}

impl Settings {
    /// Bytes of a payload that comes into this process whole: more than the largest lead has with
    /// its history. Any larger one is given up without having been read.
    const fn whole(&self) -> usize {
        const LEAST: usize = 8 << 20;
        let twice = self.max_lead_bytes.saturating_mul(2);
        if twice > LEAST { twice } else { LEAST }
    }
}

/// Who this worker is: `<host>-<pid>-<token>`. The token makes it unique, and with a delivery's
/// number it makes the id of a lead that came without one.
#[derive(Debug, Clone)]
pub(crate) struct WorkerId(String);

impl WorkerId {
    fn new() -> Self {
        let host: String = gethostname::gethostname()
            .to_string_lossy()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(40)
            .collect();
        Self(format!("{host}-{}-{}", std::process::id(), token()))
    }

    fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a bare lead, from the worker that took it first and the delivery's number. Whoever
/// recovers the lead comes to the same id, so that its side effects keep their idempotency key.
fn lead_id(worker: &str, number: u64) -> String {
    let token = worker.rsplit('-').next().unwrap_or(worker);
    [token, "-", &number.to_string()].concat()
}

/// What every role needs.
struct Context {
    store: Store,
    /// The same with the connections of the keeper's thread.
    keeper_store: Store,
    /// What the keeper's thread sees of the engine.
    watch: Arc<keeper::EngineWatch>,
    settings: Settings,
    id: WorkerId,
    /// The route in force.
    route: watch::Sender<Arc<Pipeline>>,
    /// Where the route comes from.
    source: Source,
    /// What the stations did and cost, until it is written down.
    ledger: Arc<Ledger>,
    health: Health,
    /// Where spans go, where anybody wants them.
    traces: Option<Traces>,
    /// The deliveries that are worked on here.
    in_hand: in_hand::InHand,
    events: Publisher,
    /// What became of the leads.
    totals: totals::Totals,
    /// The dead letters that the log is told of.
    deaths: deaths::Deaths,
    /// What the last heartbeat brought; `None` before the first and while Redis is away.
    pulse: watch::Sender<Option<Pulse>>,
    /// Asks the heartbeat to beat now.
    beat: tokio::sync::Notify,
    /// No more leads are taken.
    stop: CancellationToken,
    /// Leads in hand are given back at once.
    give_back: CancellationToken,
    /// The engine has ended.
    end: CancellationToken,
}

impl Context {
    /// Tells what happened to a lead, at a time in milliseconds of server time.
    fn emit<'a>(
        &self,
        at: Millis,
        event: EventKind,
        lead: &'a str,
        with: impl FnOnce(&mut News<'a>),
    ) {
        self.events.emit(|| {
            let mut news = News::new(at, event, lead);
            with(&mut news);
            news
        });
    }

    fn pipeline(&self) -> Arc<Pipeline> {
        Arc::clone(&self.route.borrow())
    }
}

/// What to work along.
pub(crate) struct Route {
    /// Where it comes from.
    pub(crate) source: Source,
    /// The text that was read there.
    pub(crate) text: String,
    /// What was made of it.
    pub(crate) pipeline: Pipeline,
}

/// Works until a signal says stop and everything in hand is finished or given back.
///
/// # Errors
/// A [`StoreError`] that no waiting can mend: a wrong password, a Redis that is too old.
pub(crate) async fn run(
    keeper: &Keeper,
    store: Store,
    settings: Settings,
    route: Route,
    ledger: Arc<Ledger>,
    health: Health,
    traces: Option<Traces>,
) -> Result<(), StoreError> {
    let stop = CancellationToken::new();
    let give_back = CancellationToken::new();
    {
        let _on_its_thread = keeper.handle().enter();
        let last = keeper.watch().clone().before_the_end();
        shutdown::listen(stop.clone(), give_back.clone(), last);
    }
    let _ticks = keeper.watch().tick();
    let watch = reloader::Watch {
        hangup: signal(SignalKind::hangup()).ok(),
        text: route.text,
    };
    if watch.hangup.is_none() {
        tracing::error!("SIGHUP cannot be heard; a changed route file is seen all the same");
    }
    if !wait_for_redis(&store, &health, &stop).await? {
        return Ok(());
    }

    let id = WorkerId::new();
    let (keeper_store, end) = (store.beside()?, CancellationToken::new());
    keeper.watch().keep(Lease {
        store: keeper_store.clone(),
        worker: id.as_str().to_owned(),
        whole: settings.whole(),
        end: end.clone(),
    });
    let (events, publish) = publisher::new(id.as_str(), store.database());
    let context = Arc::new(Context {
        store,
        keeper_store,
        watch: Arc::clone(keeper.watch()),
        settings,
        id,
        route: watch::Sender::new(Arc::new(route.pipeline)),
        source: route.source,
        ledger,
        health,
        traces,
        in_hand: in_hand::InHand::default(),
        events,
        totals: totals::Totals::default(),
        deaths: deaths::Deaths::default(),
        pulse: watch::Sender::new(None),
        beat: tokio::sync::Notify::new(),
        stop,
        give_back,
        end,
    });
    tracing::info!(
        worker = context.id.as_str(),
        redis = context.store.url(),
        queue = context.store.keys().queue,
        dead_letters = context.store.keys().failed,
        enriched = context.store.keys().enriched,
        pipeline = context.pipeline().name(),
        concurrency = context.settings.concurrency,
        "worker started"
    );
    for former in context.store.former_lists().await {
        tracing::warn!("{former}");
    }
    work(&context, keeper, publish, watch).await;
    if let Some(traces) = &context.traces {
        traces.close().await;
    }
    Ok(())
}

async fn work(
    context: &Arc<Context>,
    keeper: &Keeper,
    publish: publisher::Inbox,
    watch: reloader::Watch,
) {
    let (outcomes, to_save, to_commit) = saver::new(context);
    let (delays, delayed) = mpsc::unbounded_channel::<Millis>();
    let slots = Arc::new(Semaphore::new(context.settings.concurrency as usize));

    let roles = TaskTracker::new();
    roles.spawn_on(heartbeat::run(Arc::clone(context)), keeper.handle());
    let watching = keeper.handle().spawn(keeper::run(Arc::clone(context)));
    let _watching = AbortOnDropHandle::new(watching);
    roles.spawn(recoverer::run(Arc::clone(context)));
    roles.spawn(finder::run(Arc::clone(context)));
    roles.spawn(scheduler::run(Arc::clone(context), delayed));
    roles.spawn(reloader::run(Arc::clone(context), watch));
    roles.spawn(accountant::run(Arc::clone(context)));
    roles.spawn(trier::run(Arc::clone(context)));
    roles.spawn(self_check::run(Arc::clone(context)));
    roles.spawn(deaths::run(Arc::clone(context)));
    let publisher = tokio::spawn(publisher::run(Arc::clone(context), publish));
    let committer = tokio::spawn(committer::run(
        Arc::clone(context),
        to_commit,
        delays.clone(),
    ));
    let saver = tokio::spawn(saver::run(Arc::clone(context), to_save));
    let leads = TaskTracker::new();
    let fetcher = tokio::spawn(fetcher::run(
        Arc::clone(context),
        slots,
        leads.clone(),
        outcomes,
        delays,
    ));

    // The fetcher ends with the stop; the last attempt lets go of the last way to the saver and the
    // committer, and so these end when everything is recorded.
    shutdown::drain(context, fetcher, leads, saver, committer).await;
    context.end.cancel();
    roles.close();
    roles.wait().await;
    shutdown::leave(context).await;
    // Nobody can tell anything any more: the publisher sends what it has and ends.
    context.events.close();
    let _ = publisher.await;
    context.totals.tell();
}

/// Waits until Redis answers, for as long as it takes; `false` where a stop came first.
async fn wait_for_redis(
    store: &Store,
    health: &Health,
    stop: &CancellationToken,
) -> Result<bool, StoreError> {
    let mut backoff = Backoff::default();
    loop {
        match stop.run_until_cancelled(store.check()).await {
            None => return Ok(false),
            Some(Ok(())) => return Ok(true),
            Some(Err(error)) if error.is_transient() => {
                backoff.tell(&error, "waiting for Redis");
                health.trouble(&error);
                if stop.run_until_cancelled(backoff.wait()).await.is_none() {
                    return Ok(false);
                }
            }
            Some(Err(error)) => return Err(error),
        }
    }
}

/// Waits that grow from 50 ms to 2 s, with a word in the log at the first failure and then now and
/// again.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
    told: Option<std::time::Instant>,
}

impl Backoff {
    /// Time between two words about the same trouble.
    const REMINDER: Duration = Duration::from_secs(30);

    fn tell(&mut self, error: &StoreError, doing: &str) {
        if self.told.is_none_or(|told| told.elapsed() > Self::REMINDER) {
            tracing::warn!("{doing}: {error}");
            self.told = Some(std::time::Instant::now());
        }
    }

    async fn wait(&mut self) {
        let delay = Duration::from_millis(50) * 2_u32.pow(self.failures.min(6));
        self.failures += 1;
        let delay = delay.min(Duration::from_secs(2));
        tokio::time::sleep(delay.mul_f64(0.75 + fastrand::f64() * 0.25)).await;
    }

    /// All is well; says so where trouble had been told of.
    fn reset(&mut self, doing: &str) {
        if self.told.take().is_some() {
            tracing::info!("{doing}: Redis answers again");
        }
        self.failures = 0;
    }
}

/// What a panic said.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_leads_id_can_be_made_again_from_the_workers() {
        let id = WorkerId::new();
        let token = id.as_str().rsplit('-').next().expect("a token");
        assert_eq!(token.len(), 10);
        assert_eq!(lead_id(id.as_str(), 7), format!("{token}-7"));
    }
}
