//! The operator's file: named environments, keys, colours and the mouse.
//!
//! ```toml
//! profile = "local"            # the one that counts where none is chosen
//! theme = "dark"               # or one of your own: themes/night.toml beside this file, or a path
//! mouse = true
//!
//! [profiles.prod]
//! url = "rediss://ops:${PROD_PASSWORD}@redis.example.com:6379/0"
//! ca_file = "/etc/redis-bridge/ca.pem"
//! color = "red"
//! read_only = true
//!
//! [keys.dlq]
//! retry = "ctrl-r"
//!
//! [colors]
//! bad = "#d75f5f"
//! ```

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bridge_shared::boolean;
use bridge_shared::config::{RedisAccess, RedisArgs, key_name};
use bridge_shared::hint::suggest;
use bridge_shared::store::has_password;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use ratatui::style::Color;
use serde::{Deserialize, Deserializer};

use crate::keymap::Keymap;
use crate::text::harmless;
use crate::theme::{self, Theme, ThemeName};

/// What must be written otherwise within a URL (RFC 3986, 2.3 and 3.2.2: not in a name or a host).
const URL_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'[')
    .remove(b']');

/// What is wrong with the file, and where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {}: {cause}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// It says something that cannot be.
    #[error("{}:{line}: {what}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// It says something that cannot be, found only when it was used.
    #[error("{}: {what}", file.display())]
    Senseless {
        /// The file.
        file: PathBuf,
        /// What is wrong and what to write instead.
        what: String,
    },
    /// No theme of that name.
    #[error("no theme is called {name:?}, and there is no {}; {hint}", file.display())]
    NoTheme {
        /// The name.
        name: String,
        /// Where it would be.
        file: PathBuf,
        /// Which was meant, or which there are.
        hint: String,
    },
    /// A theme's file cannot be read.
    #[error("cannot read the theme {}: {cause}", file.display())]
    NoThemeFile {
        /// The file.
        file: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// No profile of that name.
    #[error("no profile is called {name:?}; {there}")]
    NoProfile {
        /// The name.
        name: String,
        /// Which there are, and where.
        there: String,
    },
}

/// A named environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Profile {
    url: Option<String>,
    /// These four go with the URL.
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    queue_name: Option<String>,
    failed_queue_name: Option<String>,
    enriched_stream: Option<String>,
    /// The colour of the frame.
    pub(crate) color: Option<String>,
    /// Whether nothing may be changed.
    #[serde(deserialize_with = "read_only")]
    pub(crate) read_only: bool,
    /// Whether the number must be typed as soon as it is more than one dead letter.
    #[serde(deserialize_with = "confirm")]
    pub(crate) confirm: bool,
}

/// The file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    profile: Option<String>,
    profiles: BTreeMap<String, Profile>,
    theme: Option<String>,
    /// Whether the mouse is used.
    #[serde(deserialize_with = "mouse")]
    pub(crate) mouse: bool,
    keys: BTreeMap<String, BTreeMap<String, String>>,
    colors: BTreeMap<String, String>,
    #[serde(skip)]
    file: PathBuf,
}

fn read_only<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    boolean::deserialize("read_only", from)
}

fn confirm<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    boolean::deserialize("confirm", from)
}

fn mouse<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    boolean::deserialize("mouse", from)
}

/// A text without its `${NAME}`s.
fn without_variables(text: &str) -> String {
    let mut parts = text.split("${");
    let before = parts.next().unwrap_or_default();
    let after = parts.map(|part| part.split_once('}').map_or(part, |(_, after)| after));
    std::iter::once(before).chain(after).collect()
}

/// Which settings were given as flags, by the names of their arguments: they count before any
/// profile.
pub(crate) type Given = Vec<&'static str>;

/// Whether there is no such file, be it that its folder is none: a system's user may have
/// `/dev/null` for a home.
pub(crate) fn is_missing(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(cause.kind(), NotFound | NotADirectory)
}

