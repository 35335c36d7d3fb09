//! The console's log: a file a day, a week of them, in the user's state folder. The screen is not
//! the place for it.

use std::path::PathBuf;

use tracing_appender::non_blocking::WorkerGuard;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::EnvFilter;

/// Files that are kept, one for each day on which there was something to write.
const DAYS: usize = 7;

/// Starts the log at the level of `RUST_LOG`, or `info`; it is written until the guard is dropped.
/// A folder that cannot be written to leaves the console without a log, which hinders nobody.
pub(crate) fn start() -> Option<WorkerGuard> {
    let folder = folder()?;
    // Where it is not there yet, looking for old files in it complains on the terminal.
    std::fs::create_dir_all(&folder).ok()?;
    let file = RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("bridge")
        .filename_suffix("log")
        .max_log_files(DAYS)
        .build(folder)
        .ok()?;
    let (writer, guard) = tracing_appender::non_blocking(file);
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .fmt_fields(bridge_shared::log::fields())
        .init();
    Some(guard)
}

/// `$XDG_STATE_HOME/redis-bridge`, or `~/.local/state/redis-bridge`. Source: the XDG Base Directory
/// Specification 0.8.
pub(crate) fn folder() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state = set("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
    let state = state.or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("redis-bridge"))
}
