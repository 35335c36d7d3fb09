//! The route a lead takes, station by station.
//!
//! - [`admission`]: what is refused before it sets out
//! - [`route`]: the route file
//! - [`keys`]: a table of it, taken apart with every mistake in it
//! - [`contract`]: proves that every station gets what it needs and is reached
//! - [`step`]: a place on a route: a station and those that take over from it
//! - [`provider`]: a station with what every station has, and one call of it
//! - [`station`]: what a station is, and one file for each kind
//! - [`sink`]: where enriched leads go, and one file for each kind
//! - [`trip`], [`journey`]: what comes along with a lead; what an attempt cost and waited
//! - [`ledger`]: what the stations did and cost, until it is written to Redis
//! - [`expression`], [`vocabulary`]: conditions and texts over a lead's fields; words unknown in them
//! - [`secrets`]: what comes from the environment, and keeping it out of what is shown
//! - [`outline`]: a route as it is shown
//! - [`budget`], [`arithmetic`]: how much work and memory one lead may take; lists in sums and products
//! - [`rate`], [`cache`]: how often; what was found before

pub(crate) mod admission;
mod arithmetic;
mod budget;
mod cache;
mod contract;
mod expression;
mod journey;
mod keys;
mod ledger;
mod outline;
mod provider;
mod rate;
mod route;
mod secrets;
mod shortage;
pub(crate) mod sink;
mod station;
mod step;
pub(crate) mod trial;
mod trip;
mod vocabulary;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use bridge_shared::store::Store;

pub(crate) use journey::Journey;
pub(crate) use ledger::Ledger;
pub(crate) use outline::{SinkOutline, StationOutline, outlines};
pub(crate) use route::{Fault, RouteError, Source};
use secrets::Secrets;
use sink::Sinks;
use step::Step;
use trip::{Passed, Trip};

/// A route, ready to run.
#[derive(Debug)]
pub(crate) struct Pipeline {
    name: String,
    steps: Vec<Step>,
    sinks: Arc<Sinks>,
    budget: Option<Money>,
    daily_budget: Option<Money>,
    secrets: Secrets,
}

/// Where a lead is on its route.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Progress<'a> {
    /// It has come to a station.
    Arrived {
        /// The station's name.
        station: &'a str,
        /// The lead as the station gets it.
        lead: &'a Lead,
    },
    /// The station is done with it.
    Left {
        /// The station's name.
        station: &'a str,
        /// When.
        at: Instant,
        /// How long it took.
        took: Duration,
        /// What went wrong, in words.
        error: Option<&'a str>,
        /// What it cost.
        cost: Money,
        /// The lead as the station left it.
        lead: &'a Lead,
    },
    /// The station was not called.
    PassedBy {
        /// The station's name.
        station: &'a str,
        /// Why.
        why: &'a str,
    },
}

/// What became of a lead that did not fail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It is enriched.
    Done {
        /// The enriched lead.
        lead: Vec<u8>,
        /// Where and why it ended early, on purpose.
        skipped: Option<Skip>,
        /// The time, where nothing was waited for since somebody looked.
        now: Option<Instant>,
    },
    /// It is to come back.
    Later {
        /// The station that it waits for.
        station: String,
        /// How long, at least.
        wait: Duration,
        /// What it waits for.
        reason: String,
    },
}

/// Where and why a lead ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    /// The station that ended it, or that it could not afford.
    pub(crate) station: String,
    /// Why.
    pub(crate) reason: String,
    /// Whether a budget did not allow a call, rather than the design of the pipeline.
    pub(crate) over_budget: bool,
}

/// Why a lead did not come through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The station it failed at; empty where it reached none.
    pub(crate) station: String,
    /// The kind of failure, which decides about a retry.
    pub(crate) kind: ErrorKind,
    /// What went wrong, in words.
    pub(crate) error: String,
    /// How long the service asked to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the route wants no retry, whatever the kind.
    pub(crate) is_final: bool,
    /// Whether this machine lacked something: the lead is put off.
    pub(crate) is_shortage: bool,
}

