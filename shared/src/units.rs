//! Numbers as people read them.

/// Writes a number with its thousands marked: `1,234,567`.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a number of bytes in its largest unit: `712 B`, `96.4 MiB`, `2 GiB`.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let text = format!("{size:.1}");
    let text = if size >= 100.0 {
        text.split('.').next().unwrap_or_default()
    } else {
        text.trim_end_matches(".0")
    };
    format!("{text} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_their_largest_unit() {
        let sizes = [0, 712, 101_082_726, 2 << 30, 100 << 20];
        assert_eq!(
            sizes.map(human_bytes),
            ["0 B", "712 B", "96.4 MiB", "2 GiB", "100 MiB"]
        );
    }

    #[test]
    fn thousands_are_marked() {
        let numbers = [0, 999, 1_000, 1_234_567];
        assert_eq!(numbers.map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
