//! `gate`: ends the way of the leads that a condition is true of.

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _, ready};

use super::super::expression::{Escape, Expression, Template};
use super::answer::excerpt;
use super::{Call, Failure, Keys, Outcome, Station};

/// Characters of a reason.
const REASON: usize = 1_000;

/// What a station does with a lead that is not to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It goes on all the same.
    Continue,
    /// It is done.
    SkipRest,
    /// It is given up.
    Fail,
}

impl Then {
    /// Ends a lead's way, or not, for a reason.
    ///
    /// # Errors
    /// [`Failure`] of kind [`ErrorKind::Invalid`] where it says so.
    pub(super) fn end(self, reason: &str) -> Result<Outcome, Failure> {
        // It may hold anything that stands in the lead.
        let reason = excerpt(reason, REASON);
        match self {
            Self::Continue => Ok(Outcome::Continue),
            Self::SkipRest => Ok(Outcome::SkipRest { reason }),
            Self::Fail => Err(Failure::new(ErrorKind::Invalid, reason)),
        }
    }
}

/// The words for it.
pub(super) const THEN: &[(&str, Then)] = &[("skip_rest", Then::SkipRest), ("fail", Then::Fail)];
/// The words for it where going on is one of the choices.
pub(super) const THEN_OR_CONTINUE: &[(&str, Then)] = &[
    ("continue", Then::Continue),
    ("skip_rest", Then::SkipRest),
    ("fail", Then::Fail),
];

#[derive(Debug)]
struct Gate {
    condition: Expression,
    then: Then,
    reason: Option<Template>,
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let condition = keys.expression("condition");
    let condition = keys.need("condition", condition, "condition = \"do_not_call\"");
    let then = keys.one_of("then", THEN).unwrap_or(Then::SkipRest);
    let reason = keys.template("reason", Escape::Plain);
    Some(Box::new(Gate {
        condition: condition?,
        then,
        reason,
    }))
}

impl Gate {
    fn judge(&self, lead: &Lead) -> Result<Outcome, Failure> {
        if !self.condition.holds(lead)? {
            return Ok(Outcome::Continue);
        }
        let reason = match &self.reason {
            Some(reason) => reason.render(lead)?,
            None => format!("`{}` is true of it", self.condition.source()),
        };
        self.then.end(&reason)
    }
}

impl Station for Gate {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        ready(self.judge(lead)).boxed()
    }

    fn ends_every_lead(&self) -> bool {
        self.condition.constant() == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{mistakes, with_keys, work};
    use super::*;

    #[tokio::test]
    async fn a_lead_that_the_condition_is_true_of_goes_no_further() {
        let skip = with_keys("condition = \"do_not_call\"", make).expect("a gate");
        let skipped = work(&*skip, r#"{"do_not_call":true}"#)
            .await
            .expect("an outcome");
        let reason = "`do_not_call` is true of it".to_owned();
        assert_eq!(skipped.0, Outcome::SkipRest { reason });
        for lead in ["{}", r#"{"do_not_call":false}"#, r#"{"do_not_call":null}"#] {
            let outcome = work(&*skip, lead).await.expect("an outcome").0;
            assert_eq!(outcome, Outcome::Continue, "{lead}");
        }

        let route = "condition = \"country not in ['US']\"\nthen = \"fail\"\nreason = \"{{ country }} is not ours\"";
        let fail = with_keys(route, make).expect("a gate");
        let failure = work(&*fail, r#"{"country":"FR"}"#)
            .await
            .expect_err("not ours");
        assert_eq!(
            (failure.kind, failure.error.as_str()),
            (ErrorKind::Invalid, "FR is not ours")
        );
        assert!(!fail.ends_every_lead());
        assert!(
            with_keys("condition = \"true\"", make)
                .expect("a gate")
                .ends_every_lead()
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (route, expected) in [
            (
                "",
                "1: the station needs condition; add condition = \"do_not_call\"",
            ),
            ("condition = \"a ==\"", "1: "),
            (
                "condition = \"a\"\nthen = \"stop\"",
                "2: then cannot be \"stop\"; known are skip_rest, fail",
            ),
        ] {
            let said = mistakes(route, |keys| make(keys).is_some());
            assert!(
                said.len() == 1 && said[0].starts_with(expected),
                "{said:#?}"
            );
        }
    }
}
