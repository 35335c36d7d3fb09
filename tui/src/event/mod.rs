//! Where messages come from: the keyboard and Redis.
//!
//! - [`input`]: keys, pastes and sizes of the terminal
//! - [`feed`]: readings of Redis, and commands carried out there
//! - [`listen`]: the live events
//! - [`scan`]: the search through all dead letters
//! - [`work`]: bulk work on dead letters

pub(crate) mod feed;
pub(crate) mod input;

mod listen;
mod scan;
mod work;
