//! Where enriched leads go, and one file for each kind of sink.
//!
//! ```toml
//! [[pipelines.main.sinks]]
//! kind = "postgres"
//! url = "${DATABASE_URL}"
//! ```
//!
//! - [`stream`]: the Redis stream, in the step that records the outcome; the default
//! - [`postgres`]: a table
//! - [`jsonl`]: a file of JSON lines
//! - [`webhook`]: an HTTP service
//!
//! A lead is recorded as done only when every sink other than the stream has it for good. A worker
//! that dies between the two leaves the lead to another one, which saves it again: every sink
//! bears to be given the same lead twice. A sink that is away holds its leads in the worker's
//! hands, however long that takes, and no attempt of theirs is spent on it.

mod jsonl;
mod postgres;
mod stream;
mod webhook;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bridge_shared::envelope::ErrorKind;
use bridge_shared::money::Money;
use bytes::Bytes;
use futures::future::{BoxFuture, join_all};

use super::Failure;
use super::keys::{Keys, suggest};
use super::ledger::{BadEnd, Ledger, Tally};
use super::secrets::Secrets;

/// How often a lead that alone is turned away is tried, while the sink takes others.
const TRIES: u32 = 3;
/// The longest that a sink is left alone, even where it asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Characters of what a sink said that are kept.
const LONGEST_WORDS: usize = 500;
/// Time between two words in the log about the same trouble.
const REMINDER: Duration = Duration::from_secs(30);

/// An enriched lead on its way to where it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Enriched {
    /// The lead's id, which is also the idempotency key of what is done with it elsewhere.
    pub(crate) id: String,
    /// The lead, as JSON.
    pub(crate) lead: Bytes,
}

/// A place where enriched leads are kept.
trait Sink: std::fmt::Debug + Send + Sync {
    /// Saves leads; says of each, in their order, what came of it.
    fn write<'a>(&'a self, leads: &'a [Enriched]) -> BoxFuture<'a, Vec<Verdict>>;
}

/// What came of a lead in a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// It is there for good.
    Durable,
    /// It will never be: the lead is at fault.
    Refused(String),
    /// Not now.
    NotNow {
        /// Why, in words.
        error: String,
        /// Whether the lead itself may be at fault, rather than the sink.
        suspect: bool,
        /// How long the sink asked to be left alone.
        after: Option<Duration>,
    },
}

impl Verdict {
    /// The sink is away.
    fn away(error: impl Into<String>) -> Self {
        Self::NotNow {
            error: error.into(),
            suspect: false,
            after: None,
        }
    }
}

/// A kind of sink.
struct Kind {
    name: &'static str,
    /// `None` for the stream, which the commit writes.
    make: fn(&mut Keys<'_>) -> Option<Made>,
}

/// What a kind makes of its table.
enum Made {
    /// The Redis stream.
    Stream,
    /// Any other.
    Other(Box<dyn Sink>),
}

/// Every kind of sink there is.
const KINDS: &[Kind] = &[
    Kind {
        name: "stream",
        make: stream::make,
    },
    Kind {
        name: "postgres",
        make: postgres::make,
    },
    Kind {
        name: "jsonl",
        make: jsonl::make,
    },
    Kind {
        name: "webhook",
        make: webhook::make,
    },
];

/// The sinks of a pipeline.
#[derive(Debug)]
pub(crate) struct Sinks {
    stream: bool,
    others: Vec<Place>,
    secrets: Secrets,
}

impl Sinks {
    /// Reads the list `sinks` of a pipeline's table; where there is none, the stream is the only
    /// one.
    pub(super) fn read(keys: &mut Keys<'_>, pipeline: &str, ledger: &Ledger) -> Self {
        let mut sinks = Self {
            stream: false,
            others: Vec::new(),
            secrets: Secrets::default(),
        };
        let Some(list) = keys.tables("sinks").filter(|list| !list.is_empty()) else {
            sinks.stream = true;
            return sinks;
        };
        for keys in list {
            sinks.add(keys, pipeline, ledger);
        }
        sinks
    }

