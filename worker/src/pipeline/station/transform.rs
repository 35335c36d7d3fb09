//! `transform`: renames, sets and drops fields. Names may go into objects with dots.
//!
//! First come the renamings, then what is set, what is computed and what is dropped, each on what
//! the ones before have made; within one table all see the lead as it was before it.

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::{Lead, PathError};
use futures::future::{BoxFuture, FutureExt as _, ready};
use serde_json::value::{RawValue, to_raw_value};
use toml::Spanned;

use super::super::expression::Expression;
use super::super::keys::Content;
use super::{Call, Contract, Failure, Keys, Outcome, Station};

#[derive(Debug)]
struct Transform {
    rename: Vec<(String, String)>,
    set: Vec<(String, Content)>,
    compute: Vec<(String, Expression)>,
    drop: Vec<String>,
}

#[allow(clippy::unnecessary_wraps, reason = "the shape of every kind")]
pub(super) fn make(keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    let some = ["rename", "set", "compute", "drop"];
    let nothing = !some.iter().any(|key| keys.has(key));
    let rename = keys.plain_entries("rename").unwrap_or_default();
    let set = keys.content_entries("set").unwrap_or_default();
    let compute = keys.expression_entries("compute").unwrap_or_default();
    let drop = keys.texts("drop").unwrap_or_default();
    if nothing {
        keys.wrong(
            &keys.span(),
            format!("{} does nothing", keys.owner()),
            "add rename, set, compute or drop",
        );
    }
    let targets = rename.iter().map(|(_, to)| to);
    let names = targets
        .chain(rename.iter().map(|(from, _)| from))
        .chain(set.iter().map(|(name, _)| name))
        .chain(compute.iter().map(|(name, _)| name))
        .chain(&drop);
    for name in names {
        if name.get_ref().split('.').any(str::is_empty) {
            keys.wrong(
                &name.span(),
                format!("\"{}\" cannot be the name of a field", name.get_ref()),
                "write it like company or company.name",
            );
        }
    }
    Some(Box::new(Transform {
        rename: owned(rename, Spanned::into_inner),
        set: owned(set, |content| content),
        compute: owned(compute, |expression| expression),
        drop: drop.into_iter().map(Spanned::into_inner).collect(),
    }))
}

fn owned<A, B>(entries: Vec<(Spanned<String>, A)>, value: impl Fn(A) -> B) -> Vec<(String, B)> {
    entries
        .into_iter()
        .map(|(name, entry)| (name.into_inner(), value(entry)))
        .collect()
}

impl Transform {
    fn change(&self, lead: &Lead) -> Result<Lead, Failure> {
        let mut changed = lead.clone();
        for (from, to) in &self.rename {
            if let Some(value) = changed.remove_at(from) {
                changed.set_at(to, value).map_err(cannot)?;
            }
        }
        let mut values = Vec::with_capacity(self.set.len() + self.compute.len());
        for (field, content) in &self.set {
            let value = match content {
                Content::Fixed(value) => to_raw_value(value).expect("a JSON value is JSON"),
                Content::Made(template) => {
                    to_raw_value(&template.render(&changed)?).expect("a text is JSON")
                }
            };
            values.push((field, value));
        }
        set(&mut changed, &mut values)?;
        for (field, expression) in &self.compute {
            // What is not there leaves the field as it is.
            if let Some(value) = expression.value(&changed)? {
                values.push((field, value));
            }
        }
        set(&mut changed, &mut values)?;
        for field in &self.drop {
            changed.remove_at(field);
        }
        Ok(changed)
    }
}

