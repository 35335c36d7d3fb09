//! What the stations of a route share: rates, money, what they found before, and their figures.

use std::time::Duration;

use super::{Store, StoreError};
use crate::money::Money;

/// How a shared rate answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paced {
    /// A moment is reserved, so long from now.
    In(Duration),
    /// Nothing is reserved: to be asked again, so long from now.
    Later(Duration),
    /// Nothing is reserved: the day's budget does not allow the call anyway.
    TooDear,
}

/// What a call asks of a shared rate.
#[derive(Debug, Clone, Copy)]
pub struct Pace<'a> {
    /// Whose rate: `<pipeline>/<station>`.
    pub scope: &'a str,
    /// Microseconds from one unit to the next.
    pub interval_us: f64,
    /// How many units the call takes.
    pub units: u64,
    /// The longest wait that is worth a reservation.
    pub patience: Duration,
    /// The longest time to be sent away for.
    pub longest: Duration,
}

/// A call's money: whose, how much, and within which budget.
#[derive(Debug, Clone, Copy)]
pub struct Purchase<'a> {
    /// The pipeline that spends it.
    pub pipeline: &'a str,
    /// What the call costs.
    pub cost: Money,
    /// What the whole fleet may spend on one day.
    pub daily_budget: Option<Money>,
}

impl Purchase<'_> {
    fn budget(&self) -> String {
        self.daily_budget
            .map_or_else(|| "-1".to_owned(), |budget| budget.micros().to_string())
    }
}

impl Store {
    /// Reserves the next free moment of a rate that all workers share.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. Where the answer was lost a moment may be reserved
    /// that nobody uses.
    pub async fn pace(
        &self,
        pace: &Pace<'_>,
        purchase: &Purchase<'_>,
    ) -> Result<Paced, StoreError> {
        let keys = self.keys();
        let script = &self.scripts().pace;
        let mut cmd = script.call(&[
            &keys.rate(pace.scope),
            &keys.spent(purchase.pipeline),
            &keys.budgets,
        ]);
        cmd.arg(pace.interval_us)
            .arg(pace.units)
            .arg(micros(pace.patience))
            .arg(micros(pace.longest))
            .arg(purchase.cost.micros())
            .arg(purchase.budget())
            .arg(purchase.pipeline);
        let mut reply = self.run(script, &cmd).await?;
        let (state, wait): (i64, u64) = (reply.next()?, reply.next()?);
        let wait = Duration::from_micros(wait);
        Ok(match state {
            0 => Paced::In(wait),
            1 => Paced::Later(wait),
            _ => Paced::TooDear,
        })
    }

    /// Takes a call's cost out of the day's money; returns the day it was taken from, counted
    /// from the Unix epoch in UTC, or `None` where the day's budget does not allow it.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet. Where the answer was lost the money may be counted
    /// as spent all the same.
    pub async fn spend(&self, purchase: &Purchase<'_>) -> Result<Option<i64>, StoreError> {
        let script = &self.scripts().spend;
        let keys = self.keys();
        let mut cmd = script.call(&[&keys.spent(purchase.pipeline), &keys.budgets]);
        cmd.arg(purchase.cost.micros()).arg(purchase.budget());
        cmd.arg(purchase.pipeline);
        let mut reply = self.run(script, &cmd).await?;
        let (day, allowed): (i64, i64) = (reply.next()?, reply.next()?);
        Ok((allowed == 1).then_some(day))
    }

    /// Corrects a day's money once a call's real cost is known.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn settle(&self, pipeline: &str, day: i64, more: i64) -> Result<(), StoreError> {
        let mut pipe = redis::pipe();
        let key = self.keys().spent_on(pipeline, day);
        pipe.atomic().cmd("INCRBY").arg(&key).arg(more).ignore();
        pipe.cmd("EXPIRE").arg(&key).arg(8 * 86_400).ignore();
        self.pipeline(&pipe).await
    }

    /// What a pipeline has spent on a day, counted from the Unix epoch in UTC.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn spent(&self, pipeline: &str, day: i64) -> Result<Money, StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.keys().spent_on(pipeline, day));
        let micros: Option<i64> = self.query(&cmd).await?;
        // Below zero only for the moment between two corrections.
        let micros = u64::try_from(micros.unwrap_or(0)).unwrap_or(0);
        Ok(Money::from_micros(micros))
    }

    /// What a station found for the same question before. `scope` is `<pipeline>/<station>`.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn cached(&self, scope: &str, question: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let mut cmd = redis::cmd("GET");
        cmd.arg(self.keys().cache(scope, question));
        self.query(&cmd).await
    }

    /// Remembers for `ttl` what a station found.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn cache(
        &self,
        scope: &str,
        question: &str,
        found: &[u8],
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("SET");
        let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        cmd.arg(self.keys().cache(scope, question))
            .arg(found)
            .arg("PX")
            .arg(ms);
        self.query(&cmd).await
    }

    /// Adds what a worker's stations did to an hour's figures. `batch` is the number of this
    /// batch, from 1; sent again with the same number it counts once.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet; send the same batch again.
    pub async fn add_figures(
        &self,
        worker: &str,
        batch: u64,
        hour: i64,
        figures: &[(String, u64)],
    ) -> Result<(), StoreError> {
        let script = &self.scripts().tally;
        let mut cmd = script.call(&[&self.keys().stations(hour)]);
        cmd.arg(worker).arg(batch);
        for (field, more) in figures {
            cmd.arg(field).arg(more);
        }
        self.run(script, &cmd).await.map(drop)
    }

    /// Which lead came first with something within the time, this one included, and remembers
    /// this one where there was none. Without a time it only looks.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn first_seen(
        &self,
        what: &str,
        lead: &str,
        ttl: Option<Duration>,
    ) -> Result<String, StoreError> {
        let script = &self.scripts().seen;
        let mut cmd = script.call(&[&self.keys().seen(what)]);
        let ms = ttl.map_or(0, |ttl| ttl.as_millis().max(1));
        cmd.arg(lead).arg(u64::try_from(ms).unwrap_or(u64::MAX));
        self.run(script, &cmd).await?.next()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
