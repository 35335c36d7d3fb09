//! One attempt at one lead.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_shared::clock::{Millis, rfc3339};
use bridge_shared::envelope::{Attempt, Envelope, ErrorKind, Opened, Origin};
use bridge_shared::event::{EventKind, News};
use bridge_shared::money::Money;
use bridge_shared::store::work::{Completion, Delivery, Outcome, Record};
use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::ReusableBoxFuture;
use tokio_util::task::TaskTracker;

use super::committer::Committed;
use super::in_hand::is_suspect;
use super::saver::{Outcomes, Saving};
use super::{Context, Settings, lead_id, panic_text};
use crate::pipeline::{
    Arrival, Failure, Journey, Pipeline, Progress, Skip, Surroundings, admission,
};
use crate::traces;

/// How long a lead that may be what kills workers goes away while another one is worked on, up to
/// twice that: so that they do not come back together.
const ASIDE: Duration = Duration::from_secs(1);

/// Room for the next attempt, kept so that attempts which wait for nothing need none of their own.
pub(super) type Room = Option<UnderWay>;

/// An attempt under way.
pub(super) type UnderWay = ReusableBoxFuture<'static, Committed>;

/// Starts an attempt at a lead that is known to be in hand. One that needs to wait for nothing is
/// over when this returns; any other goes on in a task of its own. The slot is free again when the
/// outcome is on its way; it comes back from here where that was at once.
pub(super) async fn start(
    context: &Arc<Context>,
    leads: &TaskTracker,
    outcomes: &Outcomes,
    room: &mut Room,
    delivery: Delivery,
    slot: OwnedSemaphorePermit,
) -> Option<OwnedSemaphorePermit> {
    match begin(context, room, delivery, Instant::now()) {
        Begun::Over(committed) => {
            outcomes.send(committed).await;
            Some(slot)
        }
        Begun::Waits(attempt) => {
            go_on(leads, outcomes, attempt, slot);
            None
        }
    }
}

/// An attempt that was begun.
pub(super) enum Begun {
    /// It waited for nothing.
    Over(Committed),
    /// It waits for something.
    Waits(UnderWay),
}

/// Begins an attempt, now.
pub(super) fn begin(
    context: &Arc<Context>,
    room: &mut Room,
    delivery: Delivery,
    now: Instant,
) -> Begun {
    if !delivery.is_whole() {
        return Begun::Over(set_aside(context, &delivery));
    }
    let attempt = attempt(Arc::clone(context), delivery, now);
    let mut begun = match room.take() {
        Some(mut room) => {
            room.set(attempt);
            room
        }
        None => ReusableBoxFuture::new(attempt),
    };
    // Not held up by what its task did before, which would look as if it had to wait.
    match tokio::task::unconstrained(&mut begun).now_or_never() {
        Some(committed) => {
            *room = Some(begun);
            Begun::Over(committed)
        }
        None => Begun::Waits(begun),
    }
}

/// Lets an attempt go on in a task of its own, in a slot of its own.
pub(super) fn go_on(
    leads: &TaskTracker,
    outcomes: &Outcomes,
    attempt: UnderWay,
    slot: OwnedSemaphorePermit,
) {
    let outcomes = outcomes.clone();
    leads.spawn(async move {
        outcomes.send(attempt.await).await;
        drop(slot);
    });
}

/// Sends a lead away that may not be worked on now. That takes no time, and so no slot.
pub(super) async fn send_away(context: &Arc<Context>, outcomes: &Outcomes, delivery: Delivery) {
    let attempt = attempt(Arc::clone(context), delivery, Instant::now());
    outcomes.send(attempt.await).await;
}

