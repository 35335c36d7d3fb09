//! The stations: what they did, how long it took and what it cost.

use std::time::Duration;

use bridge_shared::stats::StationStats;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ui;
use crate::layout;
use crate::text::{clip, fit, plural, thousands};

impl Ui<'_> {
    pub(super) fn pipeline(&self, frame: &mut Frame<'_>, body: Rect) {
        let stations = &self.app.stations;
        let layout::PipelineAreas {
            summary,
            heading,
            list,
            detail,
        } = layout::pipeline(body);
        let known = stations.list.as_deref().unwrap_or_default();
        let count = match &stations.list {
            Some(list) => plural(list.len() as u64, "station"),
            None => "Stations".into(),
        };
        let told = Line::from(vec![
            Span::styled(format!(" {count}"), self.theme.title),
            Span::styled(format!("  over {}", stations.span()), self.theme.dim),
        ]);
        Self::line(frame, summary, told, Style::new());
        // Where there is little room, what matters least is left out, and not cut.
        let passed = |text: &str| {
            if body.width < 70 {
                String::new()
            } else {
                format!(" {text:>7}")
            }
        };
        let used = 53 + passed("").len();
        let name = usize::from(body.width).saturating_sub(used).clamp(8, 40);
        let titles = format!(
            " {} {:>8} {:>7}{} {:>7} {:>6} {:>6} {:>9}",
            fit("station", name),
            "calls",
            "failed",
            passed("passed"),
            "p50",
            "p95",
            "p99",
            "cost"
        );
        Self::line(
            frame,
            heading,
            Line::from(clip(&titles, body.width.into())),
            self.theme.dim,
        );
        if known.is_empty() {
            let text = match stations.list {
                None => "not read yet",
                Some(_) => "no station has been called in this time",
            };
            self.note(frame, list, text);
            return;
        }
        for (n, index) in stations
            .at
            .rows(known.len(), list.height.into())
            .enumerate()
        {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let station = &known[index];
            let passed = passed(&thousands(station.skipped + station.cached));
            let line = self.station_line(station, name, &passed);
            let here = index == stations.at.cursor;
            self.entry(frame, row, line, here);
        }
        if let Some(station) = known.get(stations.at.cursor) {
            self.station_detail(frame, detail, station);
        }
    }

    fn station_line(&self, station: &StationStats, name: usize, passed: &str) -> Line<'static> {
        let failed: u64 = station.failures.values().sum();
        let within = |share| station_time(station, share);
        let label = format!("{}/{}", station.pipeline, station.station);
        Line::from(vec![
            Span::styled(format!(" {}", fit(&label, name)), self.theme.text),
            Span::styled(
                format!(" {:>8}", thousands(station.calls)),
                self.theme.figure,
            ),
            Span::styled(
                format!(" {:>7}", thousands(failed)),
                if failed > 0 {
                    self.theme.bad
                } else {
                    self.theme.dim
                },
            ),
            Span::styled(
                format!(
                    "{passed} {:>7} {:>6} {:>6} {:>9}",
                    within(0.5),
                    within(0.95),
                    within(0.99),
                    station.cost.to_string()
                ),
                self.theme.dim,
            ),
        ])
    }

    /// The failures by kind, and why leads passed by, of the station under the cursor.
    fn station_detail(&self, frame: &mut Frame<'_>, area: Rect, station: &StationStats) {
        let title = self.title("Station", &clip(&station.station, 40));
        let inner = self.panel(frame, area, title);
        let list = |parts: Vec<(String, u64)>| {
            let parts: Vec<String> = parts
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| format!("{name} {}", thousands(n)))
                .collect();
            if parts.is_empty() {
                "none".to_owned()
            } else {
                parts.join("   ")
            }
        };
        let failures = station.failures.iter().map(|(kind, n)| (kind.clone(), *n));
        let passed = [
            ("condition not met", station.skipped),
            ("answer known", station.cached),
            ("not affordable", station.unaffordable),
            ("put off", station.postponed),
        ];
        let passed = passed.map(|(name, n)| (name.to_owned(), n)).into();
        let tokens = vec![
            ("in".into(), station.tokens_in),
            ("out".into(), station.tokens_out),
        ];
        for (n, (name, text)) in [
            ("failures", list(failures.collect())),
            ("passed by", list(passed)),
            ("tokens", list(tokens)),
        ]
        .into_iter()
        .enumerate()
        {
            let Some(row) = Self::row(inner, n) else {
                break;
            };
            let line = Line::from(vec![
                Span::styled(format!(" {name:<11}"), self.theme.dim),
                Span::styled(
                    clip(&text, usize::from(row.width).saturating_sub(12)),
                    self.theme.text,
                ),
            ]);
            Self::line(frame, row, line, Style::new());
        }
    }
}

/// Within which time this share of a station's calls was over; a dash where there were none.
pub(super) fn station_time(station: &StationStats, share: f64) -> String {
    let time = station.latency.quantile(share);
    time.map_or_else(|| "-".into(), short)
}

/// A time in few columns.
fn short(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..1_000 => format!("{us}us"),
        1_000..10_000_000 => format!("{}ms", us / 1_000),
        _ => format!("{}s", us / 1_000_000),
    }
}
