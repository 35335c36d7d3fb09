//! States of the console for tests, brought about by messages as the real ones are.

use std::collections::BTreeMap;
use std::time::Duration;

use bridge_shared::cause::Cause;
use bridge_shared::event::{Event, EventKind};
use bridge_shared::stats::{
    LostWorker, Minute, Snapshot, SpentBudget, StationStats, Totals, Worker, WorkerInfo,
};
use bridge_shared::store::condition::{Condition, Server, Writes};
use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::look::{AuditEntry, Entry, Stage};
use bridge_shared::store::survey::Search;
use bridge_shared::store::trash::Trash;
use bridge_shared::store::{StoreError, Target};
use crossterm::event::KeyEvent;
use jiff::tz::TimeZone;
use ratatui::layout::Size;

use super::ahead::Typing;
use super::live::Told;
use super::{App, Link, Options};
use crate::groups::Groups;
use crate::keymap::{Key, Keymap};
use crate::message::{Command, Message, Scanned};
use crate::update::update;

/// The server's time in every scene: 2026-01-15T10:30:00Z.
pub(crate) const NOW: i64 = 1_768_473_000_000;
/// Dead letters in a busy scene.
pub(crate) const DEAD: u64 = 46;

/// A console to be driven by hand: commands are answered as a Redis with [`DEAD`] letters would.
pub(crate) struct Scene {
    pub(crate) app: App,
    pub(crate) letters: Vec<DeadLetter>,
    /// What was asked for and is no reading.
    pub(crate) commands: Vec<Command>,
    at: Duration,
}

impl Scene {
    /// A console that has heard nothing yet.
    pub(crate) fn new(columns: u16, rows: u16) -> Self {
        let options = Options {
            queue: "leads_to_enrich".into(),
            url: "redis://127.0.0.1:6379/0".into(),
            profile: None,
            profiles: vec!["local".into(), "prod".into()],
            confirm: false,
            keymap: Keymap::default(),
            read_only: false,
            zone: TimeZone::UTC,
            unicode: true,
        };
        Self {
            app: App::new(options, Size::new(columns, rows)),
            letters: Vec::new(),
            commands: Vec::new(),
            at: Duration::ZERO,
        }
    }

    /// A console over a bridge at which nothing has ever happened.
    pub(crate) fn empty(columns: u16, rows: u16) -> Self {
        let mut scene = Self::new(columns, rows);
        let figures = Snapshot {
            now: NOW,
            ..Snapshot::default()
        };
        scene.send(Message::Condition(Box::new(condition())));
        scene.send(Message::Reading(Box::new(figures)));
        scene.send(Message::Minutes(Vec::new()));
        scene.send(Message::Causes(0, Vec::new()));
        scene
    }

    /// A console over a bridge at work.
    pub(crate) fn busy(columns: u16, rows: u16) -> Self {
        let mut scene = Self::new(columns, rows);
        scene.letters = (0..DEAD).map(|index| letter(index, DEAD)).collect();
        let minutes = (0..300).map(minute).collect();
        scene.send(Message::Condition(Box::new(condition())));
        scene.send(Message::Reading(Box::new(figures(0))));
        scene.send(Message::Minutes(minutes));
        let mut causes: BTreeMap<Cause, u64> = BTreeMap::new();
        for letter in &scene.letters {
            *causes.entry(Cause::of(&letter.envelope)).or_default() += 1;
        }
        let mut causes: Vec<_> = causes.into_iter().collect();
        causes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        scene.send(Message::Causes(DEAD, causes));
        for second in 1..=30 {
            scene.wait(1);
            scene.send(Message::Reading(Box::new(figures(second))));
        }
        scene
    }

