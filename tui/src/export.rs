//! Dead letters in a file: as JSON lines, which keep everything, or as a table for spreadsheets.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bridge_shared::clock::rfc3339;
use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::{Store, StoreError};
use bridge_shared::terminal::harmless_json;
use clap::ValueEnum;

use crate::text::harmless;
use bridge_shared::row::{Row, error_or_unknown};

/// The columns of the table.
const COLUMNS: [&str; 10] = [
    "id",
    "name",
    "url",
    "error",
    "kind",
    "station",
    "attempts",
    "failed_at",
    "lead",
    "lead_base64",
];

/// How dead letters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line: all there is, byte for byte.
    Jsonl,
    /// A table with a head (RFC 4180), safe to be opened by a spreadsheet.
    Csv,
}

impl Format {
    /// What a file's name says: `.csv` is a table.
    pub(crate) fn of(file: &Path) -> Self {
        match file.extension() {
            Some(ending) if ending.eq_ignore_ascii_case("csv") => Self::Csv,
            _ => Self::Jsonl,
        }
    }
}

/// Creates a file for leads: only its owner may read it. An existing file is never overwritten.
///
/// # Errors
/// If the file exists or cannot be created.
pub(crate) fn create(file: impl AsRef<Path>) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
}

/// What ended an export.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// Redis.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The file.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A file of dead letters.
pub(crate) struct Export<W: Write> {
    out: Out<W>,
    to_terminal: bool,
    /// How many are in it.
    pub(crate) written: u64,
}

enum Out<W: Write> {
    Lines(W),
    Table(Box<csv::Writer<W>>),
}

impl<W: Write> Export<W> {
    /// Begins a file; `to_terminal` where it is none, and nothing in it may give orders.
    ///
    /// # Errors
    /// Where it cannot be written to.
    pub(crate) fn begin(out: W, format: Format, to_terminal: bool) -> io::Result<Self> {
        let out = match format {
            Format::Jsonl => Out::Lines(out),
            Format::Csv => {
                let mut table = csv::WriterBuilder::new()
                    .quote_style(csv::QuoteStyle::Always)
                    .terminator(csv::Terminator::CRLF)
                    .from_writer(out);
                table.write_record(COLUMNS)?;
                Out::Table(Box::new(table))
            }
        };
        Ok(Self {
            out,
            to_terminal,
            written: 0,
        })
    }

    /// Writes all of a dead letter; returns whether it was there to be read whole.
    ///
    /// # Errors
    /// [`ExportError`].
    pub(crate) async fn add(
        &mut self,
        store: &Store,
        letter: &DeadLetter,
    ) -> Result<bool, ExportError> {
        let Some(whole) = store.whole_dead(letter).await? else {
            return Ok(false);
        };
        self.write(&whole)?;
        Ok(true)
    }

    /// Looks once more for those that were not there to be read whole, and writes what is only
    /// elsewhere by now; returns the ids of the others, of which nothing is written.
    ///
    /// # Errors
    /// [`ExportError`].
    pub(crate) async fn add_missed(
        &mut self,
        store: &Store,
        missed: &[DeadLetter],
    ) -> Result<Vec<String>, ExportError> {
        let named: Vec<&DeadLetter> = missed.iter().collect();
        let mut gone = vec![true; missed.len()];
        for (i, found) in store.find_again(&named).await? {
            gone[i] = !self.add(store, &found).await?;
        }
        let gone = missed.iter().zip(gone).filter(|(_, gone)| *gone);
        Ok(gone.map(|(letter, _)| letter.id().to_owned()).collect())
    }

    /// Writes one.
    ///
    /// # Errors
    /// Where the file cannot be written to.
    pub(crate) fn write(&mut self, letter: &DeadLetter) -> io::Result<()> {
        match &mut self.out {
            Out::Lines(out) => {
                let mut row = serde_json::to_string(&Row::new(letter))?;
                if self.to_terminal {
                    row = harmless_json(row);
                }
                writeln!(out, "{row}")?;
            }
            Out::Table(table) => {
                let mut cells = cells(letter).map(without_formula);
                if self.to_terminal {
                    cells = cells.map(|cell| harmless(&cell).into_owned());
                }
                table.write_record(&cells)?;
            }
        }
        self.written += 1;
        Ok(())
    }

    /// Ends the file; returns how many are in it.
    ///
    /// # Errors
    /// Where the rest cannot be written.
    pub(crate) fn end(self) -> io::Result<u64> {
        match self.out {
            Out::Lines(mut out) => out.flush()?,
            Out::Table(mut table) => table.flush()?,
        }
        Ok(self.written)
    }
}

/// What a dead letter has in each column.
fn cells(letter: &DeadLetter) -> [String; COLUMNS.len()] {
    let envelope = &letter.envelope;
    let lead = envelope.parse_lead().ok();
    let of = |field: fn(&bridge_shared::lead::Lead) -> Option<String>| {
        lead.as_ref().and_then(field).unwrap_or_default()
    };
    let (text, base64) = match std::str::from_utf8(&envelope.lead) {
        Ok(text) => (text.to_owned(), String::new()),
        // No table can hold it.
        Err(_) => (String::new(), BASE64.encode(&envelope.lead)),
    };
    [
        letter.id().to_owned(),
        of(bridge_shared::lead::Lead::full_name),
        of(bridge_shared::lead::Lead::linkedin_url),
        error_or_unknown(letter).into_owned(),
        envelope.error_kind.as_str().to_owned(),
        envelope.station.clone(),
        envelope.attempts.len().to_string(),
        envelope.failed_at.map(rfc3339).unwrap_or_default(),
        text,
        base64,
    ]
}

/// A cell that no spreadsheet takes for a formula: one that begins like one gets a `'` before it,
/// which is how a spreadsheet itself writes down that a cell is text. Every cell stands in quotes,
/// so that none can end early and begin another. Source: OWASP, CSV Injection
/// (<https://owasp.org/www-community/attacks/CSV_Injection>), and the full-width signs, which some
/// take for the same.
fn without_formula(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        format!("'{cell}")
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_a_formula_is_made_text() {
        for cell in [
            "=1+1",
            "=HYPERLINK(\"http://x\",\"y\")",
            "+49 30 1",
            "-2+3",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
        ] {
            assert_eq!(without_formula(cell.into()), format!("'{cell}"));
        }
        for cell in ["", "Ada", "a=1", "{\"a\":\"=1\"}", "'=1", "2026-01-15"] {
            assert_eq!(without_formula(cell.into()), cell);
        }
    }

    #[test]
    fn a_files_name_says_what_it_is() {
        for (file, format) in [
            ("dead.csv", Format::Csv),
            ("/a/DEAD.CSV", Format::Csv),
            ("dead.jsonl", Format::Jsonl),
            ("csv", Format::Jsonl),
            ("-", Format::Jsonl),
        ] {
            assert_eq!(Format::of(Path::new(file)), format, "{file}");
        }
    }
}
