//! What a station is. A kind of station is one file here and one line in [`KINDS`]; its keys are
//! described in `assets/pipelines/README.md`, which a test holds complete.

mod answer;
mod dedupe;
mod email;
mod exec;
mod gate;
pub(super) mod http;
mod identity;
mod llm;
mod noop;
mod phone;
#[cfg(test)]
mod testing;
mod transform;
mod validate;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use bridge_shared::store::{Store, StoreError};
use futures::future::BoxFuture;

use bridge_shared::store::route::{Pace, Paced, Purchase};

use super::journey::AWAY;
use super::keys::Keys;
use super::rate::Rate;
use super::{Failure, Journey};

/// One step of a route. What every station has (its name, cost, timeout, what to do on an error)
/// is read and kept by the pipeline; a station only knows its own keys and its own work.
pub(super) trait Station: std::fmt::Debug + Send + Sync {
    /// Works on a lead. The work ends where its time is up: the future is dropped, and must leave
    /// nothing running behind it.
    ///
    /// # Errors
    /// [`Failure`]; its kind decides whether another try can help.
    fn work<'a>(
        &'a self,
        call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>>;

    /// What it needs and gives by its nature, besides what the route says of it.
    fn contract(&self) -> Contract {
        Contract::default()
    }

    /// Time one call may take where the route does not say; without one the lead's own time
    /// counts.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// How many calls it can work on at once; without a number, on all there are.
    fn places(&self) -> Option<usize> {
        None
    }

    /// Whether it cannot do without Redis.
    fn needs_store(&self) -> bool {
        false
    }

    /// Whether no lead ever comes past it, as its configuration alone tells.
    fn ends_every_lead(&self) -> bool {
        false
    }
}

/// What a station's work came to, where it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(dead_code, reason = "each kind of station uses its own part of it")]
pub(super) enum Outcome {
    /// On to the next station.
    Continue,
    /// The lead is done early, on purpose: it is stored as it is, with the reason.
    SkipRest {
        /// Why, for an operator: `on the do-not-call list`.
        reason: String,
    },
    /// Nothing was done: the lead is to come back later. That counts neither as an attempt nor as
    /// an error.
    Postpone {
        /// How long it takes at least.
        wait: Duration,
        /// What it waits for: `tokens per minute`.
        reason: String,
    },
}

/// The fields of a lead that a station has to do with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contract {
    /// What it cannot work without.
    pub(super) requires: Vec<String>,
    /// What it may add.
    pub(super) produces: Vec<String>,
    /// What is gone afterwards.
    pub(super) removes: Vec<String>,
}

/// One call of a station for one lead.
#[derive(Debug)]
pub(super) struct Call<'a> {
    id: &'a str,
    store: Option<&'a Store>,
    dry_run: bool,
    /// The attempt it belongs to, and the station's name among all that share the Redis.
    place: Option<(&'a Journey, &'a str)>,
    spent: Spent,
}

/// What a call has used up so far. It counts even where the call fails or its time is up.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// Micro-dollars and one; 0 where the station does not tell.
    cost: AtomicU64,
    tokens_in: AtomicU64,
    tokens_out: AtomicU64,
}

#[allow(dead_code, reason = "each kind of station uses its own part of it")]
impl<'a> Call<'a> {
    pub(super) fn new(id: &'a str, store: Option<&'a Store>, dry_run: bool) -> Self {
        Self {
            id,
            store,
            dry_run,
            place: None,
            spent: Spent::default(),
        }
    }

    /// The same call as a part of an attempt, at the station of this name among all that share
    /// the Redis.
    pub(super) fn on(self, journey: &'a Journey, scope: &'a str) -> Self {
        Self {
            place: Some((journey, scope)),
            ..self
        }
    }

