//! `dedupe`: a lead whose like was seen before goes no further. The memory is in Redis, for all
//! workers.
//!
//! Upper and lower case and spaces make no difference. A lead that lacks one of the fields goes
//! on. A lead that comes again itself, for another try or out of the dead letter queue, is not its
//! own like.

use std::time::Duration;

use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _};
use sha2::{Digest as _, Sha256};

use super::gate::{THEN, Then};
use super::{Call, Failure, Keys, Outcome, Station};

#[derive(Debug)]
struct Dedupe {
    fields: Vec<String>,
    ttl: Duration,
    then: Then,
    scope: String,
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let at = keys.place("fields");
    let fields = keys.texts("fields");
    let fields = keys.need("fields", fields, "fields = [\"linkedinUrl\"]");
    if fields.as_ref().is_some_and(Vec::is_empty) {
        keys.wrong(
            &at,
            "without a field every lead is like the first",
            "write fields = [\"linkedinUrl\"]",
        );
    }
    let ttl = keys.duration("ttl");
    let ttl = keys.need("ttl", ttl, "ttl = \"30d\"");
    let then = keys.one_of("then", THEN).unwrap_or(Then::SkipRest);
    let scope = keys.text("scope").map(toml::Spanned::into_inner);
    let fields = fields?.into_iter().map(toml::Spanned::into_inner);
    Some(Box::new(Dedupe {
        fields: fields.collect(),
        ttl: ttl?,
        then,
        scope: scope.unwrap_or_default(),
    }))
}

impl Dedupe {
    async fn look(&self, call: &Call<'_>, lead: &Lead) -> Result<Outcome, Failure> {
        let Some(what) = self.digest(lead) else {
            return Ok(Outcome::Continue);
        };
        let ttl = (!call.is_dry_run()).then_some(self.ttl);
        let what = what.as_str();
        let first = call
            .ask(|store| store.first_seen(what, call.id(), ttl))
            .await?;
        match first {
            Some(first) if first != call.id() => self.then.end(&format!(
                "a lead with the same {} came before: {first}",
                self.fields.join(" and ")
            )),
            _ => Ok(Outcome::Continue),
        }
    }

    /// What makes the lead alike to others; `None` where it lacks a part of that.
    fn digest(&self, lead: &Lead) -> Option<String> {
        let mut hash = Sha256::new();
        // With its length, so that no two lists of texts are the same bytes.
        let mut add = |text: &str| {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        };
        add(&self.scope);
        for field in &self.fields {
            let value = lead.text(field).or_else(|| other(lead, field))?;
            let words: Vec<&str> = value.split_whitespace().collect();
            add(field);
            add(&words.join(" ").to_lowercase());
        }
        let hash = hash.finalize();
        let hex = hash[..16].iter().map(|byte| format!("{byte:02x}"));
        Some(hex.collect())
    }
}

/// A value that is not a text; an empty text, `null` and an empty list or object are none.
fn other(lead: &Lead, field: &str) -> Option<String> {
    let json = lead.get_at(field)?.get().to_owned();
    let compact: String = json.split_whitespace().collect();
    let is_value = !compact.starts_with('"') && !matches!(compact.as_str(), "null" | "[]" | "{}");
    is_value.then_some(compact)
}

impl Station for Dedupe {
    fn work<'a>(
        &'a self,
        call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        self.look(call, lead).boxed()
    }

    fn needs_store(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::mistakes;
    use super::*;

    fn digest(fields: &[&str], scope: &str, lead: &str) -> Option<String> {
        let station = Dedupe {
            fields: fields.iter().map(ToString::to_string).collect(),
            ttl: Duration::from_secs(1),
            then: Then::SkipRest,
            scope: scope.into(),
        };
        station.digest(&Lead::parse(lead.as_bytes()).expect(lead))
    }

    #[test]
    fn case_and_spaces_make_no_difference_but_everything_else_does() {
        let ada = digest(
            &["name", "company.name"],
            "",
            r#"{"name":"Ada Example","company":{"name":"X"}}"#,
        );
        assert!(ada.is_some());
        let same = r#"{"company":{"name":"x "},"name":" ada  EXAMPLE","n":1}"#;
        assert_eq!(digest(&["name", "company.name"], "", same), ada);
        assert_ne!(digest(&["name", "company.name"], "s", same), ada);
        let other = r#"{"name":"Ada","company":{"name":"Example X"}}"#;
        assert_ne!(digest(&["name", "company.name"], "", other), ada);
        let fields = |a, b| digest(&[a, b], "", r#"{"a":"1","b":"2"}"#);
        assert_ne!(fields("a", "b"), fields("b", "a"));
        assert_eq!(
            digest(&["n"], "", r#"{"n":[1, 2]}"#),
            digest(&["n"], "", r#"{"n":[1,2]}"#)
        );
    }

    #[test]
    fn a_lead_that_lacks_a_part_is_like_no_other() {
        for lead in [
            "{}",
            r#"{"a":"1"}"#,
            r#"{"a":"1","b":" "}"#,
            r#"{"a":"1","b":null}"#,
            r#"{"a":"1","b":[ ]}"#,
        ] {
            assert_eq!(digest(&["a", "b"], "", lead), None, "{lead}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let said = mistakes("fields = []\nthen = \"drop\"", |keys| make(keys).is_some());
        assert_eq!(said.len(), 3, "{said:#?}");
        let said = mistakes("", |keys| make(keys).is_some());
        assert_eq!(
            said,
            [
                "1: the station needs fields; add fields = [\"linkedinUrl\"]",
                "1: the station needs ttl; add ttl = \"30d\"",
            ]
        );
    }
}
