//! The account of a piece of work: what was done, what was not, and what of it can be undone.

use std::collections::HashSet;
use std::fmt::Write as _;

use bridge_shared::envelope::Envelope;
use bridge_shared::triage::OfAnother;

use super::press::changes;
use super::work::refuse;
use crate::app::App;
use crate::app::dlq::{Unchosen, Undo};
use crate::app::input::Input;
use crate::app::list::Position;
use crate::app::overlay::{Account, Confirm, Overlay, Yes};
use crate::message::{Command, Ended, Level, Which, Work};
use crate::text::{plural, thousands};

/// Takes the account of a piece of work.
pub(super) fn ended(app: &mut App, mut ended: Ended) -> Vec<Command> {
    let asked = app.work.take().map_or(0, |work| work.total);
    let undos = app.dlq.undos.len();
    remember(app, &ended);
    let mut summary = summary(&ended, asked);
    let account = account(&mut ended, &summary);
    let report = &ended.report;
    if changes(&ended.work) {
        // What was cleared is gone whatever it was called.
        let cleared = matches!(ended.work, Work::Clear(..)) && report.moved > 0;
        let marked = app.dlq.marks.listed(cleared);
        app.dlq
            .done(marked.iter().chain(&account.done).chain(&report.gone));
        app.trash.age();
    }
    let undone = !account.rest.is_empty();
    let level = if ended.error.is_some() || undone || report.stopped {
        Level::Bad
    } else {
        Level::Good
    };
    let mut more = Vec::new();
    if changes(&ended.work) && report.moved > 0 {
        let undoable = app.dlq.undos.len() > undos;
        more.push(match &ended.work {
            Work::Restore(_) | Work::Recall(_) => "",
            _ if undoable => "u undoes",
            _ => "too many for u to take back",
        });
    }
    if account.count() > 1 {
        more.push("a lists them");
    }
    for more in more.into_iter().filter(|more| !more.is_empty()) {
        let _ = write!(summary, "; {more}");
    }
    let question = into_this_queue(app, &ended);
    // Of one alone the notice says it all.
    if let Some(question) = question {
        app.overlay = Some(Overlay::Confirm(question));
        app.account = Some(account);
    } else if undone && (account.count() > 1 || ended.error.is_none()) {
        app.overlay = Some(Overlay::Account(account));
    } else if account.count() > 0 {
        app.account = Some(account);
    }
    app.notices.say(app.uptime, level, summary);
    vec![Command::Refresh]
}

/// The question that follows a retry of dead letters that came from other queues: those stayed.
fn into_this_queue(app: &App, ended: &Ended) -> Option<Confirm> {
    let others = &ended.report.other_queue;
    if others.is_empty() || ended.error.is_some() || ended.report.stopped {
        return None;
    }
    let count = others.len() as u64;
    let letters = plural(count, "dead letter");
    let places = others.iter().map(|other| (other.id.clone(), other.place));
    Some(Confirm {
        question: format!(
            "Put {letters} of other queues into {} all the same?",
            app.options.queue
        ),
        notes: vec![
            format!("{}.", OfAnother::in_words(others)),
            "The other queue may be another environment: a console of its own retries them there."
                .into(),
        ],
        // It comes when the work has ended, so what is typed meanwhile must not answer it.
        typed: Some((count, Input::default())),
        yes: Yes::Begin {
            words: format!("putting {letters} into {}", app.options.queue),
            count,
            work: Box::new(Work::IntoThisQueue(places.collect())),
        },
    })
}

/// What came of a piece of work that was about this many, in one line.
fn summary(ended: &Ended, asked: u64) -> String {
    let report = &ended.report;
    let letters = plural(report.moved, "dead letter");
    let mut summary = match &ended.work {
        Work::Restore(_) if report.moved == 0 && ended.error.is_none() => {
            return "nothing to bring back: the trash is empty, or its day is over".into();
        }
        Work::Move { trash: None, .. } | Work::IntoThisQueue(_) | Work::Edited(_) => {
            format!("{letters} back to work")
        }
        Work::Move { trash: Some(_), .. } | Work::Clear(..) => {
            format!("{letters} in the trash for a day")
        }
        Work::Restore(_) => format!("{letters} brought back"),
        Work::Recall(_) => format!("{letters} taken back"),
        Work::Export(_, file) => format!("{letters} written to {file}"),
    };
    let refused = report.refused.len() as u64;
    let others = report.other_queue.len() as u64;
    let whole = ended.error.is_none() && !report.stopped;
    let gone = match &ended.work {
        // Somebody else may have been faster before these could even be read.
        Work::Move {
            which: Which::Matching(_),
            ..
        } if whole => asked.saturating_sub(report.moved + refused + others),
        _ => 0,
    };
    let gone = gone.max(report.gone.len() as u64);
    if gone > 0 {
        let was = if gone == 1 { "was" } else { "were" };
        let _ = write!(summary, "; {} {was} already gone", thousands(gone));
    }
    if refused > 0 {
        let _ = write!(
            summary,
            "; {} cannot be a lead, so it stays",
            thousands(refused)
        );
    }
    if others > 0 {
        let _ = write!(summary, "; {} of other queues stay", thousands(others));
    }
    let too_large = report.too_large.len() as u64;
    if too_large > 0 {
        let _ = write!(
            summary,
            "; {} too large to be looked into",
            thousands(too_large)
        );
    }
    if report.stopped {
        summary.push_str("; stopped, the rest is where it was");
    }
    if let Some(error) = &ended.error {
        // The account goes on behind it.
        summary = format!("{summary}, then: {}", error.trim_end_matches('.'));
    }
    summary
}

