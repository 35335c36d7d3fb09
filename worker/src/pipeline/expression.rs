//! Expressions and templates over a lead's fields, in the language of Jinja (the minijinja crate).
//!
//! Both are compiled when the route is read, and name the field and the line where that fails. A
//! lead's fields stand under their own names; `lead` is the whole lead, for names that are no
//! identifiers: `lead["first name"]`. Neither takes more work or memory than the lead's [`Budget`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;
use minijinja::value::Value;
use minijinja::{
    AutoEscape, Environment, Error, Output, State, UndefinedBehavior, escape_formatter,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::Failure;
use super::arithmetic;
use super::budget::{self, Budget};
use super::secrets::{Piece, Secrets, pieces};
use super::vocabulary;

/// What may stand in a URL as it is (RFC 3986, 2.3); not even a slash of a lead's field makes a
/// new part of the path.
const URL_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A field that is not there is as good as false, and so is a part of it.
static CONDITIONS: LazyLock<Environment<'static>> =
    LazyLock::new(|| limited(UndefinedBehavior::Chainable));

/// A text is not made from what is not there.
static TEXTS: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = limited(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|name| match name {
        "json" => AutoEscape::Json,
        "url" => AutoEscape::Custom("url".into()),
        _ => AutoEscape::None,
    });
    environment.set_formatter(write_value);
    environment
});

/// The language with the limits of a small lead.
fn limited(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(Budget::of(0).fuel));
    arithmetic::add_to(&mut environment);
    budget::add_to(&mut environment);
    environment
}

/// Why an expression or a template cannot be compiled.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// The line of the text, from 0.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) what: String,
    /// What to do.
    pub(super) hint: String,
}

impl Unreadable {
    fn new(error: &Error, hint: &str) -> Self {
        Self {
            line: error.line().unwrap_or(1).saturating_sub(1),
            what: words(error),
            hint: hint.to_owned(),
        }
    }

    fn unknown(line: usize, what: String) -> Self {
        Self {
            line,
            what,
            hint: "take one that minijinja has: https://docs.rs/minijinja".into(),
        }
    }
}

/// An expression, such as `country == "US" and not email`.
#[derive(Debug)]
pub(super) struct Expression {
    source: String,
    /// The same as it is run.
    guarded: String,
    code: minijinja::Expression<'static, 'static>,
    fields: Fields,
}

impl Expression {
    /// # Errors
    /// [`Unreadable`].
    pub(super) fn compile(source: &str) -> Result<Self, Unreadable> {
        let environment: &'static Environment<'static> = &CONDITIONS;
        let guarded = arithmetic::guarded(source);
        let code = environment
            .compile_expression_owned(guarded.clone())
            .map_err(|error| {
                Unreadable::new(&error, "write it like country == \"US\" and not email")
            })?;
        if let Some(what) = vocabulary::unknown(environment, source) {
            return Err(Unreadable::unknown(0, what));
        }
        let fields = Fields::new(code.undeclared_variables(false));
        Ok(Self {
            source: source.to_owned(),
            guarded,
            code,
            fields,
        })
    }

    /// The expression as it was written.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Its value where that is the same for every lead.
    pub(super) fn constant(&self) -> Option<bool> {
        (self.fields.is_empty())
            .then(|| self.code.eval(()).ok().map(|value| value.is_true()))
            .flatten()
    }

    /// Whether it is true of a lead. What is not there, `null`, 0, an empty text and an empty
    /// list are not true.
    ///
    /// # Errors
    /// [`Failure`] of kind [`ErrorKind::Invalid`] where it makes no sense for this lead.
    pub(super) fn holds(&self, lead: &Lead) -> Result<bool, Failure> {
        self.eval(lead, self.fields.budget(lead))
            .map(|value| value.is_true())
    }

    /// Its value for a lead, as JSON; `None` where it is what is not there.
    ///
    /// # Errors
    /// As [`Expression::holds`].
    #[allow(dead_code, reason = "each kind of station uses its own part of it")]
    pub(super) fn value(&self, lead: &Lead) -> Result<Option<Box<RawValue>>, Failure> {
        let budget = self.fields.budget(lead);
        let value = self.eval(lead, budget)?;
        if value.is_undefined() {
            return Ok(None);
        }
        budget::to_json(&value, budget.made)
            .map_err(|error| self.makes_no_sense(&error.to_string()))?
            .ok_or_else(|| self.makes_no_sense(&budget::exceeded(budget)))
            .map(Some)
    }

