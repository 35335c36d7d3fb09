//! Work that changes the dead letters: asked for, begun, stopped and accounted for.

use bridge_shared::json::indented;
use bridge_shared::lead::Lead;
use bridge_shared::store::dead_letters::{DeadLetter, token};
use bridge_shared::triage::{Asked, Matching};
use bytes::Bytes;

use super::press::{ask, changes};
use crate::app::dlq::{Chosen, Unchosen, Undo, not_read};
use crate::app::input::Input;
use crate::app::overlay::{Confirm, Overlay, Yes};
use crate::app::trial::Trial;
use crate::app::{App, UnderWay};
use crate::message::{Command, Level, Which, Work};
use crate::text::{plural, thousands};

/// Beyond this many the number must be typed.
const MANY: u64 = 100;
const BUSY: &str = "one thing at a time: esc stops what is under way";
const KEPT: &str = "The trash is kept for a day; u brings them back.";
const NEWEST: &str = "They come back as the newest dead letters, in their old order.";

/// Says why nothing was done.
pub(super) fn refuse(app: &mut App, why: Unchosen) -> Vec<Command> {
    app.notices.say(app.uptime, Level::Note, why.0);
    Vec::new()
}

/// What there is to know of a choice before anything is done: that some of it is only like what was
/// looked for.
fn notes(chosen: &Chosen, note: &str) -> Vec<String> {
    let loose = (chosen.loose > 0).then(|| {
        format!(
            "{} of them only have a word that is like one of the filter. A ' before a word takes those \
             alone that have it exactly.",
            thousands(chosen.loose)
        )
    });
    loose.into_iter().chain([note.to_owned()]).collect()
}

/// Retries what was chosen, once that has been confirmed.
pub(super) fn retry(app: &mut App, chosen: Chosen) -> Vec<Command> {
    let confirm = Confirm {
        question: format!("Put {} back to work?", chosen.words),
        notes: notes(
            &chosen,
            "Entries that cannot be a lead stay where they are.",
        ),
        typed: typed(app, chosen.count),
        yes: Yes::Begin {
            words: format!("retrying {}", chosen.words),
            count: chosen.count,
            work: Box::new(Work::Move {
                which: as_asked(app, chosen.which),
                trash: None,
            }),
        },
    };
    ask(app, confirm)
}

/// What matches is what matches now, while it is asked for, and nothing that dies later.
fn as_asked(app: &App, which: Which) -> Which {
    match which {
        Which::Matching(matching) => Which::Matching(Matching {
            asked: Some(app.asked()),
            ..matching
        }),
        which => which,
    }
}

/// Throws away what was chosen, once that has been confirmed.
pub(super) fn throw_away(app: &mut App, chosen: Chosen) -> Vec<Command> {
    let brings = if chosen.count == 1 {
        "The trash is kept for a day; u brings it back."
    } else {
        KEPT
    };
    let confirm = Confirm {
        question: format!("Throw {} into the trash?", chosen.words),
        notes: notes(&chosen, brings),
        typed: typed(app, chosen.count),
        yes: Yes::Begin {
            words: format!("dropping {}", chosen.words),
            count: chosen.count,
            work: Box::new(Work::Move {
                which: as_asked(app, chosen.which),
                trash: Some(token()),
            }),
        },
    };
    ask(app, confirm)
}

/// Throws all dead letters away, once that has been confirmed.
pub(super) fn clear(app: &mut App) -> Vec<Command> {
    let Some(count) = app.dead() else {
        return refuse(app, not_read());
    };
    if count == 0 {
        return refuse(app, Unchosen("there are no dead letters".into()));
    }
    let mut notes = vec![KEPT.into()];
    if !app.dlq.filter_text.is_empty() {
        notes.insert(
            0,
            "This is about ALL of them, not only those that match the filter.".into(),
        );
    }
    let confirm = Confirm {
        question: format!("Throw all {} into the trash?", plural(count, "dead letter")),
        notes,
        typed: typed(app, count),
        yes: Yes::Begin {
            words: format!("clearing {}", plural(count, "dead letter")),
            count,
            work: Box::new(Work::Clear(
                token(),
                Asked {
                    dead: count,
                    ..app.asked()
                },
            )),
        },
    };
    ask(app, confirm)
}

