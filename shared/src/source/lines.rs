//! JSONL: one object a line.

use std::io::{self, BufRead, Read as _};

use bytes::Bytes;

use super::{Item, SourceError, check_object};

#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    limit: usize,
    line: u64,
    buffer: Vec<u8>,
    ended: bool,
}

enum Line {
    Read,
    TooLong,
    End,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            limit,
            line: 0,
            buffer: Vec::new(),
            ended: false,
        }
    }

    /// Reads one line into the buffer, or past one that is too long.
    fn read_line(&mut self) -> io::Result<Line> {
        self.buffer.clear();
        let most = self.limit as u64 + 1;
        let mut bounded = (&mut self.reader).take(most);
        if bounded.read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(Line::End);
        }
        self.line += 1;
        if self.buffer.ends_with(b"\n") || self.buffer.len() <= self.limit {
            return Ok(Line::Read);
        }
        self.buffer = Vec::new();
        self.reader.skip_until(b'\n')?;
        Ok(Line::TooLong)
    }
}

/// Whether a file's first line is of no text. A line of zero bytes alone is one bad line: that is
/// what a crash leaves of a log.
fn is_binary(first: &[u8]) -> bool {
    first.contains(&0) && std::str::from_utf8(first).is_err()
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        while !self.ended {
            let result = match self.read_line() {
                Ok(Line::Read) => {
                    let text = self.buffer.trim_ascii();
                    if text.is_empty() {
                        continue;
                    }
                    if self.line == 1 && is_binary(text) {
                        self.ended = true;
                        return Some(Item {
                            line: 1,
                            element: None,
                            result: Err(SourceError::Binary),
                        });
                    }
                    check_object(text, self.line).map(|()| Bytes::copy_from_slice(text))
                }
                Ok(Line::TooLong) => Err(SourceError::TooLong(self.limit)),
                Ok(Line::End) => {
                    self.ended = true;
                    return None;
                }
                Err(error) => {
                    self.ended = true;
                    self.line += 1;
                    Err(SourceError::Read(error.to_string()))
                }
            };
            return Some(Item {
                line: self.line,
                element: None,
                result,
            });
        }
        None
    }
}
