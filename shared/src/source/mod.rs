//! Files to leads: reads JSONL, JSON and CSV of any size in constant memory.
//!
//! - `lines`: JSONL, one object a line
//! - `values`: a JSON array, or objects one after another
//! - `table`: CSV, record by record
//! - `ahead`: the lines of a CSV, looked at before they are taken
//! - `quotes`: where a CSV record ends, and where a quote is astray
//! - `columns`: which column of a CSV is which field of a lead
//!
//! A [`Source`] is an iterator over a blocking reader. What cannot be a lead comes out as an
//! [`Item`] of its own with the line it is at, and the reading goes on after it.

mod ahead;
mod columns;
mod lines;
mod quotes;
mod table;
mod values;

use std::io::{self, BufRead, Chain, Cursor, Read as _};

use bytes::Bytes;
use clap::ValueEnum;
use serde_json::value::RawValue;

use crate::{json, lead};
use lines::Lines;
use table::Table;
use values::Values;

/// The longest line, array element or CSV record that is read, in bytes, where nothing else is
/// said: 64 MiB.
pub const DEFAULT_LIMIT: usize = 64 << 20;

/// How far to look for the first character that tells what a file is, in bytes.
const HEAD: usize = 64 << 10;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Jsonl,
    /// A JSON array of objects, or objects one after another
    Json,
    /// The same, but lines do not matter: an object may go over several of them
    #[value(skip)]
    Values,
    /// A header and records; comma, semicolon or tab, whichever the header has most of
    Csv,
    /// The same with tabs
    Tsv,
}

impl Format {
    /// The format that a file name's ending stands for.
    ///
    /// ```
    /// use bridge_shared::source::Format;
    /// assert_eq!(Format::of_name("leads/May.NDJSON"), Some(Format::Jsonl));
    /// assert_eq!(Format::of_name("leads"), None);
    /// ```
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let ending = name.rsplit_once('.')?.1.to_ascii_lowercase();
        match ending.as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            _ => None,
        }
    }
}

/// One lead, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The line it begins at, from 1.
    pub line: u64,
    /// Which element of a JSON array it is, from 1; `None` where it is none.
    pub element: Option<u64>,
    /// The lead's bytes, a JSON object: from JSON the very bytes of the file, without the
    /// whitespace around them; from CSV an object with the wire contract's names.
    pub result: Result<Bytes, SourceError>,
}

/// Why a part of a file is not a lead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Not JSON; holds what is wrong and where.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// JSON, but of another type than object; holds that type's name.
    #[error("not a JSON object but {0}")]
    NotAnObject(&'static str),
    /// Bytes that are not UTF-8; holds the place of the first, from 1.
    #[error("not UTF-8 from byte {0} on; write it in UTF-8")]
    NotUtf8(usize),
    /// The same in a CSV record; holds the column's name.
    #[error("not UTF-8 in the column \"{0}\"; write it in UTF-8")]
    CellNotUtf8(String),
    /// Longer than the limit, in bytes.
    #[error("longer than {0} bytes, so it is left out")]
    TooLong(usize),
    /// A CSV record with more or fewer fields than the header.
    #[error("{found} field{} where the header has {expected}; is there a stray quote or delimiter?", if *.found == 1 { "" } else { "s" })]
    Fields {
        /// How many the header has.
        expected: usize,
        /// How many the record has.
        found: usize,
    },
    /// A line of a CSV whose quote makes no good record of the lines after it. They are read
    /// without it.
    #[error(
        "a quote opens in this line and does not close as a part of one record; is it a stray one?"
    )]
    StrayQuote,
    /// A CSV whose header has no field of the wire contract. Nothing comes after this.
    #[error(
        "none of the columns is known, such as name, first name, last name or LinkedIn URL, so nothing of the file is read; is there a header row?"
    )]
    NoKnownColumn,
    /// A file of a kind that holds files; holds that kind. Nothing comes after this.
    #[error("{0}, not text; unpack it first, or save what is in it as CSV or JSONL")]
    Packed(&'static str),
    /// A file that is no text. Nothing comes after this.
    #[error("binary data, not text; save it as CSV or JSONL in UTF-8")]
    Binary,
    /// A JSON array without its end.
    #[error("it ends in the middle of the array; is it complete?")]
    Truncated,
    /// Something after a JSON array.
    #[error("there is more after the end of the array, which is not read")]
    AfterArray,
    /// Neither JSON nor a CSV with a column that could be of use.
    #[error(
        "neither JSON nor a CSV header with a known column; say what it is with --format jsonl, json, csv or tsv"
    )]
    UnknownFormat,
    /// A file that is called JSON and of which no line begins any. Nothing comes after this.
    #[error(
        "no line of it begins a JSON object, so nothing of it is read; if it is a CSV, call it .csv or say --format csv"
    )]
    NoJsonBegins,
    /// UTF-16, as some spreadsheets write it.
    #[error("UTF-16 text; write it in UTF-8")]
    Utf16,
    /// The reader failed; holds its words. Nothing comes after this.
    #[error("cannot be read any further: {0}")]
    Read(String),
}

