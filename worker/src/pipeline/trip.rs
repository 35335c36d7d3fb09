//! A lead's way along a route, as the stations see it.

use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use bridge_shared::store::Store;
use std::time::{Duration, Instant};

use super::ledger::{Debt, Ledger};
use super::secrets::Secrets;
use super::{Journey, Progress};

/// How a lead came past a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Passed {
    /// The station has done its work.
    On,
    /// The station was not called, for this reason.
    Over(String),
    /// The station was not called: it costs more than is left.
    TooDear {
        /// What is left of what.
        reason: String,
    },
    /// The lead is done early.
    Ended {
        /// The station that ended it.
        station: String,
        /// Why.
        reason: String,
    },
    /// The lead is to come back.
    Later {
        /// The station that it waits for.
        station: String,
        /// How long, at least.
        wait: Duration,
        /// What it waits for.
        reason: String,
    },
}

/// What comes along with a lead.
pub(super) struct Trip<'a> {
    /// The lead's id.
    pub(super) id: &'a str,
    /// The pipeline's name.
    pub(super) pipeline: &'a str,
    /// What the lead may cost.
    pub(super) budget: Option<Money>,
    /// What the whole fleet may spend on one day.
    pub(super) daily_budget: Option<Money>,
    pub(super) secrets: &'a Secrets,
    pub(super) ledger: &'a Ledger,
    pub(super) journey: &'a Journey,
    pub(super) store: Option<&'a Store>,
    pub(super) dry_run: bool,
    /// The time, where nothing was waited for since somebody looked.
    pub(super) now: Option<Instant>,
    pub(super) observe: &'a mut (dyn FnMut(Progress<'_>) + Send),
    /// The stations that worked on it.
    pub(super) executed: Vec<&'a str>,
    /// The stations that were not called, or whose failure was passed over.
    pub(super) passed_by: Vec<&'a str>,
    /// What went wrong on the way and was passed over.
    pub(super) errors: Vec<String>,
    /// Bytes that the lead may have by now.
    pub(super) grown: usize,
}

impl<'a> Trip<'a> {
    /// Tells whoever watches.
    pub(super) fn tell(&mut self, progress: Progress<'_>) {
        (self.observe)(progress);
    }

    /// The lead has come to a station.
    pub(super) fn arrive(&mut self, station: &'a str, lead: &Lead) {
        self.executed.push(station);
        self.tell(Progress::Arrived { station, lead });
    }

    /// Whether a station before was passed by.
    pub(super) fn was_passed_by(&self, station: &str) -> bool {
        self.passed_by.contains(&station)
    }

    /// Why a call is more than the lead may still cost.
    pub(super) fn cannot_afford(&self, cost: Money) -> Option<String> {
        let (budget, spent) = (self.budget?, self.journey.spent());
        (spent >= budget || spent.plus(cost) > budget).then(|| {
            format!("it costs {cost}, and {spent} of the lead's budget of {budget} are spent")
        })
    }

    /// Says that the day's budget does not allow a call.
    pub(super) fn day_is_used_up(&self, cost: Money) -> Passed {
        let budget = self.daily_budget.unwrap_or_default();
        Passed::TooDear {
            reason: format!(
                "it costs {cost}, and less than that is left of the day's budget of {budget}"
            ),
        }
    }

    /// Corrects the day's money. Where nobody waits for the answer, or it is lost, the correction may
    /// be made all the same: then one that adds is owed and one that takes away is dropped, for what
    /// is in doubt counts as spent.
    pub(super) async fn settle(&mut self, debt: Debt) {
        struct Owed<'a>(&'a Ledger, Option<Debt>);
        impl Drop for Owed<'_> {
            fn drop(&mut self) {
                if let Some(debt) = self.1.take_if(|debt| debt.more > 0) {
                    self.0.owe(debt);
                }
            }
        }
        let Some(store) = self.store else {
            return;
        };
        let mut owed = Owed(self.ledger, Some(debt.clone()));
        if store
            .settle(&debt.pipeline, debt.day, debt.more)
            .await
            .is_ok()
        {
            owed.1 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use bridge_shared::config::RedisArgs;
    use bridge_shared::sandbox::Sandbox;

    use super::*;

    #[tokio::test]
    async fn a_correction_in_doubt_counts_as_spent() {
        let redis = Sandbox::start(&[]).expect("a private Redis");
        let url = redis.url();
        let args = RedisArgs::of(url.clone(), ["q", "f", "e"]);
        let store = Store::connect(&args).await.expect("a store");
        let (ledger, journey) = (Ledger::default(), Journey::new(Money::ZERO));
        let mut trip = Trip {
            id: "1",
            pipeline: "p",
            budget: None,
            daily_budget: None,
            secrets: &Secrets::default(),
            ledger: &ledger,
            journey: &journey,
            store: Some(&store),
            dry_run: false,
            now: None,
            observe: &mut |_| {},
            executed: Vec::new(),
            passed_by: Vec::new(),
            errors: Vec::new(),
            grown: usize::MAX,
        };
        let debt = |more| Debt {
            pipeline: "p".into(),
            day: 1,
            more,
        };
        trip.settle(debt(100)).await;
        assert_eq!(ledger.take_debts(), []);
        // Redis gets to it only after nobody waits any more.
        let client = redis::Client::open(url).expect("a URL");
        let mut connection = client.get_connection().expect("a connection");
        for (more, owed) in [(-40, vec![]), (7, vec![debt(7)])] {
            redis::cmd("CLIENT")
                .arg(&["PAUSE", "60000", "WRITE"])
                .exec(&mut connection)
                .expect("paused");
            let given_up =
                tokio::time::timeout(Duration::from_millis(300), trip.settle(debt(more)));
            assert!(given_up.await.is_err());
            redis::cmd("CLIENT")
                .arg("UNPAUSE")
                .exec(&mut connection)
                .expect("let go");
            assert_eq!(ledger.take_debts(), owed);
        }
        // It was made, though nobody heard of it.
        for _ in 0..1_000 {
            if store.spent("p", 1).await.expect("the day's money") == Money::from_micros(67) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the corrections were not made");
    }
}