    fn add(&mut self, mut keys: Keys<'_>, pipeline: &str, ledger: &Ledger) {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        keys.set_owner("a sink".into());
        let kind = keys.text("kind");
        let Some(kind) = keys.need("kind", kind, &format!("one of {}", names.join(", "))) else {
            return;
        };
        let name = keys.text("name").unwrap_or_else(|| kind.clone());
        keys.set_owner(format!("sink \"{}\"", name.get_ref()));
        let Some(known) = KINDS.iter().find(|known| known.name == kind.get_ref()) else {
            keys.wrong(
                &kind.span(),
                format!("no kind of sink is called \"{}\"", kind.get_ref()),
                suggest(kind.get_ref(), &names),
            );
            return;
        };
        let twice = self
            .others
            .iter()
            .any(|place| place.name == *name.get_ref());
        if twice || (self.stream && known.name == "stream") {
            keys.wrong(
                &keys.span(),
                format!("two sinks are called \"{}\"", name.get_ref()),
                "give each a name of its own",
            );
        }
        let made = (known.make)(&mut keys);
        keys.finish();
        match made {
            Some(Made::Stream) => self.stream = true,
            Some(Made::Other(sink)) => self.others.push(Place {
                tally: ledger.tally(pipeline, &figures_of(name.get_ref())),
                name: name.into_inner(),
                kind: known.name,
                sink,
                settled: AtomicU64::new(0),
            }),
            None => {}
        }
    }

    /// What to keep out of everything that is shown.
    pub(super) fn hiding(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    /// The name and the kind of each.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let stream = self.stream.then_some(("stream", "stream"));
        let others = self.others.iter().map(|it| (it.name.as_str(), it.kind));
        stream.into_iter().chain(others)
    }

    /// What the figures of each stand under.
    pub(super) fn figures(&self) -> impl Iterator<Item = String> {
        self.others.iter().map(|place| figures_of(&place.name))
    }

    /// Whether leads go to the Redis stream.
    pub(crate) fn stream(&self) -> bool {
        self.stream
    }

    /// Whether leads go anywhere but to the stream.
    pub(crate) fn any_other(&self) -> bool {
        !self.others.is_empty()
    }

    /// Saves leads in every sink but the stream, for as long as it takes; returns for each, in
    /// their order, why it cannot be saved. May be dropped at any time: what was saved by then is
    /// saved again another time. Meanwhile `trouble` is how many sinks turned leads away for now.
    pub(crate) async fn save(
        &self,
        leads: &[Enriched],
        trouble: &AtomicUsize,
    ) -> Vec<Option<Failure>> {
        let places = self
            .others
            .iter()
            .map(|place| place.save(leads, &self.secrets, trouble));
        let by_place = join_all(places).await;
        (0..leads.len())
            .map(|lead| self.failure(&by_place, lead))
            .collect()
    }

    /// Why a lead cannot be saved: what the first sink said that did not take it, and which others
    /// have it all the same.
    fn failure(&self, by_place: &[Vec<Option<Failure>>], lead: usize) -> Option<Failure> {
        let mut failure = by_place
            .iter()
            .find_map(|failures| failures[lead].clone())?;
        let with_it = self.others.iter().zip(by_place);
        let with_it = with_it.filter(|(_, failures)| failures[lead].is_none());
        let names: Vec<&str> = with_it.map(|(place, _)| place.name.as_str()).collect();
        if !names.is_empty() {
            failure.error.push_str("; it is saved already in ");
            failure.error.push_str(&names.join(", "));
        }
        Some(failure)
    }
}

/// What the figures of a sink stand under, among those of the stations.
fn figures_of(sink: &str) -> String {
    format!("sink {sink}")
}

/// A sink in its place.
#[derive(Debug)]
struct Place {
    name: String,
    kind: &'static str,
    sink: Box<dyn Sink>,
    /// Leads that the sink has settled one way or the other: it answers as long as this grows.
    settled: AtomicU64,
    /// Leads, and how long each took until it was settled, the time in which the sink was away too.
    tally: Arc<Tally>,
}

impl Place {
    /// Saves leads until each is durable or given up. Where the sink is away that is when it is
    /// back. A lead that is turned away again and again while others get through is given up for
    /// now, or it would hold them up for good.
    async fn save(
        &self,
        leads: &[Enriched],
        secrets: &Secrets,
        in_trouble: &AtomicUsize,
    ) -> Vec<Option<Failure>> {
        let mut failures = vec![None; leads.len()];
        let mut open: Vec<Open> = (0..leads.len()).map(Open::new).collect();
        let mut trouble = Trouble {
            count: in_trouble,
            rounds: 0,
            told: None,
        };
        let started = Instant::now();
        let count = |bad| {
            self.tally.call(started.elapsed(), Money::ZERO, (0, 0), bad);
        };
        let mut seen = self.settled.load(Ordering::Relaxed);
        loop {
            let verdicts = self.sink.write(&picked(leads, &open)).await;
            let over = verdicts
                .iter()
                .filter(|verdict| !matches!(verdict, Verdict::NotNow { .. }))
                .count();
            let now = self.settled.fetch_add(over as u64, Ordering::Relaxed) + over as u64;
            let answers = now > std::mem::replace(&mut seen, now);
            let mut wait = Duration::ZERO;
            let mut left = Vec::new();
            for (mut lead, verdict) in open.into_iter().zip(verdicts) {
                let (error, kind, after) = match verdict {
                    Verdict::Durable => {
                        count(None);
                        continue;
                    }
                    Verdict::Refused(error) => (error, ErrorKind::Permanent, None),
                    Verdict::NotNow {
                        error,
                        suspect,
                        after,
                    } => {
                        // Where no others got through since the last try it may be the sink.
                        lead.tries += u32::from(suspect && answers);
                        (error, ErrorKind::Transient, after)
                    }
                };
                if kind == ErrorKind::Permanent || lead.tries >= TRIES {
                    count(Some(BadEnd::Failed(kind)));
                    failures[lead.index] = Some(Failure {
                        station: self.name.clone(),
                        retry_after: after,
                        ..Failure::new(kind, secrets.hide(one_line(&error)))
                    });
                    continue;
                }
                wait = wait.max(after.unwrap_or_default());
                trouble.tell(&self.name, || secrets.hide(one_line(&error)));
                left.push(lead);
            }
            if left.is_empty() {
                trouble.over(&self.name);
                return failures;
            }
            open = left;
            trouble.wait(wait).await;
        }
    }
}

/// What a sink said, which may quote a lead: on one line and without control characters.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(LONGEST_WORDS).collect()
}

