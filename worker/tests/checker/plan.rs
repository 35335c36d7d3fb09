//! A seed to a plan: which Redis, how many workers, what becomes of each lead at the station, and
//! what is done to all of them when.

use std::time::Duration;

use fastrand::Rng;

use crate::common::proxy::Cut;

/// Which Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One server, `appendfsync always`.
    Always,
    /// One server, `appendfsync everysec`.
    EverySecond,
    /// A primary and a replica behind a sentinel.
    Sentinel,
}

/// Where enriched leads go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sinks {
    /// Into the stream alone.
    Stream,
    /// Into a file and to a webhook as well.
    More,
    /// And into a database.
    All,
    /// To a webhook that loses leads and doubles others, which must be found.
    Bad,
}

/// What the station does with a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Enriched at the first call.
    Good,
    /// The first calls fail with 503.
    Flaky(usize),
    /// The first calls fail with 400: dead until an operator retries it.
    Refused(usize),
    /// It makes an expression before the station go over its budget: dead without a call, each time.
    Hostile,
}

/// The expressions that hostile leads are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expressions {
    /// Before the station.
    Before,
    /// Left out: hostile leads pass, which must be found.
    Missing,
}

/// A worker's log that cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// Its reader goes away once the worker has started.
    Closed,
    /// Its reader does not read for this long.
    Stalled(Duration),
    /// Its disk is full.
    Full,
}

/// How a lead comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrap {
    /// As producers push it.
    Bare,
    /// In an envelope of an older worker, which knew fewer fields.
    Older,
    /// In an envelope of a newer worker: no worker of this version may touch it.
    Newer,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    /// `kill -9`; another worker comes after a pause.
    Kill(usize),
    /// SIGSTOP, and SIGCONT after a while.
    Freeze(usize, Duration),
    /// So many SIGTERMs, close together; another worker comes at once.
    Terminate(usize, u32),
    /// All workers get a SIGTERM, as at a deployment.
    TerminateAll,
    /// A worker is replaced by one with a log that cannot be written.
    Log(usize, Log),
    /// Redis is killed, and started again after a pause.
    Restart(Duration),
    /// The power fails: Redis is killed and what its file got last is gone too.
    PowerCut,
    /// The primary is killed; the sentinel makes the replica the new one.
    FailOver,
    /// `DEBUG SLEEP`.
    Sleep(Duration),
    /// A script that runs on and on.
    Busy(Duration),
    /// `CLIENT PAUSE ... WRITE`.
    Pause(Duration),
    /// `CLIENT KILL` of everybody.
    KillClients,
    /// `maxmemory` reached.
    NoMemory(Duration),
    /// `SCRIPT FLUSH`.
    FlushScripts,
    /// The server's clock is moved so many seconds.
    StepClock(i64),
    /// The register of workers is deleted.
    Deregister,
    /// The primary becomes a replica for a while.
    ReadOnly(Duration),
    /// Snapshots fail: writes are refused.
    NoSnapshots(Duration),
    /// The disk of the append-only file is full: Redis refuses writes, or ends.
    DiskFull(Duration),
    /// Too few replicas: writes are refused.
    NoReplicas(Duration),
    /// Redis ends connections whose replies wait for more than 2 MB.
    OutputLimit(Duration),
    /// Redis has another password, the password file has it this much later, and all connections are
    /// cut.
    RotatePassword(Duration),
    /// Every connection of a worker is cut.
    Cut(usize),
    /// A worker's connection is cut at its next call of a script.
    CutAt(usize, &'static str, Cut),
    /// A producer's connection is cut at its next push.
    CutPush(usize, Cut),
    /// A worker's connections go silent, and nobody says so.
    Silence(usize),
    /// Nothing passes between a worker and Redis, and then everything.
    Hold(usize, Duration),
    /// A worker's messages take so much longer each way for a while.
    Slow(usize, Duration, Duration),
    /// A worker's answers come a few bytes at a time for a while.
    Dribble(usize, Duration),
    /// Only this many bytes a second pass between a worker and Redis.
    Narrow(usize, u64, Duration),
}

/// A deed and the pause before it.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub after: Duration,
    pub act: Act,
}

