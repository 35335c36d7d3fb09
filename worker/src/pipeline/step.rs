//! A station in its place on a route: what every station has, and the one call of it.

use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use bridge_shared::money::Money;

use super::Failure;
use super::keys::{Keys, suggest};
use super::station::{Call, KINDS, Outcome, Station};

/// A station in its place.
#[derive(Debug)]
pub(super) struct Step {
    name: String,
    cost: Money,
    timeout: Option<Duration>,
    station: Box<dyn Station>,
}

/// Makes a station from its table.
pub(super) fn make(mut keys: Keys<'_>) -> Option<Step> {
    let name = keys.text("name");
    let name = keys.need("name", name, "name = \"...\"");
    if let Some(name) = &name {
        let text = name.get_ref();
        if text.is_empty() || text.chars().any(char::is_control) {
            keys.wrong(
                &name.span(),
                "a station's name must be a word",
                "name = \"...\"",
            );
        }
        keys.set_owner(format!("station \"{text}\""));
    }
    let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let written = keys.text("kind");
    let written = keys.need("kind", written, &format!("one of {}", names.join(", ")));
    let cost = keys.money("cost");
    let timeout = keys.duration("timeout");
    let written = written?;
    let kind = KINDS.iter().find(|kind| kind.name == written.get_ref());
    let Some(kind) = kind else {
        keys.wrong(
            &written.span(),
            format!("no kind of station is called \"{}\"", written.get_ref()),
            suggest(written.get_ref(), &names),
        );
        return None;
    };
    let station = (kind.make)(&mut keys);
    keys.finish();
    let station = station?;
    Some(Step {
        name: name?.into_inner(),
        cost: cost.map_or(Money::ZERO, toml::Spanned::into_inner),
        timeout: timeout.or(station.timeout()),
        station,
    })
}

impl Step {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn cost(&self) -> Money {
        self.cost
    }

    /// Calls the station, within its time.
    pub(super) async fn work(&self, call: &Call<'_>, lead: &mut Lead) -> Result<Outcome, Failure> {
        let work = self.station.work(call, lead);
        let Some(limit) = self.timeout else {
            return work.await;
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Failure::new(
                ErrorKind::Timeout,
                format!("no answer within {} s", limit.as_secs_f64()),
            ))
        })
    }
}
