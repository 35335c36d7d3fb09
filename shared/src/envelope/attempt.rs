//! Attempts that did not succeed, and why.

use serde::{Deserialize, Serialize};

/// What the error of an attempt that stands for many ends with; before it is how many.
pub(super) const LEFT_OUT: &str = " attempts are left out here";

/// Why an attempt failed, which decides whether another can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The bytes are not a lead, or it lacks what no retry can bring.
    Invalid,
    /// Refused for good: an HTTP 4xx, a broken station contract.
    Permanent,
    /// May pass: an HTTP 5xx, 408, 425, 429, a network error.
    Transient,
    /// The lead's time was up.
    Timeout,
    /// A station panicked.
    Panic,
    /// The worker died, or lost its lease, with this lead in its hands.
    WorkerLost,
    /// That happened once too often: the lead itself may be what kills workers.
    Poison,
    /// Written by something else than this bridge.
    #[serde(other)]
    Unknown,
}

impl ErrorKind {
    /// Whether a retry can help.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Transient | Self::Timeout | Self::Panic | Self::Unknown
        )
    }

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::WorkerLost => "worker_lost",
            Self::Poison => "poison",
            Self::Unknown => "unknown",
        }
    }
}

/// One attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// When it ended, RFC 3339 by the server's clock.
    #[serde(default)]
    pub at: String,
    /// The station it failed at; empty where no station was reached.
    #[serde(default)]
    pub station: String,
    /// What went wrong, in words.
    #[serde(default)]
    pub error: String,
    /// The kind of failure.
    #[serde(default = "unknown_kind")]
    pub kind: ErrorKind,
    /// How long the attempt took, in milliseconds.
    #[serde(default)]
    pub ms: u64,
    /// The worker that tried.
    #[serde(default)]
    pub worker: String,
}

impl Attempt {
    /// How many attempts it stands for: one, unless it is in the place of those left out.
    pub(super) fn stands_for(&self) -> u64 {
        let left_out = self.error.strip_suffix(LEFT_OUT);
        left_out.and_then(|n| n.parse().ok()).unwrap_or(1)
    }

    /// How many bytes it takes in an envelope.
    pub(super) fn size(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len() + 1)
    }

    /// One in the place of others.
    pub(super) fn instead_of(others: &[Self]) -> Self {
        let gone = others.iter().map(Self::stands_for);
        let gone = gone.fold(0, u64::saturating_add);
        Self {
            error: format!("{gone}{LEFT_OUT}"),
            kind: ErrorKind::Unknown,
            station: String::new(),
            worker: String::new(),
            ms: 0,
            at: others
                .last()
                .map(|last| last.at.clone())
                .unwrap_or_default(),
        }
    }
}

pub(super) const fn unknown_kind() -> ErrorKind {
    ErrorKind::Unknown
}
