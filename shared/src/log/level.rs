//! The levels of a log, as `RUST_LOG` asks for them.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// What `RUST_LOG` takes, as an error tells it.
const LEVELS: &str =
    "the levels are off, error, warn, info, debug and trace; for one module write MODULE=LEVEL";

/// The filter that `RUST_LOG` asks for, `info` if it is unset or empty. A value that is none is told,
/// and the log is at `info`: a typing mistake must not silence the log.
#[must_use]
pub fn from_env() -> (EnvFilter, Option<String>) {
    let value = std::env::var_os("RUST_LOG").unwrap_or_default();
    match read(&value.to_string_lossy()) {
        Ok(filter) => (filter, None),
        Err(error) => (info(), Some(format!("{error}; the log is at info"))),
    }
}

fn info() -> EnvFilter {
    EnvFilter::new("info")
}

fn read(value: &str) -> Result<EnvFilter, String> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(info());
    }
    let wrong = |part: &str| format!("RUST_LOG={value:?}: {part:?} is no level; {LEVELS}");
    // Commas also stand between the fields of a span.
    let parts: Vec<&str> = if value.contains('{') {
        vec![value]
    } else {
        let parts = value.split(',').map(str::trim);
        parts.filter(|part| !part.is_empty()).collect()
    };
    // The library takes a lone word for the name of a module, at the level `trace`: with
    // `RUST_LOG=inof` nothing at all is logged.
    let is_word = |part: &str| !part.contains(['=', '[', '{']);
    if let Some(part) = parts.iter().find(|part| is_word(part) && !is_level(part)) {
        return Err(wrong(part));
    }
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .parse(parts.join(","));
    filter.map_err(|_| {
        let is_wrong = |part: &&&str| part.parse::<Directive>().is_err();
        wrong(parts.iter().find(is_wrong).unwrap_or(&value))
    })
}

fn is_level(word: &str) -> bool {
    word.parse::<tracing::level_filters::LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_modules_are_taken() {
        for value in [
            "info",
            "WARN",
            "off",
            "info,redis=debug",
            "bridge_shared::store=trace",
            "warn, hyper=off",
            "[lead{id=\"7\"}]=trace",
        ] {
            assert!(read(value).is_ok(), "{value}");
        }
        for empty in ["", "  "] {
            assert_eq!(read(empty).expect("a filter").to_string(), "info");
        }
    }

    #[test]
    fn what_is_no_level_is_told_with_the_levels() {
        for (value, part) in [
            ("inof", "inof"),
            ("redis=inof", "redis=inof"),
            ("info,debgu", "debgu"),
            ("redis", "redis"),
        ] {
            let error = read(value).map(drop).expect_err(value);
            assert!(error.contains(&format!("{part:?}")), "{error}");
            assert!(error.contains("error, warn, info, debug"), "{error}");
        }
    }
}
