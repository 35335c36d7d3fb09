//! Accounts for every lead: where it is, how often it was worked on, and whether what was done to
//! the bridge explains that; and whether the figures agree with what is there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use bridge_shared::envelope::{Envelope, ErrorKind};
use bridge_shared::event::EventKind;
use bytes::Bytes;
use serde_json::Value;

use crate::news::News;
use crate::operators::Deeds;
use crate::plan::{Fate, Plan, Wrap, ms};
use crate::producers::{Known, Pushed};
use crate::reading::{Place, Reading};
use crate::record::{CLOCK_MOVED, Effect, Fault, On, Record, UNTOLD};
use crate::station::Call;

/// How long after a fault's end what was sent before it may still arrive.
const AFTERMATH: Duration = Duration::from_secs(1);

/// All that is known at the end of a run.
pub struct Account<'a> {
    pub plan: &'a Plan,
    pub record: &'a Record,
    pub faults: Vec<Fault>,
    pub pushed: HashMap<usize, Pushed>,
    pub calls: HashMap<usize, Vec<Call>>,
    /// How often each sink besides the stream has each lead.
    pub delivered: Vec<(&'static str, HashMap<usize, usize>)>,
    pub deeds: &'a Deeds,
    pub news: &'a News,
    pub reading: Reading,
}