    /// Waits for a rate of the station's own, besides the `rate` that the route gives, which all
    /// workers share: tokens of a language model, say, of which a call takes many. Returns the
    /// outcome to end the call with where that would take too long.
    ///
    /// # Errors
    /// [`Failure`] where Redis refuses.
    pub(super) async fn pace(&self, rate: &Rate, units: u64) -> Result<Option<Outcome>, Failure> {
        let (Some((journey, scope)), Some(store)) = (self.place, self.store) else {
            return Ok(None);
        };
        if self.dry_run {
            return Ok(None);
        }
        let pace = Pace {
            scope: &format!("{scope}:own"),
            interval_us: rate.interval_us(),
            units,
            patience: journey.patience(),
            longest: AWAY,
        };
        let free = Purchase {
            pipeline: scope,
            cost: Money::ZERO,
            daily_budget: None,
        };
        match journey.answer(|| store.pace(&pace, &free)).await? {
            Paced::Later(wait) => Ok(Some(Outcome::Postpone {
                wait,
                reason: format!("its rate of {rate}"),
            })),
            Paced::In(wait) => {
                journey.sleep(wait).await;
                Ok(None)
            }
            Paced::TooDear => Ok(None),
        }
    }

    /// Asks Redis, and goes on asking while it is away; `None` where there is none, as in a dry
    /// run.
    ///
    /// # Errors
    /// [`Failure`] where no waiting helps.
    pub(super) async fn ask<T, A>(
        &self,
        mut ask: impl FnMut(&'a Store) -> A,
    ) -> Result<Option<T>, Failure>
    where
        A: Future<Output = Result<T, StoreError>>,
    {
        let Some(store) = self.store else {
            return Ok(None);
        };
        let answer = match self.place {
            Some((journey, _)) => journey.answer(|| ask(store)).await?,
            None => ask(store)
                .await
                .map_err(|error| Failure::new(ErrorKind::Transient, error.to_string()))?,
        };
        Ok(Some(answer))
    }

    /// The lead's id: the same through every attempt, and the idempotency key of what the station
    /// does elsewhere.
    pub(super) fn id(&self) -> &'a str {
        self.id
    }

    /// Redis; there for certain where the station says that it needs it, but for a dry run.
    pub(super) fn store(&self) -> Option<&'a Store> {
        self.store
    }

    /// Whether nothing may be remembered of this call: `pipeline run` shows what a lead would go
    /// through. Services are called all the same.
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Tells what the call really cost, instead of the `cost` that the route gives. Adds up; zero
    /// where it turned out to cost nothing, say because the service was never reached.
    pub(super) fn spend(&self, cost: Money) {
        let before = self.spent.cost.load(Ordering::Relaxed).max(1);
        let sum = before.saturating_add(cost.micros());
        self.spent.cost.store(sum, Ordering::Relaxed);
    }

    /// Tells how many tokens of a language model went in and came out. Adds up.
    pub(super) fn use_tokens(&self, tokens_in: u64, tokens_out: u64) {
        self.spent.tokens_in.fetch_add(tokens_in, Ordering::Relaxed);
        self.spent
            .tokens_out
            .fetch_add(tokens_out, Ordering::Relaxed);
    }

    /// What was told of the real cost.
    pub(super) fn cost(&self) -> Option<Money> {
        let cost = self.spent.cost.load(Ordering::Relaxed);
        cost.checked_sub(1).map(Money::from_micros)
    }

    /// What was told of tokens: in, out.
    pub(super) fn tokens(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.spent.tokens_in), load(&self.spent.tokens_out))
    }
}

/// A kind of station: what it is called, and how one is made from its keys in the route file.
pub(super) struct Kind {
    /// Its name in the route file.
    pub(super) name: &'static str,
    /// Makes one. Every key must be asked for, whatever is wrong with another; `None` where what
    /// was written down as wrong makes it impossible.
    pub(super) make: fn(&mut Keys<'_>) -> Option<Box<dyn Station>>,
}

/// Every kind of station there is.
pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "identity",
        make: identity::make,
    },
    Kind {
        name: "http",
        make: http::make,
    },
    Kind {
        name: "gate",
        make: gate::make,
    },
    Kind {
        name: "transform",
        make: transform::make,
    },
    Kind {
        name: "validate",
        make: validate::make,
    },
    Kind {
        name: "phone",
        make: phone::make,
    },
    Kind {
        name: "email",
        make: email::make,
    },
    Kind {
        name: "dedupe",
        make: dedupe::make,
    },
    Kind {
        name: "exec",
        make: exec::make,
    },
    Kind {
        name: "llm",
        make: llm::make,
    },
    Kind {
        name: "noop",
        make: noop::make,
    },
];
