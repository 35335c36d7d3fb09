//! The drawing: a pure function of the state. One file for each part of the screen.
//!
//! - [`frame`]: the bar, the tabs, the status line and the keys, around every screen
//! - [`overview`] with [`band`], [`live`], [`dlq`] with [`complete`], [`letter`] and [`trash`], [`queue`],
//!   [`workers`], [`pipeline`], [`audit`]: the screens
//! - [`overlay`]: what lies over them
//! - [`chart`]: figures over time as bars

mod audit;
mod band;
mod chart;
mod complete;
mod dlq;
mod frame;
mod letter;
mod live;
mod overlay;
mod overview;
mod pipeline;
mod queue;
mod trash;
mod workers;

#[cfg(test)]
mod tests;

use std::ops::Range;

use bridge_shared::clock::Millis;
use jiff::Timestamp;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use crate::app::App;
use crate::app::dlq::View;
use crate::app::window::Window;
use crate::layout;
use crate::screen::Screen;
use crate::text::clip;
use crate::theme::Theme;

/// Signs, for terminals that can show them and for those that cannot.
#[derive(Debug, Clone, Copy)]
struct Signs {
    dot: &'static str,
    ring: &'static str,
    cross: &'static str,
    square: &'static str,
    triangle: &'static str,
    mark: &'static str,
    open: &'static str,
    folded: &'static str,
    rule: &'static str,
    cursor: &'static str,
}

const UNICODE: Signs = Signs {
    dot: "●",
    ring: "○",
    cross: "✗",
    square: "■",
    triangle: "▲",
    mark: "●",
    open: "▾",
    folded: "▸",
    rule: "─",
    cursor: "▏",
};

const ASCII: Signs = Signs {
    dot: "*",
    ring: "o",
    cross: "x",
    square: "#",
    triangle: "!",
    mark: "*",
    open: "-",
    folded: "+",
    rule: "-",
    cursor: "_",
};

/// What every part of the drawing needs.
struct Ui<'a> {
    app: &'a App,
    theme: &'a Theme,
    signs: Signs,
}

/// Draws the console.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App, theme: &Theme) {
    let ui = Ui {
        app,
        theme,
        signs: if app.options.unicode { UNICODE } else { ASCII },
    };
    let size = frame.area().as_size();
    if layout::is_too_small(size) {
        ui.too_small(frame);
        return;
    }
    let areas = layout::areas(size);
    ui.bar(frame, areas.bar);
    ui.tabs(frame, areas.tabs);
    match app.screen {
        Screen::Overview => ui.overview(frame, areas.body),
        Screen::Dlq => match app.dlq.view {
            View::Letter if layout::dlq(areas.body).beside.is_none() => {
                ui.opened(frame, areas.body);
            }
            _ => ui.dlq(frame, areas.body),
        },
        Screen::Live => ui.live(frame, areas.body),
        Screen::Queue => ui.queue(frame, areas.body),
        Screen::Workers => ui.workers(frame, areas.body),
        Screen::Audit => ui.audit(frame, areas.body),
        Screen::Pipeline => ui.pipeline(frame, areas.body),
    }
    ui.trouble(frame, areas.body);
    ui.status(frame, areas.status);
    ui.footer(frame, areas.footer);
    ui.overlay(frame, areas.body);
    if !app.options.unicode {
        to_ascii(frame.buffer_mut());
    }
}

/// Leaves nothing on the screen that the terminal cannot show.
fn to_ascii(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if !cell.symbol().is_ascii() {
            let sign = if cell.symbol() == "…" { "~" } else { "?" };
            cell.set_symbol(sign);
        }
    }
}

