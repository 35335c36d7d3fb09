//! What the store promises, in plain lists: leads are numbers, and each is in one place.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bridge_shared::store::lane::LANES;
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::ReferenceStateMachine;

use crate::step::{Answer, Ending, Step, To};

pub const WORKERS: usize = 3;
pub const CONSOLES: usize = 2;
pub const RUNS: usize = 2;

/// A lane of a worker.
#[derive(Debug, Clone, Default)]
struct Lane {
    /// What it took last.
    batch: Vec<u64>,
    /// Whether that is in hand as it came.
    closed: bool,
    /// Whether the lane has let go of it.
    left: bool,
}

/// A worker as the store knows it.
#[derive(Debug, Clone, Default)]
struct Worker {
    /// Whether it is registered, and alive.
    lease: Option<bool>,
    hand: BTreeMap<u64, usize>,
    next: u64,
    lanes: [Lane; LANES],
}

/// A console.
#[derive(Debug, Clone, Default)]
struct Console {
    read: Vec<usize>,
    put: Vec<usize>,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// From the left end to the right one, which is next.
    waiting: VecDeque<usize>,
    /// From the left end, the newest.
    dead: VecDeque<usize>,
    trash: [VecDeque<usize>; CONSOLES],
    /// Since when, and whether they are due.
    retry: BTreeMap<(u64, usize), bool>,
    /// Leads in the form in which a console put them back to work.
    redriven: BTreeSet<usize>,
    steps: u64,
    enriched: Vec<usize>,
    workers: [Worker; WORKERS],
    consoles: [Console; CONSOLES],
    paused: bool,
    batches: [u64; RUNS],
    leads: usize,
    stats: BTreeMap<&'static str, i64>,
    /// What the last step answers.
    pub answer: Answer,
}

/// What there is to see in Redis.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub waiting: Vec<usize>,
    pub dead: Vec<usize>,
    pub trash: [Vec<usize>; CONSOLES],
    pub retry: BTreeSet<usize>,
    pub enriched: Vec<usize>,
    pub hands: Vec<BTreeMap<u64, usize>>,
    pub registered: Vec<bool>,
    pub paused: bool,
    pub stats: BTreeMap<String, i64>,
    /// Leads in all places together: one that is in two counts twice.
    pub leads: usize,
}

