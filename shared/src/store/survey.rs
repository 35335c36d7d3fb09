//! Readings of the whole bridge that also count the in-flight leads of workers that are not
//! registered.
//!
//! A living worker registers such workers itself ([`Store::adopt`]), within about a lease. If no
//! worker does, a program that only reads has to search for them: otherwise it would show 0 in
//! flight over leads that no worker works on.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use super::lost_property::{DENIED_PAUSE, STEP_PAUSE};
use super::{Store, StoreError};
use crate::stats::{Snapshot, Worker};

/// Time between two searches of a program that goes on reading.
const SEARCH_INTERVAL: Duration = Duration::from_secs(10);
/// Time for which a search that came to its end stands for what is there.
const SEARCH_LASTS: Duration = Duration::from_secs(60);
/// Workers whose leads are counted in one step: below a millisecond.
const COUNT_STEP: usize = 128;

/// Reads the figures, and searches for what no registered worker has in flight. It changes nothing.
#[derive(Debug)]
pub struct Survey {
    store: Store,
    found: Mutex<Found>,
    /// Held by the search under way; there is one at a time.
    searching: Semaphore,
    /// Tells that a reading wants a search.
    wanted: Notify,
    /// Tells that a search has ended.
    ended: Notify,
}

#[derive(Debug)]
struct Found {
    /// Workers that had leads in flight and were not registered.
    workers: BTreeSet<String>,
    search: Search,
    /// When the last search came to its end.
    at: Option<Instant>,
}

