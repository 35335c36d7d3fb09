//! Reading the queue: by windows, by places, by ids, from one end to the other; and the whole of a
//! large entry.

use std::borrow::Cow;

use super::{DeadLetter, READ_WHOLE};
use crate::clock::Millis;
use crate::filter::Filter;
use crate::filter::needle::Fit;
use crate::store::{Store, StoreError};

/// Entries that one step of reading by place goes over.
const RUN: u64 = 500;
/// How far around the place where an entry was seen it is looked for.
const AROUND: i64 = 64;

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
    pub(in crate::store) async fn window_of(
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
    pub(super) async fn whole_near(
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
        let bytes: Option<Vec<u8>> = self.query_bulk(&cmd).await?;
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
