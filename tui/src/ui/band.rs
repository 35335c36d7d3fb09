//! The band at the top of the overview: what is wrong, the worst first, and how Redis is.

use bridge_shared::findings::{Finding, Severity};
use bridge_shared::store::condition::Writes;
use bridge_shared::units::human_bytes;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ui;
use crate::app::Link;
use crate::text::{clip, harmless, plural, wrap};

/// From this height of the body on there is room for more findings, and for what to do.
const TALL: u16 = 24;
/// Lines of findings in a low body.
const LINES_LOW: usize = 3;
/// Lines of findings in a tall one.
const LINES_TALL: usize = 8;

impl Ui<'_> {
    /// The lines of the band, for a body of this size.
    pub(super) fn band_lines(&self, body: Rect) -> Vec<Line<'static>> {
        let tall = body.height >= TALL;
        let most = if tall { LINES_TALL } else { LINES_LOW };
        let width = usize::from(body.width).saturating_sub(4);
        let mut lines = Vec::new();
        let all = &self.app.findings;
        for (n, finding) in all.iter().enumerate() {
            let (sign, style) = self.severity(finding.severity);
            let told = told(finding, tall);
            // In a low body several are seen rather than all of the first.
            let mut told = if tall || all.len() == 1 {
                wrap(&told, width)
            } else {
                vec![clip(&told, width)]
            };
            let left = most.saturating_sub(lines.len());
            let more = all.len() - n;
            if told.len() > left || (more > 1 && told.len() == left) {
                // One line at least for each of the worst, and the last for how many are left.
                if more > 1 && left <= 1 {
                    let text = format!(
                        "   and {} more: bridge status",
                        plural(more as u64, "finding")
                    );
                    lines.push(Line::styled(text, self.theme.warn));
                    break;
                }
                told.truncate(if more > 1 { left - 1 } else { left });
                if let Some(last) = told.last_mut() {
                    last.push('…');
                }
            }
            for (row, text) in told.into_iter().enumerate() {
                let sign = if row == 0 { sign } else { " " };
                let spans = vec![
                    Span::styled(format!(" {sign} "), style),
                    Span::styled(text, style),
                ];
                lines.push(Line::from(spans));
            }
        }
        lines.push(self.redis_line());
        lines
    }

    /// How a finding is shown: by shape and by color.
    pub(super) fn severity(&self, severity: Severity) -> (&'static str, Style) {
        match severity {
            Severity::Bad => (self.signs.square, self.theme.bad),
            Severity::Warning => (self.signs.triangle, self.theme.warn),
            Severity::Note => (self.signs.dot, self.theme.text),
        }
    }

    /// Whether all is well, and how Redis is.
    fn redis_line(&self) -> Line<'static> {
        let app = self.app;
        let calm = app
            .findings
            .iter()
            .all(|found| found.severity == Severity::Note);
        let writes = app.writes();
        let is_stale = matches!(app.slow(), Some((_, true)));
        let figures = app.figures.as_ref();
        let is_unsure = figures.is_some_and(|(figures, _)| figures.search.gap().is_some());
        let (sign, word, style) = match (&app.link, &writes) {
            (Link::Connecting, _) => (self.signs.ring, "nothing read yet", self.theme.warn),
            (Link::Lost { .. }, _) => (self.signs.cross, "no news from Redis", self.theme.bad),
            // Nobody knows how it is now.
            (Link::Live, _) if is_stale => (self.signs.ring, "no news from Redis", self.theme.warn),
            (Link::Live, writes) if calm && (is_unsure || matches!(writes, Writes::NotTried)) => {
                (self.signs.ring, "nothing wrong was seen", self.theme.text)
            }
            (Link::Live, _) if calm => (self.signs.dot, "all well", self.theme.ok),
            (Link::Live, _) => (" ", "", self.theme.text),
        };
        let mut spans = vec![Span::styled(format!(" {sign} "), style)];
        if !word.is_empty() {
            spans.push(Span::styled(format!("{word}  "), style));
        }
        if app.figures.is_some() {
            let is_known = matches!(app.link, Link::Live) && !is_stale;
            let writes = match writes {
                Writes::Accepted if is_known => "accepts writes",
                Writes::Refused(_) if is_known => "refuses writes",
                Writes::Accepted => "accepted writes",
                Writes::Refused(_) => "refused writes",
                Writes::NotTried => "writes not tried",
            };
            let redis = format!("Redis {writes}{}", self.memory());
            spans.push(Span::styled(redis, self.theme.text));
        }
        Line::from(spans)
    }

    fn memory(&self) -> String {
        let Some(server) = &self.app.condition.server else {
            return ", memory not known".to_owned();
        };
        let used = human_bytes(server.used_memory);
        let policy = harmless(&server.policy);
        match server.max_memory {
            0 => format!(", uses {used}, no limit, {policy}"),
            limit => {
                let percent = u128::from(server.used_memory) * 100 / u128::from(limit);
                let limit = human_bytes(limit);
                format!(", uses {used} of {limit} ({percent} %), {policy}")
            }
        }
    }

    pub(super) fn band(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
        for (n, line) in lines.into_iter().enumerate() {
            if let Some(row) = Self::row(area, n) {
                Self::line(frame, row, line, Style::new());
            }
        }
    }
}

/// A finding in words, with what to do if there is room.
fn told(finding: &Finding, with_remedy: bool) -> String {
    let Finding { text, remedy, .. } = finding;
    let told = if with_remedy && !remedy.is_empty() {
        format!("{text}. {remedy}")
    } else {
        text.clone()
    };
    harmless(&told).into_owned()
}
