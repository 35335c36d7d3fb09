//! What a message does to the state, and what is to be done for it.

mod account;
mod keys;
mod mouse;
mod pause;
mod press;
pub(crate) mod work;
mod write;

#[cfg(test)]
mod tests;

use std::mem::discriminant;
use std::time::Duration;

use bridge_shared::findings::findings;
use bridge_shared::store::survey::Search;
use ratatui::layout::Size;

use crate::app::dlq::View;
use crate::app::{App, Causes, Link};
use crate::message::{Command, Level, Message};
use crate::screen::Screen;

/// Takes a message at a time counted from the console's start; returns what is to be done.
pub(crate) fn update(app: &mut App, uptime: Duration, message: Message) -> Vec<Command> {
    app.uptime = app.uptime.max(uptime);
    app.notices.fade(app.uptime);
    let overlay = app.overlay.as_ref().map(discriminant);
    let mut commands = match message {
        Message::Key(key) => keys::key(app, key),
        Message::Mouse(event) => mouse::mouse(app, event),
        Message::Paste(text) => keys::paste(app, &text),
        Message::Size(columns, rows) => {
            app.size = Size::new(columns, rows);
            let height = app.height();
            let count = app.dlq.count();
            app.dlq.at.keep(count, height);
            // A question that was seen before is seen again first.
            app.overlay_drawn &= !app.is_hidden();
            Vec::new()
        }
        Message::Tick => Vec::new(),
        Message::Reading(figures) => {
            if matches!(app.link, Link::Lost { .. }) {
                app.notices
                    .say(app.uptime, Level::Good, "Redis answers again");
            }
            app.link = Link::Live;
            let was = app.figures.as_ref().map(|(figures, _)| figures.search);
            if figures.search == Search::Denied
                && was != Some(Search::Denied)
                && let Some(why) = figures.search.gap()
            {
                let text = format!("in flight may be more: {why}");
                app.notices.say(app.uptime, Level::Note, text);
            }
            app.trend.read(app.uptime, &figures);
            let commands = app.dlq.read(&figures);
            app.queue.age();
            app.audit.age();
            app.stations.stale = true;
            app.trash.age();
            app.findings = findings(&figures, &app.condition);
            app.figures = Some((*figures, app.uptime));
            commands
        }
        Message::Condition(condition) => {
            app.condition = *condition;
            Vec::new()
        }
        Message::Took(time) => {
            app.took = time;
            Vec::new()
        }
        Message::Refused(screen, error) => {
            keys::let_go(app, "what they are about cannot be read");
            if screen == Screen::Dlq {
                app.dlq.trouble();
            }
            app.refused.insert(screen, error);
            Vec::new()
        }
        Message::Trouble(error) => {
            keys::let_go(app, "Redis does not answer");
            app.dlq.trouble();
            let since = match app.link {
                Link::Lost { since, .. } => since,
                _ => app.uptime,
            };
            app.link = Link::Lost { since, error };
            Vec::new()
        }
        Message::Edited { dead, text } => work::edited(app, dead, text),
        Message::Tried(dead, answer) => {
            work::tried(app, dead, answer);
            Vec::new()
        }
        Message::Progress(done) => {
            if let Some(work) = &mut app.work {
                work.done = done;
            }
            Vec::new()
        }
        Message::Ended(ended) => account::ended(app, ended),
        Message::Paused { paused, changed } => {
            pause::ended(app, paused, changed);
            Vec::new()
        }
        Message::Told(level, text) => {
            app.notices.say(app.uptime, level, text);
            Vec::new()
        }
        message => {
            learn(app, message);
            Vec::new()
        }
    };
    keys::came(app, overlay);
    commands.extend(keys::go_on(app));
    if let Some(told) = app.dlq.told.take() {
        app.notices.say(app.uptime, Level::Note, told);
    }
    commands.extend(wants(app));
    commands
}

/// What must be read for the screen in front to be true.
fn wants(app: &mut App) -> Option<Command> {
    let height = app.height();
    match app.screen {
        Screen::Dlq if app.dlq.view == View::Trash => app.trash.wants(height),
        Screen::Dlq => app.dlq.wants(height),
        Screen::Queue => {
            let (start, count) = app.queue.wants(height)?;
            let stage = app.stage;
            Some(Command::Look {
                stage,
                start,
                count,
            })
        }
        Screen::Overview | Screen::Pipeline if app.stations.stale => {
            app.stations.stale = false;
            Some(Command::ReadStations(app.stations.hours))
        }
        Screen::Audit => {
            // The audit is read from its newest entry on: it has no other place to begin at.
            let (start, count) = app.audit.wants(height)?;
            Some(Command::ReadAudit(start + count))
        }
        _ => None,
    }
}

/// Takes what was read.
fn learn(app: &mut App, message: Message) {
    let height = app.height();
    // What can be read again is refused no longer.
    let read = match &message {
        Message::Minutes(_) => Some(Screen::Overview),
        Message::Letters { .. }
        | Message::Scanned(_)
        | Message::Trashes(_)
        | Message::InTrash { .. } => Some(Screen::Dlq),
        Message::Events(..) => Some(Screen::Live),
        Message::Looked { .. } => Some(Screen::Queue),
        Message::Stations(..) => Some(Screen::Pipeline),
        Message::Audit(..) => Some(Screen::Audit),
        _ => None,
    };
    if let Some(screen) = read {
        app.refused.remove(&screen);
    }
    match message {
        Message::Trashes(list) => app.trash.learn(list, height),
        Message::InTrash {
            name,
            start,
            total,
            letters,
        } => app.trash.look(&name, start, total, letters, height),
        Message::Newer { version, unread } => {
            app.live.newer = app.live.newer.max(Some(version));
            app.live.unread += unread;
        }
        Message::Minutes(minutes) => {
            app.trend.learn(minutes);
        }
        Message::Causes(seen, list) => {
            app.causes = Causes { seen, list };
        }
        Message::Letters { letters, total } => {
            app.dlq.learn(letters, total, height);
        }
        Message::Scanned(part) => {
            app.dlq.found(part, height);
        }
        Message::Events(events, skipped) => {
            app.live.learn(events, skipped, height);
        }
        Message::Looked {
            stage,
            start,
            total,
            entries,
        } if stage == app.stage => app.queue.learn(start, total, entries, height),
        Message::Stations(hours, list) if hours == app.stations.hours => {
            app.stations.list = Some(list);
            app.order_stations();
        }
        Message::Audit(total, entries) => {
            app.audit.learn(0, total, entries, height);
        }
        _ => {}
    }
}
