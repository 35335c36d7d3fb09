//! How the figures went: second by second as long as the console has been open, minute by minute
//! for the day before.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bridge_shared::stats::{Minute, Snapshot};

/// How far back a chart goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Span {
    /// Five minutes.
    #[default]
    Minutes,
    /// One hour.
    Hour,
    /// 24 hours.
    Day,
}

impl Span {
    /// The next one, round and round.
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Minutes => Self::Hour,
            Self::Hour => Self::Day,
            Self::Day => Self::Minutes,
        }
    }

    /// In words.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Minutes => "5 min",
            Self::Hour => "1 h",
            Self::Day => "24 h",
        }
    }

    /// In seconds.
    pub(crate) const fn seconds(self) -> u32 {
        match self {
            Self::Minutes => 300,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

/// The figures of one moment, or the mean over a stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Point {
    /// Leads done per second.
    pub(crate) done: f64,
    /// Attempts that failed per second.
    pub(crate) failed: f64,
    /// Leads waiting; `None` where nobody counted.
    pub(crate) depth: Option<f64>,
}

/// Between two readings.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// When it ended, in milliseconds of server time.
    at: i64,
    /// How long it was, in seconds.
    seconds: f64,
    point: Point,
}

/// The figures over time.
#[derive(Debug, Default)]
pub(crate) struct Trend {
    samples: VecDeque<Sample>,
    last: Option<(Duration, i64, u64, u64)>,
    minutes: BTreeMap<i64, Minute>,
}

#[allow(clippy::cast_precision_loss)]
const fn float(n: u64) -> f64 {
    n as f64
}

impl Trend {
    /// Takes a reading.
    pub(crate) fn read(&mut self, uptime: Duration, figures: &Snapshot) {
        let totals = &figures.totals;
        let failed = totals.retried + totals.dead;
        if let Some((then, _, done_then, failed_then)) = self.last
            && let seconds = uptime.saturating_sub(then).as_secs_f64()
            && seconds > 0.05
        {
            // A total that went back belongs to another Redis: nothing can be said of between.
            let (Some(done), Some(failed)) = (
                totals.done.checked_sub(done_then),
                failed.checked_sub(failed_then),
            ) else {
                self.samples.clear();
                self.last = None;
                return;
            };
            self.samples.push_back(Sample {
                at: figures.now,
                seconds,
                point: Point {
                    done: float(done) / seconds,
                    failed: float(failed) / seconds,
                    depth: Some(float(figures.waiting)),
                },
            });
        }
        self.last = Some((uptime, figures.now, totals.done, failed));
        let oldest = figures.now - 310_000;
        while self
            .samples
            .front()
            .is_some_and(|sample| sample.at < oldest)
        {
            self.samples.pop_front();
        }
    }

    /// Takes minutes, in place of those known before.
    pub(crate) fn learn(&mut self, minutes: Vec<Minute>) {
        for minute in minutes {
            self.minutes.insert(minute.minute, minute);
        }
        while self.minutes.len() > 1_500 {
            self.minutes.pop_first();
        }
    }

    /// The mean of the last ten seconds; `None` before there were two readings.
    pub(crate) fn lately(&self) -> Option<Point> {
        let last = self.samples.back()?.at;
        self.sampled(last - 10_000, last)
    }

    /// The span up to now, in `columns` stretches of the same length, the oldest first; `None`
    /// where nothing is known.
    pub(crate) fn points(&self, now: i64, span: Span, columns: usize) -> Vec<Option<Point>> {
        let all = i64::from(span.seconds()) * 1_000;
        let columns = i64::try_from(columns).unwrap_or(i64::MAX);
        let edge = |column: i64| now - all + all * column / columns;
        (0..columns)
            .map(|column| self.mean(edge(column), edge(column + 1), now))
            .collect()
    }

