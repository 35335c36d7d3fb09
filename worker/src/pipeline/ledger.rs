//! What the stations did and cost, counted in this process until it is written to Redis.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use bridge_shared::money::Money;
use bridge_shared::stats::{LATENCY_BUCKETS, latency_bucket};
use bridge_shared::store::figures::{Stations, figure};

/// The counts of one station. Cheap to add to: a few relaxed additions for each call.
#[derive(Debug, Default)]
pub(super) struct Tally {
    calls: AtomicU64,
    skipped: AtomicU64,
    cached: AtomicU64,
    unaffordable: AtomicU64,
    postponed: AtomicU64,
    cost: AtomicU64,
    tokens_in: AtomicU64,
    tokens_out: AtomicU64,
    failed: [AtomicU64; ENDS.len()],
    latency: [AtomicU64; LATENCY_BUCKETS],
}

/// How a call may end badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadEnd {
    /// It said so.
    Failed(ErrorKind),
    /// Nobody waited for it any longer: the lead's time was up, or the lead was given back.
    Cancelled,
}

/// Every bad end that is counted by itself.
const ENDS: [BadEnd; 7] = [
    BadEnd::Failed(ErrorKind::Invalid),
    BadEnd::Failed(ErrorKind::Permanent),
    BadEnd::Failed(ErrorKind::Transient),
    BadEnd::Failed(ErrorKind::Timeout),
    BadEnd::Failed(ErrorKind::Panic),
    BadEnd::Failed(ErrorKind::Unknown),
    BadEnd::Cancelled,
];

impl BadEnd {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.as_str(),
            Self::Cancelled => "cancelled",
        }
    }
}

/// Something that a station's tally counts one by one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Skipped,
    Cached,
    Unaffordable,
    Postponed,
}

impl Tally {
    /// Counts a call: how long it took, what it cost, and how it ended where it ended badly.
    pub(super) fn call(
        &self,
        time: Duration,
        cost: Money,
        tokens: (u64, u64),
        bad: Option<BadEnd>,
    ) {
        let add = |counter: &AtomicU64, n: u64| {
            if n > 0 {
                counter.fetch_add(n, Ordering::Relaxed);
            }
        };
        add(&self.calls, 1);
        add(&self.latency[latency_bucket(time)], 1);
        add(&self.cost, cost.micros());
        add(&self.tokens_in, tokens.0);
        add(&self.tokens_out, tokens.1);
        if let Some(bad) = bad {
            let known = ENDS.iter().position(|end| *end == bad);
            let unknown = BadEnd::Failed(ErrorKind::Unknown);
            let end = known.or_else(|| ENDS.iter().position(|end| *end == unknown));
            add(&self.failed[end.unwrap_or(0)], 1);
        }
    }

    /// Counts one of something.
    pub(super) fn count(&self, what: Count) {
        let counter = match what {
            Count::Skipped => &self.skipped,
            Count::Cached => &self.cached,
            Count::Unaffordable => &self.unaffordable,
            Count::Postponed => &self.postponed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes everything counted since the last time, by the name of its figure.
    fn take(&self) -> Vec<(String, u64)> {
        let plain = [
            ("calls", &self.calls),
            ("skipped", &self.skipped),
            ("cached", &self.cached),
            ("unaffordable", &self.unaffordable),
            ("postponed", &self.postponed),
            ("cost", &self.cost),
            ("tokens_in", &self.tokens_in),
            ("tokens_out", &self.tokens_out),
        ];
        let plain = plain
            .into_iter()
            .map(|(name, counter)| (name.to_owned(), counter));
        let failed = ENDS
            .iter()
            .map(|end| format!("failed:{}", end.as_str()))
            .zip(&self.failed);
        let latency = (0..)
            .map(|bucket: usize| format!("latency:{bucket}"))
            .zip(&self.latency);
        plain
            .chain(failed)
            .chain(latency)
            .map(|(name, counter)| (name, counter.swap(0, Ordering::Relaxed)))
            .filter(|(_, n)| *n > 0)
            .collect()
    }
}

/// What a day's money is to be corrected by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Debt {
    /// The pipeline that spent it.
    pub(crate) pipeline: String,
    /// The day, counted from the Unix epoch in UTC.
    pub(crate) day: i64,
    /// Micro-dollars.
    pub(crate) more: i64,
}

/// The tallies of every station of this process, whichever route they stand on: a route that is
/// replaced goes on counting where the old one stopped.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tallies: Mutex<BTreeMap<(String, String), Arc<Tally>>>,
    debts: Mutex<Vec<Debt>>,
    /// All that was ever taken.
    taken: Mutex<Stations>,
}

impl Ledger {
    /// The tally of a station.
    pub(super) fn tally(&self, pipeline: &str, station: &str) -> Arc<Tally> {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (pipeline.to_owned(), station.to_owned());
        Arc::clone(tallies.entry(key).or_default())
    }

    /// Takes all that was counted since the last time, under the names it is stored by.
    pub(crate) fn take(&self) -> Vec<(String, u64)> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut figures = Vec::new();
        for ((pipeline, station), tally) in tallies.iter() {
            let taken = tally.take().into_iter();
            figures.extend(taken.map(|(name, n)| (figure(pipeline, station, &name), n)));
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (figure, n) in &figures {
            taken.add(figure, *n);
        }
        figures
    }

    /// All that the stations of this process did, until it was taken last.
    pub(crate) fn stations(&self) -> Stations {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.clone()
    }

    /// Notes a correction of a day's money, to be made as soon as Redis answers.
    pub(crate) fn owe(&self, debt: Debt) {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        let same = debts
            .iter_mut()
            .find(|other| other.pipeline == debt.pipeline && other.day == debt.day);
        match same {
            Some(other) => other.more += debt.more,
            None => debts.push(debt),
        }
    }

    /// Takes the corrections that were not made yet.
    pub(crate) fn take_debts(&self) -> Vec<Debt> {
        std::mem::take(&mut *self.debts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_taken_once_and_a_new_route_counts_on() {
        let ledger = Ledger::default();
        let tally = ledger.tally("main", "enrich");
        let ms = Duration::from_millis(1);
        tally.call(ms, Money::from_micros(20), (5, 7), None);
        let bad = BadEnd::Failed(ErrorKind::Timeout);
        tally.call(ms, Money::from_micros(20), (0, 0), Some(bad));
        ledger.tally("main", "enrich").count(Count::Skipped);
        let name = |name| figure("main", "enrich", name);
        assert_eq!(
            ledger.take(),
            [
                (name("calls"), 2),
                (name("skipped"), 1),
                (name("cost"), 40),
                (name("tokens_in"), 5),
                (name("tokens_out"), 7),
                (name("failed:timeout"), 1),
                (name("latency:6"), 2),
            ]
        );
        assert_eq!(ledger.take(), []);
    }

    #[test]
    fn corrections_of_a_day_are_made_together() {
        let ledger = Ledger::default();
        let debt = |day, more| Debt {
            pipeline: "main".into(),
            day,
            more,
        };
        for debt in [debt(1, 5), debt(2, 7), debt(1, -8)] {
            ledger.owe(debt);
        }
        assert_eq!(ledger.take_debts(), [debt(1, -3), debt(2, 7)]);
        assert_eq!(ledger.take_debts(), []);
    }
}
