//! CSV, record by record, each bounded in memory.
//!
//! A record of several lines that comes out wrong costs its first line only, and the reading goes
//! on in the next one: a stray quote must not swallow what follows. How far a record is looked
//! for is bounded; and since a line that opens a quote within a record in hand ends a field of
//! it, no line is looked at much more often than there are columns.

use std::io::{self, BufRead, Chain, Cursor, Read as _};

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::ahead::{Ahead, Line};
use super::columns::Columns;
use super::quotes::Quotes;
use super::{Item, SourceError};

/// How far the header is looked at to find the delimiter, in bytes.
const HEADER_LOOK: u64 = 1 << 20;
/// How many lines a record has at most.
const RECORD_LINES: u64 = 1_000;
/// How many bytes a record goes on for at most after its first line: 1 MiB.
const RECORD_AHEAD: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Table<R> {
    input: Ahead<Chain<Cursor<Vec<u8>>, R>>,
    parser: Reader,
    delimiter: u8,
    name: String,
    limit: usize,
    /// Nobody said that this is CSV.
    guessed: bool,
    columns: Option<Columns>,
    /// Where the record in hand begins.
    line: u64,
    /// How many lines it has.
    lines: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// The first line has a zero byte, which no header has.
    binary: bool,
    /// The failure to read the first line, told with the first record.
    failed: Option<io::Error>,
    ended: bool,
}

enum Record {
    /// In `text` and `ends`, with this many fields.
    Read(usize),
    /// With another number of fields than the header, all in one line.
    Fields(usize),
    /// A line that opens a quote and is no record with what follows.
    Stray,
    TooLong,
    End,
}

impl<R: BufRead> Table<R> {
    pub(super) fn new(mut reader: R, name: &str, limit: usize, tabs: bool, guessed: bool) -> Self {
        let mut first = Vec::new();
        let failed = read_first_line(&mut reader, &mut first).err();
        let delimiter = if tabs { b'\t' } else { delimiter(&first) };
        Self {
            binary: first.contains(&0),
            input: Ahead::new(Cursor::new(first).chain(reader)),
            parser: ReaderBuilder::new().delimiter(delimiter).build(),
            delimiter,
            name: name.to_owned(),
            limit,
            guessed,
            columns: None,
            line: 1,
            lines: 0,
            text: Vec::new(),
            ends: Vec::new(),
            failed,
            ended: false,
        }
    }

