//! Bulk work on dead letters, told as it goes.

use std::io::{BufWriter, Write};
use std::path::Path;

use bridge_shared::envelope::Envelope;
use bridge_shared::store::control::operator;
use bridge_shared::store::dead_letters::{DeadLetter, Destination, Looked, token};
use bridge_shared::store::trial::Trial;
use bridge_shared::store::{Store, StoreError};
use bridge_shared::triage::{Asked, Matching, Move, Report, SCAN_WINDOW};
use bytes::Bytes;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::export::{Export, ExportError, Format, create};
use crate::message::{Ended, Message, Which, Work};
use crate::path;

/// The longest wait for a lead that is tried; a worker gives up after its own time for a lead.
const TRIAL: Duration = Duration::from_secs(150);
/// Dead letters between two words of how far an export has come.
const PROGRESS: usize = 16;
/// Between two looks for the answer.
const TRIAL_POLL: Duration = Duration::from_millis(100);

/// Does it, unless it is told to stop; what is done then stays done.
pub(super) async fn run(
    store: &Store,
    work: Work,
    stop: &CancellationToken,
    messages: &mpsc::Sender<Message>,
) -> Ended {
    let mut progress = |done| {
        // A full channel only means that the next word of progress comes a moment later.
        let _ = messages.try_send(Message::Progress(done));
        !stop.is_cancelled()
    };
    let mut report = Report::default();
    // What is told is where it really is.
    let work = match work {
        Work::Export(which, file) => Work::Export(which, path::whole(&file)),
        work => work,
    };
    let result = match &work {
        Work::Move { which, trash } => {
            let destination = trash
                .clone()
                .map_or(Destination::Redrive, Destination::Trash);
            let mut all = moving(store, destination, &mut progress);
            let result = match which {
                Which::These(letters) => all.letters(letters.clone()).await.map(drop),
                Which::Ids(ids) => all.hinted(ids).await,
                Which::Matching(wanted) => all.matching(wanted).await,
            };
            report = all.report;
            result.map_err(|error| error.to_string())
        }
        Work::IntoThisQueue(ids) => {
            let mut all = moving(store, Destination::Redrive, &mut progress);
            all.into_this_queue = true;
            let result = all.hinted(ids).await;
            report = all.report;
            result.map_err(|error| error.to_string())
        }
        Work::Edited(dead) => {
            let mut one = moving(store, Destination::Edited, &mut progress);
            // The question before it named the other queue.
            one.into_this_queue = true;
            let result = one.letters(vec![dead.clone()]).await;
            report = one.report;
            result.map(drop).map_err(|error| error.to_string())
        }
        Work::Recall(put) => {
            let who = operator();
            // The last that was put back is the oldest again.
            let put: Vec<_> = put.iter().rev().cloned().collect();
            let back = store.recall(&put, &who, |so_far| progress(so_far as u64));
            match back.await {
                Ok(back) => {
                    let (here, gone): (Vec<_>, Vec<_>) =
                        put.iter().zip(back).partition(|(_, back)| *back);
                    report.moved = here.len() as u64;
                    let id = |dead: &Bytes| Envelope::from_dead_letter(dead).0.id;
                    report.ids = Some(here.iter().map(|((_, dead), _)| id(dead)).collect());
                    // Those that it did not come to are neither here nor gone.
                    report.stopped = here.len() + gone.len() < put.len();
                    report.gone = gone.into_iter().map(|((_, dead), _)| id(dead)).collect();
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            }
        }
        Work::Clear(trash, asked) => {
            let result = clear(store, trash, *asked, &mut report, &mut progress).await;
            result.map_err(|error| error.to_string())
        }
        Work::Restore(trash) => {
            let mut so_far = 0;
            let result = store
                .restore_dead(trash, &operator(), |restored| {
                    so_far = restored;
                    progress(restored)
                })
                .await;
            report.moved = so_far;
            report.stopped = stop.is_cancelled();
            result.map(drop).map_err(|error| error.to_string())
        }
        Work::Export(which, file) => export(store, which, file, &mut report, &mut progress).await,
    };
    Ended {
        work,
        report,
        error: result.err(),
    }
}

/// A move of dead letters that leaves those of other queues where they are.
fn moving<'a>(
    store: &'a Store,
    destination: Destination,
    progress: &'a mut (dyn FnMut(u64) -> bool + Send),
) -> Move<'a> {
    Move {
        store,
        who: operator(),
        destination,
        force: false,
        into_this_queue: false,
        progress,
        report: Report::with_ids(),
    }
}

