//! A worker's lanes: a whole batch of leads is taken, what came of it recorded, and the next batch
//! taken with that in one round trip. No script looks at the leads, which is most of what a lead
//! costs the server; so this is for leads that are over as soon as they are started.
//!
//! A batch stands in a list of its own. What came of it is recorded by a transaction that the server
//! drops where anybody has touched that list since it was read: a recoverer that opened it, because
//! the lease ran out, or the worker itself, because not all of it was over at once. The server is
//! told not to answer meanwhile, for two answers to each lead are a tenth of a worker's time;
//! whether the batch was recorded is then seen where it stood.

use std::time::Instant;

use redis::Cmd;

use super::wire::{Answers, Purpose, Request, Wire};
use super::work::{Completion, Delivery, Fetched, Outcome, Record};
use super::{IDLE, Reply, Store, StoreError, convert};

/// Lanes of a worker: one batch is worked on while another one is on its way.
pub const LANES: usize = 2;
/// Bytes of the largest lead that goes by a batch.
const LARGEST: usize = 16 * 1024;

/// One lane, on a connection of its own.
pub struct Lane {
    store: Store,
    worker: String,
    /// From 1 to [`LANES`].
    number: usize,
    link: Option<Link>,
}

struct Link {
    wire: Wire,
    /// Whether the server cannot be silenced: then its answers are left unread.
    openly: bool,
    /// Whether the batch in hand is watched, and may be recorded.
    watched: bool,
    used: Instant,
}

/// What was recorded of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing: the batch was opened, or taken away. A recoverer that comes between the record and
    /// the look at it makes this of [`Recorded::All`].
    Nothing,
    /// The leads that are done. The server refused the dead letters, which are still in hand.
    Done,
    /// All of it.
    All,
}

/// What a round trip brought.
#[derive(Debug)]
pub struct Turn {
    /// What was recorded.
    pub recorded: Recorded,
    /// Of two batches that were taken, the one with the lesser number was taken first.
    pub order: u64,
    /// The next batch, where one was asked for. What goes wrong there undoes nothing of the rest.
    pub fetched: Option<Result<Fetched, StoreError>>,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The lanes of a worker.
    #[must_use]
    pub fn lanes(&self, worker: &str) -> [Lane; LANES] {
        std::array::from_fn(|place| Lane {
            store: self.clone(),
            worker: worker.to_owned(),
            number: place + 1,
            link: None,
        })
    }
}

impl Lane {
    /// Whether an outcome can be recorded by a lane.
    #[must_use]
    pub fn records(outcome: &Outcome) -> bool {
        match outcome {
            Outcome::Done { lead, .. } => !lead.is_empty(),
            Outcome::Dead { .. } => true,
            _ => false,
        }
    }

    /// Records what came of the batch in hand, of all of it, and takes the next one: so many leads,
    /// numbered from so many on. Without records the batch in hand is left to
    /// [`Store::commit`].
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. It is then not known whether the outcomes were
    /// recorded: give them to [`Store::commit`] as sent before. Nor whether leads were taken: ask
    /// [`Store::held`].
    pub async fn turn(
        &mut self,
        records: &[Record],
        next: Option<(usize, u64)>,
    ) -> Result<Turn, StoreError> {
        // Out of its place meanwhile: a connection on which something went wrong is not used again.
        let mut link = match self.link.take().filter(|link| link.used.elapsed() < IDLE) {
            Some(link) => link,
            None => self.connect().await?,
        };
        let mut turn = Turn {
            recorded: Recorded::Nothing,
            order: 0,
            fetched: None,
        };
        let mut request = link.wire.request();
        let (mut unread, mut looks) = (0, 0);
        let recording = records.first().filter(|_| link.watched);
        if let Some(first) = recording {
            (unread, looks) = self.record(&mut request, records, first.number, link.openly);
        } else if link.watched && next.is_some() {
            // What is watched is to be forgotten.
            request.add(&redis::cmd("MULTI"));
            request.add(&redis::cmd("DISCARD"));
            unread = 2;
        }
        let sent = request.len();
        if let Some((count, first)) = next {
            self.fetch(&mut request, count, first);
        } else if let Some(first) = recording {
            // Takes nothing, and forgets the batch.
            request.add(&self.batch_call(0, first.number));
        }
        if request.len() > 0 {
            link.watched = false;
            let answers = looks + request.len() - sent;
            let mut answers = link.wire.ask(request, unread, answers).await?;
            if let Some(first) = recording {
                turn.recorded =
                    Self::recorded(&link.wire, first.number, &mut answers, looks).await?;
            }
            if let Some((_, first)) = next {
                let order = &mut turn.order;
                let fetched = self
                    .read_fetched(&mut answers, &mut link, first, order)
                    .await;
                let failed = fetched.is_err();
                turn.fetched = Some(fetched);
                if failed {
                    return Ok(turn);
                }
            }
        }
        link.used = Instant::now();
        self.link = Some(link);
        Ok(turn)
    }