async fn attempt(context: Arc<Context>, delivery: Delivery, started: Instant) -> Committed {
    let Delivery {
        number, payload, ..
    } = delivery;
    let mut envelope = receive(&context, number, payload, context.store.at(started));
    // The route that is in force when the lead sets out is its route to the end.
    let pipeline = context.pipeline();
    let spent_before = envelope.spent;
    let journey = Journey::new(spent_before);
    let traces = context.traces.as_ref();
    let span = traces.map(|traces| traces.attempt(&envelope, pipeline.name(), context.id.as_str()));
    let result = {
        let work = pin!(async {
            let is_suspect = is_suspect(&envelope);
            if is_suspect && !context.in_hand.is_alone(number).await {
                return Ok(Arrival::Later {
                    station: String::new(),
                    wait: ASIDE.mul_f64(1.0 + fastrand::f64()),
                    reason: format!("its turn alone: {} workers died with it", envelope.deaths),
                });
            }
            // A look at the clock costs what two texts do, so one serves all that happens at once. Only a
            // suspect can have waited for its turn.
            let since = if is_suspect { Instant::now() } else { started };
            let span = span.as_ref();
            limited(&context, &pipeline, &envelope, &journey, since, span).await
        });
        tokio::select! {
            biased;
            result = context.watch.during(number, work) => Some(result),
            () = context.give_back.cancelled() => None,
        }
    };
    let ms = |now: Instant| millis(now.duration_since(started));
    let id = envelope.id.clone();
    envelope.spent = journey.spent();
    let mut saving = None;
    let (outcome, event) = match result {
        Some(Ok(Arrival::Done { lead, skipped, now })) => {
            let sinks = pipeline.sinks();
            saving = sinks.any_other().then(|| {
                Box::new(Saving {
                    sinks: Arc::clone(sinks),
                    envelope,
                    spent_before,
                    started,
                })
            });
            finished(lead, skipped, ms(now.unwrap_or_else(Instant::now)))
        }
        Some(Ok(Arrival::Later {
            station,
            wait,
            reason,
        })) => postponed(&envelope, station, wait, &reason),
        Some(Err(failure)) => judge(&context, envelope, failure, ms(Instant::now())),
        None => give_back(envelope, spent_before),
    };
    if let Some(span) = span {
        span.end(event.kind, event.station.as_deref(), event.error.as_deref());
    }
    Committed {
        record: Record {
            number,
            id,
            outcome,
        },
        event,
        saving,
    }
}

/// Opens a delivery that came whole, and tells of it.
fn receive(context: &Context, number: u64, payload: Bytes, now: Millis) -> Envelope {
    let envelope = Envelope::from_payload(&payload).unwrap_or_else(|| {
        let id = lead_id(context.id.as_str(), number);
        Envelope::new(id, payload, Some(now))
    });
    context.emit(now, EventKind::Received, &envelope.id, |_| {});
    envelope
}

/// Gives up a lead that is too large to be read. Its bytes never come here: they stay where they
/// are, and only what stands before them is made.
fn set_aside(context: &Context, delivery: &Delivery) -> Committed {
    let opened = Opened::certain(&delivery.payload, delivery.size);
    let mut envelope = opened.envelope.clone();
    let now = context.store.now();
    if opened.origin == Origin::Bare {
        envelope.id = lead_id(context.id.as_str(), delivery.number);
        envelope.first_seen = Some(now);
    }
    context.emit(now, EventKind::Received, &envelope.id, |_| {});
    let size = opened.lead_bytes().unwrap_or(delivery.size);
    let error = admission::too_large(size, context.settings.max_lead_bytes);
    envelope.queue.clone_from(&context.store.keys().queue);
    envelope.fail(
        now,
        Attempt {
            at: rfc3339(now),
            station: String::new(),
            error: error.clone(),
            kind: ErrorKind::Invalid,
            ms: 0,
            worker: context.id.as_str().to_owned(),
        },
    );
    let (head, replaces) = opened.with(&envelope);
    Committed {
        record: Record {
            number: delivery.number,
            id: envelope.id,
            outcome: Outcome::Aside { head, replaces },
        },
        event: Ended {
            kind: EventKind::Dead,
            error: Some(error),
            error_kind: ErrorKind::Invalid,
            ..Ended::default()
        },
        saving: None,
    }
}

/// The lead is enriched, or ended early, on purpose.
fn finished(lead: Vec<u8>, skipped: Option<Skip>, ms: u64) -> (Outcome, Ended) {
    let outcome = Outcome::Done {
        lead: lead.into(),
        completion: match &skipped {
            None => Completion::Full,
            Some(skip) if skip.over_budget => Completion::OverBudget,
            Some(_) => Completion::Skipped,
        },
    };
    let (station, reason) = skipped.map(|skip| (skip.station, skip.reason)).unzip();
    let kind = if station.is_some() {
        EventKind::Skipped
    } else {
        EventKind::Succeeded
    };
    let ended = Ended {
        kind,
        station,
        error: reason,
        ms: Some(ms),
        ..Ended::default()
    };
    (outcome, ended)
}

