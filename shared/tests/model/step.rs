//! The calls of the store that a sequence is made of, and what they answer.

/// What a worker says came of a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Done,
    Skipped,
    OverBudget,
    /// Due at once, or in an hour.
    Retry {
        due: bool,
    },
    Postponed {
        due: bool,
    },
    Dead,
    Requeue,
}

/// Where a console sends dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Work,
    Trash,
}

/// One call of the store.
#[derive(Debug, Clone)]
pub enum Step {
    /// A batch through the bridge; again where its answer was lost.
    Push {
        run: usize,
        leads: usize,
        again: bool,
    },
    /// A plain `LPUSH` by somebody else.
    Lpush,
    /// A sign of life; one that is not alive gets a lease that has ended already.
    Beat {
        worker: usize,
        alive: bool,
        register: bool,
    },
    Fetch {
        worker: usize,
        count: usize,
    },
    /// A lane's round trip: what came of its batch, where that is recorded by the lane, and how many
    /// leads it takes next.
    Turn {
        worker: usize,
        lane: usize,
        record: Option<Ending>,
        next: Option<usize>,
    },
    /// Outcomes of deliveries by number, some of them not, or no longer, in hand.
    Commit {
        worker: usize,
        outcomes: Vec<(u64, Ending)>,
        resend: bool,
    },
    Leave {
        worker: usize,
    },
    /// What a recoverer that looked a while ago does with deliveries.
    Recover {
        worker: usize,
        deliveries: Vec<(u64, bool)>,
    },
    Promote {
        limit: usize,
    },
    Pause(bool),
    /// A console reads the dead letters.
    Look {
        console: usize,
    },
    /// And acts on some of them, which others may have moved meanwhile.
    Take {
        console: usize,
        picked: Vec<usize>,
        to: To,
    },
    Clear {
        console: usize,
    },
    Restore {
        console: usize,
    },
    /// It takes back what it put back to work last.
    Recall {
        console: usize,
    },
}

/// What a call answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Answer {
    #[default]
    Nothing,
    /// How many.
    Count(u64),
    /// Whether it changed anything.
    Changed(bool),
    Taken(Vec<(u64, usize)>),
    Paused,
    NoLease,
    /// Whether a lane's batch was recorded, and what was taken.
    Turned(bool, Option<Box<Answer>>),
    /// Numbers of deliveries.
    Numbers(Vec<u64>),
    /// The recoverer found the worker alive.
    Alive,
    /// Registered, paused, whether a retry is known, whether any worker is expired.
    Pulse(bool, bool, bool, bool),
    /// For each, whether it was moved.
    Moved(Vec<bool>),
}
