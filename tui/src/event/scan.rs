//! The search through all dead letters.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bridge_shared::cause::Cause;
use bridge_shared::filter::Filter;
use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::{Store, StoreError};
use tokio::sync::mpsc;

use crate::message::{Group, Message, Scanned};
use crate::triage::SCAN_WINDOW;

/// Between two parts of an answer.
const PART: Duration = Duration::from_millis(100);

/// Looks at every dead letter from the newest to the oldest and tells of the matches in parts.
///
/// # Errors
/// Every [`StoreError`] a call can meet.
pub(super) async fn run(
    store: &Store,
    search: u64,
    filter: &Filter,
    messages: &mpsc::Sender<Message>,
) -> Result<(), StoreError> {
    let now = store.observe_time().await?;
    let mut walk = store.walk_dead(SCAN_WINDOW);
    let mut part = Scanned {
        search,
        ..Scanned::default()
    };
    let mut groups = HashMap::new();
    let (mut seen, mut total) = (0, None);
    let mut told = Instant::now();
    while let Some(window) = walk.next().await? {
        seen += window.len() as u64;
        total = total.or_else(|| window.first().map(|letter| letter.of));
        for letter in window.iter().filter(|letter| filter.matches(letter, now)) {
            part.places.push(letter.from_end());
            count(&mut groups, letter);
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
    groups: &mut HashMap<String, Group>,
    seen: u64,
    total: Option<u64>,
    messages: &mpsc::Sender<Message>,
) {
    let told = Scanned {
        search: part.search,
        seen,
        total: total.unwrap_or(seen).max(seen),
        places: std::mem::take(&mut part.places),
        groups: groups.drain().map(|(_, group)| group).collect(),
        finished: part.finished,
    };
    // Fails only when the console has ended.
    let _ = messages.send(Message::Scanned(told)).await;
}

fn count(groups: &mut HashMap<String, Group>, letter: &DeadLetter) {
    let envelope = &letter.envelope;
    let cause = Cause::of(envelope);
    let group = groups.entry(cause.id.clone()).or_insert_with(|| Group {
        cause,
        station: envelope.station.clone(),
        kind: envelope.error_kind.as_str(),
        count: 0,
        first: envelope.failed_at,
        last: envelope.failed_at,
    });
    group.count += 1;
    group.first = group.first.into_iter().chain(envelope.failed_at).min();
    group.last = group.last.max(envelope.failed_at);
}
