//! What a panic, which is a bug of ours, leaves behind: a terminal as it was, a report that can be
//! read, and the same in the log.

use crate::{log, terminal};

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
    let report = panics.into_panic_hook();
    std::panic::set_hook(Box::new(move |panic| {
        terminal::give_back();
        tracing::error!("{panic}");
        report(panic);
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
