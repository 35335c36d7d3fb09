//! What lies over a screen: help, questions, accounts, the palette.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph};

use super::Ui;
use crate::app::help::{KEYS, Row};
use crate::app::input::Input;
use crate::app::letter::Tone;
use crate::app::overlay::{Account, Confirm, Overlay, Palette};
use crate::app::trial::{self, Trial};
use crate::layout;
use crate::text::{clip, fit, shorten, thousands, wrap};

/// Columns for what became of a dead letter, in an account.
const OUTCOME: usize = 34;

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
        let title = clip(title, usize::from(width).saturating_sub(4));
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
        let rows = self.app.help();
        let height = u16::try_from(rows.len()).unwrap_or(u16::MAX);
        let title = "Keys: any other key closes, j and k scroll";
        let inner = self.window(frame, body, title, 92, height);
        let at = at.min(rows.len().saturating_sub(inner.height.into()));
        let lines = rows.into_iter().skip(at).map(|row| match row {
            Row::Blank => Line::default(),
            Row::Scope(title) => Line::styled(title, self.theme.title),
            Row::Keys(keys, told) => Line::from(vec![
                if keys.is_empty() {
                    Span::raw(" ".repeat(KEYS))
                } else {
                    Span::styled(fit(&keys, KEYS), self.theme.key)
                },
                Span::styled(told, self.theme.text),
            ]),
        });
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), inner);
    }

    fn confirm(&self, frame: &mut Frame<'_>, body: Rect, confirm: &Confirm) {
        let width = usize::from(body.width.saturating_sub(8).min(72));
        // The borders, a blank row on either side of the notes, and the answer.
        let room = usize::from(body.height).saturating_sub(5);
        let question = wrap(&confirm.question, width);
        let notes: Vec<String> = confirm.notes.iter().flat_map(|n| wrap(n, width)).collect();
        // However long the filter is that it names, the answer is in sight.
        let most = room.saturating_sub(notes.len()).max(1);
        let mut lines: Vec<Line<'_>> = shorten(question, most, width)
            .into_iter()
            .map(|text| Line::styled(text, self.theme.figure))
            .collect();
        lines.push(Line::default());
        let notes = notes.into_iter();
        lines.extend(notes.map(|text| Line::styled(text, self.theme.dim)));
        lines.push(Line::default());
        lines.push(match &confirm.typed {
            Some((wanted, input)) => {
                let asked = format!("Type {} and press enter: ", thousands(*wanted));
                let room = width.saturating_sub(asked.len());
                let asked = Span::styled(asked, self.theme.warn);
                [asked].into_iter().chain(self.typed(input, room)).collect()
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
        let id = clip(trial.dead.id(), width.saturating_sub(32).min(28));
        let title = format!("Tried {id}{retry}, esc closes");
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
        let line: Line<'_> = self.typed(input, inner.width.into()).into_iter().collect();
        frame.render_widget(Paragraph::new(line), inner);
    }

    /// As much of a line of text being typed as there is room for around its cursor.
    pub(super) fn typed(&self, input: &Input, width: usize) -> [Span<'static>; 3] {
        let (before, after) = input.seen(width);
        [
            Span::styled(before, self.theme.text),
            Span::styled(self.signs.cursor, self.theme.accent),
            Span::styled(after, self.theme.text),
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
        let ids = width.saturating_sub(2 + OUTCOME).min(32);
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
                Line::from(clip(&format!("{}  {why}", fit(id, ids)), width)),
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
                .chain(self.typed(&palette.input, width.saturating_sub(2)));
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
