//! Bulk work on dead letters, for the commands, the console and the API alike: step by step, told
//! as it goes, and with an account at the end of what was done and what was not.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::clock::Millis;
use crate::event::{Event, EventBatch, EventKind};
use crate::filter::Filter;
use crate::store::dead_letters::{DeadLetter, Destination, Looked};
use crate::store::{Store, StoreError};
use bytes::Bytes;
use serde::Serialize;

/// Dead letters read in one step.
pub const WINDOW: u64 = 200;
/// Dead letters read in one step where most of them are only looked at; deep in a long list the
/// server takes about 3 ms for 1,000.
pub const SCAN_WINDOW: u64 = 500;

/// Leads put back to work in one go that can be taken back in one go: all their bytes are kept.
pub const RECALLABLE: u64 = 10_000;
/// Dead letters that two steps of a walk share.
const OVERLAP: u64 = 100;
/// Dead letters looked for by place in one step.
const HINTED: usize = 2_000;

/// What was done and what was not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many were moved.
    pub moved: u64,
    /// Their ids, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Not there, or taken by somebody else first.
    pub gone: Vec<String>,
    /// Cannot be a lead; still there.
    pub refused: Vec<String>,
    /// Came from another queue than the one it would go to; still there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_queue: Vec<OfAnother>,
    /// Too large to be looked into for what was asked; still there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub too_large: Vec<String>,
    /// The trash they are in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trash: Option<String>,
    /// Whether it was stopped before its end.
    #[serde(skip)]
    pub stopped: bool,
    /// What was put back to work: as it waits now, and as it was dead. Only where it may be asked
    /// for, and not beyond [`RECALLABLE`].
    #[serde(skip)]
    pub put: Vec<(Bytes, Bytes)>,
}

impl Report {
    /// A report that keeps the ids of what was moved.
    #[must_use]
    pub fn with_ids() -> Self {
        Self {
            ids: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Whether all that was asked for was done.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.gone.is_empty()
            && self.refused.is_empty()
            && self.other_queue.is_empty()
            && self.too_large.is_empty()
            && !self.stopped
    }
}

/// A dead letter of another queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OfAnother {
    /// Its id.
    pub id: String,
    /// The queue it came from.
    pub queue: String,
    /// Its place when it was read, counted from the oldest.
    #[serde(skip)]
    pub place: u64,
}

