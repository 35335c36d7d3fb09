//! The console, driven through a pseudo-terminal as its user drives it.

mod mouse;
mod redis;
mod screen;
mod terminal;
mod together;
mod triage;
mod trouble;

use std::time::Duration;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
