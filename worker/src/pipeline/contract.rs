//! Proves of a route, without running it, that every station gets what it needs and is reached.

use std::collections::BTreeMap;

use bridge_shared::money::Money;

use super::keys::{Reading, suggest};
use super::provider::{Need, Provider};
use super::step::Step;

/// What leads come with where the pipeline's `input` does not say. Source: what the producers
/// always send (the wire contract in `ARCHITECTURE.md`).
pub(super) const INPUT: &[&str] = &[
    "linkedinUrl",
    "name",
    "location",
    "title",
    "company",
    "platform",
    "sourceDetails",
];

/// Writes down what cannot be, and notes for each need who brings it.
pub(super) fn check(
    reading: &Reading<'_>,
    input: &[String],
    budget: Option<Money>,
    steps: &mut [Step],
) {
    let mut there: BTreeMap<String, Vec<String>> = input
        .iter()
        .map(|field| (field.clone(), Vec::new()))
        .collect();
    let later = producers(steps);
    let mut end: Option<String> = None;
    // Whether every station so far could be made: of one that could not, nobody knows what it
    // would have brought.
    let mut all_known = true;
    for step in steps {
        let (name, span) = (step.name().to_owned(), step.first().span.clone());
        if let Some(end) = &end {
            reading.wrong(
                &span,
                format!("station \"{name}\" is never reached: every lead ends at \"{end}\""),
                format!("put it before \"{end}\", or take it out"),
            );
        }
        for provider in &mut step.waterfall {
            reach(reading, budget, provider);
            for need in &mut provider.needs {
                bring(reading, &name, need, &there, &later, all_known);
            }
        }
        if step.first().station.ends_every_lead() && step.first().when.is_none() {
            end.get_or_insert(name.clone());
        }
        for provider in &step.waterfall {
            all_known &= provider.is_known;
            for field in &provider.removes {
                there.remove(field);
            }
            for field in &provider.produces {
                there.entry(field.clone()).or_default().push(name.clone());
            }
        }
    }
}

fn producers(steps: &[Step]) -> BTreeMap<String, String> {
    let mut producers = BTreeMap::new();
    for step in steps {
        for field in step
            .waterfall
            .iter()
            .flat_map(|provider| &provider.produces)
        {
            producers
                .entry(field.clone())
                .or_insert_with(|| step.name().to_owned());
        }
    }
    producers
}

/// Whether any lead can come to a station at all.
fn reach(reading: &Reading<'_>, budget: Option<Money>, provider: &Provider) {
    let (name, span) = (&provider.name, &provider.span);
    if let Some(when) = &provider.when
        && when.constant() == Some(false)
    {
        reading.wrong(
            span,
            format!(
                "station \"{name}\" is never reached: `{}` is never true",
                when.source()
            ),
            "name a field of the lead in it, or take the station out",
        );
    }
    if let Some(budget) = budget
        && provider.cost > budget
    {
        let cost = provider.cost;
        reading.wrong(
            span,
            format!(
                "station \"{name}\" is never reached: it costs {cost}, and a lead may cost {budget}"
            ),
            "raise the budget, or take the station out",
        );
    }
}

/// Notes who brings a field.
fn bring(
    reading: &Reading<'_>,
    station: &str,
    need: &mut Need,
    there: &BTreeMap<String, Vec<String>>,
    later: &BTreeMap<String, String>,
    all_known: bool,
) {
    let field = need.field.get_ref();
    let outer = field.split('.').next().unwrap_or(field);
    if let Some(makers) = there.get(field).or_else(|| there.get(outer)) {
        need.makers.clone_from(makers);
        return;
    }
    if !all_known {
        return;
    }
    let at = need.field.span();
    if let Some(maker) = later.get(field).filter(|maker| *maker != station) {
        reading.wrong(
            &at,
            format!("station \"{station}\" requires \"{field}\", which \"{maker}\" brings only later, or which is gone by then"),
            format!("put \"{maker}\" before \"{station}\""),
        );
        return;
    }
    let known: Vec<&str> = there.keys().map(String::as_str).collect();
    let near = suggest(field, &known);
    let hint = if near.starts_with("did you mean") {
        near
    } else {
        format!(
            "add it to the produces of a station before, or to the pipeline's input if leads come with it: input = [\"{field}\", ...]"
        )
    };
    reading.wrong(
        &at,
        format!("station \"{station}\" requires \"{field}\", which nobody produces"),
        hint,
    );
}
