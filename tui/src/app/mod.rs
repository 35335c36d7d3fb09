//! The state of the console: everything that can be seen, and nothing of how it is drawn or where
//! it comes from.
//!
//! - [`ahead`]: keys that come too early or too fast
//! - [`dlq`]: the dead letter screen, with [`complete`], [`search`], [`letter`], [`tree`] and
//!   [`find`]
//! - [`live`]: the live events
//! - [`trash`]: what was thrown away
//! - [`trial`]: a lead that a worker has tried
//! - [`trend`]: figures over time
//! - [`window`]: lists that are read in windows and hold on to nothing
//! - [`chrome`]: what stands around every screen; [`help`]: its keys
//! - [`list`], [`input`], [`notice`], [`overlay`]: parts that screens share

pub(crate) mod ahead;
pub(crate) mod chrome;
pub(crate) mod complete;
pub(crate) mod dlq;
pub(crate) mod find;
pub(crate) mod help;
pub(crate) mod input;
pub(crate) mod letter;
pub(crate) mod list;
pub(crate) mod live;
pub(crate) mod notice;
pub(crate) mod overlay;
#[cfg(test)]
pub(crate) mod scene;
pub(crate) mod search;
pub(crate) mod trash;
pub(crate) mod tree;
pub(crate) mod trend;
pub(crate) mod trial;
pub(crate) mod window;

use std::collections::HashMap;
use std::time::Duration;

use bridge_shared::cause::Cause;
use bridge_shared::clock::Millis;
use bridge_shared::findings::Finding;
use bridge_shared::stats::{Snapshot, StationStats, Worker};
use bridge_shared::store::StoreError;
use bridge_shared::store::condition::{Condition, Writes};
use bridge_shared::store::look::{AuditEntry, Entry, Stage};
use bridge_shared::triage::Asked;
use jiff::tz::TimeZone;
use ratatui::layout::{Rect, Size};
use ratatui::style::Color;

use crate::keymap::{Keymap, Scope};
use crate::layout;
use crate::screen::Screen;
use ahead::{Held, Typing};
use dlq::{Dlq, View};
use list::Position;
use live::Live;
use notice::Notices;
use overlay::{Account, Overlay};
use trash::Trashes;
use trend::{Span, Trend};
use window::Window;

/// From this age on figures are called stale.
const STALE: Duration = Duration::from_secs(3);
/// A reading that takes this long is told: figures are that much behind, and so is every key.
const SLOW: Duration = Duration::from_millis(500);

/// How the console stands with Redis.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    /// No answer yet.
    Connecting,
    /// Readings come.
    Live,
    /// Readings fail.
    Lost {
        /// Since when, counted from the console's start.
        since: Duration,
        /// Why.
        error: StoreError,
    },
}

/// A line that is being written on a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WrittenLine {
    /// The filter of the dead letters.
    Filter,
    /// The filter of the live events.
    LiveFilter,
    /// A search in an opened letter.
    Search,
}

/// What does not change while the console runs.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Where Redis is, without the password.
    pub(crate) url: String,
    /// The queue whose leads this is about.
    pub(crate) queue: String,
    /// The name of the environment, where it has one, and its colour.
    pub(crate) profile: Option<(String, Option<Color>)>,
    /// The names of all the environments.
    pub(crate) profiles: Vec<String>,
    /// Whether the number must be typed as soon as it is more than one dead letter.
    pub(crate) confirm: bool,
    /// The keys.
    pub(crate) keymap: Keymap,
    /// Whether nothing may be changed.
    pub(crate) read_only: bool,
    /// The zone that times are shown in.
    pub(crate) zone: TimeZone,
    /// Whether the terminal can show more than ASCII.
    pub(crate) unicode: bool,
}

/// A piece of work under way.
#[derive(Debug, Clone)]
pub(crate) struct UnderWay {
    /// What it is, in words.
    pub(crate) words: String,
    /// How much of it is done.
    pub(crate) done: u64,
    /// How much there is to do.
    pub(crate) total: u64,
    /// When it began, counted from the console's start.
    pub(crate) begun: Duration,
    /// Whether it was told to stop.
    pub(crate) stopping: bool,
}

impl UnderWay {
    /// How long the rest will take at the pace so far; `None` before that can be told.
    pub(crate) fn left(&self, uptime: Duration) -> Option<Duration> {
        let spent = uptime.saturating_sub(self.begun);
        if self.done == 0 || self.done >= self.total || spent < Duration::from_secs(1) {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let rest = (self.total - self.done) as f64 / self.done as f64;
        Some(spent.mul_f64(rest))
    }
}

/// The newest dead letters by cause.
#[derive(Debug, Clone, Default)]
pub(crate) struct Causes {
    /// How many were looked at.
    pub(crate) seen: u64,
    /// The causes, the most frequent first.
    pub(crate) list: Vec<(Cause, u64)>,
}

/// What the stations did over some hours.
#[derive(Debug)]
pub(crate) struct Stations {
    /// Over how many, the running one included.
    pub(crate) hours: u16,
    /// What they did, in the order of their routes; `None` before it was read.
    pub(crate) list: Option<Vec<StationStats>>,
    /// Where the cursor is.
    pub(crate) at: Position,
    /// Whether it is time to read them again.
    pub(crate) stale: bool,
}

impl Stations {
    /// The time they are over, in words.
    pub(crate) const fn span(&self) -> &'static str {
        if self.hours == 1 {
            "the running hour"
        } else {
            "the last 24 hours"
        }
    }
}

