//! `validate`: whether the lead is as a JSON Schema says.
//!
//! The draft is what `$schema` says, else 2020-12. Formats are checked. Nothing is fetched: a `$ref`
//! leads into the schema itself.

use std::fmt::Write as _;
use std::sync::Arc;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _, ready};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::answer::excerpt;
use super::gate::{THEN, Then};
use super::{Call, Failure, Keys, Outcome, Station};

/// Violations that an error names.
const NAMED: usize = 3;
/// Characters of each.
const EXCERPT: usize = 200;
/// Bytes of a lead that is checked at once; the check of a larger one may take long, and is made aside.
const ASIDE_BYTES: usize = 16 << 10;
/// Steps that a pattern with look-around or back-references may take for one text; any other takes a time
/// in proportion to the text.
const BACKTRACK_MAX: usize = 100_000;

#[derive(Debug)]
struct Validate {
    schema: Arc<Schema>,
    then: Then,
}

/// A schema, ready to check with.
#[derive(Debug)]
pub(super) struct Schema {
    /// As it was written.
    pub(super) source: Value,
    validator: Validator,
}

impl Schema {
    /// Reads `schema` or `schema_file`; that neither is there is for the caller to complain about.
    pub(super) fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let at = keys.place("schema");
        let inline = keys.json("schema");
        let file = keys.path("schema_file");
        let (source, at) = match (inline, file) {
            (Some(inline), None) => (parse(inline.into_inner()), at),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file.get_ref());
                let shown = file.get_ref().display();
                let source = text
                    .map_err(|error| format!("cannot read {shown}: {error}"))
                    .and_then(|text| {
                        parse(text.into()).map_err(|error| format!("{shown}: {error}"))
                    });
                (source, file.span())
            }
            (Some(_), Some(file)) => (
                Err("there are two schemas, one of them in a file".into()),
                file.span(),
            ),
            (None, None) => return None,
        };
        let schema = source.and_then(|source| {
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .should_ignore_unknown_formats(false)
                .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(BACKTRACK_MAX))
                .offline()
                .build(&source)
                .map_err(|error| {
                    let place = error.instance_path().to_string();
                    let error = excerpt(&error.to_string(), EXCERPT);
                    format!("this is no JSON Schema: {error} (at \"{place}\" in it)")
                })?;
            Ok(Self { source, validator })
        });
        schema
            .map_err(|what| {
                let hint = "see https://json-schema.org for how it is written";
                keys.wrong(&at, what, hint);
            })
            .ok()
    }

    /// What is wrong with a value: the first few violations, each with its path.
    pub(super) fn violations(&self, value: &Value) -> Option<String> {
        let mut text = String::new();
        let mut more = 0;
        for (n, error) in self.validator.iter_errors(value).enumerate() {
            if n >= NAMED {
                more += 1;
                continue;
            }
            let separator = if n == 0 { "" } else { "; " };
            let path = error.instance_path().to_string();
            let at = if path.is_empty() { "/" } else { &path };
            let what = excerpt(&error.to_string(), EXCERPT);
            let _ = write!(text, "{separator}{}: {what}", excerpt(at, EXCERPT));
        }
        if more > 0 {
            let _ = write!(text, "; and {more} more");
        }
        (!text.is_empty()).then_some(text)
    }

    /// The names of an object's properties, as far as the schema's first level tells.
    pub(super) fn properties(&self) -> Vec<String> {
        let properties = self.source.get("properties").and_then(Value::as_object);
        properties.map_or_else(Vec::new, |properties| properties.keys().cloned().collect())
    }
}

fn parse(schema: Value) -> Result<Value, String> {
    match schema {
        Value::String(text) => serde_json::from_str(&text)
            .map_err(|error| format!("this is no JSON Schema, for it is not JSON: {error}")),
        schema => Ok(schema),
    }
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let there = keys.has("schema") || keys.has("schema_file");
    let schema = Schema::read(keys);
    if !there {
        keys.wrong(
            &keys.span(),
            format!("{} needs a schema", keys.owner()),
            "add schema = { ... } or schema_file = \"lead.schema.json\"",
        );
    }
    let then = keys.one_of("then", THEN).unwrap_or(Then::Fail);
    Some(Box::new(Validate {
        schema: Arc::new(schema?),
        then,
    }))
}

impl Schema {
    /// What is wrong with a lead.
    fn check(&self, lead: &[u8]) -> Result<Option<String>, Failure> {
        let lead: Value = serde_json::from_slice(lead).map_err(|error| {
            Failure::new(
                ErrorKind::Invalid,
                format!("the lead cannot be checked: {error}"),
            )
        })?;
        Ok(self.violations(&lead))
    }
}

impl Validate {
    fn judge(&self, violations: Option<String>) -> Result<Outcome, Failure> {
        match violations {
            None => Ok(Outcome::Continue),
            Some(text) => self.then.end(&format!("the lead is not valid: {text}")),
        }
    }
}

