//! The console's log: a file a day, a week of them, in the user's state folder. The screen is not
//! the place for it. Only the user may read it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bridge_shared::log::writer::{FlushOnDrop, LogWriter};
use bridge_shared::log::{fields, level};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Files that are kept, one for each day on which there was something to write.
const DAYS: usize = 7;

/// A log that was started; what it holds is written when this is dropped.
pub(crate) struct Log {
    _flush: Option<FlushOnDrop>,
    /// What is wrong with `RUST_LOG`.
    pub(crate) wrong: Option<String>,
}

/// Starts the log at the level of `RUST_LOG`, or `info`; it is written until the guard is dropped.
/// A folder that cannot be written to leaves the console without a log, which hinders nobody.
pub(crate) fn start() -> Log {
    let (filter, wrong) = level::from_env();
    let Some(writer) = folder().and_then(|folder| {
        let file = Rolling::open(folder).ok()?;
        LogWriter::start(file, dropped).ok()
    }) else {
        return Log {
            _flush: None,
            wrong,
        };
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer.clone())
        .with_ansi(false)
        .log_internal_errors(false)
        .fmt_fields(fields())
        .init();
    if let Some(wrong) = &wrong {
        tracing::error!("{wrong}");
    }
    Log {
        _flush: Some(FlushOnDrop(writer)),
        wrong,
    }
}

/// The line that tells how many lines were dropped.
fn dropped(lines: u64) -> String {
    let now = Timestamp::now();
    format!("{now:.6}  WARN log lines dropped, the log could not be written lines={lines}")
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

/// A file a day, by UTC as the times in it.
struct Rolling {
    folder: PathBuf,
    day: Date,
    file: File,
}

fn today() -> Date {
    TimeZone::UTC.to_datetime(Timestamp::now()).date()
}

impl Rolling {
    fn open(folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let day = today();
        Ok(Self {
            file: begin(&folder, day)?,
            folder,
            day,
        })
    }
}

/// Opens the file of a day and removes those beyond the last week.
fn begin(folder: &Path, day: Date) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(folder.join(format!("bridge.{day}.log")))?;
    let mut old: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_log(path))
        .collect();
    old.sort();
    old.truncate(old.len().saturating_sub(DAYS));
    for path in old {
        // Another console may have removed it.
        let _ = std::fs::remove_file(path);
    }
    Ok(file)
}

/// Whether a file is named as the log of a day.
fn is_log(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let day = name.and_then(|name| name.strip_prefix("bridge.")?.strip_suffix(".log"));
    day.is_some_and(|day| day.parse::<Date>().is_ok())
}

impl Write for Rolling {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let day = today();
        if day != self.day {
            self.file = begin(&self.folder, day)?;
            self.day = day;
        }
        self.file.write(lines)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_week_of_logs_is_kept_for_the_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let mut log = Rolling::open(state.clone()).expect("a log");
        for day in 1..=9 {
            let name = format!("bridge.2026-01-0{day}.log");
            std::fs::write(state.join(name), "old").expect("written");
        }
        std::fs::write(state.join("bridge.toml"), "mine").expect("written");
        log.day = "2026-01-09".parse().expect("a day");
        log.write_all(b"new\n").expect("written");
        let mut names: Vec<String> = std::fs::read_dir(&state)
            .expect("there")
            .map(|entry| entry.expect("an entry").file_name().into_string())
            .collect::<Result<_, _>>()
            .expect("text");
        names.sort();
        let now = format!("bridge.{}.log", today());
        let kept = (4..=9).map(|day| format!("bridge.2026-01-0{day}.log"));
        let mut expected: Vec<String> = kept.chain([now.clone(), "bridge.toml".into()]).collect();
        expected.sort();
        assert_eq!(names, expected);
        assert_eq!(std::fs::read(state.join(&now)).expect("there"), b"new\n");
        let mode = |path: &Path| {
            let found = std::fs::metadata(path).expect("there").permissions();
            found.mode() & 0o777
        };
        assert_eq!((mode(&state), mode(&state.join(now))), (0o700, 0o600));
    }
}
