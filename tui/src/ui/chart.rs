//! Figures over time as bars of eighths of a row.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Widget;

const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const ASCII: [&str; 9] = [" ", "_", "_", "_", "-", "-", "=", "=", "#"];

/// Bars, one for each column.
pub(super) struct Bars<'a> {
    /// The values, the oldest first; `None` where nobody counted.
    pub(super) values: &'a [Option<f64>],
    /// What a bar over the whole height stands for.
    pub(super) top: f64,
    /// The style of the bars.
    pub(super) style: Style,
    /// The style of a column where nobody counted.
    pub(super) unknown: Style,
    /// Whether the terminal can show more than ASCII.
    pub(super) unicode: bool,
}

impl Widget for Bars<'_> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let signs = if self.unicode { &EIGHTHS } else { &ASCII };
        for (column, value) in (area.left()..area.right()).zip(self.values) {
            let Some(value) = value else {
                let unknown = if self.unicode { "·" } else { "." };
                if area.height > 0 {
                    buffer.set_string(column, area.bottom() - 1, unknown, self.unknown);
                }
                continue;
            };
            let share = if self.top > 0.0 {
                (value / self.top).clamp(0.0, 1.0)
            } else {
                0.0
            };
            let mut eighths = (share * f64::from(area.height) * 8.0).round() as usize;
            if *value > 0.0 {
                // Little is not nothing.
                eighths = eighths.max(1);
            }
            for row in (area.top()..area.bottom()).rev() {
                let here = eighths.min(8);
                eighths -= here;
                buffer.set_string(column, row, signs[here], self.style);
            }
        }
    }
}

/// A round number that is at least the largest value: 1, 2 or 5 times a power of ten.
pub(super) fn round_top(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.fold(0.0, f64::max);
    if largest <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(largest.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|top| *top >= largest)
        .unwrap_or(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_from_below_by_eighths() {
        let area = Rect::new(0, 0, 5, 2);
        let draw = |unicode| {
            let mut buffer = Buffer::empty(area);
            let values = [Some(0.0), Some(0.001), Some(8.0), Some(12.0), None];
            Bars {
                values: &values,
                top: 16.0,
                style: Style::new(),
                unknown: Style::new(),
                unicode,
            }
            .render(area, &mut buffer);
            buffer
        };
        assert_eq!(draw(true), Buffer::with_lines(["   ▄ ", " ▁██·"]));
        assert_eq!(draw(false), Buffer::with_lines(["   - ", " _##."]));
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (largest, expected) in [
            (0.0, 1.0),
            (0.3, 0.5),
            (1.0, 1.0),
            (1.2, 2.0),
            (347.0, 500.0),
            (9_999.0, 10_000.0),
        ] {
            let top = round_top([0.0, largest].into_iter());
            assert!((top - expected).abs() < 1e-9, "{largest}: {top}");
        }
    }
}