    /// The mean over a stretch: of samples where there are any, else of the minutes it touches.
    fn mean(&self, from: i64, to: i64, now: i64) -> Option<Point> {
        if self
            .samples
            .front()
            .is_some_and(|first| from >= first.begin())
        {
            return self.sampled(from, to);
        }
        let (mut sum, mut length) = (Point::default(), 0.0);
        let touched = from.div_euclid(60_000)..=(to - 1).div_euclid(60_000);
        for (minute, counts) in self.minutes.range(touched) {
            // The running minute has not had its 60 seconds yet.
            let begun = (now - minute * 60_000).clamp(1_000, 60_000);
            sum.done += float(counts.done);
            sum.failed += float(counts.failed);
            sum.depth = counts.depth.map(float).or(sum.depth);
            length += float(begun.unsigned_abs()) / 1_000.0;
        }
        sum.over(length)
    }

    /// The mean of the samples that end in a stretch; where none does, the one around it.
    fn sampled(&self, from: i64, to: i64) -> Option<Point> {
        let first = self.samples.partition_point(|sample| sample.at <= from);
        let (mut sum, mut length) = (Point::default(), 0.0);
        for sample in self
            .samples
            .range(first..)
            .take_while(|sample| sample.at <= to)
        {
            sum.done += sample.point.done * sample.seconds;
            sum.failed += sample.point.failed * sample.seconds;
            sum.depth = sample.point.depth;
            length += sample.seconds;
        }
        let around = || {
            // The last second may not have been read yet; anything longer is not known.
            let near = |sample: &&Sample| sample.begin() <= to && from - sample.at < 2_000;
            let next = self.samples.get(first).or(self.samples.back());
            next.filter(near).map(|sample| sample.point)
        };
        sum.over(length).or_else(around)
    }
}

impl Sample {
    fn begin(&self) -> i64 {
        #[allow(clippy::cast_possible_truncation)]
        let length = (self.seconds * 1_000.0) as i64;
        self.at - length
    }
}

impl Point {
    /// Counts made over a time in seconds, as rates; `None` over no time.
    fn over(self, seconds: f64) -> Option<Self> {
        (seconds > 0.0).then(|| Self {
            done: self.done / seconds,
            failed: self.failed / seconds,
            depth: self.depth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(now: i64, done: u64, waiting: u64) -> Snapshot {
        let mut figures = Snapshot {
            now,
            waiting,
            ..Snapshot::default()
        };
        figures.totals.done = done;
        figures
    }

    #[test]
    fn seconds_come_from_readings_and_what_was_before_from_minutes() {
        let mut trend = Trend::default();
        let minute = |minute, done| Minute {
            minute,
            done,
            failed: done / 10,
            dead: 0,
            depth: Some(5),
        };
        trend.learn((0..10).map(|n| minute(n, 600)).collect());
        let now = 600_000;
        for second in 0..=60_u32 {
            let at = now - 60_000 + i64::from(second) * 1_000;
            let done = u64::from(second) * 20;
            trend.read(
                Duration::from_secs(u64::from(second)),
                &figures(at, done, 7),
            );
        }
        let known = |span, columns| {
            trend
                .points(now, span, columns)
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect::<Vec<_>>()
        };
        let points = known(Span::Minutes, 300);
        assert_eq!(points.len(), 300);
        assert!((points[299].done - 20.0).abs() < 0.01 && points[299].depth == Some(7.0));
        assert!((points[0].done - 10.0).abs() < 0.01 && points[0].depth == Some(5.0));
        assert!((points[0].failed - 1.0).abs() < 0.01);
        assert_eq!(trend.points(now, Span::Day, 24)[0], None);
        // Nothing is made up for the time after the last reading.
        let later = trend.points(now + 60_000, Span::Minutes, 300);
        assert!(later[299].is_none() && later[243].is_none() && later[238].is_some());
    }

    #[test]
    fn another_redis_behind_the_same_name_makes_no_nonsense() {
        let mut trend = Trend::default();
        trend.read(Duration::from_secs(1), &figures(1_000, 900, 0));
        trend.read(Duration::from_secs(2), &figures(2_000, 3, 0));
        trend.read(Duration::from_secs(3), &figures(3_000, 3, 0));
        assert_eq!(trend.lately(), None);
        trend.read(Duration::from_secs(4), &figures(4_000, 5, 0));
        assert!(
            trend
                .lately()
                .is_some_and(|now| (now.done - 2.0).abs() < f64::EPSILON)
        );
    }
}