impl Config {
    /// Reads the file named, or the one at its usual place, which need not be there.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(file) = named.map(Path::to_owned).or_else(usual_place) else {
            return Ok(Self::default());
        };
        match std::fs::read_to_string(&file) {
            Ok(text) => Self::parse(&text, file),
            Err(cause) if named.is_none() && is_missing(&cause) => Ok(Self {
                file,
                ..Self::default()
            }),
            Err(cause) => Err(ConfigError::Unreadable { file, cause }),
        }
    }

    fn parse(text: &str, file: PathBuf) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            ConfigError::Wrong {
                file: file.clone(),
                line: line_of(text, at),
                what: error.message().to_owned(),
            }
        })?;
        config.file = file;
        for (name, profile) in &config.profiles {
            if let Some(color) = &profile.color {
                config.color(color, &format!("profile {name:?}"))?;
            }
        }
        Ok(config)
    }

    /// Says so where the file has a password and others than its owner may read it.
    pub(crate) fn exposed(&self) -> Option<String> {
        let mut urls = self.profiles.values().filter_map(|of| of.url.as_deref());
        if !urls.any(|url| has_password(&without_variables(url))) {
            return None;
        }
        let mode = std::fs::metadata(&self.file).ok()?.permissions().mode();
        (mode & 0o044 != 0).then(|| {
            let file = self.file.display();
            format!(
                "{file} has a password in a url, and others on this machine may read it: chmod 600 {file}, or write ${{NAME}} for a variable, or password_file"
            )
        })
    }

    /// The names of the profiles.
    pub(crate) fn names(&self) -> Vec<String> {
        self.profiles.keys().cloned().collect()
    }

    /// The name and profile that count: the chosen one, else the file's own choice; `None` where
    /// there is neither.
    ///
    /// # Errors
    /// [`ConfigError::NoProfile`].
    pub(crate) fn choose(
        &self,
        chosen: Option<&str>,
    ) -> Result<Option<(String, Profile)>, ConfigError> {
        let Some(name) = chosen.or(self.profile.as_deref()) else {
            return Ok(None);
        };
        let found = self.profiles.get(name).ok_or_else(|| {
            let names = self.names();
            let file = self.file.display();
            let there = if names.is_empty() {
                format!(
                    "write one into {file}, as [profiles.{}] with a url",
                    harmless(name)
                )
            } else {
                format!("{file} has {}", names.join(", "))
            };
            ConfigError::NoProfile {
                name: name.to_owned(),
                there,
            }
        })?;
        Ok(Some((name.to_owned(), found.clone())))
    }

    /// The settings with a profile applied: flags count before it, and so does the environment
    /// unless the profile was chosen by name.
    ///
    /// # Errors
    /// [`ConfigError::Senseless`] where a variable that the profile names is not set.
    pub(crate) fn apply(
        &self,
        (name, profile): (&str, &Profile),
        by_name: bool,
        args: &RedisArgs,
        given: &Given,
    ) -> Result<RedisArgs, ConfigError> {
        let mut args = args.clone();
        let in_env = |name: &str| {
            !by_name && std::env::var(name).is_ok_and(|value| !value.trim().is_empty())
        };
        if let Some(url) = &profile.url
            && !given.contains(&"redis_url")
            && !in_env("REDIS_URL")
            && !in_env("APP_REDIS_URL")
        {
            args.redis_url = Some(self.filled(url)?);
            // What opens another Redis is not shown to this one.
            args.access = RedisAccess {
                redis_password_file: profile.password_file.clone(),
                redis_ca_file: profile.ca_file.clone(),
                redis_cert_file: profile.cert_file.clone(),
                redis_key_file: profile.key_file.clone(),
                profile: Some(format!("profile {name:?} in {}", self.file.display())),
                ..RedisAccess::default()
            };
        }
        self.apply_names(profile, &mut args, |name: &str| {
            given.contains(&name.to_ascii_lowercase().as_str()) || in_env(name)
        })?;
        Ok(args)
    }

    /// The names of the lists with a profile applied, unless they are `set` elsewhere. The three belong
    /// together: of a queue that the profile names, the environment knows no other list.
    fn apply_names(
        &self,
        profile: &Profile,
        args: &mut RedisArgs,
        is_set: impl Fn(&str) -> bool,
    ) -> Result<(), ConfigError> {
        let checked = |value: &String| {
            key_name(value).map_err(|what| ConfigError::Senseless {
                file: self.file.clone(),
                what: format!("{value:?}: {what}"),
            })
        };
        let own_queue = profile.queue_name.as_ref();
        let own_queue = own_queue.filter(|_| !is_set("QUEUE_NAME"));
        if let Some(queue) = own_queue {
            args.queue_name = checked(queue)?;
        }
        for (name, value, set) in [
            (
                "FAILED_QUEUE_NAME",
                &profile.failed_queue_name,
                &mut args.failed_queue_name,
            ),
            (
                "ENRICHED_STREAM",
                &profile.enriched_stream,
                &mut args.enriched_stream,
            ),
        ] {
            match value {
                Some(value) if !is_set(name) => *set = Some(checked(value)?),
                None if own_queue.is_some() && !is_set(name) => *set = None,
                _ => {}
            }
        }
        Ok(())
    }

    /// A text with every `${NAME}` replaced from the environment, so that no password need stand
    /// in the file.
    fn filled(&self, text: &str) -> Result<String, ConfigError> {
        let senseless = |what| ConfigError::Senseless {
            file: self.file.clone(),
            what,
        };
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| senseless("a ${ in a url is without its }".into()))?;
            let value = std::env::var(name)
                .map_err(|_| senseless(format!("the environment variable {name} is not set")))?;
            out.push_str(before);
            if before.is_empty() && out.is_empty() {
                // It holds a whole URL, or its beginning.
                out.push_str(&value);
            } else {
                // A password may have any character in it.
                out.extend(percent_encoding::utf8_percent_encode(&value, URL_PART));
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The keys, with those of the file in place of the usual ones.
    ///
    /// # Errors
    /// [`ConfigError::Senseless`].
    pub(crate) fn keymap(&self) -> Result<Keymap, ConfigError> {
        Keymap::new(&self.keys).map_err(|what| ConfigError::Senseless {
            file: self.file.clone(),
            what,
        })
    }

    /// The theme that was asked for by a flag, else by the file, else what fits the terminal; with
    /// the colours of the file in place of its own.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn theme(&self, asked: Option<&str>, fits: ThemeName) -> Result<Theme, ConfigError> {
        // A path in the file begins at the file, one on the command line where that was given.
        let beside = self.file.parent().unwrap_or(Path::new(""));
        let theme = match (asked, &self.theme) {
            (Some(asked), _) => theme::file::load(asked, &self.file, Path::new(""))?,
            (None, Some(own)) => theme::file::load(own, &self.file, beside)?,
            (None, None) => Theme::new(fits),
        };
        self.paint(theme)
    }

    fn paint(&self, mut theme: Theme) -> Result<Theme, ConfigError> {
        for (name, words) in &self.colors {
            let more = theme::style::parse(words).map_err(|what| ConfigError::Senseless {
                file: self.file.clone(),
                what: format!("colors.{name}: {what}"),
            })?;
            let style = theme.style(name).ok_or_else(|| ConfigError::Senseless {
                file: self.file.clone(),
                what: format!("colors has no {name:?}; {}", suggest(name, &theme::NAMES)),
            })?;
            *style = style.patch(more);
        }
        Ok(theme)
    }

    /// A colour by its name, number or `#rrggbb`.
    ///
    /// # Errors
    /// [`ConfigError::Senseless`].
    pub(crate) fn color(&self, text: &str, what: &str) -> Result<Color, ConfigError> {
        text.parse().map_err(|_| ConfigError::Senseless {
            file: self.file.clone(),
            what: format!(
                "{what}: {text:?} is no colour; write a name such as \"red\", a number from 0 to 255, or \"#rrggbb\""
            ),
        })
    }
}

