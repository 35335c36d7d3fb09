//! The workers.

use bridge_shared::clock::human_duration;
use bridge_shared::stats::{Worker, WorkerInfo};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use super::Ui;
use crate::layout;
use crate::text::{fit, plural, thousands, wrap};

impl Ui<'_> {
    pub(super) fn workers(&self, frame: &mut Frame<'_>, body: Rect) {
        let [heading, list] = layout::headed(body);
        let width = usize::from(body.width);
        let name = width.saturating_sub(62).clamp(12, 44);
        // Where there is little room, what matters least is left out, and not cut.
        let up = |text: &str| {
            if width < 72 {
                String::new()
            } else {
                format!("{text:>6} ")
            }
        };
        let rest = width.saturating_sub(name + 43 + up("").len());
        let titles = format!(
            "   {} {:<9} {:>9} {:>10} {}{:>7} {}",
            fit("worker", name),
            "state",
            "in hand",
            "finished",
            up("up"),
            "lease",
            if rest < 7 { "" } else { "version" }
        );
        Self::line(frame, heading, Line::from(titles), self.theme.dim);
        let Some((figures, _)) = &self.app.figures else {
            return self.note(frame, list, "not read yet");
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
                " {sign} {} {word:<9} {:>9} {:>10} {}{:>7} {}",
                fit(&worker.id, name),
                format!("{}/{}", worker.in_flight, info.concurrency),
                thousands(info.finished),
                up(&match info.started {
                    0 => "?".into(),
                    started => human_duration(self.app.now() - started),
                }),
                if worker.lease_ms > 0 {
                    human_duration(worker.lease_ms)
                } else {
                    "over".into()
                },
                if rest < 7 {
                    String::new()
                } else {
                    fit(&version(info), rest)
                },
            );
            let style = if n == at.cursor {
                self.theme.cursor
            } else {
                style
            };
            Self::line(frame, row, Line::from(text), style);
        }
        self.strangers(frame, list, &figures.workers);
    }

    /// Which workers are of a version that this console knows less of, in the last row.
    fn strangers(&self, frame: &mut Frame<'_>, list: Rect, workers: &[Worker]) {
        let newer = workers.iter().filter(|worker| worker.info.is_newer());
        let silent = workers
            .iter()
            .filter(|worker| worker.info == WorkerInfo::default());
        let told = match (newer.count() as u64, silent.count() as u64) {
            (0, 0) => return,
            (0, n) => format!(
                "{} nothing of themselves that this console can read: is it too old for them?",
                saying(n)
            ),
            (n, _) => format!(
                "{} newer than this console ({}): update it, or what is new in them is not shown",
                being(n),
                env!("CARGO_PKG_VERSION")
            ),
        };
        let lines = wrap(&told, usize::from(list.width).saturating_sub(2));
        let height = u16::try_from(lines.len()).unwrap_or(1).min(list.height);
        let area = Rect::new(list.x, list.bottom() - height, list.width, height);
        let lines: Vec<_> = lines
            .into_iter()
            .map(|line| Line::from(format!(" {line}")))
            .collect();
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(lines).style(self.theme.warn), area);
    }

    /// A worker's sign, state and style.
    pub(super) fn worker_state(&self, worker: &Worker) -> (&'static str, &'static str, Style) {
        if worker.lease_ms <= 0 {
            (self.signs.cross, "LOST", self.theme.bad)
        } else if worker.info.draining {
            (self.signs.ring, "stopping", self.theme.warn)
        } else if self.app.is_paused() {
            (self.signs.ring, "paused", self.theme.warn)
        } else {
            (self.signs.dot, "working", self.theme.text)
        }
    }
}

fn version(info: &WorkerInfo) -> String {
    let more = if info.is_newer() {
        "newer"
    } else {
        &info.pipeline
    };
    format!("{} {more}", info.version)
}

fn being(n: u64) -> String {
    let are = if n == 1 { "is" } else { "are" };
    format!("{} {are}", plural(n, "worker"))
}

fn saying(n: u64) -> String {
    let say = if n == 1 { "says" } else { "say" };
    format!("{} {say}", plural(n, "worker"))
}
