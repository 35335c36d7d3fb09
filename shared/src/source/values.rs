//! A JSON array, element by element, or JSON objects one after another.
//!
//! The scanner knows strings, escapes and depth, and nothing else of JSON: it finds where an
//! element ends, and whether the element is any good is found out afterwards.

use std::io::{self, BufRead};

use bytes::Bytes;

use super::{Item, SourceError, check_object, fill};

#[derive(Debug)]
pub(super) struct Values<R> {
    reader: R,
    limit: usize,
    /// The line of the next byte, from 1.
    line: u64,
    /// Elements of the array so far.
    elements: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the bracket of an array.
    Open,
    /// Before the first element.
    First,
    /// After a comma.
    Next,
    /// After the array's end.
    After,
    /// Between objects one after another.
    Sequence,
    /// The array has no end; only that is left to say.
    Truncated,
    Ended,
}

/// What ended an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Comma,
    Close,
    /// The value itself, where values just follow each other.
    Value,
    File,
}

/// A piece of the file up to the end of an element.
struct Piece {
    line: u64,
    bytes: Vec<u8>,
    too_long: bool,
    end: End,
}

/// Where in JSON's structure the scan is.
#[derive(Default)]
struct Scan {
    sequence: bool,
    depth: usize,
    string: bool,
    escape: bool,
}

impl Scan {
    fn step(&mut self, byte: u8) -> Option<End> {
        if self.string {
            // A string cannot hold a line's end, so a missing quote spoils one line and no more.
            if byte == b'\n' || (byte == b'"' && !self.escape) {
                self.string = false;
            }
            self.escape = byte == b'\\' && !self.escape;
            return None;
        }
        match byte {
            b'"' => {
                self.string = true;
                self.escape = false;
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth > 0 => {
                self.depth -= 1;
                return (self.sequence && self.depth == 0).then_some(End::Value);
            }
            b']' if !self.sequence => return Some(End::Close),
            b',' if !self.sequence && self.depth == 0 => return Some(End::Comma),
            b'\n' if self.sequence && self.depth == 0 => return Some(End::Value),
            _ => {}
        }
        None
    }
}

impl<R: BufRead> Values<R> {
    pub(super) fn array(reader: R, limit: usize) -> Self {
        Self::new(reader, limit, State::Open)
    }

    pub(super) fn sequence(reader: R, limit: usize) -> Self {
        Self::new(reader, limit, State::Sequence)
    }

    fn new(reader: R, limit: usize, state: State) -> Self {
        Self {
            reader,
            limit,
            line: 1,
            elements: 0,
            state,
        }
    }

    /// Goes to the next byte that is not blank, and looks at it.
    fn skip_blank(&mut self) -> io::Result<Option<u8>> {
        loop {
            let chunk = fill(&mut self.reader)?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let blank = chunk
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let next = chunk.get(blank).copied();
            self.line += lines_in(&chunk[..blank]);
            self.reader.consume(blank);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Reads up to the end of an element; what ends it is taken and not part of it.
    fn piece(&mut self) -> io::Result<Piece> {
        self.skip_blank()?;
        let mut scan = Scan {
            sequence: self.state == State::Sequence,
            ..Scan::default()
        };
        let mut piece = Piece {
            line: self.line,
            bytes: Vec::new(),
            too_long: false,
            end: End::File,
        };
        loop {
            let chunk = fill(&mut self.reader)?;
            if chunk.is_empty() {
                return Ok(piece);
            }
            let found = chunk
                .iter()
                .enumerate()
                .find_map(|(at, &byte)| scan.step(byte).map(|end| (at, end)));
            let taken = found.map_or(chunk.len(), |(at, _)| at + 1);
            let kept = match found {
                Some((at, End::Comma | End::Close)) => &chunk[..at],
                _ => &chunk[..taken],
            };
            piece.add(kept, self.limit);
            self.line += lines_in(&chunk[..taken]);
            self.reader.consume(taken);
            if let Some((_, end)) = found {
                piece.end = end;
                return Ok(piece);
            }
        }
    }

    /// One element of the array, and what comes after it.
    fn element(&mut self) -> io::Result<Option<Item>> {
        let first = self.state == State::First;
        let piece = self.piece()?;
        self.state = match piece.end {
            End::Comma | End::Value => State::Next,
            End::Close => State::After,
            End::File => State::Truncated,
        };
        if piece.is_empty() {
            return Ok(match piece.end {
                End::Close if first => None,
                End::File => None,
                _ => Some(self.numbered(bad(
                    piece.line,
                    SourceError::NotJson("there is a comma too many".into()),
                ))),
            });
        }
        let line = piece.line;
        let end = piece.end;
        let item = self.numbered(piece.into_item(self.limit));
        if end == End::File && item.result.is_err() {
            self.state = State::Ended;
            return Ok(Some(bad(line, SourceError::Truncated)));
        }
        Ok(Some(item))
    }

    fn numbered(&mut self, item: Item) -> Item {
        self.elements += 1;
        Item {
            element: Some(self.elements),
            ..item
        }
    }

    fn after(&mut self) -> io::Result<Option<Item>> {
        self.state = State::Ended;
        let more = self.skip_blank()?.is_some();
        Ok(more.then(|| bad(self.line, SourceError::AfterArray)))
    }

    fn one_of_sequence(&mut self) -> io::Result<Option<Item>> {
        if self.skip_blank()?.is_none() {
            self.state = State::Ended;
            return Ok(None);
        }
        Ok(Some(self.piece()?.into_item(self.limit)))
    }

    fn step(&mut self) -> io::Result<Option<Item>> {
        match self.state {
            State::Open => {
                self.skip_blank()?;
                self.reader.consume(1);
                self.state = State::First;
                Ok(None)
            }
            State::First | State::Next => self.element(),
            State::After => self.after(),
            State::Sequence => self.one_of_sequence(),
            State::Truncated => {
                self.state = State::Ended;
                Ok(Some(bad(self.line, SourceError::Truncated)))
            }
            State::Ended => Ok(None),
        }
    }
}

impl<R: BufRead> Iterator for Values<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while self.state != State::Ended {
            match self.step() {
                Ok(None) => {}
                Ok(item) => return item,
                Err(error) => {
                    self.state = State::Ended;
                    return Some(bad(self.line, SourceError::Read(error.to_string())));
                }
            }
        }
        None
    }
}

impl Piece {
    fn add(&mut self, bytes: &[u8], limit: usize) {
        if self.too_long || self.bytes.len() + bytes.len() > limit {
            self.too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn is_empty(&self) -> bool {
        !self.too_long && self.bytes.trim_ascii().is_empty()
    }

    fn into_item(self, limit: usize) -> Item {
        let text = self.bytes.trim_ascii();
        let result = if self.too_long {
            Err(SourceError::TooLong(limit))
        } else {
            check_object(text, self.line).map(|()| Bytes::copy_from_slice(text))
        };
        Item {
            line: self.line,
            element: None,
            result,
        }
    }
}

fn bad(line: u64, error: SourceError) -> Item {
    Item {
        line,
        element: None,
        result: Err(error),
    }
}

pub(super) fn lines_in(bytes: &[u8]) -> u64 {
    // A line's length of bytes at a time: nothing that a faster count would show in.
    #[allow(clippy::naive_bytecount)]
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    lines as u64
}
