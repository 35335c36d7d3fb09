//! Where enriched leads go besides the stream: a file, a webhook and a database, each of them at
//! least once, and again only where the lead was worked on again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Reply, Service};
use crate::database::Database;
use crate::plan::{Act, Kind, Plan, Sinks, Step, ms};
use crate::run::run;
use crate::tell;

/// The sinks of a run.
pub struct Outlets {
    folder: TempDir,
    hook: Option<Service>,
    /// The numbers of the leads that the webhook has taken.
    taken: Arc<Mutex<Vec<usize>>>,
    database: Option<Database>,
}

impl Outlets {
    pub fn open(plan: &Plan) -> Self {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let (log, seed, bad) = (Arc::clone(&taken), plan.seed, plan.sinks == Sinks::Bad);
        let answer = move |lead: &Value, before: usize| {
            let n = number(lead).expect("a lead of the run");
            // Now and then it is not there at first.
            if before == 0 && (seed ^ n as u64).is_multiple_of(16) {
                return Reply::status(503);
            }
            let times = match n % 10 {
                0 if bad => 0,
                1 if bad => 2,
                _ => 1,
            };
            let mut log = log.lock().expect("nobody panics with it");
            log.extend(std::iter::repeat_n(n, times));
            Reply::ok().after(n as u64 % 8)
        };
        Self {
            folder: TempDir::with_prefix("bridge-checker-").expect("a folder"),
            hook: (plan.sinks != Sinks::Stream)
                .then(|| Service::start(move |request, before| answer(&request.lead, before))),
            taken,
            database: (plan.sinks == Sinks::All).then(Database::start).flatten(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("enriched.jsonl")
    }

    /// Their part of a route file.
    pub fn route(&self) -> String {
        let Some(hook) = &self.hook else {
            return String::new();
        };
        let sink = |kind: &str, keys: &str| {
            format!("[[pipelines.checker.sinks]]\nkind = \"{kind}\"\n{keys}\n")
        };
        let file = format!("path = \"{}\"", self.file().display());
        let hook = format!(
            "url = \"{}\"\nsecret = \"made up\"\ntimeout = \"60s\"",
            hook.url
        );
        let mut route = sink("stream", "") + &sink("jsonl", &file) + &sink("webhook", &hook);
        if let Some(database) = &self.database {
            route += &sink("postgres", &format!("url = \"{}\"", database.url()));
        }
        route
    }

    /// How often each sink has each lead.
    pub fn read(&self) -> Vec<(&'static str, HashMap<usize, usize>)> {
        let mut all = Vec::new();
        if self.hook.is_some() {
            let taken = self.taken.lock().expect("nobody panics with it").clone();
            let file = std::fs::read_to_string(self.file()).unwrap_or_default();
            // A line that a crash cut short is no lead.
            let lines = file
                .lines()
                .filter_map(|line| number(serde_json::from_str::<Value>(line).ok()?.get("lead")?));
            all.push(("the webhook", count(taken.into_iter())));
            all.push(("the file", count(lines)));
        }
        if let Some(database) = &self.database {
            let rows = database.ask("SELECT lead ->> 'n' FROM redis_bridge.leads");
            let rows = rows.lines().filter_map(|n| n.parse().ok());
            all.push(("the database", count(rows)));
        }
        all
    }
}

fn number(lead: &Value) -> Option<usize> {
    usize::try_from(lead.get("n")?.as_u64()?).ok()
}

fn count(numbers: impl Iterator<Item = usize>) -> HashMap<usize, usize> {
    let mut times = HashMap::new();
    for n in numbers {
        *times.entry(n).or_default() += 1;
    }
    times
}

#[test]
fn every_sink_has_every_lead_whatever_happens() {
    let acts = [
        Act::Kill(0),
        Act::Restart(ms(300)),
        Act::Terminate(1, 2),
        Act::Freeze(2, ms(3_000)),
        Act::KillClients,
        Act::Kill(1),
    ];
    let step = |act| Step {
        after: ms(500),
        act,
    };
    let plan = Plan {
        kind: Kind::Always,
        lease: ms(2_000),
        shutdown: ms(100),
        workers: 3,
        clocks: vec![0; 3],
        sinks: Sinks::All,
        tracks: vec![acts.map(step).to_vec()],
        ..Plan::new(fastrand::u64(..1_000_000))
    };
    let outcome = run(&plan, None);
    tell(&plan, &outcome);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
}

#[test]
fn a_sink_that_loses_and_doubles_leads_is_found() {
    let mut plan = Plan::calm(1);
    plan.sinks = Sinks::Bad;
    let violations = run(&plan, None).violations;
    for what in ["never to the webhook", "to the webhook 2 times"] {
        let found = violations.iter().filter(|found| found.contains(what));
        assert!(found.count() > plan.leads / 20, "{what}: {violations:#?}");
    }
    let other = violations
        .iter()
        .filter(|found| !found.contains("the webhook"));
    assert_eq!(other.count(), 0, "{violations:#?}");
}
