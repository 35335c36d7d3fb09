//! Colours by what they mean. Every meaning is also told by a word or a sign, so that a theme
//! without colours loses nothing.

pub(crate) mod file;
pub(crate) mod style;

use ratatui::style::{Color, Modifier, Style};

/// The styles of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Theme {
    /// Whether it is made for a light background.
    pub(crate) is_light: bool,
    /// Ordinary text.
    pub(crate) text: Style,
    /// What matters less: labels, ages, rules.
    pub(crate) dim: Style,
    /// Titles of panels.
    pub(crate) title: Style,
    /// The numbers an operator came for.
    pub(crate) figure: Style,
    /// What is chosen: a tab, a sort, a mark.
    pub(crate) accent: Style,
    /// All is well.
    pub(crate) ok: Style,
    /// Look at this some time.
    pub(crate) warn: Style,
    /// Look at this now.
    pub(crate) bad: Style,
    /// The line under the cursor.
    pub(crate) cursor: Style,
    /// A key, in the footer and the help.
    pub(crate) key: Style,
    /// The bar at the top.
    pub(crate) bar: Style,
    /// The bar and the footer while the workers are paused.
    pub(crate) paused: Style,
    /// The letters that were looked for; its underline is seen under the cursor too.
    pub(crate) hit: Style,
}

/// The names of the styles, as the configuration has them.
pub(crate) const NAMES: [&str; 13] = [
    "text", "dim", "title", "figure", "accent", "ok", "warn", "bad", "cursor", "key", "bar",
    "paused", "hit",
];

/// Which theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThemeName {
    /// 256 colours on a dark background.
    Dark,
    /// 256 colours on a light background.
    Light,
    /// The terminal's own 16 colours.
    Sixteen,
    /// No colours at all.
    Mono,
}

impl ThemeName {
    /// Their names.
    pub(crate) const NAMES: [&str; 4] = ["dark", "light", "16", "mono"];

    /// The one of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dark" => Self::Dark,
            "light" => Self::Light,
            "16" => Self::Sixteen,
            "mono" => Self::Mono,
            _ => return None,
        })
    }

    /// What fits the terminal, by what it says of itself: `NO_COLOR` and `TERM`.
    pub(crate) fn detect(env: impl Fn(&str) -> Option<String>) -> Self {
        if env("NO_COLOR").is_some_and(|set| !set.is_empty()) {
            return Self::Mono;
        }
        let term = env("TERM").unwrap_or_default();
        let many = term.contains("256") || env("COLORTERM").is_some_and(|set| !set.is_empty());
        if term.starts_with("vt") {
            Self::Mono
        } else if many {
            Self::Dark
        } else {
            Self::Sixteen
        }
    }
}

impl Theme {
    /// A style by its name.
    pub(crate) fn style(&mut self, name: &str) -> Option<&mut Style> {
        Some(match name {
            "text" => &mut self.text,
            "dim" => &mut self.dim,
            "title" => &mut self.title,
            "figure" => &mut self.figure,
            "accent" => &mut self.accent,
            "ok" => &mut self.ok,
            "warn" => &mut self.warn,
            "bad" => &mut self.bad,
            "cursor" => &mut self.cursor,
            "key" => &mut self.key,
            "bar" => &mut self.bar,
            "paused" => &mut self.paused,
            "hit" => &mut self.hit,
            _ => return None,
        })
    }

    /// The theme of a name.
    pub(crate) fn new(name: ThemeName) -> Self {
        let fg = |index| Style::new().fg(Color::Indexed(index));
        match name {
            ThemeName::Dark => Self {
                is_light: false,
                text: fg(252),
                dim: fg(243),
                title: fg(250).add_modifier(Modifier::BOLD),
                figure: fg(255).add_modifier(Modifier::BOLD),
                accent: fg(110),
                ok: fg(108),
                warn: fg(179),
                bad: fg(167),
                cursor: fg(255).bg(Color::Indexed(237)),
                key: fg(110),
                bar: fg(252).bg(Color::Indexed(236)),
                paused: fg(16).bg(Color::Indexed(214)).add_modifier(Modifier::BOLD),
                hit: fg(222).add_modifier(Modifier::UNDERLINED),
            },
            ThemeName::Light => Self {
                is_light: true,
                text: fg(235),
                dim: fg(244),
                title: fg(238).add_modifier(Modifier::BOLD),
                figure: fg(232).add_modifier(Modifier::BOLD),
                accent: fg(25),
                ok: fg(28),
                warn: fg(130),
                bad: fg(124),
                cursor: fg(232).bg(Color::Indexed(253)),
                key: fg(25),
                bar: fg(235).bg(Color::Indexed(254)),
                paused: fg(16).bg(Color::Indexed(214)).add_modifier(Modifier::BOLD),
                hit: fg(90).add_modifier(Modifier::UNDERLINED),
            },
            ThemeName::Sixteen => {
                let fg = |color| Style::new().fg(color);
                Self {
                    is_light: false,
                    text: Style::new(),
                    dim: fg(Color::DarkGray),
                    title: Style::new().add_modifier(Modifier::BOLD),
                    figure: Style::new().add_modifier(Modifier::BOLD),
                    accent: fg(Color::Cyan),
                    ok: fg(Color::Green),
                    warn: fg(Color::Yellow),
                    bad: fg(Color::Red),
                    cursor: Style::new().add_modifier(Modifier::REVERSED),
                    key: fg(Color::Cyan),
                    bar: Style::new().add_modifier(Modifier::REVERSED),
                    paused: fg(Color::Black).bg(Color::Yellow),
                    hit: fg(Color::Magenta).add_modifier(Modifier::UNDERLINED),
                }
            }
            ThemeName::Mono => {
                let plain = Style::new();
                let bold = plain.add_modifier(Modifier::BOLD);
                Self {
                    is_light: false,
                    text: plain,
                    dim: plain.add_modifier(Modifier::DIM),
                    title: bold,
                    figure: bold,
                    accent: bold,
                    ok: plain,
                    warn: bold,
                    bad: bold,
                    cursor: plain.add_modifier(Modifier::REVERSED),
                    key: bold,
                    bar: plain.add_modifier(Modifier::REVERSED),
                    paused: bold.add_modifier(Modifier::REVERSED),
                    hit: bold.add_modifier(Modifier::UNDERLINED),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_style_has_a_name() {
        let mut theme = Theme::new(ThemeName::Mono);
        assert!(
            ThemeName::NAMES
                .iter()
                .all(|name| ThemeName::named(name).is_some())
        );
        assert!(NAMES.iter().all(|name| theme.style(name).is_some()));
    }

    #[test]
    fn the_terminal_says_which_theme_fits() {
        for (vars, expected) in [
            (&[("TERM", "xterm-256color")][..], ThemeName::Dark),
            (
                &[("TERM", "screen"), ("COLORTERM", "truecolor")],
                ThemeName::Dark,
            ),
            (&[("TERM", "xterm")], ThemeName::Sixteen),
            (&[("TERM", "vt100")], ThemeName::Mono),
            (
                &[("TERM", "xterm-256color"), ("NO_COLOR", "1")],
                ThemeName::Mono,
            ),
            (&[("TERM", "linux"), ("NO_COLOR", "")], ThemeName::Sixteen),
        ] {
            let env = |name: &str| {
                let found = vars.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(ThemeName::detect(env), expected, "{vars:?}");
        }
    }
}
