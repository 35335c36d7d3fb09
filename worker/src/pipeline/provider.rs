//! A station with what every station has, and one call of it: its condition, what it needs, what
//! was found before, its place, its rate, its money, its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use bridge_shared::store::Store;
use bridge_shared::store::route::{Pace, Paced, Purchase};
use futures::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::{Semaphore, SemaphorePermit};
use toml::Spanned;

use super::budget;
use super::cache::{self, Cache};
use super::expression::Expression;
use super::journey::AWAY;
use super::keys::{Keys, suggest};
use super::ledger::{BadEnd, Count, Debt, Ledger, Tally};
use super::rate::Rate;
use super::station::{Call, KINDS, Kind, Outcome, Station};
use super::trip::{Passed, Trip};
use super::{Failure, Journey, Progress, has, shortage};

/// A field that a station cannot work without.
#[derive(Debug)]
pub(super) struct Need {
    /// The field.
    pub(super) field: Spanned<String>,
    /// The stations before it that bring it; none where the lead itself does.
    pub(super) makers: Vec<String>,
}

impl Need {
    fn new(field: Spanned<String>) -> Self {
        Self {
            field,
            makers: Vec::new(),
        }
    }
}

/// A station that can be called.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) needs: Vec<Need>,
    /// What it may add, as the route says or as its kind does.
    pub(super) produces: Vec<String>,
    /// Whether that is all it may add, as far as anybody can say.
    pub(super) is_known: bool,
    pub(super) removes: Vec<String>,
    pub(super) cost: Money,
    pub(super) timeout: Option<Duration>,
    pub(super) when: Option<Expression>,
    pub(super) rate: Option<Rate>,
    pub(super) concurrency: Option<usize>,
    pub(super) cache: Option<Cache>,
    pub(super) station: Box<dyn Station>,
    pub(super) span: std::ops::Range<usize>,
    /// Free places in this worker.
    places: Option<Semaphore>,
    /// `<pipeline>/<name>`: its name among all that share the Redis.
    scope: String,
    tally: Arc<Tally>,
    /// Whether a call turned out to cost something.
    has_cost: AtomicBool,
}

/// Names what a table describes, and makes sure that it has a name.
pub(super) fn name(keys: &mut Keys<'_>) -> Option<String> {
    let name = keys.text("name");
    let name = keys.need("name", name, "name = \"...\"")?;
    let (span, name) = (name.span(), name.into_inner());
    keys.set_owner(format!("station \"{}\"", name.escape_debug()));
    if name.is_empty() || name.chars().any(char::is_control) {
        keys.wrong(
            &span,
            "a station's name must be a word",
            "write name = \"...\"",
        );
        return None;
    }
    Some(name)
}

/// Makes one from its table. Whoever has keys of their own takes them first. Where something is
/// wrong with the station itself, what the route says of it is there all the same, so that it can
/// be proved; such a route never runs.
pub(super) fn make(
    mut keys: Keys<'_>,
    pipeline: &str,
    name: Option<String>,
    ledger: &Ledger,
) -> Provider {
    let span = keys.span();
    let kind = kind(&mut keys);
    let requires = keys.texts("requires").unwrap_or_default();
    let produces = keys.texts("produces");
    let cost = keys.money("cost");
    let timeout = keys.duration("timeout");
    let when = keys.expression("when");
    let rate = keys.rate("rate");
    let places = keys.integer("concurrency", 1..=100_000);
    let places = places.and_then(|places| usize::try_from(places).ok());
    let cache = cache::read(&mut keys);
    let fingerprint = keys.fingerprint();
    let station = kind.and_then(|kind| {
        let station = (kind.make)(&mut keys);
        keys.finish();
        station
    });
    // To wait for a place is not the call's own time.
    let by_nature = station.as_ref().and_then(|station| station.places());
    let places = places.into_iter().chain(by_nature).min();
    let is_made = station.is_some();
    let station = station.unwrap_or_else(|| Box::new(Unmade));
    let contract = station.contract();
    let by_nature = contract.requires.into_iter();
    let needs = requires
        .into_iter()
        .chain(by_nature.map(|field| Spanned::new(span.clone(), field)))
        .map(Need::new)
        .collect();
    let kind = kind.map_or("", |kind| kind.name);
    let name = name.unwrap_or_default();
    Provider {
        kind,
        needs,
        is_known: is_made || produces.is_some(),
        produces: produces.map_or(contract.produces, |list| {
            list.into_iter().map(Spanned::into_inner).collect()
        }),
        removes: contract.removes,
        cost: cost.map_or(Money::ZERO, Spanned::into_inner),
        timeout: timeout.or(station.timeout()),
        when,
        rate,
        concurrency: places,
        cache: cache.map(|cache| Cache::new(cache, format!("{kind} {fingerprint}"))),
        station,
        span,
        places: places.map(Semaphore::new),
        scope: format!("{pipeline}/{name}"),
        tally: ledger.tally(pipeline, &name),
        has_cost: AtomicBool::new(false),
        name,
    }
}

