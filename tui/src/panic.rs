//! What a panic, which is a bug of ours, leaves behind: a terminal as it was, a report that can be
//! read, and the same in the log.

use std::sync::mpsc;
use std::time::Duration;

use crate::cli::output::error_line;
use crate::{log, terminal};

/// Time that a terminal, or whatever else takes the report, gets to take it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Installs what happens on a panic or an error that nobody expected: the terminal is given back
/// first, then the report is printed.
///
/// # Errors
/// Where another one is installed already.
pub(crate) fn install() -> color_eyre::Result<()> {
    let written = log::folder().map_or_else(String::new, |folder| {
        format!(" What led to it may be in its log: {}.", folder.display())
    });
    let (panics, errors) = color_eyre::config::HookBuilder::default()
        .panic_section(format!(
            "This is a bug in the bridge. No lead is lost by it: they are all in Redis.{written}"
        ))
        .into_hooks();
    errors.install()?;
    // The library's own hook panics if the report cannot be written, which ends the process with a
    // core dump, and the leads that the console shows in it.
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        let report = panics.panic_report(panic).to_string();
        let (written, done) = mpsc::channel();
        let write = move || {
            terminal::give_back();
            error_line(&report);
            let _ = written.send(());
        };
        if std::thread::Builder::new().spawn(write).is_ok() {
            let _ = done.recv_timeout(PATIENCE);
        }
    }));
    Ok(())
}

/// Panics where `BRIDGE_TEST_PANIC` names this place. It is how the tests see what a panic leaves
/// behind; a release build knows nothing of it.
#[cfg(debug_assertions)]
pub(crate) fn if_asked_for(place: &str) {
    let asked = std::env::var("BRIDGE_TEST_PANIC");
    assert!(
        asked.as_deref() != Ok(place),
        "asked for by BRIDGE_TEST_PANIC={place}"
    );
}

/// Nothing, outside the tests.
#[cfg(not(debug_assertions))]
pub(crate) const fn if_asked_for(_: &str) {}