/// How to read.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What the file is written in; where `None`, its name's ending tells, then its beginning.
    pub format: Option<Format>,
    /// The longest line, element or record, in bytes. A longer one is reported and skipped, and
    /// never held in memory.
    pub limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            limit: DEFAULT_LIMIT,
        }
    }
}

/// A reader whose beginning was looked at already.
type Input<R> = Chain<Cursor<Vec<u8>>, R>;

/// The leads of one file, in order.
///
/// ```
/// use bridge_shared::source::{Options, Source};
/// let file = &b"{\"name\":\"Ada\"}\n[1]\n"[..];
/// let mut items = Source::new(file, "leads.jsonl", &Options::default());
/// assert_eq!(&items.next().unwrap().result.unwrap()[..], b"{\"name\":\"Ada\"}");
/// assert_eq!(items.next().unwrap().result.unwrap_err().to_string(), "not a JSON object but a list");
/// ```
#[derive(Debug)]
pub struct Source<R> {
    kind: Kind<R>,
}

#[derive(Debug)]
enum Kind<R> {
    Lines(Lines<Input<R>>),
    Values(Values<Input<R>>),
    Table(Box<Table<Input<R>>>),
    /// A file that ended before it began.
    Nothing(Option<SourceError>),
}

impl<R: BufRead> Source<R> {
    /// Begins to read. `name` is the file's name: its ending may tell the format, and leads from
    /// CSV carry it as `sourceDetails.source`. Waits for the first bytes; an error in reading
    /// them comes out as the first item.
    pub fn new(mut reader: R, name: &str, options: &Options) -> Self {
        let mut head = match read_head(&mut reader) {
            Ok(head) => head,
            Err(error) => return Self::failed(SourceError::Read(error.to_string())),
        };
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return Self::failed(SourceError::Utf16);
        }
        if let Some((_, kind)) = PACKED.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Self::failed(SourceError::Packed(kind));
        }
        if head.starts_with(BOM) {
            head.drain(..BOM.len());
        }
        let format = options.format.or_else(|| Format::of_name(name));
        let shape = Shape::of(&head, format);
        // What has no name comes over a network, where the next bytes may be long in coming.
        let is_json = matches!(format, Some(Format::Json | Format::Jsonl)) && !name.is_empty();
        if shape == Shape::Lines && is_json {
            match begins_json(&mut head, &mut reader) {
                Ok(true) => {}
                Ok(false) => return Self::failed(SourceError::NoJsonBegins),
                Err(error) => return Self::failed(SourceError::Read(error.to_string())),
            }
        }
        let input = Cursor::new(head).chain(reader);
        let limit = options.limit;
        let kind = match shape {
            Shape::Lines => Kind::Lines(Lines::new(input, limit)),
            Shape::Array => Kind::Values(Values::array(input, limit)),
            Shape::Sequence => Kind::Values(Values::sequence(input, limit)),
            Shape::Table => {
                let tabs = format == Some(Format::Tsv);
                let guessed = format.is_none();
                Kind::Table(Box::new(Table::new(input, name, limit, tabs, guessed)))
            }
        };
        Self { kind }
    }

    fn failed(error: SourceError) -> Self {
        Self {
            kind: Kind::Nothing(Some(error)),
        }
    }
}

