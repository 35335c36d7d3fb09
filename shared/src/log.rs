//! Logs in which text from outside stays text: it gives a terminal no orders, and forges no lines.
//!
//! - [`writer`]: a writer that holds nobody up, whatever becomes of the log
//! - [`level`]: what `RUST_LOG` asks for

pub mod level;
pub mod writer;

use std::io::{self, Write};

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, FormatFields, Writer};

use crate::terminal::{harmless, harmless_json};

/// How fields are written in a log for people.
#[must_use]
pub fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    format::debug_fn(|writer: &mut Writer<'_>, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(writer, "{}", harmless(&text)),
            name => write!(writer, "{name}={}", harmless(&text)),
        }
    })
    .delimited(" ")
}

/// A place for a log of JSON lines: JSON may hold characters that are orders to a terminal.
#[derive(Debug, Clone)]
pub struct JsonLines<W>(pub W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for JsonLines<W> {
    type Writer = Line<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self.0.make_writer())
    }
}

/// Takes whole lines of JSON.
#[derive(Debug)]
pub struct Line<W>(W);

impl<W: Write> Write for Line<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = harmless_json(String::from_utf8_lossy(line).into_owned());
        self.0.write_all(text.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::terminal::is_harmful;

    const HOSTILE: &str =
        "a\x1b[2J\x1b]0;x\x07\u{9b}31m\u{7f}\u{202e}\r\n2026-01-01T00:00:00Z ERROR forged";

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn speak() {
        tracing::warn!(worker = HOSTILE, other = %HOSTILE, "it says: {HOSTILE}");
    }

    #[track_caller]
    fn is_one_harmless_line(kept: &Kept) -> String {
        let text = String::from_utf8(kept.0.lock().expect("no panic").clone()).expect("text");
        let line = text.strip_suffix('\n').expect("an end").to_owned();
        assert!(!line.chars().any(is_harmful), "{line:?}");
        assert!(
            line.contains("forged") && line.contains("it says"),
            "{line}"
        );
        line
    }

    #[test]
    fn a_log_for_people_has_one_harmless_line_for_what_happened() {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .fmt_fields(fields())
            .finish();
        tracing::subscriber::with_default(log, speak);
        is_one_harmless_line(&kept);
    }

    #[test]
    fn a_log_for_machines_has_one_harmless_line_that_says_the_same() {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(JsonLines(move || writer.clone()))
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(log, speak);
        let line = is_one_harmless_line(&kept);
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(line["worker"], HOSTILE);
    }
}