    /// Takes the next record.
    fn read_record(&mut self) -> io::Result<Record> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.line += std::mem::take(&mut self.lines);
        let first = match self.first_line()? {
            Line::To(first) => first,
            Line::TooLong => {
                self.lines = 1;
                self.input.skip_line()?;
                return Ok(Record::TooLong);
            }
            Line::End => return Ok(Record::End),
        };
        let Some((end, fields)) = self.find_end(first)? else {
            self.lines = 1;
            self.input.take(first);
            return Ok(Record::Stray);
        };
        let record = if self.expected().is_none_or(|expected| fields == expected) {
            Record::Read(self.parse(end, fields))
        } else {
            Record::Fields(fields)
        };
        self.input.take(end);
        Ok(record)
    }

    /// Looks at the first line that is not empty.
    fn first_line(&mut self) -> io::Result<Line> {
        loop {
            let line = self.input.line(0, self.limit)?;
            match line {
                Line::To(end) if matches!(self.input.text()[0], b'\r' | b'\n') => {
                    self.input.take(end);
                    self.line += 1;
                }
                _ => return Ok(line),
            }
        }
    }

    /// How far the record goes whose first line goes up to there, and how many fields it has;
    /// `None` where it is none, because of a quote. Sets the number of its lines.
    fn find_end(&mut self, first: usize) -> io::Result<Option<(usize, usize)>> {
        let most = RECORD_AHEAD.min(self.limit);
        let mut quotes = Quotes::new(self.delimiter);
        let (mut from, mut end) = (0, first);
        for lines in 1..=RECORD_LINES {
            quotes.line(&self.input.text()[from..end]);
            let ended = !quotes.open();
            let fields = quotes.fields + usize::from(!ended);
            let one_line = ended && lines == 1;
            let (few, many) = self.expected().map_or((false, false), |expected| {
                (fields < expected, fields > expected)
            });
            if !one_line && (quotes.stray || many || (ended && few)) {
                return Ok(None);
            }
            if ended {
                self.lines = lines;
                return Ok(Some((end, fields)));
            }
            from = end;
            match self.input.line(end, most.saturating_sub(end - first))? {
                Line::To(to) => end = to,
                Line::TooLong | Line::End => return Ok(None),
            }
        }
        Ok(None)
    }

    /// How many fields the header has.
    fn expected(&self) -> Option<usize> {
        self.columns.as_ref().map(Columns::len)
    }

    /// Takes a whole record apart, and tells how many fields it has.
    fn parse(&mut self, end: usize, fields: usize) -> usize {
        let record = &self.input.text()[..end];
        // Room to spare, for the parser asks for more before it sees that nothing comes.
        if self.text.len() <= end {
            self.text.resize(end + 1, 0);
        }
        if self.ends.len() <= fields {
            self.ends.resize(fields + 1, 0);
        }
        let (result, _, written, ended) =
            self.parser
                .read_record(record, &mut self.text, &mut self.ends);
        if result == ReadRecordResult::Record {
            return ended;
        }
        // The file ends without a line's end.
        let (text, ends) = (&mut self.text[written..], &mut self.ends[ended..]);
        ended + self.parser.read_record(&[], text, ends).3
    }

    fn fields(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends[..count])
            .map(|(from, &to)| &self.text[from..to])
    }

    /// Takes a record as the header, unless it is as empty as a blank line.
    fn read_header(&mut self, count: usize) -> Result<(), SourceError> {
        if self.binary {
            return Err(SourceError::Binary);
        }
        let mut names = Vec::with_capacity(count);
        for (at, field) in self.fields(count).enumerate() {
            let name = std::str::from_utf8(field)
                .map_err(|_| SourceError::CellNotUtf8(format!("{}", at + 1)))?;
            names.push(name.trim().to_owned());
        }
        if names.iter().all(String::is_empty) {
            return Ok(());
        }
        let columns = Columns::new(&names, &self.name);
        if !columns.any_known() {
            return Err(if self.guessed {
                SourceError::UnknownFormat
            } else {
                SourceError::NoKnownColumn
            });
        }
        self.columns = Some(columns);
        Ok(())
    }

    /// The record in hand as a lead; `None` where every field is empty.
    fn lead(&self, columns: &Columns, count: usize) -> Result<Option<Bytes>, SourceError> {
        let mut cells = Vec::with_capacity(count);
        for (at, field) in self.fields(count).enumerate() {
            let cell = std::str::from_utf8(field)
                .map_err(|_| SourceError::CellNotUtf8(columns.name(at).to_owned()))?;
            cells.push(cell.trim());
        }
        Ok(columns.lead(&cells).map(Bytes::from))
    }

    /// What comes of a record: nothing, for the header and for rows of empty cells.
    fn item(&mut self, record: io::Result<Record>) -> Result<Option<Bytes>, SourceError> {
        let header = self.columns.is_none();
        let result = match record {
            Ok(Record::End) => {
                self.ended = true;
                return Ok(None);
            }
            Err(error) => {
                self.ended = true;
                Err(SourceError::Read(error.to_string()))
            }
            Ok(Record::TooLong) => Err(SourceError::TooLong(self.limit)),
            Ok(Record::Stray) => Err(SourceError::StrayQuote),
            Ok(Record::Fields(found)) => Err(SourceError::Fields {
                expected: self.expected().unwrap_or_default(),
                found,
            }),
            Ok(Record::Read(count)) => match &self.columns {
                Some(columns) => self.lead(columns, count),
                None => self.read_header(count).map(|()| None),
            },
        };
        // Without its header the rest means nothing.
        self.ended |= header && result.is_err();
        result
    }
}

impl<R: BufRead> Iterator for Table<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while !self.ended {
            let record = self.read_record();
            if let Some(result) = self.item(record).transpose() {
                return Some(Item {
                    line: self.line,
                    element: None,
                    result,
                });
            }
        }
        None
    }
}

/// Reads up to the end of the first line that has something in it.
fn read_first_line(reader: &mut impl BufRead, into: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let room = HEADER_LOOK.saturating_sub(into.len() as u64);
        let read = reader.take(room).read_until(b'\n', into)?;
        if read == 0 || !into.trim_ascii().is_empty() {
            return Ok(());
        }
    }
}

/// The delimiter that the header has most of outside quotes; a comma where it has none.
fn delimiter(header: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for &byte in header {
        quoted ^= byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += u32::from(!quoted && byte == *delimiter);
        }
    }
    let most = counts.iter().map(|(_, count)| *count).max();
    counts
        .iter()
        .find(|(_, count)| Some(*count) == most)
        .map_or(b',', |(delimiter, _)| *delimiter)
}