impl OfAnother {
    /// How many came from which queue, in words: `2 from acme_leads, 1 from leads_to_enrich`.
    #[must_use]
    pub fn in_words(all: &[Self]) -> String {
        let mut queues = BTreeMap::<&str, usize>::new();
        for one in all {
            *queues.entry(&one.queue).or_default() += 1;
        }
        let each = queues.iter().map(|(queue, n)| format!("{n} from {queue}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Which dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// Those that match this,
    pub filter: Filter,
    /// but not these ids,
    pub except: HashSet<String>,
    /// and only those that there were when an operator was asked.
    pub asked: Option<Asked>,
}

/// What there was when an operator was asked: what dies afterwards is not what was agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// How many dead letters there were.
    pub dead: u64,
    /// The server's time.
    pub at: Millis,
}

impl Matching {
    /// Whether a dead letter is one of them, `now` being the server's time.
    #[must_use]
    pub fn holds(&self, letter: &DeadLetter, now: Millis) -> bool {
        self.may_be(letter) && self.filter.matches(letter, now)
    }

    /// Whether it is one of them if it matches the filter.
    fn may_be(&self, letter: &DeadLetter) -> bool {
        let newer = |asked: Asked| letter.envelope.failed_at.is_some_and(|at| at > asked.at);
        !self.asked.is_some_and(newer) && !self.except.contains(letter.id())
    }
}

/// One piece of bulk work.
pub struct Move<'a> {
    /// Where.
    pub store: &'a Store,
    /// Who does it, for the audit and the events: `user@host`.
    pub who: String,
    /// Where they go.
    pub destination: Destination,
    /// Whether what cannot be a lead is put back to work all the same.
    pub force: bool,
    /// Whether those of other queues are put into this one: workers of another queue know what to do
    /// with them, and the other queue may be another environment.
    pub into_this_queue: bool,
    /// Hears how many were moved so far; `false` ends the work.
    pub progress: &'a mut (dyn FnMut(u64) -> bool + Send),
    /// What came of it so far.
    pub report: Report,
}

impl Move<'_> {
    /// Moves letters that were read before, and tells everybody who listens.
    /// Returns the ids of what was moved.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; what was moved until then is in the report.
    pub async fn letters(&mut self, letters: Vec<DeadLetter>) -> Result<Vec<String>, StoreError> {
        let to_trash = matches!(self.destination, Destination::Trash(_));
        let (letters, refused): (Vec<_>, Vec<_>) = letters
            .into_iter()
            .partition(|letter| to_trash || self.force || letter.is_lead());
        let refused = refused.iter().map(|letter| letter.id().to_owned());
        self.report.refused.extend(refused);
        let here = &self.store.keys().queue;
        let (letters, others): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| {
            to_trash || self.into_this_queue || !letter.envelope.is_of_another(here)
        });
        let others = others.into_iter().map(|letter| OfAnother {
            id: letter.id().to_owned(),
            place: letter.from_end(),
            queue: letter.envelope.queue,
        });
        self.report.other_queue.extend(others);
        if letters.is_empty() || self.report.stopped {
            return Ok(Vec::new());
        }
        let before = self.report.moved;
        let mut stopped = false;
        let moved = self
            .store
            .take_dead(&letters, &self.destination, &self.who, |so_far| {
                let go_on = (self.progress)(before + so_far as u64);
                stopped |= !go_on;
                go_on
            })
            .await;
        self.report.stopped |= stopped;
        let kind = match self.destination {
            Destination::Redrive | Destination::Edited => EventKind::Redriven,
            Destination::Trash(_) => EventKind::Dropped,
        };
        let (mut events, mut ids) = (Vec::new(), Vec::new());
        for (letter, put) in letters.iter().zip(moved.entries) {
            if let Some(put) = put {
                self.report.moved += 1;
                // What is not here whole cannot be looked for by its bytes.
                if !to_trash && self.report.moved <= RECALLABLE && letter.is_whole() {
                    self.report.put.push((put, letter.bytes.clone()));
                }
                if let Some(ids) = &mut self.report.ids {
                    ids.push(letter.id().to_owned());
                }
                events.push(Event::new(self.store.now(), kind, letter.id()));
                ids.push(letter.id().to_owned());
            } else if !stopped && moved.error.is_none() {
                self.report.gone.push(letter.id().to_owned());
            }
        }
        // The move is done; that nobody can be told of it is no reason to call it failed.
        if !events.is_empty()
            && let Err(error) = self
                .store
                .publish(&EventBatch::new(
                    self.who.as_str(),
                    self.store.database(),
                    events,
                ))
                .await
        {
            tracing::warn!(%error, "the move could not be told over pub/sub");
        }
        moved.error.map_or(Ok(ids), Err)
    }

    /// Moves the dead letters of these ids.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; what was moved until then is in the report.
    pub async fn ids(&mut self, ids: &[String]) -> Result<(), StoreError> {
        let found = self.store.find_dead(ids).await?;
        let there: HashSet<&str> = found.iter().map(DeadLetter::id).collect();
        let gone = ids.iter().filter(|id| !there.contains(id.as_str()));
        self.report.gone.extend(gone.cloned());
        self.letters(found).await.map(drop)
    }

    /// Moves the dead letters of these ids, looking first where each was seen last.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; what was moved until then is in the report.
    pub async fn hinted(&mut self, ids: &HashMap<String, u64>) -> Result<(), StoreError> {
        let mut order: Vec<(&String, u64)> = ids.iter().map(|(id, place)| (id, *place)).collect();
        // The newest first: near an end that moves no place of an older one. Deep in a long list it
        // may, so what is not found is looked for again at the end, and some of it by others' places.
        order.sort_by_key(|(_, place)| std::cmp::Reverse(*place));
        let mut moved = HashSet::new();
        for part in order.chunks(HINTED) {
            let places: Vec<u64> = part.iter().map(|(_, place)| *place).collect();
            let mut letters = self.store.dead_at(&places).await?;
            letters.retain(|letter| ids.contains_key(letter.id()));
            moved.extend(self.letters(letters).await?);
            if self.report.stopped {
                return Ok(());
            }
        }
        // Somebody else may have been faster, or it was only elsewhere: now it counts.
        self.report.gone.clear();
        let others = self.report.other_queue.iter().map(|other| &other.id);
        let known: HashSet<&str> = self
            .report
            .refused
            .iter()
            .chain(others)
            .map(String::as_str)
            .collect();
        let elsewhere: Vec<String> = ids
            .keys()
            .filter(|id| !moved.contains(*id) && !known.contains(id.as_str()))
            .cloned()
            .collect();
        if elsewhere.is_empty() {
            Ok(())
        } else {
            self.ids(&elsewhere).await
        }
    }

    /// Moves all that match, from the oldest on, so that new failures that come in meanwhile are
    /// left alone.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; what was moved until then is in the report.
    pub async fn matching(&mut self, wanted: &Matching) -> Result<(), StoreError> {
        let now = self.store.observe_time().await?;
        let mut left = self.store.dead_count().await?;
        if let Some(asked) = wanted.asked {
            left = left.min(asked.dead);
        }
        // Entries from the right end on that stay.
        let mut stay = 0_u64;
        let mut refused = HashSet::new();
        let mut others = HashSet::new();
        // Large ones that were read and stay; none is read twice.
        let mut passed = HashSet::new();
        while left > 0 && !self.report.stopped {
            let total = self.store.dead_count().await?;
            // A few of those that stay are looked at again: where others take some of them out
            // meanwhile, as many that were not seen yet have come to their places.
            let again = stay.min(OVERLAP);
            let base = stay - again;
            let count = (left.min(WINDOW) + again).min(total.saturating_sub(base));
            if count <= again {
                break;
            }
            let (_, window) = self.store.dead_window(total - base - count, count).await?;
            let seen = window.len() as u64;
            left = left.saturating_sub(count - again);
            let (before, gone) = (self.report.moved, self.report.gone.len());
            let mut letters = Vec::new();
            for letter in window {
                let known = [&refused, &others, &passed]
                    .iter()
                    .any(|stay| stay.contains(letter.id()));
                if known || !wanted.may_be(&letter) {
                    continue;
                }
                match self.store.look_into(&wanted.filter, &letter, now).await? {
                    Looked::Fits(_) => letters.push(letter),
                    Looked::Gone => self.report.gone.push(letter.id().to_owned()),
                    looked => {
                        if looked == Looked::TooLarge {
                            self.report.too_large.push(letter.id().to_owned());
                        }
                        if !letter.is_whole() {
                            passed.insert(letter.id().to_owned());
                        }
                    }
                }
            }
            self.letters(letters).await?;
            refused.extend(self.report.refused[refused.len()..].iter().cloned());
            let new = self.report.other_queue[others.len()..].iter();
            others.extend(new.map(|other| other.id.clone()));
            let taken = self.report.moved - before + (self.report.gone.len() - gone) as u64;
            stay = base + seen.saturating_sub(taken);
            self.report.stopped |= !(self.progress)(self.report.moved);
        }
        Ok(())
    }
}