impl Account<'_> {
    /// Everything that is not as it must be.
    pub fn violations(&self) -> Vec<String> {
        let mut places: BTreeMap<usize, Vec<&Place>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for place in &self.reading.places {
            match number_of(&place.lead) {
                Some(n) => places.entry(n).or_default().push(place),
                None => wrong.push(format!("something that is no lead: {place:?}")),
            }
        }
        let nowhere = places.keys().filter(|n| !self.pushed.contains_key(n));
        wrong.extend(nowhere.map(|n| format!("lead {n} came from nowhere")));
        let mut numbers: Vec<&usize> = self.pushed.keys().collect();
        numbers.sort_unstable();
        for n in numbers {
            let found = places.get(n).map_or(&[][..], Vec::as_slice);
            let lead = self.lead(*n, &self.pushed[n], found);
            wrong.extend(lead.into_iter().map(|what| self.about(*n, &what, found)));
        }
        wrong.extend(self.sums());
        wrong.extend(self.told());
        wrong
    }

    fn lead(&self, n: usize, pushed: &Pushed, found: &[&Place]) -> Vec<String> {
        let mut wrong = Vec::new();
        let may_be_gone = match pushed.known {
            Known::Unknown => true,
            Known::Accepted(at) => self.forgets(at, at),
        };
        match found {
            [] if may_be_gone => {}
            [] => wrong.push("is lost".into()),
            [place] => wrong.extend(self.outcome(n, pushed, place)),
            _ => wrong.push(format!("is in {} places", found.len())),
        }
        wrong.extend(self.deliveries(n, found));
        let calls = self.calls(n);
        if self.plan.wrap(n) == Wrap::Newer && !calls.is_empty() {
            wrong.push("is a newer version's and was worked on".into());
        }
        if self.plan.fate(n) == Fate::Hostile && !calls.is_empty() {
            wrong.push("is hostile and was worked on".into());
        }
        let pairs = calls.windows(2).map(|pair| (&pair[0], &pair[1]));
        for (earlier, later) in pairs {
            if !self.explains(n, earlier, later) {
                wrong.push(format!(
                    "was worked on again at {:.3} without a reason",
                    self.record.at(later.from)
                ));
            }
            let since = self.late(later).unwrap_or(earlier.from);
            if earlier.key != later.key && !self.forgets(since.min(earlier.from), later.from) {
                wrong.push(format!(
                    "changed its key: {} and {}",
                    earlier.key, later.key
                ));
            }
        }
        wrong
    }

    /// Whether every sink has a lead that came out, and no sink has it more often than it was worked
    /// on to its end: what explains that explains the sink's as well.
    fn deliveries(&self, n: usize, found: &[&Place]) -> Vec<String> {
        let came_out = found.iter().any(|place| place.at == "enriched");
        let worked = self
            .calls(n)
            .iter()
            .filter(|call| call.status == 200)
            .count();
        let wrong = |(sink, leads): &(&str, HashMap<usize, usize>)| {
            let times = leads.get(&n).copied().unwrap_or(0);
            if times > worked {
                return Some(format!(
                    "came to {sink} {times} times and was done {worked} times"
                ));
            }
            (came_out && times == 0).then(|| format!("came out and never to {sink}"))
        };
        self.delivered.iter().filter_map(wrong).collect()
    }

    fn calls(&self, n: usize) -> &[Call] {
        self.calls.get(&n).map_or(&[], Vec::as_slice)
    }

    /// Whether the one place where a lead is fits what happened to it.
    fn outcome(&self, n: usize, pushed: &Pushed, place: &Place) -> Option<String> {
        let calls = self.calls(n);
        let newer = self.plan.wrap(n) == Wrap::Newer;
        match place.at {
            "enriched" if self.plan.fate(n) == Fate::Hostile => {
                Some("is hostile and came out".into())
            }
            "enriched" => {
                let text = String::from_utf8_lossy(&place.lead);
                let enriched = (!self.plan.quick).then_some("\"enriched\":true");
                let mut whole = ["\"score\":1.50", "\"big\":12345678901234567890123"]
                    .into_iter()
                    .chain(enriched);
                if let Some(part) = whole.find(|part| !text.contains(part)) {
                    return Some(format!("came out without {part}"));
                }
                if self.plan.quick {
                    return None;
                }
                let worked = calls.iter().any(|call| call.status == 200);
                (!worked).then(|| "came out and was never worked on".into())
            }
            "failed" | "trash" => {
                let original = if newer { &pushed.payload } else { &pushed.lead };
                if place.lead != original {
                    return Some("is dead with other bytes than were pushed".into());
                }
                let fits = match place.kind {
                    ErrorKind::Invalid => newer || self.plan.fate(n) == Fate::Hostile,
                    ErrorKind::Permanent => matches!(self.plan.fate(n), Fate::Refused(_)),
                    ErrorKind::Poison => place.deaths >= 3 && self.faults.len() >= 3,
                    _ => false,
                };
                (!fits).then(|| format!("is dead for {} without a reason", place.kind.as_str()))
            }
            at => Some(format!("is still in {at}")),
        }
    }

    /// Whether Redis may have forgotten something of that time.
    fn forgets(&self, from: Instant, to: Instant) -> bool {
        self.faults.iter().any(|fault| match fault.effect {
            Effect::Forgets(since) => since <= to && fault.to + AFTERMATH >= from,
            _ => false,
        })
    }

    /// Whether something explains that a lead was worked on once more.
    fn explains(&self, n: usize, earlier: &Call, later: &Call) -> bool {
        let (from, to) = (earlier.from, later.from);
        let pause = to.saturating_duration_since(earlier.to);
        match earlier.status {
            503 if pause >= ms(95) || self.clock_moved(earlier.from, later.from) => return true,
            400 if self.deeds.was_retried(n, from, to) => return true,
            _ => {}
        }
        if self.forgets(from, to) {
            return true;
        }
        let of_earlier = self.concern(earlier.worker);
        let at_once = of_earlier.iter().any(|fault| {
            fault.effect == Effect::Repeats && fault.from <= to && fault.to + AFTERMATH >= from
        });
        let lease = self.plan.lease;
        let lost = |(begun, over): &(Instant, Instant)| self.plan.outlasts_lease(*over - *begun);
        // Either the first one lost it, or the other had it before and came late to its call.
        at_once
            || (stretches(&of_earlier).iter().filter(|time| lost(time)))
                .any(|(begun, over)| *begun <= to && *over + lease >= from)
            || self.late(later).is_some_and(|since| since <= from)
    }

    /// Whether the server's clock was moved in that time: then retries are due at once.
    fn clock_moved(&self, from: Instant, to: Instant) -> bool {
        let moved = |fault: &Fault| {
            fault.name == CLOCK_MOVED && fault.from <= to && fault.to + AFTERMATH >= from
        };
        self.faults.iter().any(moved)
    }

    /// Where a call may have come late, because of what was done to its worker: since when that was
    /// done. The worker may have taken the lead before.
    fn late(&self, call: &Call) -> Option<Instant> {
        stretches(&self.concern(call.worker))
            .into_iter()
            .filter(|(begun, over)| self.plan.outlasts_lease(*over - *begun) && *begun <= call.from)
            .filter(|(_, over)| *over + AFTERMATH >= call.from)
            .map(|(begun, _)| begun)
            .next()
    }

    /// What was done to a worker, or to all, that may cost a lease.
    fn concern(&self, worker: usize) -> Vec<&Fault> {
        let concerns = |fault: &&Fault| match fault.on {
            On::Everybody => true,
            On::Worker(number) => number == worker,
        };
        let faults = self.faults.iter().filter(concerns);
        faults
            .filter(|fault| fault.effect != Effect::KeepsLease)
            .collect()
    }

    /// Whether the figures agree with each other and with what is there.
    fn sums(&self) -> Vec<String> {
        let reading = &self.reading;
        let stat = |name: &str| reading.stats.get(name).copied().unwrap_or(0);
        let number = |n: usize| i64::try_from(n).expect("a small number");
        let count = |at: &str| number(reading.places.iter().filter(|place| place.at == at).count());
        let pushed = reading.places.iter().filter(|place| {
            number_of(&place.lead)
                .and_then(|n| self.pushed.get(&n))
                .is_some_and(|lead| lead.counted)
        });
        let by_retry = reading
            .stats
            .iter()
            .filter(|(name, _)| name.starts_with("retry:"));
        let in_flight = count("hand");
        let mut sums = vec![
            ("enriched leads", count("enriched"), stat("done")),
            (
                "dead letters",
                count("failed"),
                stat("dead") - stat("redriven") - stat("dropped") + stat("restored"),
            ),
            (
                "thrown away",
                count("trash"),
                stat("dropped") - stat("restored"),
            ),
            (
                "received",
                stat("received"),
                [
                    "done",
                    "dead",
                    "retried",
                    "postponed",
                    "recovered",
                    "requeued",
                ]
                .map(stat)
                .iter()
                .sum::<i64>()
                    + in_flight,
            ),
            ("pushed", stat("pushed"), number(pushed.count())),
            (
                "retries by number",
                by_retry.map(|(_, n)| n).sum(),
                stat("retried"),
            ),
        ];
        let mut minutes = reading.minutes.clone();
        minutes.remove("depth");
        for (name, n) in &reading.stats {
            if !name.starts_with("retry:") {
                sums.push(("minutes together", minutes.remove(name).unwrap_or(0), *n));
            }
        }
        sums.into_iter()
            .filter(|(_, is, should)| is != should)
            .map(|(what, is, should)| format!("{what}: {is} and {should} in {:?}", reading.stats))
            .collect()
    }

    /// Whether what was told is true; where nothing was done to the bridge, it is also all.
    fn told(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let done: HashSet<&str> = self
            .reading
            .places
            .iter()
            .filter(|place| place.at == "enriched")
            .map(|place| place.id.as_str())
            .collect();
        let forgets = |fault: &Fault| matches!(fault.effect, Effect::Forgets(_));
        if !self.faults.iter().any(forgets) {
            let told = self.news.told(EventKind::Succeeded);
            let false_news = told.iter().filter(|id| !done.contains(id.as_str()));
            wrong.extend(
                false_news.map(|id| format!("{id} was told to have succeeded and has not")),
            );
        }
        if self.plan.tracks.is_empty() {
            let counts = self.news.counts();
            let stat = |name: &str| self.reading.stats.get(name).copied().unwrap_or(0);
            for (kind, name) in [
                (EventKind::Received, "received"),
                (EventKind::Succeeded, "done"),
                (EventKind::RetryScheduled, "retried"),
                (EventKind::Dead, "dead"),
                (EventKind::LeaseLost, "lease_lost"),
            ] {
                let told = counts.get(&kind).copied().unwrap_or(0);
                if told != stat(name) {
                    wrong.push(format!("{name}: {} and told {told}", stat(name)));
                }
            }
        }
        wrong
    }

    /// A violation with all that is known of the lead.
    fn about(&self, n: usize, what: &str, found: &[&Place]) -> String {
        let mut text = format!(
            "lead {n} {what} ({:?}, {:?})",
            self.plan.fate(n),
            self.plan.wrap(n)
        );
        let accepted = match self.pushed[&n].known {
            Known::Accepted(at) => Some(format!("accepted {:.3}", self.record.at(at))),
            Known::Unknown => None,
        };
        let call = |call: &Call| {
            let (from, to) = (self.record.at(call.from), self.record.at(call.to));
            let (worker, status, key) = (call.worker, call.status, &call.key);
            format!("worked on {from:.3} - {to:.3} by worker {worker}: {status} ({key})")
        };
        let place = |place: &&Place| {
            let entry = String::from_utf8_lossy(&place.entry[..place.entry.len().min(2_000)]);
            format!("in {} as {entry}", place.at)
        };
        let known = accepted.into_iter();
        let known = known
            .chain(self.calls(n).iter().map(call))
            .chain(found.iter().map(place));
        for line in known {
            text.push_str("\n    ");
            text.push_str(&line);
        }
        text
    }

    /// What each fault came to for the work.
    pub fn recoveries(&self) -> Vec<Recovery> {
        let mut calls: Vec<&Call> = self.calls.values().flatten().collect();
        calls.sort_unstable_by_key(|call| call.from);
        let faults = self.faults.iter().filter(|fault| fault.name != UNTOLD);
        let recovery = |fault: &Fault| {
            let theirs = |call: &&&Call| match fault.on {
                On::Everybody => true,
                On::Worker(number) => call.worker == number,
            };
            let next = calls
                .iter()
                .filter(theirs)
                .find(|call| call.from > fault.to);
            Recovery {
                name: fault.name,
                lasted: fault.to - fault.from,
                back: next.map(|call| call.from - fault.to),
                taken_over: match fault.on {
                    On::Worker(number) => self.taken_over(number, fault),
                    On::Everybody => None,
                },
            }
        };
        faults.map(recovery).collect()
    }

    /// How long it took until somebody had the last of the leads that a worker had in hand.
    fn taken_over(&self, worker: usize, fault: &Fault) -> Option<Duration> {
        let pairs = self.calls.values().flat_map(|calls| calls.windows(2));
        pairs
            .filter(|pair| pair[0].worker == worker && pair[0].from <= fault.from)
            .filter(|pair| pair[0].to >= fault.from && pair[1].from >= fault.from)
            .map(|pair| pair[1].from - fault.from)
            .max()
    }
}

