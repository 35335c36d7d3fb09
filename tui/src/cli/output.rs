//! How commands speak: harmless text for people, JSON for scripts, and a status to branch on.

use crate::export::ExportError;
use std::io::Write as _;
use std::process::ExitCode;

use bridge_shared::terminal::{harmless, harmless_json};
use serde::Serialize;

/// Why a command failed, in one line that says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Redis.
    #[error("{0}")]
    Store(#[from] bridge_shared::store::StoreError),
    /// The configuration.
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    /// The output could not be written.
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
    /// Anything else, in words.
    #[error("{0}")]
    Said(String),
}

impl From<ExportError> for CommandError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => Self::Store(error),
            ExportError::Io(error) => Self::Io(error),
        }
    }
}

impl CommandError {
    /// Whether the reader of the output has gone, as `head` does: nothing to complain about.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Prints a line.
///
/// # Errors
/// Where standard output cannot be written to.
pub(crate) fn line(text: &str) -> Result<(), CommandError> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// What came of printing a summary of work that is done: if its reader has gone, the status of the
/// command is still that of the work.
///
/// # Errors
/// If standard output cannot be written to for any other reason.
pub(crate) fn summary(printed: Result<(), CommandError>) -> Result<(), CommandError> {
    printed.or_else(|error| {
        if error.is_broken_pipe() {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Prints a line on standard error. If that cannot be written to there is no other place to say so.
pub(crate) fn error_line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints why a command failed.
pub(crate) fn complain(message: &str) {
    error_line(&format!("bridge: {}", harmless(message)));
}

/// Prints what is wrong with a command line, or the help that it asks for; returns the status.
pub(crate) fn usage(said: &clap::Error) -> ExitCode {
    let printed = said
        .print()
        .and_then(|()| std::io::stdout().flush())
        .map_err(CommandError::from);
    match summary(printed) {
        _ if said.use_stderr() => ExitCode::from(2),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Prints a value as one line of JSON.
///
/// # Errors
/// Where standard output cannot be written to.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string(value).expect("plain values are JSON");
    line(&harmless_json(text))
}
