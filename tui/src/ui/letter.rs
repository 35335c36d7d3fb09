//! One dead letter, opened.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{Ui, marked};
use crate::app::find::Find;
use crate::app::letter::{self, Letter, Tone};
use crate::app::tree::Kind;
use crate::text::clip;

impl Ui<'_> {
    /// Draws a dead letter; `active` where keys move in it.
    pub(super) fn letter(&self, frame: &mut Frame<'_>, area: Rect, letter: &Letter, active: bool) {
        let title = if active {
            let id = clip(letter.dead.id(), usize::from(area.width / 3).min(40));
            let mut title = self.title("Dead letter", &id);
            let room = usize::from(area.width).saturating_sub(title.width());
            title.spans.extend(self.search(letter, room));
            title
        } else {
            self.title("Dead letter", "enter opens")
        };
        let inner = self.panel(frame, area, title);
        let lines = letter.lines(inner.width.into(), self.app.now());
        let rows = letter.at.rows(lines.len(), inner.height.into());
        for (n, index) in rows.enumerate() {
            let Some(row) = Self::row(inner, n) else {
                break;
            };
            let here = active && index == letter.at.cursor;
            let line = self.letter_row(&lines[index], letter.search.as_ref());
            self.entry(frame, row, line, here);
        }
    }

    /// What is looked for in the lead, and how far the reader is with it.
    fn search(&self, letter: &Letter, width: usize) -> Vec<Span<'static>> {
        let Some(find) = &letter.search else {
            return Vec::new();
        };
        let count = format!(" {} ", find.count());
        let mut spans = vec![Span::styled("/", self.theme.key)];
        match &find.writing {
            Some(input) => {
                let room = width.saturating_sub(1 + count.len());
                spans.extend(self.typed(input, room));
            }
            None => spans.push(Span::styled(clip(&find.text, 24), self.theme.text)),
        }
        let style = if find.hits.is_empty() {
            self.theme.warn
        } else {
            self.theme.accent
        };
        spans.push(Span::styled(count, style));
        spans
    }

    fn letter_row(&self, line: &letter::Line, find: Option<&Find>) -> Line<'static> {
        let tone = |tone: Tone| match tone {
            Tone::Bad => self.theme.bad,
            Tone::Plain => self.theme.text,
            Tone::Dim => self.theme.dim,
        };
        match line {
            letter::Line::Fact(name, value, style) => Line::from(vec![
                Span::styled(format!("{name:<11}"), self.theme.dim),
                Span::styled(value.clone(), tone(*style)),
            ]),
            letter::Line::Heading(text) => Line::styled(text.clone(), self.theme.title),
            letter::Line::Attempt(text, style) => Line::styled(text.clone(), tone(*style)),
            letter::Line::Raw(text) => Line::styled(text.clone(), self.theme.text),
            letter::Line::Blank => Line::default(),
            letter::Line::Node {
                indent,
                label,
                value,
                kind,
                folded,
                ..
            } => {
                let sign = match (kind, folded) {
                    (Kind::Branch, true) => self.signs.folded,
                    (Kind::Branch, false) => self.signs.open,
                    _ => " ",
                };
                let style = match kind {
                    Kind::Branch => self.theme.dim,
                    Kind::Text => self.theme.text,
                    Kind::Plain => self.theme.accent,
                };
                let found = |text: &str, style| {
                    let parts = find.map(|find| find.needle.exact_ranges(text));
                    marked(text, style, self.theme.hit, parts.unwrap_or_default())
                };
                let mut spans = vec![Span::styled(
                    format!("{}{sign} ", " ".repeat(*indent)),
                    self.theme.dim,
                )];
                spans.extend(found(label, self.theme.key));
                spans.push(Span::raw("  "));
                spans.extend(match kind {
                    // How many it holds is no part of the lead.
                    Kind::Branch => vec![Span::styled(value.clone(), style)],
                    Kind::Text | Kind::Plain => found(value, style),
                });
                Line::from(spans)
            }
        }
    }
}
