//! Reading the dead letter queue, and moving entries out of it.

use bytes::Bytes;

use super::{Store, StoreError, convert};
use crate::envelope::{Envelope, Origin};

/// How long what was thrown away is kept, in seconds.
pub const TRASH_SECONDS: u64 = 24 * 60 * 60;

/// Entries that one call may move. The script stops by itself before it holds the server too
/// long, so this bounds the request, not the work.
const BATCH: usize = 200;
/// Entries that one step of reading by place goes over.
const RUN: u64 = 500;
/// The last index that the server can count to.
const LAST_INDEX: u64 = i64::MAX as u64;
/// Entries that come back from the trash in one step.
const RESTORE_BATCH: usize = 500;

/// An entry of the dead letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place when it was read, 0 the newest, at the left end.
    pub index: u64,
    /// How many entries there were when it was read.
    pub of: u64,
    /// Its bytes.
    pub bytes: Bytes,
    /// The lead and its history.
    pub envelope: Envelope,
    /// Who wrote it.
    pub origin: Origin,
}

impl DeadLetter {
    /// Takes an entry apart.
    #[must_use]
    pub fn new(index: u64, of: u64, bytes: Bytes) -> Self {
        let (envelope, origin) = Envelope::from_dead_letter(&bytes);
        Self {
            index,
            of,
            bytes,
            envelope,
            origin,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.envelope.id
    }

    /// Its place counted from the right end, -1 the oldest: that stays true while new entries
    /// arrive at the left.
    #[must_use]
    fn place(&self) -> i64 {
        -i64::try_from(self.from_end()).unwrap_or(i64::MAX)
    }

    /// Its place counted from the oldest, which is 1. New entries do not change it.
    #[must_use]
    pub fn from_end(&self) -> u64 {
        self.of.saturating_sub(self.index)
    }
}

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

impl Store {
    /// How many dead letters there are.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn dead_count(&self) -> Result<u64, StoreError> {
        let mut cmd = redis::cmd("LLEN");
        cmd.arg(&self.keys().failed);
        self.query(&cmd).await
    }

    /// Reads a window of the dead letter queue, newest first; returns it and how many there are
    /// in all.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn dead_window(
        &self,
        start: u64,
        count: u64,
    ) -> Result<(u64, Vec<DeadLetter>), StoreError> {
        if count == 0 {
            return Ok((self.dead_count().await?, Vec::new()));
        }
        let script = &self.scripts().window;
        let mut cmd = script.call(&[&self.keys().failed]);
        let last = start.saturating_add(count - 1).min(LAST_INDEX);
        cmd.arg(start.min(LAST_INDEX)).arg(last);
        let mut reply = self.run(script, &cmd).await?;
        let total: u64 = reply.next()?;
        let entries: Vec<Vec<u8>> = reply.rest()?;
        let letters = (start..)
            .zip(entries)
            .map(|(index, bytes)| DeadLetter::new(index, total, bytes.into()));
        Ok((total, letters.collect()))
    }

    /// Goes through the dead letter queue from the newest to the oldest, window by window.
    #[must_use]
    pub fn walk_dead(&self, window: u64) -> DeadWalk {
        self.walk_dead_from(0, window)
    }

    /// The same from the place `start` on.
    #[must_use]
    pub fn walk_dead_from(&self, start: u64, window: u64) -> DeadWalk {
        DeadWalk {
            store: self.clone(),
            start,
            window,
            left: None,
        }
    }

    /// Looks for entries by id; those that are not there are left out. Equal ids give the newest.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn find_dead(&self, ids: &[String]) -> Result<Vec<DeadLetter>, StoreError> {
        let mut wanted: std::collections::HashSet<&str> = ids.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        let mut walk = self.walk_dead(500);
        while !wanted.is_empty()
            && let Some(window) = walk.next().await?
        {
            found.extend(
                window
                    .into_iter()
                    .filter(|letter| wanted.remove(letter.id())),
            );
        }
        Ok(found)
    }

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

    /// Throws all dead letters into the trash of a name, where they stay for a day; returns how
    /// many.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn clear_dead(&self, trash: &str, who: &str) -> Result<u64, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().clear;
        let mut cmd = script.call(&[&keys.failed, &keys.trash(trash), &keys.stats, &keys.audit]);
        cmd.arg(who).arg(TRASH_SECONDS);
        self.run(script, &cmd).await?.next()
    }

    /// Brings back what was thrown away under a name, as the newest dead letters and in their old
    /// order; returns how many. Each step on the server is short; `progress` hears how many came
    /// back so far and may end the rest by `false`.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. What came back until then is back.
    pub async fn restore_dead(
        &self,
        trash: &str,
        who: &str,
        mut progress: impl FnMut(u64) -> bool,
    ) -> Result<u64, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().restore;
        let mut restored = 0;
        loop {
            let mut cmd =
                script.call(&[&keys.trash(trash), &keys.failed, &keys.stats, &keys.audit]);
            cmd.arg(who).arg(RESTORE_BATCH);
            let mut reply = self.run(script, &cmd).await?;
            let (moved, left): (u64, u64) = (reply.next()?, reply.next()?);
            restored += moved;
            if !progress(restored) || left == 0 || moved == 0 {
                return Ok(restored);
            }
        }
    }

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
            let found: Vec<i64> = self.run(script, &cmd).await?.rest()?;
            if found.is_empty() {
                return Err(StoreError::Answer("the waiting list did not move".into()));
            }
            back.extend(found.into_iter().map(|found| found == 1));
            if !progress(back.iter().filter(|back| **back).count()) {
                break;
            }
        }
        Ok(back)
    }

    /// Reads dead letters by their places counted from the oldest, which is 1; in no order. Those
    /// that are not there are left out. Places close together are read in one go.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn dead_at(&self, places: &[u64]) -> Result<Vec<DeadLetter>, StoreError> {
        let mut places = places.to_vec();
        places.sort_unstable();
        places.dedup();
        let mut found = Vec::new();
        // A gap ends a run, and so does its length: no step may hold the server up.
        let mut first = 0;
        let runs = places.chunk_by(|a, b| {
            if first == 0 {
                first = *a;
            }
            let goes_on = b - a <= 16 && b - first < RUN;
            if !goes_on {
                first = *b;
            }
            goes_on
        });
        for run in runs {
            let (first, last) = (run[0], run[run.len() - 1]);
            let mut cmd = redis::cmd("LRANGE");
            cmd.arg(&self.keys().failed);
            cmd.arg(format!("-{last}")).arg(format!("-{first}"));
            let entries: Vec<Vec<u8>> = self.query(&cmd).await?;
            // A list that is shorter than the last place answers with what there is.
            let oldest_first = (first..).zip(entries.into_iter().rev());
            let wanted = oldest_first.filter(|(place, _)| run.binary_search(place).is_ok());
            found.extend(wanted.map(|(place, bytes)| DeadLetter::new(0, place, bytes.into())));
        }
        Ok(found)
    }
}

