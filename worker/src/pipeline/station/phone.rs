//! `phone`: brings a telephone number into its one form, E.164, and says what kind it is.
//!
//! With `field = "phone"` it sets `phoneValid`, and for a number that is one `phone` in E.164,
//! `phoneType`, `phoneCountry` and, where it has one, `phoneExtension`. A lead without a number
//! goes on as it is.

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::{Lead, PathError};
use futures::future::{BoxFuture, FutureExt as _, ready};
use phonenumber::{Mode, PhoneNumber, Type, country, metadata::DATABASE};
use serde::Serialize;
use serde_json::value::to_raw_value;

use super::answer::excerpt;
use super::gate::{THEN_OR_CONTINUE, Then};
use super::{Call, Contract, Failure, Keys, Outcome, Station};

/// Characters of a number that go into an error, and bytes after which it can be none.
const LONGEST: usize = 64;

/// The kinds of numbers, by the names that leads and routes know them under.
const TYPES: &[(&str, Type)] = &[
    ("fixed_line", Type::FixedLine),
    ("mobile", Type::Mobile),
    ("fixed_line_or_mobile", Type::FixedLineOrMobile),
    ("toll_free", Type::TollFree),
    ("premium_rate", Type::PremiumRate),
    ("shared_cost", Type::SharedCost),
    ("personal", Type::PersonalNumber),
    ("voip", Type::Voip),
    ("pager", Type::Pager),
    ("company", Type::Uan),
    ("voicemail", Type::Voicemail),
    ("unknown", Type::Unknown),
];

#[derive(Debug)]
struct Phone {
    field: String,
    region: Option<country::Id>,
    types: Vec<Type>,
    invalid: Then,
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of every kind")]
pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let field = keys.text("field").map(toml::Spanned::into_inner);
    let region = keys.text("region");
    let types = keys.texts("types").unwrap_or_default();
    let invalid = keys.one_of("invalid", THEN_OR_CONTINUE);
    let region = region.and_then(|text| {
        let region = text.get_ref().parse().ok();
        if region.is_none() {
            keys.wrong(
                &text.span(),
                format!("no country is called \"{}\"", text.get_ref()),
                "write its two letters (ISO 3166), such as region = \"US\"",
            );
        }
        region
    });
    let types = types.into_iter().filter_map(|text| {
        let found = TYPES.iter().find(|(name, _)| name == text.get_ref());
        if found.is_none() {
            let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
            keys.wrong(
                &text.span(),
                format!("no kind of number is called \"{}\"", text.get_ref()),
                super::super::keys::suggest(text.get_ref(), &names),
            );
        }
        found.map(|(_, kind)| *kind)
    });
    // Unpacked now, so that no lead has to wait for it.
    let _ = DATABASE.by_id("US");
    Some(Box::new(Phone {
        field: field.unwrap_or_else(|| "phone".into()),
        region,
        types: types.collect(),
        invalid: invalid.unwrap_or(Then::Continue),
    }))
}

impl Phone {
    fn check(&self, lead: &mut Lead) -> Result<Outcome, Failure> {
        let Some(text) = text(lead, &self.field) else {
            return Ok(Outcome::Continue);
        };
        let mut changed = lead.clone();
        let outcome = match self.read(&text) {
            Ok((number, kind)) => {
                self.note(&mut changed, &number, kind).map_err(cannot)?;
                if self.is_wanted(kind) {
                    Ok(Outcome::Continue)
                } else {
                    let kind = type_name(kind);
                    self.invalid
                        .end(&format!("the telephone number is of the kind {kind}"))
                }
            }
            Err(why) => {
                self.set(&mut changed, "Valid", &false).map_err(cannot)?;
                let text = excerpt(&text, LONGEST);
                self.invalid
                    .end(&format!("\"{text}\" is no telephone number: {why}"))
            }
        }?;
        *lead = changed;
        Ok(outcome)
    }

    fn read(&self, text: &str) -> Result<(PhoneNumber, Type), String> {
        if text.len() > LONGEST {
            return Err("it is too long".into());
        }
        let number = phonenumber::parse(self.region, text).map_err(|error| match error {
            phonenumber::ParseError::InvalidCountryCode if self.region.is_none() => {
                "it has no country code, and the route names no region".to_owned()
            }
            error => error.to_string(),
        })?;
        if number.is_valid() {
            let kind = number.number_type(&DATABASE);
            Ok((number, kind))
        } else {
            Err("there is no such number".into())
        }
    }

    fn is_wanted(&self, kind: Type) -> bool {
        // Where the two cannot be told apart, a route that wants either takes both.
        let either = kind == Type::FixedLineOrMobile
            && self
                .types
                .iter()
                .any(|kind| matches!(kind, Type::FixedLine | Type::Mobile));
        self.types.is_empty() || self.types.contains(&kind) || either
    }

    fn note(&self, lead: &mut Lead, number: &PhoneNumber, kind: Type) -> Result<(), PathError> {
        self.set(lead, "", &number.format().mode(Mode::E164).to_string())?;
        self.set(lead, "Valid", &true)?;
        self.set(lead, "Type", type_name(kind))?;
        if let Some(country) = number.country().id() {
            self.set(lead, "Country", country.as_ref())?;
        }
        if let Some(extension) = number.extension() {
            self.set(lead, "Extension", extension.as_ref())?;
        }
        Ok(())
    }

