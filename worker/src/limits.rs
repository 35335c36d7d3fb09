//! How many files this process may have open at once.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limits that this process was started with, if they were raised.
static GIVEN: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of open files to the hard one: the usual 1,024 are too few for a thousand
/// leads at once, and the soft limit only protects programs that use `select`.
pub(crate) fn raise() {
    let given = getrlimit(Resource::Nofile);
    if given.current == given.maximum {
        return;
    }
    let raised = Rlimit {
        current: given.maximum,
        maximum: given.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_ok() {
        let _ = GIVEN.set(given);
    }
}

/// Gives a program the limits that this process was given: a program may use `select`, or close every
/// file there could be.
#[cfg(target_os = "linux")]
pub(crate) fn restore(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    if let (Some(given), Some(pid)) = (GIVEN.get(), pid.and_then(rustix::process::Pid::from_raw)) {
        // Fails if it has ended already.
        let _ = rustix::process::prlimit(Some(pid), Resource::Nofile, *given);
    }
}

/// No system but Linux lets one process set the limits of another.
#[cfg(not(target_os = "linux"))]
pub(crate) fn restore(_: Option<u32>) {}