impl Default for Stations {
    fn default() -> Self {
        Self {
            hours: 1,
            list: None,
            at: Position::default(),
            stale: true,
        }
    }
}

/// Everything that can be seen.
#[derive(Debug)]
pub(crate) struct App {
    /// What does not change.
    pub(crate) options: Options,
    /// The size of the terminal.
    pub(crate) size: Size,
    /// How long the console has been running.
    pub(crate) uptime: Duration,
    /// The screen in front.
    pub(crate) screen: Screen,
    /// What lies over it.
    pub(crate) overlay: Option<Overlay>,
    /// Whether that has been drawn: what nobody has seen is not answered.
    pub(crate) overlay_drawn: bool,
    /// The size of the last frame.
    pub(crate) drawn: Size,
    /// How fast keys come.
    pub(crate) typing: Typing,
    /// Keys that wait for what they are about.
    pub(crate) held: Held,
    /// How the console stands with Redis.
    pub(crate) link: Link,
    /// How long the last reading took, from the question to the answer.
    pub(crate) took: Duration,
    /// What Redis does not let each screen read, though it answers.
    pub(crate) refused: HashMap<Screen, StoreError>,
    /// The last reading, and when it came.
    pub(crate) figures: Option<(Snapshot, Duration)>,
    /// The state of the server, as it was at the last reading.
    pub(crate) condition: Condition,
    /// What was wrong at the last reading, the worst first.
    pub(crate) findings: Vec<Finding>,
    /// The figures over time.
    pub(crate) trend: Trend,
    /// How far back the charts go.
    pub(crate) span: Span,
    /// What dead letters died of lately.
    pub(crate) causes: Causes,
    /// The dead letters.
    pub(crate) dlq: Dlq,
    /// What the stations did.
    pub(crate) stations: Stations,
    /// The order of the stations of each pipeline.
    routes: HashMap<String, Vec<String>>,
    /// The live events.
    pub(crate) live: Live,
    /// Which leads the queue screen looks at.
    pub(crate) stage: Stage,
    /// Those leads.
    pub(crate) queue: Window<Entry>,
    /// The audit.
    pub(crate) audit: Window<AuditEntry>,
    /// Where the cursor is among the workers.
    pub(crate) workers_at: Position,
    /// What was thrown away.
    pub(crate) trash: Trashes,
    /// The account of the last bulk work.
    pub(crate) account: Option<Account>,
    /// What there is to say.
    pub(crate) notices: Notices,
    /// The piece of work under way.
    pub(crate) work: Option<UnderWay>,
    /// Whether the console is locked.
    pub(crate) locked: bool,
    /// Whether it is time to go.
    pub(crate) quit: bool,
    /// The environment to go to then.
    pub(crate) switch_to: Option<String>,
}

impl App {
    /// The console at its start.
    pub(crate) fn new(options: Options, size: Size) -> Self {
        Self {
            options,
            size,
            uptime: Duration::ZERO,
            screen: Screen::Overview,
            overlay: None,
            overlay_drawn: false,
            drawn: size,
            typing: Typing::default(),
            held: Held::default(),
            link: Link::Connecting,
            took: Duration::ZERO,
            refused: HashMap::new(),
            figures: None,
            condition: Condition::default(),
            findings: Vec::new(),
            trend: Trend::default(),
            span: Span::default(),
            causes: Causes::default(),
            dlq: Dlq::default(),
            stations: Stations::default(),
            routes: HashMap::new(),
            live: Live::default(),
            stage: Stage::default(),
            queue: Window::default(),
            audit: Window::default(),
            workers_at: Position::default(),
            trash: Trashes::default(),
            account: None,
            notices: Notices::default(),
            work: None,
            locked: false,
            quit: false,
            switch_to: None,
        }
    }

    /// How many dead letters there are; `None` before that was read.
    pub(crate) fn dead(&self) -> Option<u64> {
        let figures = self.figures.as_ref();
        figures.map_or(self.dlq.total, |(figures, _)| Some(figures.dead))
    }

    /// What there is, for a question that is asked now.
    pub(crate) fn asked(&self) -> Asked {
        let known = [self.dead(), self.dlq.total];
        Asked {
            dead: known.into_iter().flatten().max().unwrap_or(0),
            at: self.now(),
        }
    }