    fn eval(&self, lead: &Lead, budget: Budget) -> Result<Value, Failure> {
        let fields = self.fields.of(lead);
        let value = if budget.is_least() {
            self.code.eval(fields)
        } else {
            // To compile it anew costs nothing beside reading such a lead.
            let mut environment = CONDITIONS.clone();
            environment.set_fuel(Some(budget.fuel));
            environment
                .compile_expression(&self.guarded)
                .and_then(|code| code.eval(fields))
        };
        value.map_err(|error| self.makes_no_sense(&why(&error, budget)))
    }

    fn makes_no_sense(&self, why: &str) -> Failure {
        Failure::new(
            ErrorKind::Invalid,
            format!("`{}` makes no sense for this lead: {why}", self.source),
        )
    }
}

/// How what a template puts in is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each kind of station uses its own part of it")]
pub(super) enum Escape {
    /// As it is: a prompt, a header's value.
    Plain,
    /// As a JSON value, with its own quotes: `{"name": {{ name }}}`.
    Json,
    /// As one part of a URL: nothing in it ends or begins another part.
    Url,
}

impl Escape {
    const fn name(self) -> &'static str {
        match self {
            Self::Plain => "text",
            Self::Json => "json",
            Self::Url => "url",
        }
    }

    /// What a value of the route's own stands as: raw, but within the quotes of a JSON text.
    fn own(self, value: &str) -> String {
        if self == Self::Json {
            let json = serde_json::to_string(value).expect("a text is JSON");
            json[1..json.len() - 1].to_owned()
        } else {
            value.to_owned()
        }
    }
}

/// A text with `{{ expressions }}` over a lead's fields, and `${NAME}`s from the environment.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
    escape: Escape,
    fields: Fields,
    /// What the environment gave, under the names that stand for it in the template. They never
    /// are template text themselves.
    own: BTreeMap<String, Value>,
}

#[allow(dead_code, reason = "each kind of station uses its own part of it")]
impl Template {
    /// # Errors
    /// [`Unreadable`]; a variable that is not set is one.
    pub(super) fn compile(
        text: &str,
        escape: Escape,
        secrets: &mut Secrets,
    ) -> Result<Self, Unreadable> {
        let mut source = String::new();
        let mut own = BTreeMap::new();
        for piece in pieces(text).map_err(|what| Unreadable {
            line: 0,
            what,
            hint: "write the variable as ${NAME}".into(),
        })? {
            match piece {
                Piece::Plain(text) => source.push_str(text),
                Piece::Variable(name) => {
                    let value = secrets.value(name).ok_or_else(|| Unreadable {
                        line: source.matches('\n').count(),
                        what: format!("the environment variable {name} is not set"),
                        hint: format!("set {name}, or take ${{{name}}} out"),
                    })?;
                    let placeholder = format!("__own_{}", own.len());
                    source.push_str("{{ ");
                    source.push_str(&placeholder);
                    source.push_str(" }}");
                    own.insert(placeholder, Value::from_safe_string(escape.own(&value)));
                }
            }
        }
        if let Some((line, what)) = vocabulary::unknown_in_text(&TEXTS, &source) {
            return Err(Unreadable::unknown(line, what));
        }
        let mut environment = TEXTS.clone();
        environment
            .add_template_owned(escape.name(), arithmetic::guarded_text(&source))
            .map_err(|error| Unreadable::new(&error, "write fields as {{ name }}"))?;
        let template = environment
            .get_template(escape.name())
            .expect("it was just added");
        let mut names = template.undeclared_variables(false);
        names.retain(|name| !own.contains_key(name));
        Ok(Self {
            fields: Fields::new(names),
            environment,
            escape,
            own,
        })
    }

    /// The text for a lead.
    ///
    /// # Errors
    /// [`Failure`] of kind [`ErrorKind::Invalid`] where the lead lacks a field that the text
    /// needs; `{{ field | default("") }}` does without.
    pub(super) fn render(&self, lead: &Lead) -> Result<String, Failure> {
        let mut context = self.fields.map(lead);
        context.extend(
            self.own
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        let budget = self.fields.budget(lead);
        let render = |environment: &Environment<'_>| {
            let template = environment.get_template(self.escape.name())?;
            let text = template.render(Value::from(context))?;
            if text.len() > budget.made {
                return Err(minijinja::ErrorKind::OutOfFuel.into());
            }
            Ok(text)
        };
        let text = if budget.is_least() {
            render(&self.environment)
        } else {
            let mut environment = self.environment.clone();
            environment.set_fuel(Some(budget.fuel));
            render(&environment)
        };
        text.map_err(|error| {
            let lacking: Vec<&str> = self
                .fields
                .names
                .iter()
                .map(String::as_str)
                .filter(|name| lead.get(name).is_none())
                .collect();
            let why = if lacking.is_empty() || is_exceeded(&error) {
                why(&error, budget)
            } else {
                format!("it lacks {}", lacking.join(", "))
            };
            Failure::new(
                ErrorKind::Invalid,
                format!("a text cannot be made from this lead: {why}"),
            )
        })
    }

