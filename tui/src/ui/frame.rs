//! Around every screen: what and where this is, the screens, what was just done, and the keys.

use bridge_shared::clock::human_duration;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::{Ui, plain};
use crate::app::Link;
use crate::app::chrome::MARGIN;
use crate::message::Level;
use crate::screen::Screen;
use crate::text::{clip, thousands, wrap};

/// From this age on figures are called stale.
const STALE: u128 = 3_000;

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
        if app
            .figures
            .as_ref()
            .is_some_and(|(figures, _)| figures.paused)
        {
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
                format!("  {}", clip(&app.options.url, room)),
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
        match self.frame_style() {
            Some(style) => Self::line(frame, area, plain(line), style),
            None => Self::line(frame, area, line, self.theme.bar),
        }
    }

    fn state(&self) -> (String, Style) {
        let age = self.app.age().map(|age| age.as_millis());
        let old = |age: u128| human_duration(i64::try_from(age).unwrap_or(i64::MAX));
        match (&self.app.link, age) {
            (Link::Connecting, _) => (format!("{} connecting", self.signs.ring), self.theme.warn),
            (Link::Lost { .. }, Some(age)) => (
                format!("{} lost, figures {} old", self.signs.cross, old(age)),
                self.theme.bad,
            ),
            (Link::Lost { .. }, None) => (format!("{} no Redis", self.signs.cross), self.theme.bad),
            (Link::Live, Some(age)) if age > STALE => (
                format!("{} stale, {} old", self.signs.ring, old(age)),
                self.theme.warn,
            ),
            (Link::Live, _) => (format!("{} live", self.signs.dot), self.theme.ok),
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
        for (screen, text) in self.app.tabs() {
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
            let gauge = self.gauge(work.done, work.total, 20);
            let told = format!(
                " {gauge} {} of {}, {stop}: {}",
                thousands(work.done),
                thousands(work.total),
                work.words
            );
            (told, self.theme.accent)
        } else if let (Screen::Dlq, Some(mistake)) = (app.screen, &app.dlq.mistake) {
            (format!(" {} {mistake}", self.signs.cross), self.theme.bad)
        } else if let Some(notice) = app.notices.last() {
            let (sign, style) = match notice.level {
                Level::Good => (self.signs.dot, self.theme.ok),
                Level::Note => (self.signs.ring, self.theme.text),
                Level::Bad => (self.signs.cross, self.theme.bad),
            };
            (format!(" {sign} {}", notice.text), style)
        } else {
            (String::new(), self.theme.text)
        };
        Self::line(frame, area, Line::from(clip(&text, width)), style);
    }

    /// Why Redis does not answer and what to do, over the last rows of the screen.
    pub(super) fn trouble(&self, frame: &mut Frame<'_>, body: Rect) {
        let Link::Lost { error, .. } = &self.app.link else {
            return;
        };
        let width = usize::from(body.width).saturating_sub(4);
        let told = format!("{error} The console goes on trying.");
        let mut lines: Vec<Line<'_>> = wrap(&told, width)
            .into_iter()
            .map(|text| Line::from(format!("   {text}")))
            .collect();
        if let Some(first) = lines.first_mut() {
            *first = Line::from(format!(
                " {} {}",
                self.signs.cross,
                first.to_string().trim_start()
            ));
        }
        let height = u16::try_from(lines.len())
            .unwrap_or(body.height)
            .min(body.height);
        let area = Rect::new(body.x, body.bottom() - height, body.width, height);
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(lines).style(self.theme.bad), area);
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
        match self.frame_style() {
            Some(style) => Self::line(frame, area, plain(Line::from(spans)), style),
            None => Self::line(frame, area, Line::from(spans), Style::new()),
        }
    }

    /// The frame of an environment that has a colour: nobody takes it for another one.
    fn frame_style(&self) -> Option<Style> {
        let (_, color) = self.app.options.profile.as_ref()?;
        let light = Style::new()
            .fg(Color::Indexed(231))
            .add_modifier(Modifier::BOLD);
        (*color).map(|color| light.bg(color))
    }
}