/// The line, from 1, of a place in a text, in bytes.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.matches('\n').count() + 1
}

/// `$XDG_CONFIG_HOME/redis-bridge/config.toml`, or the same below `~/.config`. Source: the XDG Base
/// Directory Specification 0.8.
fn usual_place() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("redis-bridge/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, String> {
        Config::parse(text, "c.toml".into()).map_err(|error| error.to_string())
    }

    fn args() -> RedisArgs {
        RedisArgs::of("redis://flag", ["q", "f", "e"])
    }

    #[test]
    fn booleans_of_the_file_are_the_same_words_everywhere() {
        let text = "mouse = 1\n[profiles.a]\nread_only = \"On\"\nconfirm = true\n";
        let read = config(text).expect("sound");
        let a = &read.profiles["a"];
        assert!(read.mouse && a.read_only && a.confirm);
        assert!(!config("mouse = \"no\"").expect("sound").mouse);
    }

    #[test]
    fn a_profile_counts_after_flags_and_before_the_environment() {
        let text = "profile = \"a\"\n[profiles.a]\nurl = \"redis://a:${PATH}@h\"\nqueue_name = \"qa\"\n[profiles.b]\nurl = \"redis://b\"\n";
        let config = config(text).expect("sound");
        assert_eq!(config.names(), ["a", "b"]);
        let (name, a) = config.choose(None).expect("there").expect("the file's own");
        assert_eq!(name, "a");
        let flags = vec!["redis_url"];
        let applied = config
            .apply(("a", &a), true, &args(), &flags)
            .expect("applied");
        assert_eq!(
            (applied.url().as_str(), applied.queue_name.as_str()),
            ("redis://flag", "qa")
        );
        let applied = config
            .apply(("a", &a), true, &args(), &Given::new())
            .expect("applied");
        assert!(applied.url().starts_with("redis://a:%2F") && applied.url().ends_with("@h"));
        // The other names follow the profile's queue; flags count before that.
        assert_eq!(applied.keys().failed, "qa:failed");
        let flags = vec!["failed_queue_name"];
        let applied = config
            .apply(("a", &a), true, &args(), &flags)
            .expect("applied");
        assert_eq!(applied.keys().failed, "f");
        assert_eq!(
            config.choose(Some("b")).expect("there").expect("chosen").0,
            "b"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let said = |text: &str| config(text).expect_err(text);
        assert!(said("x = ").starts_with("c.toml:1: "));
        assert!(said("[profiles.a]\nurll = \"x\"").contains("c.toml:2: unknown field `urll`"));
        assert!(said("[profiles.a]\ncolor = \"reddish\"").contains("\"reddish\" is no colour"));
        for (text, name, value) in [
            (
                "[profiles.a]\nread_only = \"nope\"",
                "read_only",
                "\"nope\"",
            ),
            ("\nmouse = \"\"", "mouse", "\"\""),
            ("[profiles.a]\nconfirm = 2", "confirm", "2"),
        ] {
            let said = said(text);
            let words = said.contains(boolean::WORDS) && said.contains(value);
            assert!(said.starts_with("c.toml:2: ") && words, "{said}");
            assert!(said.contains(name), "{said}");
        }
        let one = config("[profiles.a]\nurl = \"redis://${NO_SUCH_VARIABLE}\"").expect("sound");
        let error = one.choose(Some("z")).expect_err("no z").to_string();
        assert_eq!(error, "no profile is called \"z\"; c.toml has a");
        let (_, a) = one.choose(Some("a")).expect("there").expect("a");
        let error = one
            .apply(("a", &a), true, &args(), &Given::new())
            .expect_err("not set")
            .to_string();
        assert_eq!(
            error,
            "c.toml: the environment variable NO_SUCH_VARIABLE is not set"
        );
        let says = |text: &str| {
            config(text)
                .expect("sound")
                .keymap()
                .expect_err(text)
                .to_string()
        };
        assert!(
            says("[keys.dlq]\nretri = \"r\"")
                .contains("keys.dlq has no \"retri\"; there are retry, ")
        );
        assert!(
            says("[keys.dlg]\nretry = \"r\"")
                .contains("keys has no \"dlg\"; there are everywhere, ")
        );
        assert!(says("[keys.dlq]\nretry = \"hyper-r\"").contains("no key is called \"hyper-r\""));
        assert!(says("[keys.dlq]\nretry = \"d\"").contains("\"d\" would mean both retry and drop"));
        let painted = config("[colors]\nbat = \"red\"").expect("sound");
        let error = painted
            .paint(Theme::new(ThemeName::Dark))
            .expect_err("bat")
            .to_string();
        assert!(
            error.contains("colors has no \"bat\"; did you mean \"bad\"?"),
            "{error}"
        );
    }
}