    fn set<T: Serialize + ?Sized>(
        &self,
        lead: &mut Lead,
        suffix: &str,
        value: &T,
    ) -> Result<(), PathError> {
        let value = to_raw_value(value).expect("plain values are JSON");
        lead.set_at(&format!("{}{suffix}", self.field), value)
    }
}

fn type_name(kind: Type) -> &'static str {
    let found = TYPES.iter().find(|(_, known)| *known == kind);
    found.map_or("unknown", |(name, _)| name)
}

/// A number may have come as a number.
fn text(lead: &Lead, field: &str) -> Option<String> {
    lead.text(field).or_else(|| {
        let json = lead.get_at(field)?;
        let digits = json.get();
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.to_owned())
    })
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn cannot(error: PathError) -> Failure {
    Failure::new(ErrorKind::Invalid, error.to_string())
}

impl Station for Phone {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        ready(self.check(lead)).boxed()
    }

    fn contract(&self) -> Contract {
        let with = |suffix| format!("{}{suffix}", self.field);
        Contract {
            produces: ["Valid", "Type", "Country", "Extension"].map(with).into(),
            ..Contract::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{mistakes, went_on, with_keys, work};
    use super::*;

    async fn checked(route: &str, lead: &str) -> Result<(Outcome, String), Failure> {
        let station = with_keys(route, make).expect(route);
        work(&*station, lead).await
    }

    #[tokio::test]
    async fn every_way_to_write_a_number_comes_to_one() {
        for text in [
            "\"(202) 555-0123\"",
            "\"+1 202 555 0123\"",
            "\"202.555.0123\"",
            "2025550123",
            "\" 1-202-555-0123 \"",
        ] {
            let lead = format!(r#"{{"phone":{text}}}"#);
            assert_eq!(
                went_on(checked("region = \"US\"", &lead).await),
                r#"{"phone":"+12025550123","phoneValid":true,"phoneType":"fixed_line_or_mobile","phoneCountry":"US"}"#,
                "{text}"
            );
        }
        let lead = r#"{"contact":{"tel":"+44 7400 123456 ext. 7"}}"#;
        assert_eq!(
            went_on(checked("field = \"contact.tel\"", lead).await),
            r#"{"contact":{"tel":"+447400123456","telValid":true,"telType":"mobile","telCountry":"GB","telExtension":"7"}}"#
        );
    }

    #[tokio::test]
    async fn what_is_no_number_is_marked_or_ends_the_lead() {
        let long = "1".repeat(1_000);
        for text in [
            "n/a",
            "123",
            "+999 1234567",
            "\u{1b}[31m",
            "+1 202 555 0123 4567 8901",
            &long,
        ] {
            let text = serde_json::to_string(text).expect("JSON");
            let lead = format!(r#"{{"phone":{text}}}"#);
            let kept = went_on(checked("region = \"US\"", &lead).await);
            assert_eq!(kept, format!(r#"{{"phone":{text},"phoneValid":false}}"#));
            let failure = checked("region = \"US\"\ninvalid = \"fail\"", &lead)
                .await
                .expect_err("none");
            assert_eq!(failure.kind, ErrorKind::Invalid);
            assert!(
                failure.error.len() < 200 && !failure.error.contains('\u{1b}'),
                "{}",
                failure.error
            );
        }
        let failure = checked("invalid = \"fail\"", r#"{"phone":"202 555 0123"}"#).await;
        assert!(
            failure
                .expect_err("no country")
                .error
                .contains("names no region")
        );
        for lead in [
            "{}",
            r#"{"phone":null}"#,
            r#"{"phone":" "}"#,
            r#"{"phone":[1]}"#,
        ] {
            assert_eq!(went_on(checked("invalid = \"fail\"", lead).await), lead);
        }
    }

    #[tokio::test]
    async fn a_number_of_the_wrong_kind_ends_the_lead_where_the_route_says_so() {
        let route = "region = \"US\"\ntypes = [\"mobile\"]\ninvalid = \"skip_rest\"";
        let either = checked(route, r#"{"phone":"202 555 0123"}"#).await;
        assert!(went_on(either).contains("fixed_line_or_mobile"));
        let (outcome, lead) = checked(route, r#"{"phone":"800 234 5678"}"#)
            .await
            .expect("an outcome");
        let reason = "the telephone number is of the kind toll_free".to_owned();
        assert_eq!(outcome, Outcome::SkipRest { reason });
        assert!(lead.contains(r#""phoneType":"toll_free""#), "{lead}");
    }

    #[test]
    fn mistakes_are_named() {
        let said = mistakes(
            "region = \"USA\"\ntypes = [\"moble\"]\ninvalid = \"drop\"",
            |keys| make(keys).is_some(),
        );
        assert!(
            said.iter()
                .any(|said| said.contains("no country is called \"USA\"")),
            "{said:#?}"
        );
        assert!(
            said.iter()
                .any(|said| said.contains("did you mean \"mobile\"?")),
            "{said:#?}"
        );
        assert_eq!(said.len(), 3, "{said:#?}");
    }
}
