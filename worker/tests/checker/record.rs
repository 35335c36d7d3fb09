//! What was done to the bridge, and when: the only things that may explain a repeated execution or
//! a missing lead.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Whom something happened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Redis, or the whole machine.
    Everybody,
    /// The worker with this number.
    Worker(usize),
}

/// What may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing that anybody would see in the outcomes.
    None,
    /// Not even a lease runs out, however long it lasts.
    KeepsLease,
    /// Leads in hand may be worked on again.
    Repeats,
    /// Redis may not know any more what it acknowledged from this moment on.
    Forgets(Instant),
}

/// The name of a move of the server's clock.
pub const CLOCK_MOVED: &str = "server's clock moved";
/// The name of what follows from a fault and is none of its own.
pub const UNTOLD: &str = "(unnoticed)";

/// Something that was done.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its name in the table of faults.
    pub name: &'static str,
    pub on: On,
    pub from: Instant,
    pub to: Instant,
    pub effect: Effect,
}

/// All that was done in a run.
pub struct Record {
    pub begun: Instant,
    faults: Mutex<Vec<Fault>>,
}

impl Record {
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            faults: Mutex::default(),
        }
    }

    pub fn add(&self, fault: Fault) {
        self.faults
            .lock()
            .expect("nobody panics with it")
            .push(fault);
    }

    /// All of them, in the order they began.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.faults.lock().expect("nobody panics with it").clone();
        faults.sort_by_key(|fault| fault.from);
        faults
    }

    /// A moment as seconds since the run began.
    pub fn at(&self, moment: Instant) -> f64 {
        moment.saturating_duration_since(self.begun).as_secs_f64()
    }

    /// Notes each time that this process itself stood still, as all others then may have: a
    /// machine that is too busy takes leases away as well as any fault.
    pub fn watch_the_machine(&self, lease: Duration, until: impl Fn() -> bool) {
        const BEAT: Duration = Duration::from_millis(50);
        while !until() {
            let from = Instant::now();
            std::thread::sleep(BEAT);
            let to = Instant::now();
            if to - from > lease / 4 {
                self.add(Fault {
                    name: "busy machine",
                    on: On::Everybody,
                    from,
                    to,
                    effect: Effect::Repeats,
                });
            }
        }
    }

    /// The faults, one a line.
    pub fn tell(&self) -> String {
        let line = |fault: &Fault| {
            let effect = match fault.effect {
                Effect::None => String::new(),
                Effect::KeepsLease => "  keeps leases".into(),
                Effect::Repeats => "  leads may repeat".into(),
                Effect::Forgets(since) => format!("  forgets since {:.3}", self.at(since)),
            };
            let (from, to) = (self.at(fault.from), self.at(fault.to));
            format!(
                "  {from:7.3} - {to:7.3}  {} {}{effect}\n",
                fault.name, fault.on
            )
        };
        self.faults().iter().map(line).collect()
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("(all)"),
            Self::Worker(number) => write!(f, "(worker {number})"),
        }
    }
}
