//! One run: everything at work at once, then quiet, then the account.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::account::{Account, Recovery};
use crate::acts::Stage;
use crate::common::proxy::Proxy;
use crate::common::proxy::scripts::{Bug, Scripts};
use crate::crew::Crew;
use crate::news::News;
use crate::operators::{Deeds, operate};
use crate::plan::{Expressions, Kind, Plan, Sinks, Step, ms};
use crate::producers::{Ledger, lpush, push};
use crate::reading::Reading;
use crate::record::Record;
use crate::sinks::Outlets;
use crate::site::Site;
use crate::station::Station;

/// What came of a run.
pub struct Outcome {
    pub violations: Vec<String>,
    pub recoveries: Vec<Recovery>,
    /// Leads, calls and faults.
    pub size: (usize, usize, usize),
    /// What was done, where something is wrong.
    pub faults: String,
    /// The workers' logs, where something is wrong.
    pub logs: Option<PathBuf>,
}

/// All that takes part in a run.
struct Scene<'a> {
    plan: &'a Plan,
    site: Site,
    station: Arc<Station>,
    outlets: Outlets,
    crew: Crew,
    /// Of the producers, then of the operators.
    proxies: Vec<Proxy>,
    runtime: Runtime,
    ledger: Ledger,
    deeds: Deeds,
    news: News,
    record: Record,
    /// Nothing more is done to anybody, and nobody pushes any more.
    quiet: AtomicBool,
    over: AtomicBool,
}

/// Carries a plan out, with a bug planted or none.
pub fn run(plan: &Plan, bug: Option<Bug>) -> Outcome {
    let scene = Scene::set(plan, bug);
    let mut violations: Vec<String> = scene.play().into_iter().collect();
    violations.append(&mut scene.crew.trouble.lock().expect("nobody panics with it"));
    let account = scene.account();
    violations.extend(account.violations());
    let calls = account.calls.values().map(Vec::len).sum();
    let (recoveries, size) = (
        account.recoveries(),
        (account.pushed.len(), calls, account.faults.len()),
    );
    let faults = scene.record.tell();
    let planted =
        bug.is_some() || plan.sinks == Sinks::Bad || plan.expressions == Expressions::Missing;
    let wrong = !violations.is_empty() && !planted;
    Outcome {
        violations,
        recoveries,
        size,
        faults,
        logs: wrong.then(|| scene.crew.keep_logs()),
    }
}

impl<'a> Scene<'a> {
    fn set(plan: &'a Plan, bug: Option<Bug>) -> Self {
        let scripts = Arc::new(Scripts::new(bug));
        let site = Site::start(plan);
        let station = Arc::new(Station::start(plan));
        let outlets = Outlets::open(plan);
        let proxies = plan.pushers + plan.plain + plan.operators;
        let proxy = |_| site.proxy(&scripts);
        Self {
            plan,
            crew: Crew::new(plan, &site, Arc::clone(&station), outlets.route(), &scripts),
            proxies: (0..proxies).map(proxy).collect(),
            site,
            station,
            outlets,
            runtime: Runtime::new().expect("a runtime"),
            ledger: Ledger::default(),
            deeds: Deeds::default(),
            news: News::default(),
            record: Record::new(),
            quiet: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Everything at once, until all is done; returns what was never done.
    fn play(&self) -> Option<String> {
        let over = || self.over.load(Ordering::SeqCst);
        let stage = Stage {
            plan: self.plan,
            site: &self.site,
            crew: &self.crew,
            producers: &self.proxies,
            record: &self.record,
        };
        let posts = 0..self.crew.posts.len();
        std::thread::scope(|scope| {
            // Also where something panics, or those who listen would listen for ever.
            let end = End(self);
            scope.spawn(|| self.site.mark());
            scope.spawn(|| self.record.watch_the_machine(self.plan.lease, over));
            scope.spawn(|| {
                let args = self.site.args(self.site.url());
                let listen = self.news.listen(&args, &self.over);
                self.runtime.block_on(listen);
            });
            while !self.news.listening.load(Ordering::SeqCst) {
                std::thread::sleep(ms(1));
            }
            posts.clone().for_each(|post| self.crew.hire(post, None));
            let producers = self.plan.pushers + self.plan.plain;
            let operators: Vec<_> = (0..self.plan.operators)
                .map(|i| scope.spawn(move || self.operate(producers + i)))
                .collect();
            let mut work: Vec<_> = (0..producers)
                .map(|i| scope.spawn(move || self.produce(i)))
                .collect();
            let play = |track: &'a Vec<Step>| {
                let stage = &stage;
                scope.spawn(move || stage.play(track))
            };
            work.extend(self.plan.tracks.iter().map(play));
            let wait = |threads: Vec<ScopedJoinHandle<'_, ()>>| {
                for thread in threads {
                    thread.join().expect("no panic");
                }
            };
            wait(work);
            self.crew.replace_refused();
            self.quiet.store(true, Ordering::SeqCst);
            wait(operators);
            let left = drain(&self.site, self.plan.patience);
            posts.clone().for_each(|post| self.crew.remind(post));
            posts.for_each(|post| self.crew.see_off(post, &[0]));
            drop(end);
            left
        })
    }