    /// A console over a bridge at which much is wrong.
    pub(crate) fn wrong(columns: u16, rows: u16) -> Self {
        let mut scene = Self::busy(columns, rows);
        let mut wrong = figures(31);
        wrong.totals.over_budget = 11_741;
        (wrong.totals.recovered, wrong.totals.requeued) = (60, 312);
        wrong.budgets = vec![SpentBudget {
            pipeline: "sales".into(),
            since: NOW - 780_000,
            last: NOW + 30_000,
            budget: 500.0,
        }];
        wrong.lost = vec![LostWorker {
            worker: "enrich-4-3-ugwmrcb2f6".into(),
            at: NOW - 90_000,
            recovered: 60,
            dead: 1,
            recovered_by: "enrich-1-7-dljc633k3e".into(),
        }];
        wrong.workers[0].lease_ms = 6_900;
        wrong.workers[1].info.draining = false;
        wrong.workers[1].info.trouble =
            "cannot record outcomes: Redis answered: evil\u{1b}[2J words".into();
        let mut condition = condition();
        if let Some(server) = &mut condition.server {
            server.policy = "allkeys-lru".into();
            server.evicted_keys = 2_000;
        }
        scene.send(Message::Condition(Box::new(condition)));
        scene.send(Message::Reading(Box::new(wrong)));
        scene
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.at += Duration::from_secs(seconds);
        self.send(Message::Tick);
    }

    /// Redis goes away.
    pub(crate) fn break_link(&mut self) {
        self.send(Message::Trouble(StoreError::Unreachable {
            url: Target::from("redis://127.0.0.1:6379/0"),
            cause: "connection refused".into(),
        }));
    }

    /// Sends a message and answers what is asked for.
    pub(crate) fn send(&mut self, message: Message) {
        let mut messages = vec![message];
        while let Some(message) = messages.pop() {
            for command in update(&mut self.app, self.at, message) {
                match self.answer(&command) {
                    Some(answer) => messages.push(answer),
                    None => self.commands.push(command),
                }
            }
        }
    }

    /// Presses keys, each when what came of the one before has been drawn: `3 j enter`.
    pub(crate) fn press(&mut self, keys: &str) {
        for name in keys.split(' ') {
            self.app.typing = Typing::default();
            self.app.drawn(self.app.size);
            self.type_ahead(name);
        }
    }

    /// Presses keys faster than anything is drawn.
    pub(crate) fn type_ahead(&mut self, keys: &str) {
        for name in keys.split(' ') {
            let key = Key::parse(name).unwrap_or_else(|| panic!("{name}"));
            self.send(Message::Key(KeyEvent::from(key)));
        }
    }

    /// Types a text.
    pub(crate) fn write(&mut self, text: &str) {
        self.app.drawn(self.app.size);
        for c in text.chars() {
            self.send(Message::Key(KeyEvent::from(
                crossterm::event::KeyCode::Char(c),
            )));
        }
    }

    fn answer(&self, command: &Command) -> Option<Message> {
        if matches!(self.app.link, Link::Lost { .. }) {
            return None;
        }
        let total = self.letters.len() as u64;
        // Where nothing has ever happened there is nothing else either.
        let busy = !self.letters.is_empty();
        let few = if busy { 3 } else { 0 };
        let read = |letters: Vec<DeadLetter>| Some(Message::Letters { letters, total });
        match command {
            Command::ReadWindow { start, count } => {
                let (start, count) = (usize::try_from(*start).ok()?, usize::try_from(*count).ok()?);
                read(
                    self.letters
                        .iter()
                        .skip(start)
                        .take(count)
                        .cloned()
                        .collect(),
                )
            }
            Command::ReadLetters(places) => {
                let wanted = |letter: &&DeadLetter| places.contains(&letter.from_end());
                read(self.letters.iter().filter(wanted).cloned().collect())
            }
            Command::Look { stage, start, .. } => Some(Message::Looked {
                stage: *stage,
                start: *start,
                total: few,
                entries: (0..i64::from(busy) * 3).map(|n| entry(*stage, n)).collect(),
            }),
            Command::ReadTrashes => {
                Some(Message::Trashes(if busy { trashes() } else { Vec::new() }))
            }
            Command::LookInTrash { name, start, .. } => Some(Message::InTrash {
                name: name.clone(),
                start: *start,
                total: few,
                letters: (0..few).map(|n| letter(n, few)).collect(),
            }),
            Command::ReadAudit(_) if busy => Some(Message::Audit(2, audit())),
            Command::ReadAudit(_) => Some(Message::Audit(0, Vec::new())),
            Command::ReadStations(hours) => {
                let stations = if busy { stations() } else { Vec::new() };
                Some(Message::Stations(*hours, stations))
            }
            Command::Listen(true) if busy => Some(Message::Events(events(), 1_234)),
            Command::Scan {
                search,
                filter,
                marked,
            } => {
                let fit = |letter| Some((letter, filter.fit(letter, NOW)?));
                let found = self.letters.iter().filter_map(fit);
                let mut part = Scanned {
                    search: *search,
                    seen: total,
                    total,
                    finished: true,
                    ..Scanned::default()
                };
                let mut groups = Groups::default();
                for (letter, fit) in found {
                    part.places.push(letter.from_end());
                    groups.add(letter, fit);
                    if marked.contains(letter.id()) {
                        part.marked.push(letter.id().to_owned());
                    }
                }
                part.groups = groups.drain();
                Some(Message::Scanned(part))
            }
            _ => None,
        }
    }
}

