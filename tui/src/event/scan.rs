//! The search through all dead letters.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bridge_shared::filter::Filter;
use bridge_shared::store::dead_letters::Looked;
use bridge_shared::store::{Store, StoreError};
use tokio::sync::mpsc;

use crate::groups::Groups;
use crate::message::{Message, Scanned};
use bridge_shared::triage::SCAN_WINDOW;

/// Between two parts of an answer.
const PART: Duration = Duration::from_millis(100);

/// Looks at every dead letter from the newest to the oldest and tells of the matches in parts, and
/// which of the marked ones are among them.
///
/// # Errors
/// Every [`StoreError`] a call can meet.
pub(super) async fn run(
    store: &Store,
    search: u64,
    filter: &Filter,
    marked: &HashSet<String>,
    messages: &mpsc::Sender<Message>,
) -> Result<(), StoreError> {
    let now = store.observe_time().await?;
    let mut walk = store.walk_dead(SCAN_WINDOW);
    let mut part = Scanned {
        search,
        ..Scanned::default()
    };
    let mut groups = Groups::default();
    let (mut seen, mut total) = (0, None);
    let mut told = Instant::now();
    while let Some(window) = walk.next().await? {
        seen += window.len() as u64;
        total = total.or_else(|| window.first().map(|letter| letter.of));
        for letter in &window {
            let Looked::Fits(fit) = store.look_into(filter, letter, now).await? else {
                continue;
            };
            part.places.push(letter.from_end());
            groups.add(letter, fit);
            if marked.contains(letter.id()) {
                part.marked.push(letter.id().to_owned());
            }
        }
        if told.elapsed() >= PART {
            tell(&mut part, &mut groups, seen, total, messages).await;
            told = Instant::now();
        }
    }
    part.finished = true;
    tell(&mut part, &mut groups, seen, total.or(Some(0)), messages).await;
    Ok(())
}

async fn tell(
    part: &mut Scanned,
    groups: &mut Groups,
    seen: u64,
    total: Option<u64>,
    messages: &mpsc::Sender<Message>,
) {
    let told = Scanned {
        search: part.search,
        seen,
        total: total.unwrap_or(seen).max(seen),
        places: std::mem::take(&mut part.places),
        groups: groups.drain(),
        marked: std::mem::take(&mut part.marked),
        finished: part.finished,
    };
    // Fails only when the console has ended.
    let _ = messages.send(Message::Scanned(told)).await;
}