/// Undoes what was done last, once that has been confirmed.
pub(super) fn undo(app: &mut App) -> Vec<Command> {
    // What it does can be undone as soon as its account stands.
    if app.work.is_some() {
        return refuse(app, Unchosen(BUSY.into()));
    }
    let Some(last) = app.dlq.undos.last().cloned() else {
        let why = "nothing was done from this console that can be undone";
        return refuse(app, Unchosen(why.into()));
    };
    let confirm = match last {
        Undo::Trash(trash, count) => {
            let letters = match count {
                0 => "what is in the trash".into(),
                count => plural(count, "dead letter"),
            };
            Confirm {
                question: match count {
                    0 => "Bring back what is in the trash?".into(),
                    _ => format!("Bring {letters} back from the trash?"),
                },
                notes: vec![NEWEST.into()],
                typed: typed(app, count),
                yes: Yes::Begin {
                    words: format!("bringing back {letters}"),
                    count,
                    work: Box::new(Work::Restore(trash)),
                },
            }
        }
        Undo::Retried(put) => {
            let count = put.len() as u64;
            let leads = plural(count, "lead");
            Confirm {
                question: format!("Take {leads} back to the dead letters?"),
                notes: vec!["What a worker has begun with stays with it.".into()],
                typed: typed(app, count),
                yes: Yes::Begin {
                    words: format!("taking back {leads}"),
                    count,
                    work: Box::new(Work::Recall(put)),
                },
            }
        }
    };
    ask(app, confirm)
}

/// Takes what came back from the editor.
pub(super) fn edited(
    app: &mut App,
    mut dead: DeadLetter,
    text: Result<String, String>,
) -> Vec<Command> {
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            app.notices.say(app.uptime, Level::Bad, error);
            return Vec::new();
        }
    };
    if text.trim() == editable(&dead).trim() {
        return refuse(app, Unchosen("the lead was left as it is".into()));
    }
    let lead = Bytes::from(text.trim().to_owned());
    if let Err(error) = Lead::parse(&lead) {
        app.overlay = Some(Overlay::EditAgain {
            dead,
            text,
            error: error.to_string(),
        });
        return Vec::new();
    }
    dead.envelope.lead = lead;
    let mut notes = vec!["The audit keeps the lead as it was.".to_owned()];
    if dead.envelope.is_of_another(&app.options.queue) {
        notes.insert(
            0,
            format!(
                "It came from the queue {} and goes into {}, which may be another environment.",
                dead.envelope.queue, app.options.queue
            ),
        );
    }
    let confirm = Confirm {
        question: format!(
            "Put dead letter {} back to work with the lead as edited?",
            dead.id()
        ),
        notes,
        typed: None,
        yes: Yes::Begin {
            words: format!("retrying dead letter {} as edited", dead.id()),
            count: 1,
            work: Box::new(Work::Edited(dead)),
        },
    };
    ask(app, confirm)
}

/// A lead as the editor shows it: indented if it is JSON, every part as it came.
pub(crate) fn editable(dead: &DeadLetter) -> String {
    indented(&dead.envelope.lead)
        .unwrap_or_else(|| String::from_utf8_lossy(&dead.envelope.lead).into_owned())
}

/// Opens a lead in the editor.
pub(super) fn edit(app: &mut App, dead: DeadLetter) -> Vec<Command> {
    if dead.is_whole() {
        vec![Command::Edit(dead, None)]
    } else {
        refuse(app, too_large(&dead, "edited"))
    }
}

/// Only the beginning of a large lead is at hand.
fn too_large(dead: &DeadLetter, what: &str) -> Unchosen {
    Unchosen(format!(
        "a lead of {} bytes is too large to be {what} here; an export has it all",
        thousands(dead.lead_size())
    ))
}

