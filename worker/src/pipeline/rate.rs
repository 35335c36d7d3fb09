//! How often something may be done: `10/s`, `600/m`, `1000/h`.

/// A rate that all workers share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Microseconds from one unit to the next.
    interval_us: f64,
    number: u32,
    unit: char,
}

impl Rate {
    /// Reads a rate: a whole number, and what it is for: a second, a minute or an hour.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.trim().split_once('/')?;
        let (unit, us) = match unit.trim() {
            "s" => ('s', 1e6),
            "m" => ('m', 60e6),
            "h" => ('h', 3_600e6),
            _ => return None,
        };
        let number: u32 = number.trim().parse().ok().filter(|number| *number > 0)?;
        Some(Self {
            interval_us: us / f64::from(number),
            number,
            unit,
        })
    }

    /// Microseconds from one unit to the next.
    pub(super) fn interval_us(&self) -> f64 {
        self.interval_us
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_or_refused() {
        let interval = |text| Rate::parse(text).map(|rate| rate.interval_us().round());
        assert_eq!(interval("10/s"), Some(100_000.0));
        assert_eq!(interval("600/m"), Some(100_000.0));
        assert_eq!(interval(" 36 / h "), Some(100_000_000.0));
        for text in ["", "10", "0/s", "-1/s", "1.5/s", "10/d", "10/s/s", "/s"] {
            assert_eq!(interval(text), None, "{text}");
        }
    }
}
