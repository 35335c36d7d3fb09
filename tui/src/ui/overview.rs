//! The overview.

use bridge_shared::clock::human_duration;
use bridge_shared::stats::Snapshot;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ui;
use super::chart::{Bars, round_top};
use super::pipeline::station_time;
use crate::app::trend::Point;
use crate::text::{brief, clip, fit, short, shorten, thousands, wrap};

/// From this many rows on there is room for the stations below the workers.
const ROOM_FOR_STATIONS: u16 = 9;

/// One figure in large. The name and the note are given in full, and shorter for where that does
/// not fit: no word is cut.
struct Tile {
    name: [&'static str; 2],
    value: [String; 2],
    note: [String; 2],
    style: Style,
}

impl Ui<'_> {
    pub(super) fn overview(&self, frame: &mut Frame<'_>, body: Rect) {
        let below = if body.height >= 24 {
            Constraint::Percentage(42)
        } else {
            Constraint::Length(7)
        };
        let lines = self.band_lines(body);
        let band = Constraint::Length(u16::try_from(lines.len()).unwrap_or(1));
        let [band, tiles, charts, below] =
            Layout::vertical([band, Constraint::Length(4), Constraint::Fill(1), below]).areas(body);
        Self::band(frame, band, lines);
        self.tiles(frame, tiles);
        let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2);
        let [throughput, depth] = halves.areas(charts);
        self.throughput(frame, throughput);
        self.depth(frame, depth);
        let [left, right] = halves.areas(below);
        let crew = self.figures().workers.len().max(1) + 1;
        let crew = u16::try_from(crew).unwrap_or(u16::MAX);
        let [crew, stations] = if below.height >= ROOM_FOR_STATIONS {
            let most = below.height / 2;
            Layout::vertical([Constraint::Length(crew.min(most)), Constraint::Fill(1)])
                .spacing(1)
                .areas(left)
        } else {
            [left, Rect::ZERO]
        };
        self.crew(frame, crew);
        self.stations_at_a_glance(frame, stations);
        let (title, lines) = self.returns(usize::from(right.width).saturating_sub(2));
        let height = if lines.is_empty() { 0 } else { lines.len() + 1 };
        let height = Constraint::Length(u16::try_from(height).unwrap_or(0));
        let [errors, returns] = Layout::vertical([Constraint::Fill(1), height]).areas(right);
        self.errors(frame, errors);
        if !lines.is_empty() {
            let inner = self.panel(frame, returns, title);
            for (n, line) in lines.into_iter().enumerate() {
                if let Some(row) = Self::row(inner, n) {
                    Self::line(frame, row, Line::from(format!(" {line}")), self.theme.text);
                }
            }
        }
    }

    fn figures(&self) -> &Snapshot {
        static NONE: std::sync::LazyLock<Snapshot> = std::sync::LazyLock::new(Snapshot::default);
        self.app
            .figures
            .as_ref()
            .map_or(&NONE, |(figures, _)| figures)
    }

    fn tiles(&self, frame: &mut Frame<'_>, area: Rect) {
        let tiles = self.tile_texts();
        let columns = Layout::horizontal(vec![Constraint::Fill(1); tiles.len()]).split(area);
        for (tile, column) in tiles.into_iter().zip(columns.iter()) {
            let width = usize::from(column.width).saturating_sub(1);
            let fitting = |[full, short]: [String; 2]| {
                if full.len() <= width { full } else { short }
            };
            let (value, note) = if self.app.figures.is_some() {
                (fitting(tile.value), fitting(tile.note))
            } else {
                ("-".into(), String::new())
            };
            let lines = [
                (fitting(tile.name.map(Into::into)), self.theme.dim),
                (value, tile.style),
                (note, self.theme.dim),
            ];
            for (n, (text, style)) in lines.into_iter().enumerate() {
                if let Some(row) = Self::row(*column, n) {
                    Self::line(
                        frame,
                        row,
                        Line::from(format!(" {}", clip(&text, width))),
                        style,
                    );
                }
            }
        }
    }

    fn tile_texts(&self) -> Vec<Tile> {
        let figures = self.figures();
        let totals = &figures.totals;
        let now = self.app.now();
        let slots: u64 = figures
            .workers
            .iter()
            .map(|worker| u64::from(worker.info.concurrency))
            .sum();
        let tile = |name, value: u64, note, style| Tile {
            name,
            value: [thousands(value), short(value)],
            note,
            style,
        };
        let lively = |n: u64, style| {
            if n > 0 {
                self.theme.figure.patch(style)
            } else {
                self.theme.figure
            }
        };
        let both = |text: &str| [text.to_owned(), text.to_owned()];
        let retry_note = match figures.next_retry {
            None => ["none due".into(), "none due".into()],
            Some(due) if due <= now => both("due now"),
            Some(due) => {
                let left = human_duration(due - now);
                [format!("next in {left}"), format!("in {left}")]
            }
        };
        let per_second = rate(figures.rate_per_s);
        let failing = rate(figures.failed_per_s);
        vec![
            tile(
                ["waiting"; 2],
                figures.waiting,
                self.time_to_empty(),
                self.theme.figure,
            ),
            tile(
                ["in flight"; 2],
                figures.in_flight,
                if figures.search.gap().is_some() {
                    both("or more")
                } else {
                    [
                        format!("of {} slots", thousands(slots)),
                        format!("of {}", short(slots)),
                    ]
                },
                self.theme.figure,
            ),
            tile(
                ["retry"; 2],
                figures.retry,
                retry_note,
                lively(figures.retry, self.theme.warn),
            ),
            tile(
                ["dead"; 2],
                figures.dead,
                [
                    format!("{} in all", thousands(totals.dead)),
                    format!("of {}", short(totals.dead)),
                ],
                lively(figures.dead, self.theme.bad),
            ),
            tile(
                ["done"; 2],
                totals.done,
                match totals.over_budget {
                    0 => both("in all"),
                    n => [
                        format!("{} plain", thousands(n)),
                        format!("{} plain", short(n)),
                    ],
                },
                self.theme.figure.patch(match totals.over_budget {
                    0 => self.theme.ok,
                    _ => self.theme.warn,
                }),
            ),
            Tile {
                name: ["per second", "per s"],
                value: [per_second.clone(), per_second],
                note: [format!("{failing} failing"), format!("{failing} bad")],
                style: self.theme.figure,
            },
        ]
    }

    /// When the waiting list will be empty at the present rate.
    fn time_to_empty(&self) -> [String; 2] {
        let figures = self.figures();
        let done = figures.rate_per_s;
        // The rate is one of the last minute; that nothing moves any more is seen sooner.
        let stands = self
            .app
            .trend
            .lately()
            .is_some_and(|lately| lately.done < 0.05);
        let why = if figures.waiting == 0 {
            Some(["empty"; 2])
        } else if figures.paused {
            Some(["paused"; 2])
        } else if figures.registered().next().is_none() {
            Some(["no worker"; 2])
        } else {
            (stands || done < 0.05).then_some(["not moving", "still"])
        };
        if let Some(why) = why {
            return why.map(Into::into);
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        let ms = (figures.waiting as f64 / done * 1_000.0) as i64;
        let time = human_duration(ms);
        [format!("empty in {time}"), format!("in {time}")]
    }

    fn throughput(&self, frame: &mut Frame<'_>, area: Rect) {
        let figures = self.app.figures.as_ref();
        let told = |of: fn(&Snapshot) -> f64| {
            figures.map_or_else(|| "-".into(), |(figures, _)| rate(of(figures)))
        };
        let title = Line::from(vec![
            Span::styled("Done/s ", self.theme.title),
            Span::styled(format!("{} ", told(|now| now.rate_per_s)), self.theme.ok),
            Span::styled("failed/s ", self.theme.title),
            Span::styled(format!("{} ", told(|now| now.failed_per_s)), self.theme.bad),
            Span::styled(format!("{} ", self.app.span.title()), self.theme.dim),
        ]);
        let inner = self.panel(frame, area, title);
        let failed_rows = if inner.height >= 6 {
            inner.height / 3
        } else {
            1
        };
        let [done, failed] =
            Layout::vertical([Constraint::Fill(1), Constraint::Length(failed_rows)]).areas(inner);
        let points = self.points(inner);
        let done_values: Vec<_> = points
            .iter()
            .map(|point| Some(point.as_ref()?.done))
            .collect();
        let failed_values: Vec<_> = points
            .iter()
            .map(|point| Some(point.as_ref()?.failed))
            .collect();
        // Both on one scale, or a few failures would look like many.
        let largest = |values: &[Option<f64>]| round_top(values.iter().copied().flatten());
        let top = largest(&done_values);
        self.bars(frame, done, &done_values, top, self.theme.ok);
        let share = f64::from(failed.height) / f64::from(done.height.max(1));
        let failed_top = if failed.height > 1 {
            top * share
        } else {
            largest(&failed_values)
        };
        self.bars(frame, failed, &failed_values, failed_top, self.theme.bad);
        self.scale(frame, done, &format!("{}/s", rate(top)));
    }

    fn depth(&self, frame: &mut Frame<'_>, area: Rect) {
        let title = self.title("Waiting", self.app.span.title());
        let inner = self.panel(frame, area, title);
        let values: Vec<_> = self
            .points(inner)
            .iter()
            .map(|point| point.as_ref()?.depth)
            .collect();
        let top = round_top(values.iter().copied().flatten());
        self.bars(frame, inner, &values, top, self.theme.accent);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.scale(frame, inner, &thousands(top.round() as u64));
    }

    fn points(&self, area: Rect) -> Vec<Option<Point>> {
        let columns = usize::from(area.width);
        self.app
            .trend
            .points(self.app.now(), self.app.span, columns)
    }

    fn bars(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        values: &[Option<f64>],
        top: f64,
        style: Style,
    ) {
        let bars = Bars {
            values,
            top,
            style,
            unknown: self.theme.dim,
            unicode: self.app.options.unicode,
        };
        frame.render_widget(bars, area);
    }

    /// What a full bar stands for, in the corner.
    fn scale(&self, frame: &mut Frame<'_>, area: Rect, text: &str) {
        if let Some(row) = Self::row(area, 0) {
            let width = u16::try_from(text.len())
                .unwrap_or(row.width)
                .min(row.width);
            let corner = Rect::new(row.x, row.y, width, 1);
            Self::line(frame, corner, Line::from(text.to_owned()), self.theme.dim);
        }
    }

    fn crew(&self, frame: &mut Frame<'_>, area: Rect) {
        let workers = &self.figures().workers;
        let known = self.app.figures.is_some();
        let title = self.title(
            "Workers",
            &if known {
                self.figures().registered().count().to_string()
            } else {
                String::new()
            },
        );
        let inner = self.panel(frame, area, title);
        if workers.is_empty() && self.app.figures.is_some() {
            let text = "no worker is running; start one: scrapegoat-worker";
            self.note(frame, inner, text);
        }
        let rows = usize::from(inner.height);
        for (n, worker) in workers.iter().take(rows).enumerate() {
            let Some(row) = Self::row(inner, n) else {
                break;
            };
            if n + 1 == rows && workers.len() > rows {
                let more = format!(" and {} more: 5 shows all", workers.len() - n);
                Self::line(frame, row, Line::from(more), self.theme.dim);
                break;
            }
            let width = usize::from(row.width);
            let (sign, word, style) = self.worker_state(worker);
            let load = if worker.unregistered {
                worker.in_flight.to_string()
            } else {
                format!("{}/{}", worker.in_flight, worker.info.concurrency)
            };
            let name = width.saturating_sub(load.len() + word.len() + 6);
            let spans = vec![
                Span::styled(format!(" {sign} "), style),
                Span::styled(fit(&worker.id, name), self.theme.text),
                Span::styled(format!(" {word} "), style),
                Span::styled(load, self.theme.dim),
            ];
            Self::line(frame, row, Line::from(spans), Style::new());
        }
    }

    /// What the stations take, for a look at which of them is slow.
    fn stations_at_a_glance(&self, frame: &mut Frame<'_>, area: Rect) {
        if area.height < 2 {
            return;
        }
        let stations = &self.app.stations;
        let inner = self.panel(frame, area, self.title("Stations", stations.span()));
        let list = match stations.list.as_deref() {
            None => return self.note(frame, inner, "not read yet"),
            Some([]) => {
                return self.note(frame, inner, "no station has been called in this time");
            }
            Some(list) => list,
        };
        let name = usize::from(inner.width).saturating_sub(35);
        let line = |label: &str, calls: &str, [p50, p95, p99]: [&str; 3]| {
            format!(
                " {} {calls:>9} {p50:>7} {p95:>7} {p99:>7}",
                fit(label, name)
            )
        };
        let titles = line("", "calls", ["p50", "p95", "p99"]);
        let rows = usize::from(inner.height).saturating_sub(1);
        let mut lines = vec![(titles, self.theme.dim)];
        for (n, station) in list.iter().take(rows).enumerate() {
            if n + 1 == rows && list.len() > rows {
                let more = format!(" and {} more: 6 shows all", list.len() - n);
                lines.push((more, self.theme.dim));
                break;
            }
            let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| station_time(station, share));
            let calls = thousands(station.calls);
            let line = line(&station.station, &calls, [&p50, &p95, &p99]);
            lines.push((line, self.theme.text));
        }
        for (n, (line, style)) in lines.into_iter().enumerate() {
            if let Some(row) = Self::row(inner, n) {
                Self::line(frame, row, Line::from(line), style);
            }
        }
    }

    fn errors(&self, frame: &mut Frame<'_>, area: Rect) {
        let causes = &self.app.causes;
        let more = match causes.seen {
            0 => String::new(),
            n => format!("of the newest {}", thousands(n)),
        };
        let title = self.title("Top errors", &more);
        let inner = self.panel(frame, area, title);
        if causes.list.is_empty() && self.app.figures.is_some() {
            self.note(frame, inner, "no dead letters");
        }
        for (n, (cause, count)) in causes.list.iter().enumerate() {
            let Some(row) = Self::row(inner, n) else {
                break;
            };
            let width = usize::from(row.width).saturating_sub(8);
            let spans = vec![
                Span::styled(format!(" {:>5}  ", thousands(*count)), self.theme.figure),
                Span::styled(clip(&brief(&cause.text), width), self.theme.text),
            ];
            Self::line(frame, row, Line::from(spans), Style::new());
        }
    }

    /// Leads that came back for another attempt: a title, and lines of at most this width.
    fn returns(&self, width: usize) -> (Line<'static>, Vec<String>) {
        let totals = &self.figures().totals;
        let by_attempt = totals.retries_by_attempt.iter();
        let retries: Vec<String> = by_attempt
            .map(|(attempt, n)| format!("#{attempt} {}", thousands(*n)))
            .collect();
        let mut lines = Vec::new();
        let title = if retries.is_empty() {
            self.title("Back to waiting", "")
        } else {
            lines.push(clip(&retries.join("   "), width));
            self.title("Retries", "by attempt")
        };
        let unplanned = [
            (totals.recovered, "recovered from lost workers"),
            (totals.requeued, "handed back"),
        ];
        let told = unplanned.iter().filter(|(n, _)| *n > 0);
        let told: Vec<String> = told
            .map(|(n, what)| format!("{} {what}", thousands(*n)))
            .collect();
        let all = told.join("   ");
        if all.len() <= width {
            lines.extend((!all.is_empty()).then_some(all));
        } else {
            lines.extend(told.iter().map(|told| clip(told, width)));
        }
        (title, lines)
    }

    /// A word where there is nothing else to show.
    pub(super) fn note(&self, frame: &mut Frame<'_>, area: Rect, text: &str) {
        let lines = wrap(text, usize::from(area.width).saturating_sub(2));
        let lines = shorten(lines, area.height.into(), area.width.into());
        for (n, text) in lines.into_iter().enumerate() {
            if let Some(row) = Self::row(area, n) {
                Self::line(frame, row, Line::from(format!(" {text}")), self.theme.dim);
            }
        }
    }
}

/// A rate in as few digits as say it.
fn rate(n: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if n >= 100.0 {
        thousands(n.round() as u64)
    } else if n > 0.0 && n < 0.1 {
        format!("{n:.2}")
    } else {
        format!("{n:.1}")
    }
}
