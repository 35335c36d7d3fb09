//! Taking leads that were put back to work back into the queue, and telling of it.

use bytes::Bytes;

use super::BATCH;
use crate::envelope::Envelope;
use crate::event::{Event, EventBatch, EventKind};
use crate::store::{Store, StoreError};

impl Store {
    /// Takes leads that were put back to work back into the dead letter queue, as long as nobody
    /// has begun to work on them: each is looked for among the newest that wait. `put` has the
    /// bytes that wait, and those that were dead before. Tells for each whether it came back, and
    /// nothing of those that it did not come to because `progress` ended it.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. What came back until then is back.
    pub async fn recall(
        &self,
        put: &[(Bytes, Bytes)],
        who: &str,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Result<Vec<bool>, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().recall;
        let mut back = Vec::with_capacity(put.len());
        while back.len() < put.len() {
            let batch = &put[back.len()..put.len().min(back.len() + BATCH)];
            let mut cmd = script.call(&[&keys.queue, &keys.failed, &keys.stats, &keys.audit]);
            cmd.arg(who);
            for (waiting, dead) in batch {
                cmd.arg(&waiting[..]).arg(&dead[..]);
            }
            let found: Vec<i64> = self.run_bulk(script, &cmd).await?.rest()?;
            if found.is_empty() {
                return Err(StoreError::Answer("the waiting list did not move".into()));
            }
            let here = batch.iter().zip(&found).filter(|(_, found)| **found == 1);
            self.tell_dead(
                who,
                "taken back before anybody began",
                here.map(|((_, dead), _)| dead),
            )
            .await;
            back.extend(found.into_iter().map(|found| found == 1));
            if !progress(back.iter().filter(|back| **back).count()) {
                break;
            }
        }
        Ok(back)
    }

    /// Tells everybody who listens that entries are dead letters again; returns how many listen.
    /// They are: that nobody can be told of it is no reason to call it failed.
    pub(in crate::store) async fn tell_dead<'a>(
        &self,
        who: &str,
        why: &str,
        entries: impl Iterator<Item = &'a Bytes>,
    ) -> u64 {
        let events: Vec<Event> = entries
            .map(|entry| Event {
                error: Some(why.to_owned()),
                ..Event::new(
                    self.now(),
                    EventKind::Dead,
                    Envelope::from_dead_letter(entry).0.id,
                )
            })
            .collect();
        if events.is_empty() {
            return 0;
        }
        let told = self
            .publish(&EventBatch::new(who, self.database(), events))
            .await;
        told.unwrap_or_else(|error| {
            tracing::warn!(%error, "what came back could not be told over pub/sub");
            0
        })
    }
}
