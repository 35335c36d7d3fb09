//! One dead letter, opened.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::Ui;
use crate::app::letter::{self, Letter, Tone};
use crate::app::tree::Kind;
use crate::text::clip;

impl Ui<'_> {
    /// Draws a dead letter; `active` where keys move in it.
    pub(super) fn letter(&self, frame: &mut Frame<'_>, area: Rect, letter: &Letter, active: bool) {
        let title = if active {
            self.title("Dead letter", &clip(letter.dead.id(), 40))
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
            let line = self.letter_row(&lines[index]);
            self.entry(frame, row, line, here);
        }
    }

    fn letter_row(&self, line: &letter::Line) -> Line<'static> {
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
                Line::from(vec![
                    Span::styled(format!("{}{sign} ", " ".repeat(*indent)), self.theme.dim),
                    Span::styled(format!("{label}  "), self.theme.key),
                    Span::styled(value.clone(), style),
                ])
            }
        }
    }
}