/// A walk through the dead letter queue. New entries that come in at the left meanwhile are not
/// seen; where others take entries out, some may be seen twice.
#[derive(Debug)]
pub struct DeadWalk {
    store: Store,
    /// Where it begins.
    start: u64,
    window: u64,
    /// How many are still to be seen: the place is kept as a distance from the right end, which
    /// new entries do not change.
    left: Option<u64>,
}

impl DeadWalk {
    /// The next window; `None` at the end.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn next(&mut self) -> Result<Option<Vec<DeadLetter>>, StoreError> {
        let start = match self.left {
            None => self.start,
            Some(0) => return Ok(None),
            Some(left) => self.store.dead_count().await?.saturating_sub(left),
        };
        let (total, letters) = self.store.dead_window(start, self.window).await?;
        self.left = Some(total.saturating_sub(start + letters.len() as u64));
        Ok((!letters.is_empty()).then_some(letters))
    }
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
        let missed: Vec<String> = letters
            .iter()
            .zip(&self.moved)
            .filter(|(_, moved)| moved.is_none())
            .map(|(letter, _)| letter.id().to_owned())
            .collect();
        let mut elsewhere = letters.to_vec();
        let mut again = Vec::new();
        for found in self.store.find_dead(&missed).await? {
            let same = |i: &usize| self.moved[*i].is_none() && letters[*i].bytes == found.bytes;
            if let Some(i) = (0..letters.len()).find(same) {
                // Where it is now; what is to become of it stays.
                (elsewhere[i].index, elsewhere[i].of) = (found.index, found.of);
                again.push(i);
            }
        }
        self.pass(&elsewhere, again, progress).await.map(drop)
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
        let (mut at, mut gone) = (0, 0);
        while at < order.len() {
            let batch = &order[at..order.len().min(at + BATCH)];
            let seen = self.step(letters, batch, &mut gone).await?;
            at += seen;
            let so_far = self.moved.iter().flatten().count();
            if !progress(so_far) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One call of the script; returns how many of the batch it came to.
    async fn step(
        &mut self,
        letters: &[DeadLetter],
        batch: &[usize],
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
        for &i in batch {
            let letter = &letters[i];
            let replacement = match self.destination {
                Destination::Redrive | Destination::Edited => {
                    let fresh = || format!("{}-{}", self.token, i + 1);
                    letter.envelope.clone().redriven(letter.origin, fresh)
                }
                Destination::Trash(_) => Bytes::new(),
            };
            cmd.arg(letter.place().saturating_add(*gone))
                .arg(&letter.bytes[..])
                .arg(&replacement[..]);
            match self.destination {
                Destination::Edited => cmd.arg(before_edit(letter)),
                _ => cmd.arg(letter.id()),
            };
            put.push(if replacement.is_empty() {
                letter.bytes.clone()
            } else {
                replacement
            });
        }
        let mut reply = self.store.run(script, &cmd).await?;
        let seen: usize = reply.next()?;
        if seen == 0 {
            return Err(StoreError::Answer(
                "the dead letter queue did not move".into(),
            ));
        }
        for ((&i, put), value) in batch.iter().zip(put).zip(reply.values) {
            if convert::<i64>(value)? == 1 {
                self.moved[i] = Some(put);
                *gone += 1;
            }
        }
        Ok(seen)
    }
}

/// What the audit says of an edited letter: its id, and the lead as it was.
fn before_edit(letter: &DeadLetter) -> Vec<u8> {
    let (before, _) = Envelope::from_dead_letter(&letter.bytes);
    [letter.id().as_bytes(), b" was ", &before.lead[..]].concat()
}

/// Ten letters and digits that nobody else has.
#[must_use]
pub fn token() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..10)
        .map(|_| char::from(ALPHABET[fastrand::usize(..32)]))
        .collect()
}
