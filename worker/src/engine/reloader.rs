//! Puts a changed route file into force.
//!
//! The file is read every second and compared with what is in force: no notice of the file system
//! is as sure, where editors replace files, containers bind them, and clusters swap links. SIGHUP
//! reads it at once, and makes the route anew even where the text is the same, because the files
//! it names may have changed. So may those of the Redis login, which are read again as well.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;

use super::Context;
use crate::pipeline::{Pipeline, RouteError};
use crate::signals;

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Looks in vain before a file counts as gone: while an editor replaces it there may be none.
const GONE: u32 = 3;

/// What a change is seen by.
pub(super) struct Watch {
    /// SIGHUP, heard from before the worker waited for Redis; `None` where it cannot be heard.
    pub(super) hangup: Option<Signal>,
    /// The text of the route in force. It may have changed since: the wait for Redis may be long.
    pub(super) text: String,
}

/// Watches until the engine ends.
pub(super) async fn run(context: Arc<Context>, mut watch: Watch) {
    // What was read last, sound or not, so that a mistake is told once.
    let mut seen = watch.text;
    let mut in_vain = 0;
    let mut time = tokio::time::interval(EVERY);
    time.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = context.end.cancelled() => return,
            () = heard(&mut watch.hangup) => true,
            _ = time.tick(), if context.source.file.is_some() => false,
        };
        if asked {
            signals::log_in_again(&context.store).await;
        }
        // Off the threads that work on leads: a file system may hang.
        let source = context.source.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || source.text()).await else {
            continue;
        };
        if read.is_ok() {
            if in_vain >= GONE {
                tracing::info!(
                    file = context.source.shown(),
                    "the route file can be read again"
                );
            }
            in_vain = 0;
        }
        match read {
            Ok(text) if asked || seen != text => {
                put_into_force(&context, &text);
                seen = text;
            }
            Ok(_) => {}
            Err(error) if asked => refuse(&error),
            Err(error) => {
                in_vain += 1;
                if in_vain == GONE {
                    tracing::warn!("{error}; the route in force stays, and a restart would fail");
                }
            }
        }
    }
}

async fn heard(hangup: &mut Option<Signal>) {
    if let Some(hangup) = hangup
        && hangup.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

fn put_into_force(context: &Context, text: &str) {
    match Pipeline::parse(&context.source, text, &context.ledger) {
        Ok(pipeline) => {
            tracing::info!(
                file = context.source.shown(),
                pipeline = pipeline.name(),
                "the changed route is in force; leads in hand finish on the old one"
            );
            context.route.send_replace(Arc::new(pipeline));
        }
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &RouteError) {
    for line in error.to_string().lines() {
        tracing::error!("{line}");
    }
    tracing::error!("the changed route is refused; the one in force stays");
}
