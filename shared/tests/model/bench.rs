//! The real store, and a look at all that is in Redis without it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bridge_shared::config::RedisArgs;
use bridge_shared::envelope::Envelope;
use bridge_shared::sandbox::Sandbox;
use bridge_shared::stats::WorkerInfo;
use bridge_shared::store::Store;
use bridge_shared::store::dead_letters::{DeadLetter, Destination};
use bridge_shared::store::lane::{LANES, Lane, Recorded};
use bridge_shared::store::work::{Completion, Fetched, Outcome, Record, Recovery};
use bytes::Bytes;
use redis::FromRedisValue;
use tokio::runtime::Runtime;

use crate::model::{CONSOLES, Model, RUNS, Seen, WORKERS};
use crate::step::{Answer, Ending, Step, To};

const HOUR: Duration = Duration::from_secs(3_600);
/// Bytes up to which a payload comes whole: every one of these tests.
const WHOLE: usize = 1 << 20;

thread_local! {
    /// One server for all cases of a test, emptied before each; it ends with the test's thread.
    static SERVER: Sandbox = Sandbox::start(&[]).expect("a private Redis");
}

/// The store with what its users remember.
pub struct Bench {
    runtime: Runtime,
    store: Store,
    connection: std::cell::RefCell<redis::Connection>,
    next: [u64; WORKERS],
    lanes: Vec<[Lane; LANES]>,
    /// What each lane took last.
    taken: [[Vec<(u64, usize)>; LANES]; WORKERS],
    batches: [u64; RUNS],
    consoles: [Console; CONSOLES],
}

#[derive(Default)]
struct Console {
    read: Vec<DeadLetter>,
    put: Vec<(Bytes, Bytes)>,
}

impl Bench {
    pub fn start() -> Self {
        let url = SERVER.with(Sandbox::url);
        let client = redis::Client::open(url.as_str()).expect("a URL");
        let mut connection = client.get_connection().expect("a connection");
        let () = redis::cmd("FLUSHALL")
            .query(&mut connection)
            .expect("it is emptied");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let args = RedisArgs::of(url, ["q", "f", "e"]);
        let store = runtime.block_on(Store::connect(&args)).expect("a store");
        let lanes = (0..WORKERS).map(|worker| store.lanes(&name(worker)));
        Self {
            runtime,
            lanes: lanes.collect(),
            taken: Default::default(),
            store,
            connection: connection.into(),
            next: [1; WORKERS],
            batches: [0; RUNS],
            consoles: Default::default(),
        }
    }

    /// Does what a step says; `model` is what should be afterwards.
    pub fn carry_out(&mut self, model: &Model, step: &Step) -> Answer {
        match step {
            Step::Push { run, leads, again } => {
                let first = model.leads().saturating_sub(*leads);
                self.push(*run, (first..first + leads).collect(), *again)
            }
            Step::Lpush => {
                let lead = lead(model.leads() - 1);
                let _: u64 = self.run(&[b"LPUSH", b"q", &lead]);
                Answer::Nothing
            }
            Step::Beat {
                worker,
                alive,
                register,
            } => self.beat(*worker, *alive, *register),
            Step::Fetch { worker, count } => self.fetch(*worker, *count),
            Step::Turn {
                worker,
                lane,
                record,
                next,
            } => self.turn(*worker, *lane, *record, *next),
            Step::Commit {
                worker,
                outcomes,
                resend,
            } => self.commit(*worker, outcomes, *resend),
            Step::Leave { worker } => Answer::Count(self.wait(self.store.leave(&name(*worker)))),
            Step::Recover { worker, deliveries } => self.recover(*worker, deliveries),
            Step::Promote { limit } => {
                Answer::Count(self.wait(self.store.promote(*limit)).0 as u64)
            }
            Step::Pause(pause) => Answer::Changed(self.wait(self.store.set_paused(*pause, "test"))),
            Step::Look { console } => {
                let (count, read) = self.wait(self.store.dead_window(0, 1_000));
                self.consoles[*console].read = read;
                Answer::Count(count)
            }
            Step::Take {
                console,
                picked,
                to,
            } => self.take(*console, picked, *to),
            Step::Clear { console } => {
                Answer::Count(self.wait(self.store.clear_dead(&trash(*console), "test")))
            }
            Step::Restore { console } => {
                let trash = trash(*console);
                let restore = self.store.restore_dead(&trash, "test", |_| true);
                Answer::Count(self.wait(restore))
            }
            Step::Recall { console } => {
                let put = std::mem::take(&mut self.consoles[*console].put);
                Answer::Moved(self.wait(self.store.recall(&put, "test", |_| true)))
            }
        }
    }

    fn wait<T, E: std::fmt::Debug>(&self, call: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(call).expect("the store answers")
    }

