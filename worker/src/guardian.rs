//! Kills the programs of `exec` stations if the worker dies without a chance to: `kill -9`, the OOM
//! killer, an abort.
//!
//! A second process of this binary hears by a pipe which process groups run. The pipe ends when the
//! worker ends, in whatever way; then the guardian kills the groups that still run, and ends too.
//! `PR_SET_PDEATHSIG` would only reach the program itself, not what it started.
//!
//! The same list tells the worker's children from orphans, which a worker that is PID 1 reaps.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, BufRead as _};
use std::os::fd::OwnedFd;
use std::process::{ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, waitid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// The only argument of a guardian, and its name in the list of processes: a `pkill` of the worker by
/// its name does not hit both.
const NAME: &str = "exec-guardian";
/// Time between two attempts to start a guardian.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two looks for orphans.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

static STATE: Mutex<State> = Mutex::new(State {
    pipe: None,
    tried: None,
    groups: BTreeSet::new(),
    children: BTreeSet::new(),
});

#[derive(Debug)]
struct State {
    /// Where the guardian hears of groups.
    pipe: Option<OwnedFd>,
    /// When a guardian was last started, or could not be.
    tried: Option<Instant>,
    /// The process groups to be killed.
    groups: BTreeSet<u32>,
    /// Children that have ended are reaped by whoever waits for them.
    children: BTreeSet<u32>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program in a process group of its own, which ends with the worker at the latest.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    // Held until the child is known, so that it is never taken for an orphan.
    let mut state = state();
    if state.pipe.is_none() {
        state.start();
    }
    let child = command.process_group(0).spawn()?;
    if let Some(pid) = child.id() {
        state.groups.insert(pid);
        state.children.insert(pid);
        if !state.tell(&format!("+{pid}\n")) {
            state.start();
        }
    }
    Ok(child)
}

/// A process group was killed.
pub(crate) fn killed(pid: u32) {
    let mut state = state();
    state.groups.remove(&pid);
    state.tell(&format!("-{pid}\n"));
}

/// A child was waited for.
pub(crate) fn reaped(pid: u32) {
    state().children.remove(&pid);
}

impl State {
    /// Tells the guardian of a group; returns whether it heard.
    fn tell(&mut self, line: &str) -> bool {
        let heard = self.pipe.as_ref().is_some_and(|pipe| {
            // The pipe is non-blocking, and takes so short a line whole or not at all.
            rustix::io::write(pipe, line.as_bytes()).is_ok_and(|n| n == line.len())
        });
        if !heard {
            self.pipe = None;
        }
        heard
    }

    /// Starts a guardian that knows of all groups.
    fn start(&mut self) {
        // A test has no program that could be one.
        if cfg!(test) || self.tried.is_some_and(|at| at.elapsed() < RETRY_INTERVAL) {
            return;
        }
        self.tried = Some(Instant::now());
        if let Err(error) = self.started() {
            self.pipe = None;
            tracing::warn!(
                "cannot start the guardian of exec programs, which ends them if this worker is \
                 killed: {error}"
            );
        }
    }

    fn started(&mut self) -> io::Result<()> {
        let mut guardian = Command::new("/proc/self/exe");
        if !std::path::Path::new("/proc/self/exe").exists() {
            guardian = Command::new(std::env::current_exe()?);
        }
        let mut guardian = guardian
            .arg0(NAME)
            .arg(NAME)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pid = guardian.id();
        self.children.extend(pid);
        let stdin = guardian.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        self.pipe = Some(stdin.into_owned_fd()?);
        tokio::spawn(async move {
            let _ = guardian.wait().await;
            if let Some(pid) = pid {
                reaped(pid);
            }
            // Somebody killed it. One that was started a moment ago may be killed again.
            if !replaced() {
                tokio::time::sleep(RETRY_INTERVAL).await;
                replaced();
            }
        });
        for pid in self.groups.clone() {
            if !self.tell(&format!("+{pid}\n")) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

/// Starts a guardian unless there is one; returns whether there is one.
fn replaced() -> bool {
    let mut state = state();
    if !state.tell("\n") {
        state.start();
    }
    state.pipe.is_some()
}

/// Is the guardian, if the command line says so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(NAME)) || arguments.next().is_some() {
        return None;
    }
    // Signals to all processes of the worker are not for the guardian: it goes last.
    let _ = SigSet::all().thread_block();
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"exec-guardian");
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line
            .split_at_checked(1)
            .map(|(sign, pid)| (sign, pid.parse::<i32>()))
        {
            Some(("+", Ok(pid))) => groups.insert(pid),
            Some(("-", Ok(pid))) => groups.remove(&pid),
            _ => false,
        };
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        // Fails if nothing of the group is left.
        let _ = kill_process_group(group, Signal::KILL);
    }
    Some(ExitCode::SUCCESS)
}

/// Reaps orphans for as long as the worker runs, if they fall to it: as PID 1 of a container without
/// an init, or as the subreaper that something made it.
pub(crate) async fn reap_orphans() {
    if !is_reaper() {
        return;
    }
    let Ok(mut ended) = signal(SignalKind::child()) else {
        return;
    };
    loop {
        reap();
        ended.recv().await;
        tokio::time::sleep(REAP_INTERVAL).await;
    }
}

#[cfg(target_os = "linux")]
fn is_reaper() -> bool {
    getpid().is_init() || rustix::process::child_subreaper().is_ok_and(|set| set.is_some())
}

#[cfg(not(target_os = "linux"))]
fn is_reaper() -> bool {
    getpid().is_init()
}

/// Reaps the orphans that have ended. The children of the worker's own are left to tokio, which waits
/// for them: taking their status away would lose it.
fn reap() {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return;
    };
    let own = getpid().as_raw_nonzero().get();
    for process in processes.flatten() {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        if !is_zombie_of(&stat, own) {
            continue;
        }
        let state = state();
        if !state
            .children
            .contains(&pid.as_raw_nonzero().get().unsigned_abs())
        {
            let _ = waitid(
                WaitId::Pid(pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            );
        }
    }
}

/// Whether a process has ended and waits for this parent, as its `/proc/<pid>/stat` says. Its name
/// stands in brackets, and may hold some itself (`proc_pid_stat(5)`).
fn is_zombie_of(stat: &str, parent: i32) -> bool {
    let Some((_, fields)) = stat.rsplit_once(')') else {
        return false;
    };
    let mut fields = fields.split_ascii_whitespace();
    fields.next() == Some("Z") && fields.next().and_then(|pid| pid.parse().ok()) == Some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zombie_is_known_whatever_its_name() {
        for (stat, is) in [
            ("12 (sh) Z 1 12 12 0", true),
            ("12 (a) S 2 () Z 1 12", true),
            ("12 (sh) S 1 12 12 0", false),
            ("12 (sh) Z 7 12 12 0", false),
            ("", false),
        ] {
            assert_eq!(is_zombie_of(stat, 1), is, "{stat}");
        }
    }
}
