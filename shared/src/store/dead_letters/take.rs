//! Moving entries out of the queue: back to work, or into a trash.

use std::borrow::Cow;

use bytes::Bytes;

use super::{BATCH, DeadLetter, token};
use crate::envelope::{Envelope, Opened};
use crate::store::trash::TRASH_SECONDS;
use crate::store::window::READ;
use crate::store::{Store, StoreError, convert};

/// Where entries go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Back to work.
    Redrive,
    /// Back to work with another lead, which stands in the letter's envelope already. The audit
    /// keeps the one it had.
    Edited,
    /// A trash of this name, for a day: what is thrown away under one name comes back together.
    Trash(String),
}

/// What a move of entries came to.
#[derive(Debug)]
pub struct Moved {
    /// For each entry, in their order: the bytes with which it now stands at its destination, or
    /// `None` where it was not moved.
    pub entries: Vec<Option<Bytes>>,
    /// What ended the move before its end.
    pub error: Option<StoreError>,
}

impl Store {
    /// Moves entries that are still what was read, and tells for each that was moved with which
    /// bytes it now stands at its destination; also where an error ended the move on the way.
    /// An entry that somebody else moved first is left alone; one that is merely in another place
    /// by now is looked for once. Each step on the server is short; `progress` hears how many
    /// entries were moved so far and may end the rest by `false`.
    ///
    /// Entries that cannot be a lead are moved like the others: who calls decides about them.
    ///
    /// Where the answer to the last step was lost, that step may have moved more than is told.
    pub async fn take_dead(
        &self,
        letters: &[DeadLetter],
        destination: &Destination,
        who: &str,
        mut progress: impl FnMut(usize) -> bool,
    ) -> Moved {
        let mut take = Take {
            store: self,
            destination,
            who,
            token: token(),
            moved: vec![None; letters.len()],
        };
        let error = take.all(letters, &mut progress).await.err();
        Moved {
            entries: take.moved,
            error,
        }
    }
}

/// A move of many entries, under way.
struct Take<'a> {
    store: &'a Store,
    destination: &'a Destination,
    who: &'a str,
    token: String,
    moved: Vec<Option<Bytes>>,
}

