//! What was thrown away: the trashes, or what is in one of them.

use bridge_shared::clock::human_duration;
use bridge_shared::store::trash::Trash;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::Ui;
use crate::app::letter::Letter;
use crate::layout;
use crate::text::{age, clip, fit, plural, thousands};

impl Ui<'_> {
    pub(super) fn trash(&self, frame: &mut Frame<'_>, body: Rect) {
        let areas = layout::dlq(body);
        let trashes = &self.app.trash;
        if let Some((name, window)) = &trashes.open {
            let told = format!(
                " In the trash {}: {}",
                clip(name, 24),
                plural(window.total, "dead letter")
            );
            self.summary_line(frame, areas.summary, &told);
            let name = self.letter_heading(frame, areas.heading);
            let width = usize::from(areas.list.width);
            if window.count() == 0 {
                let text = if window.known {
                    "nothing is left in it: it was brought back, or its day is over"
                } else {
                    "not read yet"
                };
                self.note(frame, areas.list, text);
            }
            self.window_rows(frame, areas.list, window, |letter, _| {
                self.letter_line(letter, " ", name, width.saturating_sub(17 + name))
            });
            if let (Some(beside), Some(letter)) = (areas.beside, trashes.letter()) {
                self.letter(frame, beside, &Letter::new(letter.clone()), false);
            }
            return;
        }
        let list = trashes.list.as_deref().unwrap_or_default();
        let sum: u64 = list.iter().map(|trash| trash.count).sum();
        let told = format!(
            " {} in the trash, thrown away {}",
            plural(sum, "dead letter"),
            match list.len() {
                1 => "at once".into(),
                n => format!("at {n} times"),
            }
        );
        let told = if list.is_empty() { " The trash" } else { &told };
        self.summary_line(frame, areas.summary, told);
        // Nothing stands beside them: they take the whole width.
        let wide = |part: Rect| Rect::new(body.x, part.y, body.width, part.height);
        self.trash_list(frame, wide(areas.heading), wide(areas.list), list);
    }

    fn summary_line(&self, frame: &mut Frame<'_>, area: Rect, text: &str) {
        let line = Line::styled(clip(text, area.width.into()), self.theme.title);
        Self::line(frame, area, line, Style::new());
    }

    fn trash_list(&self, frame: &mut Frame<'_>, heading: Rect, list: Rect, trashes: &[Trash]) {
        let who = usize::from(heading.width).saturating_sub(44);
        let titles = format!(
            " {:>9} {:>8} {:>8}  {} who",
            "letters",
            "thrown",
            "ends in",
            fit("name", 12)
        );
        let titles = Line::from(clip(&titles, heading.width.into()));
        Self::line(frame, heading, titles, self.theme.dim);
        if trashes.is_empty() {
            let text = match self.app.trash.list {
                None => "not read yet",
                Some(_) => "nothing was thrown away in the last day",
            };
            self.note(frame, list, text);
        }
        let at = &self.app.trash.at;
        for (n, index) in at.rows(trashes.len(), list.height.into()).enumerate() {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let trash = &trashes[index];
            let told = trash.who.as_deref();
            let line = Line::from(vec![
                Span::styled(format!(" {:>9}", thousands(trash.count)), self.theme.figure),
                Span::styled(
                    format!(
                        " {:>8} {:>8}  ",
                        age(self.app.now(), Some(trash.thrown)),
                        human_duration((trash.ends - self.app.now()).max(0))
                    ),
                    self.theme.dim,
                ),
                Span::styled(fit(&trash.name, 12), self.theme.text),
                Span::styled(
                    format!(" {}", fit(told.unwrap_or("not in the audit"), who)),
                    if told.is_some() {
                        self.theme.text
                    } else {
                        self.theme.dim
                    },
                ),
            ]);
            self.entry(frame, row, line, index == at.cursor);
        }
    }
}
