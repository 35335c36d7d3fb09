//! The route file.
//!
//! ```toml
//! default_pipeline = "main"
//!
//! [[pipelines.main.stations]]
//! kind = "identity"
//! name = "identity"
//! ```

use std::collections::HashSet;
use std::fmt;

use std::path::{Path, PathBuf};

use bridge_shared::money::Money;
use bridge_shared::terminal::harmless_lines;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::contract;
use super::keys::{Keys, Mistake, Reading, suggest};
use super::ledger::Ledger;
use super::secrets::Secrets;
use super::sink::Sinks;
use super::step::{self, Step};

/// The route that needs no outside service, used where no file is named.
const BUILT_IN: &str = include_str!("../../../assets/pipelines/default.toml");
/// What the built-in route is called where a file would be named.
const BUILT_IN_NAME: &str = "the built-in route";

/// What is wrong with a route file, and where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RouteError {
    /// The file cannot be read.
    #[error("cannot read the route file {}: {cause}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// Several pipelines, and none chosen.
    #[error(
        "{0} has several pipelines; name one with --pipeline-name, PIPELINE_NAME or default_pipeline"
    )]
    NoChoice(String),
    /// The file says something that cannot be.
    #[error("{}", lines(.0))]
    Wrong(Vec<Fault>),
}

/// A mistake in a route file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Fault {
    /// The file.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) error: String,
    /// What to do.
    pub(crate) hint: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            error,
            hint,
        } = self;
        let text = format!("{file}:{line}: {error}; {hint}");
        f.write_str(&harmless_lines(&text))
    }
}

fn lines(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A route file, read and found sound.
#[derive(Debug)]
pub(super) struct Routes {
    /// The pipeline the file names as its default, or the only one there is.
    pub(super) default: Option<String>,
    /// Every pipeline of the file, in its order.
    pub(super) pipelines: Vec<Route>,
    /// What the environment gave.
    pub(super) secrets: Secrets,
}

/// A pipeline of a route file.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    pub(super) sinks: Sinks,
    /// What leads come with.
    pub(super) input: Vec<String>,
    /// What a lead may cost.
    pub(super) budget: Option<Money>,
    /// What the whole fleet may spend on one day.
    pub(super) daily_budget: Option<Money>,
}

/// Where a route comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// The route file; the built-in route where there is none.
    pub(crate) file: Option<PathBuf>,
    /// The pipeline to run.
    pub(crate) name: Option<String>,
    /// What a lead may cost, whatever the file says.
    pub(crate) budget: Option<Money>,
}

impl Source {
    /// The file's text, or that of the built-in route.
    ///
    /// # Errors
    /// [`RouteError::Unreadable`].
    pub(crate) fn text(&self) -> Result<String, RouteError> {
        let Some(file) = &self.file else {
            return Ok(BUILT_IN.to_owned());
        };
        std::fs::read_to_string(file).map_err(|cause| RouteError::Unreadable {
            file: file.clone(),
            cause,
        })
    }

    /// What the file is called in messages.
    pub(crate) fn shown(&self) -> String {
        self.file.as_ref().map_or_else(
            || BUILT_IN_NAME.to_owned(),
            |file| file.display().to_string(),
        )
    }
}

/// Reads a route file's text, with all its pipelines: a mistake shows before it is needed.
///
/// # Errors
/// [`RouteError::Wrong`].
pub(super) fn read(source: &Source, text: &str, ledger: &Ledger) -> Result<Routes, RouteError> {
    let folder = source.file.as_deref().and_then(Path::parent);
    let reading = Reading::new(text, folder.unwrap_or(Path::new("")));
    let routes = pipelines(&reading, source, ledger);
    let (mistakes, secrets) = reading.end();
    match routes {
        Some((default, pipelines)) if mistakes.is_empty() => Ok(Routes {
            default,
            pipelines,
            secrets,
        }),
        _ => Err(RouteError::Wrong(
            mistakes
                .into_iter()
                .map(|mistake| fault(&source.shown(), text, mistake, &secrets))
                .collect(),
        )),
    }
}

fn fault(file: &str, text: &str, mistake: Mistake, secrets: &Secrets) -> Fault {
    let before = &text[..mistake.at.min(text.len())];
    Fault {
        file: file.to_owned(),
        line: before.matches('\n').count() + 1 + mistake.down,
        error: secrets.hide(mistake.what),
        hint: mistake.hint,
    }
}

fn pipelines(
    reading: &Reading<'_>,
    source: &Source,
    ledger: &Ledger,
) -> Option<(Option<String>, Vec<Route>)> {
    let (root, errors) = DeTable::parse_recoverable(reading.text());
    for error in &errors {
        reading.wrong(
            &error.span().unwrap_or(0..0),
            error.message(),
            "see https://toml.io for how it is written",
        );
    }
    if !errors.is_empty() {
        return None;
    }
    let mut keys = Keys::new(reading, root.into_inner(), "the file", 0..0);
    let default = keys.text("default_pipeline");
    let pipelines = keys.table("pipelines");
    let pipelines = keys.need(
        "pipelines",
        pipelines,
        "one with [[pipelines.main.stations]]",
    );
    keys.finish();
    let routes: Vec<Route> = pipelines?
        .into_entries()
        .into_iter()
        .filter_map(|(name, value)| route(reading, &name, value, source, ledger))
        .collect();
    let names: Vec<&str> = routes.iter().map(|route| route.name.as_str()).collect();
    for (name, at) in [
        (source.name.as_deref(), 0..0),
        (
            default.as_ref().map(|name| name.get_ref().as_str()),
            default.as_ref().map_or(0..0, Spanned::span),
        ),
    ] {
        if let Some(name) = name
            && !names.contains(&name)
        {
            reading.wrong(
                &at,
                format!("no pipeline is called \"{name}\""),
                suggest(name, &names),
            );
        }
    }
    let default = default.map(Spanned::into_inner).or_else(|| {
        let [only] = names.as_slice() else {
            return None;
        };
        Some((*only).to_owned())
    });
    Some((default, routes))
}

