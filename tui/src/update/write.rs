//! Keys and pasted text where a line is being written on a screen: filters and searches.

use bridge_shared::filter::Filter;
use crossterm::event::{KeyCode, KeyEvent};

use crate::app::complete::{Known, Writing};
use crate::app::{App, WrittenLine};
use crate::message::Command;

/// Takes a key where a line is being written; `None` where none is.
pub(super) fn key(app: &mut App, event: KeyEvent) -> Option<Vec<Command>> {
    match app.line()? {
        WrittenLine::Filter => Some(filter(app, event)),
        WrittenLine::LiveFilter => Some(live_filter(app, event)),
        WrittenLine::Search => {
            let (area, now) = (app.list_area(), app.now());
            if let Some(letter) = &mut app.dlq.letter {
                letter.write_search(event, area.width.into(), area.height.into(), now);
            }
            Some(Vec::new())
        }
    }
}

/// Takes pasted text where a line is being written.
pub(super) fn paste(app: &mut App, text: &str) {
    match app.line() {
        Some(WrittenLine::Filter) => {
            let known = Known::of(app);
            if let Some(writing) = &mut app.dlq.writing {
                writing.input.insert(text);
                writing.complete(&known, false);
            }
            name_mistake(app);
        }
        Some(WrittenLine::Search) => {
            let (area, now) = (app.list_area(), app.now());
            if let Some(letter) = &mut app.dlq.letter {
                letter.paste_search(text, area.width.into(), area.height.into(), now);
            }
        }
        Some(WrittenLine::LiveFilter) => {
            if let Some(input) = &mut app.live.writing {
                input.insert(text);
            }
        }
        None => {}
    }
}

/// Gives up the line that is being written; returns whether there was one.
pub(super) fn give_up(app: &mut App) -> bool {
    let search = app.line() == Some(WrittenLine::Search);
    let filter = app.dlq.writing.take().is_some();
    let live = app.live.writing.take().is_some();
    if search && let Some(letter) = &mut app.dlq.letter {
        letter.leave_search();
    }
    filter || live || search
}

fn filter(app: &mut App, event: KeyEvent) -> Vec<Command> {
    let known = Known::of(app);
    let Some(mut writing) = app.dlq.writing.take() else {
        return Vec::new();
    };
    match event.code {
        KeyCode::Esc => {
            app.dlq.mistake = None;
            return Vec::new();
        }
        KeyCode::Enter => match app.dlq.set_filter(writing.input.text()) {
            Ok(commands) => {
                app.dlq.mistake = None;
                return commands;
            }
            Err(mistake) => {
                app.dlq.mistake = Some(mistake);
                app.dlq.writing = Some(writing);
                return Vec::new();
            }
        },
        KeyCode::Tab | KeyCode::Down => writing.turn(&known, false),
        KeyCode::BackTab | KeyCode::Up => writing.turn(&known, true),
        KeyCode::Right if writing.accept(&known) => {}
        _ => {
            if writing.input.key(event) {
                writing.complete(&known, false);
            }
        }
    }
    app.dlq.writing = Some(writing);
    name_mistake(app);
    Vec::new()
}

/// Says what is wrong with the filter that is being written, but not of a field whose value is
/// only about to be.
fn name_mistake(app: &mut App) {
    let unfinished = |writing: &Writing| writing.input.text().ends_with(':');
    let writing = app.dlq.writing.as_ref().filter(|line| !unfinished(line));
    let parsed = writing.map(|writing| Filter::parse(writing.input.text()));
    app.dlq.mistake = parsed.and_then(|parsed| parsed.err().map(|error| error.to_string()));
}

fn live_filter(app: &mut App, event: KeyEvent) -> Vec<Command> {
    let Some(mut input) = app.live.writing.take() else {
        return Vec::new();
    };
    match event.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter => {
            let height = app.height();
            app.live.set_filter(input.text(), height);
            return Vec::new();
        }
        _ => {
            input.key(event);
        }
    }
    app.live.writing = Some(input);
    Vec::new()
}