impl Survey {
    /// Makes a survey that has found nothing yet.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            store,
            found: Mutex::new(Found {
                workers: BTreeSet::new(),
                search: Search::Unfinished,
                at: None,
            }),
            searching: Semaphore::new(1),
            wanted: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Reads every figure, with the in-flight leads of the unregistered workers that are known.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let known: Vec<String> = self.found().workers.iter().cloned().collect();
        // Counted first: leads that are recovered have a registered worker before, which the
        // figures have then, so that no lead is counted as in flight and as waiting.
        let counted = self.count(&known).await?;
        let mut snapshot = self.store.snapshot().await?;
        snapshot.add_unregistered(counted);
        let mut found = self.found();
        let unregistered = snapshot.unregistered();
        let left: BTreeSet<&String> = unregistered.map(|worker| &worker.id).collect();
        // Others that a search has found meanwhile stay.
        for worker in known.iter().filter(|worker| !left.contains(worker)) {
            found.workers.remove(worker);
        }
        if snapshot.search == Search::ByWorkers {
            (found.search, found.at) = (Search::Unfinished, None);
            return Ok(snapshot);
        }
        let is_idle = self.searching.available_permits() > 0;
        let is_old = found.at.is_none_or(|at| at.elapsed() > SEARCH_LASTS);
        if found.search == Search::Done && is_old && is_idle {
            found.search = Search::Unfinished;
        }
        snapshot.search = found.search;
        drop(found);
        self.wanted.notify_one();
        Ok(snapshot)
    }

    /// The same, after waiting up to `limit` for a search that [`Survey::run`] has not ended yet.
    ///
    /// # Errors
    /// As [`Survey::snapshot`].
    pub async fn settled(&self, limit: Duration) -> Result<Snapshot, StoreError> {
        let ended = self.ended.notified();
        let snapshot = self.snapshot().await?;
        if snapshot.search != Search::Unfinished
            || tokio::time::timeout(limit, ended).await.is_err()
        {
            return Ok(snapshot);
        }
        self.snapshot().await
    }

    /// The same, after a search of up to `limit` if no worker searches. If that was too short, the
    /// reading says so.
    ///
    /// # Errors
    /// As [`Survey::snapshot`].
    pub async fn snapshot_within(&self, limit: Duration) -> Result<Snapshot, StoreError> {
        let snapshot = self.snapshot().await?;
        if snapshot.search != Search::Unfinished {
            return Ok(snapshot);
        }
        match tokio::time::timeout(limit, self.search(Duration::ZERO)).await {
            Ok(Err(error)) if error.is_outage() => Err(error),
            // What is not known the reading says.
            _ => self.snapshot().await,
        }
    }

    /// Searches at a low rate, whenever a reading wants it; `told` is called after a search that
    /// changes what [`Survey::snapshot`] says.
    pub async fn run(&self, told: impl Fn()) {
        loop {
            self.wanted.notified().await;
            let known = || {
                let found = self.found();
                (found.workers.clone(), found.search)
            };
            let before = known();
            let searched = self.search(STEP_PAUSE).await;
            let is_denied = matches!(searched, Err(StoreError::NotAllowed { .. }));
            self.ended.notify_waiters();
            if known() != before {
                told();
            }
            if let Err(error) = &searched
                && !error.is_outage()
            {
                tracing::warn!(
                    "in flight may be more: leads of workers that are not registered are not searched for: {error}"
                );
            }
            tokio::time::sleep(if is_denied {
                DENIED_PAUSE
            } else {
                SEARCH_INTERVAL
            })
            .await;
        }
    }

    /// Searches to the end, whoever else does; returns the workers that it found, some of which may be
    /// registered by now.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; [`StoreError::NotAllowed`] if the user may not search.
    pub async fn find_all(&self) -> Result<Vec<String>, StoreError> {
        loop {
            self.search(Duration::ZERO).await?;
            if self.found().search == Search::Done {
                return Ok(self.workers());
            }
        }
    }

    /// The unregistered workers that are known.
    #[must_use]
    pub fn workers(&self) -> Vec<String> {
        self.found().workers.iter().cloned().collect()
    }

    /// Searches once, with this pause after each step.
    async fn search(&self, pause: Duration) -> Result<(), StoreError> {
        let Ok(_one) = self.searching.acquire().await else {
            return Ok(());
        };
        let searched = self.search_all(pause).await;
        let mut found = self.found();
        match &searched {
            Ok(true) => (found.search, found.at) = (Search::Done, Some(Instant::now())),
            Err(StoreError::NotAllowed { .. }) => found.search = Search::Denied,
            Ok(false) | Err(_) => found.search = Search::Unfinished,
        }
        searched.map(drop)
    }

    /// Returns whether all keys were looked at: a cursor says nothing to another server.
    async fn search_all(&self, pause: Duration) -> Result<bool, StoreError> {
        let interruptions = self.store.interruptions();
        let mut cursor = 0;
        loop {
            let (next, workers) = self.store.scan_workers(cursor).await?;
            let counted = self.count(&workers).await?;
            let counted = counted.into_iter().map(|(worker, _)| worker);
            self.found().workers.extend(counted);
            cursor = next;
            if cursor == 0 {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        // SCAN names no key, so a cluster's node that has lost the queue's slot answers it. This it
        // turns away.
        self.store.waiting_count().await?;
        Ok(self.store.interruptions() == interruptions)
    }

    /// Those of the workers that have leads in flight, and how many.
    async fn count(&self, workers: &[String]) -> Result<Vec<(String, u64)>, StoreError> {
        let mut counted = Vec::new();
        for workers in workers.chunks(COUNT_STEP) {
            let counts = self.store.in_flight_of(workers).await?;
            let workers = workers.iter().cloned().zip(counts);
            counted.extend(workers.filter(|(_, in_flight)| *in_flight > 0));
        }
        Ok(counted)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a reading has the in-flight leads of all workers that are not registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Search {
    /// A living worker searches for them, and registers within about a lease what it finds.
    #[default]
    ByWorkers,
    /// This program has searched for them.
    Done,
    /// No worker searches for them, and this program's search has not come to its end.
    Unfinished,
    /// No worker searches for them, and the Redis user of this program may not.
    Denied,
}

impl Search {
    /// Why in flight may be more than a reading says; `None` if it is not.
    #[must_use]
    pub const fn gap(self) -> Option<&'static str> {
        match self {
            Self::ByWorkers | Self::Done => None,
            Self::Unfinished => Some(
                "the search for leads of workers that are not registered did not come to its end",
            ),
            Self::Denied => Some(
                "this Redis user may not search for leads of workers that are not registered (it needs +scan)",
            ),
        }
    }
}

impl Snapshot {
    /// The workers that are registered.
    pub fn registered(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| !worker.unregistered)
    }

    /// The workers with leads in flight that are not registered.
    pub fn unregistered(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| worker.unregistered)
    }

    /// Adds workers with in-flight leads, unless they are registered.
    pub(crate) fn add_unregistered(&mut self, counted: Vec<(String, u64)>) {
        for (id, in_flight) in counted {
            if let Err(place) = self.workers.binary_search_by(|worker| worker.id.cmp(&id)) {
                self.in_flight += in_flight;
                let worker = Worker {
                    id,
                    in_flight,
                    unregistered: true,
                    ..Worker::default()
                };
                self.workers.insert(place, worker);
            }
        }
    }
}