    fn run<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let mut cmd = redis::Cmd::new();
        for word in words {
            cmd.arg(*word);
        }
        cmd.query(&mut *self.connection.borrow_mut())
            .expect("Redis answers")
    }

    fn push(&mut self, run: usize, leads: Vec<usize>, again: bool) -> Answer {
        if !again || self.batches[run] == 0 {
            self.batches[run] += 1;
        }
        let leads: Vec<Bytes> = leads.into_iter().map(|n| lead(n).into()).collect();
        let run_name = format!("run{run}");
        let push = self.store.push(&run_name, self.batches[run], &leads);
        Answer::Count(self.wait(push))
    }

    fn beat(&self, worker: usize, alive: bool, register: bool) -> Answer {
        let lease = if alive { HOUR } else { Duration::ZERO };
        let (name, info) = (name(worker), WorkerInfo::default());
        let pulse = self.wait(self.store.heartbeat(&name, lease, &info, register));
        Answer::Pulse(
            pulse.registered,
            pulse.paused,
            pulse.next_retry.is_some(),
            pulse.has_expired,
        )
    }

    fn fetch(&mut self, worker: usize, count: usize) -> Answer {
        let first = self.next[worker];
        self.next[worker] += count as u64;
        answer(self.wait(self.store.fetch(&name(worker), count, first, WHOLE)))
    }

    fn turn(
        &mut self,
        worker: usize,
        number: usize,
        record_as: Option<Ending>,
        next: Option<usize>,
    ) -> Answer {
        let next = next.map(|count| (count, self.next[worker]));
        self.next[worker] += next.map_or(0, |(count, _)| count as u64);
        let batch = std::mem::take(&mut self.taken[worker][number]);
        let record = |ending: Ending| {
            let record = |&(number, n): &(u64, usize)| Record {
                number,
                id: format!("id-{n:06}"),
                outcome: outcome(n, ending),
            };
            batch.iter().map(record).collect()
        };
        let records: Vec<Record> = record_as.map_or_else(Vec::new, record);
        let lane = &mut self.lanes[worker][number];
        let turn = self.runtime.block_on(lane.turn(&records, next));
        let turn = turn.expect("the store answers");
        let fetched = turn
            .fetched
            .map(|fetched| answer(fetched.expect("the store answers")));
        if let Some(Answer::Taken(taken)) = &fetched {
            self.taken[worker][number].clone_from(taken);
        }
        Answer::Turned(turn.recorded == Recorded::All, fetched.map(Box::new))
    }

    /// What is in a worker's hands, by number.
    fn held(&self, worker: usize) -> HashMap<u64, Vec<u8>> {
        let active = active(worker);
        let fields: HashMap<String, Vec<u8>> = self.run(&[b"HGETALL", active.as_bytes()]);
        let mut held = HashMap::new();
        for (field, value) in fields {
            if let Some(lane) = field.strip_prefix("batch:") {
                let first: u64 = std::str::from_utf8(&value)
                    .expect("text")
                    .parse()
                    .expect("a number");
                let key = format!("{active}:{lane}");
                let batch: Vec<Vec<u8>> = self.run(&[b"LRANGE", key.as_bytes(), b"0", b"-1"]);
                held.extend((first..).zip(batch));
            } else {
                held.insert(field.parse().expect("a number"), value);
            }
        }
        held
    }

    fn commit(&self, worker: usize, outcomes: &[(u64, Ending)], resend: bool) -> Answer {
        // Retries of two steps are due one after the other.
        let before = self.wait(self.store.observe_time());
        while self.wait(self.store.observe_time()) == before {}
        let held = self.held(worker);
        let record = |(number, ending): &(u64, Ending)| {
            // Of what is not in hand a worker would tell something as well.
            let n = held
                .get(number)
                .map_or(999_999, |payload| number_of(payload));
            Record {
                number: *number,
                id: format!("id-{n:06}"),
                outcome: outcome(n, *ending),
            }
        };
        let records: Vec<Record> = outcomes.iter().map(record).collect();
        Answer::Numbers(self.wait(self.store.commit(&name(worker), &records, resend)))
    }

    fn recover(&self, worker: usize, deliveries: &[(u64, bool)]) -> Answer {
        let held = self.held(worker);
        let recovery = |(number, dead): &(u64, bool)| Recovery {
            number: *number,
            dead: *dead,
            envelope: Some(envelope(
                held.get(number)
                    .map_or(999_999, |payload| number_of(payload)),
            )),
        };
        let recoveries: Vec<Recovery> = deliveries.iter().map(recovery).collect();
        self.wait(
            self.store
                .recover(&name(worker), "recoverer", None, &recoveries, &[]),
        )
        .map_or(Answer::Alive, Answer::Numbers)
    }

    fn take(&mut self, console: usize, picked: &[usize], to: To) -> Answer {
        let letters: Vec<DeadLetter> = picked
            .iter()
            .map(|at| self.consoles[console].read[*at].clone())
            .collect();
        let destination = match to {
            To::Work => Destination::Redrive,
            To::Trash => Destination::Trash(trash(console)),
        };
        let take = self
            .store
            .take_dead(&letters, &destination, "test", |_| true);
        let moved = self.runtime.block_on(take);
        assert!(moved.error.is_none(), "{:?}", moved.error);
        if to == To::Work {
            let put = moved.entries.iter().zip(&letters);
            self.consoles[console].put = put
                .filter_map(|(waits, letter)| Some((waits.clone()?, letter.bytes.clone())))
                .collect();
        }
        Answer::Moved(moved.entries.iter().map(Option::is_some).collect())
    }

    /// Everything that is in Redis.
    pub fn read(&self) -> Seen {
        let list = |key: &str| -> Vec<usize> {
            let entries: Vec<Vec<u8>> = self.run(&[b"LRANGE", key.as_bytes(), b"0", b"-1"]);
            entries.iter().map(|entry| number_of(entry)).collect()
        };
        let hand = |worker| -> BTreeMap<u64, usize> {
            let held = self.held(worker);
            held.into_iter()
                .map(|(number, payload)| (number, number_of(&payload)))
                .collect()
        };
        let retry: Vec<Vec<u8>> = self.run(&[b"ZRANGE", b"q:retry", b"0", b"-1"]);
        let enriched: Vec<(String, HashMap<String, Vec<u8>>)> =
            self.run(&[b"XRANGE", b"e", b"-", b"+"]);
        let registered: BTreeSet<String> = self.run(&[b"ZRANGE", b"q:workers", b"0", b"-1"]);
        let stats: BTreeMap<String, i64> = self.run(&[b"HGETALL", b"q:stats"]);
        let paused: bool = self.run(&[b"EXISTS", b"q:paused"]);
        let mut seen = Seen {
            waiting: list("q"),
            dead: list("f"),
            trash: std::array::from_fn(|console| list(&format!("f:trash:{}", trash(console)))),
            retry: retry.iter().map(|entry| number_of(entry)).collect(),
            enriched: enriched
                .iter()
                .map(|(_, fields)| number_of(&fields["lead"]))
                .collect(),
            hands: (0..WORKERS).map(hand).collect(),
            registered: (0..WORKERS)
                .map(|worker| registered.contains(&name(worker)))
                .collect(),
            paused,
            stats: stats.into_iter().filter(|(_, n)| *n > 0).collect(),
            leads: 0,
        };
        let hands: usize = seen.hands.iter().map(BTreeMap::len).sum();
        let trash: usize = seen.trash.iter().map(Vec::len).sum();
        let lists = seen.waiting.len() + seen.dead.len() + seen.enriched.len();
        seen.leads = lists + trash + retry.len() + hands;
        seen
    }
}

