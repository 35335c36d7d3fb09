//! What a script needs, one file for each group of commands.

pub(crate) mod dlq;
pub(crate) mod output;
pub(crate) mod push;
pub(crate) mod status;