fn condition() -> Condition {
    Condition {
        server: Some(Server {
            used_memory: 190 << 20,
            max_memory: 512 << 20,
            policy: "noeviction".into(),
            ..Server::default()
        }),
        writes: Writes::Accepted,
        unusable: None,
    }
}

fn figures(second: u64) -> Snapshot {
    let worker = |id: &str, in_flight, lease_ms, draining| Worker {
        id: id.into(),
        info: WorkerInfo {
            host: "enrich-1".into(),
            pid: 7,
            version: "0.1.0".into(),
            started: NOW - 3_600_000,
            concurrency: 50,
            pipeline: "default".into(),
            stations: vec!["identity".into(), "enrich".into()],
            finished: 4_000 + second * 20,
            draining,
            lease_length_ms: 10_000,
            trouble: String::new(),
        },
        in_flight,
        lease_ms,
        unregistered: false,
    };
    Snapshot {
        now: NOW + i64::try_from(second).expect("small") * 1_000,
        waiting: 12_345 - second * 7,
        in_flight: 87,
        retry: 9,
        dead: DEAD,
        paused: false,
        totals: Totals {
            received: 60_000,
            done: 51_234 + second * (20 + second % 7),
            dead: 112,
            retried: 1_400 + second * 2,
            retries_by_attempt: [(1, 1_021), (2, 310), (3, 69)].into(),
            ..Totals::default()
        },
        rate_per_s: 21.4,
        failed_per_s: 2.3,
        lost: Vec::new(),
        budgets: Vec::new(),
        next_retry: Some(NOW + 33_000),
        search: Search::ByWorkers,
        workers: vec![
            worker("enrich-1-7-dljc633k3e", 50, 9_100, false),
            worker("enrich-2-12-vaxc2efnuy", 37, 8_700, true),
            worker("enrich-3-9-giiwcnbzrs", 0, -1_500, false),
        ],
    }
}

fn minute(n: i64) -> Minute {
    let wave = u64::try_from((n * 37 % 50 - 25).abs()).unwrap_or(0);
    Minute {
        minute: NOW / 60_000 - n,
        done: 900 + wave * 20,
        failed: wave * 3,
        dead: wave / 5,
        depth: Some(12_000 + wave * 100),
    }
}

/// Dead letters of every origin, with everything in them that a terminal must be guarded from.
fn letter(index: u64, of: u64) -> DeadLetter {
    let error = match index % 5 {
        0 | 1 => "HTTP 503 from https://api.example.com/v2/leads: overloaded, try again",
        2 => "no answer from https://api.example.com/v2/leads within 10 s",
        3 => "HTTP 404 from https://api.example.com/v2/leads: nobody is known by that name",
        _ => "the lead has neither a LinkedIn URL nor a name",
    };
    let name = match index % 7 {
        0 => "Ada Example",
        1 => "漢字 テスト",
        2 => "Zoë Ünïcode-Ó'Example",
        3 => "evil \\u001b[2Jname\\u202e",
        4 => "👩‍🔬 Emoji Example",
        5 => "مثال عربي",
        _ => "a name that goes on and on and on and does not fit into any column",
    };
    let failed = NOW - i64::try_from(index).expect("small") * 61_000;
    let bytes = match index {
        11 => "rubbish \u{1b}[31m that is no JSON".to_owned(),
        12 => r#"{"name":"Bare Example"}"#.to_owned(),
        _ => format!(
            r#"{{"envelope":1,"id":"k3x-{index}","lead":{{"name":"{name}","linkedinUrl":"https://www.linkedin.com/in/example-{index}","location":"Lyon, France","sourceDetails":{{"source":"import","tags":["a","b"]}},"score":1.50}},"error":"{error}","retry_count":3,"failed_at":"{}","error_kind":"transient","station":"enrich","worker":"enrich-1-7-dljc633k3e","first_seen":"2026-01-15T08:00:00Z","attempts":[{{"at":"2026-01-15T08:00:01Z","station":"enrich","error":"{error}","kind":"transient","ms":120,"worker":"enrich-1-7-dljc633k3e"}},{{"at":"2026-01-15T08:00:07Z","station":"enrich","error":"{error}","kind":"transient","ms":98,"worker":"enrich-2-12-vaxc2efnuy"}}]}}"#,
            bridge_shared::clock::rfc3339(failed),
        ),
    };
    DeadLetter::new(index, of, bytes.into())
}