/// All that a seed decides.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub kind: Kind,
    pub lease: Duration,
    pub shutdown: Duration,
    pub workers: usize,
    /// Which workers' clocks are wrong, and by how many seconds.
    pub clocks: Vec<i64>,
    /// Producers that push through the bridge, and those that use `LPUSH`.
    pub pushers: usize,
    pub plain: usize,
    pub leads: usize,
    /// Whether an older worker is among them, which does not survive every fault.
    pub old: bool,
    /// Whether some leads are large.
    pub large: bool,
    pub expressions: Expressions,
    /// Whether leads are over as soon as they are started, without a call, and go by whole batches.
    pub quick: bool,
    /// How long the producers take.
    pub span: Duration,
    pub operators: usize,
    pub sinks: Sinks,
    /// How long it may take after the last deed until everything is done.
    pub patience: Duration,
    /// What happens at the same time: to the workers, to Redis, to the network.
    pub tracks: Vec<Vec<Step>>,
}

/// How many commands of a script a trap may wait for.
const SCRIPTS: [&str; 8] = [
    "fetch",
    "batch",
    "exec",
    "commit",
    "heartbeat",
    "recover",
    "promote",
    "leave",
];

impl Plan {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let kind = match rng.u32(..10) {
            0..5 => Kind::Always,
            5..8 => Kind::EverySecond,
            _ => Kind::Sentinel,
        };
        let workers = rng.usize(2..=4);
        let day = 86_400;
        let clocks = (0..workers).map(|_| *rng.choice(&[0, 0, day, -day]).expect("one"));
        let clocks = clocks.collect();
        let mut plan = Self {
            seed,
            kind,
            lease: Duration::from_secs(rng.u64(2..=4)),
            shutdown: ms(if rng.bool() { 100 } else { 3_000 }),
            workers,
            clocks,
            pushers: rng.usize(1..=2),
            plain: rng.usize(1..=2),
            leads: rng.usize(300..=700),
            old: crate::crew::older().is_some(),
            large: false,
            expressions: Expressions::Before,
            quick: false,
            span: ms(4_500),
            operators: 2,
            sinks: Sinks::Stream,
            patience: Duration::from_secs(60),
            tracks: Vec::new(),
        };
        plan.large = !plan.old && rng.u32(..4) == 0;
        let mut tracks = vec![plan.workers_track(&mut rng), plan.redis_track(&mut rng)];
        if kind != Kind::Sentinel {
            tracks.push(plan.network_track(&mut rng));
        }
        plan.tracks = tracks;
        if rng.u32(..4) == 0 {
            plan.sinks = Sinks::More;
        }
        plan
    }

    /// The same without anything done, for the figures that must then agree exactly.
    pub fn calm(seed: u64) -> Self {
        Self {
            kind: Kind::Always,
            lease: Duration::from_secs(30),
            shutdown: ms(20_000),
            tracks: Vec::new(),
            ..Self::new(seed)
        }
    }

    /// The same with leads that go by whole batches.
    pub fn quick(seed: u64) -> Self {
        Self {
            quick: true,
            // Enough that some wait for workers all the time.
            leads: 30_000,
            sinks: Sinks::Stream,
            large: false,
            ..Self::new(seed)
        }
    }

    pub fn fate(&self, n: usize) -> Fate {
        let mut rng = Rng::with_seed(self.seed ^ (n as u64 * 7_919));
        if self.quick {
            let is_hostile = !self.old && rng.u32(..1_000) == 0;
            return if is_hostile {
                Fate::Hostile
            } else {
                Fate::Good
            };
        }
        match rng.u32(..100) {
            0..12 => Fate::Flaky(1),
            12..18 => Fate::Flaky(2),
            18..20 => Fate::Flaky(3),
            20..26 => Fate::Refused(1),
            26..30 => Fate::Refused(2),
            30..32 if !self.old => Fate::Hostile,
            _ => Fate::Good,
        }
    }

    pub fn wrap(&self, n: usize) -> Wrap {
        match Rng::with_seed(self.seed ^ (n as u64 * 104_729)).u32(..100) {
            0..3 => Wrap::Older,
            3..5 => Wrap::Newer,
            _ => Wrap::Bare,
        }
    }

    /// How many bytes a lead has besides those of every lead. Large ones come several in a row, so that
    /// a reply holds more than one.
    pub fn weight(&self, n: usize) -> usize {
        if !self.large || (n / 8) % 16 != 5 {
            return 0;
        }
        Rng::with_seed(self.seed ^ n as u64).usize(100_000..700_000)
    }

    /// Whether the lease of somebody who is not heard for so long may run out: there are three
    /// beats in it, one a second at most, and the next one may take its time after a break.
    pub fn outlasts_lease(&self, silence: Duration) -> bool {
        let beat = (self.lease / 3).min(Duration::from_secs(1));
        silence + beat + ms(900) > self.lease
    }

    /// Whether a disk will be full.
    pub fn needs_disk(&self) -> bool {
        let full = |step: &Step| matches!(step.act, Act::DiskFull(_));
        self.tracks.iter().flatten().any(full)
    }

    fn workers_track(&self, rng: &mut Rng) -> Vec<Step> {
        steps(rng, 3, 5, |rng| {
            let worker = rng.usize(..self.workers);
            match rng.u32(..12) {
                0..4 => Act::Kill(worker),
                4..7 => {
                    let lease = u64::try_from(self.lease.as_millis()).expect("seconds");
                    Act::Freeze(worker, ms(rng.u64(lease / 4..lease * 3 / 2)))
                }
                7..9 => Act::Terminate(worker, rng.u32(1..=3)),
                9 => Act::TerminateAll,
                _ if !self.old => Act::Log(
                    worker,
                    match rng.u32(..3) {
                        0 => Log::Closed,
                        1 => Log::Full,
                        _ => Log::Stalled(ms(rng.u64(500..3_000))),
                    },
                ),
                _ => Act::Kill(worker),
            }
        })
    }

    fn redis_track(&self, rng: &mut Rng) -> Vec<Step> {
        if self.kind == Kind::Sentinel {
            // A sentinel would take one that says it is a replica for misled.
            let gentle = |rng: &mut Rng| match self.gentle(rng) {
                Act::ReadOnly(_) => Act::FlushScripts,
                act => act,
            };
            let mut track = steps(rng, 1, 2, gentle);
            track.push(Step {
                after: ms(rng.u64(200..1_500)),
                act: Act::FailOver,
            });
            return track;
        }
        steps(rng, 3, 5, |rng| match rng.u32(..13) {
            // The small disk has no room for large leads.
            12 if !self.large => Act::DiskFull(ms(rng.u64(100..1_500))),
            0..2 => Act::Restart(ms(rng.u64(20..1_500))),
            2..4 if self.kind == Kind::EverySecond => Act::PowerCut,
            _ => self.gentle(rng),
        })
    }

    /// What Redis may be put through without being killed.
    fn gentle(&self, rng: &mut Rng) -> Act {
        let time = ms(rng.u64(100..1_500));
        if self.large && rng.u32(..3) == 0 {
            return Act::OutputLimit(time * 2);
        }
        match rng.u32(..13) {
            // An older worker takes the others for dead, and knows no leads but those of the register.
            12 if !self.old && self.kind != Kind::Sentinel => {
                Act::StepClock(*rng.choice(&[-20, -5, 5, 20]).expect("one"))
            }
            11 if !self.old => Act::Deregister,
            10 if !self.old => Act::RotatePassword(time / 3),
            0 => Act::Sleep(time),
            1 => Act::Busy(time),
            2 => Act::Pause(time),
            3 => Act::KillClients,
            4 | 5 => Act::NoMemory(time),
            6 => Act::FlushScripts,
            7 => Act::ReadOnly(time),
            8 => Act::NoSnapshots(time),
            _ => Act::NoReplicas(time),
        }
    }

    fn network_track(&self, rng: &mut Rng) -> Vec<Step> {
        steps(rng, 4, 8, |rng| {
            let worker = rng.usize(..self.workers);
            let time = ms(rng.u64(200..2_000));
            let cut = match rng.u32(..5) {
                0 => Cut::Before,
                1..4 => Cut::After,
                _ => Cut::Late(ms(rng.u64(100..2_500))),
            };
            if self.large && rng.u32(..3) == 0 {
                return Act::Narrow(worker, rng.u64(300_000..900_000), time * 2);
            }
            match rng.u32(..16) {
                0 | 1 => Act::Cut(worker),
                2..8 => Act::CutAt(worker, rng.choice(SCRIPTS).expect("one"), cut),
                8..10 => Act::CutPush(rng.usize(..self.pushers + self.plain), cut),
                10 => Act::Silence(worker),
                11 | 12 => Act::Hold(worker, time),
                13 | 14 => Act::Slow(worker, ms(rng.u64(5..150)), time),
                _ => Act::Dribble(worker, time),
            }
        })
    }
}

fn steps(rng: &mut Rng, least: usize, most: usize, act: impl Fn(&mut Rng) -> Act) -> Vec<Step> {
    let n = rng.usize(least..=most);
    let step = |_| Step {
        after: ms(rng.u64(50..1_000)),
        act: act(rng),
    };
    (0..n).map(step).collect()
}

pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}
