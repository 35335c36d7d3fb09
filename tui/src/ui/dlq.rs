//! The dead letters: the list, the groups, and what stands beside them.

use bridge_shared::store::dead_letters::DeadLetter;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr as _;

use super::Ui;
use crate::app::dlq::View;
use crate::app::letter::Letter;
use crate::layout;
use crate::text::{age, brief, clip, fit, plural, thousands};
use bridge_shared::row::error_or_unknown;

impl Ui<'_> {
    pub(super) fn dlq(&self, frame: &mut Frame<'_>, body: Rect) {
        let areas = layout::dlq(body);
        self.summary(frame, areas.summary);
        if self.app.dlq.view == View::Groups {
            // Nothing stands beside the groups: they take the whole width.
            let wide = |part: Rect| Rect::new(body.x, part.y, body.width, part.height);
            self.groups(frame, wide(areas.heading), wide(areas.list));
        } else {
            self.letters(frame, areas.heading, areas.list);
        }
        let Some(beside) = areas.beside else {
            return;
        };
        match (&self.app.dlq.letter, self.app.dlq.view) {
            (Some(letter), View::Letter) => self.letter(frame, beside, letter, true),
            (_, View::Groups) => {}
            _ => {
                if let Some(letter) = self.app.dlq.under_cursor() {
                    self.letter(frame, beside, &Letter::new(letter.clone()), false);
                }
            }
        }
    }

    /// How many, which filter, how many marked; or the filter being written.
    fn summary(&self, frame: &mut Frame<'_>, area: Rect) {
        let dlq = &self.app.dlq;
        let mut spans = vec![Span::raw(" ")];
        if let Some(input) = &dlq.writing {
            spans.push(Span::styled("filter: ", self.theme.key));
            spans.extend(self.typed(input));
            Self::line(frame, area, Line::from(spans), Style::new());
            return;
        }
        let dead = self
            .app
            .figures
            .as_ref()
            .map_or(dlq.total, |(figures, _)| figures.dead);
        if dlq.filter_text.is_empty() {
            spans.push(Span::styled(plural(dead, "dead letter"), self.theme.title));
        } else {
            let found = dlq
                .search
                .as_ref()
                .map_or(0, crate::app::search::Search::count);
            spans.push(Span::styled(
                format!(
                    "{} of {}",
                    thousands(found as u64),
                    plural(dead, "dead letter")
                ),
                self.theme.title,
            ));
            spans.push(Span::styled("  filter ", self.theme.dim));
            spans.push(Span::styled(
                clip(&dlq.filter_text, usize::from(area.width) / 2),
                self.theme.accent,
            ));
        }
        if let Some(search) = dlq.searching() {
            let told = format!("  searching, {} %", search.percent());
            spans.push(Span::styled(told, self.theme.warn));
        }
        let marked = dlq.marks.count(dlq.count() as u64);
        if marked > 0 {
            spans.push(Span::styled(
                format!("  {} marked", thousands(marked)),
                self.theme.accent,
            ));
        }
        if dlq.range.is_some() {
            spans.push(Span::styled(
                "  range: v marks up to here, esc leaves",
                self.theme.accent,
            ));
        }
        Self::line(frame, area, Line::from(spans), Style::new());
    }

    fn letters(&self, frame: &mut Frame<'_>, heading: Rect, list: Rect) {
        let dlq = &self.app.dlq;
        let width = usize::from(list.width);
        let name = (width.saturating_sub(17) * 2 / 5).min(28);
        let error = width.saturating_sub(17 + name);
        let titles = format!(
            "   {:>5} {:>5}  {} {}",
            "age",
            "tries",
            fit("name", name),
            fit("error", error)
        );
        Self::line(
            frame,
            heading,
            Line::from(clip(&titles, width)),
            self.theme.dim,
        );
        let count = dlq.count();
        if count == 0 {
            self.nothing(frame, list);
            return;
        }
        for (n, index) in dlq.at.rows(count, list.height.into()).enumerate() {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let here = index == dlq.at.cursor;
            let line = match dlq.letter_at(index) {
                Some(letter) => self.letter_line(letter, index, name, error),
                None => Line::styled(format!("   {:>5}", "..."), self.theme.dim),
            };
            self.entry(frame, row, line, here);
        }
    }

    fn nothing(&self, frame: &mut Frame<'_>, list: Rect) {
        let dlq = &self.app.dlq;
        let text = if self.app.figures.is_none() {
            "not read yet"
        } else if dlq.searching().is_some() {
            "searching"
        } else if dlq.filter_text.is_empty() {
            "no dead letters: every lead that was given up has been dealt with"
        } else {
            "no dead letter matches the filter; esc takes it away"
        };
        self.note(frame, list, text);
    }

    fn letter_line(
        &self,
        letter: &DeadLetter,
        index: usize,
        name: usize,
        error: usize,
    ) -> Line<'static> {
        let envelope = &letter.envelope;
        let marked = self.app.dlq.marks.contains(letter.id());
        let sign = match (marked, self.app.dlq.in_range(index)) {
            (true, _) => self.signs.mark,
            (false, true) => self.signs.ring,
            (false, false) => " ",
        };
        let age = age(self.app.now(), envelope.failed_at);
        let tries = match envelope.attempts.len() {
            0 => "-".into(),
            n => n.to_string(),
        };
        let (who, style) = named(letter);
        let style = if style {
            self.theme.text
        } else {
            self.theme.dim
        };
        Line::from(vec![
            Span::styled(format!(" {sign} "), self.theme.accent),
            Span::styled(format!("{age:>5} {tries:>5}  "), self.theme.dim),
            Span::styled(fit(&who, name), style),
            Span::raw(" "),
            Span::styled(
                fit(&brief(error_or_unknown(letter)), error),
                self.theme.text,
            ),
        ])
    }

    fn groups(&self, frame: &mut Frame<'_>, heading: Rect, list: Rect) {
        let dlq = &self.app.dlq;
        let width = usize::from(list.width);
        let cause = width.saturating_sub(40);
        let titles = format!(
            " {:>9} {:>6} {:>6}  {} {}",
            "count",
            "last",
            "first",
            fit("station", 12),
            fit("cause", cause)
        );
        Self::line(
            frame,
            heading,
            Line::from(clip(&titles, width)),
            self.theme.dim,
        );
        let groups = dlq.groups();
        if groups.is_empty() {
            self.nothing(frame, list);
        }
        let now = self.app.now();
        for (n, index) in dlq
            .groups_at
            .rows(groups.len(), list.height.into())
            .enumerate()
        {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let group = &groups[index];
            let line = Line::from(vec![
                Span::styled(format!(" {:>9}", thousands(group.count)), self.theme.figure),
                Span::styled(
                    format!(
                        " {:>6} {:>6}  ",
                        age(now, group.last),
                        age(now, group.first)
                    ),
                    self.theme.dim,
                ),
                Span::styled(fit(&group.station, 12), self.theme.text),
                Span::raw(" "),
                Span::styled(fit(&brief(&group.cause.text), cause), self.theme.text),
            ]);
            let here = index == dlq.groups_at.cursor;
            self.entry(frame, row, line, here);
        }
    }

    /// The opened dead letter over the whole screen.
    pub(super) fn opened(&self, frame: &mut Frame<'_>, body: Rect) {
        if let Some(letter) = &self.app.dlq.letter {
            self.letter(frame, body, letter, true);
        }
    }
}

/// Who a dead letter is about, and whether that is a name.
fn named(letter: &DeadLetter) -> (String, bool) {
    let lead = letter.envelope.parse_lead().ok();
    let who = lead.and_then(|lead| lead.full_name().or_else(|| lead.linkedin_url()));
    who.filter(|who| who.width() > 0).map_or_else(
        || {
            let start = &letter.envelope.lead[..letter.envelope.lead.len().min(200)];
            (String::from_utf8_lossy(start).into_owned(), false)
        },
        |who| (who, true),
    )
}
