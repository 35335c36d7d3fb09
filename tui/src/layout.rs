//! Where things are on the screen. Kept apart from the drawing, because moving in a list needs to
//! know how much of it is seen.

use ratatui::layout::{Constraint, Layout, Rect, Size};

/// Fewer columns or rows than this, and the console only says so.
pub(crate) const SMALLEST: Size = Size::new(60, 15);
/// Whether there is too little room for the console.
pub(crate) const fn is_too_small(size: Size) -> bool {
    size.width < SMALLEST.width || size.height < SMALLEST.height
}

/// From this many columns on the dead letter under the cursor is shown beside the list.
const WIDE: u16 = 110;

/// The parts of every screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Areas {
    /// What and where this is, and how it is.
    pub(crate) bar: Rect,
    /// The screens.
    pub(crate) tabs: Rect,
    /// What the screen shows.
    pub(crate) body: Rect,
    /// What was just done, or is being done.
    pub(crate) status: Rect,
    /// The keys.
    pub(crate) footer: Rect,
}

/// The parts of a screen of this size.
pub(crate) fn areas(size: Size) -> Areas {
    let [bar, tabs, body, status, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(Rect::new(0, 0, size.width, size.height));
    Areas {
        bar,
        tabs,
        body,
        status,
        footer,
    }
}

/// The parts of the dead letter screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DlqAreas {
    /// How many, and the filter.
    pub(crate) summary: Rect,
    /// The names of the columns.
    pub(crate) heading: Rect,
    /// The list, or the groups.
    pub(crate) list: Rect,
    /// The dead letter under the cursor, where there is room beside the list.
    pub(crate) beside: Option<Rect>,
}

/// The parts of the dead letter screen in its body.
pub(crate) fn dlq(body: Rect) -> DlqAreas {
    let [summary, rest] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(body);
    let (left, beside) = if body.width >= WIDE {
        let [left, beside] = Layout::horizontal([Constraint::Percentage(54), Constraint::Fill(1)])
            .spacing(2)
            .areas(rest);
        (left, Some(beside))
    } else {
        (rest, None)
    };
    let [heading, list] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(left);
    DlqAreas {
        summary,
        heading,
        list,
        beside,
    }
}

/// The parts of the pipeline screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PipelineAreas {
    /// How many, and over which time.
    pub(crate) summary: Rect,
    /// The names of the columns.
    pub(crate) heading: Rect,
    /// The stations.
    pub(crate) list: Rect,
    /// The station under the cursor.
    pub(crate) detail: Rect,
}

/// The parts of the pipeline screen in its body.
pub(crate) fn pipeline(body: Rect) -> PipelineAreas {
    let [summary, heading, list, detail] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(4),
    ])
    .areas(body);
    PipelineAreas {
        summary,
        heading,
        list,
        detail,
    }
}

/// A screen that is one list under one line.
pub(crate) fn headed(body: Rect) -> [Rect; 2] {
    Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(body)
}

/// Columns and rows of the help, in a window over the body.
pub(crate) fn help(body: Rect) -> (usize, usize) {
    (
        usize::from(body.width.saturating_sub(4).min(92)),
        usize::from(body.height.saturating_sub(2)),
    )
}

/// Columns of an account, in a window over the body.
pub(crate) fn account_width(body: Rect) -> usize {
    usize::from(body.width.saturating_sub(4).min(72))
}

/// Rows of an account that are seen at once, under a summary of so many lines.
pub(crate) fn account(body: Rect, summary: usize, rows: usize) -> usize {
    let room = usize::from(body.height).saturating_sub(3 + summary);
    rows.min(room).max(1)
}

/// Columns and rows of what came of a lead that was tried, in a window over the body.
pub(crate) fn trial(body: Rect) -> (usize, usize) {
    (
        usize::from(body.width.saturating_sub(8).min(100)),
        usize::from(body.height.saturating_sub(2)),
    )
}
