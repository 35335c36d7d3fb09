//! The worker's standard error: its log, and why it ended. Nothing else writes there, and nothing
//! that is said there can block, fail or panic.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::OnceLock;
use std::time::Duration;

use bridge_shared::log::writer::{FlushOnDrop, LogWriter};
use bridge_shared::log::{JsonLines, fields, level};
use bridge_shared::terminal::harmless_lines;
use clap::ValueEnum;
use jiff::Timestamp;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines, one object a line.
    Json,
}

/// The format of the log that was started.
static FORMAT: OnceLock<LogFormat> = OnceLock::new();

/// Where the log goes, for an end from any thread.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Ends the process from any thread, also while another one is held up; what was logged is written
/// first, as far as that takes less than a second.
pub(crate) fn exit(code: i32) -> ! {
    if let Some(writer) = WRITER.get() {
        let _ = writer.flush_within(Duration::from_secs(1));
    }
    std::process::exit(code)
}

/// Standard error. What was said is written when this is dropped, or after a second left out.
#[derive(Debug)]
pub(crate) struct Stderr(FlushOnDrop);

impl Stderr {
    /// Takes standard error over.
    ///
    /// # Errors
    /// If the system has no file descriptor or no thread left.
    pub(crate) fn take() -> io::Result<Self> {
        let out = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let writer = LogWriter::start(out, dropped)?;
        let _ = WRITER.set(writer.clone());
        Ok(Self(FlushOnDrop(writer)))
    }

    /// Says a text, line by line.
    pub(crate) fn say(&self, text: &str) {
        let mut writer = self.0.0.clone();
        // It never fails: what cannot be written is dropped and counted.
        let _ = writer.write_all(format!("{}\n", text.trim_end()).as_bytes());
    }

    /// Says why the worker ends.
    pub(crate) fn complain(&self, message: &str) {
        self.say(&format!("scrapegoat-worker: {}", harmless_lines(message)));
    }

    /// Starts the log, at the level of `RUST_LOG`, or `info`.
    pub(crate) fn start_log(&self, format: Option<LogFormat>) {
        // What a collector of spans answers may say back the secrets of its headers. The library keeps
        // those answers for the level `debug`, and no level is a reason to tell a secret.
        let answers = "opentelemetry-otlp=info".parse().expect("a directive");
        let (filter, wrong) = level::from_env();
        let is_terminal = io::stderr().is_terminal();
        let format = format.unwrap_or(if is_terminal {
            LogFormat::Text
        } else {
            LogFormat::Json
        });
        let _ = FORMAT.set(format);
        let writer = self.0.0.clone();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter.add_directive(answers))
            .log_internal_errors(false);
        match format {
            LogFormat::Json => log
                .with_writer(JsonLines(writer))
                .json()
                .flatten_event(true)
                .init(),
            LogFormat::Text => log
                .with_writer(writer)
                .fmt_fields(fields())
                .with_ansi(has_colors())
                .with_target(false)
                .init(),
        }
        if let Some(wrong) = wrong {
            tracing::error!("{wrong}");
        }
        // A station that panics fails its lead; where it did belongs into the log, in one line. What
        // it said only where that is plain: words put together at run time may hold a secret. The
        // lead's failure has them, with the secrets hidden.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic
                .location()
                .map(ToString::to_string)
                .unwrap_or_default();
            let words = panic.payload().downcast_ref::<&str>().copied();
            tracing::error!(place, "{}", words.unwrap_or("a panic"));
        }));
    }
}

/// Whether what is said may have colours.
pub(crate) fn has_colors() -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !is_plain
}

/// The line that tells how many lines were dropped, in the format of the log.
fn dropped(lines: u64) -> String {
    const WHAT: &str = "log lines dropped, the log could not be written";
    let now = Timestamp::now();
    match FORMAT.get() {
        Some(LogFormat::Json) => format!(
            r#"{{"timestamp":"{now:.6}","level":"WARN","message":"{WHAT}","lines":{lines},"target":"scrapegoat_worker::log"}}"#
        ),
        Some(LogFormat::Text) | None => format!("{now:.6}  WARN {WHAT} lines={lines}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_of_dropped_lines_is_a_line_of_the_log() {
        let text = dropped(7);
        assert!(
            text.ends_with(" WARN log lines dropped, the log could not be written lines=7"),
            "{text}"
        );
        FORMAT.set(LogFormat::Json).expect("no log in tests");
        let line: serde_json::Value = serde_json::from_str(&dropped(7)).expect("JSON");
        assert_eq!(
            (&line["lines"], &line["level"]),
            (&7.into(), &"WARN".into())
        );
        let at = line["timestamp"].as_str().expect("a time");
        assert!(
            at.ends_with('Z') && at.len() == "2026-01-01T00:00:00.000000Z".len(),
            "{at}"
        );
    }
}