    /// Whether it is the same text for every lead.
    pub(super) fn is_constant(&self) -> bool {
        self.fields.is_empty()
    }
}

/// The fields of a lead that a piece of code looks at. Only these are read.
#[derive(Debug)]
struct Fields {
    names: Vec<String>,
    whole: bool,
}

impl Fields {
    fn new(names: impl IntoIterator<Item = String>) -> Self {
        let known = |name: &String| {
            CONDITIONS
                .globals()
                .any(|(global, _)| global == name.as_str())
        };
        let mut names: Vec<String> = names.into_iter().filter(|name| !known(name)).collect();
        names.sort_unstable();
        let whole = names.iter().any(|name| name == "lead");
        names.retain(|name| name != "lead");
        Self { names, whole }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.whole
    }

    /// What may be taken for a lead: as much as what is read of it allows.
    fn budget(&self, lead: &Lead) -> Budget {
        let size = |name: &str| lead.get(name).map_or(0, str::len);
        let named: usize = self.names.iter().map(|name| size(name)).sum();
        let all: usize = if self.whole {
            lead.names().map(size).sum()
        } else {
            0
        };
        Budget::of(named + all)
    }

    fn map(&self, lead: &Lead) -> BTreeMap<String, Value> {
        let mut context: BTreeMap<String, Value> = self
            .names
            .iter()
            .filter_map(|name| Some((name.clone(), value(lead.get(name)?))))
            .collect();
        if self.whole {
            let all = lead
                .names()
                .map(|name| (name.to_owned(), value(lead.get(name).unwrap_or("null"))));
            context.insert("lead".to_owned(), Value::from_pairs(all));
        }
        context
    }

    fn of(&self, lead: &Lead) -> Value {
        if self.is_empty() {
            Value::from(())
        } else {
            Value::from(self.map(lead))
        }
    }
}

/// A field's JSON text as a value of the expression language. A text too deep to be read counts
/// as not there.
fn value(json: &str) -> Value {
    match serde_json::from_str(json) {
        Ok(json) => convert(json),
        Err(_) => Value::UNDEFINED,
    }
}

fn convert(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(value),
        Json::String(text) => Value::from(text),
        Json::Array(list) => list.into_iter().map(convert).collect(),
        Json::Object(fields) => Value::from_pairs(
            fields
                .into_iter()
                .map(|(name, value)| (name, convert(value))),
        ),
        Json::Number(number) => {
            if let Some(whole) = number.as_i128() {
                // Small ones compare and index as the numbers of the language do.
                i64::try_from(whole).map_or_else(|_| Value::from(whole), Value::from)
            } else {
                number.as_f64().map_or(Value::UNDEFINED, Value::from)
            }
        }
    }
}

fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    // Fuel pays for a text once it is written, which is too late for a list that has no items until then.
    if budget::weigh(value, Budget::of_state(state).made).is_err() {
        return Err(minijinja::ErrorKind::OutOfFuel.into());
    }
    let url = matches!(state.auto_escape(), AutoEscape::Custom(name) if name == "url");
    if !url || value.is_safe() || value.is_undefined() {
        return escape_formatter(out, state, value);
    }
    let text = if value.is_none() {
        String::new()
    } else {
        value.to_string()
    };
    // As a part of a path these go elsewhere, encoded or not (WHATWG URL, 4.3).
    if matches!(text.as_str(), "." | "..") {
        return Err(Error::new(
            minijinja::ErrorKind::InvalidOperation,
            format!("{text} cannot be a part of a URL"),
        ));
    }
    out.write_str(&utf8_percent_encode(&text, URL_PART).to_string())
        .map_err(Error::from)
}

fn is_exceeded(error: &Error) -> bool {
    error.kind() == minijinja::ErrorKind::OutOfFuel
}

/// Why it makes no sense for a lead that may take so much.
fn why(error: &Error, budget: Budget) -> String {
    if is_exceeded(error) {
        budget::exceeded(budget)
    } else {
        words(error)
    }
}