fn route(
    reading: &Reading<'_>,
    name: &Spanned<String>,
    value: Spanned<DeValue<'_>>,
    source: &Source,
    ledger: &Ledger,
) -> Option<Route> {
    let (span, name) = (name.span(), name.get_ref());
    let shown = name.escape_debug();
    if name.is_empty() || name.chars().any(char::is_control) {
        reading.wrong(&span, "a pipeline's name must be a word", "name it main");
        return None;
    }
    let DeValue::Table(table) = value.into_inner() else {
        reading.wrong(
            &span,
            format!("pipeline \"{shown}\" must be a table"),
            format!("begin it with [[pipelines.{shown}.stations]]"),
        );
        return None;
    };
    let mut keys = Keys::new(reading, table, format!("pipeline \"{shown}\""), span);
    let input = keys.texts("input");
    let budget = keys.money("budget").map(Spanned::into_inner);
    let daily_budget = keys.money("daily_budget").map(Spanned::into_inner);
    let stations = keys.tables("stations").filter(|list| !list.is_empty());
    let stations = keys.need(
        "stations",
        stations,
        &format!("[[pipelines.{shown}.stations]]"),
    );
    let sinks = Sinks::read(&mut keys, name, ledger);
    keys.finish();
    let mut route = Route {
        name: name.clone(),
        steps: steps(reading, stations.unwrap_or_default(), name, ledger),
        input: match input {
            Some(input) => input.into_iter().map(Spanned::into_inner).collect(),
            None => contract::INPUT.iter().map(ToString::to_string).collect(),
        },
        sinks,
        budget: source.budget.or(budget),
        daily_budget,
    };
    // A limit set over the file's is not the file's mistake: what it does not allow is skipped.
    contract::check(reading, &route.input, budget, &mut route.steps);
    Some(route)
}

fn steps(
    reading: &Reading<'_>,
    stations: Vec<Keys<'_>>,
    pipeline: &str,
    ledger: &Ledger,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut names = HashSet::new();
    for mut keys in stations {
        keys.set_owner("a station".into());
        let step = step::make(keys, pipeline, ledger);
        for provider in &step.waterfall {
            if !provider.name.is_empty() && !names.insert(provider.name.clone()) {
                reading.wrong(
                    &provider.span,
                    format!(
                        "two stations of \"{pipeline}\" are called \"{}\"",
                        provider.name
                    ),
                    "give each a name of its own",
                );
            }
        }
        steps.push(step);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str, name: Option<&str>) -> String {
        let source = Source {
            file: Some("r.toml".into()),
            name: name.map(ToOwned::to_owned),
            budget: None,
        };
        read(&source, text, &Ledger::default())
            .expect_err(text)
            .to_string()
    }

    const NOOP: &str = "[[pipelines.a.stations]]\nkind = \"noop\"\nname = \"n\"\n";

    #[test]
    fn every_mistake_is_named_with_its_line() {
        // A station's client asks for it; another test may have been here first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let station = |keys: &str| format!("[[pipelines.a.stations]]\n{keys}\n");
        for (text, name, expected) in [
            ("x = ", None, "r.toml:1: "),
            ("", None, "r.toml:1: the file needs pipelines"),
            (
                "colour = 1\n[pipelines]",
                None,
                "r.toml:1: the file has an unknown key \"colour\"; known are default_pipeline, pipelines",
            ),
            (
                NOOP,
                Some("z"),
                "no pipeline is called \"z\"; did you mean \"a\"?",
            ),
            (
                "[pipelines.a]\n",
                None,
                "r.toml:1: pipeline \"a\" needs stations; add [[pipelines.a.stations]]",
            ),
            (
                &station("kind = \"noop\""),
                None,
                "r.toml:1: a station needs name",
            ),
            (
                &station("name = \"x\""),
                None,
                "r.toml:1: station \"x\" needs kind; add one of identity, http",
            ),
            (
                &station("kind = \"htttp\"\nname = \"x\""),
                None,
                "r.toml:2: no kind of station is called \"htttp\"; did you mean \"http\"?",
            ),
            (
                &station("kind = \"http\"\nname = \"x\""),
                None,
                "r.toml:1: station \"x\" needs url",
            ),
            (
                &station("kind = \"noop\"\nname = \"x\"\ntiemout = 1"),
                None,
                "r.toml:4: station \"x\" has an unknown key \"tiemout\"; did you mean \"timeout\"?",
            ),
            (
                &station("kind = \"http\"\nname = \"x\"\nurl = \"ftp://x\""),
                None,
                "r.toml:4: this is not an http or https URL",
            ),
            (
                &station(
                    "kind = \"http\"\nname = \"x\"\nurl = \"http://${NO_SUCH_VARIABLE_HERE}/\"",
                ),
                None,
                "r.toml:4: the environment variable NO_SUCH_VARIABLE_HERE is not set",
            ),
            (
                &station("kind = \"noop\"\nname = \"x\"\ntimeout = \"soon\""),
                None,
                "r.toml:4: timeout must be a span of time such as \"10s\" or \"500ms\"",
            ),
            (
                &format!("{NOOP}{NOOP}"),
                None,
                "r.toml:4: two stations of \"a\" are called \"n\"",
            ),
        ] {
            let said = says(text, name);
            assert!(said.contains(expected), "{said}\nnot: {expected}");
        }
    }
}
