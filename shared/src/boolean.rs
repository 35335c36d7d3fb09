//! Booleans of settings: the words that mean yes or no. Any other word is an error, because a typing
//! error must not decide.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// The words, for errors and for help.
pub const WORDS: &str = "true, false, yes, no, on, off, 1 or 0";

/// Reads a boolean; case does not matter, and neither do spaces around it. `None` for other words.
#[must_use]
pub fn read(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Reads the boolean of this name.
///
/// # Errors
/// The sentence `<name> must be ..., not ...`, which tells the words.
pub fn parse(name: &str, text: &str) -> Result<bool, String> {
    read(text).ok_or_else(|| format!("{name} must be {WORDS}, not {text:?}"))
}

/// A parser for the environment variable of a flag. The flag itself takes no value, so what is parsed
/// is the variable's.
pub fn variable(
    name: &'static str,
) -> impl Fn(&str) -> Result<bool, String> + Clone + Send + Sync + 'static {
    move |text| parse(name, text)
}

/// Reads the boolean `name` of a configuration file, where the words may stand as texts.
///
/// # Errors
/// Those of the format, and [`parse`]'s.
pub fn deserialize<'de, D: Deserializer<'de>>(
    name: &'static str,
    from: D,
) -> Result<bool, D::Error> {
    struct Boolean(&'static str);
    impl Visitor<'_> for Boolean {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{WORDS} for {}", self.0)
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
            Ok(value)
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
            match value {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(E::invalid_value(Unexpected::Signed(value), &self)),
            }
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<bool, E> {
            parse(self.0, value).map_err(E::custom)
        }
    }
    from.deserialize_any(Boolean(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_words_are_booleans() {
        for (words, value) in [
            (["true", "TRUE", "yes", "On", " 1\r"], true),
            (["false", "False", "no", "off", "0"], false),
        ] {
            for word in words {
                assert_eq!(parse("X", word), Ok(value), "{word:?}");
            }
        }
        for word in [
            "",
            "nope",
            "\"false\"",
            "'false'",
            "false # comment",
            "disabled",
            "2",
            "t",
            "n",
        ] {
            let said = parse("X", word).expect_err(word);
            assert_eq!(
                said,
                format!("X must be true, false, yes, no, on, off, 1 or 0, not {word:?}")
            );
        }
    }
}