/// A lead that is not settled yet.
struct Open {
    /// Its place among the leads to be saved.
    index: usize,
    /// How often it was turned away while others got through.
    tries: u32,
}

impl Open {
    fn new(index: usize) -> Self {
        Self { index, tries: 0 }
    }
}

fn picked<'a>(leads: &'a [Enriched], open: &[Open]) -> Cow<'a, [Enriched]> {
    if open.len() == leads.len() {
        Cow::Borrowed(leads)
    } else {
        open.iter().map(|lead| leads[lead.index].clone()).collect()
    }
}

/// Waits that grow from 50 ms to 5 s, with a word in the log at the first and then now and again.
#[derive(Debug)]
struct Trouble<'a> {
    /// How many sinks of the batch are in trouble: this one from the first wait to the end.
    count: &'a AtomicUsize,
    rounds: u32,
    told: Option<Instant>,
}

impl Trouble<'_> {
    fn tell(&mut self, sink: &str, error: impl FnOnce() -> String) {
        if self.told.is_none_or(|told| told.elapsed() > REMINDER) {
            tracing::warn!(
                sink,
                "its leads wait in hand until this is mended: {}",
                error()
            );
            self.told = Some(Instant::now());
        }
    }

    async fn wait(&mut self, asked: Duration) {
        let delay = Duration::from_millis(50) * 2_u32.pow(self.rounds.min(7));
        if self.rounds == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        self.rounds += 1;
        let delay = delay.min(Duration::from_secs(5));
        // Not all at once: the other workers wait as well.
        let delay = delay.mul_f64(0.75 + fastrand::f64() * 0.25);
        tokio::time::sleep(delay.max(asked.min(LONGEST_WAIT))).await;
    }

    fn over(&self, sink: &str) {
        if self.rounds > 0 {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        if self.told.is_some() {
            tracing::info!(sink, "it takes leads again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Reading;
    use super::*;
    use bridge_shared::store::figures::figure;
    use std::path::Path;
    use std::sync::Mutex;
    use toml::de::DeTable;

    /// Answers each lead by its id: `bad` is refused, `stuck` never gets through, and the first
    /// `away` calls find nobody in.
    #[derive(Debug, Default)]
    struct Script {
        away: Mutex<u32>,
        calls: Mutex<Vec<Vec<String>>>,
    }

    impl Sink for Arc<Script> {
        fn write<'a>(&'a self, leads: &'a [Enriched]) -> BoxFuture<'a, Vec<Verdict>> {
            Box::pin(async move {
                let ids = leads.iter().map(|lead| lead.id.clone()).collect();
                self.calls.lock().expect("no panic").push(ids);
                let mut away = self.away.lock().expect("no panic");
                if *away > 0 {
                    *away -= 1;
                    return vec![Verdict::away("nobody is in"); leads.len()];
                }
                let verdict = |lead: &Enriched| match lead.id.as_str() {
                    "bad" => Verdict::Refused("no".into()),
                    "stuck" => Verdict::NotNow {
                        error: "HTTP 500".into(),
                        suspect: true,
                        after: None,
                    },
                    _ => Verdict::Durable,
                };
                leads.iter().map(verdict).collect()
            })
        }
    }

    /// Takes every lead.
    #[derive(Debug)]
    struct Willing;

    impl Sink for Willing {
        fn write<'a>(&'a self, leads: &'a [Enriched]) -> BoxFuture<'a, Vec<Verdict>> {
            Box::pin(async { vec![Verdict::Durable; leads.len()] })
        }
    }

    fn place(script: &Arc<Script>) -> Place {
        Place {
            name: "crm".into(),
            kind: "webhook",
            sink: Box::new(Arc::clone(script)),
            settled: AtomicU64::new(0),
            tally: Arc::default(),
        }
    }

    fn leads(ids: &[&str]) -> Vec<Enriched> {
        ids.iter()
            .map(|id| Enriched {
                id: (*id).to_owned(),
                lead: Bytes::from_static(b"{}"),
            })
            .collect()
    }

    #[test]
    fn what_a_sink_says_fits_on_a_line() {
        assert_eq!(one_line(" a\r\n\x1b[31mb\0c "), "a [31mb c");
        assert_eq!(one_line(&"x".repeat(5_000)).len(), LONGEST_WORDS);
    }

    #[test]
    fn every_kind_and_each_of_its_keys_is_in_the_manual() {
        const MANUAL: &str = include_str!("../../../../assets/pipelines/README.md");
        // A webhook's client asks for it; another test may have been here first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (_, manual) = MANUAL.split_once("\n# Sinks\n").expect("a part on sinks");
        for kind in KINDS {
            let reading = Reading::new("", Path::new(""));
            let mut keys = Keys::new(&reading, DeTable::new(), "a sink", 0..0);
            let _ = (kind.make)(&mut keys);
            let section = manual
                .split("\n## ")
                .find(|section| section.lines().next() == Some(kind.name));
            let section = section.unwrap_or_else(|| panic!("nothing about {}", kind.name));
            for key in keys.asked() {
                let there = section.contains(&format!("`{key}`"));
                assert!(there, "nothing about {key} of {}", kind.name);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_away_is_waited_for_and_only_what_is_left_is_tried_again() {
        let script = Arc::new(Script {
            away: Mutex::new(20),
            ..Script::default()
        });
        let failures = place(&script)
            .save(
                &leads(&["a", "bad", "b"]),
                &Secrets::default(),
                &AtomicUsize::new(0),
            )
            .await;
        assert_eq!(script.calls.lock().expect("no panic").len(), 21);
        assert!(failures[0].is_none() && failures[2].is_none());
        let failure = failures[1].as_ref().expect("refused");
        assert_eq!(
            (failure.station.as_str(), failure.kind),
            ("crm", ErrorKind::Permanent)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lead_that_one_sink_refuses_tells_which_others_have_it() {
        let script = Arc::new(Script::default());
        let willing = Place {
            name: "archive".into(),
            sink: Box::new(Willing),
            ..place(&script)
        };
        let sinks = Sinks {
            stream: false,
            others: vec![place(&script), willing],
            secrets: Secrets::default(),
        };
        let trouble = AtomicUsize::new(0);
        let failures = sinks.save(&leads(&["a", "bad"]), &trouble).await;
        assert!(failures[0].is_none());
        let failure = failures[1].as_ref().expect("refused");
        assert_eq!(
            (failure.station.as_str(), failure.error.as_str()),
            ("crm", "no; it is saved already in archive")
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_sinks_leads_are_counted_among_the_figures() {
        let ledger = Ledger::default();
        let script = Arc::new(Script::default());
        let place = Place {
            tally: ledger.tally("main", &figures_of("crm")),
            ..place(&script)
        };
        let trouble = AtomicUsize::new(0);
        let leads = leads(&["a", "bad", "b"]);
        place.save(&leads, &Secrets::default(), &trouble).await;
        let name = |name| figure("main", "sink crm", name);
        let counted = ledger.take();
        assert!(counted.contains(&(name("calls"), 3)));
        assert!(counted.contains(&(name("failed:permanent"), 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lead_that_alone_is_turned_away_is_given_up_for_now() {
        let script = Arc::new(Script::default());
        let place = place(&script);
        let secrets = Secrets::default();
        let all = leads(&["a", "stuck"]);
        let trouble = AtomicUsize::new(0);
        let stuck = place.save(&all, &secrets, &trouble);
        let others = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let failures = place.save(&leads(&["b"]), &secrets, &trouble).await;
                assert!(failures[0].is_none());
            }
        };
        let (failures, ()) = futures::join!(stuck, others);
        assert_eq!(trouble.load(Ordering::Relaxed), 0, "it is over");
        assert!(failures[0].is_none());
        assert_eq!(
            failures[1].as_ref().map(|failure| failure.kind),
            Some(ErrorKind::Transient)
        );
        let tried = script.calls.lock().expect("no panic");
        assert_eq!(
            tried
                .iter()
                .filter(|ids| ids.contains(&"stuck".into()))
                .count(),
            3
        );
    }
}
