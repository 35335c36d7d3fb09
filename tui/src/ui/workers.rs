//! The workers.

use bridge_shared::clock::human_duration;
use bridge_shared::stats::Worker;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::Ui;
use crate::layout;
use crate::text::{fit, thousands};

impl Ui<'_> {
    pub(super) fn workers(&self, frame: &mut Frame<'_>, body: Rect) {
        let [heading, list] = layout::headed(body);
        let width = usize::from(body.width);
        let name = width.saturating_sub(62).clamp(12, 44);
        let titles = format!(
            "   {} {:<9} {:>9} {:>10} {:>6} {:>7} {:<10}",
            fit("worker", name),
            "state",
            "in hand",
            "finished",
            "up",
            "lease",
            "version"
        );
        Self::line(frame, heading, Line::from(titles), self.theme.dim);
        let Some((figures, _)) = &self.app.figures else {
            return;
        };
        if figures.workers.is_empty() {
            self.note(
                frame,
                list,
                "no worker is running; start one: scrapegoat-worker",
            );
        }
        let at = &self.app.workers_at;
        let rows = at.rows(figures.workers.len(), list.height.into());
        for (n, worker) in rows.clone().zip(&figures.workers[rows.clone()]) {
            let Some(row) = Self::row(list, n - rows.start) else {
                break;
            };
            let (sign, word, style) = self.worker_state(worker);
            let info = &worker.info;
            let text = format!(
                " {sign} {} {word:<9} {:>9} {:>10} {:>6} {:>7} {}",
                fit(&worker.id, name),
                format!("{}/{}", worker.in_flight, info.concurrency),
                thousands(info.finished),
                human_duration(self.app.now() - info.started),
                if worker.lease_ms > 0 {
                    human_duration(worker.lease_ms)
                } else {
                    "over".into()
                },
                fit(
                    &format!("{} {}", info.version, info.pipeline),
                    width.saturating_sub(name + 50)
                ),
            );
            let style = if n == at.cursor {
                self.theme.cursor
            } else {
                style
            };
            Self::line(frame, row, Line::from(text), style);
        }
    }

    /// A worker's sign, state and style.
    pub(super) fn worker_state(&self, worker: &Worker) -> (&'static str, &'static str, Style) {
        if worker.lease_ms <= 0 {
            (self.signs.cross, "LOST", self.theme.bad)
        } else if worker.info.draining {
            (self.signs.ring, "stopping", self.theme.warn)
        } else {
            (self.signs.dot, "working", self.theme.text)
        }
    }
}
