//! A disk that is really full: a small one of Redis' own, which can be filled to its last byte.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::plan::{Act, Kind, Plan, Sinks, Step, ms};
use crate::run::run;
use crate::tell;

/// Room for all that a run writes.
const SIZE: &str = "size=64m";
/// What takes the room away.
const FILLER: &str = "filler";

/// A small disk. Gone when dropped.
pub struct Disk(TempDir);

impl Disk {
    /// Mounts one; `None`, and a word about it that no test runner keeps to itself, where this user
    /// may not.
    pub fn mount() -> Option<Self> {
        let folder = TempDir::with_prefix("bridge-disk-").expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no disk is really full: this user may not mount one (root may)"
        );
        None
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room there is.
    pub fn fill(&self) {
        let mut filler = File::create(self.folder().join(FILLER)).expect("a file");
        let zeros = [0; 4_096];
        let full = loop {
            if let Err(error) = filler.write_all(&zeros) {
                break error.kind();
            }
        };
        assert_eq!(full, ErrorKind::StorageFull);
    }

    /// Gives it back.
    pub fn clear(&self) {
        std::fs::remove_file(self.folder().join(FILLER)).expect("it was there");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, as whoever wrote to it may take a moment to end.
        let _ = Command::new("umount").arg("-l").arg(self.folder()).status();
    }
}

/// The disk of the append-only file is full, and has room again, twice.
fn plan(kind: Kind) -> Plan {
    let full = Step {
        after: ms(700),
        act: Act::DiskFull(ms(1_200)),
    };
    Plan {
        kind,
        lease: Duration::from_secs(4),
        shutdown: ms(3_000),
        clocks: vec![0; 3],
        workers: 3,
        sinks: Sinks::Stream,
        tracks: vec![vec![full; 2]],
        ..Plan::new(1)
    }
}

fn nothing_is_lost(kind: Kind) {
    // Asked for here too, so that where there is none the test says so and ends.
    if Disk::mount().is_none() {
        return;
    }
    let plan = plan(kind);
    let outcome = run(&plan, None);
    tell(&plan, &outcome);
    let full = outcome.recoveries.iter();
    let full: Vec<_> = full
        .filter(|fault| fault.name == "disk full, AOF")
        .collect();
    for fault in &full {
        println!("lasted {:.2?}, back after {:.2?}", fault.lasted, fault.back);
    }
    assert_eq!(full.len(), 2);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
}

#[test]
fn a_full_disk_that_ends_redis_loses_nothing_and_doubles_nothing() {
    nothing_is_lost(Kind::Always);
}

#[test]
fn a_full_disk_that_makes_redis_refuse_writes_loses_nothing_and_doubles_nothing() {
    nothing_is_lost(Kind::EverySecond);
}
