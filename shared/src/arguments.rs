//! What both command lines have in common beyond their arguments.

use std::ops::RangeInclusive;

use clap::Command;
use clap::builder::Resettable;

/// Prepares a command line for parsing:
///
/// - an empty environment variable counts as unset, as in an `.env` file with the value left out
/// - a usage error shows the usage of the help; clap by itself adds whatever is set in the environment,
///   as if it were required
#[must_use]
pub fn prepare(mut command: Command) -> Command {
    // Options for all commands are handed down to each only here.
    command.build();
    prepared(command)
}

fn prepared(command: Command) -> Command {
    let mut command = command.mut_args(|argument| {
        let is_empty = argument
            .get_env()
            .and_then(std::env::var_os)
            .is_some_and(|value| value.to_str().is_some_and(|text| text.trim().is_empty()));
        if is_empty {
            argument.env(Resettable::Reset)
        } else {
            argument
        }
    });
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage).trim_start();
    command = command.override_usage(usage.to_owned());
    let names: Vec<String> = command
        .get_subcommands()
        .map(|one| one.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, prepared);
    }
    command
}

/// Reads a whole number within a range, for a flag or a variable; what is wrong is said in words of
/// our own.
pub fn whole_number<T: TryFrom<u64> + Clone + Send + Sync + 'static>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.trim().parse().ok().filter(|n| range.contains(n));
        number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            if *to == u64::MAX || *to == u64::from(u32::MAX) {
                format!("give a whole number, from {from} on")
            } else {
                format!("give a whole number from {from} to {to}")
            }
        })
    }
}