    /// A Redis that follows its primary is found by name, not through a proxy.
    fn url(&self, proxy: usize) -> String {
        match self.plan.kind {
            Kind::Sentinel => self.site.url(),
            _ => self.site.url_of(self.proxies[proxy].port()),
        }
    }

    fn operate(&self, number: usize) {
        let (seed, url) = (self.plan.seed + number as u64, self.url(number));
        let args = self.site.args(url);
        operate(seed, &args, &self.deeds, &self.quiet, self.runtime.handle());
    }

    fn produce(&self, number: usize) {
        let (plan, url) = (self.plan, self.url(number));
        let all = plan.pushers + plan.plain;
        let leads: Vec<usize> = (number..plan.leads).step_by(all).collect();
        if number < plan.pushers {
            let run = format!("run{number}");
            push(
                plan,
                &self.site.args(url),
                &run,
                &leads,
                &self.ledger,
                self.runtime.handle(),
            );
            return;
        }
        let connect = || {
            if plan.kind == Kind::Sentinel {
                return self.site.connect().ok();
            }
            self.site.connect_to(self.proxies[number].port()).ok()
        };
        lpush(plan, connect, &leads, &self.ledger);
    }

    fn account(&self) -> Account<'_> {
        Account {
            plan: self.plan,
            record: &self.record,
            faults: self.record.faults(),
            pushed: self.ledger.all(),
            calls: self.station.by_lead(),
            delivered: self.outlets.read(),
            deeds: &self.deeds,
            news: &self.news,
            reading: Reading::take(&mut self.site.connect().expect("it answers")),
        }
    }
}

/// The end of a run.
struct End<'a>(&'a Scene<'a>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.quiet.store(true, Ordering::SeqCst);
        self.0.over.store(true, Ordering::SeqCst);
        self.0.site.end();
    }
}

/// Waits until nothing waits, is in hand, or is due again.
fn drain(site: &Site, patience: Duration) -> Option<String> {
    let deadline = Instant::now() + patience;
    loop {
        let left = left(site);
        if left == [0, 0, 0] {
            return None;
        }
        if Instant::now() > deadline {
            let [waiting, retry, hand] = left;
            return Some(format!(
                "never done: {waiting} wait, {retry} are due again, {hand} are in hand"
            ));
        }
        std::thread::sleep(ms(20));
    }
}

fn left(site: &Site) -> [i64; 3] {
    // In one step, so that none is on its way from one to the other.
    site.ask(concat!(
        "EVAL local\u{a0}hand\u{a0}=\u{a0}0;",
        "for\u{a0}_,key\u{a0}in\u{a0}ipairs(redis.call('KEYS','leads_to_enrich:active:*'))\u{a0}do\u{a0}",
        // A worker's hash, or the list of a batch.
        "local\u{a0}hash\u{a0}=\u{a0}redis.call('TYPE',key).ok\u{a0}==\u{a0}'hash';",
        "hand\u{a0}=\u{a0}hand\u{a0}+\u{a0}redis.call(hash\u{a0}and\u{a0}'HLEN'\u{a0}or\u{a0}'LLEN',key)\u{a0}end;",
        "return\u{a0}{redis.call('LLEN','leads_to_enrich'),redis.call('ZCARD','leads_to_enrich:retry'),hand} 0"
    ))
}
