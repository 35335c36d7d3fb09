//! Pausing the workers and resuming them: two questions and two commands, never a switch, for what
//! is shown may be older than what is.

use super::press::ask;
use crate::app::App;
use crate::app::overlay::{Confirm, Yes};
use crate::message::{Command, Level};
use crate::text::plural;

/// Asks whether the workers shall be paused, or resumed.
pub(super) fn ask_to(app: &mut App, pause: bool) -> Vec<Command> {
    let mut notes = Vec::new();
    if let Some((figures, _)) = &app.figures {
        let workers = plural(figures.registered().count() as u64, "worker");
        notes.push(if pause {
            format!("{workers} will finish what is in flight and take no more leads until resumed.")
        } else {
            format!("{workers} will take leads again.")
        });
        if figures.paused == pause {
            let is = if pause {
                "are paused"
            } else {
                "are not paused"
            };
            notes.push(format!("By the last reading they {is} already."));
        }
    }
    let question = if pause {
        "Pause the workers?"
    } else {
        "Resume the workers?"
    };
    let confirm = Confirm {
        question: question.into(),
        notes,
        typed: None,
        yes: Yes::SetPaused(pause),
    };
    ask(app, confirm)
}

/// Does it, once that was confirmed.
pub(super) fn set(app: &mut App, paused: bool) -> Vec<Command> {
    // It may have been locked while the question stood there.
    if app.may_change() {
        return vec![Command::SetPaused(paused)];
    }
    let told = "nothing can be changed from here";
    app.notices.say(app.uptime, Level::Note, told);
    Vec::new()
}

/// Takes what came of it.
pub(super) fn ended(app: &mut App, paused: bool, changed: Result<bool, String>) {
    let (level, told) = match changed {
        Ok(changed) => {
            if let Some((figures, _)) = &mut app.figures {
                figures.paused = paused;
            }
            let told = match (paused, changed) {
                (true, true) => {
                    "paused: workers finish what is in flight and take no more; p resumes"
                }
                (true, false) => "they were paused already: nothing was changed; p resumes",
                (false, true) => "resumed: workers take leads again",
                (false, false) => "they were not paused: nothing was changed",
            };
            (Level::Good, told.to_owned())
        }
        Err(error) => {
            let not = if paused { "not paused" } else { "not resumed" };
            (Level::Bad, format!("{not}, as far as is known: {error}"))
        }
    };
    app.notices.say(app.uptime, level, told);
}
