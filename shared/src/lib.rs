//! Redis Bridge, the part that the worker and the console share: the protocol and the one door to
//! Redis.
//!
//! - [`lead`]: what producers push, and the names its fields come under
//! - [`envelope`]: what travels with a lead once it has a history
//! - [`event`]: what is told about a lead over pub/sub
//! - [`keys`]: the names of everything in Redis; [`names`]: those that an operator chooses
//! - [`config`]: settings both programs share; [`boolean`], their booleans; [`arguments`], what else
//!   both command lines have in common
//! - [`command_line`]: keeping passwords out of the list of processes
//! - [`store`]: the one door to Redis, and the Lua scripts behind it
//! - [`cause`]: why dead letters died, as few causes
//! - [`stats`]: the figures an operator sees; [`findings`], what is wrong, the worst first; and
//!   [`status`], both for programs
//! - [`money`]: US dollars, counted exactly
//! - [`filter`]: the language that picks dead letters
//! - [`hint`]: what may have been meant by an unknown name
//! - [`triage`]: bulk work on dead letters, and [`row`], a dead letter as others read it
//! - [`json`]: what is wrong with JSON, in plain words
//! - [`source`]: files to leads; [`producer`], which pushes them; and [`known`], the people who are
//!   there already
//! - [`clock`]: the server's time
//! - [`log`]: logs in which text from outside stays text
//! - [`terminal`]: keeping text from outside from giving a terminal orders
//! - [`units`]: numbers as people read them
//! - [`sandbox`]: a private Redis for the demo and the tests

// They panic if nothing can be written.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod arguments;
pub mod boolean;
pub mod cause;
pub mod clock;
pub mod command_line;
pub mod config;
pub mod envelope;
pub mod event;
pub mod filter;
pub mod findings;
pub mod hint;
pub mod json;
pub mod keys;
pub mod known;
pub mod lead;
pub mod log;
pub mod money;
pub mod names;
pub mod producer;
pub mod row;
pub mod sandbox;
pub mod source;
pub mod stats;
pub mod status;
pub mod store;
pub mod terminal;
pub mod triage;
pub mod units;

/// The version of the bridge.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