    async fn connect(&self) -> Result<Link, StoreError> {
        let purpose = Purpose {
            call: "lane",
            what: "work by batches".into(),
        };
        let mut link = Link {
            wire: self.store.wire(purpose).await?,
            openly: false,
            watched: false,
            used: Instant::now(),
        };
        let mut request = link.wire.request();
        request.add(&self.store.scripts().batch.load());
        request.add(&reply("ON"));
        let mut answers = link.wire.ask(request, 0, 2).await?;
        link.wire.told(answers.value()).await?;
        link.openly = answers.value().is_err();
        Ok(link)
    }

    /// Writes what came of a batch where it belongs, takes it out of the worker's hands, and looks
    /// whether that was done; returns how many answers come before those of the look, and how many
    /// those are.
    fn record(
        &self,
        request: &mut Request,
        records: &[Record],
        first: u64,
        openly: bool,
    ) -> (usize, usize) {
        let keys = self.store.keys();
        if !openly {
            request.add(&reply("OFF"));
        }
        request.add(&redis::cmd("MULTI"));
        let is_done = |record: &Record| matches!(record.outcome, Outcome::Done { .. });
        let last = records.iter().rposition(is_done).unwrap_or(0);
        for Record { id, outcome, .. } in &records[..last] {
            if let Outcome::Done { lead, .. } = outcome {
                let (key, id) = (keys.enriched.as_bytes(), id.as_bytes());
                request.add_words([b"XADD", key, b"*", b"id", id, b"lead", lead]);
            }
        }
        self.seal(request, records, first);
        request.add(&redis::cmd("EXEC"));
        let unread = if openly {
            request.len()
        } else {
            request.add(&reply("ON"));
            1
        };
        let before = request.len();
        let active = keys.active(&self.worker);
        request.add(command("HGET", &active).arg(mark(self.number)));
        let batch = keys.batch(&self.worker, self.number);
        request.add(&command("LLEN", &batch));
        let is_dead = |record: &&Record| matches!(record.outcome, Outcome::Dead { .. });
        if let Some(dead) = records.iter().find(is_dead) {
            request.add(command("HEXISTS", &active).arg(dead.number));
        }
        (unread, request.len() - before)
    }

    /// What a look at a batch says was recorded of it: its number, the length of its list, and whether
    /// the first dead one is still in hand, where it has one.
    async fn recorded(
        wire: &Wire,
        first: u64,
        answers: &mut Answers,
        looks: usize,
    ) -> Result<Recorded, StoreError> {
        let number: Option<u64> = convert(wire.told(answers.value()).await?)?;
        let left: u64 = convert(wire.told(answers.value()).await?)?;
        let kept: bool = match looks {
            2 => false,
            _ => convert(wire.told(answers.value()).await?)?,
        };
        Ok(match (number == Some(first) && left == 0, kept) {
            (false, _) => Recorded::Nothing,
            (true, true) => Recorded::Done,
            (true, false) => Recorded::All,
        })
    }