/// What a fault came to.
pub struct Recovery {
    pub name: &'static str,
    pub lasted: Duration,
    /// From its end until those it was done to began to work on a lead.
    pub back: Option<Duration>,
    /// From its beginning until others had all leads that were in its worker's hands.
    pub taken_over: Option<Duration>,
}

/// Times of trouble, those that follow each other closely taken as one.
fn stretches(faults: &[&Fault]) -> Vec<(Instant, Instant)> {
    let mut stretches: Vec<(Instant, Instant)> = Vec::new();
    for fault in faults {
        match stretches.last_mut() {
            Some((_, over)) if fault.from <= *over + Duration::from_secs(1) => {
                *over = fault.to.max(*over);
            }
            _ => stretches.push((fault.from, fault.to)),
        }
    }
    stretches
}

/// The number of a lead, also where an envelope of a newer version is all there is.
pub fn number_of(lead: &Bytes) -> Option<usize> {
    let value: Value = serde_json::from_slice(lead).ok()?;
    let n = value.get("n").or_else(|| value.get("lead")?.get("n"))?;
    usize::try_from(n.as_u64()?).ok()
}

/// What an entry of any list is: its id, its lead's bytes, and why it failed last.
pub fn open(entry: &Bytes) -> (String, Bytes, ErrorKind, u32) {
    let (envelope, _) = Envelope::from_dead_letter(entry);
    (
        envelope.id,
        envelope.lead,
        envelope.error_kind,
        envelope.deaths,
    )
}
