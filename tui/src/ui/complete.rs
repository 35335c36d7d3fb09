//! What a filter being written may go on with, in a box under its line.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear};
use unicode_width::UnicodeWidthStr as _;

use super::Ui;
use super::dlq::{FILTER, filter_room};
use super::overlay::ASCII_BORDER;
use crate::app::list::Position;
use crate::text::{fit, harmless};

/// Choices on the screen at once.
const ROWS: usize = 8;

impl Ui<'_> {
    /// Draws the choices under the line they are for.
    pub(super) fn choices(&self, frame: &mut Frame<'_>, line: Rect, body: Rect) {
        let Some(writing) = &self.app.dlq.writing else {
            return;
        };
        let choices = &writing.choices;
        if choices.is_empty() {
            return;
        }
        let widest = |texts: &mut dyn Iterator<Item = &String>| {
            texts.map(|text| harmless(text).width()).max().unwrap_or(0)
        };
        let text = widest(&mut choices.iter().map(|choice| &choice.text));
        let about = widest(&mut choices.iter().map(|choice| &choice.about));
        let room = usize::from(line.width);
        let text = text.min(room / 2);
        let about = about.min(room.saturating_sub(text + 8));
        let width = text + about + if about > 0 { 6 } else { 4 };
        // Under the word it is for, wherever the line has scrolled to.
        let (seen, _) = writing.input.seen(filter_room(line));
        let (before, _) = writing.input.halves();
        let word = harmless(before.get(writing.start..).unwrap_or_default()).width();
        let indent = FILTER.width() + seen.width().saturating_sub(word);
        let x = indent.saturating_sub(1).min(room.saturating_sub(width));
        let height = choices
            .len()
            .min(ROWS)
            .min(body.height.saturating_sub(2).into());
        let to_cells = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let area = Rect::new(
            line.x + to_cells(x),
            line.y + 1,
            to_cells(width),
            to_cells(height + 1),
        )
        .intersection(body);
        let mut block = Block::new()
            .borders(Borders::LEFT | Borders::RIGHT | Borders::BOTTOM)
            .border_style(self.theme.dim);
        if !self.app.options.unicode {
            block = block.border_set(ASCII_BORDER);
        }
        let inner = block.inner(area);
        frame.render_widget(Clear, area);
        frame.render_widget(block, area);
        let mut at = Position {
            cursor: writing.at.unwrap_or(0),
            top: 0,
        };
        at.keep(choices.len(), height);
        for (n, index) in at.rows(choices.len(), height).enumerate() {
            let Some(row) = Self::row(inner, n) else {
                break;
            };
            let choice = &choices[index];
            let mut spans = vec![Span::styled(
                format!(" {} ", fit(&choice.text, text)),
                self.theme.key,
            )];
            if about > 0 {
                let told = format!(" {} ", fit(&choice.about, about));
                spans.push(Span::styled(told, self.theme.dim));
            }
            self.entry(frame, row, Line::from(spans), writing.at == Some(index));
        }
    }
}
