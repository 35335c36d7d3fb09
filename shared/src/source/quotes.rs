//! Where a CSV record ends: whether a line leaves a quote open, as the parser sees it.
//!
//! One thing is seen more strictly than by the parser: a quote that closes in another line than
//! it opened in ends its field. Where it does not, one of the two is a stray quote.

/// A record as far as it was looked at.
#[derive(Debug)]
pub(super) struct Quotes {
    delimiter: u8,
    state: State,
    /// Fields that have ended.
    pub(super) fields: usize,
    /// The quote in hand opened in an earlier line.
    crossed: bool,
    /// There is a quote that cannot be meant.
    pub(super) stray: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At a field's first byte.
    Start,
    Plain,
    Quoted,
    /// After a quote within a quoted field: its end, or the first of two.
    Quote,
    /// After a quoted field's end and a blank.
    Blank,
}

impl Quotes {
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::Start,
            fields: 0,
            crossed: false,
            stray: false,
        }
    }

    /// Whether the record goes on in the next line.
    pub(super) fn open(&self) -> bool {
        self.state == State::Quoted
    }

    /// Looks at the record's next line, with its end.
    pub(super) fn line(&mut self, line: &[u8]) {
        if !line.contains(&b'"') {
            self.line_without(line);
            return;
        }
        for &byte in line {
            self.step(byte);
        }
        if self.open() {
            self.crossed = true;
        } else {
            self.fields += 1;
        }
    }

    /// The same where it has no quote, as most have not.
    fn line_without(&mut self, line: &[u8]) {
        if self.open() {
            self.crossed = true;
            return;
        }
        let delimiter = self.delimiter;
        self.fields += line.split(|&byte| byte == delimiter).count();
        self.state = State::Plain;
    }

    fn step(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote, b'"') => State::Quoted,
            (_, byte) if byte == self.delimiter => {
                self.fields += 1;
                State::Start
            }
            (State::Start, b'"') => {
                self.crossed = false;
                State::Quoted
            }
            // The line's end: there is none within a line.
            (state, b'\r' | b'\n') => state,
            (State::Quote | State::Blank, b' ' | b'\t') => State::Blank,
            (State::Quote | State::Blank, _) => {
                self.stray |= self.crossed;
                State::Plain
            }
            (State::Start | State::Plain, _) => State::Plain,
        };
    }
}
