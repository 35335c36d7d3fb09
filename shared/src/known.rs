//! The people who are there already, for those who push leads and want none twice.

use std::collections::HashSet;
use std::time::Instant;

use crate::clock::Millis;
use crate::envelope::Envelope;
use crate::lead::Lead;
use crate::store::produce::{CLAIM, Person, Place};
use crate::store::survey::Survey;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Clean LinkedIn URLs, each as half of its SHA-256: 16 bytes a person, however long the URL.
///
/// What others push meanwhile is not among them. So each run that leaves out known people claims
/// those that it pushes, in the step that pushes them, and leaves out those that were claimed since
/// its own look began. A claim ends after [`CLAIM`]; a look is repeated in half of that.
#[derive(Debug, Default)]
pub struct Known {
    urls: HashSet<Person>,
    /// When the look began, by the server's clock and by ours.
    since: Millis,
    begun: Option<Instant>,
    days: u32,
    /// Whether the user may not search for in-flight leads of workers that are not registered.
    is_partial: bool,
}

impl Known {
    /// Looks through every place a lead can be in. A lead that moves on meanwhile moves from a
    /// place that was looked at to one that is still to come, or to one that is looked at twice.
    ///
    /// An enriched lead counts where it is not older than `days`.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn scan(store: &Store, days: u32) -> Result<Self, StoreError> {
        let now = store.observe_time().await?;
        let mut known = Self {
            since: now,
            begun: Some(Instant::now()),
            days,
            ..Self::default()
        };
        for place in [Place::Dead, Place::Retry, Place::Waiting] {
            known.place(store, place).await?;
        }
        let unregistered = match Survey::new(store.clone()).find_all().await {
            Err(StoreError::NotAllowed { .. }) => {
                known.is_partial = true;
                Vec::new()
            }
            found => found?,
        };
        known.add_all(&store.peek_in_flight(&unregistered).await?);
        for place in [Place::Retry, Place::Dead] {
            known.place(store, place).await?;
        }
        let since = now - i64::from(days) * 86_400_000;
        let mut after = None;
        loop {
            let (leads, last) = store.peek_enriched(since, after.as_deref(), 1_000).await?;
            if last.is_none() {
                return Ok(known);
            }
            known.add_all(&leads);
            after = last;
        }
    }

    async fn place(&mut self, store: &Store, place: Place) -> Result<(), StoreError> {
        let mut cursor = 0;
        loop {
            let (next, payloads) = store.scan(place, cursor).await?;
            self.add_all(&payloads);
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    fn add_all(&mut self, payloads: &[Bytes]) {
        for payload in payloads {
            // Reads envelopes, old dead letters and bare leads alike.
            let lead = Envelope::from_dead_letter(payload).0.lead;
            self.urls.extend(key(&lead));
        }
    }

    /// Whether the lead is nobody known, and from now on it is known. A lead without a LinkedIn
    /// URL is always new.
    pub fn is_new(&mut self, lead: &Bytes) -> bool {
        key(lead).is_none_or(|key| self.urls.insert(key))
    }

    /// What is not among them, in a sentence; `None` if all are.
    #[must_use]
    pub fn gap(&self) -> Option<&'static str> {
        self.is_partial.then_some(
            "leads in flight at workers that are not registered may be pushed twice: this Redis user may not search for them (it needs +scan)",
        )
    }

    /// When the look at what is there began.
    pub(crate) const fn since(&self) -> Millis {
        self.since
    }

    /// Looks again, where claims from the time of the last look could end soon; what of it is new
    /// here.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub(crate) async fn look_again(&mut self, store: &Store) -> Result<Option<Known>, StoreError> {
        if self.begun.is_some_and(|begun| begun.elapsed() < CLAIM / 2) {
            return Ok(None);
        }
        let fresh = Self::scan(store, self.days).await?;
        (self.since, self.begun) = (fresh.since, fresh.begun);
        self.urls.extend(&fresh.urls);
        Ok(Some(fresh))
    }

    pub(crate) fn has(&self, person: &Person) -> bool {
        self.urls.contains(person)
    }
}

/// What stands for the person of a lead; none where it has no LinkedIn URL.
pub(crate) fn key(lead: &Bytes) -> Option<Person> {
    let url = Lead::parse(lead).ok()?.linkedin_url()?;
    Sha256::digest(url.as_bytes())[..16].try_into().ok()
}