impl Ui<'_> {
    fn too_small(&self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let needs = layout::SMALLEST;
        let text = format!(
            "{}x{} is too small for the console; it needs {}x{}. No key acts here but q, which quits, and ctrl-z",
            area.width, area.height, needs.width, needs.height
        );
        let lines: Vec<Line<'_>> = crate::text::wrap(&text, area.width.into())
            .into_iter()
            .map(|line| Line::styled(line, self.theme.warn))
            .collect();
        frame.render_widget(Paragraph::new(lines).alignment(Alignment::Center), area);
    }

    /// A panel: a rule with its title, and the room below it.
    fn panel(&self, frame: &mut Frame<'_>, area: Rect, title: Line<'_>) -> Rect {
        let mut block = Block::new()
            .borders(Borders::TOP)
            .border_style(self.theme.dim)
            .title(title);
        if !self.app.options.unicode {
            block = block.border_set(ratatui::symbols::border::Set {
                horizontal_top: self.signs.rule,
                ..ratatui::symbols::border::PLAIN
            });
        }
        let inner = block.inner(area);
        frame.render_widget(block, area);
        inner
    }

    /// The title of a panel: its name, and more that matters less.
    fn title(&self, name: &str, more: &str) -> Line<'static> {
        let mut spans = vec![Span::styled(format!("{name} "), self.theme.title)];
        if !more.is_empty() {
            spans.push(Span::styled(format!("{more} "), self.theme.dim));
        }
        Line::from(spans)
    }

    /// A line of text over the whole width, so that its style is seen to the end; where it ends too
    /// early that is seen as well.
    fn line(frame: &mut Frame<'_>, area: Rect, line: Line<'_>, style: Style) {
        let line = cut(line, area.width.into());
        frame.render_widget(Paragraph::new(line).style(style), area);
    }

    /// A row of a list; the one under the cursor loses its own colours, so that the cursor's are
    /// seen on all of it.
    fn entry(&self, frame: &mut Frame<'_>, area: Rect, line: Line<'_>, under_cursor: bool) {
        if under_cursor {
            Self::line(frame, area, plain(line), self.theme.cursor);
        } else {
            Self::line(frame, area, line, Style::new());
        }
    }

    /// The rows on the screen of a list that is read in windows.
    fn window_rows<T>(
        &self,
        frame: &mut Frame<'_>,
        list: Rect,
        window: &Window<T>,
        line: impl Fn(&T, usize) -> Line<'static>,
    ) {
        let rows = window.at.rows(window.count(), list.height.into());
        for (n, index) in rows.enumerate() {
            let Some(row) = Self::row(list, n) else {
                break;
            };
            let line = window.row(index).map_or_else(
                || Line::styled(" ...", self.theme.dim),
                |entry| line(entry, index),
            );
            self.entry(frame, row, line, index == window.at.cursor);
        }
    }

    /// A time of the day, as the operator's clock shows it.
    fn time(&self, at: Millis) -> String {
        Timestamp::from_millisecond(at).map_or_else(
            |_| "--:--:--".into(),
            |at| {
                let zone = self.app.options.zone.clone();
                at.to_zoned_datetime(zone).strftime("%H:%M:%S").to_string()
            },
        )
    }

    /// The `n`th row of an area, where it has that many.
    fn row(area: Rect, n: usize) -> Option<Rect> {
        let n = u16::try_from(n).ok().filter(|n| *n < area.height)?;
        Some(Rect::new(area.x, area.y + n, area.width, 1))
    }
}

/// A line in at most a width, with an ellipsis where some of it is left out.
fn cut(line: Line<'_>, width: usize) -> Line<'_> {
    let blank = line
        .spans
        .iter()
        .rev()
        .flat_map(|span| span.content.chars().rev());
    let blank = blank.take_while(|c| *c == ' ').count();
    if line.width() <= width + blank {
        return line;
    }
    let mut left = width;
    let mut spans = Vec::new();
    for span in line.spans {
        let here = span.width();
        if here >= left {
            // One column is for the ellipsis, which tells that there is more even after this span.
            let text = clip(&format!("{} ", span.content), left);
            spans.push(Span::styled(text, span.style));
            break;
        }
        left -= here;
        spans.push(span);
    }
    Line::from(spans).style(line.style)
}

/// A line without colours of its own; what is underlined stays so, for it was looked for.
fn plain(line: Line<'_>) -> Line<'_> {
    line.spans
        .into_iter()
        .map(|span| {
            let kept = span.style.add_modifier & Modifier::UNDERLINED;
            Span::styled(span.content, Style::new().add_modifier(kept))
        })
        .collect()
}

/// A text in spans, those parts of it apart that were looked for.
fn marked(
    text: &str,
    style: Style,
    hit: Style,
    mut parts: Vec<Range<usize>>,
) -> Vec<Span<'static>> {
    parts.sort_by_key(|part| part.start);
    let (mut spans, mut at) = (Vec::new(), 0);
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        let start = part.start.max(at);
        if start >= part.end {
            continue;
        }
        spans.push(Span::styled(text[at..start].to_owned(), style));
        spans.push(Span::styled(
            text[start..part.end].to_owned(),
            style.patch(hit),
        ));
        at = part.end;
    }
    spans.push(Span::styled(text[at..].to_owned(), style));
    spans.retain(|span| !span.content.is_empty());
    spans
}