fn set(lead: &mut Lead, values: &mut Vec<(&String, Box<RawValue>)>) -> Result<(), Failure> {
    values
        .drain(..)
        .try_for_each(|(field, value)| lead.set_at(field, value))
        .map_err(cannot)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn cannot(error: PathError) -> Failure {
    Failure::new(ErrorKind::Invalid, error.to_string())
}

impl Station for Transform {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        let changed = self.change(lead).map(|changed| {
            *lead = changed;
            Outcome::Continue
        });
        ready(changed).boxed()
    }

    fn contract(&self) -> Contract {
        let made = self.rename.iter().map(|(_, to)| to);
        let made = made
            .chain(self.set.iter().map(|(field, _)| field))
            .chain(self.compute.iter().map(|(field, _)| field));
        let gone = self.rename.iter().map(|(from, _)| from);
        Contract {
            requires: Vec::new(),
            produces: made.cloned().collect(),
            removes: gone.chain(&self.drop).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{mistakes, went_on, with_keys, work};
    use super::*;

    async fn changed(route: &str, lead: &str) -> Result<String, String> {
        let station = with_keys(route, make).expect(route);
        let result = work(&*station, lead).await;
        result
            .map(|done| went_on(Ok(done)))
            .map_err(|failure| failure.error)
    }

    #[tokio::test]
    async fn fields_are_renamed_then_set_then_computed_then_dropped() {
        let route = r#"
            rename = { company_name = "company.name", absent = "x" }
            set = { greeting = "Hi {{ name }} of {{ company.name }}", source = "list", "company.size" = 7, tags = ["a", true] }
            compute = { score = "n * 2 + 1", copy = "company", nothing = "absent" }
            drop = ["n", "deep.a", "not.there"]
        "#;
        let lead = r#"{"name":"Ada","company_name":"Example Co","n":3,"deep":{"a":1,"b":1.50},"odd":1.0e2}"#;
        assert_eq!(
            changed(route, lead).await.expect("changed"),
            r#"{"name":"Ada","deep":{"b":1.50},"odd":1.0e2,"company":{"name":"Example Co","size":7},"greeting":"Hi Ada of Example Co","source":"list","tags":["a",true],"score":7,"copy":{"name":"Example Co","size":7}}"#
        );
    }

    #[tokio::test]
    async fn what_cannot_be_done_fails_and_changes_nothing() {
        let route = "rename = { a = \"b\" }\nset = { \"name.first\" = \"x\" }";
        let station = with_keys(route, make).expect(route);
        let mut lead = Lead::parse(br#"{"a":1,"name":"Ada"}"#).expect("a lead");
        let call = Call::new("id", None, false);
        let failure = station.work(&call, &mut lead).await.expect_err("a text");
        assert_eq!(failure.kind, ErrorKind::Invalid);
        assert_eq!(
            failure.error,
            "name.first cannot be set: name is not an object but a text"
        );
        assert_eq!(lead.to_json(), br#"{"a":1,"name":"Ada"}"#);
        let said = changed("set = { x = \"{{ absent }}\" }", "{}").await;
        assert!(said.expect_err("absent").contains("it lacks absent"));
    }

    #[test]
    fn the_contract_says_what_comes_and_what_goes() {
        let station = with_keys(
            "rename = { a = \"b\" }\nset = { c = 1 }\ndrop = [\"d\"]",
            make,
        );
        let contract = station.expect("a station").contract();
        assert_eq!(contract.produces, ["b", "c"]);
        assert_eq!(contract.removes, ["a", "d"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (route, expected) in [
            (
                "",
                "1: the station does nothing; add rename, set, compute or drop",
            ),
            (
                "drop = [\"a..b\"]",
                "1: \"a..b\" cannot be the name of a field",
            ),
            (
                "rename = { a = 1 }",
                "1: \"a\" in rename must be a text in quotes",
            ),
            ("set = { a = \"{{ x\" }", "1: "),
            (
                "set = { a = 2026-01-01 }",
                "1: JSON cannot hold \"a\" in set",
            ),
            ("compute = { a = \"1 +\" }", "1: "),
        ] {
            let said = mistakes(route, |keys| make(keys).is_some());
            assert!(
                said.len() == 1 && said[0].starts_with(expected),
                "{said:#?}"
            );
        }
    }
}