fn kind(keys: &mut Keys<'_>) -> Option<&'static Kind> {
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let written = keys.text("kind");
    let written = keys.need("kind", written, &format!("one of {}", kinds.join(", ")))?;
    let kind = KINDS.iter().find(|kind| kind.name == written.get_ref());
    if kind.is_none() {
        keys.wrong(
            &written.span(),
            format!("no kind of station is called \"{}\"", written.get_ref()),
            suggest(written.get_ref(), &kinds),
        );
    }
    kind
}

/// Stands for a station that cannot be made, in a route that never runs.
#[derive(Debug)]
struct Unmade;

impl Station for Unmade {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        _lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        let failure = Failure::new(ErrorKind::Permanent, "the station could not be made");
        ready(Err(failure)).boxed()
    }
}

/// What stands between a lead and a call.
enum Leave<'a> {
    /// Nothing; the day that the money was taken from.
    Granted(Option<SemaphorePermit<'a>>, Option<i64>),
    /// Too much.
    Refused(Passed),
}

impl Provider {
    /// Brings a lead through this one station.
    ///
    /// # Errors
    /// [`Failure`], with the station's name in it.
    pub(super) async fn call<'a>(
        &'a self,
        trip: &mut Trip<'a>,
        lead: &mut Lead,
    ) -> Result<Passed, Failure> {
        let passed = self.pass(trip, lead).await;
        let passed = passed.and_then(|passed| {
            let (size, most) = (lead.size(), trip.grown);
            if size > most {
                return Err(budget::too_large(size, most));
            }
            Ok(passed)
        });
        let passed = passed.map_err(|failure| Failure {
            station: self.name.clone(),
            error: trip.secrets.hide(failure.error),
            ..failure
        });
        match &passed {
            Ok(Passed::Over(why)) => {
                self.tally.count(Count::Skipped);
                trip.tell(Progress::PassedBy {
                    station: &self.name,
                    why,
                });
            }
            Ok(Passed::TooDear { reason }) => {
                self.tally.count(Count::Unaffordable);
                trip.tell(Progress::PassedBy {
                    station: &self.name,
                    why: reason,
                });
            }
            Ok(Passed::Later { .. }) => self.tally.count(Count::Postponed),
            _ => {}
        }
        passed
    }

    async fn pass<'a>(&'a self, trip: &mut Trip<'a>, lead: &mut Lead) -> Result<Passed, Failure> {
        if let Some(when) = &self.when
            && !when.holds(lead)?
        {
            return Ok(Passed::Over("its condition is not true".into()));
        }
        if let Some(passed) = self.lacks(trip, lead)? {
            return Ok(passed);
        }
        match self.question(trip, lead) {
            None => self.ask(trip, lead).await,
            // Boxed, as all that most stations do without, so that each lead's future stays small.
            Some(question) => Box::pin(self.recall(trip, question, lead)).await,
        }
    }

    /// What was found for the same question before, else the station's answer.
    async fn recall<'a>(
        &'a self,
        trip: &mut Trip<'a>,
        (cache, question): (&'a Cache, String),
        lead: &mut Lead,
    ) -> Result<Passed, Failure> {
        trip.now = None;
        if self.remember(trip, &question, lead).await? {
            return Ok(Passed::On);
        }
        lead.keep_writes();
        let asked = self.ask(trip, lead).await;
        let writes = lead.take_writes();
        let passed = asked?;
        if passed == Passed::On
            && let Some(store) = trip.store
        {
            let found = serde_json::to_vec(&writes).expect("writes are JSON");
            // A memory that cannot be kept costs a call later, and nothing else.
            if let Err(error) = store
                .cache(&self.scope, &question, &found, cache.ttl())
                .await
            {
                tracing::debug!(station = self.name, "cannot remember an answer: {error}");
            }
            trip.now = None;
        }
        Ok(passed)
    }

    /// What the lead lacks of what the station needs.
    fn lacks(&self, trip: &Trip<'_>, lead: &Lead) -> Result<Option<Passed>, Failure> {
        for need in &self.needs {
            let field = need.field.get_ref();
            if has(lead, field) {
                continue;
            }
            if need.makers.is_empty() {
                return Err(Failure::new(
                    ErrorKind::Invalid,
                    format!("the lead has no {field}"),
                ));
            }
            let Some(maker) = need.makers.iter().find(|maker| !trip.was_passed_by(maker)) else {
                return Ok(Some(Passed::Over(format!(
                    "it needs {field}, and {} was passed by",
                    need.makers.join(", ")
                ))));
            };
            return Err(Failure::new(
                ErrorKind::Permanent,
                format!("the lead has no {field}, which {maker} was to bring"),
            ));
        }
        Ok(None)
    }

    fn question(&self, trip: &Trip<'_>, lead: &Lead) -> Option<(&Cache, String)> {
        trip.store.filter(|_| !trip.dry_run)?;
        let cache = self.cache.as_ref()?;
        Some((cache, cache.question(lead)?))
    }

    /// Puts into the lead what was found for the same question before, if anything was.
    ///
    /// # Errors
    /// [`Failure`] where it does not fit the lead, or where Redis refuses to tell.
    async fn remember<'a>(
        &'a self,
        trip: &mut Trip<'a>,
        question: &str,
        lead: &mut Lead,
    ) -> Result<bool, Failure> {
        let Some(store) = trip.store else {
            return Ok(false);
        };
        // Not to know is not to have nothing: what may be there is not paid for again.
        let look_up = || store.cached(&self.scope, question);
        let found = trip.journey.answer(look_up).await?;
        // What earlier versions remembered is an object: it is found anew.
        let Some(found) = found.and_then(|found| serde_json::from_slice(&found).ok()) else {
            return Ok(false);
        };
        // All of it or nothing: a failed station may be passed over.
        let mut changed = lead.clone();
        changed.write(found).map_err(|error| {
            Failure::new(
                ErrorKind::Permanent,
                format!("what is remembered does not fit the lead: {error}"),
            )
        })?;
        self.tally.count(Count::Cached);
        trip.arrive(&self.name, lead);
        *lead = changed;
        trip.tell(Progress::Left {
            station: &self.name,
            at: Instant::now(),
            took: Duration::ZERO,
            error: None,
            cost: Money::ZERO,
            lead,
        });
        Ok(true)
    }

    /// Calls the station, as soon as it may be.
    async fn ask<'a>(&'a self, trip: &mut Trip<'a>, lead: &mut Lead) -> Result<Passed, Failure> {
        let (_place, day) = if self.is_free() {
            (None, None)
        } else {
            trip.now = None;
            match Box::pin(self.leave(trip)).await? {
                Leave::Granted(place, day) => (place, day),
                Leave::Refused(passed) => return Ok(passed),
            }
        };
        trip.arrive(&self.name, lead);
        let call = Call::new(trip.id, trip.store, trip.dry_run).on(trip.journey, &self.scope);
        let running = Running {
            provider: self,
            trip: (trip.journey, trip.pipeline, trip.ledger),
            call: &call,
            day,
            started: trip.now.take().unwrap_or_else(Instant::now),
            waited: trip.journey.waited(),
            over: false,
            put_off: false,
        };
        let result = match self.timeout {
            None => self.station.work(&call, lead).await,
            Some(limit) => Box::pin(self.work_within(limit, trip.journey, &call, lead)).await,
        };
        let result = result.or_else(|failure| {
            if !failure.is_shortage {
                return Err(failure);
            }
            let error = trip.secrets.hide(failure.error);
            Ok(Outcome::Postpone {
                wait: shortage::tell(&self.name, &error),
                reason: format!("this machine: {error}"),
            })
        });
        let at = Instant::now();
        let (took, cost, debt) = running.end(at, &result);
        let said = result
            .as_ref()
            .err()
            .map(|failure| trip.secrets.hide(failure.error.clone()));
        trip.tell(Progress::Left {
            station: &self.name,
            at,
            took,
            error: said.as_deref(),
            cost,
            lead,
        });
        trip.now = Some(at);
        if let Some(debt) = debt {
            Box::pin(trip.settle(debt)).await;
            trip.now = None;
        }
        Ok(match result? {
            Outcome::Continue => Passed::On,
            Outcome::SkipRest { reason } => Passed::Ended {
                station: self.name.clone(),
                reason: trip.secrets.hide(reason),
            },
            Outcome::Postpone { wait, reason } => self.later(wait, reason),
        })
    }

    async fn work_within(
        &self,
        limit: Duration,
        journey: &Journey,
        call: &Call<'_>,
        lead: &mut Lead,
    ) -> Result<Outcome, Failure> {
        let mut work = self.station.work(call, lead);
        journey
            .within(tokio::time::Instant::now(), limit, work.as_mut())
            .await
            .unwrap_or_else(|| {
                Err(Failure::new(
                    ErrorKind::Timeout,
                    format!("no answer within {} s", limit.as_secs_f64()),
                ))
            })
    }

    /// Waits for a free place, a moment of the rate and the money, in this order: a place is held
    /// while waiting for the rate, so that no moment is reserved that cannot be used.
    async fn leave(&self, trip: &mut Trip<'_>) -> Result<Leave<'_>, Failure> {
        if self.costs()
            && let Some(reason) = trip.cannot_afford(self.cost)
        {
            return Ok(Leave::Refused(Passed::TooDear { reason }));
        }
        let Ok(place) = self.place(trip.journey).await else {
            return Ok(Leave::Refused(
                self.later(trip.journey.patience(), "a free place".into()),
            ));
        };
        let Some(store) = trip.store.filter(|_| !trip.dry_run) else {
            return Ok(Leave::Granted(place, None));
        };
        let (journey, too_dear) = (trip.journey, trip.day_is_used_up(self.cost));
        let purchase = Purchase {
            pipeline: trip.pipeline,
            cost: self.cost,
            daily_budget: trip.daily_budget,
        };
        if let Some(rate) = &self.rate {
            match self.moment(store, journey, rate, &purchase).await? {
                Paced::In(wait) => journey.sleep(wait).await,
                Paced::Later(wait) => {
                    let passed = self.later(wait, format!("its rate of {rate}"));
                    return Ok(Leave::Refused(passed));
                }
                Paced::TooDear => return Ok(Leave::Refused(too_dear)),
            }
        }
        if !self.costs() {
            return Ok(Leave::Granted(place, None));
        }
        Ok(match journey.answer(|| store.spend(&purchase)).await? {
            Some(day) => Leave::Granted(place, Some(day)),
            None => Leave::Refused(too_dear),
        })
    }

    /// Whether a call needs neither a place nor a moment nor money.
    fn is_free(&self) -> bool {
        self.places.is_none() && self.rate.is_none() && !self.costs()
    }

    /// Whether calls cost money, as the route says or as one of them has turned out.
    fn costs(&self) -> bool {
        self.cost > Money::ZERO || self.has_cost.load(Ordering::Relaxed)
    }

    /// A place of those that the route allows this worker; an error where none was free in time.
    async fn place(&self, journey: &Journey) -> Result<Option<SemaphorePermit<'_>>, ()> {
        let Some(places) = &self.places else {
            return Ok(None);
        };
        if let Ok(place) = places.try_acquire() {
            return Ok(Some(place));
        }
        let place = journey.wait(journey.patience(), places.acquire()).await;
        place
            .map(|place| Some(place.expect("the places are never closed")))
            .ok_or(())
    }

    async fn moment(
        &self,
        store: &Store,
        journey: &Journey,
        rate: &Rate,
        purchase: &Purchase<'_>,
    ) -> Result<Paced, Failure> {
        let pace = Pace {
            scope: &self.scope,
            interval_us: rate.interval_us(),
            units: 1,
            patience: journey.patience(),
            longest: AWAY,
        };
        journey.answer(|| store.pace(&pace, purchase)).await
    }

    fn later(&self, wait: Duration, reason: String) -> Passed {
        Passed::Later {
            station: self.name.clone(),
            wait,
            reason,
        }
    }
}