impl Failure {
    /// A failure of a kind; the station's name is filled in by the pipeline.
    pub(crate) fn new(kind: ErrorKind, error: impl Into<String>) -> Self {
        Self {
            station: String::new(),
            kind,
            error: error.into(),
            retry_after: None,
            is_final: false,
            is_shortage: false,
        }
    }

    /// The same, made of an error that may be a shortage of this machine.
    pub(crate) fn because_of(
        kind: ErrorKind,
        error: impl Into<String>,
        cause: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self {
            is_shortage: shortage::is_cause_of(cause),
            ..Self::new(kind, error)
        }
    }

    /// Whether another try can help.
    pub(crate) fn may_pass(&self) -> bool {
        self.kind.is_transient() && !self.is_final
    }

    /// The error with its station.
    fn said(&self) -> String {
        format!("{}: {}", self.station, self.error)
    }
}

/// What a lead's way needs from the process it is in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// Redis, for what stations share.
    pub(crate) store: Option<&'a Store>,
    /// Where calls and their cost are counted.
    pub(crate) ledger: &'a Ledger,
    /// Whether nothing may be counted or remembered in Redis.
    pub(crate) dry_run: bool,
    /// The time, where somebody has just looked at the clock.
    pub(crate) now: Option<Instant>,
}

/// Bytes of a lead that is read in a few microseconds.
const SMALL: usize = 16 * 1024;

impl Pipeline {
    /// Makes the named pipeline of a route file, or the one the file names as its default.
    ///
    /// # Errors
    /// [`RouteError`].
    pub(crate) fn load(source: &Source, ledger: &Ledger) -> Result<Self, RouteError> {
        Self::parse(source, &source.text()?, ledger)
    }

    /// The same from a text that was read before.
    ///
    /// # Errors
    /// [`RouteError`].
    pub(crate) fn parse(source: &Source, text: &str, ledger: &Ledger) -> Result<Self, RouteError> {
        let routes = route::read(source, text, ledger)?;
        let name = source.name.clone().or(routes.default);
        let route = routes
            .pipelines
            .into_iter()
            .find(|route| Some(&route.name) == name.as_ref())
            .ok_or_else(|| RouteError::NoChoice(source.shown()))?;
        Ok(Self {
            name: route.name,
            steps: route.steps,
            sinks: Arc::new(route.sinks.hiding(routes.secrets.clone())),
            budget: route.budget,
            daily_budget: route.daily_budget,
            secrets: routes.secrets,
        })
    }

    /// The pipeline's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// All that has figures, in the order of the route: its stations, the fallbacks of each after
    /// it, and its sinks.
    pub(crate) fn stations(&self) -> impl Iterator<Item = String> {
        let providers = self.steps.iter().flat_map(|step| &step.waterfall);
        let stations = providers.map(|provider| provider.name.clone());
        stations.chain(self.sinks.figures())
    }

    /// The station whose name stands at this address in memory.
    pub(crate) fn station_named_at(&self, address: usize) -> Option<&str> {
        let mut providers = self.steps.iter().flat_map(|step| &step.waterfall);
        let found = providers.find(|provider| provider.name.as_ptr().addr() == address)?;
        Some(&found.name)
    }

    /// Where its enriched leads go.
    pub(crate) fn sinks(&self) -> &Arc<Sinks> {
        &self.sinks
    }

    /// Whether a station cannot do without Redis.
    pub(crate) fn needs_store(&self) -> bool {
        let mut providers = self.steps.iter().flat_map(|step| &step.waterfall);
        providers.any(|provider| provider.station.needs_store())
    }

    /// A text with every value from the environment replaced by its name.
    pub(crate) fn hide(&self, text: String) -> String {
        self.secrets.hide(text)
    }