/// The lead comes back later, without having failed; up to a tenth later, so that leads that were
/// sent away together do not come back together.
fn postponed(envelope: &Envelope, station: String, wait: Duration, what: &str) -> (Outcome, Ended) {
    let delay_ms = millis(wait.mul_f64(1.0 + fastrand::f64() * 0.1));
    let outcome = Outcome::Postponed {
        envelope: envelope.encode(),
        delay_ms,
    };
    let ended = Ended {
        kind: EventKind::RetryScheduled,
        station: (!station.is_empty()).then_some(station),
        error: Some(format!("waits for {what}")),
        ms: Some(delay_ms),
        ..Ended::default()
    };
    (outcome, ended)
}

/// The lead goes back as it came. The attempt counts for nothing, so what it cost does not count
/// against the lead's budget: the lead did not fail, and must be able to go the whole way again.
pub(super) fn give_back(mut envelope: Envelope, spent_before: Money) -> (Outcome, Ended) {
    envelope.spent = spent_before;
    requeue(envelope.encode())
}

/// Back to the front of the line.
fn requeue(envelope: Bytes) -> (Outcome, Ended) {
    let ended = Ended {
        kind: EventKind::Requeued,
        ..Ended::default()
    };
    (Outcome::Requeue { envelope }, ended)
}

/// A lead that goes back as it came, without an attempt at it; one that is too large to be read is
/// given up.
pub(super) fn untouched(context: &Context, delivery: Delivery) -> Committed {
    if !delivery.is_whole() {
        return set_aside(context, &delivery);
    }
    let Delivery {
        number, payload, ..
    } = delivery;
    let id = receive(context, number, payload.clone(), context.store.now()).id;
    let (outcome, event) = requeue(payload);
    Committed {
        record: Record {
            number,
            id,
            outcome,
        },
        event,
        saving: None,
    }
}

/// How an attempt ended, to be told once that is recorded.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) kind: EventKind,
    pub(super) station: Option<String>,
    pub(super) error: Option<String>,
    /// Of what kind that is, where the lead is dead of it.
    pub(super) error_kind: ErrorKind,
    pub(super) retry: Option<u32>,
    pub(super) ms: Option<u64>,
}

impl Default for Ended {
    fn default() -> Self {
        Self {
            kind: EventKind::Unknown,
            station: None,
            error: None,
            error_kind: ErrorKind::Unknown,
            retry: None,
            ms: None,
        }
    }
}

/// Runs the pipeline within the lead's time; a panic fails the lead and nothing else.
async fn limited(
    context: &Context,
    pipeline: &Pipeline,
    envelope: &Envelope,
    journey: &Journey,
    started: Instant,
    span: Option<&traces::Attempt<'_>>,
) -> Result<Arrival, Failure> {
    let id = envelope.id.as_str();
    admission::admit(&envelope.lead, context.settings.max_lead_bytes)?;
    let news = |at, event| News::new(context.store.at(at), event, id);
    context.events.emit(|| news(started, EventKind::Started));
    let mut at_station = String::new();
    let mut observe = |progress: Progress<'_>| match progress {
        Progress::Arrived { station, .. } => {
            tracing::trace!(lead = id, station, "at a station");
            context.watch.at_station(station);
            station.clone_into(&mut at_station);
        }
        Progress::Left {
            station,
            at,
            took,
            error,
            ..
        } => {
            if let Some(span) = span {
                span.station(station, took, error);
            }
            context.events.emit(|| News {
                station: Some(station),
                error,
                ms: Some(millis(took)),
                ..news(at, EventKind::Station)
            });
        }
        Progress::PassedBy { .. } => {}
    };
    let limit = context.settings.lead_timeout;
    let around = Surroundings {
        store: Some(&context.store),
        ledger: &context.ledger,
        dry_run: false,
        now: Some(started),
    };
    let result = {
        let run = pipeline.run(around, journey, id, &envelope.lead, &mut observe);
        let run = pin!(AssertUnwindSafe(run).catch_unwind());
        journey.within(started.into(), limit, run).await
    };
    match result {
        Some(Ok(result)) => result,
        Some(Err(panic)) => Err(panicked(pipeline, at_station, &*panic)),
        None => Err(Failure {
            station: at_station,
            ..Failure::new(
                ErrorKind::Timeout,
                format!(
                    "not done within the {} s a lead may take",
                    limit.as_secs_f64()
                ),
            )
        }),
    }
}

