//! Wrong clocks: a library between a worker and the system that shifts the time of day.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Makes a program see a time of day that is so many seconds wrong. Its monotonic clock is right:
/// no system's is wrong.
pub fn shift(program: &mut Command, seconds: i64) {
    if seconds != 0 {
        program
            .env("LD_PRELOAD", library())
            .env("CHECKER_SHIFT", seconds.to_string());
    }
}

/// Built once for each run of the tests, with the compiler that links Rust programs as well.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/checker/shift.c");
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
fn a_shifted_program_sees_another_day() {
    let day = |seconds: i64| -> i64 {
        let mut date = Command::new("date");
        shift(date.arg("+%s"), seconds);
        let said = date.output().expect("it runs").stdout;
        let said = String::from_utf8(said).expect("digits");
        said.trim().parse().expect("a number")
    };
    let late = day(86_400) - day(0);
    assert!((86_400..86_500).contains(&late), "{late}");
}