impl Model {
    pub fn seen(&self) -> Seen {
        let hands: Vec<_> = self
            .workers
            .iter()
            .map(|worker| worker.hand.clone())
            .collect();
        Seen {
            waiting: self.waiting.iter().copied().collect(),
            dead: self.dead.iter().copied().collect(),
            trash: self.trash.clone().map(Vec::from),
            retry: self.retry.keys().map(|(_, n)| *n).collect(),
            enriched: self.enriched.clone(),
            registered: self
                .workers
                .iter()
                .map(|worker| worker.lease.is_some())
                .collect(),
            hands,
            paused: self.paused,
            stats: self
                .stats
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(name, n)| ((*name).into(), *n))
                .collect(),
            leads: self.leads,
        }
    }

    /// Numbers that the next push gives.
    pub fn leads(&self) -> usize {
        self.leads
    }

    fn count(&mut self, name: &'static str, n: usize) {
        *self.stats.entry(name).or_default() += i64::try_from(n).expect("a small number");
    }

    fn push(&mut self, run: usize, leads: usize, again: bool) -> Answer {
        if !again || self.batches[run] == 0 {
            self.batches[run] += 1;
            for n in self.leads..self.leads + leads {
                self.waiting.push_front(n);
            }
            self.leads += leads;
            self.count("pushed", leads);
        }
        Answer::Count(self.waiting.len() as u64)
    }

    fn beat(&mut self, worker: usize, alive: bool, register: bool) -> Answer {
        let known = &mut self.workers[worker].lease;
        let registered = register || known.is_some();
        if registered {
            *known = Some(alive);
        }
        let expired = |worker: &usize| self.workers[*worker].lease == Some(false);
        Answer::Pulse(
            registered,
            self.paused,
            !self.retry.is_empty(),
            (0..WORKERS).any(|worker| expired(&worker)),
        )
    }

    fn fetch(&mut self, worker: usize, count: usize) -> Answer {
        let first = self.workers[worker].next;
        self.workers[worker].next += count as u64;
        if self.paused {
            return Answer::Paused;
        }
        if self.workers[worker].lease != Some(true) {
            return Answer::NoLease;
        }
        let from = self.waiting.len().saturating_sub(count);
        let taken: Vec<(u64, usize)> = (first..).zip(self.waiting.drain(from..).rev()).collect();
        self.redriven
            .retain(|n| taken.iter().all(|(_, taken)| taken != n));
        self.workers[worker].hand.extend(taken.iter().copied());
        self.count("received", taken.len());
        Answer::Taken(taken)
    }

    fn turn(
        &mut self,
        worker: usize,
        lane: usize,
        record: Option<Ending>,
        next: Option<usize>,
    ) -> Answer {
        let own = &mut self.workers[worker].lanes[lane];
        let may_record = own.closed && !std::mem::replace(&mut own.left, true);
        let mut recorded = false;
        if let (Some(ending), true) = (record, may_record) {
            let batch = std::mem::take(own).batch;
            let outcomes: Vec<_> = batch.iter().map(|number| (*number, ending)).collect();
            // It is in hand: nothing is lost.
            self.record(worker, &outcomes);
            recorded = true;
        }
        let fetched = next.map(|count| {
            let fetched = self.fetch(worker, count);
            if let Answer::Taken(taken) = &fetched {
                self.workers[worker].lanes[lane] = Lane {
                    batch: taken.iter().map(|(number, _)| *number).collect(),
                    closed: !taken.is_empty(),
                    left: false,
                };
            }
            Box::new(fetched)
        });
        Answer::Turned(recorded, fetched)
    }

    /// Every batch of a worker is opened.
    fn open(&mut self, worker: usize) {
        for lane in &mut self.workers[worker].lanes {
            lane.closed = false;
        }
    }

    fn commit(&mut self, worker: usize, outcomes: &[(u64, Ending)], resend: bool) -> Answer {
        let closed = |number: &u64| {
            let holds = |lane: &Lane| lane.closed && lane.batch.contains(number);
            self.workers[worker].lanes.iter().any(holds)
        };
        let in_sight =
            |number: &u64| self.workers[worker].hand.contains_key(number) && !closed(number);
        if !outcomes.iter().all(|(number, _)| in_sight(number)) {
            self.open(worker);
        }
        let lost = self.record(worker, outcomes);
        if resend {
            return Answer::Numbers(Vec::new());
        }
        self.count("lease_lost", lost.len());
        Answer::Numbers(lost)
    }

    fn record(&mut self, worker: usize, outcomes: &[(u64, Ending)]) -> Vec<u64> {
        let mut lost = Vec::new();
        for (number, ending) in outcomes {
            let Some(n) = self.workers[worker].hand.remove(number) else {
                lost.push(*number);
                continue;
            };
            match ending {
                Ending::Done | Ending::Skipped | Ending::OverBudget => {
                    self.enriched.push(n);
                    self.count("done", 1);
                    let over_budget = *ending == Ending::OverBudget;
                    self.count("skipped", usize::from(*ending != Ending::Done));
                    self.count("over_budget", usize::from(over_budget));
                }
                Ending::Retry { due } => {
                    self.retry.insert((self.steps, n), *due);
                    self.count("retried", 1);
                    self.count("retry:1", 1);
                }
                Ending::Postponed { due } => {
                    self.retry.insert((self.steps, n), *due);
                    self.count("postponed", 1);
                }
                Ending::Dead => {
                    self.dead.push_front(n);
                    self.count("dead", 1);
                }
                Ending::Requeue => {
                    self.waiting.push_back(n);
                    self.count("requeued", 1);
                }
            }
        }
        lost
    }

    fn leave(&mut self, worker: usize) -> Answer {
        let held = self.workers[worker].hand.len();
        let lease = &mut self.workers[worker].lease;
        *lease = lease.filter(|_| held > 0).map(|_| false);
        Answer::Count(held as u64)
    }

    fn recover(&mut self, worker: usize, deliveries: &[(u64, bool)]) -> Answer {
        if self.workers[worker].lease == Some(true) {
            return Answer::Alive;
        }
        self.open(worker);
        let mut moved = Vec::new();
        for (number, dead) in deliveries {
            let Some(n) = self.workers[worker].hand.remove(number) else {
                continue;
            };
            moved.push(*number);
            if *dead {
                self.dead.push_front(n);
                self.count("dead", 1);
            } else {
                self.waiting.push_back(n);
                self.count("recovered", 1);
            }
        }
        if self.workers[worker].hand.is_empty() {
            self.workers[worker].lease = None;
        }
        Answer::Numbers(moved)
    }

    fn promote(&mut self, limit: usize) -> Answer {
        let due = self
            .retry
            .iter()
            .filter(|(_, due)| **due)
            .map(|(at, _)| *at);
        let due: Vec<(u64, usize)> = due.take(limit).collect();
        // The longest due is next.
        for at in due.iter().rev() {
            self.retry.remove(at);
            self.waiting.push_back(at.1);
        }
        Answer::Count(due.len() as u64)
    }

    fn take(&mut self, console: usize, picked: &[usize], to: To) -> Answer {
        // The oldest first, which is at the right end.
        let mut letters: Vec<(usize, usize)> = picked
            .iter()
            .map(|at| (*at, self.consoles[console].read[*at]))
            .collect();
        letters.sort_unstable_by(|a, b| b.cmp(a));
        let mut moved = BTreeSet::new();
        for (at, n) in letters {
            let Some(place) = self.dead.iter().position(|dead| *dead == n) else {
                continue;
            };
            self.dead.remove(place);
            moved.insert(at);
            match to {
                To::Work => {
                    self.waiting.push_front(n);
                    self.redriven.insert(n);
                }
                To::Trash => self.trash[console].push_front(n),
            }
        }
        self.count(
            if to == To::Work {
                "redriven"
            } else {
                "dropped"
            },
            moved.len(),
        );
        if to == To::Work {
            let read = &self.consoles[console].read;
            self.consoles[console].put = moved.iter().map(|at| read[*at]).collect();
        }
        Answer::Moved(picked.iter().map(|at| moved.contains(at)).collect())
    }

    fn clear(&mut self, console: usize) -> Answer {
        let n = self.dead.len();
        if n > 0 {
            // Each time it is another trash: what one holds is not thrown away for good.
            self.trash[console] = std::mem::take(&mut self.dead);
        }
        self.count("dropped", n);
        Answer::Count(n as u64)
    }

    fn restore(&mut self, console: usize) -> Answer {
        let trash = std::mem::take(&mut self.trash[console]);
        let n = trash.len();
        for lead in trash.into_iter().rev() {
            self.dead.push_front(lead);
        }
        self.count("restored", n);
        Answer::Count(n as u64)
    }

    fn recall(&mut self, console: usize) -> Answer {
        let mut found = Vec::new();
        for n in std::mem::take(&mut self.consoles[console].put) {
            let same = |waiting: &usize| *waiting == n && self.redriven.contains(&n);
            let place = self.waiting.iter().position(same);
            if let Some(place) = place {
                self.waiting.remove(place);
                self.redriven.remove(&n);
                self.dead.push_front(n);
            }
            found.push(place.is_some());
        }
        self.count("restored", found.iter().filter(|found| **found).count());
        Answer::Moved(found)
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let mut model = Self::default();
        model.workers.iter_mut().for_each(|worker| worker.next = 1);
        Just(model).boxed()
    }

    fn transitions(model: &Self) -> BoxedStrategy<Step> {
        let (worker, console) = (0..WORKERS, 0..CONSOLES);
        let ending = select(vec![
            Ending::Done,
            Ending::Skipped,
            Ending::OverBudget,
            Ending::Retry { due: true },
            Ending::Retry { due: false },
            Ending::Postponed { due: true },
            Ending::Dead,
            Ending::Dead,
            Ending::Requeue,
        ]);
        let numbers = |model: &Self| {
            let last = model
                .workers
                .iter()
                .map(|worker| worker.next)
                .max()
                .unwrap_or(1);
            1..=last
        };
        let outcomes = prop::collection::btree_map(numbers(model), ending, 1..6);
        let deliveries = prop::collection::btree_map(numbers(model), any::<bool>(), 0..6);
        let record = prop::option::weighted(
            0.8,
            select(vec![
                Ending::Done,
                Ending::Skipped,
                Ending::OverBudget,
                Ending::Dead,
            ]),
        );
        let next = prop::option::weighted(0.8, 1..5_usize);
        let to = select(vec![To::Work, To::Work, To::Trash]);
        let reads: Vec<usize> = model
            .consoles
            .iter()
            .map(|console| console.read.len())
            .collect();
        let take = (
            console.clone(),
            prop::collection::btree_set(0..12_usize, 1..6),
            to,
        )
            .prop_map(move |(console, picked, to)| Step::Take {
                console,
                picked: picked
                    .into_iter()
                    .filter(|at| *at < reads[console])
                    .collect(),
                to,
            });
        prop_oneof![
            4 => (0..RUNS, 1..5_usize, any::<bool>())
                .prop_map(|(run, leads, again)| Step::Push { run, leads, again }),
            2 => Just(Step::Lpush),
            4 => (worker.clone(), prop::bool::weighted(0.75), any::<bool>())
                .prop_map(|(worker, alive, register)| Step::Beat { worker, alive, register }),
            6 => (worker.clone(), 1..5_usize)
                .prop_map(|(worker, count)| Step::Fetch { worker, count }),
            8 => (worker.clone(), 0..LANES, record, next).prop_map(
                |(worker, lane, record, next)| Step::Turn { worker, lane, record, next }
            ),
            8 => (worker.clone(), outcomes, prop::bool::weighted(0.2)).prop_map(
                |(worker, outcomes, resend)| Step::Commit {
                    worker,
                    outcomes: outcomes.into_iter().collect(),
                    resend,
                }
            ),
            1 => worker.clone().prop_map(|worker| Step::Leave { worker }),
            3 => (worker, deliveries).prop_map(|(worker, deliveries)| Step::Recover {
                worker,
                deliveries: deliveries.into_iter().collect(),
            }),
            2 => (1..4_usize).prop_map(|limit| Step::Promote { limit }),
            1 => prop::bool::weighted(0.3).prop_map(Step::Pause),
            4 => console.clone().prop_map(|console| Step::Look { console }),
            4 => take,
            1 => console.clone().prop_map(|console| Step::Clear { console }),
            1 => console.clone().prop_map(|console| Step::Restore { console }),
            2 => console.prop_map(|console| Step::Recall { console }),
        ]
        .boxed()
    }

    fn preconditions(model: &Self, step: &Step) -> bool {
        match step {
            Step::Take {
                console, picked, ..
            } => {
                let read = model.consoles[*console].read.len();
                !picked.is_empty() && picked.iter().all(|at| *at < read)
            }
            // A trash in use is not the one for another clearance.
            Step::Clear { console } => model.trash[*console].is_empty(),
            _ => true,
        }
    }

    fn apply(mut model: Self, step: &Step) -> Self {
        model.steps += 1;
        model.answer = match step {
            Step::Push { run, leads, again } => model.push(*run, *leads, *again),
            Step::Lpush => {
                model.waiting.push_front(model.leads);
                model.leads += 1;
                Answer::Nothing
            }
            Step::Beat {
                worker,
                alive,
                register,
            } => model.beat(*worker, *alive, *register),
            Step::Fetch { worker, count } => model.fetch(*worker, *count),
            Step::Turn {
                worker,
                lane,
                record,
                next,
            } => model.turn(*worker, *lane, *record, *next),
            Step::Commit {
                worker,
                outcomes,
                resend,
            } => model.commit(*worker, outcomes, *resend),
            Step::Leave { worker } => model.leave(*worker),
            Step::Recover { worker, deliveries } => model.recover(*worker, deliveries),
            Step::Promote { limit } => model.promote(*limit),
            Step::Pause(pause) => {
                Answer::Changed(std::mem::replace(&mut model.paused, *pause) != *pause)
            }
            Step::Look { console } => {
                model.consoles[*console].read = model.dead.iter().copied().collect();
                Answer::Count(model.dead.len() as u64)
            }
            Step::Take {
                console,
                picked,
                to,
            } => model.take(*console, picked, *to),
            Step::Clear { console } => model.clear(*console),
            Step::Restore { console } => model.restore(*console),
            Step::Recall { console } => model.recall(*console),
        };
        model
    }
}
