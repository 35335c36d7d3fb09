//! The live events.

use bridge_shared::event::EventKind;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ui;
use super::dlq::{FILTER, filter_room};
use crate::app::Link;
use crate::app::live::Told;
use crate::layout;
use crate::text::{brief, clip, fit, plural, thousands};

impl Ui<'_> {
    pub(super) fn live(&self, frame: &mut Frame<'_>, body: Rect) {
        let [summary, list] = layout::headed(body);
        self.live_summary(frame, summary);
        let live = &self.app.live;
        let count = live.shown().count();
        if count == 0 {
            let text = if !live.filter.is_empty() {
                "no line matches the filter; esc takes it away"
            } else if matches!(self.app.link, Link::Live) {
                "nothing has happened since this screen was opened"
            } else {
                "nothing was heard since this screen was opened"
            };
            self.note(frame, list, text);
        }
        let rows = live.at.rows(count, list.height.into());
        for (n, told) in live.shown().skip(rows.start).take(rows.len()).enumerate() {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let here = live.held && rows.start + n == live.at.cursor;
            let told = self.event_line(told, row.width.into());
            self.entry(frame, row, told, here);
        }
    }

    fn live_summary(&self, frame: &mut Frame<'_>, area: Rect) {
        let live = &self.app.live;
        let mut spans = vec![Span::raw(" ")];
        if let Some(input) = &live.writing {
            spans.push(Span::styled(FILTER, self.theme.key));
            spans.extend(self.typed(input, filter_room(area)));
        } else {
            let heard = live.received > 0 || matches!(self.app.link, Link::Live);
            let count = if heard {
                plural(live.received, "event")
            } else {
                "Events".into()
            };
            spans.push(Span::styled(count, self.theme.title));
            if live.held {
                spans.push(Span::styled("  held, space follows", self.theme.warn));
            }
            if !live.filter.is_empty() {
                spans.push(Span::styled("  filter ", self.theme.dim));
                spans.push(Span::styled(
                    clip(&live.filter, usize::from(area.width) / 3),
                    self.theme.accent,
                ));
            }
            if live.skipped > 0 {
                let skipped = format!("  {} too fast to show", thousands(live.skipped));
                spans.push(Span::styled(skipped, self.theme.dim));
            }
        }
        Self::line(frame, area, Line::from(spans), Style::new());
    }

    fn event_line(&self, told: &Told, width: usize) -> Line<'static> {
        let event = match told {
            Told::Event { event, .. } => event,
            Told::Gap(at) => {
                return Line::from(vec![
                    Span::styled(format!(" {}  ", self.time(*at)), self.theme.dim),
                    Span::styled(
                        clip(
                            "the connection was cut; events before this line are missing",
                            width.saturating_sub(12),
                        ),
                        self.theme.warn,
                    ),
                ]);
            }
        };
        let style = match event.event {
            EventKind::Succeeded => self.theme.ok,
            EventKind::RetryScheduled
            | EventKind::Recovered
            | EventKind::Requeued
            | EventKind::LeaseLost => self.theme.warn,
            EventKind::Dead | EventKind::Dropped => self.theme.bad,
            EventKind::Redriven => self.theme.accent,
            _ => self.theme.dim,
        };
        let mut more = Vec::new();
        if let Some(station) = &event.station {
            more.push(station.clone());
        }
        if let Some(retry) = event.retry {
            more.push(format!("retry {retry}"));
        }
        if let Some(ms) = event.ms {
            more.push(format!("{} ms", thousands(ms)));
        }
        if let Some(error) = &event.error {
            more.push(brief(error));
        }
        Line::from(vec![
            Span::styled(format!(" {}  ", self.time(event.at)), self.theme.dim),
            Span::styled(fit(&event.lead, 22), self.theme.text),
            Span::styled(format!(" {:<16}", event.event.as_str()), style),
            Span::styled(
                clip(&more.join("  "), width.saturating_sub(50)),
                self.theme.text,
            ),
        ])
    }
}
