//! What waits, is in flight or is due again.

use bridge_shared::lead::Lead;
use bridge_shared::store::look::{Entry, Stage};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ui;
use super::dlq::brief_lead;
use crate::layout;
use crate::text::{age, brief, fit, thousands};

impl Ui<'_> {
    pub(super) fn queue(&self, frame: &mut Frame<'_>, body: Rect) {
        let [summary, list] = layout::headed(body);
        let app = self.app;
        let figures = app.figures.as_ref().map(|(figures, _)| figures);
        let mut spans = vec![Span::raw(" ")];
        for (stage, name, n) in [
            (
                Stage::Waiting,
                "waiting",
                figures.map(|figures| figures.waiting),
            ),
            (
                Stage::InFlight,
                "in flight",
                figures.map(|figures| figures.in_flight),
            ),
            (Stage::Retry, "retry", figures.map(|figures| figures.retry)),
        ] {
            let here = stage == app.stage;
            let style = if here {
                self.theme.accent.patch(self.theme.title)
            } else {
                self.theme.dim
            };
            let (open, close) = if here { ("[", "]") } else { (" ", " ") };
            spans.push(Span::styled(
                format!("{open}{name} {}{close} ", n.map_or("-".into(), thousands)),
                style,
            ));
        }
        Self::line(frame, summary, Line::from(spans), Style::new());
        let window = &app.queue;
        if window.count() == 0 {
            let text = match (window.known, app.stage) {
                (false, _) => "not read yet",
                (true, Stage::Waiting) => "no lead waits",
                (true, Stage::InFlight) => "no lead is in flight",
                (true, Stage::Retry) => "no lead waits for a retry",
            };
            self.note(frame, list, text);
        }
        let width = list.width.into();
        self.window_rows(frame, list, window, |entry, index| {
            self.entry_line(entry, index, width)
        });
    }

    fn entry_line(&self, entry: &Entry, index: usize, width: usize) -> Line<'static> {
        let lead = brief_lead(entry.lead());
        let name = lead.as_ref().and_then(Lead::full_name);
        let url = lead
            .as_ref()
            .and_then(Lead::linkedin_url)
            .unwrap_or_default();
        let known = name.is_some() || !url.is_empty();
        let name = name.unwrap_or_else(|| {
            let lead = entry.lead();
            if known {
                String::new()
            } else {
                String::from_utf8_lossy(&lead[..lead.len().min(200)]).into_owned()
            }
        });
        let history = entry
            .envelope
            .as_ref()
            .map_or_else(String::new, |envelope| {
                let tries = envelope.attempts.len();
                format!("{tries} tries, {}", brief(&envelope.error))
            });
        let first = match (entry.due, &entry.worker) {
            (Some(due), _) => format!("in {}", age(due, Some(self.app.now()))),
            (_, Some(worker)) => worker.clone(),
            _ => format!("#{}", thousands(index as u64 + 1)),
        };
        let first_width = if entry.worker.is_some() { 22 } else { 10 };
        let rest = width.saturating_sub(first_width + 28);
        let more = if history.is_empty() { url } else { history };
        Line::from(vec![
            Span::styled(format!(" {} ", fit(&first, first_width)), self.theme.dim),
            Span::styled(
                fit(&name, 24),
                if known {
                    self.theme.text
                } else {
                    self.theme.dim
                },
            ),
            Span::raw(" "),
            Span::styled(fit(&more, rest), self.theme.dim),
        ])
    }
}
