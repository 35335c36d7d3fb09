//! As much of the Redis protocol as the proxy needs: commands, which are lists of texts.

use std::ops::Range;

/// Finds the first whole command; returns its length and where its words are. `None` where more is
/// still to come.
pub fn command(bytes: &[u8]) -> Option<(usize, Vec<Range<usize>>)> {
    let (mut at, words) = number(bytes, 0, b'*')?;
    let mut found = Vec::with_capacity(words);
    for _ in 0..words {
        let (start, length) = number(bytes, at, b'$')?;
        at = start + length + 2;
        if at > bytes.len() {
            return None;
        }
        found.push(start..start + length);
    }
    Some((at, found))
}

/// Reads `*3\r\n` or `$3\r\n`; returns where the next begins, and the number.
fn number(bytes: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let line = bytes.get(at..)?;
    let end = line.windows(2).position(|two| two == b"\r\n")?;
    assert_eq!(line[0], mark, "a driver sends lists of texts");
    let text = std::str::from_utf8(&line[1..end]).expect("a number");
    Some((at + end + 2, text.parse().expect("a number")))
}

/// Writes a command.
pub fn encode(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}
