//! The route file.
//!
//! ```toml
//! default_pipeline = "main"
//!
//! [[pipelines.main.stations]]
//! kind = "identity"
//! name = "identity"
//! ```

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::station::{self, Keys, Station};

/// The route that needs no outside service, used where no file is named.
const BUILT_IN: &str = include_str!("../../../assets/pipelines/default.toml");

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
    /// The file says something that cannot be.
    #[error("{file}:{line}: {what}")]
    Wrong {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to write instead.
        what: String,
    },
}

/// Something wrong at a place in the text.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) span: Range<usize>,
    pub(super) what: String,
}

impl Wrong {
    pub(super) fn at<T>(place: &Spanned<T>, what: impl Into<String>) -> Self {
        Self {
            span: place.span(),
            what: what.into(),
        }
    }
}

/// A pipeline of a route file.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) stations: Vec<Box<dyn Station>>,
}

impl Route {
    pub(super) fn read(file: &Path, name: Option<&str>) -> Result<Self, RouteError> {
        let text = std::fs::read_to_string(file).map_err(|cause| RouteError::Unreadable {
            file: file.to_owned(),
            cause,
        })?;
        Self::parse(&file.display().to_string(), &text, name)
    }

    pub(super) fn built_in(name: Option<&str>) -> Result<Self, RouteError> {
        Self::parse("the built-in route", BUILT_IN, name)
    }

    fn parse(file: &str, text: &str, name: Option<&str>) -> Result<Self, RouteError> {
        parse(text, name).map_err(|wrong| RouteError::Wrong {
            file: file.to_owned(),
            line: text[..wrong.span.start.min(text.len())]
                .matches('\n')
                .count()
                + 1,
            what: wrong.what,
        })
    }
}

fn parse(text: &str, name: Option<&str>) -> Result<Route, Wrong> {
    let root = DeTable::parse(text).map_err(|error| Wrong {
        span: error.span().unwrap_or(0..0),
        what: error.message().to_owned(),
    })?;
    let mut keys = Keys::new(root.into_inner(), "the file", 0..0);
    let default = keys.text("default_pipeline")?;
    let pipelines = keys.table("pipelines")?.ok_or_else(|| Wrong {
        span: 0..0,
        what: "there are no pipelines; begin one with [[pipelines.main.stations]]".into(),
    })?;
    keys.finish()?;
    let wanted = choose(name, default, &pipelines)?;
    // Every pipeline is checked, so that a mistake shows before it is needed.
    let mut chosen = None;
    for (key, value) in pipelines.into_inner() {
        let name = key.get_ref().to_string();
        let stations = stations(&name, value)?;
        if name == wanted {
            chosen = Some(Route { name, stations });
        }
    }
    Ok(chosen.expect("the choice was one of them"))
}

fn choose(
    name: Option<&str>,
    default: Option<Spanned<String>>,
    pipelines: &Spanned<DeTable<'_>>,
) -> Result<String, Wrong> {
    let there: Vec<&str> = pipelines
        .get_ref()
        .keys()
        .map(|key| key.get_ref().as_ref())
        .collect();
    let (wanted, span) = match (name, default) {
        (Some(name), _) => (name.to_owned(), pipelines.span()),
        (None, Some(default)) => (default.get_ref().clone(), default.span()),
        (None, None) => {
            let [only] = there.as_slice() else {
                return Err(Wrong::at(
                    pipelines,
                    format!(
                        "name one of the pipelines {} with --pipeline-name or default_pipeline",
                        there.join(", ")
                    ),
                ));
            };
            return Ok((*only).to_owned());
        }
    };
    if there.contains(&wanted.as_str()) {
        Ok(wanted)
    } else {
        let there = there.join(", ");
        Err(Wrong {
            span,
            what: format!("no pipeline is called \"{wanted}\"; there are: {there}"),
        })
    }
}

