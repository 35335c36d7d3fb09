//! Whole batches of leads that are over as soon as they are started: taken, and recorded, by lanes.
//!
//! While one batch is worked on another is on its way; what came of the one and the fetch of the next
//! go out together. The first batch of which a lead has to wait, or is to come back, ends that: its
//! leads are recorded one by one like any others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bridge_shared::store::StoreError;
use bridge_shared::store::lane::{LANES, Lane, Turn};
use bridge_shared::store::work::Record;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, MaybeDone, maybe_done};

use super::committer::Committed;
use super::runner::Ended;

/// How long no batch is asked for where what waits was not fit for one.
const REST: Duration = Duration::from_secs(1);

/// The lanes of this worker, those that are not under way.
#[derive(Debug)]
pub(super) struct Lanes {
    home: VecDeque<Lane>,
    /// Until when they rest.
    rest: Option<Instant>,
    /// Whether this user may not use them.
    refused: bool,
}

impl Lanes {
    pub(super) fn new(lanes: [Lane; LANES]) -> Self {
        Self {
            home: lanes.into(),
            rest: None,
            refused: false,
        }
    }

    pub(super) fn are_ready(&self) -> bool {
        !self.refused && self.rest.is_none_or(|until| until <= Instant::now())
    }

    pub(super) fn next(&mut self) -> Option<Lane> {
        self.home.pop_front()
    }

    pub(super) fn put_back(&mut self, lane: Lane) {
        self.home.push_back(lane);
    }

    /// What waits is not for batches: they are asked for again in a while.
    pub(super) fn rest(&mut self) {
        self.rest = Some(Instant::now() + REST);
    }

    /// Something went wrong on a lane. A user who may not do what it does works without.
    pub(super) fn note(&mut self, error: &StoreError) {
        self.rest();
        if let StoreError::NotAllowed { .. } = error {
            self.refused = true;
            tracing::warn!("this worker goes on without batches, which is slower: {error}");
        }
    }
}

/// A batch of which everything is over.
#[derive(Debug, Default)]
pub(super) struct Over {
    pub(super) records: Vec<Record>,
    /// What to tell of each once it is recorded.
    pub(super) told: Vec<Ended>,
    /// Each as it came.
    pub(super) payloads: Vec<Bytes>,
}

impl Over {
    pub(super) fn with_capacity(leads: usize) -> Self {
        Self {
            records: Vec::with_capacity(leads),
            told: Vec::with_capacity(leads),
            payloads: Vec::with_capacity(leads),
        }
    }

    /// Adds what came of a lead; gives it back where no lane can record it.
    pub(super) fn add(&mut self, payload: Bytes, committed: Committed) -> Option<Committed> {
        if committed.saving.is_some() || !Lane::records(&committed.record.outcome) {
            return Some(committed);
        }
        self.records.push(committed.record);
        self.told.push(committed.event);
        self.payloads.push(payload);
        None
    }

    /// Each lead by itself.
    pub(super) fn apart(self) -> impl Iterator<Item = Committed> {
        let both = self.records.into_iter().zip(self.told);
        both.map(|(record, event)| Committed {
            record,
            event,
            saving: None,
        })
    }
}

/// A lane that is back: what it carried there, and what it brought.
type Back = (Lane, Over, Result<Turn, StoreError>);

/// A lane under way: there with what came of a batch, and back with the next.
pub(super) struct Trip {
    /// How many leads it asks for, and the number of the first.
    pub(super) next: Option<(usize, u64)>,
    way: MaybeDone<BoxFuture<'static, Back>>,
}

impl Trip {
    /// Sets out, and sends what it has to send.
    pub(super) async fn set_out(mut lane: Lane, over: Over, next: Option<(usize, u64)>) -> Self {
        let way = async move {
            let turn = lane.turn(&over.records, next).await;
            (lane, over, turn)
        };
        let mut trip = Self {
            next,
            way: maybe_done(way.boxed()),
        };
        let _ = futures::poll!(&mut trip.way);
        trip
    }

    pub(super) async fn back(mut self) -> Back {
        (&mut self.way).await;
        let way = std::pin::Pin::new(&mut self.way);
        way.take_output().expect("asked for once")
    }
}
