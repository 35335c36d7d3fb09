//! A theme of one's own: a TOML file with a base and a style for each part that differs from it.
//!
//! ```toml
//! base = "dark"
//! bad = "bold #ff5f5f"
//! cursor = "black on yellow"
//! hit = "underlined"
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bridge_shared::hint::suggest;
use toml::Spanned;

use super::{NAMES, Theme, ThemeName, style};
use crate::config::{ConfigError, is_missing, line_of};
use crate::path::from_home;

/// Where themes are that are called by name, beside the configuration.
const FOLDER: &str = "themes";

/// The theme that a name or a path says: one of ours, `NAME.toml` beside the configuration, or a
/// file, from `here` on where its path is no whole one.
///
/// # Errors
/// [`ConfigError`] where there is none, or it says something that cannot be.
pub(crate) fn load(name: &str, config: &Path, here: &Path) -> Result<Theme, ConfigError> {
    if let Some(known) = ThemeName::named(name) {
        return Ok(Theme::new(known));
    }
    let folder = config.parent().unwrap_or(here).join(FOLDER);
    let is_path = name.contains('/') || Path::new(name).extension().is_some();
    let file = if is_path {
        here.join(from_home(name))
    } else {
        folder.join(format!("{name}.toml"))
    };
    match std::fs::read_to_string(&file) {
        Ok(text) => parse(&text, &file),
        Err(cause) if !is_path && is_missing(&cause) => {
            let own = own(&folder);
            let known: Vec<&str> = ThemeName::NAMES
                .iter()
                .copied()
                .chain(own.iter().map(String::as_str))
                .collect();
            Err(ConfigError::NoTheme {
                name: name.to_owned(),
                file,
                hint: suggest(name, &known),
            })
        }
        Err(cause) => Err(ConfigError::NoThemeFile { file, cause }),
    }
}

/// The names of the themes in a folder.
fn own(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .map(|file| file.path())
        .filter(|file| file.extension().is_some_and(|kind| kind == "toml"))
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

fn parse(text: &str, file: &Path) -> Result<Theme, ConfigError> {
    let wrong = |at: usize, what: String| ConfigError::Wrong {
        file: PathBuf::from(file),
        line: line_of(text, at),
        what,
    };
    let mut styles: BTreeMap<Spanned<String>, Spanned<String>> =
        toml::from_str(text).map_err(|error| {
            wrong(
                error.span().map_or(0, |span| span.start),
                error.message().to_owned(),
            )
        })?;
    let base = styles.keys().find(|name| name.get_ref() == "base").cloned();
    let mut theme = match base.and_then(|key| styles.remove(&key)) {
        None => Theme::new(ThemeName::Dark),
        Some(base) => {
            let known = ThemeName::named(base.get_ref()).ok_or_else(|| {
                let hint = suggest(base.get_ref(), &ThemeName::NAMES);
                let what = format!(
                    "base {:?} is no theme of the console; {hint}",
                    base.get_ref()
                );
                wrong(base.span().start, what)
            })?;
            Theme::new(known)
        }
    };
    for (name, words) in &styles {
        let part = theme.style(name.get_ref()).ok_or_else(|| {
            let known: Vec<&str> = NAMES.into_iter().chain(["base"]).collect();
            let hint = suggest(name.get_ref(), &known);
            wrong(
                name.span().start,
                format!("a theme has no {:?}; {hint}", name.get_ref()),
            )
        })?;
        *part = style::parse(words.get_ref())
            .map_err(|what| wrong(words.span().start, format!("{}: {what}", name.get_ref())))?;
    }
    Ok(theme)
}

#[cfg(test)]
mod tests {
    use ratatui::style::{Color, Modifier, Style};

    use super::*;

    fn said(text: &str) -> String {
        let error = parse(text, Path::new("my.toml")).expect_err(text);
        error.to_string()
    }

    #[test]
    fn a_theme_starts_from_its_base() {
        let theme = parse(
            "base = \"light\"\n[]".trim_end_matches("[]"),
            Path::new("my.toml"),
        );
        assert_eq!(theme.expect("sound"), Theme::new(ThemeName::Light));
        let text = "base = \"16\"\nbad = \"bold #ff5f5f on black\"\ncursor = \"underlined\"\n";
        let theme = parse(text, Path::new("my.toml")).expect("sound");
        let bold = Style::new().add_modifier(Modifier::BOLD);
        assert_eq!(
            theme.bad,
            bold.fg(Color::Rgb(0xff, 0x5f, 0x5f)).bg(Color::Black)
        );
        assert_eq!(
            theme.cursor,
            Style::new().add_modifier(Modifier::UNDERLINED)
        );
        assert_eq!(theme.ok, Theme::new(ThemeName::Sixteen).ok);
    }

    #[test]
    fn mistakes_are_told_with_their_line_and_what_was_meant() {
        for (text, expected) in [
            (
                "base = \"dark\"\n\nbat = \"red\"",
                "my.toml:3: a theme has no \"bat\"; did you mean \"bad\"?",
            ),
            (
                "bad = \"rde\"",
                "my.toml:1: bad: \"rde\" is no colour; did you mean \"red\"?",
            ),
            (
                "bad = \"red\"\nbase = \"drak\"",
                "my.toml:2: base \"drak\" is no theme of the console; did you mean \"dark\"?",
            ),
        ] {
            assert_eq!(said(text), expected);
        }
        assert!(said("bad = 3").starts_with("my.toml:1: invalid type"));
        assert!(said("bad = \"red\"\nbad = \"blue\"").starts_with("my.toml:2: duplicate key"));
    }

    #[test]
    fn a_theme_is_found_by_name_and_by_path() {
        let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
        let themes = folder.path().join(FOLDER);
        std::fs::create_dir(&themes).expect("made");
        std::fs::write(themes.join("night.toml"), "bad = \"red\"").expect("written");
        let config = folder.path().join("config.toml");
        let load = |name: &str| load(name, &config, folder.path());
        for name in ["night", "themes/night.toml"] {
            let theme = load(name).expect(name);
            assert_eq!(theme.bad, Style::new().fg(Color::Red), "{name}");
        }
        assert_eq!(load("mono").expect("ours"), Theme::new(ThemeName::Mono));
        let error = load("nigth").expect_err("none").to_string();
        assert!(
            error.contains("no theme is called \"nigth\"")
                && error.contains("did you mean \"night\"?"),
            "{error}"
        );
        let error = load("themes/none.toml").expect_err("none").to_string();
        assert!(error.contains("cannot read the theme"), "{error}");
    }
}
