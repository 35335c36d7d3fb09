//! The names of everything the bridge keeps in Redis. Nothing else builds a key.
//!
//! All are made from the three names an operator can choose ([`names`]). On Redis Cluster
//! give those three one hash tag (`{leads}_to_enrich`, `{leads}_failed`, `{leads}_enriched`).

use crate::names;

/// The keys of one bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// List: waiting leads, taken from the right end.
    pub queue: String,
    /// List: dead letters, newest at the left end.
    pub failed: String,
    /// Stream: enriched leads.
    pub enriched: String,
    /// Sorted set: envelopes by the time they are due, in milliseconds.
    pub retry: String,
    /// Sorted set: workers by the time their lease ends, in milliseconds.
    pub workers: String,
    /// Hash: what each worker says of itself.
    pub workers_info: String,
    /// Hash: workers that were lost, with what was recovered of them; ends a day after the last.
    pub lost: String,
    /// Hash: `finder`, until when no worker searches for leads of workers that are not registered; ends
    /// with the last worker, or after a day.
    pub workers_state: String,
    /// Hash: since when the daily budget of each pipeline refuses calls; ends after eight days.
    pub budgets: String,
    /// String: written by who wants to know whether Redis accepts a write; ends after a minute.
    pub probe: String,
    /// Hash: totals since the beginning. `<stats>:<minute>` holds one minute, for a day.
    pub stats: String,
    /// Channel: events.
    pub events: String,
    /// Stream: who changed what.
    pub audit: String,
    /// String: set while work is paused.
    pub paused: String,
    /// List: leads that a console wants tried, for a minute.
    pub trials: String,
}

impl Keys {
    /// What may follow the name of the queue and a colon, up to the next colon. No other name may
    /// begin so: see [`Keys::check`].
    pub const OF_QUEUE: [&str; 16] = [
        "active", "audit", "budgets", "cache", "events", "paused", "probe", "push", "rate",
        "retry", "seen", "spent", "stations", "stats", "try", "workers",
    ];
    /// The same for the name of the dead letter queue.
    pub const OF_FAILED: [&str; 1] = ["trash"];

    /// The keys that go with a queue, a dead letter queue and a stream.
    #[must_use]
    pub fn new(queue: &str, failed: &str, enriched: &str) -> Self {
        let with = |suffix: &str| format!("{queue}:{suffix}");
        Self {
            queue: queue.to_owned(),
            failed: failed.to_owned(),
            enriched: enriched.to_owned(),
            retry: with("retry"),
            workers: with("workers"),
            workers_info: with("workers:info"),
            lost: with("workers:lost"),
            workers_state: with("workers:state"),
            budgets: with("budgets"),
            probe: with("probe"),
            stats: with("stats"),
            events: with("events"),
            audit: with("audit"),
            paused: with("paused"),
            trials: with("try"),
        }
    }