impl Station for Validate {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        let lead = lead.to_json();
        if lead.len() <= ASIDE_BYTES {
            let checked = self.schema.check(&lead);
            return ready(checked.and_then(|found| self.judge(found))).boxed();
        }
        // On a thread that no other lead waits for. It ends by itself if the lead's time is up before.
        let schema = Arc::clone(&self.schema);
        let check = tokio::task::spawn_blocking(move || schema.check(&lead));
        async move {
            let checked = check.await.map_err(|error| match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Failure::new(ErrorKind::Transient, error.to_string()),
            })?;
            self.judge(checked?)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{mistakes, mistakes_in, went_on, with_keys, work};
    use super::*;

    const SCHEMA: &str = r#"
        [schema]
        required = ["name", "email"]
        properties.email = { type = "string", format = "email" }
        properties.n = { type = "number", maximum = 10 }
        properties.tags = { items = { enum = ["a", "b"] } }
    "#;

    async fn said(route: &str, lead: &str) -> String {
        let station = with_keys(route, make).expect(route);
        let failure = work(&*station, lead).await.expect_err(lead);
        assert_eq!(failure.kind, ErrorKind::Invalid);
        failure.error
    }

    #[tokio::test]
    async fn a_lead_that_fits_goes_on_untouched() {
        let station = with_keys(SCHEMA, make).expect("a station");
        let lead = r#"{"name":"Ada","email":"ada@example.com","n":1.50,"other":{}}"#;
        assert_eq!(went_on(work(&*station, lead).await), lead);
    }

    #[tokio::test]
    async fn the_first_few_violations_are_named_with_their_paths() {
        let one = said(SCHEMA, r#"{"name":"Ada","email":"x"}"#).await;
        assert_eq!(
            one,
            r#"the lead is not valid: /email: "x" is not a "email""#
        );
        let many = said(SCHEMA, r#"{"n":11,"tags":["a","c","d"]}"#).await;
        assert!(
            many.contains("/: \"name\" is a required property"),
            "{many}"
        );
        assert!(many.ends_with("; and 2 more"), "{many}");
        let huge = format!(
            r#"{{"name":"\u001b[31m","email":"{}"}}"#,
            "x".repeat(100_000)
        );
        let huge = said(SCHEMA, &huge).await;
        assert!(huge.len() < 2_000 && !huge.contains('\u{1b}'), "{huge}");
    }

    #[tokio::test]
    async fn numbers_of_any_size_are_compared_and_depth_has_an_end() {
        for n in ["1e400", "123456789012345678901234567890", "10.0000001"] {
            let lead = format!(r#"{{"name":"Ada","email":"a@example.com","n":{n}}}"#);
            assert!(said(SCHEMA, &lead).await.contains("/n: "), "{n}");
        }
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
        assert!(said(SCHEMA, &deep).await.contains("cannot be checked"));
    }

    #[tokio::test]
    async fn a_lead_that_does_not_fit_may_be_done_instead() {
        let route = "then = \"skip_rest\"\nschema = '{\"required\":[\"email\"]}'";
        let station = with_keys(route, make).expect("a station");
        let (outcome, _) = work(&*station, "{}").await.expect("an outcome");
        assert!(matches!(outcome, Outcome::SkipRest { reason } if reason.contains("\"email\"")));
    }

    #[test]
    fn mistakes_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("bad.json"), "{").expect("written");
        std::fs::write(folder.path().join("good.json"), "{\"minLength\": 1}").expect("written");
        for (route, expected) in [
            ("", Some("1: the station needs a schema; add schema")),
            ("schema = 1", Some("1: this is no JSON Schema")),
            (
                "schema = \"{\"",
                Some("1: this is no JSON Schema, for it is not JSON"),
            ),
            (
                "\nschema = { type = \"strin\" }",
                Some("2: this is no JSON Schema: "),
            ),
            (
                "schema = { format = \"emial\" }",
                Some("1: this is no JSON Schema: "),
            ),
            (
                "schema = { \"$ref\" = \"https://example.com/x\" }",
                Some("1: this is no JSON Schema: "),
            ),
            ("schema_file = \"none.json\"", Some("1: cannot read ")),
            ("schema_file = \"bad.json\"", Some("1: ")),
            ("schema_file = \"good.json\"", None),
            (
                "schema_file = \"good.json\"\nschema = {}",
                Some("1: there are two schemas"),
            ),
        ] {
            let said = mistakes_in(folder.path(), route, |keys| make(keys).is_some());
            let starts = said.first().map(String::as_str).unwrap_or_default();
            assert_eq!(
                said.len(),
                usize::from(expected.is_some()),
                "{route}: {said:#?}"
            );
            assert!(starts.starts_with(expected.unwrap_or_default()), "{starts}");
        }
        assert_eq!(
            mistakes("schema = {}\nthen = \"skip\"", |keys| make(keys).is_some()).len(),
            1
        );
    }
}
