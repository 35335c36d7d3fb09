//! CSV, record by record, each bounded in memory.

use std::io::{self, BufRead, Chain, Cursor, Read as _};

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::columns::Columns;
use super::{Item, SourceError, fill};

/// How far the header is looked at to find the delimiter, in bytes.
const HEADER_LOOK: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Table<R> {
    reader: Chain<Cursor<Vec<u8>>, R>,
    parser: Reader,
    name: String,
    limit: usize,
    /// Nobody said that this is CSV.
    guessed: bool,
    columns: Option<Columns>,
    /// Where the record in hand begins.
    line: u64,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// The failure to read the first line, told with the first record.
    failed: Option<io::Error>,
    ended: bool,
}

enum Record {
    /// With this many fields.
    Read(usize),
    TooLong,
    End,
}

impl<R: BufRead> Table<R> {
    pub(super) fn new(mut reader: R, name: &str, limit: usize, tabs: bool, guessed: bool) -> Self {
        let mut first = Vec::new();
        let failed = read_first_line(&mut reader, &mut first).err();
        let delimiter = if tabs { b'\t' } else { delimiter(&first) };
        Self {
            reader: Cursor::new(first).chain(reader),
            parser: ReaderBuilder::new().delimiter(delimiter).build(),
            name: name.to_owned(),
            limit,
            guessed,
            columns: None,
            line: 1,
            text: vec![0; 4096],
            ends: vec![0; 64],
            failed,
            ended: false,
        }
    }

    /// Reads one record into `text` and `ends`, or past one that is too long.
    fn read_record(&mut self) -> io::Result<Record> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.skip_empty_lines()?;
        self.line = self.parser.line();
        let (mut written, mut fields, mut too_long) = (0, 0, false);
        loop {
            let chunk = fill(&mut self.reader)?;
            let (result, read, wrote, ended) =
                self.parser
                    .read_record(chunk, &mut self.text[written..], &mut self.ends[fields..]);
            self.reader.consume(read);
            written += wrote;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                // What is too long is written over and over into the same place.
                ReadRecordResult::OutputFull if too_long || self.text.len() >= self.limit => {
                    (too_long, written) = (true, 0);
                }
                ReadRecordResult::OutputFull => {
                    let room = (self.text.len() * 2).min(self.limit);
                    self.text.resize(room, 0);
                }
                ReadRecordResult::OutputEndsFull if too_long || self.ends.len() >= self.limit => {
                    (too_long, fields) = (true, 0);
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record if too_long => return Ok(Record::TooLong),
                ReadRecordResult::Record => return Ok(Record::Read(fields)),
                ReadRecordResult::End => return Ok(Record::End),
            }
        }
    }

    /// The parser skips empty lines too, but would count them to the record after them.
    fn skip_empty_lines(&mut self) -> io::Result<()> {
        loop {
            let chunk = fill(&mut self.reader)?;
            let empty = chunk
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            let all = empty == chunk.len();
            let lines = super::values::lines_in(&chunk[..empty]);
            self.parser.set_line(self.parser.line() + lines);
            let at_end = chunk.is_empty();
            self.reader.consume(empty);
            if at_end || !all {
                return Ok(());
            }
        }
    }

    fn fields(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends[..count])
            .map(|(from, &to)| &self.text[from..to])
    }

    /// Takes a record as the header, unless it is as empty as a blank line.
    fn read_header(&mut self, count: usize) -> Result<(), SourceError> {
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
        if self.guessed && !columns.any_known() {
            return Err(SourceError::UnknownFormat);
        }
        self.columns = Some(columns);
        Ok(())
    }

    /// The record in hand as a lead; `None` where every field is empty.
    fn lead(&self, columns: &Columns, count: usize) -> Result<Option<Bytes>, SourceError> {
        if count != columns.len() {
            return Err(SourceError::Fields {
                expected: columns.len(),
                found: count,
            });
        }
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