    /// The keys of fixed names, and the type of each.
    #[must_use]
    pub fn types(&self) -> [(&str, &'static str); 14] {
        [
            (&self.queue, "list"),
            (&self.failed, "list"),
            (&self.enriched, "stream"),
            (&self.retry, "zset"),
            (&self.workers, "zset"),
            (&self.workers_info, "hash"),
            (&self.lost, "hash"),
            (&self.workers_state, "hash"),
            (&self.budgets, "hash"),
            (&self.probe, "string"),
            (&self.stats, "hash"),
            (&self.audit, "stream"),
            (&self.paused, "string"),
            (&self.trials, "list"),
        ]
    }

    /// Hash: what a worker has in hand, by delivery number; and by `batch:<lane>` the number of the
    /// first in that lane's list.
    #[must_use]
    pub fn active(&self, worker: &str) -> String {
        format!("{}:active:{worker}", self.queue)
    }

    /// List: what a worker has in hand by one of its lanes, as it came.
    #[must_use]
    pub fn batch(&self, worker: &str, lane: usize) -> String {
        format!("{}:{lane}", self.active(worker))
    }

    /// Hash: the counts of one minute since the epoch.
    #[must_use]
    pub fn minute(&self, minute: i64) -> String {
        format!("{}:{minute}", self.stats)
    }

    /// Hash: what the stations did in one hour since the epoch; ends after 25 hours.
    #[must_use]
    pub fn stations(&self, hour: i64) -> String {
        format!("{}:stations:{hour}", self.queue)
    }

    /// What a pipeline spends. `<spent>:<day>` holds one day, in micro-dollars, for eight days.
    #[must_use]
    pub fn spent(&self, pipeline: &str) -> String {
        format!("{}:spent:{pipeline}", self.queue)
    }

    /// String: what a pipeline has spent on one day since the epoch.
    #[must_use]
    pub fn spent_on(&self, pipeline: &str, day: i64) -> String {
        format!("{}:{day}", self.spent(pipeline))
    }

    /// Hash: when a station's rate is free again; ends a second after that.
    #[must_use]
    pub fn rate(&self, scope: &str) -> String {
        format!("{}:rate:{scope}", self.queue)
    }

    /// String: what a station found for a question; ends when the route says.
    #[must_use]
    pub fn cache(&self, scope: &str, question: &str) -> String {
        format!("{}:cache:{scope}:{question}", self.queue)
    }

    /// String: the lead that came first with something; ends when the route says.
    #[must_use]
    pub fn seen(&self, what: &str) -> String {
        format!("{}:seen:{what}", self.queue)
    }

    /// String: the number of the last batch that one run of a producer has pushed.
    #[must_use]
    pub fn push_run(&self, run: &str) -> String {
        format!("{}:push:{run}", self.queue)
    }

    /// What the keys of claims begin with. String: when a run of a producer that leaves out known
    /// people pushed this person. It ends by itself.
    #[must_use]
    pub fn claims(&self) -> String {
        format!("{}:push:person:", self.queue)
    }

    /// String: what came of a lead that was tried, for five minutes.
    #[must_use]
    pub fn trial(&self, token: &str) -> String {
        format!("{}:{token}", self.trials)
    }

    /// List: dead letters thrown away together, kept for a day.
    #[must_use]
    pub fn trash(&self, name: &str) -> String {
        format!("{}:trash:{name}", self.failed)
    }
}

impl Default for Keys {
    /// The names of the wire contract.
    fn default() -> Self {
        Self::new(
            names::DEFAULT_QUEUE,
            names::DEFAULT_FAILED,
            names::DEFAULT_ENRICHED,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keys {
        /// One key of each kind, besides the three lists.
        pub(crate) fn every(&self) -> Vec<String> {
            let fixed = self.types().into_iter().skip(3);
            let fixed = fixed.map(|(key, _)| key.to_owned());
            fixed
                .chain([
                    self.events.clone(),
                    self.active("w"),
                    self.batch("w", 1),
                    self.minute(7),
                    self.stations(7),
                    self.spent("p"),
                    self.spent_on("p", 7),
                    self.rate("p/s"),
                    self.cache("p/s", "x"),
                    self.seen("x"),
                    self.push_run("x"),
                    self.trial("x"),
                    self.trash("x"),
                ])
                .collect()
        }
    }

    #[test]
    fn every_key_that_is_built_here_is_known_as_one() {
        let known = [&Keys::OF_QUEUE[..], &Keys::OF_FAILED].concat();
        let source = include_str!("keys.rs");
        let source = source.split("mod tests").next().expect("the code");
        let mut built = 0;
        for begins in ["with(\"", "format!(\"{}:"] {
            for rest in source.split(begins).skip(1) {
                let word = rest.split(['"', ':']).next().unwrap_or_default();
                built += 1;
                assert!(
                    word.starts_with('{') || known.contains(&word),
                    "{word} is missing in OF_QUEUE"
                );
            }
        }
        assert!(built > 15, "{built}");
        for key in Keys::default().every() {
            assert!(Keys::default().reserved(&key).is_some(), "{key}");
        }
    }
}