fn words(error: &Error) -> String {
    error
        .detail()
        .map_or_else(|| error.kind().to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(json: &str) -> Lead {
        Lead::parse(json.as_bytes()).expect(json)
    }

    fn render(text: &str, escape: Escape, json: &str) -> Result<String, String> {
        Template::compile(text, escape, &mut Secrets::default())
            .map_err(|error| error.what)?
            .render(&lead(json))
            .map_err(|failure| failure.error)
    }

    #[test]
    fn a_condition_reads_fields_and_takes_what_is_missing_for_false() {
        let lead = lead(
            r#"{"country":"US","n":12,"email":"","tags":["a"],"pos":{"title":"CTO"},"big":1e400,"first name":"Ada","x":null}"#,
        );
        for (source, expected) in [
            ("country == \"US\"", true),
            ("country in [\"DE\", \"FR\"]", false),
            ("n > 11 and n < 13", true),
            ("not email", true),
            ("phone", false),
            ("phone is defined", false),
            ("x is none", true),
            ("pos.title == \"CTO\"", true),
            ("nothing.at.all == 1", false),
            ("\"a\" in tags", true),
            ("lead[\"first name\"] == \"Ada\"", true),
            ("country | lower == \"us\"", true),
            ("false", false),
        ] {
            let expression = Expression::compile(source).expect(source);
            assert_eq!(expression.holds(&lead).expect(source), expected, "{source}");
        }
    }

    #[test]
    fn a_value_keeps_its_type() {
        let lead = lead(r#"{"n":12,"name":"Ada","list":[1,{"a":null}]}"#);
        for (source, expected) in [
            ("n", Some("12")),
            ("n + 1", Some("13")),
            ("name ~ \"!\"", Some("\"Ada!\"")),
            ("list", Some("[1,{\"a\":null}]")),
            ("none", Some("null")),
            ("phone", None),
        ] {
            let value = Expression::compile(source)
                .expect(source)
                .value(&lead)
                .expect(source);
            assert_eq!(
                value.as_ref().map(|value| value.get()),
                expected,
                "{source}"
            );
        }
    }

    #[test]
    fn a_constant_is_known_before_any_lead() {
        let constant = |source| Expression::compile(source).expect(source).constant();
        assert_eq!(constant("1 > 2"), Some(false));
        assert_eq!(constant("true"), Some(true));
        assert_eq!(constant("email"), None);
        assert_eq!(constant("lead.email"), None);
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let error = Expression::compile("country ==").expect_err("incomplete");
        assert!(error.what.contains("unexpected end"), "{}", error.what);
        let error = Template::compile("a\n{{ name }\n", Escape::Plain, &mut Secrets::default())
            .expect_err("incomplete");
        assert_eq!(error.line, 1, "{}", error.what);
        let error = Template::compile("{{ name | uper }}", Escape::Plain, &mut Secrets::default())
            .expect_err("unknown");
        assert_eq!(error.what, "there is no filter called uper");
    }

    #[test]
    fn what_a_template_puts_in_cannot_break_out() {
        let evil = r#"{"name":"a/b?x=1&y \"q\"","id":7,"none":null}"#;
        assert_eq!(
            render("http://x/{{ name }}/{{ id }}", Escape::Url, evil),
            Ok("http://x/a%2Fb%3Fx%3D1%26y%20%22q%22/7".into())
        );
        assert_eq!(
            render(
                r#"{"n":{{ name }},"i":{{ id }},"z":{{ none }}}"#,
                Escape::Json,
                evil
            ),
            Ok(r#"{"n":"a/b?x=1&y \"q\"","i":7,"z":null}"#.into())
        );
        assert_eq!(
            render("{{ name }}", Escape::Plain, r#"{"name":"<a>"}"#),
            Ok("<a>".into())
        );
        for part in [".", ".."] {
            let json = format!(r#"{{"name":"{part}"}}"#);
            assert!(render("http://x/{{ name }}", Escape::Url, &json).is_err());
        }
    }

    #[test]
    fn a_text_is_not_made_from_what_is_missing() {
        assert_eq!(
            render("{{ email }}", Escape::Plain, "{}"),
            Err("a text cannot be made from this lead: it lacks email".into())
        );
        assert_eq!(
            render(
                "{{ email | default(\"-\") }}{% if phone %}!{% endif %}",
                Escape::Plain,
                "{}"
            ),
            Ok("-".into())
        );
    }

    #[test]
    fn the_environment_is_put_in_as_it_is_and_never_run() {
        // PATH is always set; its value holds slashes, which a URL part would not.
        let path = std::env::var("PATH").expect("a PATH");
        assert_eq!(render("${PATH}", Escape::Url, "{}"), Ok(path));
        let error = render("a\n${NO_SUCH_VARIABLE_HERE}", Escape::Plain, "{}");
        assert_eq!(
            error,
            Err("the environment variable NO_SUCH_VARIABLE_HERE is not set".into())
        );
    }
}