    /// The end of a batch's record.
    fn seal(&self, request: &mut Request, records: &[Record], first: u64) {
        let keys = self.store.keys();
        let (mut done, mut skipped, mut over_budget, mut last) = (0, 0, 0, None);
        let (mut places, mut envelopes) = (Vec::new(), Vec::new());
        for (place, Record { id, outcome, .. }) in records.iter().enumerate() {
            match outcome {
                Outcome::Done { lead, completion } => {
                    done += 1;
                    skipped += u32::from(*completion != Completion::Full);
                    over_budget += u32::from(*completion == Completion::OverBudget);
                    last = Some((id.as_str(), &lead[..]));
                }
                Outcome::Dead { envelope } => {
                    places.push(place.to_string());
                    envelopes.push(&envelope[..]);
                }
                _ => unreachable!("asked before"),
            }
        }
        let (id, lead) = last.unwrap_or_default();
        let minute = self.store.now() / 60_000;
        let mut cmd = command("EVAL", &self.store.scripts().seal);
        cmd.arg(6);
        cmd.arg(keys.active(&self.worker))
            .arg(keys.batch(&self.worker, self.number))
            .arg(&keys.enriched)
            .arg(&keys.failed)
            .arg(&keys.stats)
            .arg(keys.minute(minute));
        cmd.arg(self.number).arg(first).arg(done);
        cmd.arg(format!("{skipped} {over_budget}"));
        cmd.arg(id).arg(lead).arg(places.join(" ")).arg(envelopes);
        request.add(&cmd);
    }

    /// Takes the next batch, and watches it.
    fn fetch(&self, request: &mut Request, count: usize, first: u64) {
        let keys = self.store.keys();
        let batch = keys.batch(&self.worker, self.number);
        request.add(&self.batch_call(count, first));
        request.add(&command("WATCH", &batch));
        request.add(command("LRANGE", &batch).arg(0).arg(-1));
        // After that, so that it is the number of what was read.
        let active = keys.active(&self.worker);
        request.add(command("HGET", &active).arg(mark(self.number)));
    }

    fn batch_call(&self, count: usize, first: u64) -> Cmd {
        let keys = self.store.keys();
        let mut cmd = self.store.scripts().batch.call(&[
            &keys.queue,
            &keys.active(&self.worker),
            &keys.batch(&self.worker, self.number),
            &keys.workers,
            &keys.paused,
            &keys.stats,
            &keys.enriched,
            &keys.failed,
        ]);
        cmd.arg(&self.worker).arg(self.number).arg(count).arg(first);
        cmd.arg(self.store.bytes_at_once()).arg(LARGEST);
        cmd
    }

    async fn read_fetched(
        &self,
        answers: &mut Answers,
        link: &mut Link,
        first: u64,
        order: &mut u64,
    ) -> Result<Fetched, StoreError> {
        let wire = &link.wire;
        let taken = wire.told(answers.value()).await?;
        wire.told(answers.value()).await?;
        let leads = wire.told(answers.texts()).await?;
        let marked: Option<u64> = convert(wire.told(answers.value()).await?)?;
        link.watched = true;
        let mut reply = Reply::new(taken)?;
        self.store.shared.clock.observe(reply.now);
        match (reply.next::<u64>()?, reply.next::<usize>()?, leads) {
            (0, 0, _) => Ok(Fetched::Taken(Vec::new())),
            (0, n, Some(leads)) if leads.len() == n && marked == Some(first) => {
                *order = reply.next()?;
                let numbered = (first..).zip(leads);
                let deliveries = numbered.map(|(number, lead)| Delivery::whole(number, lead));
                Ok(Fetched::Taken(deliveries.collect()))
            }
            (1, ..) => Ok(Fetched::Paused),
            (2, ..) => Ok(Fetched::NoLease),
            (3, ..) => Ok(Fetched::Unfit),
            // Taken and opened at once, or another one that came late stands there.
            _ => Err(StoreError::Answer(
                "a batch was opened before it could be read".into(),
            )),
        }
    }
}

/// The field of a worker's hash that has the number of the first lead of a lane's batch.
pub(super) fn mark(lane: usize) -> String {
    format!("batch:{lane}")
}

/// The beginning of a command: its name and its first word.
fn command(name: &str, word: &str) -> Cmd {
    let mut cmd = redis::cmd(name);
    cmd.arg(word);
    cmd
}

/// Whether the server is to answer from here on.
fn reply(whether: &str) -> Cmd {
    let mut cmd = command("CLIENT", "REPLY");
    cmd.arg(whether);
    cmd
}
