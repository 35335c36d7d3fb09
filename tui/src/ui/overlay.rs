//! What lies over a screen: help, questions, accounts, the palette.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph};

use super::Ui;
use crate::app::input::Input;
use crate::app::letter::Tone;
use crate::app::overlay::{Account, Confirm, Overlay, Palette};
use crate::app::trial::{self, Trial};
use crate::layout;
use crate::text::{clip, fit, thousands, wrap};

impl Ui<'_> {
    pub(super) fn overlay(&self, frame: &mut Frame<'_>, body: Rect) {
        match &self.app.overlay {
            Some(Overlay::Help(at)) => self.help(frame, body, *at),
            Some(Overlay::Confirm(confirm)) => self.confirm(frame, body, confirm),
            Some(Overlay::Trial(trial)) => self.trial(frame, body, trial),
            Some(Overlay::EditAgain { error, .. }) => self.edit_again(frame, body, error),
            Some(Overlay::File(input, _)) => self.file(frame, body, input),
            Some(Overlay::Account(account)) => self.account(frame, body, account),
            Some(Overlay::Palette(palette)) => self.palette(frame, body, palette),
            None => {}
        }
    }

    /// A box in the middle; returns the room in it.
    fn window(
        &self,
        frame: &mut Frame<'_>,
        body: Rect,
        title: &str,
        width: u16,
        height: u16,
    ) -> Rect {
        let width = (width + 4).min(body.width);
        let height = (height + 2).min(body.height);
        let area = Rect::new(
            body.x + (body.width - width) / 2,
            body.y + (body.height - height) / 2,
            width,
            height,
        );
        let mut block = Block::bordered()
            .border_type(BorderType::Rounded)
            .border_style(self.theme.accent)
            .title(Line::styled(format!(" {title} "), self.theme.title))
            .padding(ratatui::widgets::Padding::horizontal(1));
        if !self.app.options.unicode {
            block = block.border_set(ASCII_BORDER);
        }
        let inner = block.inner(area);
        frame.render_widget(Clear, area);
        frame.render_widget(block, area);
        inner
    }

    fn help(&self, frame: &mut Frame<'_>, body: Rect, at: usize) {
        let mut lines = Vec::new();
        for scope in self.app.scopes() {
            if !lines.is_empty() {
                lines.push(Line::default());
            }
            lines.push(Line::styled(scope.title(), self.theme.title));
            for row in self.app.options.keymap.of(scope) {
                let binding = row.binding;
                if binding.changes && !self.app.may_change() {
                    continue;
                }
                lines.push(Line::from(vec![
                    Span::styled(fit(&row.keys(), 15), self.theme.key),
                    Span::styled(binding.help, self.theme.text),
                ]));
            }
        }
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        let inner = self.window(
            frame,
            body,
            "Keys: any other key closes, j and k scroll",
            92,
            height,
        );
        let at = at.min(lines.len().saturating_sub(inner.height.into()));
        let width = usize::from(inner.width);
        let seen = lines
            .into_iter()
            .skip(at)
            .flat_map(|line| split(line, width));
        frame.render_widget(Paragraph::new(seen.collect::<Vec<_>>()), inner);
    }

    fn confirm(&self, frame: &mut Frame<'_>, body: Rect, confirm: &Confirm) {
        let width = usize::from(body.width.saturating_sub(8).min(72));
        let mut lines: Vec<Line<'_>> = wrap(&confirm.question, width)
            .into_iter()
            .map(|text| Line::styled(text, self.theme.figure))
            .collect();
        lines.push(Line::default());
        for note in &confirm.notes {
            lines.extend(
                wrap(note, width)
                    .into_iter()
                    .map(|text| Line::styled(text, self.theme.dim)),
            );
        }
        lines.push(Line::default());
        lines.push(match &confirm.typed {
            Some((wanted, input)) => {
                let mut spans = vec![Span::styled(
                    format!("Type {} and press enter, esc leaves: ", thousands(*wanted)),
                    self.theme.warn,
                )];
                spans.extend(self.typed(input));
                Line::from(spans)
            }
            None => Line::from(vec![
                Span::styled("y", self.theme.key),
                Span::styled(" yes   ", self.theme.text),
                Span::styled("n", self.theme.key),
                Span::styled(" no", self.theme.text),
            ]),
        });
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        let inner = self.window(
            frame,
            body,
            "Sure?",
            u16::try_from(width).unwrap_or(72),
            height,
        );
        frame.render_widget(Paragraph::new(lines), inner);
    }

    fn trial(&self, frame: &mut Frame<'_>, body: Rect, trial: &Trial) {
        let (width, height) = crate::layout::trial(body);
        let lines = trial.lines(width);
        let shown = u16::try_from(lines.len().min(height)).unwrap_or(body.height);
        let retry = if self.app.may_change() {
            ", r retries"
        } else {
            ""
        };
        let title = format!("Tried {}{retry}, esc closes", clip(trial.dead.id(), 28));
        let inner = self.window(
            frame,
            body,
            &title,
            u16::try_from(width).unwrap_or(72),
            shown,
        );
        let rows = trial.at.rows(lines.len(), inner.height.into());
        for (n, index) in rows.enumerate() {
            let Some(row) = Self::row(inner, n) else {
                break;
            };
            let line = match &lines[index] {
                trial::Line::Station(text) => Line::styled(text.clone(), self.theme.title),
                trial::Line::Detail(text, tone) => {
                    let style = match tone {
                        Tone::Bad => self.theme.bad,
                        Tone::Plain => self.theme.text,
                        Tone::Dim => self.theme.dim,
                    };
                    Line::styled(format!("  {text}"), style)
                }
                trial::Line::Outcome(text, good) => Line::styled(
                    text.clone(),
                    if *good { self.theme.ok } else { self.theme.bad },
                ),
                trial::Line::Blank => Line::default(),
            };
            let here = index == trial.at.cursor;
            self.entry(frame, row, line, here);
        }
    }

    fn edit_again(&self, frame: &mut Frame<'_>, body: Rect, error: &str) {
        let width = usize::from(body.width.saturating_sub(8).min(72));
        let mut lines: Vec<Line<'_>> = wrap(&format!("The lead as edited is {error}"), width)
            .into_iter()
            .map(|text| Line::styled(text, self.theme.bad))
            .collect();
        lines.push(Line::default());
        lines.push(Line::from(vec![
            Span::styled("e", self.theme.key),
            Span::styled(" edit it again   ", self.theme.text),
            Span::styled("esc", self.theme.key),
            Span::styled(" leave the lead as it was", self.theme.text),
        ]));
        let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        let inner = self.window(
            frame,
            body,
            "Not a lead",
            u16::try_from(width).unwrap_or(72),
            height,
        );
        frame.render_widget(Paragraph::new(lines), inner);
    }

    fn file(&self, frame: &mut Frame<'_>, body: Rect, input: &Input) {
        let inner = self.window(
            frame,
            body,
            "Write dead letters to a file: enter writes, esc leaves",
            64,
            1,
        );
        let line: Line<'_> = self.typed(input).into_iter().collect();
        frame.render_widget(Paragraph::new(line), inner);
    }

    /// A line of text being typed.
    pub(super) fn typed(&self, input: &Input) -> [Span<'static>; 3] {
        let (before, after) = input.halves();
        [
            Span::styled(before.to_owned(), self.theme.text),
            Span::styled(self.signs.cursor, self.theme.accent),
            Span::styled(after.to_owned(), self.theme.text),
        ]
    }

    fn account(&self, frame: &mut Frame<'_>, body: Rect, account: &Account) {
        let count = account.count();
        let width = layout::account_width(body);
        let summary = wrap(&account.summary, width);
        let (above, seen) = (summary.len(), layout::account(body, summary.len(), count));
        let height = u16::try_from(above + 1 + seen).unwrap_or(body.height);
        let title = "Done and not done: x writes a file, esc closes";
        let columns = u16::try_from(width).unwrap_or(body.width);
        let inner = self.window(frame, body, title, columns, height);
        let lines = summary
            .into_iter()
            .map(|line| Line::styled(line, self.theme.figure));
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), inner);
        let rows = account.at.rows(count, seen);
        if let Some(row) = Self::row(inner, above) {
            let told = format!(
                "{} not done, {} done by id; {} to {}",
                thousands(account.rest.len() as u64),
                thousands(account.done.len() as u64),
                thousands(rows.start as u64 + 1),
                thousands(rows.end as u64),
            );
            Self::line(frame, row, Line::from(clip(&told, width)), self.theme.dim);
        }
        for (n, index) in rows.enumerate() {
            let Some(row) = Self::row(inner, above + 1 + n) else {
                break;
            };
            let Some((id, why, done)) = account.row(index) else {
                break;
            };
            let here = match (index == account.at.cursor, done) {
                (true, _) => self.theme.cursor,
                (false, true) => self.theme.text,
                (false, false) => self.theme.bad,
            };
            Self::line(
                frame,
                row,
                Line::from(clip(&format!("{}  {why}", fit(id, 32)), width)),
                here,
            );
        }
    }

    fn palette(&self, frame: &mut Frame<'_>, body: Rect, palette: &Palette) {
        let found = palette.found(self.app);
        let height = body.height.saturating_sub(4);
        let inner = self.window(
            frame,
            body,
            "Commands: enter does it, esc leaves",
            78,
            height,
        );
        let width = usize::from(inner.width);
        if let Some(row) = Self::row(inner, 0) {
            let line = [Span::styled(": ", self.theme.key)]
                .into_iter()
                .chain(self.typed(&palette.input));
            Self::line(frame, row, line.collect(), Style::new());
        }
        if found.is_empty()
            && let Some(row) = Self::row(inner, 1)
        {
            Self::line(frame, row, Line::from("no command matches"), self.theme.dim);
        }
        let rows = palette
            .at
            .rows(found.len(), usize::from(inner.height.saturating_sub(1)));
        for (n, index) in rows.enumerate() {
            let Some(row) = Self::row(inner, n + 1) else {
                break;
            };
            let (keys, help) = found[index].words();
            let here = index == palette.at.cursor;
            let line = Line::from(vec![
                Span::styled(fit(&keys, 15), self.theme.key),
                Span::styled(fit(&help, width.saturating_sub(15)), self.theme.text),
            ]);
            self.entry(frame, row, line, here);
        }
    }
}

/// A line of the help in as many rows as it needs, the rest under its text.
fn split(line: Line<'_>, width: usize) -> Vec<Line<'_>> {
    let [key, text] = line.spans.as_slice() else {
        return vec![line];
    };
    let parts = wrap(&text.content, width.saturating_sub(key.width()));
    let rest = Span::raw(" ".repeat(key.width()));
    parts
        .into_iter()
        .enumerate()
        .map(|(n, part)| {
            let first = if n == 0 { key.clone() } else { rest.clone() };
            Line::from(vec![first, Span::styled(part, text.style)])
        })
        .collect()
}

pub(super) const ASCII_BORDER: ratatui::symbols::border::Set<'_> = ratatui::symbols::border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
