//! A style in words: `bold #d75f5f on black`.

use bridge_shared::hint::suggest;
use ratatui::style::{Color, Modifier, Style};

const MODIFIERS: [(&str, Modifier); 6] = [
    ("bold", Modifier::BOLD),
    ("dim", Modifier::DIM),
    ("italic", Modifier::ITALIC),
    ("underlined", Modifier::UNDERLINED),
    ("reversed", Modifier::REVERSED),
    ("crossed-out", Modifier::CROSSED_OUT),
];
/// Names of colours, for those who write another one.
const COLORS: [&str; 17] = [
    "black",
    "red",
    "green",
    "yellow",
    "blue",
    "magenta",
    "cyan",
    "gray",
    "darkgray",
    "lightred",
    "lightgreen",
    "lightyellow",
    "lightblue",
    "lightmagenta",
    "lightcyan",
    "white",
    "reset",
];

/// Reads a style: a colour, `on` and another one for the ground, and modifiers, in any order.
///
/// # Errors
/// What is wrong, and what to write instead.
pub(crate) fn parse(text: &str) -> Result<Style, String> {
    let mut style = Style::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if let Some((_, modifier)) = MODIFIERS.iter().find(|(name, _)| *name == word) {
            style = style.add_modifier(*modifier);
        } else if word == "on" {
            let ground = words.next().ok_or("after \"on\" there must be a colour")?;
            style = style.bg(color(ground)?);
        } else if style.fg.is_some() {
            return Err(format!(
                "{word:?} would be a second colour; write \"on {word}\" for the ground"
            ));
        } else {
            style = style.fg(color(word)?);
        }
    }
    Ok(style)
}

fn color(word: &str) -> Result<Color, String> {
    word.parse().map_err(|_| {
        let modifiers = MODIFIERS.iter().map(|(name, _)| *name);
        let known: Vec<&str> = COLORS.into_iter().chain(modifiers).collect();
        let hint = match suggest(word, &known) {
            near if near.starts_with("did") => near,
            _ => format!(
                "write a name such as red, a number from 0 to 255, #rrggbb, or {}",
                MODIFIERS.map(|(name, _)| name).join(", ")
            ),
        };
        format!("{word:?} is no colour; {hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_style_is_read_from_words() {
        for (text, expected) in [
            ("", Ok(Style::new())),
            ("red", Ok(Style::new().fg(Color::Red))),
            (
                "bold #d75f5f on 236",
                Ok(Style::new()
                    .fg(Color::Rgb(0xd7, 0x5f, 0x5f))
                    .bg(Color::Indexed(236))
                    .add_modifier(Modifier::BOLD)),
            ),
            (
                "on yellow underlined reversed",
                Ok(Style::new()
                    .bg(Color::Yellow)
                    .add_modifier(Modifier::UNDERLINED | Modifier::REVERSED)),
            ),
            (
                "gren",
                Err("\"gren\" is no colour; did you mean \"green\"?"),
            ),
            (
                "bolt red",
                Err("\"bolt\" is no colour; did you mean \"bold\"?"),
            ),
            ("red on", Err("after \"on\" there must be a colour")),
            (
                "red blue",
                Err("\"blue\" would be a second colour; write \"on blue\" for the ground"),
            ),
            (
                "#12",
                Err(
                    "\"#12\" is no colour; write a name such as red, a number from 0 to 255, #rrggbb, or \
                     bold, dim, italic, underlined, reversed, crossed-out",
                ),
            ),
        ] {
            assert_eq!(parse(text), expected.map_err(ToOwned::to_owned), "{text}");
        }
    }
}
