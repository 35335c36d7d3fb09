//! The signals that end or stop the console.
//!
//! They are blocked in every thread and taken by one thread that waits for them, so that they count
//! even if the console hangs in a write to its terminal. SIGTSTP keeps its default action, which no
//! handler can bring back: the console restores the terminal, and then lets the signal stop it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};
use tokio::sync::Notify;

use crate::terminal;

/// Time in which the console must have ended by itself: it restores the terminal, and a demo stops
/// what it started.
const PATIENCE: Duration = Duration::from_secs(8);
/// The signals that end the console.
const ENDS: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGHUP,
];

static END: Notify = Notify::const_new();
static STOP: Notify = Notify::const_new();
/// An editor has the terminal: ctrl-C is for the editor.
static EDITING: AtomicBool = AtomicBool::new(false);

/// Takes the signals from now on. Call it before any other thread starts: threads inherit what is
/// blocked. Programs that the console starts get the signals as usual.
///
/// # Errors
/// If the system has no thread left.
pub(crate) fn hold() -> io::Result<()> {
    let mut all = SigSet::from_iter(ENDS);
    all.add(Signal::SIGTSTP);
    all.thread_block()?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            while let Ok(signal) = all.wait() {
                take(signal);
            }
        })?;
    Ok(())
}

fn take(signal: Signal) {
    let editing = EDITING.load(Ordering::Relaxed);
    match signal {
        Signal::SIGTSTP if terminal::is_taken() => STOP.notify_one(),
        // It is raised in this thread alone, and fails only for a signal that does not exist.
        Signal::SIGTSTP => drop(stop_now()),
        Signal::SIGINT | Signal::SIGQUIT if editing => {}
        // The console ends when the editor does.
        _ if editing => END.notify_one(),
        _ => {
            if terminal::was_taken() {
                END.notify_one();
                // The process ends before that, if the console gets to it.
                std::thread::sleep(PATIENCE);
                terminal::abandon();
            }
            std::process::exit(128 + signal as i32);
        }
    }
}

/// Returns when a signal asks the console to end.
pub(crate) async fn end() {
    END.notified().await;
}

/// Returns when a signal asks the console to stop: to restore the terminal and [`stop_now`].
pub(crate) async fn stop() {
    STOP.notified().await;
}

/// Stops this process until it is continued, as SIGTSTP does: not if no shell could continue it.
///
/// # Errors
/// Those of the system calls.
pub(crate) fn stop_now() -> io::Result<()> {
    let stop = SigSet::from(Signal::SIGTSTP);
    stop.thread_unblock()?;
    let stopped = raise(Signal::SIGTSTP);
    stop.thread_block()?;
    Ok(stopped?)
}

/// Lets an editor have ctrl-C and ctrl-\ while this exists.
pub(crate) struct Editing(());

impl Editing {
    pub(crate) fn begin() -> Self {
        EDITING.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Editing {
    fn drop(&mut self) {
        EDITING.store(false, Ordering::Relaxed);
    }
}
