//! The console's command line: without a command it opens the console, with one it does what a
//! script needs.

pub(crate) mod dlq;
pub(crate) mod output;
pub(crate) mod status;
