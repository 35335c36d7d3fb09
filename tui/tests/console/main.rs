//! The console, driven through a pseudo-terminal as its user drives it.

mod ahead;
mod leaving;
mod mouse;
mod redis;
mod safety;
mod screen;
mod terminal;
mod together;
mod triage;
mod trouble;

use std::time::Duration;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program without a terminal, on this Redis, with no home to write into.
fn bridge(url: &str) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bridge"));
    command.env("REDIS_URL", url).env("HOME", "/dev/null");
    command
}