    /// Whether work is paused, as far as is known.
    pub(crate) fn is_paused(&self) -> bool {
        let figures = self.figures.as_ref();
        figures.is_some_and(|(figures, _)| figures.paused)
    }

    /// Whether Redis accepts writes, as far as is known.
    pub(crate) fn writes(&self) -> Writes {
        let workers: &[Worker] = self
            .figures
            .as_ref()
            .map_or(&[], |(figures, _)| &figures.workers);
        self.condition.writes(workers)
    }

    /// Puts the stations into the order of their routes, as the workers say it. Where no worker does
    /// any more the order stays; stations that are on no route come last, by name.
    pub(crate) fn order_stations(&mut self) {
        for worker in self
            .figures
            .iter()
            .flat_map(|(figures, _)| &figures.workers)
        {
            let info = &worker.info;
            if !info.stations.is_empty() {
                let route = &info.stations;
                self.routes.insert(info.pipeline.clone(), route.clone());
            }
        }
        let routes = &self.routes;
        let place = |station: &StationStats| {
            let mut route = routes.get(&station.pipeline).into_iter().flatten();
            let place = route.position(|name| *name == station.station);
            let place = place.unwrap_or(usize::MAX);
            (station.pipeline.clone(), place, station.station.clone())
        };
        if let Some(list) = &mut self.stations.list {
            list.sort_by_cached_key(place);
        }
    }

    /// The server's time, carried forward from the last reading; 0 before the first one.
    pub(crate) fn now(&self) -> Millis {
        self.figures.as_ref().map_or(0, |(figures, read)| {
            let since = self.uptime.saturating_sub(*read).as_millis();
            figures.now + i64::try_from(since).unwrap_or(0)
        })
    }

    /// How old the figures on the screen are; `None` before the first reading.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (_, read) = self.figures.as_ref()?;
        Some(self.uptime.saturating_sub(*read))
    }

    /// How long Redis has been keeping the console waiting, or did so last time, where that is
    /// noticeably long; and whether it is doing so now.
    pub(crate) fn slow(&self) -> Option<(Duration, bool)> {
        if !matches!(self.link, Link::Live) {
            return None;
        }
        match self.age() {
            // The next reading sets out a second after the last one came.
            Some(age) if age > STALE => Some((age, true)),
            _ => (self.took >= SLOW).then_some((self.took, false)),
        }
    }

    /// Whether keys may change anything.
    pub(crate) fn may_change(&self) -> bool {
        !self.options.read_only && !self.locked
    }

    /// The line that is being written on the screen in front, if one is.
    pub(crate) fn line(&self) -> Option<WrittenLine> {
        let letter = self.dlq.letter.as_ref();
        let letter = letter.filter(|_| self.dlq.view == View::Letter);
        match self.screen {
            Screen::Dlq if self.dlq.writing.is_some() => Some(WrittenLine::Filter),
            Screen::Dlq => {
                let search = letter.is_some_and(|letter| letter.writing().is_some());
                search.then_some(WrittenLine::Search)
            }
            Screen::Live if self.live.writing.is_some() => Some(WrittenLine::LiveFilter),
            _ => None,
        }
    }

    /// Where keys are looked up, the innermost first.
    pub(crate) fn scopes(&self) -> Vec<Scope> {
        match self.screen {
            Screen::Overview => vec![Scope::Overview, Scope::Everywhere],
            Screen::Dlq => {
                let inner = match self.dlq.view {
                    View::List => Scope::Dlq,
                    View::Groups => Scope::Groups,
                    View::Letter => Scope::Letter,
                    View::Trash => Scope::Trash,
                };
                vec![inner, Scope::Lists, Scope::Everywhere]
            }
            Screen::Live => vec![Scope::Live, Scope::Lists, Scope::Everywhere],
            Screen::Queue => vec![Scope::Queue, Scope::Lists, Scope::Everywhere],
            Screen::Workers | Screen::Audit => vec![Scope::Lists, Scope::Everywhere],
            Screen::Pipeline => vec![Scope::Pipeline, Scope::Lists, Scope::Everywhere],
        }
    }

    /// Where the list of the screen in front is.
    pub(crate) fn list_area(&self) -> Rect {
        let body = layout::areas(self.size).body;
        match self.screen {
            Screen::Dlq if self.dlq.view == View::Letter => self.letter_area(),
            Screen::Dlq => layout::dlq(body).list,
            Screen::Pipeline => layout::pipeline(body).list,
            _ => layout::headed(body)[1],
        }
    }

    /// Where the lines of an opened dead letter are, under their title.
    pub(crate) fn letter_area(&self) -> Rect {
        let body = layout::areas(self.size).body;
        layout::headed(layout::dlq(body).beside.unwrap_or(body))[1]
    }

    /// How many rows of the list are seen.
    pub(crate) fn height(&self) -> usize {
        self.list_area().height.into()
    }
}
