//! The HTTP API: the real program, a real Redis, and clients that speak plain HTTP.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod client;
mod dead_letters;
mod events;
mod figures;
mod leads;
mod life;
