//! `http`: asks a service about the lead and brings its answer to it.
//!
//! - `request`: what is sent for a lead
//! - [`service`]: a call: its answer, or in what way it failed
//! - `breaker`: leaving a service alone that is down
//! - `address`: whom a lead may send this worker to
//!
//! Every request carries the lead's id as `Idempotency-Key`.

mod address;
mod breaker;
mod request;
pub(in crate::pipeline) mod service;

use std::time::Duration;

use bridge_shared::lead::Lead;
use bridge_shared::money::Money;
use futures::future::{BoxFuture, FutureExt as _};
use reqwest::StatusCode;

use super::answer::Answer;
use super::{Call, Contract, Failure, Keys, Outcome, Station};
use request::Blueprint;
use service::{Care, Service, broke_contract, shown};

/// Time one call may take where the route does not say.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
#[derive(Debug)]
struct Http {
    request: Blueprint,
    service: Service,
    no_match: Vec<StatusCode>,
    answer: Answer,
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let request = Blueprint::read(keys);
    let care = Care::read(keys);
    let no_match = statuses(keys);
    let answer = Answer::read(keys);
    let request = request?;
    Some(Box::new(Http {
        service: Service::new(keys, care, request.public_only)?,
        request,
        no_match,
        answer: answer?,
    }))
}

fn statuses(keys: &mut Keys<'_>) -> Vec<StatusCode> {
    let numbers = keys.integers("no_match", 300..=499).unwrap_or_default();
    let status = |number| StatusCode::from_u16(u16::try_from(number).ok()?).ok();
    numbers.into_iter().filter_map(status).collect()
}

impl Http {
    async fn ask(&self, call: &Call<'_>, lead: &mut Lead) -> Result<Outcome, Failure> {
        let request = self
            .request
            .request(self.service.client(), call.id(), lead)
            .inspect_err(|_| call.spend(Money::ZERO))?;
        let shown = shown(request.url());
        let answer = self.service.call(call, request).await;
        match answer {
            Ok(body) => self
                .answer
                .apply(&body, lead)
                .map_err(|how| broke_contract(&shown, &how))?,
            Err(refusal)
                if refusal
                    .status
                    .is_some_and(|status| self.no_match.contains(&status)) => {}
            Err(refusal) => return refusal.end(),
        }
        Ok(Outcome::Continue)
    }
}

impl Station for Http {
    fn work<'a>(
        &'a self,
        call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        self.ask(call, lead).boxed()
    }

    fn contract(&self) -> Contract {
        Contract {
            produces: self.answer.produces(),
            ..Contract::default()
        }
    }

    fn timeout(&self) -> Option<Duration> {
        Some(TIMEOUT)
    }
}
