//! The route a lead takes, station by station.
//!
//! - [`route`]: the route file
//! - [`keys`]: a table of it, taken apart with every mistake in it
//! - [`step`]: a station in its place: what every station has
//! - [`station`]: what a station is, and one file for each kind
//! - [`expression`]: conditions and texts over a lead's fields
//! - [`secrets`]: what comes from the environment, and keeping it out of what is shown

mod expression;
mod keys;
mod route;
mod secrets;
mod station;
mod step;

use std::path::Path;
use std::time::{Duration, Instant};

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::Lead;

pub(crate) use route::RouteError;
use secrets::Secrets;
use station::{Call, Outcome};
use step::Step;

/// A route, ready to run.
#[derive(Debug)]
pub(crate) struct Pipeline {
    name: String,
    steps: Vec<Step>,
    secrets: Secrets,
}

/// Where a lead is on its route.
pub(crate) enum Progress<'a> {
    /// It has come to a station.
    Arrived {
        /// The station's name.
        station: &'a str,
    },
    /// The station is done with it.
    Left {
        /// The station's name.
        station: &'a str,
        /// How long it took, in milliseconds.
        ms: u64,
        /// What went wrong, in words.
        error: Option<&'a str>,
    },
}

/// Why a lead did not come through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The station it failed at; empty where it reached none.
    pub(crate) station: String,
    /// The kind of failure, which decides about a retry.
    pub(crate) kind: ErrorKind,
    /// What went wrong, in words.
    pub(crate) error: String,
    /// How long the service asked to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of a kind; the station's name is filled in by the pipeline.
    pub(crate) fn new(kind: ErrorKind, error: impl Into<String>) -> Self {
        Self {
            station: String::new(),
            kind,
            error: error.into(),
            retry_after: None,
        }
    }
}

impl Pipeline {
    /// Reads a route file and makes the named pipeline of it, or the one the file names as its
    /// default. Without a file it is the built-in route, which needs no outside service.
    ///
    /// # Errors
    /// [`RouteError`].
    pub(crate) fn load(file: Option<&Path>, name: Option<&str>) -> Result<Self, RouteError> {
        let routes = route::read(file, name)?;
        let name = name.map(ToOwned::to_owned).or(routes.default);
        let route = routes
            .pipelines
            .into_iter()
            .find(|route| Some(&route.name) == name.as_ref());
        let Some(route) = route else {
            return Err(RouteError::NoChoice);
        };
        Ok(Self {
            name: route.name,
            steps: route.steps,
            secrets: routes.secrets,
        })
    }

    /// The pipeline's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a lead through every station; returns the enriched lead.
    ///
    /// # Errors
    /// [`Failure`], at the first station that fails.
    pub(crate) async fn run(
        &self,
        id: &str,
        bytes: &[u8],
        observe: &mut (impl FnMut(Progress<'_>) + Send),
    ) -> Result<Vec<u8>, Failure> {
        let mut lead = Lead::parse(bytes)
            .map_err(|error| Failure::new(ErrorKind::Invalid, error.to_string()))?;
        for step in &self.steps {
            let name = step.name();
            observe(Progress::Arrived { station: name });
            let started = Instant::now();
            let call = Call::new(id, None, false);
            let result = step
                .work(&call, &mut lead)
                .await
                .map_err(|failure| Failure {
                    station: name.to_owned(),
                    error: self.secrets.hide(failure.error),
                    ..failure
                });
            observe(Progress::Left {
                station: name,
                ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                error: result.as_ref().err().map(|failure| failure.error.as_str()),
            });
            if matches!(result?, Outcome::SkipRest { .. }) {
                break;
            }
        }
        Ok(self.seal(lead))
    }

    /// Adds what readers of enriched leads expect. Source: the wire contract in `ARCHITECTURE.md`.
    fn seal(&self, mut lead: Lead) -> Vec<u8> {
        let executed: Vec<&str> = self.steps.iter().map(Step::name).collect();
        let cost: f64 = self.steps.iter().map(|step| step.cost().dollars()).sum();
        lead.set("saved", &true);
        lead.set("_pipeline_cost", &cost);
        lead.set("_pipeline_stations_executed", &executed);
        lead.set("_pipeline_errors", &[""; 0]);
        lead.to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_enriched_lead_keeps_its_fields_and_says_how_it_came_through() {
        let pipeline = Pipeline::load(None, None).expect("the built-in route");
        assert_eq!(pipeline.name(), "default");
        let mut seen = Vec::new();
        let mut observe = |progress: Progress<'_>| {
            if let Progress::Left { station, error, .. } = progress {
                seen.push((station.to_owned(), error.is_some()));
            }
        };
        let lead = br#"{"name":"Ada Example","linkedinUrl":"linkedin.com/in/ada","x":1.0}"#;
        let enriched = pipeline
            .run("id", lead, &mut observe)
            .await
            .expect("enriched");
        assert_eq!(
            String::from_utf8_lossy(&enriched),
            r#"{"name":"Ada Example","linkedinUrl":"https://www.linkedin.com/in/ada","x":1.0,"firstName":"Ada","lastName":"Example","saved":true,"_pipeline_cost":0.0,"_pipeline_stations_executed":["identity"],"_pipeline_errors":[]}"#
        );
        assert_eq!(seen, [("identity".to_owned(), false)]);
    }

    #[tokio::test]
    async fn what_is_no_lead_reaches_no_station() {
        let pipeline = Pipeline::load(None, None).expect("the built-in route");
        let failure = pipeline
            .run("id", b"[1]", &mut |_| {})
            .await
            .expect_err("no lead");
        assert_eq!(
            (failure.kind, failure.station.as_str()),
            (ErrorKind::Invalid, "")
        );
        assert_eq!(failure.error, "not a JSON object but a list");
    }

    #[tokio::test]
    async fn a_failure_names_its_station() {
        let pipeline = Pipeline::load(None, None).expect("the built-in route");
        let failure = pipeline
            .run("id", b"{}", &mut |_| {})
            .await
            .expect_err("nobody");
        assert_eq!(
            (failure.kind, failure.station.as_str()),
            (ErrorKind::Invalid, "identity")
        );
    }
}
