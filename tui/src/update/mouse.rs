//! What the mouse does, where it is on: it points at rows, screens and keys, and the wheel goes up
//! and down. It never answers a question: a slip of the hand must not move a lead.

use crossterm::event::{KeyCode, KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position as Cell, Rect};
use unicode_width::UnicodeWidthStr as _;

use super::press;
use crate::app::App;
use crate::app::chrome::at_column;
use crate::app::dlq::View;
use crate::app::list::Position;
use crate::app::overlay::Overlay;
use crate::keymap::Action;
use crate::layout;
use crate::message::Command;
use crate::screen::Screen;

/// Rows that a notch of the wheel goes.
const NOTCH: usize = 3;

/// Takes what the mouse did.
pub(super) fn mouse(app: &mut App, event: MouseEvent) -> Vec<Command> {
    // A line that is being written keeps what it is about.
    if app.line().is_some() || app.is_hidden() {
        return Vec::new();
    }
    app.held.take();
    match event.kind {
        MouseEventKind::ScrollDown => wheel(app, Action::Down, KeyCode::Down),
        MouseEventKind::ScrollUp => wheel(app, Action::Up, KeyCode::Up),
        MouseEventKind::Down(MouseButton::Left) if app.overlay.is_none() => {
            click(app, Cell::new(event.column, event.row))
        }
        _ => Vec::new(),
    }
}

fn wheel(app: &mut App, action: Action, key: KeyCode) -> Vec<Command> {
    match app.overlay {
        Some(Overlay::Confirm(_) | Overlay::EditAgain { .. } | Overlay::File(..)) => Vec::new(),
        Some(_) => (0..NOTCH)
            .flat_map(|_| press::key(app, KeyEvent::from(key)))
            .collect(),
        None => (0..NOTCH).flat_map(|_| press::act(app, action)).collect(),
    }
}

fn click(app: &mut App, at: Cell) -> Vec<Command> {
    let areas = layout::areas(app.size);
    let column = usize::from(at.x);
    if areas.tabs.contains(at) {
        let tabs = app.tabs(areas.tabs.width.into());
        let tabs = tabs
            .into_iter()
            .map(|(screen, text)| (screen, text.width()));
        let screen = at_column(tabs, column);
        return screen.map_or_else(Vec::new, |screen| press::act(app, Action::Show(screen)));
    }
    if areas.footer.contains(at) {
        let keys = app.footer(areas.footer.width.into());
        let keys = keys.into_iter().map(|key| (key.key, key.width()));
        let key = at_column(keys, column);
        return key.map_or_else(Vec::new, |key| press::key(app, key.into()));
    }
    if app.screen == Screen::Dlq
        && let Some(beside) = layout::dlq(areas.body).beside
    {
        match app.dlq.view {
            // The list beside an opened letter, and the letter beside the list.
            View::Letter if layout::dlq(areas.body).list.contains(at) => {
                app.dlq.leave_letter();
            }
            View::List if beside.contains(at) => return press::act(app, Action::Open),
            _ => {}
        }
    }
    row(app, at)
}

/// Goes to the row that was pointed at, and opens the one where the cursor is already.
fn row(app: &mut App, at: Cell) -> Vec<Command> {
    let area = rows(app);
    let Some((list, count)) = list(app).filter(|_| area.contains(at)) else {
        return Vec::new();
    };
    let row = list.top + usize::from(at.y - area.y);
    if row >= count {
        return Vec::new();
    }
    if row != list.cursor {
        list.cursor = row;
        app.dlq.drop_anchor();
        return Vec::new();
    }
    let action = match (app.screen, app.dlq.view) {
        (Screen::Dlq, View::Letter) => Action::Fold,
        _ => Action::Open,
    };
    press::act(app, action)
}

/// Where the rows of the list are.
fn rows(app: &App) -> Rect {
    let area = app.list_area();
    match (app.screen, app.dlq.view) {
        // They have the whole width.
        (Screen::Dlq, View::Groups | View::Trash) => {
            Rect::new(0, area.y, app.size.width, area.height)
        }
        _ => area,
    }
}

/// The cursor of the list in front, and how many rows it has.
fn list(app: &mut App) -> Option<(&mut Position, usize)> {
    let (area, now) = (app.list_area(), app.now());
    match app.screen {
        Screen::Overview => None,
        Screen::Live => {
            let count = app.live.shown().count();
            Some((&mut app.live.at, count))
        }
        Screen::Dlq => match app.dlq.view {
            View::List => {
                let count = app.dlq.count();
                Some((&mut app.dlq.at, count))
            }
            View::Groups => {
                let count = app.dlq.groups().len();
                Some((&mut app.dlq.groups_at, count))
            }
            View::Letter => {
                let letter = app.dlq.letter.as_mut()?;
                let count = letter.lines(area.width.into(), now).len();
                Some((&mut letter.at, count))
            }
            View::Trash => Some(app.trash.cursor()),
        },
        Screen::Queue => {
            let count = app.queue.count();
            Some((&mut app.queue.at, count))
        }
        Screen::Workers => {
            let figures = app.figures.as_ref();
            let count = figures.map_or(0, |(figures, _)| figures.workers.len());
            Some((&mut app.workers_at, count))
        }
        Screen::Pipeline => {
            let count = app.stations.list.as_ref().map_or(0, Vec::len);
            Some((&mut app.stations.at, count))
        }
        Screen::Audit => {
            let count = app.audit.count();
            Some((&mut app.audit.at, count))
        }
    }
}
