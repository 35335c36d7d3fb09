//! The people who are there already, for those who push leads and want none twice.

use std::collections::HashSet;

use crate::envelope::Envelope;
use crate::lead::Lead;
use crate::store::produce::Place;
use crate::store::{Store, StoreError};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Clean LinkedIn URLs, each as half of its SHA-256: 16 bytes a person, however long the URL.
#[derive(Debug, Default)]
pub struct Known {
    urls: HashSet<[u8; 16]>,
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
        let mut known = Self::default();
        for place in [Place::Dead, Place::Retry, Place::Waiting] {
            known.place(store, place).await?;
        }
        known.add_all(&store.peek_in_flight().await?);
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
}

fn key(lead: &Bytes) -> Option<[u8; 16]> {
    let url = Lead::parse(lead).ok()?.linkedin_url()?;
    Sha256::digest(url.as_bytes())[..16].try_into().ok()
}