fn answer(fetched: Fetched) -> Answer {
    match fetched {
        Fetched::Paused => Answer::Paused,
        Fetched::NoLease => Answer::NoLease,
        Fetched::Unfit => panic!("these leads are small"),
        Fetched::Taken(deliveries) => Answer::Taken(
            deliveries
                .into_iter()
                .map(|delivery| (delivery.number, number_of(&delivery.payload)))
                .collect(),
        ),
    }
}

fn name(worker: usize) -> String {
    format!("w{worker}")
}

fn active(worker: usize) -> String {
    format!("q:active:{}", name(worker))
}

fn trash(console: usize) -> String {
    format!("t{console}")
}

fn lead(n: usize) -> Vec<u8> {
    format!("{{\"n\":{n}}}").into_bytes()
}

/// With an id of one length, so that envelopes sort as their numbers do.
fn envelope(n: usize) -> Bytes {
    Envelope::new(format!("id-{n:06}"), lead(n).into(), None).encode()
}

fn number_of(payload: &[u8]) -> usize {
    let (envelope, _) = Envelope::from_dead_letter(&Bytes::copy_from_slice(payload));
    let lead: serde_json::Value = serde_json::from_slice(&envelope.lead).expect("JSON");
    usize::try_from(lead["n"].as_u64().expect("a number")).expect("a small one")
}

fn outcome(n: usize, ending: Ending) -> Outcome {
    let delay = |due: bool| if due { 0 } else { 3_600_000 };
    let envelope = envelope(n);
    match ending {
        Ending::Done | Ending::Skipped | Ending::OverBudget => Outcome::Done {
            lead: lead(n).into(),
            completion: match ending {
                Ending::Skipped => Completion::Skipped,
                Ending::OverBudget => Completion::OverBudget,
                _ => Completion::Full,
            },
        },
        Ending::Retry { due } => Outcome::Retry {
            envelope,
            delay_ms: delay(due),
            retry: 1,
        },
        Ending::Postponed { due } => Outcome::Postponed {
            envelope,
            delay_ms: delay(due),
        },
        Ending::Dead => Outcome::Dead { envelope },
        Ending::Requeue => Outcome::Requeue { envelope },
    }
}
