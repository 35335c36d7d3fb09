//! The enrichment service: a real one over HTTP, with its own log of every call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::common::{Reply, Service};
use crate::plan::{Fate, Plan, ms};

/// A call as the service saw it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The lead's number.
    pub n: usize,
    /// Which worker process called.
    pub worker: usize,
    /// The idempotency key.
    pub key: String,
    pub from: Instant,
    /// When the answer went out.
    pub to: Instant,
    pub status: u16,
}

/// The service and its log.
pub struct Station {
    service: Service,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Station {
    pub fn start(plan: &Plan) -> Self {
        let calls = Arc::new(Mutex::new(Vec::<Call>::new()));
        let (log, plan) = (Arc::clone(&calls), plan.clone());
        let service = Service::start(move |request, _| {
            let n = request.lead["n"]
                .as_u64()
                .and_then(|n| usize::try_from(n).ok());
            let Some(n) = n else {
                return Reply::status(400);
            };
            let worker = request
                .line
                .rsplit_once("/w")
                .and_then(|(_, n)| n.parse().ok());
            let mut calls = log.lock().expect("nobody panics with it");
            let before = calls.iter().filter(|call| call.n == n).count();
            let status = match plan.fate(n) {
                Fate::Flaky(times) if before < times => 503,
                Fate::Refused(times) if before < times => 400,
                _ => 200,
            };
            let takes = takes(plan.seed ^ (n + before) as u64);
            calls.push(Call {
                n,
                worker: worker.expect("each worker has an address of its own"),
                key: request.key.clone(),
                from: request.at,
                to: Instant::now() + takes,
                status,
            });
            Reply {
                after: takes,
                ..Reply::status(status)
            }
        });
        Self { service, calls }
    }

    /// Where a worker finds it.
    pub fn url(&self, worker: usize) -> String {
        format!("{}/w{worker}", self.service.url)
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("nobody panics with it").clone()
    }

    /// The calls of each lead, in order.
    pub fn by_lead(&self) -> HashMap<usize, Vec<Call>> {
        let mut leads: HashMap<usize, Vec<Call>> = HashMap::new();
        for call in self.calls() {
            leads.entry(call.n).or_default().push(call);
        }
        leads
    }
}

fn takes(seed: u64) -> Duration {
    let mut rng = Rng::with_seed(seed);
    match rng.u32(..40) {
        0 => ms(rng.u64(200..900)),
        _ => ms(rng.u64(2..60)),
    }
}