impl<R: BufRead> Iterator for Source<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        match &mut self.kind {
            Kind::Lines(lines) => lines.next(),
            Kind::Values(values) => values.next(),
            Kind::Table(table) => table.next(),
            Kind::Nothing(error) => error.take().map(|error| Item {
                line: 1,
                element: None,
                result: Err(error),
            }),
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How packed files begin, as far as the bytes that are always looked at go. Source: RFC 1952,
/// RFC 8878, the formats of zip (APPNOTE.TXT, 4.3.7) and xz.
const PACKED: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f", "zstd"),
    (b"\xfd7z", "xz"),
    (b"PK\x03", "a zip archive or a spreadsheet"),
];

/// What a file's beginning looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Lines,
    Array,
    Sequence,
    Table,
}

impl Shape {
    fn of(head: &[u8], format: Option<Format>) -> Self {
        match format {
            Some(Format::Jsonl) => return Self::Lines,
            Some(Format::Csv | Format::Tsv) => return Self::Table,
            Some(Format::Json | Format::Values) | None => {}
        }
        let text = head.trim_ascii_start();
        match text.first() {
            Some(b'[') => Self::Array,
            // An object over several lines begins with a brace alone on its line.
            Some(b'{') => {
                let rest = text[1..].iter().find(|byte| !b" \t\r".contains(byte));
                if rest == Some(&b'\n') || format == Some(Format::Values) {
                    Self::Sequence
                } else {
                    Self::Lines
                }
            }
            Some(_) if format.is_none() => Self::Table,
            _ => Self::Lines,
        }
    }
}

/// Reads until the beginning tells something: a byte order mark, and the first two characters
/// that are not blank.
fn read_head(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < HEAD {
        let text = head.strip_prefix(BOM).unwrap_or(&head).trim_ascii_start();
        if head.len() >= BOM.len() && text.len() >= 2 {
            break;
        }
        let chunk = fill(reader)?;
        if chunk.is_empty() {
            break;
        }
        let taken = chunk.len();
        head.extend_from_slice(chunk);
        reader.consume(taken);
    }
    Ok(head)
}

/// Reads until a line begins an object or a list; `false` where two lines or more of text do not.
/// What is no text is left to be told as such.
fn begins_json(head: &mut Vec<u8>, reader: &mut impl BufRead) -> io::Result<bool> {
    let mut line = 0;
    let mut lines = 0;
    loop {
        // The last line may go on in the bytes that come next.
        while let Some(end) = memchr::memchr(b'\n', &head[line..]) {
            let text = head[line..line + end].trim_ascii();
            if matches!(text.first(), Some(b'{' | b'[')) || text.iter().any(u8::is_ascii_control) {
                return Ok(true);
            }
            lines += usize::from(!text.is_empty());
            line += end + 1;
        }
        let rest = head[line..].trim_ascii();
        if matches!(rest.first(), Some(b'{' | b'[')) || rest.contains(&0) {
            return Ok(true);
        }
        let chunk = if head.len() < HEAD {
            fill(reader)?
        } else {
            &[]
        };
        if chunk.is_empty() {
            return Ok(lines + usize::from(!rest.is_empty()) < 2);
        }
        let taken = chunk.len();
        head.extend_from_slice(chunk);
        reader.consume(taken);
    }
}

/// The next bytes; empty at the end. A signal in between is no reason to stop.
fn fill(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            // Asked again because the borrow of an answer within a loop cannot leave it; the
            // bytes are there already.
            Ok(_) => return reader.fill_buf(),
        }
    }
}

/// Makes sure that trimmed bytes are one JSON object. `line` is where they begin.
fn check_object(bytes: &[u8], line: u64) -> Result<(), SourceError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| SourceError::NotUtf8(error.valid_up_to() + 1))?;
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) if text.starts_with('{') => Ok(()),
        Ok(value) => Err(SourceError::NotAnObject(lead::json_type(value.get()))),
        Err(error) => Err(SourceError::NotJson(json::mistake(&error, line))),
    }
}

#[cfg(test)]
mod tests;