/// A call under way. However it ends, by itself, by a panic or because nobody waits for it any
/// longer, it is counted and its money accounted for.
struct Running<'a, 'c> {
    provider: &'a Provider,
    trip: (&'a Journey, &'a str, &'a Ledger),
    call: &'c Call<'c>,
    /// The day that the money was taken from.
    day: Option<i64>,
    started: Instant,
    waited: Duration,
    over: bool,
    /// Whether the station put the lead off instead of working on it.
    put_off: bool,
}

impl Running<'_, '_> {
    /// The end of it: how long it took, what it cost, and what is to be corrected.
    fn end(
        mut self,
        at: Instant,
        result: &Result<Outcome, Failure>,
    ) -> (Duration, Money, Option<Debt>) {
        self.over = true;
        self.put_off = matches!(result, Ok(Outcome::Postpone { .. }));
        let bad = result
            .as_ref()
            .err()
            .map(|failure| BadEnd::Failed(failure.kind));
        self.account(at, bad)
    }

    fn account(&self, at: Instant, bad: Option<BadEnd>) -> (Duration, Money, Option<Debt>) {
        let (journey, pipeline, _) = self.trip;
        let waited = journey.waited().saturating_sub(self.waited);
        let took = at.duration_since(self.started).saturating_sub(waited);
        let planned = self.provider.cost;
        // Where nothing was done nothing was spent, unless the station says so.
        let usual = if self.put_off { Money::ZERO } else { planned };
        let cost = self.call.cost().unwrap_or(usual);
        journey.spend(cost);
        if cost > planned {
            self.provider.has_cost.store(true, Ordering::Relaxed);
        }
        if !self.put_off {
            self.provider
                .tally
                .call(took, cost, self.call.tokens(), bad);
        }
        let signed = |money: Money| i64::try_from(money.micros()).unwrap_or(i64::MAX / 2);
        let more = signed(cost) - signed(planned);
        let debt = (more != 0 && !self.call.is_dry_run()).then(|| Debt {
            pipeline: pipeline.to_owned(),
            day: self.day.unwrap_or_else(|| {
                let now = self.call.store().map_or(0, Store::now);
                now.div_euclid(86_400_000)
            }),
            more,
        });
        (took, cost, debt)
    }
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let bad = if std::thread::panicking() {
            BadEnd::Failed(ErrorKind::Panic)
        } else {
            BadEnd::Cancelled
        };
        if let (_, _, Some(debt)) = self.account(Instant::now(), Some(bad)) {
            self.trip.2.owe(debt);
        }
    }
}

