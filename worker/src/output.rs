//! Standard output of the commands.

use std::io::{self, ErrorKind, Write as _};

/// Prints a text. A reader that has gone, as `head` does when it has seen enough, is no error.
///
/// # Errors
/// One line that says why it cannot be printed.
pub(crate) fn print(text: &str) -> Result<(), String> {
    printed(std::io::stdout().write_all(text.as_bytes()))
}

/// What came of printing something.
///
/// # Errors
/// One line that says why it cannot be printed.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), String> {
    match result.and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("cannot print: {error}")),
    }
}