    /// Brings a lead along its route.
    ///
    /// # Errors
    /// [`Failure`], at the first station that fails and whose failure is not passed over.
    pub(crate) async fn run(
        &self,
        around: Surroundings<'_>,
        journey: &Journey,
        id: &str,
        bytes: &[u8],
        observe: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Arrival, Failure> {
        let mut lead = Lead::parse(bytes)
            .map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))?;
        let mut trip = Trip {
            id,
            pipeline: &self.name,
            budget: self.budget,
            daily_budget: self.daily_budget,
            secrets: &self.secrets,
            ledger: around.ledger,
            journey,
            store: around.store,
            dry_run: around.dry_run,
            // To read a large lead takes time.
            now: around.now.filter(|_| bytes.len() < SMALL),
            observe,
            executed: Vec::with_capacity(self.steps.len()),
            passed_by: Vec::new(),
            errors: Vec::new(),
            grown: budget::grown(bytes.len()),
        };
        let mut skipped = None;
        for step in &self.steps {
            match step.call(&mut trip, &mut lead).await? {
                Passed::On | Passed::Over(_) => continue,
                Passed::Ended { station, reason } => {
                    skipped = Some(Skip {
                        station,
                        reason,
                        over_budget: false,
                    });
                }
                Passed::TooDear { reason } => {
                    let station = step.name().to_owned();
                    skipped = Some(Skip {
                        station,
                        reason,
                        over_budget: true,
                    });
                }
                Passed::Later {
                    station,
                    wait,
                    reason,
                } => {
                    return Ok(Arrival::Later {
                        station,
                        wait,
                        reason,
                    });
                }
            }
            break;
        }
        Ok(Arrival::Done {
            lead: seal(lead, &trip, skipped.as_ref()),
            skipped,
            now: trip.now,
        })
    }
}

/// Adds what readers of enriched leads expect. Source: the wire contract in `ARCHITECTURE.md`.
fn seal(mut lead: Lead, trip: &Trip<'_>, skipped: Option<&Skip>) -> Vec<u8> {
    lead.reserve(5);
    lead.set("saved", &true);
    lead.set("_pipeline_cost", &trip.journey.spent().dollars());
    lead.set("_pipeline_stations_executed", &trip.executed);
    lead.set("_pipeline_errors", &trip.errors);
    if let Some(Skip {
        station, reason, ..
    }) = skipped
    {
        lead.set("_pipeline_skipped", &format!("{station}: {reason}"));
    }
    lead.to_json()
}