/// What a panic said may quote anything.
fn panicked(pipeline: &Pipeline, station: String, panic: &(dyn Any + Send)) -> Failure {
    let error = format!("the station panicked: {}", panic_text(panic));
    Failure {
        station,
        ..Failure::new(ErrorKind::Panic, pipeline.hide(error))
    }
}

/// Decides what a failure leads to: another try, or the dead letter queue.
pub(super) fn judge(
    context: &Context,
    mut envelope: Envelope,
    failure: Failure,
    ms: u64,
) -> (Outcome, Ended) {
    let now = context.store.now();
    let may_pass = failure.may_pass();
    let retry_after = failure.retry_after;
    let (station, error, kind) = (failure.station.clone(), failure.error.clone(), failure.kind);
    envelope.queue.clone_from(&context.store.keys().queue);
    envelope.fail(
        now,
        Attempt {
            at: rfc3339(now),
            station: failure.station,
            error: failure.error,
            kind: failure.kind,
            ms,
            worker: context.id.as_str().to_owned(),
        },
    );
    let mut ended = Ended {
        kind: EventKind::Dead,
        station: (!station.is_empty()).then_some(station),
        error: Some(error),
        error_kind: kind,
        ..Ended::default()
    };
    if may_pass && envelope.retry_count < context.settings.max_retries {
        envelope.retry_count += 1;
        let retry = envelope.retry_count;
        let delay_ms = millis(delay(&context.settings, retry, retry_after));
        ended.kind = EventKind::RetryScheduled;
        ended.retry = Some(retry);
        ended.ms = Some(delay_ms);
        (
            Outcome::Retry {
                envelope: envelope.encode(),
                delay_ms,
                retry,
            },
            ended,
        )
    } else {
        (
            Outcome::Dead {
                envelope: envelope.encode(),
            },
            ended,
        )
    }
}

/// Time before a retry: base x 2^(n-1) and up to 10 % more, so that leads that failed together do
/// not come back together. What the service asked for wins when it is longer.
fn delay(settings: &Settings, retry: u32, retry_after: Option<Duration>) -> Duration {
    let factor = 2_f64.powi(i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX));
    let longest = Duration::from_secs(30 * 86_400);
    let seconds = settings.retry_delay_base.as_secs_f64() * factor * (1.0 + fastrand::f64() * 0.1);
    let delay = Duration::try_from_secs_f64(seconds).unwrap_or(longest);
    delay.max(retry_after.unwrap_or_default()).min(longest)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The envelope of a delivery, as far as it is known, whose worker is gone: the death stands in its
