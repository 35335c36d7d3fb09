//! A place on a route: a station, those that take over where it found nothing, and what to do
//! where all of them fail.

use bridge_shared::lead::Lead;

use super::keys::Keys;
use super::ledger::Ledger;
use super::provider::{self, Provider};
use super::trip::{Passed, Trip};
use super::{Failure, has};

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnError {
    /// What may pass is tried again, what may not is a dead letter.
    Retry,
    /// The lead goes on without this station.
    Skip,
    /// The lead is a dead letter at once.
    Dead,
    /// The lead ends here, and is stored as it is.
    Stop,
}

const ON_ERROR: &[(&str, OnError)] = &[
    ("retry", OnError::Retry),
    ("skip", OnError::Skip),
    ("dead", OnError::Dead),
    ("stop", OnError::Stop),
];

impl OnError {
    pub(super) fn as_str(self) -> &'static str {
        ON_ERROR
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("retry", |(word, _)| word)
    }
}

/// A place on a route.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) on_error: OnError,
    /// What must be there before the next provider need not be asked.
    pub(super) wanted: Vec<String>,
    /// The first is the station itself; each of the others takes over from the one before.
    pub(super) waterfall: Vec<Provider>,
}

/// Makes a step from its table.
pub(super) fn make(mut keys: Keys<'_>, pipeline: &str, ledger: &Ledger) -> Step {
    let name = provider::name(&mut keys);
    let on_error = keys.one_of("on_error", ON_ERROR).unwrap_or(OnError::Retry);
    let fallbacks = keys.tables("fallback").unwrap_or_default();
    let first = provider::make(keys, pipeline, name, ledger);
    let mut step = Step {
        on_error,
        wanted: first.produces.clone(),
        waterfall: vec![first],
    };
    for mut keys in fallbacks {
        keys.set_owner("a fallback".into());
        let name = provider::name(&mut keys);
        let mut other = provider::make(keys, pipeline, name, ledger);
        if other.produces.is_empty() {
            other.produces.clone_from(&step.wanted);
        }
        step.waterfall.push(other);
    }
    step
}

impl Step {
    pub(super) fn first(&self) -> &Provider {
        &self.waterfall[0]
    }

    pub(super) fn name(&self) -> &str {
        &self.first().name
    }

    /// Brings a lead through.
    ///
    /// # Errors
    /// [`Failure`], where the lead cannot go on.
    pub(super) async fn call<'a>(
        &'a self,
        trip: &mut Trip<'a>,
        lead: &mut Lead,
    ) -> Result<Passed, Failure> {
        let passed = match self.waterfall.as_slice() {
            [only] => only.call(trip, lead).await,
            _ => Box::pin(self.fall(trip, lead)).await,
        };
        let failure = match passed {
            Ok(passed) => {
                if matches!(passed, Passed::Over(_)) {
                    trip.passed_by.push(self.name());
                }
                return Ok(passed);
            }
            Err(failure) => failure,
        };
        match self.on_error {
            OnError::Retry => Err(failure),
            OnError::Dead => Err(Failure {
                is_final: true,
                ..failure
            }),
            OnError::Skip => {
                trip.errors.push(failure.said());
                trip.passed_by.push(self.name());
                Ok(Passed::On)
            }
            OnError::Stop => {
                trip.errors.push(failure.said());
                Ok(Passed::Ended {
                    reason: failure.error,
                    station: failure.station,
                })
            }
        }
    }

    /// Asks one provider after the other, until all that is wanted is there. That some found
    /// nothing is no failure; that none could be asked is.
    async fn fall<'a>(&'a self, trip: &mut Trip<'a>, lead: &mut Lead) -> Result<Passed, Failure> {
        let mut answered = false;
        let mut too_dear = None;
        let mut failures: Vec<Failure> = Vec::new();
        for (n, provider) in self.waterfall.iter().enumerate() {
            match provider.call(trip, lead).await {
                Ok(Passed::On) => {
                    answered = true;
                    if self.wanted.iter().all(|field| has(lead, field)) {
                        break;
                    }
                }
                // The station's own condition is the condition of the whole place.
                Ok(Passed::Over(why)) if n == 0 => return Ok(Passed::Over(why)),
                Ok(Passed::Over(_)) => {}
                Ok(Passed::TooDear { reason }) => {
                    too_dear.get_or_insert(Passed::TooDear { reason });
                }
                Ok(other) => return Ok(other),
                Err(failure) => failures.push(failure),
            }
        }
        if answered {
            trip.errors.extend(failures.iter().map(Failure::said));
            return Ok(Passed::On);
        }
        match (join(failures), too_dear) {
            (Some(failure), _) => Err(failure),
            (None, Some(too_dear)) => Ok(too_dear),
            (None, None) => Ok(Passed::Over("none of its providers was called".into())),
        }
    }
}

/// One failure made of all: of a kind that may pass, if one of them may.
fn join(failures: Vec<Failure>) -> Option<Failure> {
    let error = match failures.as_slice() {
        [] => return None,
        [only] => only.error.clone(),
        several => {
            let said: Vec<String> = several.iter().map(Failure::said).collect();
            said.join("; ")
        }
    };
    let retry_after = failures
        .iter()
        .filter_map(|failure| failure.retry_after)
        .min();
    let may_pass = failures
        .iter()
        .position(|failure| failure.kind.is_transient());
    let failure = failures.into_iter().nth(may_pass.unwrap_or(0))?;
    Some(Failure {
        error,
        retry_after,
        ..failure
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge_shared::envelope::ErrorKind;

    #[test]
    fn several_failures_are_one_that_may_pass_if_one_may() {
        let failure = |station: &str, kind, error: &str| Failure {
            station: station.into(),
            ..Failure::new(kind, error)
        };
        assert_eq!(join(vec![]), None);
        let joined = join(vec![
            failure("a", ErrorKind::Permanent, "no"),
            failure("b", ErrorKind::Timeout, "late"),
        ])
        .expect("two");
        assert_eq!(joined.kind, ErrorKind::Timeout);
        assert_eq!(joined.error, "a: no; b: late");
    }
}
