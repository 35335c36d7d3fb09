//! US dollars, counted exactly: in whole micro-dollars, as Redis counts them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of US dollars in millionths.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Money(u64);

/// Above this the dollars of a route are a slip of the pen; and sums stay far from overflow.
const MOST_DOLLARS: f64 = 1e9;

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount in micro-dollars.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// An amount in dollars; `None` where it is negative, finer than a micro-dollar or absurd.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        if !(0.0..=MOST_DOLLARS).contains(&dollars) {
            return None;
        }
        let micros = (dollars * 1e6).round();
        let exact = (micros / 1e6 - dollars).abs() <= dollars * 1e-12;
        exact.then_some(Self(micros as u64))
    }

    /// The amount in micro-dollars.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The amount in dollars, for JSON and for eyes.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The sum, at most as much as can be counted.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let text = format!("{micros:06}");
        let cents = text.trim_end_matches('0');
        write!(f, "${dollars}.{cents:0<2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact_or_refused() {
        let micros = |dollars| Money::from_dollars(dollars).map(Money::micros);
        assert_eq!(micros(0.02), Some(20_000));
        assert_eq!(micros(0.1 + 0.2), Some(300_000));
        assert_eq!(micros(0.000_001), Some(1));
        assert_eq!(micros(1_234.567_891), Some(1_234_567_891));
        for dollars in [-0.01, 0.000_000_1, 0.000_001_5, f64::NAN, 1e12] {
            assert_eq!(micros(dollars), None, "{dollars}");
        }
    }

    #[test]
    fn an_amount_reads_as_one() {
        let shown = |micros| Money::from_micros(micros).to_string();
        assert_eq!(shown(0), "$0.00");
        assert_eq!(shown(20_000), "$0.02");
        assert_eq!(shown(1_234_500), "$1.2345");
        assert_eq!(shown(1), "$0.000001");
    }
}