/// Lets a worker try the lead of a dead letter.
pub(super) fn try_out(app: &mut App, dead: Option<DeadLetter>) -> Vec<Command> {
    let Some(dead) = dead else {
        return refuse(app, Unchosen("there is no dead letter here".into()));
    };
    if !dead.is_whole() {
        return refuse(app, too_large(&dead, "tried"));
    }
    if app
        .figures
        .as_ref()
        .is_some_and(|(figures, _)| figures.registered().next().is_none())
    {
        return refuse(
            app,
            Unchosen("no worker is running that could try it".into()),
        );
    }
    if app.work.is_some() {
        return refuse(app, Unchosen(BUSY.into()));
    }
    app.notices.hush();
    app.work = Some(UnderWay {
        words: format!(
            "trying {}: services are called, nothing is recorded",
            dead.id()
        ),
        done: 0,
        total: 1,
        begun: app.uptime,
        stopping: false,
    });
    vec![Command::Try(dead)]
}

/// Takes what came of a lead that was tried.
pub(super) fn tried(app: &mut App, dead: DeadLetter, answer: Result<serde_json::Value, String>) {
    app.work = None;
    match answer {
        Ok(answer) => app.overlay = Some(Overlay::Trial(Trial::new(dead, answer))),
        Err(error) => app
            .notices
            .say(app.uptime, Level::Bad, format!("not tried: {error}")),
    }
}

/// Asks for the file to write to.
pub(super) fn ask_export(app: &mut App) -> Vec<Command> {
    let none = app.dlq.marks.count(app.dlq.count() as u64) == 0;
    let chosen = if none {
        app.dlq.all_matching(std::collections::HashSet::new())
    } else {
        app.dlq.chosen()
    };
    match chosen {
        Ok(chosen) => {
            let file = format!("dead-letters-{}.jsonl", app.now() / 1_000);
            app.overlay = Some(Overlay::File(Input::new(file), chosen.which));
            Vec::new()
        }
        Err(why) => refuse(app, why),
    }
}

/// Writes what was chosen to a file.
pub(super) fn export(app: &mut App, which: Which, file: String) -> Vec<Command> {
    let count = match &which {
        Which::These(letters) => letters.len() as u64,
        Which::Ids(ids) => ids.len() as u64,
        Which::Matching(_) => app.dlq.matching().or(app.dead()).unwrap_or(0),
    };
    let words = format!("writing {}", plural(count, "dead letter"));
    begin(app, Work::Export(which, file), words, count)
}

/// Begins a piece of work, unless another one is under way.
pub(super) fn begin(app: &mut App, work: Work, words: String, total: u64) -> Vec<Command> {
    if app.work.is_some() {
        return refuse(app, Unchosen(BUSY.into()));
    }
    // It may have been locked while the question stood there.
    if changes(&work) && !app.may_change() {
        app.notices
            .say(app.uptime, Level::Note, "nothing can be changed from here");
        return Vec::new();
    }
    app.notices.hush();
    app.work = Some(UnderWay {
        words,
        done: 0,
        total,
        begun: app.uptime,
        stopping: false,
    });
    vec![Command::Do(work)]
}

/// Stops the piece of work under way: what is done stays done.
pub(super) fn stop(app: &mut App) -> Vec<Command> {
    if let Some(work) = &mut app.work {
        work.stopping = true;
    }
    vec![Command::Stop]
}

/// Brings back the trash under the cursor, once that has been confirmed.
pub(super) fn restore(app: &mut App) -> Vec<Command> {
    let Some(trash) = app.trash.under_cursor().cloned() else {
        return refuse(app, Unchosen("there is no trash here".into()));
    };
    let letters = plural(trash.count, "dead letter");
    let confirm = Confirm {
        question: format!("Bring {letters} back from the trash {}?", trash.name),
        notes: vec![NEWEST.into()],
        typed: typed(app, trash.count),
        yes: Yes::Begin {
            words: format!("bringing back {letters}"),
            count: trash.count,
            work: Box::new(Work::Restore(trash.name)),
        },
    };
    ask(app, confirm)
}

/// The number that must be typed, where it is a large one, or the environment wants it.
fn typed(app: &App, count: u64) -> Option<(u64, Input)> {
    let most = if app.options.confirm { 1 } else { MANY };
    (count > most).then(|| (count, Input::default()))
}
