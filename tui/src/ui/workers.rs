//! The workers.

use bridge_shared::clock::human_duration;
use bridge_shared::findings::after_loss;
use bridge_shared::stats::{Snapshot, Worker, WorkerInfo, WorkerState};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use super::Ui;
use crate::layout;
use crate::text::{fit, plural, thousands, wrap};

/// The state of a worker that is not registered.
const UNREGISTERED: &str = "UNREGISTERED";

/// How wide what is.
struct Columns {
    name: usize,
    state: usize,
    /// Whether there is room for how long a worker has been up. If not, it is left out, and not cut.
    has_up: bool,
    /// What is left for the version.
    rest: usize,
}

impl Columns {
    fn of(width: usize, figures: Option<&Snapshot>) -> Self {
        let is_wide = figures.is_some_and(|figures| figures.unregistered().next().is_some());
        let state = if is_wide { UNREGISTERED.len() } else { 9 };
        let name = width.saturating_sub(53 + state).clamp(12, 44);
        let has_up = width >= 72;
        let up = if has_up { 7 } else { 0 };
        Self {
            name,
            state,
            has_up,
            rest: width.saturating_sub(name + 34 + state + up),
        }
    }

    fn line(
        &self,
        sign: &str,
        name: &str,
        state: &str,
        [load, finished, up, lease, version]: [&str; 5],
    ) -> String {
        let name = fit(name, self.name);
        let up = if self.has_up {
            format!("{up:>6} ")
        } else {
            String::new()
        };
        let version = if self.rest < 7 {
            String::new()
        } else {
            fit(version, self.rest)
        };
        let wide = self.state;
        format!(" {sign} {name} {state:<wide$} {load:>9} {finished:>10} {up}{lease:>7} {version}")
    }
}

impl Ui<'_> {
    pub(super) fn workers(&self, frame: &mut Frame<'_>, body: Rect) {
        let [heading, list] = layout::headed(body);
        let width = usize::from(body.width);
        let figures = self.app.figures.as_ref().map(|(figures, _)| figures);
        let columns = Columns::of(width, figures);
        let titles = columns.line(
            " ",
            "worker",
            "state",
            ["in hand", "finished", "up", "lease", "version"],
        );
        Self::line(frame, heading, Line::from(titles), self.theme.dim);
        let Some(figures) = figures else {
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
            let (text, style) = self.worker_row(worker, &columns);
            let style = if n == at.cursor {
                self.theme.cursor
            } else {
                style
            };
            Self::line(frame, row, Line::from(text), style);
        }
        self.losses(frame, list, figures);
        self.strangers(frame, list, figures);
    }

    fn worker_row(&self, worker: &Worker, columns: &Columns) -> (String, Style) {
        let (sign, word, style) = self.worker_state(worker);
        let info = &worker.info;
        let up = match info.started {
            0 => "?".into(),
            started => human_duration(self.app.now() - started),
        };
        let text = if worker.unregistered {
            let load = worker.in_flight.to_string();
            columns.line(sign, &worker.id, &word, [&load, "?", &up, "none", ""])
        } else {
            let load = format!("{}/{}", worker.in_flight, info.concurrency);
            let finished = thousands(info.finished);
            let lease = if worker.lease_ms > 0 {
                human_duration(worker.lease_ms)
            } else {
                "over".into()
            };
            let cells = [&*load, &*finished, &*up, &*lease, &*version(info)];
            columns.line(sign, &worker.id, &word, cells)
        };
        (text, style)
    }

    /// Which workers are of a version that this console knows less of, in the last row.
    fn strangers(&self, frame: &mut Frame<'_>, list: Rect, figures: &Snapshot) {
        let newer = (figures.registered()).filter(|worker| worker.info.is_newer());
        let silent = figures
            .registered()
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

    /// Below the workers, if there is room: what to do about leads of unregistered workers, what keeps
    /// some from their work, and those that were lost, with what became of their leads.
    fn losses(&self, frame: &mut Frame<'_>, list: Rect, figures: &Snapshot) {
        let free = usize::from(list.height).saturating_sub(figures.workers.len() + 1);
        let width = usize::from(list.width).saturating_sub(4);
        let troubled = figures.workers.iter().filter(|worker| {
            worker.state() != WorkerState::Lost && !worker.info.trouble.is_empty()
        });
        let troubled = troubled.map(|worker| {
            let text = format!("{}: {}", worker.id, worker.info.trouble);
            (self.signs.square, text, self.theme.bad)
        });
        let gone = figures.lost.iter().map(|lost| {
            let ago = human_duration(figures.now - lost.at);
            let text = format!("{} was lost {ago} ago; {}", lost.worker, after_loss(lost));
            (self.signs.dot, text, self.theme.text)
        });
        let stranded = self.app.findings.iter();
        let stranded = stranded.filter(|finding| finding.name == "worker_unregistered");
        let stranded = stranded.map(|finding| {
            let text = format!("{}. {}", finding.text, finding.remedy);
            (self.signs.cross, text, self.theme.bad)
        });
        let unsure = figures.search.gap().map(|why| {
            let text = format!("in flight may be more: {why}");
            (self.signs.triangle, text, self.theme.warn)
        });
        let lines = stranded.chain(unsure).chain(troubled).chain(gone);
        let lines = lines.flat_map(|(sign, text, style)| {
            let lines = wrap(&text, width).into_iter().enumerate();
            lines.map(move |(n, text)| {
                let sign = if n == 0 { sign } else { " " };
                Line::styled(format!(" {sign} {text}"), style)
            })
        });
        let top = figures.workers.len() + 1;
        for (n, line) in lines.take(free).enumerate() {
            if let Some(row) = Self::row(list, top + n) {
                Self::line(frame, row, line, Style::new());
            }
        }
    }

    /// A worker's sign, state and style.
    pub(super) fn worker_state(&self, worker: &Worker) -> (&'static str, String, Style) {
        let told = |sign, word: &str, style| (sign, word.to_owned(), style);
        match worker.state_with(&self.app.writes()) {
            WorkerState::Unregistered => told(self.signs.cross, UNREGISTERED, self.theme.bad),
            WorkerState::Lost => told(self.signs.cross, "LOST", self.theme.bad),
            WorkerState::Silent => {
                let silent = human_duration(worker.silent_ms().unwrap_or(0));
                let word = format!("silent {silent}");
                (self.signs.triangle, word, self.theme.warn)
            }
            WorkerState::Unheard => told(self.signs.ring, "unheard", self.theme.warn),
            WorkerState::Troubled => told(self.signs.square, "troubled", self.theme.bad),
            WorkerState::Draining => told(self.signs.ring, "stopping", self.theme.warn),
            WorkerState::Working if self.app.is_paused() => {
                told(self.signs.ring, "paused", self.theme.warn)
            }
            WorkerState::Working => told(self.signs.dot, "working", self.theme.text),
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
