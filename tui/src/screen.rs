//! The screens.

/// A screen of the console, in the order of its number key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Screen {
    /// Depths, rates, retries, errors and workers at a glance.
    Overview,
    /// One line for each event as it comes.
    Live,
    /// The dead letters.
    Dlq,
    /// What waits, is in flight, or is due again.
    Queue,
    /// Who works.
    Workers,
    /// The route, station by station.
    Pipeline,
    /// Who changed what.
    Audit,
}

impl Screen {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Live,
        Self::Dlq,
        Self::Queue,
        Self::Workers,
        Self::Pipeline,
        Self::Audit,
    ];

    /// Its name in the tabs.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Live => "Live",
            Self::Dlq => "DLQ",
            Self::Queue => "Queue",
            Self::Workers => "Workers",
            Self::Pipeline => "Pipeline",
            Self::Audit => "Audit",
        }
    }

    /// Its name where there is little room.
    pub(crate) const fn short_title(self) -> &'static str {
        match self {
            Self::Overview => "Home",
            Self::Workers => "Work",
            Self::Pipeline => "Route",
            Self::Live | Self::Dlq | Self::Queue | Self::Audit => self.title(),
        }
    }

    /// The one `steps` further on, round and round.
    pub(crate) fn step(self, steps: isize) -> Self {
        let here = Self::ALL.iter().position(|screen| *screen == self);
        let here = here.and_then(|at| isize::try_from(at).ok()).unwrap_or(0);
        let count = Self::ALL.len().cast_signed();
        Self::ALL[(here + steps).rem_euclid(count).cast_unsigned()]
    }
}
