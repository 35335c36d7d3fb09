//! Tells the log of dead letters: once for each cause, and then at most every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bridge_shared::cause::Cause;
use bridge_shared::envelope::ErrorKind;

use super::Context;

/// Time between two warnings about the same cause.
const REMINDER: Duration = Duration::from_secs(5);
/// Time after which a cause that killed no more leads is forgotten.
const MEMORY: Duration = Duration::from_secs(60);
/// Causes that are told apart at once; the leads of further ones are counted together.
const CAUSES_MAX: usize = 50;
/// Time between two looks for what is due.
const TICK: Duration = Duration::from_secs(1);

/// The dead letters that the log was told of, or not yet.
#[derive(Debug, Default)]
pub(super) struct Deaths(Mutex<HashMap<String, Entry>>);

/// One cause. That of all that are too many has no name.
#[derive(Debug)]
struct Entry {
    station: String,
    text: String,
    told: Instant,
    untold: u64,
}

impl Entry {
    fn tell(&mut self, cause: &str, now: Instant) {
        let (leads, station) = (std::mem::take(&mut self.untold), self.station.as_str());
        self.told = now;
        if cause.is_empty() {
            tracing::warn!(
                leads,
                "leads dead of more than {CAUSES_MAX} further causes; see: bridge dlq groups"
            );
        } else {
            tracing::warn!(
                leads,
                station,
                cause,
                "leads dead: {}; see: bridge dlq list --filter cause:{cause}",
                self.text
            );
        }
    }
}

impl Deaths {
    /// A lead was moved to the dead-letter queue.
    pub(super) fn note(&self, station: &str, kind: ErrorKind, error: &str) {
        let Cause { id, text } = Cause::new(station, kind, error);
        let now = Instant::now();
        let mut entries = self.lock();
        let id = if entries.len() < CAUSES_MAX || entries.contains_key(&id) {
            id
        } else {
            String::new()
        };
        if let Some(entry) = entries.get_mut(&id) {
            entry.untold += 1;
            return;
        }
        let mut entry = Entry {
            station: station.to_owned(),
            text,
            told: now,
            untold: 1,
        };
        entry.tell(&id, now);
        entries.insert(id, entry);
    }

    /// Tells what was not told for long enough; or all of it, at the end.
    fn tell(&self, now: Instant, is_end: bool) {
        self.lock().retain(|cause, entry| {
            let age = now.saturating_duration_since(entry.told);
            if entry.untold > 0 && (is_end || age >= REMINDER) {
                entry.tell(cause, now);
                return true;
            }
            entry.untold > 0 || age < MEMORY
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells until the engine ends.
pub(super) async fn run(context: Arc<Context>) {
    let pause = || context.end.run_until_cancelled(tokio::time::sleep(TICK));
    while pause().await.is_some() {
        context.deaths.tell(Instant::now(), false);
    }
    context.deaths.tell(Instant::now(), true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_bounded_and_no_lead_goes_uncounted() {
        let deaths = Deaths::default();
        for n in 0..200 {
            let letter = char::from(b'a' + u8::try_from(n % 26).expect("a letter"));
            let error = format!("no {}", letter.to_string().repeat(n + 1));
            deaths.note("s", ErrorKind::Permanent, &error);
            deaths.note("s", ErrorKind::Permanent, &error);
        }
        let untold = |deaths: &Deaths| {
            deaths
                .lock()
                .values()
                .map(|entry| entry.untold)
                .sum::<u64>()
        };
        assert_eq!(deaths.lock().len(), CAUSES_MAX + 1);
        // The first of each cause is told at once.
        assert_eq!(untold(&deaths), 400 - (CAUSES_MAX as u64 + 1));
        let now = Instant::now();
        deaths.tell(now, false);
        assert_eq!(
            untold(&deaths),
            400 - (CAUSES_MAX as u64 + 1),
            "told too often"
        );
        deaths.tell(now + REMINDER, false);
        assert_eq!(untold(&deaths), 0);
        deaths.tell(now + REMINDER + MEMORY, false);
        assert!(deaths.lock().is_empty());
    }
}
