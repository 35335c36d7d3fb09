//! Which keys count: not those that nobody sees the effect of, not those of pasted text where none
//! is typed, and those that wait for what they are about only when that is there.

use std::mem::{Discriminant, discriminant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{press, work, write};
use crate::app::App;
use crate::app::ahead::HELD_TIMEOUT;
use crate::app::overlay::{Confirm, Overlay};
use crate::keymap::{Action, Key};
use crate::message::{Command, Level};
use crate::text::plural;

const PASTED: &str = "text is pasted only where text is typed: nothing was changed";

/// Takes a key.
pub(super) fn key(app: &mut App, event: KeyEvent) -> Vec<Command> {
    let ctrl = event.modifiers.contains(KeyModifiers::CONTROL);
    let interrupt = ctrl && event.code == KeyCode::Char('c');
    if app.is_hidden() {
        return unseen(app, event, interrupt);
    }
    // Whatever is in front: the way out that every terminal user tries.
    if interrupt {
        return self::interrupt(app);
    }
    let pasted = match taken_as(app) {
        Taken::Key => app.typing.is_pasted(app.uptime, event),
        Taken::Number => app.typing.is_pasting(app.uptime),
        Taken::Text => false,
    };
    if pasted {
        app.held.take();
        app.notices.say(app.uptime, Level::Note, PASTED);
        return Vec::new();
    }
    if app.held.is_empty() {
        return press(app, event);
    }
    match app.options.keymap.find(&app.scopes(), Key::of(event)) {
        _ if event.code == KeyCode::Esc => {
            app.held.take();
            Vec::new()
        }
        // Who goes elsewhere no longer wants what was waited for.
        Some(binding) if matches!(binding.action, Action::Show(_)) => {
            app.held.take();
            press(app, event)
        }
        _ => {
            app.held.push(app.uptime, event);
            Vec::new()
        }
    }
}

/// Presses a key, unless what it is about is still to be read: then it waits.
fn press(app: &mut App, event: KeyEvent) -> Vec<Command> {
    if app.overlay.is_none() && app.line().is_none() {
        let binding = app.options.keymap.find(&app.scopes(), Key::of(event));
        if binding.is_some_and(|binding| app.awaits(binding.action)) {
            app.held.push(app.uptime, event);
            return Vec::new();
        }
    }
    let before = app.overlay.as_ref().map(discriminant);
    let commands = press::key(app, event);
    came(app, before);
    commands
}

/// An overlay that was not there before has not been seen yet.
pub(super) fn came(app: &mut App, before: Option<Discriminant<Overlay>>) {
    if app.overlay.as_ref().map(discriminant) != before {
        app.overlay_drawn = false;
    }
}

/// Presses the keys that have waited for what is there now.
pub(super) fn go_on(app: &mut App) -> Vec<Command> {
    let since = app.held.since;
    let mut commands = Vec::new();
    for event in app.held.take() {
        if app.held.is_empty() {
            commands.extend(press(app, event));
        } else {
            app.held.push(app.uptime, event);
        }
    }
    if !app.held.is_empty() {
        app.held.since = since;
        if app.uptime.saturating_sub(since) >= HELD_TIMEOUT {
            let_go(app, "what they are about could not be read in 10 s");
        }
    }
    commands
}

/// Lets the keys go that wait for what is not going to be read.
pub(super) fn let_go(app: &mut App, why: &str) {
    let count = app.held.take().len() as u64;
    if count > 0 {
        let told = format!("{} did nothing: {why}", plural(count, "key"));
        app.notices.say(app.uptime, Level::Note, told);
    }
}

/// What keys do where nobody sees it: nothing, but for the ways out.
fn unseen(app: &mut App, event: KeyEvent, interrupt: bool) -> Vec<Command> {
    let binding = app.options.keymap.find(&app.scopes(), Key::of(event));
    match binding.map(|binding| binding.action) {
        Some(Action::Suspend) => vec![Command::Suspend],
        action => {
            let q = event.code == KeyCode::Char('q') && event.modifiers.is_empty();
            app.quit |= interrupt || q || action == Some(Action::Quit);
            Vec::new()
        }
    }
}

/// What a key is now.
enum Taken {
    Key,
    Text,
    /// Text too, but not of a paste that began before it was asked for.
    Number,
}

fn taken_as(app: &App) -> Taken {
    match &app.overlay {
        Some(Overlay::File(..) | Overlay::Palette(_)) => Taken::Text,
        Some(Overlay::Confirm(confirm)) if confirm.typed.is_some() => Taken::Number,
        None if app.line().is_some() => Taken::Text,
        _ => Taken::Key,
    }
}

/// Takes pasted text, where text is being written; elsewhere it does nothing.
pub(super) fn paste(app: &mut App, text: &str) -> Vec<Command> {
    app.held.take();
    if app.is_hidden() {
        return Vec::new();
    }
    let writes = app.line().is_some();
    match &mut app.overlay {
        Some(Overlay::Confirm(Confirm {
            typed: Some((_, input)),
            ..
        })) if app.overlay_drawn => input.insert(text),
        Some(Overlay::File(input, _)) => input.insert(text),
        Some(Overlay::Palette(palette)) => palette.input.insert(text),
        None if writes => write::paste(app, text),
        _ => app.notices.say(app.uptime, Level::Note, PASTED),
    }
    Vec::new()
}

/// Ctrl-C: first whatever is under way, then the console itself.
fn interrupt(app: &mut App) -> Vec<Command> {
    if !app.held.take().is_empty() || app.overlay.take().is_some() || write::give_up(app) {
        return Vec::new();
    }
    if app.work.is_some() {
        return work::stop(app);
    }
    app.quit = true;
    Vec::new()
}