fn entry(stage: Stage, n: i64) -> Entry {
    let envelope = letter(u64::try_from(n).expect("small"), 3).bytes;
    let bare = format!(
        r#"{{"name":"Waiting Example {n}","linkedinUrl":"https://linkedin.com/in/example-{n}"}}"#
    );
    let payload = if stage == Stage::Waiting && n > 0 {
        bare.into()
    } else {
        envelope
    };
    Entry {
        envelope: bridge_shared::envelope::Envelope::from_payload(&payload),
        payload,
        due: (stage == Stage::Retry).then_some(NOW + 40_000 + n * 10_000),
        worker: (stage == Stage::InFlight).then(|| "enrich-1-7-dljc633k3e".into()),
    }
}

fn trashes() -> Vec<Trash> {
    let trash = |name: &str, count, minutes: i64, who: Option<&str>| Trash {
        name: name.into(),
        count,
        thrown: NOW - minutes * 60_000,
        ends: NOW - minutes * 60_000 + 86_400_000,
        who: who.map(Into::into),
    };
    vec![
        trash("dljc633k3e", 3, 7, Some("ada@ops-1")),
        trash("vaxc2efnuy", 1_234, 700, Some("evil\u{1b}[2J@ops-2")),
        trash("giiwcnbzrs", 1, 1_100, None),
    ]
}

fn audit() -> Vec<AuditEntry> {
    let entry = |ago, what: &str, count, detail: &str| AuditEntry {
        at: NOW - ago,
        who: "ada@ops-1".into(),
        what: what.into(),
        count,
        detail: detail.into(),
    };
    vec![
        entry(60_000, "redriven", 3, "k3x-1 k3x-2 evil\u{1b}[2J"),
        entry(7_200_000, "paused", 0, ""),
    ]
}

/// What a lead that goes well tells, and one that dies.
pub(crate) fn events() -> Vec<Told> {
    let event =
        |ms: i64, kind, lead: &str, station: Option<&str>, error: Option<&str>| Told::Event {
            worker: "enrich-1-7-dljc633k3e".into(),
            event: Event {
                station: station.map(Into::into),
                error: error.map(Into::into),
                ms: station.map(|_| 120),
                ..Event::new(NOW + ms, kind, lead)
            },
        };
    vec![
        event(0, EventKind::Received, "dljc633k3e-17", None, None),
        event(10, EventKind::Started, "dljc633k3e-17", None, None),
        event(
            130,
            EventKind::Station,
            "dljc633k3e-17",
            Some("enrich"),
            None,
        ),
        event(131, EventKind::Succeeded, "dljc633k3e-17", None, None),
        event(
            900,
            EventKind::Dead,
            "dljc633k3e-18",
            Some("enrich"),
            Some("HTTP 404 from https://api.example.com/v2/leads: nobody\u{1b}[2J"),
        ),
    ]
}

fn stations() -> Vec<StationStats> {
    let station = |name: &str, calls, us: usize| {
        let mut station = StationStats {
            pipeline: "default".into(),
            station: name.into(),
            calls,
            skipped: calls / 10,
            ..StationStats::default()
        };
        station.latency.buckets[us] = calls;
        station
    };
    let mut enrich = station("enrich", 51_000, 14);
    enrich.add("failed:transient", 1_200);
    enrich.add("failed:timeout", 7);
    enrich.add("cost", 255_000_000);
    vec![enrich, station("identity", 52_000, 2)]
}