impl Take<'_> {
    /// Goes through all letters, and once more through those that were not where they were seen.
    async fn all(
        &mut self,
        letters: &[DeadLetter],
        progress: &mut impl FnMut(usize) -> bool,
    ) -> Result<(), StoreError> {
        let all: Vec<usize> = (0..letters.len()).collect();
        if !self.pass(letters, all, progress).await? || !self.moved.contains(&None) {
            return Ok(());
        }
        let missed: Vec<usize> = (0..letters.len())
            .filter(|&i| self.moved[i].is_none())
            .collect();
        let named: Vec<&DeadLetter> = missed.iter().map(|&i| &letters[i]).collect();
        let mut elsewhere = letters.to_vec();
        let mut again = Vec::new();
        for (n, found) in self.store.find_again(&named).await? {
            // Where it is now; what is to become of it stays.
            let i = missed[n];
            (elsewhere[i].index, elsewhere[i].of) = (found.index, found.of);
            again.push(i);
        }
        self.pass(&elsewhere, again, progress).await.map(drop)
    }

    /// A letter as it can be put where it goes, read whole where it must be; `gone` older ones are
    /// gone since it was seen. `None` where it cannot be read: its beginning alone would go back
    /// with its old history.
    async fn ready<'l>(
        &self,
        letter: &'l DeadLetter,
        gone: i64,
    ) -> Result<Option<Cow<'l, DeadLetter>>, StoreError> {
        match self.destination {
            // What was edited is the lead that is at hand, so that has to be all of it.
            Destination::Edited if !letter.is_whole() => return Ok(None),
            Destination::Redrive if letter.must_be_whole() => {}
            _ => return Ok(Some(Cow::Borrowed(letter))),
        }
        let place = letter.place().saturating_add(gone);
        let found = self.store.whole_near(letter, place).await?;
        Ok(found.map(|(place, mut whole)| {
            let from_end = place.saturating_sub(gone).unsigned_abs();
            whole.of = whole.of.max(from_end);
            whole.index = whole.of - from_end;
            Cow::Owned(whole)
        }))
    }

    /// Goes once through the letters named by `order`; returns whether it came to the end.
    async fn pass(
        &mut self,
        letters: &[DeadLetter],
        mut order: Vec<usize>,
        progress: &mut impl FnMut(usize) -> bool,
    ) -> Result<bool, StoreError> {
        // The oldest first: every one taken out brings those left of it one nearer to the end.
        order.sort_by_key(|&i| std::cmp::Reverse(letters[i].place()));
        let mut order = order.into_iter().peekable();
        let (mut batch, mut gone) = (Vec::new(), 0);
        loop {
            // Of large ones only as many as the request may hold, and none is read before.
            let mut bytes: usize = batch.iter().map(weight).sum();
            while batch.len() < BATCH
                && let Some(i) =
                    order.next_if(|&i| batch.is_empty() || bytes + self.cost(&letters[i]) < READ)
            {
                if let Some(letter) = self.ready(&letters[i], gone).await? {
                    batch.push((i, letter));
                    bytes += weight(&batch[batch.len() - 1]);
                }
            }
            if batch.is_empty() {
                return Ok(true);
            }
            let seen = self.step(&batch, &mut gone).await?;
            batch.drain(..seen.min(batch.len()));
            let so_far = self.moved.iter().flatten().count();
            if !progress(so_far) {
                return Ok(false);
            }
        }
    }

    /// About how many bytes of a request a letter will take.
    fn cost(&self, letter: &DeadLetter) -> usize {
        if matches!(self.destination, Destination::Redrive) && letter.must_be_whole() {
            usize::try_from(2 * letter.size).unwrap_or(usize::MAX)
        } else {
            2 * letter.bytes.len()
        }
    }

    /// One call of the script; returns how many of the batch it came to.
    async fn step(
        &mut self,
        batch: &[(usize, Cow<'_, DeadLetter>)],
        gone: &mut i64,
    ) -> Result<usize, StoreError> {
        let keys = self.store.keys();
        let script = &self.store.scripts().take;
        let (verb, to, kept) = match self.destination {
            Destination::Redrive => ("redriven", keys.queue.clone(), 0),
            Destination::Edited => ("edited", keys.queue.clone(), 0),
            Destination::Trash(name) => ("dropped", keys.trash(name), TRASH_SECONDS),
        };
        let mut cmd = script.call(&[&keys.failed, &to, &keys.stats, &keys.audit]);
        cmd.arg(verb).arg(self.who).arg(kept);
        let mut put = Vec::with_capacity(batch.len());
        for (i, letter) in batch {
            let (replacement, replaced) = match self.destination {
                Destination::Trash(_) => (Bytes::new(), 0),
                Destination::Redrive if !letter.is_whole() => {
                    Opened::certain(&letter.bytes, letter.size).redriven()
                }
                Destination::Redrive | Destination::Edited => {
                    let fresh = || format!("{}-{}", self.token, i + 1);
                    let put = letter.envelope.clone().redriven(letter.origin, fresh);
                    (put, letter.size)
                }
            };
            cmd.arg(letter.place().saturating_add(*gone))
                .arg(&letter.bytes[..])
                .arg(letter.size)
                .arg(&replacement[..])
                .arg(replaced);
            match self.destination {
                Destination::Edited => cmd.arg(before_edit(letter)),
                _ => cmd.arg(letter.id()),
            };
            put.push(if replaced == 0 && replacement.is_empty() {
                letter.bytes.clone()
            } else {
                replacement
            });
        }
        let mut reply = self.store.run_bulk(script, &cmd).await?;
        let seen: usize = reply.next()?;
        if seen == 0 {
            return Err(StoreError::Answer(
                "the dead letter queue did not move".into(),
            ));
        }
        for (((i, _), put), value) in batch.iter().zip(put).zip(reply.values) {
            if convert::<i64>(value)? == 1 {
                self.moved[*i] = Some(put);
                *gone += 1;
            }
        }
        Ok(seen)
    }
}

/// The bytes that an entry takes of a request: once to find it by, once to put in its place.
fn weight((_, letter): &(usize, Cow<'_, DeadLetter>)) -> usize {
    2 * letter.bytes.len()
}

/// What the audit says of an edited letter: its id, and the lead as it was.
fn before_edit(letter: &DeadLetter) -> Vec<u8> {
    let (before, _) = Envelope::from_dead_letter(&letter.bytes);
    [letter.id().as_bytes(), b" was ", &before.lead[..]].concat()
}