/// Whether a lead has something in a field; `path` may go into objects with dots.
fn has(lead: &Lead, path: &str) -> bool {
    if let Some(value) = lead.get(path) {
        let text = value.trim_matches('"');
        return value != "null" && !text.trim().is_empty();
    }
    let Some((outer, inner)) = path.split_once('.') else {
        return false;
    };
    lead.get(outer)
        .and_then(|value| Lead::parse(value.as_bytes()).ok())
        .is_some_and(|object| has(&object, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What became of a lead on a route, and what was seen of it.
    struct Seen {
        result: Result<Arrival, Failure>,
        log: Vec<String>,
        spent: Money,
    }

    impl Seen {
        #[track_caller]
        fn lead(&self) -> serde_json::Value {
            let Ok(Arrival::Done { lead, .. }) = &self.result else {
                panic!("{:?}", self.result);
            };
            serde_json::from_slice(lead).expect("an enriched lead is JSON")
        }

        #[track_caller]
        fn failure(&self) -> &Failure {
            self.result.as_ref().expect_err("a failure")
        }
    }

    fn pipeline(stations: &str) -> Pipeline {
        let source = Source::default();
        let text = format!("[pipelines.p]\n{stations}");
        Pipeline::parse(&source, &text, &Ledger::default()).expect(&text)
    }

    async fn run(pipeline: &Pipeline, lead: &str) -> Seen {
        let mut log = Vec::new();
        let mut observe = |progress: Progress<'_>| match progress {
            Progress::Arrived { .. } => {}
            Progress::Left { station, error, .. } => {
                log.push(
                    error.map_or_else(|| station.to_owned(), |error| format!("{station}! {error}")),
                );
            }
            Progress::PassedBy { station, why } => log.push(format!("({station}: {why})")),
        };
        let (ledger, journey) = (Ledger::default(), Journey::new(Money::ZERO));
        let around = Surroundings {
            store: None,
            ledger: &ledger,
            dry_run: true,
            now: None,
        };
        let result = pipeline
            .run(around, &journey, "id", lead.as_bytes(), &mut observe)
            .await;
        Seen {
            result,
            log,
            spent: journey.spent(),
        }
    }

    async fn on(stations: &str, lead: &str) -> Seen {
        run(&pipeline(stations), lead).await
    }

    #[tokio::test]
    async fn an_enriched_lead_keeps_its_fields_and_says_how_it_came_through() {
        let built_in =
            Pipeline::load(&Source::default(), &Ledger::default()).expect("the built-in route");
        assert_eq!(built_in.name(), "default");
        let lead = r#"{"name":"Ada Example","linkedinUrl":"linkedin.com/in/ada","x":1.0}"#;
        let seen = run(&built_in, lead).await;
        let Ok(Arrival::Done { lead, skipped, .. }) = &seen.result else {
            panic!("{:?}", seen.result);
        };
        assert_eq!(
            String::from_utf8_lossy(lead),
            r#"{"name":"Ada Example","linkedinUrl":"https://www.linkedin.com/in/ada","x":1.0,"firstName":"Ada","lastName":"Example","saved":true,"_pipeline_cost":0.0,"_pipeline_stations_executed":["identity"],"_pipeline_errors":[]}"#
        );
        assert_eq!((seen.log, skipped), (vec!["identity".to_owned()], &None));
    }

    #[tokio::test]
    async fn what_is_no_lead_reaches_no_station() {
        let seen = on("stations = [{ kind = \"noop\", name = \"n\" }]", "[1]").await;
        let failure = seen.failure();
        assert_eq!(
            (failure.kind, failure.station.as_str()),
            (ErrorKind::Invalid, "")
        );
        assert_eq!(failure.error, "not a JSON object but a list");
    }

    #[tokio::test]
    async fn a_failure_names_its_station_and_the_route_decides_what_it_leads_to() {
        let route = |on_error: &str| {
            format!(
                "stations = [{{ kind = \"identity\", name = \"who\", on_error = \"{on_error}\" }}, {{ kind = \"noop\", name = \"n\" }}]"
            )
        };
        for (on_error, is_final) in [("retry", false), ("dead", true)] {
            let seen = on(&route(on_error), "{}").await;
            let failure = seen.failure();
            assert_eq!(
                (failure.station.as_str(), failure.is_final),
                ("who", is_final)
            );
            assert_eq!(failure.kind, ErrorKind::Invalid);
        }
        let error = "who: the lead has neither a LinkedIn URL nor a name";
        let lead = on(&route("skip"), "{}").await.lead();
        assert_eq!(lead["_pipeline_errors"], serde_json::json!([error]));
        assert_eq!(
            lead["_pipeline_stations_executed"],
            serde_json::json!(["who", "n"])
        );
        let lead = on(&route("stop"), "{}").await.lead();
        assert_eq!(lead["_pipeline_skipped"], error);
        assert_eq!(
            lead["_pipeline_stations_executed"],
            serde_json::json!(["who"])
        );
    }

    #[tokio::test]
    async fn a_station_whose_condition_is_not_true_is_passed_by_and_so_is_who_needs_it() {
        let route = "input = [\"x\"]\nstations = [{ kind = \"noop\", name = \"a\", when = \"x > 1\", produces = [\"y\"] }, { kind = \"noop\", name = \"b\", requires = [\"y\"] }, { kind = \"noop\", name = \"c\" }]";
        let seen = on(route, r#"{"x":1}"#).await;
        assert_eq!(
            seen.log,
            [
                "(a: its condition is not true)",
                "(b: it needs y, and a was passed by)",
                "c"
            ]
        );
        let seen = on(route, r#"{"x":2}"#).await;
        let failure = seen.failure();
        assert_eq!(
            (failure.kind, failure.error.as_str()),
            (
                ErrorKind::Permanent,
                "the lead has no y, which a was to bring"
            )
        );
        let seen = on(route, r#"{"x":2,"y":7}"#).await;
        assert_eq!(seen.log, ["a", "b", "c"]);
        let needs_x = "input = [\"x.z\"]\nstations = [{ kind = \"noop\", name = \"a\", requires = [\"x.z\"] }]";
        assert_eq!(on(needs_x, r#"{"x":{"z":0}}"#).await.log, ["a"]);
        for lead in [
            "{}",
            r#"{"x":{"z":""}}"#,
            r#"{"x":{"z":null}}"#,
            r#"{"x":7}"#,
        ] {
            let seen = on(needs_x, lead).await;
            assert_eq!(seen.failure().error, "the lead has no x.z", "{lead}");
            assert_eq!(seen.failure().kind, ErrorKind::Invalid);
        }
    }

    #[tokio::test]
    async fn money_is_counted_and_what_cannot_be_afforded_ends_the_lead() {
        let route = "budget = 0.05\nstations = [{ kind = \"noop\", name = \"a\", cost = 0.02 }, { kind = \"noop\", name = \"b\", cost = 0.03 }, { kind = \"noop\", name = \"free\" }, { kind = \"noop\", name = \"c\", cost = 0.01 }, { kind = \"noop\", name = \"d\" }]";
        let seen = on(route, "{}").await;
        assert_eq!(seen.spent, Money::from_micros(50_000));
        let lead = seen.lead();
        assert_eq!(lead["_pipeline_cost"], 0.05);
        assert_eq!(
            lead["_pipeline_stations_executed"],
            serde_json::json!(["a", "b", "free"])
        );
        assert_eq!(
            lead["_pipeline_skipped"],
            "c: it costs $0.01, and $0.05 of the lead's budget of $0.05 are spent"
        );
        assert_eq!(lead["saved"], true);
    }

    #[tokio::test]
    async fn the_next_provider_is_asked_while_something_is_missing() {
        let route = |first: &str| {
            format!(
                "input = [\"name\"]\n[[pipelines.p.stations]]\n{first}\nproduces = [\"linkedinUrl\"]\n[[pipelines.p.stations.fallback]]\nkind = \"noop\"\nname = \"second\"\ncost = 0.01\n[[pipelines.p.stations.fallback]]\nkind = \"noop\"\nname = \"third\"\nwhen = \"name\"\n"
            )
        };
        let noop = route("kind = \"noop\"\nname = \"first\"");
        let seen = on(&noop, r#"{"name":"Ada"}"#).await;
        assert_eq!(seen.log, ["first", "second", "third"]);
        let seen = on(&noop, r#"{"linkedinUrl":"x"}"#).await;
        assert_eq!(seen.log, ["first"]);
        // A failure makes the next one take over, and is told.
        let identity = route("kind = \"identity\"\nname = \"first\"");
        let seen = on(&identity, "{}").await;
        let error = "the lead has neither a LinkedIn URL nor a name";
        assert_eq!(
            seen.log,
            [
                format!("first! {error}"),
                "second".into(),
                "(third: its condition is not true)".into()
            ]
        );
        assert_eq!(
            seen.lead()["_pipeline_errors"],
            serde_json::json!([format!("first: {error}")])
        );
        let poor = format!(
            "budget = 0.001\n{}",
            identity.replace("cost = 0.01", "cost = 0.001\nwhen = \"name\"")
        );
        let seen = on(&poor, "{}").await;
        assert_eq!(seen.failure().error, error);
    }
}
