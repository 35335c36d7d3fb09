//! Leads in: gathered into batches, each of which is sent until it is in.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::known::{Known, key};
use crate::store::dead_letters::token;
use crate::store::produce::{
    Durability, PUSH_BATCH, PUSH_NEW_BATCH, Person, PushBatch, Pushed, ReplicaLink,
};
use crate::store::{Store, StoreError};

/// Bytes of leads that one batch holds at most, unless one lead alone is longer.
const BATCH_BYTES: usize = 4 << 20;
/// The longest time between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A run of a producer. Its batches are numbered, so that one that is sent again is pushed once.
pub struct Producer<'a> {
    store: &'a Store,
    run: String,
    batches: u64,
    known: Option<Known>,
    durability: Durability,
    link: ReplicaLink,
    leads: Vec<Bytes>,
    bytes: usize,
}

impl<'a> Producer<'a> {
    /// A run that leaves out the people who are known, where that is asked for.
    #[must_use]
    pub fn new(store: &'a Store, known: Option<Known>) -> Self {
        Self {
            store,
            run: token(),
            batches: 0,
            known,
            durability: Durability::default(),
            link: ReplicaLink::default(),
            leads: Vec::new(),
            bytes: 0,
        }
    }

    /// The same run, whose batches count as pushed only when they are as safe as this.
    #[must_use]
    pub fn waiting_for(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Whether a lead is to be left out.
    pub fn knows(&mut self, lead: &Bytes) -> bool {
        let known = self.known.as_mut();
        known.is_some_and(|known| !known.is_new(lead))
    }

    /// Whether what was gathered must go before this lead can be added.
    #[must_use]
    pub fn is_full_for(&self, lead: &Bytes) -> bool {
        // The check of each person takes the server several times as long as the push itself.
        let most = match self.known {
            Some(_) => PUSH_NEW_BATCH,
            None => PUSH_BATCH,
        };
        self.leads.len() >= most
            || (self.bytes + lead.len() > BATCH_BYTES.min(self.store.bytes_at_once())
                && !self.leads.is_empty())
    }

    /// Gathers a lead.
    pub fn add(&mut self, lead: Bytes) {
        self.bytes += lead.len();
        self.leads.push(lead);
    }

    /// How many leads are gathered.
    #[must_use]
    pub fn gathered(&self) -> usize {
        self.leads.len()
    }

    /// How many leads may go while no more than `max` are to wait: waits until it is at least one;
    /// `None` where it is none until the deadline.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn room(
        &self,
        max: u64,
        deadline: Option<Instant>,
    ) -> Result<Option<usize>, StoreError> {
        let mut pause = Duration::from_millis(20);
        loop {
            let free = max.saturating_sub(self.store.waiting_count().await?);
            if free > 0 {
                return Ok(Some(usize::try_from(free).unwrap_or(usize::MAX)));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Leaves gathered leads out whose people turn out to be known; returns how many. Only a run
    /// of half an hour has to look again.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn leave_out_known(&mut self) -> Result<usize, StoreError> {
        let before = self.leads.len();
        if let Some(known) = &mut self.known
            && let Some(fresh) = known.look_again(self.store).await?
        {
            // They are in the run's own list since they were gathered.
            let is_known = |lead: &Bytes| key(lead).is_some_and(|person| fresh.has(&person));
            self.leads.retain(|lead| !is_known(lead));
            self.bytes = self.leads.iter().map(Bytes::len).sum();
        }
        Ok(before - self.leads.len())
    }

    /// Sends the first so many of the gathered leads as one batch, again and again for as long as
    /// `patience` lasts; returns how many wait then, and how many were left out because another run
    /// pushed them meanwhile. `again` hears why it is sent again.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. Whether the batch is in is then not known where an
    /// answer was lost.
    pub async fn send(
        &mut self,
        n: usize,
        patience: Duration,
        mut again: impl FnMut(&StoreError),
    ) -> Result<Pushed, StoreError> {
        self.batches += 1;
        let leads = &self.leads[..n];
        let people: Vec<Option<Person>> = match &self.known {
            Some(_) => leads.iter().map(key).collect(),
            None => Vec::new(),
        };
        let known = self.known.as_ref();
        let batch = PushBatch {
            run: &self.run,
            number: self.batches,
            leads,
            people: known.map(|known| (known.since(), &people[..])),
        };
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(50);
        loop {
            let is_none = self.durability.is_none();
            let durability = (!is_none).then_some((self.durability, &mut self.link));
            match self.store.push_batch(&batch, durability).await {
                Ok(pushed) => {
                    self.drop_first(n);
                    return Ok(pushed);
                }
                Err(error) if error.is_transient() && Instant::now() < deadline => again(&error),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Forgets the first so many of the gathered leads.
    pub fn drop_first(&mut self, n: usize) {
        let gone: usize = self.leads.drain(..n).map(|lead| lead.len()).sum();
        self.bytes -= gone;
    }
}

/// The next item of a reader that runs ahead; `None` at its end. Where there is none yet, what is
/// gathered goes out by `send`, rather than wait for more.
///
/// # Errors
/// What `send` fails with.
pub async fn next_or_send<T, E>(
    items: &mut mpsc::Receiver<T>,
    send: impl AsyncFnOnce() -> Result<(), E>,
) -> Result<Option<T>, E> {
    match items.try_recv() {
        Ok(item) => Ok(Some(item)),
        Err(mpsc::error::TryRecvError::Empty) => {
            send().await?;
            Ok(items.recv().await)
        }
        Err(mpsc::error::TryRecvError::Disconnected) => Ok(None),
    }
}
