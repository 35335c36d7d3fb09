//! Around every screen: what and where this is, the screens, what was just done, and the keys.

use std::borrow::Cow;
use std::time::Duration;

use bridge_shared::clock::human_duration;
use bridge_shared::findings::Severity;
use bridge_shared::store::condition::Writes;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::{Ui, plain};
use crate::app::Link;
use crate::app::chrome::MARGIN;
use crate::app::overlay::Overlay;
use crate::message::Level;
use crate::screen::Screen;
use crate::text::{clip, fit, harmless, plural, thousands, wrap};

impl Ui<'_> {
    /// The top line.
    pub(super) fn bar(&self, frame: &mut Frame<'_>, area: Rect) {
        let app = self.app;
        let mut right: Vec<Span<'_>> = Vec::new();
        let mut tell = |text: String, style: Style| {
            right.push(Span::styled(text, style));
            right.push(Span::raw("  "));
        };
        if app.options.read_only {
            tell("READ-ONLY".into(), self.theme.warn);
        }
        if app.locked {
            tell("LOCKED".into(), self.theme.warn);
        }
        if app.is_paused() {
            tell("PAUSED".into(), self.theme.warn);
        }
        let (state, style) = self.state();
        tell(state, style);
        tell(self.clock(), Style::new());
        let used: usize = right.iter().map(Span::width).sum();
        let name = app.options.profile.as_ref();
        let name = name.map_or_else(String::new, |(name, _)| format!("  {}", clip(name, 20)));
        let room = usize::from(area.width).saturating_sub(used + 16 + name.width());
        let left = vec![
            Span::styled(" Redis Bridge", self.theme.title),
            Span::styled(name, self.theme.title),
            Span::styled(
                format!("  {}", clip(where_it_is(&app.options.url, room), room)),
                self.theme.dim,
            ),
        ];
        let filled: usize = left.iter().map(Span::width).sum();
        let gap = usize::from(area.width).saturating_sub(filled + used);
        let spans = left
            .into_iter()
            .chain([Span::raw(" ".repeat(gap))])
            .chain(right);
        let line: Line<'_> = spans.collect();
        // An environment keeps its colour here; then the footer alone is that of a pause.
        match self.environment().or(self.pause()) {
            Some(style) => Self::line(frame, area, plain(line), style),
            None => Self::line(frame, area, line, self.theme.bar),
        }
    }

    fn state(&self) -> (String, Style) {
        match (&self.app.link, self.app.age(), self.app.slow()) {
            (Link::Connecting, ..) => (format!("{} connecting", self.signs.ring), self.theme.warn),
            (Link::Lost { error, .. }, age, _) => {
                let what = match error {
                    error if error.is_unreachable() && age.is_some() => "lost",
                    error => error.brief(),
                };
                let old =
                    age.map_or_else(String::new, |age| format!(", figures {} old", told(age)));
                (format!("{} {what}{old}", self.signs.cross), self.theme.bad)
            }
            (Link::Live, _, Some((time, true))) => (
                format!("{} stale, {} old", self.signs.ring, told(time)),
                self.theme.warn,
            ),
            (Link::Live, _, Some((time, false))) => (
                format!("{} slow, {}", self.signs.ring, told(time)),
                self.theme.warn,
            ),
            (Link::Live, ..) => self.live_state(),
        }
    }

    /// What is said while readings come: they tell nothing of writes.
    fn live_state(&self) -> (String, Style) {
        let count = |severity| {
            let found = self.app.findings.iter();
            found.filter(|found| found.severity == severity).count()
        };
        let told = |sign, n| match n {
            0 => String::new(),
            n => format!("  {sign}{n}"),
        };
        let bad = told(self.signs.square, count(Severity::Bad));
        let warnings = told(self.signs.triangle, count(Severity::Warning));
        let style = match (bad.is_empty(), warnings.is_empty()) {
            (false, _) => self.theme.bad,
            (true, false) => self.theme.warn,
            (true, true) => self.theme.ok,
        };
        match self.app.writes() {
            Writes::Refused(_) => (
                format!("{} refuses writes", self.signs.square),
                self.theme.bad,
            ),
            Writes::Accepted => (format!("{} live{bad}{warnings}", self.signs.dot), style),
            Writes::NotTried => (
                format!("{} live, writes not tried{bad}{warnings}", self.signs.ring),
                style,
            ),
        }
    }

    fn clock(&self) -> String {
        match self.app.now() {
            0 => "--:--:--".into(),
            now => self.time(now),
        }
    }

    /// The screens.
    pub(super) fn tabs(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut spans = vec![Span::raw(" ".repeat(MARGIN))];
        for (screen, text) in self.app.tabs(area.width.into()) {
            let style = if screen == self.app.screen {
                self.theme.accent.patch(self.theme.title)
            } else {
                self.theme.dim
            };
            spans.push(Span::styled(text, style));
        }
        Self::line(frame, area, Line::from(spans), Style::new());
    }

    /// What is being done, what was just done, or what is wrong.
    pub(super) fn status(&self, frame: &mut Frame<'_>, area: Rect) {
        let width = usize::from(area.width);
        let app = self.app;
        let (text, style) = if let Some(work) = &app.work {
            let stop = if work.stopping {
                "stopping"
            } else {
                "esc stops"
            };
            let gauge = self.gauge(work.done, work.total, (area.width / 8).clamp(6, 20).into());
            let left = work.left(app.uptime).map_or_else(String::new, |left| {
                // Whole seconds: more would be made up.
                let left = Duration::from_secs(left.as_secs().max(1));
                format!(", about {} left", told(left))
            });
            let told = format!(
                " {gauge} {} of {}{left}, {stop}: {}",
                thousands(work.done),
                thousands(work.total),
                work.words
            );
            (told, self.theme.accent)
        } else if !app.held.is_empty() {
            let keys = plural(app.held.count() as u64, "key");
            let told = format!(
                " {} waiting for Redis: {keys} typed ahead, esc drops them",
                self.signs.ring
            );
            (told, self.theme.warn)
        } else if let Some(said) = self.said().filter(|said| said.fits(width)) {
            (format!(" {} {}", said.sign, said.text), said.style)
        } else if let Some(paused) = self.paused() {
            (paused, self.theme.warn)
        } else {
            (String::new(), self.theme.text)
        };
        Self::line(frame, area, Line::from(clip(&text, width)), style);
    }

    /// What was last said: of a mistake in a filter, or of what was done.
    fn said(&self) -> Option<Said<'_>> {
        let app = self.app;
        if let (Screen::Dlq, Some(text)) = (app.screen, &app.dlq.mistake) {
            return Some(Said {
                sign: self.signs.cross,
                text: text.into(),
                style: self.theme.bad,
            });
        }
        let notice = app.notices.last()?;
        let (sign, style) = match notice.level {
            Level::Good => (self.signs.dot, self.theme.ok),
            Level::Note => (self.signs.ring, self.theme.text),
            Level::Bad => (self.signs.cross, self.theme.bad),
        };
        Some(Said {
            sign,
            text: (&notice.text).into(),
            style,
        })
    }

    /// What the status line has no room for, and what is wrong and what to do, over the last rows
    /// of the screen.
    pub(super) fn trouble(&self, frame: &mut Frame<'_>, body: Rect) {
        let width = usize::from(body.width);
        // An account says the same.
        let accounted = matches!(self.app.overlay, Some(Overlay::Account(_)));
        let said = self.said().filter(|said| {
            let seen = self.app.work.is_none() && said.fits(width);
            !seen && !accounted
        });
        let lines: Vec<Line<'_>> = said
            .into_iter()
            .chain(self.troubled())
            .flat_map(|said| {
                let lines = wrap(&said.text, width.saturating_sub(4)).into_iter();
                lines.enumerate().map(move |(n, text)| {
                    let sign = if n == 0 { said.sign } else { " " };
                    Line::styled(fit(&format!(" {sign} {text}"), width), said.style)
                })
            })
            .collect();
        if lines.is_empty() {
            return;
        }
        let height = u16::try_from(lines.len())
            .unwrap_or(body.height)
            .min(body.height);
        let area = Rect::new(body.x, body.bottom() - height, body.width, height);
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(lines), area);
    }

    /// What is wrong with Redis, or with this screen.
    fn troubled(&self) -> Option<Said<'static>> {
        let app = self.app;
        let said = |text: String, style| Said {
            sign: self.signs.cross,
            text: text.into(),
            style,
        };
        if let Link::Lost { error, .. } = &app.link {
            let told = format!("{error} The console goes on trying.");
            return Some(said(told, self.theme.bad));
        }
        if let Some(error) = app.refused.get(&app.screen) {
            let told = format!("What belongs here cannot be read: {error}");
            return Some(said(told, self.theme.bad));
        }
        if let (Screen::Live, Some(version)) = (app.screen, app.live.newer) {
            let version = match version {
                0 => "another version".into(),
                version => format!("version {version}"),
            };
            let unread = match app.live.unread {
                0 => String::new(),
                n => format!(", {} of them unreadable here", plural(n, "message")),
            };
            let told = format!("Events of {version} come{unread}: update this console.");
            return Some(said(told, self.theme.warn));
        }
        let (time, now) = app.slow().filter(|(time, _)| *time >= VERY_SLOW)?;
        let (url, time) = (&app.options.url, told(time));
        let told = if now {
            format!("Redis at {url} has not answered for {time}. The console goes on waiting.")
        } else {
            format!("Redis at {url} takes {time} to answer, and so does every key here.")
        };
        let what = "Is the way there slow (redis-cli --latency), or the server busy (SLOWLOG GET)?";
        Some(said(format!("{told} {what}"), self.theme.warn))
    }

    /// How far something has come.
    pub(super) fn gauge(&self, done: u64, total: u64, width: u64) -> String {
        let filled = (done.min(total) * width)
            .checked_div(total)
            .unwrap_or(width);
        let (full, empty) = if self.app.options.unicode {
            ("█", "░")
        } else {
            ("#", ".")
        };
        let times = |sign: &str, n: u64| sign.repeat(usize::try_from(n).unwrap_or(0));
        times(full, filled) + &times(empty, width - filled)
    }

    /// The keys that work here.
    pub(super) fn footer(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut spans = vec![Span::raw(" ".repeat(MARGIN))];
        for key in self.app.footer(area.width.into()) {
            spans.push(Span::styled(key.key.to_string(), self.theme.key));
            spans.push(Span::styled(format!(" {}  ", key.label), self.theme.dim));
        }
        match self.pause().or(self.environment()) {
            Some(style) => Self::line(frame, area, plain(Line::from(spans)), style),
            None => Self::line(frame, area, Line::from(spans), Style::new()),
        }
    }

    /// The frame while the workers are paused, so that nobody forgets to resume them.
    fn pause(&self) -> Option<Style> {
        self.app.is_paused().then_some(self.theme.paused)
    }

    /// That the workers are paused, and whether they have finished what was in flight; not from old
    /// figures.
    fn paused(&self) -> Option<String> {
        let (figures, _) = self.app.figures.as_ref()?;
        let fresh = matches!(self.app.link, Link::Live) && self.app.slow().is_none();
        match figures.in_flight {
            _ if !figures.paused || !fresh => None,
            0 => Some(format!(
                " {} paused, and drained: safe to deploy; nothing is in flight",
                self.signs.dot
            )),
            n => Some(format!(
                " {} paused: {} in flight, not drained yet",
                self.signs.ring,
                thousands(n)
            )),
        }
    }

    /// The frame of an environment that has a colour: nobody takes it for another one.
    fn environment(&self) -> Option<Style> {
        let (_, color) = self.app.options.profile.as_ref()?;
        let light = Style::new()
            .fg(Color::Indexed(231))
            .add_modifier(Modifier::BOLD);
        (*color).map(|color| light.bg(color))
    }
}

/// From this time for an answer on it is told what to do about it.
const VERY_SLOW: Duration = Duration::from_secs(1);

/// The URL, without what comes before the host where there is no room for it.
fn where_it_is(url: &str, room: usize) -> &str {
    match url.split_once("://") {
        Some((_, host)) if url.width() > room => host,
        _ => url,
    }
}

/// A length of time in words.
fn told(time: Duration) -> String {
    human_duration(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// Something that is said, in the status line or in as many rows as it needs.
struct Said<'a> {
    sign: &'static str,
    text: Cow<'a, str>,
    style: Style,
}

impl Said<'_> {
    /// Whether the status line has room for it.
    fn fits(&self, width: usize) -> bool {
        harmless(&self.text).width() + 3 <= width
    }
}
