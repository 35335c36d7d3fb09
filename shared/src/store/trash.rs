//! The trash: what was thrown away under one name comes back together, or ends with its day.

use std::collections::HashMap;

use bytes::Bytes;

use super::dead_letters::DeadLetter;
use super::look::AuditEntry;
use super::window::READ;
use super::{Store, StoreError};
use crate::clock::Millis;

/// How long what was thrown away is kept, in seconds.
pub const TRASH_SECONDS: u64 = 24 * 60 * 60;

/// Entries that come back from the trash in one step.
const RESTORE_BATCH: usize = 500;
/// Of which so many at once at first, where they are not known to be large.
const RESTORE_ASK: u64 = 8;
/// Keys that one step of looking for trashes goes over: well below a millisecond.
const SCAN: usize = 1_000;
/// Entries of the audit that are looked at for who threw something away, in steps of [`AUDIT_STEP`].
const AUDIT: u64 = 2_000;
/// Entries of the audit in one step.
const AUDIT_STEP: u64 = 200;

/// What was thrown away together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trash {
    /// Its name, as `bridge dlq restore` takes it.
    pub name: String,
    /// How many dead letters are in it.
    pub count: u64,
    /// When something was thrown into it last.
    pub thrown: Millis,
    /// When it ends, and what is in it with it.
    pub ends: Millis,
    /// Who threw it away: `user@host`; `None` where the audit does not tell any more.
    pub who: Option<String>,
}

impl Store {
    /// Throws all dead letters into the trash of a name, where they stay for a day; returns how
    /// many.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn clear_dead(&self, trash: &str, who: &str) -> Result<u64, StoreError> {
        let cleared: i64 = self.clear(trash, who, -1).await?;
        Ok(cleared.unsigned_abs())
    }

    /// Throws the oldest dead letters away, `most` of them: those that there were when an operator
    /// was asked. Returns how many; `None`, and nothing has moved, where so many have died since
    /// that they cannot be left out in one short step.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn clear_oldest(
        &self,
        trash: &str,
        who: &str,
        most: u64,
    ) -> Result<Option<u64>, StoreError> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        Ok(u64::try_from(self.clear(trash, who, most).await?).ok())
    }

    async fn clear(&self, trash: &str, who: &str, most: i64) -> Result<i64, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().clear;
        let mut cmd = script.call(&[&keys.failed, &keys.trash(trash), &keys.stats, &keys.audit]);
        cmd.arg(who).arg(TRASH_SECONDS).arg(most);
        self.run(script, &cmd).await?.next()
    }

    /// Brings back what was thrown away under a name, as the newest dead letters and in their old
    /// order; returns how many. Each step on the server is short; `progress` hears how many came
    /// back so far and may end the rest by `false`. Whoever listens is told of each, but of large ones.
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
        // The entries are only sent along as long as there is somebody to tell of them.
        let mut listeners = 1;
        let mut ask = RESTORE_ASK;
        loop {
            let mut cmd =
                script.call(&[&keys.trash(trash), &keys.failed, &keys.stats, &keys.audit]);
            cmd.arg(who).arg(RESTORE_BATCH).arg(READ);
            cmd.arg(u8::from(listeners > 0)).arg(ask);
            let mut reply = self.run_bulk(script, &cmd).await?;
            let (moved, left): (u64, u64) = (reply.next()?, reply.next()?);
            let entries: Vec<Bytes> = reply.rest()?;
            let why = "brought back from the trash";
            listeners = self.tell_dead(who, why, entries.iter()).await;
            restored += moved;
            // Few in a step are large ones.
            ask = (moved / 8).clamp(1, RESTORE_ASK);
            if !progress(restored) || left == 0 || moved == 0 {
                return Ok(restored);
            }
        }
    }

    /// The trashes that are there, the newest first.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn trashes(&self) -> Result<Vec<Trash>, StoreError> {
        let now = self.observe_time().await?;
        let prefix = self.keys().trash("");
        let mut trashes = HashMap::new();
        let mut cursor = 0_u64;
        loop {
            let mut cmd = redis::cmd("SCAN");
            cmd.arg(cursor).arg("MATCH").arg(literally(&prefix) + "*");
            cmd.arg("COUNT").arg(SCAN);
            let (next, found): (u64, Vec<String>) = self.query(&cmd).await?;
            for key in found {
                if let Some(trash) = self.trash(&key, &prefix, now).await? {
                    trashes.insert(key, trash);
                }
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        self.find_who(&mut trashes).await?;
        let mut trashes: Vec<Trash> = trashes.into_values().collect();
        trashes.sort_by(|a, b| (b.thrown, &a.name).cmp(&(a.thrown, &b.name)));
        Ok(trashes)
    }

    /// What a key says of a trash; `None` where it has ended meanwhile.
    async fn trash(
        &self,
        key: &str,
        prefix: &str,
        now: Millis,
    ) -> Result<Option<Trash>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("LLEN").arg(key);
        pipe.cmd("PTTL").arg(key);
        let (count, left): (u64, i64) = self.pipeline(&pipe).await?;
        let kept = i64::try_from(TRASH_SECONDS * 1_000).unwrap_or(i64::MAX);
        Ok((count > 0).then(|| Trash {
            name: key.strip_prefix(prefix).unwrap_or(key).to_owned(),
            count,
            thrown: now - (kept - left).max(0),
            ends: now + left.max(0),
            who: None,
        }))
    }

    /// Looks in the audit for who threw things away.
    async fn find_who(&self, trashes: &mut HashMap<String, Trash>) -> Result<(), StoreError> {
        let (mut seen, mut before) = (0, "+".to_owned());
        while seen < AUDIT && trashes.values().any(|trash| trash.who.is_none()) {
            let entries = self.audit_before(&before, AUDIT_STEP).await?;
            let Some((last, _)) = entries.last() else {
                break;
            };
            before = format!("({last}");
            seen += entries.len() as u64;
            for (
                _,
                AuditEntry {
                    who, what, detail, ..
                },
            ) in entries
            {
                let key = detail.split(' ').next().unwrap_or_default();
                if matches!(what.as_str(), "dropped" | "cleared")
                    && let Some(trash) = trashes.get_mut(key)
                {
                    trash.who.get_or_insert(who);
                }
            }
        }
        Ok(())
    }

    /// Looks into a trash without touching it, the newest first; returns how many there are in
    /// all, and those.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn trash_window(
        &self,
        trash: &str,
        start: u64,
        count: u64,
    ) -> Result<(u64, Vec<DeadLetter>), StoreError> {
        self.window_of(&self.keys().trash(trash), start, count)
            .await
    }
}

/// A pattern of `SCAN` that matches this text and nothing else.
pub(super) fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}