/// history, and counts unless the worker was stopping: then it was killed for that.
pub(super) fn bereaved(
    delivery: &Delivery,
    worker: &str,
    was_draining: bool,
    now: i64,
) -> Envelope {
    let known = if delivery.is_whole() {
        Envelope::from_payload(&delivery.payload)
    } else {
        let opened = Opened::certain(&delivery.payload, delivery.size);
        (opened.origin != Origin::Bare).then_some(opened.envelope)
    };
    let mut envelope = known.unwrap_or_else(|| {
        let id = lead_id(worker, delivery.number);
        Envelope::new(id, delivery.payload.clone(), Some(now))
    });
    if !was_draining {
        envelope.count_death(now, super::recoverer::DEATH_WINDOW_MS);
    }
    let poison = !was_draining && envelope.deaths >= super::recoverer::DEATHS;
    let (kind, error) = if poison {
        (
            ErrorKind::Poison,
            format!("{} workers died with this lead in hand", envelope.deaths),
        )
    } else {
        (
            ErrorKind::WorkerLost,
            if was_draining {
                "the worker was killed while it was stopping, with this lead in hand".into()
            } else {
                "the worker died, or lost its lease, with this lead in hand".into()
            },
        )
    };
    envelope.fail(
        now,
        Attempt {
            at: rfc3339(now),
            station: String::new(),
            error,
            kind,
            ms: 0,
            worker: worker.to_owned(),
        },
    );
    envelope
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            concurrency: 1,
            max_retries: 3,
            retry_delay_base: Duration::from_secs(5),
            lead_timeout: Duration::from_secs(1),
            lease: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(1),
            max_lead_bytes: 1 << 20,
        }
    }

    #[test]
    fn the_delay_doubles_with_at_most_a_tenth_more() {
        for (retry, base) in [(1, 5.0), (2, 10.0), (3, 20.0)] {
            for _ in 0..100 {
                let delay = delay(&settings(), retry, None).as_secs_f64();
                assert!((base..=base * 1.1).contains(&delay), "{retry}: {delay}");
            }
        }
        assert!(delay(&settings(), 4_000, None) <= Duration::from_secs(30 * 86_400));
    }

    #[test]
    fn what_the_service_asks_for_wins_when_it_is_longer() {
        let asked = Duration::from_secs(60);
        assert_eq!(delay(&settings(), 1, Some(asked)), asked);
        assert!(delay(&settings(), 1, Some(Duration::from_secs(1))) >= Duration::from_secs(5));
    }

    #[test]
    fn a_secret_in_a_panic_is_hidden() {
        // Asked for by the webhook's client; another test may have been here first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let route = "[[pipelines.p.stations]]\nkind = \"noop\"\nname = \"noop\"\n\
            [[pipelines.p.sinks]]\nkind = \"webhook\"\nurl = \"http://127.0.0.1:1\"\nsecret = \"${PATH}\"\n";
        let ledger = crate::pipeline::Ledger::default();
        let pipeline = Pipeline::parse(&crate::pipeline::Source::default(), route, &ledger);
        let pipeline = pipeline.expect("a sound route");
        let panic = format!("no {}!", std::env::var("PATH").expect("a path"));
        let failure = panicked(&pipeline, "noop".into(), &panic);
        assert_eq!(failure.error, "the station panicked: no ${PATH}!");
        assert_eq!(
            (failure.kind, failure.station.as_str()),
            (ErrorKind::Panic, "noop")
        );
    }

    /// A delivery, of whose payload the last bytes may be missing.
    fn delivery(payload: &Bytes, missing: usize) -> Delivery {
        Delivery {
            number: 9,
            size: payload.len() as u64,
            payload: payload.slice(..payload.len() - missing),
        }
    }

    #[test]
    fn a_lead_that_is_too_large_keeps_its_id_when_its_worker_dies() {
        let lead = Bytes::from(vec![0xfe; 100_000]);
        let payload = Envelope::new("tok-7", lead, None).encode();
        let envelope = bereaved(&delivery(&payload, 50_000), "host-1-token", false, 1_000);
        assert_eq!((envelope.id.as_str(), envelope.deaths), ("tok-7", 1));
        let bare = Bytes::from(vec![b'x'; 100_000]);
        let envelope = bereaved(&delivery(&bare, 50_000), "host-1-token", false, 1_000);
        assert_eq!(envelope.id, "token-9");
    }

    #[test]
    fn the_third_death_makes_a_lead_poison() {
        let mut payload = Bytes::from_static(b"{\"name\":\"Ada\"}");
        for death in 1..=3 {
            let envelope = bereaved(&delivery(&payload, 0), "host-1-token", false, 1_000);
            assert_eq!(envelope.id, "token-9");
            assert_eq!(envelope.deaths, death);
            assert_eq!(envelope.attempts.len(), death as usize);
            assert_eq!(envelope.error_kind == ErrorKind::Poison, death == 3);
            payload = envelope.encode();
        }
        let mut forged = Envelope::new("a-1", payload, None);
        forged.deaths = u32::MAX;
        let envelope = bereaved(&delivery(&forged.encode(), 0), "host-1-token", false, 1_000);
        assert_eq!(envelope.error_kind, ErrorKind::Poison);
    }
}
