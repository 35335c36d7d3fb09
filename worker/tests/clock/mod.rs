//! Wrong clocks: a library between a program and the system that shifts the time of day.

#![allow(dead_code, unreachable_pub)] // As in `common`.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use tempfile::NamedTempFile;

/// A clock that is so many seconds wrong, and can be moved while programs look at it. Their monotonic
/// clock is right: no system's is wrong.
#[derive(Debug)]
pub struct Clock {
    file: NamedTempFile,
    seconds: AtomicI64,
}

impl Clock {
    pub fn new(seconds: i64) -> Self {
        let file = NamedTempFile::with_prefix("bridge-clock-").expect("a file");
        let clock = Self {
            file,
            seconds: AtomicI64::new(0),
        };
        clock.step(seconds);
        clock
    }

    /// Moves it so many seconds forward, or back.
    pub fn step(&self, seconds: i64) {
        let now = self.seconds.fetch_add(seconds, Ordering::SeqCst) + seconds;
        let file = self.file.as_file();
        file.write_all_at(&now.to_ne_bytes(), 0).expect("written");
    }

    /// What a program that looks at it needs in its environment.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
        [
            ("LD_PRELOAD", path(library())),
            ("CHECKER_SHIFT", path(self.file.path())),
        ]
    }
}

/// Built once for each run of the tests, with the compiler that links Rust programs as well.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clock/shift.c");
        let fresh = folder.join(format!("shift-{}.so", std::process::id()));
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([fresh.as_path(), Path::new(source)])
            .status();
        assert!(built.is_ok_and(|status| status.success()), "cc builds it");
        let library = folder.join("shift.so");
        std::fs::rename(fresh, &library).expect("in the same folder");
        library
    })
}

#[test]
fn a_program_sees_the_day_that_its_clock_shows() {
    let day = |clock: Option<&Clock>| -> i64 {
        let mut date = Command::new("date");
        date.arg("+%s")
            .envs(clock.map(Clock::environment).into_iter().flatten());
        let said = date.output().expect("it runs").stdout;
        let said = String::from_utf8(said).expect("digits");
        said.trim().parse().expect("a number")
    };
    let clock = Clock::new(86_400);
    let late = day(Some(&clock)) - day(None);
    assert!((86_400..86_500).contains(&late), "{late}");
    clock.step(-172_800);
    let early = day(Some(&clock)) - day(None);
    assert!((-86_400..-86_300).contains(&early), "{early}");
}