fn stations(pipeline: &str, value: Spanned<DeValue<'_>>) -> Result<Vec<Box<dyn Station>>, Wrong> {
    let span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        return Err(Wrong {
            span,
            what: format!("pipeline \"{pipeline}\" must be a table"),
        });
    };
    let mut keys = Keys::new(table, format!("pipeline \"{pipeline}\""), span.clone());
    let list = keys
        .list("stations")?
        .filter(|list| !list.is_empty())
        .ok_or_else(|| Wrong {
            span,
            what: format!(
                "pipeline \"{pipeline}\" has no stations; add [[pipelines.{pipeline}.stations]]"
            ),
        })?;
    keys.finish()?;
    let mut made: Vec<Box<dyn Station>> = Vec::new();
    for entry in list {
        let span = entry.span();
        let DeValue::Table(table) = entry.into_inner() else {
            return Err(Wrong {
                span,
                what: "a station must be a table".into(),
            });
        };
        let station = station::make(table, span.clone())?;
        if made.iter().any(|earlier| earlier.name() == station.name()) {
            let name = station.name();
            return Err(Wrong {
                span,
                what: format!(
                    "two stations of \"{pipeline}\" are called \"{name}\"; give each a name of its own"
                ),
            });
        }
        made.push(station);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str, name: Option<&str>) -> String {
        Route::parse("r.toml", text, name)
            .expect_err(text)
            .to_string()
    }

    const NOOP: &str = "[[pipelines.a.stations]]\nkind = \"noop\"\nname = \"n\"\n";

    #[test]
    fn the_route_is_chosen_by_name_then_default_then_because_it_is_the_only_one() {
        let two = format!(
            "default_pipeline = \"b\"\n{NOOP}[[pipelines.b.stations]]\nkind = \"noop\"\nname = \"n\"\n"
        );
        let name = |text: &str, name| Route::parse("r.toml", text, name).expect("a route").name;
        assert_eq!(name(&two, None), "b");
        assert_eq!(name(&two, Some("a")), "a");
        assert_eq!(name(NOOP, None), "a");
        assert!(Route::built_in(None).is_ok());
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let station = |keys: &str| format!("[[pipelines.a.stations]]\n{keys}\n");
        for (text, name, expected) in [
            ("x = ", None, "r.toml:1: "),
            ("", None, "r.toml:1: there are no pipelines"),
            (
                "colour = 1\n[pipelines]",
                None,
                "r.toml:1: the file has an unknown key \"colour\"; known are default_pipeline, pipelines",
            ),
            (NOOP, Some("z"), "no pipeline is called \"z\"; there are: a"),
            (
                "[pipelines.a]\n",
                None,
                "r.toml:1: pipeline \"a\" has no stations",
            ),
            (
                &station("kind = \"noop\""),
                None,
                "r.toml:1: a station needs a name",
            ),
            (
                &station("name = \"x\""),
                None,
                "r.toml:1: station \"x\" needs a kind: identity, http or noop",
            ),
            (
                &station("kind = \"htttp\"\nname = \"x\""),
                None,
                "r.toml:2: no kind of station is called \"htttp\"; there are identity, http and noop",
            ),
            (
                &station("kind = \"http\"\nname = \"x\""),
                None,
                "r.toml:1: station \"x\" needs a url",
            ),
            (
                &station("kind = \"noop\"\nname = \"x\"\ntiemout = 1"),
                None,
                "r.toml:4: station \"x\" has an unknown key \"tiemout\"; known are ",
            ),
            (
                &station("kind = \"http\"\nname = \"x\"\nurl = \"ftp://x\""),
                None,
                "r.toml:4: \"ftp://x\" is not an http or https URL",
            ),
            (
                &station(
                    "kind = \"http\"\nname = \"x\"\nurl = \"http://${NO_SUCH_VARIABLE_HERE}/\"",
                ),
                None,
                "r.toml:4: the environment variable NO_SUCH_VARIABLE_HERE is not set",
            ),
            (
                &station("kind = \"http\"\nname = \"x\"\nurl = \"http://x\"\ntimeout = \"soon\""),
                None,
                "r.toml:5: timeout must be a span of time such as \"10s\" or \"500ms\"",
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