/// What became of each, by id; the ids are taken out of the report.
fn account(ended: &mut Ended, summary: &str) -> Account {
    let done = ended.report.ids.take().unwrap_or_default();
    let report = &ended.report;
    let gone = report.gone.iter().map(|id| (id.clone(), "already gone"));
    let stays = "cannot be a lead, so it stays";
    let refused = report.refused.iter().map(|id| (id.clone(), stays));
    let unseen = "too large to look into, so it stays";
    let too_large = report.too_large.iter().map(|id| (id.clone(), unseen));
    let elsewhere = "came from another queue, so it stays";
    let others = report.other_queue.iter();
    let others = others.map(|other| (other.id.clone(), elsewhere));
    let mut rest: Vec<_> = gone.chain(refused).chain(others).chain(too_large).collect();
    if report.stopped || ended.error.is_some() {
        let why = if ended.error.is_some() {
            "not done, or its answer was lost"
        } else {
            "not come to: stopped before"
        };
        let known: HashSet<&str> = done
            .iter()
            .chain(rest.iter().map(|(id, _)| id))
            .map(String::as_str)
            .collect();
        let asked = asked_for(&ended.work);
        let missed = asked.into_iter().filter(|id| !known.contains(id.as_str()));
        let missed: Vec<_> = missed.map(|id| (id, why)).collect();
        rest.extend(missed);
    }
    Account {
        summary: summary.to_owned(),
        rest,
        done,
        did: match &ended.work {
            Work::Move { trash: Some(_), .. } | Work::Clear(..) => "in the trash",
            Work::Move { .. } | Work::IntoThisQueue(_) | Work::Edited(_) => "back to work",
            Work::Restore(_) => "brought back",
            Work::Recall(_) => "taken back",
            Work::Export(..) => "written",
        },
        at: Position::default(),
    }
}

/// The ids a piece of work was about, where they were named.
fn asked_for(work: &Work) -> Vec<String> {
    match work {
        Work::Move { which, .. } => match which {
            Which::These(letters) => letters.iter().map(|dead| dead.id().to_owned()).collect(),
            Which::Ids(ids) => ids.keys().cloned().collect(),
            Which::Matching(_) => Vec::new(),
        },
        Work::IntoThisQueue(ids) => ids.keys().cloned().collect(),
        Work::Edited(dead) => vec![dead.id().to_owned()],
        Work::Recall(put) => put
            .iter()
            .map(|(_, dead)| Envelope::from_dead_letter(dead).0.id)
            .collect(),
        Work::Clear(..) | Work::Restore(_) | Work::Export(..) => Vec::new(),
    }
}

/// Shows the account of the last bulk work.
pub(super) fn show(app: &mut App) -> Vec<Command> {
    let Some(account) = app.account.take() else {
        let why = "no bulk work was done from this console yet";
        return refuse(app, Unchosen(why.into()));
    };
    app.overlay = Some(Overlay::Account(account));
    Vec::new()
}

/// Keeps what can be undone, and forgets what has been.
fn remember(app: &mut App, ended: &Ended) {
    let report = &ended.report;
    let undos = &mut app.dlq.undos;
    match &ended.work {
        Work::Move {
            trash: Some(name), ..
        }
        | Work::Clear(name, _)
            // Where the answer was lost more may be in the trash than is known.
            if report.moved > 0 || ended.error.is_some() =>
        {
            undos.push(Undo::Trash(name.clone(), report.moved));
        }
        Work::Move { trash: None, .. } | Work::IntoThisQueue(_) | Work::Edited(_)
            if report.moved > 0 && report.put.len() as u64 == report.moved =>
        {
            undos.push(Undo::Retried(report.put.clone()));
        }
        Work::Restore(name) => {
            let at = |undo: &Undo| matches!(undo, Undo::Trash(trash, _) if trash == name);
            if !report.stopped && ended.error.is_none() {
                undos.retain(|undo| !at(undo));
            } else if let Some(Undo::Trash(_, left)) = undos.iter_mut().find(|undo| at(undo)) {
                *left = left.saturating_sub(report.moved);
            }
        }
        Work::Recall(put) if ended.error.is_none() => {
            undos.retain(|undo| !matches!(undo, Undo::Retried(of) if of == put));
            // What is in somebody's hands by now cannot be taken back later either; what it did
            // not come to can.
            let looked_at = usize::try_from(report.moved).unwrap_or(usize::MAX) + report.gone.len();
            if report.stopped && looked_at < put.len() {
                undos.push(Undo::Retried(put[looked_at..].to_vec()));
            }
        }
        _ => {}
    }
}