#[cfg(test)]
mod tests {
    use bridge_shared::config::RedisArgs;
    use bridge_shared::sandbox::Sandbox;
    use bridge_shared::stats::StationStats;

    use super::super::{Arrival, Pipeline, Source, Surroundings};
    use super::*;

    /// A station whose calls cost what they turn out to cost, wait for a rate of their own, or
    /// never end.
    #[derive(Debug, Clone, Copy)]
    struct Odd {
        cost: Option<Money>,
        ends: bool,
        own_rate: Option<Rate>,
    }

    impl Station for Odd {
        fn work<'a>(
            &'a self,
            call: &'a Call<'a>,
            _lead: &'a mut Lead,
        ) -> BoxFuture<'a, Result<Outcome, Failure>> {
            async move {
                if let Some(rate) = &self.own_rate
                    && let Some(later) = call.pace(rate, 1).await?
                {
                    return Ok(later);
                }
                if let Some(cost) = self.cost {
                    call.spend(cost);
                }
                if !self.ends {
                    std::future::pending::<()>().await;
                }
                Ok(Outcome::Continue)
            }
            .boxed()
        }
    }

    /// A Redis of one's own and what a worker has besides.
    struct Bench {
        store: Store,
        ledger: Ledger,
        redis: std::sync::Mutex<Sandbox>,
    }

    impl Bench {
        async fn new() -> Self {
            Self::with(&[]).await
        }

        async fn with(settings: &[&str]) -> Self {
            let redis = Sandbox::start(settings).expect("a private Redis");
            let args = RedisArgs::of(redis.url(), ["q", "f", "e"]);
            Self {
                store: Store::connect(&args).await.expect("a store"),
                ledger: Ledger::default(),
                redis: redis.into(),
            }
        }

        fn pipeline(&self, route: &str, station: Odd) -> Pipeline {
            let text = format!(
                "[pipelines.p]\n{route}\n[[pipelines.p.stations]]\nkind = \"noop\"\nname = \"odd\"\ncost = 0.01\n"
            );
            let mut pipeline =
                Pipeline::parse(&Source::default(), &text, &self.ledger).expect(&text);
            pipeline.steps[0].waterfall[0].station = Box::new(station);
            pipeline
        }

        /// Brings a lead through, for so long at most.
        async fn run(&self, pipeline: &Pipeline, limit: Duration) -> (Option<Arrival>, Money) {
            let journey = Journey::new(Money::ZERO);
            let around = Surroundings {
                store: Some(&self.store),
                ledger: &self.ledger,
                dry_run: false,
                now: None,
            };
            let mut observe = |_: Progress<'_>| {};
            let run = pipeline.run(around, &journey, "id", br#"{"name":"Ada"}"#, &mut observe);
            let arrival = tokio::time::timeout(limit, run).await.ok();
            let arrival = arrival.map(|arrival| arrival.expect("no failure"));
            (arrival, journey.spent())
        }

        async fn spent(&self) -> Money {
            let day = self.store.now().div_euclid(86_400_000);
            self.store.spent("p", day).await.expect("the day's money")
        }

        fn stats(&self) -> StationStats {
            let mut stats = StationStats::default();
            for (field, n) in self.ledger.take() {
                let (_, _, figure): (String, String, String) =
                    serde_json::from_str(&field).expect("a figure's name");
                stats.add(&figure, n);
            }
            stats
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn odd(cost: Option<u64>) -> Odd {
        Odd {
            cost: cost.map(Money::from_micros),
            ends: true,
            own_rate: None,
        }
    }

    #[tokio::test]
    async fn what_a_call_really_cost_is_what_counts() {
        let bench = Bench::new().await;
        let mut sum = 0;
        for (cost, counts) in [(None, 10_000), (Some(30_000), 30_000), (Some(0), 0)] {
            let pipeline = bench.pipeline("", odd(cost));
            let (_, spent) = bench.run(&pipeline, LONG).await;
            sum += counts;
            assert_eq!(spent, Money::from_micros(counts), "{cost:?}");
            assert_eq!(bench.spent().await, Money::from_micros(sum), "{cost:?}");
        }
        assert_eq!(bench.stats().cost, Money::from_micros(sum));
        assert_eq!(bench.ledger.take_debts(), []);
    }

    #[tokio::test]
    async fn a_day_that_turned_out_dearer_is_over_at_the_next_call() {
        let bench = Bench::new().await;
        let pipeline = bench.pipeline("daily_budget = 0.05", odd(Some(45_000)));
        let mut ends = Vec::new();
        for _ in 0..3 {
            let (arrival, _) = bench.run(&pipeline, LONG).await;
            let Some(Arrival::Done { skipped, .. }) = arrival else {
                panic!("{arrival:?}");
            };
            ends.push(skipped.is_some());
        }
        assert_eq!(ends, [false, true, true]);
        assert_eq!(bench.spent().await, Money::from_micros(45_000));
        assert_eq!(bench.stats().unaffordable, 2);
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_longer_is_counted_and_owed() {
        let bench = Bench::new().await;
        let station = Odd {
            ends: false,
            ..odd(Some(30_000))
        };
        let pipeline = bench.pipeline("", station);
        // Long enough to have begun: until then the money is not taken.
        let mut limit = Duration::from_millis(100);
        while bench.run(&pipeline, limit).await.1 == Money::ZERO {
            limit *= 2;
        }
        assert_eq!(bench.spent().await, Money::from_micros(10_000));
        let debts = bench.ledger.take_debts();
        assert_eq!(debts.len(), 1);
        assert_eq!((debts[0].pipeline.as_str(), debts[0].more), ("p", 20_000));
        let stats = bench.stats();
        assert_eq!((stats.calls, stats.failures["cancelled"]), (1, 1));
        assert_eq!(stats.cost, Money::from_micros(30_000));
    }

    #[tokio::test]
    async fn a_rate_of_a_stations_own_is_shared_too() {
        let bench = Bench::new().await;
        let station = Odd {
            own_rate: Rate::parse("1/h"),
            ..odd(None)
        };
        let first = bench.pipeline("", station);
        let (arrival, _) = bench.run(&first, LONG).await;
        assert!(matches!(arrival, Some(Arrival::Done { .. })), "{arrival:?}");
        // Another worker's: what they share is in Redis.
        let second = bench.pipeline("", station);
        let (arrival, spent) = bench.run(&second, LONG).await;
        let Some(Arrival::Later { wait, reason, .. }) = arrival else {
            panic!("{arrival:?}");
        };
        assert_eq!(wait, AWAY);
        assert_eq!(reason, "its rate of 1/h");
        assert_eq!(spent, Money::ZERO);
        assert_eq!(bench.spent().await, Money::from_micros(10_000));
        let stats = bench.stats();
        assert_eq!((stats.calls, stats.postponed), (1, 1));
    }

    #[test]
    fn a_station_has_no_more_places_than_it_says() {
        for (keys, places) in [
            ("mode = \"lines\"", Some(1)),
            ("mode = \"lines\"\nprocesses = 3", Some(3)),
            ("mode = \"lines\"\nprocesses = 3\nconcurrency = 9", Some(3)),
            ("mode = \"lines\"\nprocesses = 3\nconcurrency = 2", Some(2)),
            ("concurrency = 2", Some(2)),
            ("", None),
        ] {
            let text = format!(
                "[[pipelines.p.stations]]\nkind = \"exec\"\nname = \"x\"\ncommand = [\"sh\"]\n{keys}\n"
            );
            let pipeline = Pipeline::parse(&Source::default(), &text, &Ledger::default());
            let provider = &pipeline.expect(&text).steps[0].waterfall[0];
            assert_eq!(provider.concurrency, places, "{keys}");
            let free = provider.places.as_ref().map(Semaphore::available_permits);
            assert_eq!(free, places, "{keys}");
        }
    }

    #[tokio::test]
    async fn a_look_at_the_clock_serves_until_redis_is_waited_for() {
        let bench = Bench::new().await;
        let mut pipeline = bench.pipeline("", odd(None));
        let question = (Duration::from_secs(600), vec!["name".to_owned()]);
        let mut known = Vec::new();
        for cache in [false, true, true] {
            let question = cache.then(|| Cache::new(question.clone(), "odd".into()));
            pipeline.steps[0].waterfall[0].cache = question;
            let (arrival, _) = bench.run(&pipeline, LONG).await;
            let Some(Arrival::Done { now, .. }) = arrival else {
                panic!("{arrival:?}");
            };
            known.push(now.is_some());
        }
        // Asked; asked, and the answer kept; found.
        assert_eq!(known, [true, false, false]);
        assert_eq!(bench.stats().cached, 1);
    }

    #[tokio::test]
    async fn what_may_be_remembered_is_not_paid_for_while_redis_is_away() {
        let bench = Bench::with(&["--appendonly", "yes", "--appendfsync", "always"]).await;
        let mut pipeline = bench.pipeline("", odd(Some(30_000)));
        let question = (Duration::from_secs(600), vec!["name".to_owned()]);
        pipeline.steps[0].waterfall[0].cache = Some(Cache::new(question, "odd".into()));
        let (_, spent) = bench.run(&pipeline, LONG).await;
        assert_eq!(spent, Money::from_micros(30_000));
        bench.redis.lock().expect("the server").kill();
        let back = async {
            // So that it is asked for in vain first.
            tokio::time::sleep(Duration::from_millis(300)).await;
            bench.redis.lock().expect("the server").restart()
        };
        let ((arrival, spent), back) = tokio::join!(bench.run(&pipeline, LONG), back);
        back.expect("Redis is back");
        assert!(matches!(arrival, Some(Arrival::Done { .. })), "{arrival:?}");
        assert_eq!(spent, Money::ZERO);
        let stats = bench.stats();
        assert_eq!((stats.calls, stats.cached), (1, 1));
    }
}