/// Throws away what there was when it was asked.
async fn clear(
    store: &Store,
    trash: &str,
    asked: Asked,
    report: &mut Report,
    progress: &mut (dyn FnMut(u64) -> bool + Send),
) -> Result<(), StoreError> {
    if let Some(moved) = store.clear_oldest(trash, &operator(), asked.dead).await? {
        report.moved = moved;
        return Ok(());
    }
    // Many have died since: those that were asked about go one by one.
    let mut all = moving(store, Destination::Trash(trash.to_owned()), progress);
    let wanted = Matching {
        asked: Some(asked),
        ..Matching::default()
    };
    let result = all.matching(&wanted).await;
    *report = all.report;
    result
}

/// Lets a worker bring a lead along its route, and waits for the answer.
pub(super) async fn try_out(store: &Store, dead: &DeadLetter) -> Result<Value, String> {
    let trial = Trial {
        token: token(),
        lead: dead.envelope.lead.clone(),
    };
    let said = |error: StoreError| error.to_string();
    store.ask_trial(&trial).await.map_err(said)?;
    let deadline = Instant::now() + TRIAL;
    while Instant::now() < deadline {
        if let Some(answer) = store.trial_answer(&trial.token).await.map_err(said)? {
            return serde_json::from_str(&answer).map_err(|_| {
                "a worker of another version gave an answer that cannot be read".into()
            });
        }
        tokio::time::sleep(TRIAL_POLL).await;
    }
    Err("no worker answered; is one running that is as new as this console?".into())
}

async fn export(
    store: &Store,
    which: &Which,
    file: &str,
    report: &mut Report,
    progress: &mut (impl FnMut(u64) -> bool + Send),
) -> Result<(), String> {
    let says = |error: std::io::Error| format!("cannot write {file}: {error}");
    let said = |error: ExportError| match error {
        ExportError::Store(error) => error.to_string(),
        ExportError::Io(error) => says(error),
    };
    let out = BufWriter::new(create(file).map_err(says)?);
    let mut export = Export::begin(out, Format::of(Path::new(file)), false).map_err(says)?;
    let done = write_all(store, which, &mut export, report, progress).await;
    report.moved = export.written;
    done.map_err(said)?;
    export.end().map_err(says).map(drop)
}

async fn write_all(
    store: &Store,
    which: &Which,
    export: &mut Export<impl Write>,
    report: &mut Report,
    progress: &mut (impl FnMut(u64) -> bool + Send),
) -> Result<(), ExportError> {
    let mut missed = Vec::new();
    if let Which::These(letters) = which {
        for letter in letters {
            if !export.add(store, letter).await? {
                missed.push(letter.clone());
            }
        }
    } else {
        let everything = Matching::default();
        let (ids, wanted) = match which {
            Which::Ids(ids) => (Some(ids), &everything),
            Which::Matching(wanted) => (None, wanted),
            Which::These(_) => (None, &everything),
        };
        let now = store.observe_time().await?;
        let mut walk = store.walk_dead(SCAN_WINDOW);
        'walk: while let Some(window) = walk.next().await? {
            for (n, letter) in window.into_iter().enumerate() {
                // Large ones are read one by one, which takes its time.
                if n % PROGRESS == 0 && !progress(export.written) {
                    report.stopped = true;
                    break 'walk;
                }
                if ids.is_some_and(|ids| !ids.contains_key(letter.id()))
                    || wanted.except.contains(letter.id())
                {
                    continue;
                }
                match store.look_into(&wanted.filter, &letter, now).await? {
                    Looked::Fits(_) => {
                        if !export.add(store, &letter).await? {
                            missed.push(letter);
                        }
                    }
                    Looked::TooLarge => report.too_large.push(letter.id().to_owned()),
                    Looked::Not | Looked::Gone => {}
                }
            }
        }
    }
    report.gone = export.add_missed(store, &missed).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge_shared::config::RedisArgs;
    use bridge_shared::sandbox::Sandbox;

    #[tokio::test]
    async fn an_export_is_stopped_between_letters_and_only_where_some_are_left() {
        let redis = Sandbox::start(&[]).expect("a private Redis");
        let mut connection = redis::Client::open(redis.url())
            .and_then(|client| client.get_connection())
            .expect("a connection");
        for n in 0..40 {
            let _: u64 = redis::cmd("LPUSH")
                .arg("f")
                .arg(format!(r#"{{"name":"{n}"}}"#))
                .query(&mut connection)
                .expect("pushed");
        }
        let args = RedisArgs::of(redis.url(), ["q", "f", "e"]);
        let store = Store::new(&args).expect("a store");
        for (stop_at, written, stopped) in [(0, 0, true), (16, 16, true), (33, 40, false)] {
            let mut report = Report::default();
            let mut export = Export::begin(Vec::new(), Format::of(Path::new("x.jsonl")), false)
                .expect("nothing to go wrong");
            let which = Which::Matching(Matching::default());
            let mut progress = |done: u64| done < stop_at;
            write_all(&store, &which, &mut export, &mut report, &mut progress)
                .await
                .unwrap_or_else(|_| panic!("exported"));
            assert_eq!((export.written, report.stopped), (written, stopped));
        }
    }
}
