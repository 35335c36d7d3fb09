//! Reading the dead letter queue, and moving entries out of it.

use std::borrow::Cow;

use bytes::Bytes;

use super::trash::TRASH_SECONDS;
use super::window::{Piece, READ};
use super::{Store, StoreError, convert};
use crate::clock::Millis;
use crate::envelope::{Envelope, Opened, Origin};
use crate::event::{Event, EventBatch, EventKind};
use crate::filter::Filter;
use crate::filter::needle::Fit;
use crate::lead;

/// Entries that one call may move. The script stops by itself before it holds the server too
/// long, so this bounds the request, not the work.
const BATCH: usize = 200;
/// Entries that one step of reading by place goes over.
const RUN: u64 = 500;
/// The largest entry that is read whole, in bytes, to be put back to work or looked into.
const READ_WHOLE: u64 = 16 << 20;
/// How far around the place where an entry was seen it is looked for.
const AROUND: i64 = 64;

/// An entry of the dead letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its place when it was read, 0 the newest, at the left end.
    pub index: u64,
    /// How many entries there were when it was read.
    pub of: u64,
    /// Its bytes, or the first of them where it is too large to be read with others.
    pub bytes: Bytes,
    /// How many bytes it has in all.
    pub size: u64,
    /// The lead and its history; of a lead that is not here whole, its beginning.
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
            size: bytes.len() as u64,
            bytes,
            envelope,
            origin,
        }
    }

    fn of_piece(index: u64, of: u64, piece: Piece) -> Self {
        if piece.is_whole() {
            return Self::new(index, of, piece.bytes);
        }
        let Opened {
            envelope, origin, ..
        } = Opened::new(&piece.bytes, piece.size);
        Self {
            index,
            of,
            bytes: piece.bytes,
            size: piece.size,
            envelope,
            origin,
        }
    }

    /// Whether all of it is here. [`Store::whole_dead`] reads the rest.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }

    /// About how many bytes its lead has: what is missing of the entry is missing of the lead.
    #[must_use]
    pub fn lead_size(&self) -> u64 {
        self.envelope.lead.len() as u64 + (self.size - self.bytes.len() as u64)
    }

    /// Whether its lead can be worked on, as far as is seen of it.
    #[must_use]
    pub fn is_lead(&self) -> bool {
        if self.is_whole() {
            self.envelope.is_lead()
        } else {
            lead::begins_as_object(&self.envelope.lead)
        }
    }

    /// Whether another reading is of the same entry.
    fn is_same(&self, other: &Self) -> bool {
        self.is_of(&other.bytes, other.size)
    }

    /// Whether an entry of `size` bytes that begins with these is the same.
    fn is_of(&self, bytes: &[u8], size: u64) -> bool {
        let both = self.bytes.len().min(bytes.len());
        self.size == size && self.bytes[..both] == bytes[..both]
    }

    /// Whether it must be read whole to be put back to work: its beginning does not tell with
    /// certainty where the lead is. The largest are taken for leads as they are.
    fn must_be_whole(&self) -> bool {
        !self.is_whole() && self.size <= READ_WHOLE && {
            let opened = Opened::new(&self.bytes, self.size);
            opened.origin != Origin::Envelope || opened.lead_bytes().is_none()
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

/// What a filter says of a dead letter that may be large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It matches.
    Fits(Fit),
    /// It does not.
    Not,
    /// It was not there any more to be read whole.
    Gone,
    /// It is too large to be looked into: neither a term nor its opposite matches it.
    TooLarge,
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
        self.window_of(&self.keys().failed, start, count).await
    }

    /// Reads a window, of one entry at least, of a list of dead letters.
    pub(super) async fn window_of(
        &self,
        key: &str,
        start: u64,
        count: u64,
    ) -> Result<(u64, Vec<DeadLetter>), StoreError> {
        // The server can count no further.
        let first = i64::try_from(start).unwrap_or(i64::MAX);
        let last = i64::try_from(start.saturating_add(count.max(1)) - 1).unwrap_or(i64::MAX);
        let (total, pieces) = self.window(key, first, last).await?;
        let letters = (start..)
            .zip(pieces)
            .map(|(index, piece)| DeadLetter::of_piece(index, total, piece));
        Ok((total, letters.collect()))
    }

    /// A dead letter with all of its bytes, where they are not at hand already: then they are read.
    /// It is looked for a little around the place where it was seen; `None` where it is not there.
    /// A large one holds the server up as long as it takes to copy it.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn whole_dead<'l>(
        &self,
        letter: &'l DeadLetter,
    ) -> Result<Option<Cow<'l, DeadLetter>>, StoreError> {
        if letter.is_whole() {
            return Ok(Some(Cow::Borrowed(letter)));
        }
        let whole = self.whole_near(letter, letter.place()).await?;
        Ok(whole.map(|(_, whole)| Cow::Owned(whole)))
    }

    /// Asks a filter of a dead letter, `now` being the server's time. One that is not at hand whole
    /// is read, where only all of it can tell.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn look_into(
        &self,
        filter: &Filter,
        letter: &DeadLetter,
        now: Millis,
    ) -> Result<Looked, StoreError> {
        let says = |letter: &DeadLetter| filter.fit(letter, now).map_or(Looked::Not, Looked::Fits);
        if !filter.must_look_into(letter, now) {
            return Ok(says(letter));
        }
        if letter.size > READ_WHOLE {
            return Ok(Looked::TooLarge);
        }
        let whole = self.whole_dead(letter).await?;
        Ok(whole.map_or(Looked::Gone, |whole| says(&whole)))
    }

    /// Reads the whole of an entry at a place, or a little around it; returns where it was found.
    async fn whole_near(
        &self,
        letter: &DeadLetter,
        place: i64,
    ) -> Result<Option<(i64, DeadLetter)>, StoreError> {
        if let Some(whole) = self.whole_at(letter, place).await? {
            return Ok(Some((place, whole)));
        }
        let (first, last) = (place.saturating_sub(AROUND), (place + AROUND).min(-1));
        let (total, pieces) = self.window(&self.keys().failed, first, last).await?;
        let first = first.max(-i64::try_from(total).unwrap_or(i64::MAX));
        for (place, piece) in (first..).zip(pieces) {
            if letter.is_of(&piece.bytes, piece.size)
                && let Some(whole) = self.whole_at(letter, place).await?
            {
                return Ok(Some((place, whole)));
            }
        }
        Ok(None)
    }

    async fn whole_at(
        &self,
        letter: &DeadLetter,
        place: i64,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let mut cmd = redis::cmd("LINDEX");
        cmd.arg(&self.keys().failed).arg(place);
        let bytes: Option<Vec<u8>> = self.query(&cmd).await?;
        let bytes = bytes.filter(|bytes| letter.is_of(bytes, bytes.len() as u64));
        Ok(bytes.map(|bytes| DeadLetter::new(letter.index, letter.of, bytes.into())))
    }

    /// Looks through the whole queue for letters that are no longer where they were seen; tells
    /// the number of each that is still there, and where it is now.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn find_again(
        &self,
        letters: &[&DeadLetter],
    ) -> Result<Vec<(usize, DeadLetter)>, StoreError> {
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = letters
            .iter()
            .map(|letter| letter.id().to_owned())
            .collect();
        let found = self.find_dead(&ids).await?.into_iter();
        let same = |found: DeadLetter| {
            let i = letters.iter().position(|letter| letter.is_same(&found))?;
            Some((i, found))
        };
        Ok(found.filter_map(same).collect())
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
    pub(super) async fn tell_dead<'a>(
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
        let told = self.publish(&EventBatch::new(who, events)).await;
        told.unwrap_or_else(|error| {
            tracing::warn!(%error, "what came back could not be told over pub/sub");
            0
        })
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
            let place = |place: u64| -i64::try_from(place).unwrap_or(i64::MAX);
            let (_, pieces) = self
                .window(&self.keys().failed, place(last), place(first))
                .await?;
            // A list that is shorter than the last place answers with what there is.
            let oldest_first = (first..).zip(pieces.into_iter().rev());
            let wanted = oldest_first.filter(|(place, _)| run.binary_search(place).is_ok());
            found.extend(wanted.map(|(place, piece)| DeadLetter::of_piece(0, place, piece)));
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
        let mut reply = self.store.run(script, &cmd).await?;
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

/// Ten letters and digits that nobody else has.
#[must_use]
pub fn token() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..10)
        .map(|_| char::from(ALPHABET[fastrand::usize(..32)]))
        .collect()
}
