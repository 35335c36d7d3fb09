//! Lines that can be looked at before they are taken.

use std::io::{self, BufRead};

use super::fill;

/// The most that is taken from the reader at a time, in bytes.
const CHUNK: usize = 64 << 10;
/// A buffer that grew beyond this for one long line is given back, in bytes.
const KEPT: usize = 4 << 20;

/// A reader with what was looked at and not taken yet. A line ends with `\n`, `\r` or both.
#[derive(Debug)]
pub(super) struct Ahead<R> {
    reader: R,
    held: Vec<u8>,
    /// Where in `held` the bytes begin that are not taken.
    from: usize,
}

/// What was found of a line.
pub(super) enum Line {
    /// It goes up to here, its end included; counted from the first byte not taken.
    To(usize),
    TooLong,
    /// There is none.
    End,
}

impl<R: BufRead> Ahead<R> {
    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            held: Vec::new(),
            from: 0,
        }
    }

    /// What was looked at and not taken.
    pub(super) fn text(&self) -> &[u8] {
        &self.held[self.from..]
    }

    /// Looks at the line that begins `at` bytes ahead, and holds no more than about `most` bytes
    /// of it.
    pub(super) fn line(&mut self, at: usize, most: usize) -> io::Result<Line> {
        let mut seen = at;
        loop {
            if let Some(n) = line_end(&self.text()[seen..]) {
                let end = seen + n;
                return Ok(if end - at > most {
                    Line::TooLong
                } else {
                    Line::To(end + self.end_length(end)?)
                });
            }
            seen = self.text().len();
            if seen - at > most {
                return Ok(Line::TooLong);
            }
            if !self.more()? {
                return Ok(if seen == at {
                    Line::End
                } else {
                    Line::To(seen)
                });
            }
        }
    }

    /// The length of the line's end that begins there.
    fn end_length(&mut self, end: usize) -> io::Result<usize> {
        if self.text()[end] == b'\n' {
            return Ok(1);
        }
        if self.text().len() == end + 1 {
            self.more()?;
        }
        Ok(1 + usize::from(self.text().get(end + 1) == Some(&b'\n')))
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.from += bytes;
    }

    /// Takes a line of any length, and holds none of it.
    pub(super) fn skip_line(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = line_end(self.text()) {
                let bytes = end + self.end_length(end)?;
                self.take(bytes);
                return Ok(());
            }
            self.from = self.held.len();
            if !self.more()? {
                return Ok(());
            }
        }
    }

    /// Looks further; `false` at the end of the file.
    fn more(&mut self) -> io::Result<bool> {
        // Only where at least half is done with, so that a byte is moved once on the average.
        if self.from > self.held.len() / 2 {
            self.held.drain(..self.from);
            self.from = 0;
            if self.held.capacity() > KEPT && self.held.len() < CHUNK {
                self.held.shrink_to(CHUNK);
            }
        }
        let chunk = fill(&mut self.reader)?;
        let bytes = chunk.len().min(CHUNK);
        self.held.extend_from_slice(&chunk[..bytes]);
        self.reader.consume(bytes);
        Ok(bytes > 0)
    }
}

fn line_end(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| matches!(byte, b'\n' | b'\r'))
}
