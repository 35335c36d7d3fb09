//! A route as it is shown: contracts, cost, limits.

use bridge_shared::money::Money;
use serde::Serialize;

use super::ledger::Ledger;
use super::provider::Provider;
use super::route::{self, Route, RouteError, Source};
use super::step::Step;

/// A pipeline of a route file, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Outline {
    /// Its name.
    pub(crate) pipeline: String,
    /// Whether it is the one that runs where none is named.
    pub(crate) default: bool,
    /// What leads come with.
    pub(crate) input: Vec<String>,
    /// US dollars that a lead may cost.
    pub(crate) budget: Option<f64>,
    /// US dollars that the fleet may spend on one day.
    pub(crate) daily_budget: Option<f64>,
    /// US dollars that a lead costs where every station and every fallback is called once.
    pub(crate) cost: f64,
    /// Its stations, in order.
    pub(crate) stations: Vec<StationOutline>,
    /// Where enriched leads go.
    pub(crate) sinks: Vec<SinkOutline>,
}

/// A sink, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct SinkOutline {
    /// Its name.
    pub(crate) sink: String,
    /// Its kind.
    pub(crate) kind: &'static str,
}

/// A station, as it is shown. What the route does not say is not there.
#[derive(Debug, Serialize)]
pub(crate) struct StationOutline {
    /// Its name.
    pub(crate) station: String,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// What it cannot work without.
    pub(crate) requires: Vec<String>,
    /// What it may add.
    pub(crate) produces: Vec<String>,
    /// What is gone afterwards.
    pub(crate) removes: Vec<String>,
    /// US dollars that a call costs.
    pub(crate) cost: f64,
    /// Seconds that a call may take.
    pub(crate) timeout_s: Option<f64>,
    /// The condition.
    pub(crate) when: Option<String>,
    /// How often it may be called by all workers together.
    pub(crate) rate: Option<String>,
    /// How many calls a worker may have under way.
    pub(crate) concurrency: Option<usize>,
    /// How long an answer is remembered, and for which fields.
    pub(crate) cache: Option<CacheOutline>,
    /// What a failure leads to; a fallback's leads to the next one.
    pub(crate) on_error: Option<&'static str>,
    /// Those that take over, in order.
    pub(crate) fallback: Vec<StationOutline>,
}

/// A station's memory, as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct CacheOutline {
    /// Seconds that an answer is remembered.
    pub(crate) ttl_s: f64,
    /// The fields that make the question.
    pub(crate) key: Vec<String>,
}

/// Every pipeline of a route file, or the named one.
///
/// # Errors
/// [`RouteError`].
pub(crate) fn outlines(source: &Source) -> Result<Vec<Outline>, RouteError> {
    let routes = route::read(source, &source.text()?, &Ledger::default())?;
    let wanted = |route: &&Route| source.name.as_ref().is_none_or(|name| *name == route.name);
    Ok(routes
        .pipelines
        .iter()
        .filter(wanted)
        .map(|route| outline(route, routes.default.as_deref()))
        .collect())
}

fn outline(route: &Route, default: Option<&str>) -> Outline {
    let providers = route.steps.iter().flat_map(|step| &step.waterfall);
    let cost = providers.fold(Money::ZERO, |sum, provider| sum.plus(provider.cost));
    Outline {
        pipeline: route.name.clone(),
        default: default == Some(&route.name),
        input: route.input.clone(),
        budget: route.budget.map(Money::dollars),
        daily_budget: route.daily_budget.map(Money::dollars),
        cost: cost.dollars(),
        stations: route.steps.iter().map(step).collect(),
        sinks: route
            .sinks
            .names()
            .map(|(name, kind)| SinkOutline {
                sink: name.to_owned(),
                kind,
            })
            .collect(),
    }
}

fn step(step: &Step) -> StationOutline {
    StationOutline {
        on_error: Some(step.on_error.as_str()),
        fallback: step.waterfall[1..].iter().map(station).collect(),
        ..station(step.first())
    }
}

fn station(provider: &Provider) -> StationOutline {
    let needs = provider.needs.iter();
    StationOutline {
        station: provider.name.clone(),
        kind: provider.kind,
        requires: needs.map(|need| need.field.get_ref().clone()).collect(),
        produces: provider.produces.clone(),
        removes: provider.removes.clone(),
        cost: provider.cost.dollars(),
        timeout_s: provider.timeout.map(|timeout| timeout.as_secs_f64()),
        when: provider.when.as_ref().map(|when| when.source().to_owned()),
        rate: provider.rate.map(|rate| rate.to_string()),
        concurrency: provider.concurrency,
        cache: provider.cache.as_ref().map(|cache| CacheOutline {
            ttl_s: cache.ttl().as_secs_f64(),
            key: cache.key().to_vec(),
        }),
        on_error: None,
        fallback: Vec::new(),
    }
}
