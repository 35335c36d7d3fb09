//! A frame as something else than a terminal: text for scripts and bug reports, SVG for documents.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr as _;

/// Width and height of a cell in an SVG, in pixels.
const CELL: (f64, f64) = (8.4, 18.0);

/// The frame as lines of text, without what is blank at their ends.
pub(crate) fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for row in rows(buffer) {
        let mut line = String::new();
        let mut skip = 0;
        for cell in row {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            // A wide character stands on two cells.
            skip = cell.symbol().width().saturating_sub(1);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The frame as an SVG on a dark or a light ground.
pub(crate) fn svg(buffer: &Buffer, dark: bool) -> String {
    let (ground, ink) = if dark {
        ("#1c1c1c", "#d0d0d0")
    } else {
        ("#fafafa", "#262626")
    };
    let (width, height) = (
        f64::from(buffer.area.width) * CELL.0 + 16.0,
        f64::from(buffer.area.height) * CELL.1 + 16.0,
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\" shape-rendering=\"crispEdges\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{ground}\"/>\n"
    );
    for (y, row) in rows(buffer).enumerate() {
        let mut x = 0;
        while x < row.len() {
            let run = run(row, x);
            write_run(&mut out, &row[x..x + run], (x, y), (ground, ink));
            x += run;
        }
    }
    out.push_str("</svg>\n");
    out
}

fn rows(buffer: &Buffer) -> impl Iterator<Item = &[Cell]> {
    buffer.content.chunks(usize::from(buffer.area.width).max(1))
}

/// How many cells from here on have one style, and are all bars or all text.
fn run(row: &[Cell], from: usize) -> usize {
    let style = row[from].style();
    let bar = eighths(&row[from]).is_some();
    let same = |cell: &&Cell| cell.style() == style && eighths(cell).is_some() == bar;
    row[from..].iter().take_while(same).count()
}

/// How much of a cell a bar fills.
fn eighths(cell: &Cell) -> Option<u8> {
    let bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let sign = cell.symbol().chars().next()?;
    (1..)
        .zip(bars)
        .find(|(_, bar)| *bar == sign)
        .map(|(n, _)| n)
}

fn write_run(out: &mut String, cells: &[Cell], at: (usize, usize), colours: (&str, &str)) {
    let style = cells[0].style();
    let has = |modifier| style.add_modifier.contains(modifier);
    let mut ink = style
        .fg
        .and_then(hex)
        .unwrap_or_else(|| colours.1.to_owned());
    let mut ground = style.bg.and_then(hex);
    if has(Modifier::REVERSED) {
        let under = ground.unwrap_or_else(|| colours.0.to_owned());
        ground = Some(std::mem::replace(&mut ink, under));
    }
    #[allow(clippy::cast_precision_loss)]
    let (x, y, width) = (
        8.0 + at.0 as f64 * CELL.0,
        8.0 + at.1 as f64 * CELL.1,
        cells.len() as f64 * CELL.0,
    );
    let height = CELL.1;
    if let Some(ground) = ground {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\" fill=\"{ground}\"/>"
        );
    }
    if eighths(&cells[0]).is_some() {
        for (n, cell) in (0_u32..).zip(cells) {
            let filled = height * f64::from(eighths(cell).unwrap_or(0)) / 8.0;
            let (left, top) = (x + f64::from(n) * CELL.0, y + height - filled);
            let _ = writeln!(
                out,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{filled:.1}\" fill=\"{ink}\"/>",
                CELL.0 + 0.2
            );
        }
        return;
    }
    let text: String = cells.iter().map(Cell::symbol).collect();
    if text.trim().is_empty() {
        return;
    }
    let weight = if has(Modifier::BOLD) {
        " font-weight=\"bold\""
    } else {
        ""
    };
    let opacity = if has(Modifier::DIM) {
        " opacity=\"0.6\""
    } else {
        ""
    };
    let line = if has(Modifier::UNDERLINED) {
        " text-decoration=\"underline\""
    } else {
        ""
    };
    let base = y + 13.5;
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{base:.1}\" fill=\"{ink}\"{weight}{opacity}{line} textLength=\"{width:.1}\" \
         lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\">{text}</text>"
    );
}

/// A colour as `#rrggbb`; `None` for the terminal's own.
fn hex(color: Color) -> Option<String> {
    const NAMED: [u32; 16] = [
        0x00_00_00, 0xcd_31_31, 0x0d_bc_79, 0xe5_e5_10, 0x24_72_c8, 0xbc_3f_bc, 0x11_a8_cd,
        0xe5_e5_e5, 0x66_66_66, 0xf1_4c_4c, 0x23_d1_8b, 0xf5_f5_43, 0x3b_8e_ea, 0xd6_70_d6,
        0x29_b8_db, 0xff_ff_ff,
    ];
    let named = |n: usize| Some(format!("#{:06x}", NAMED[n]));
    match color {
        Color::Black => named(0),
        Color::Red => named(1),
        Color::Green => named(2),
        Color::Yellow => named(3),
        Color::Blue => named(4),
        Color::Magenta => named(5),
        Color::Cyan => named(6),
        Color::Gray => named(7),
        Color::DarkGray => named(8),
        Color::LightRed => named(9),
        Color::LightGreen => named(10),
        Color::LightYellow => named(11),
        Color::LightBlue => named(12),
        Color::LightMagenta => named(13),
        Color::LightCyan => named(14),
        Color::White => named(15),
        Color::Indexed(n @ 0..=15) => named(n.into()),
        Color::Indexed(n @ 16..=231) => {
            let level = |step: u8| {
                if step == 0 {
                    0
                } else {
                    55 + 40 * u32::from(step)
                }
            };
            let n = n - 16;
            Some(format!(
                "#{:02x}{:02x}{:02x}",
                level(n / 36),
                level(n / 6 % 6),
                level(n % 6)
            ))
        }
        Color::Indexed(n) => {
            let grey = 8 + 10 * u32::from(n - 232);
            Some(format!("#{grey:02x}{grey:02x}{grey:02x}"))
        }
        Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
        Color::Reset => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    #[test]
    fn a_frame_becomes_text_and_svg() {
        let mut buffer = Buffer::with_lines(["a<b 漢x ", "▄ok    "]);
        buffer.set_style(
            ratatui::layout::Rect::new(1, 1, 2, 1),
            Style::new().fg(Color::Indexed(167)).bold(),
        );
        assert_eq!(text(&buffer), "a<b 漢x\n▄ok\n");
        let svg = svg(&buffer, true);
        assert!(
            svg.contains("a&lt;b") && svg.contains("fill=\"#d75f5f\" font-weight=\"bold\""),
            "{svg}"
        );
        assert!(svg.contains("height=\"9.0\""), "{svg}");
    }
}
