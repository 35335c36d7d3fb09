//! No way in: what each user of Redis may do, encrypted connections, secrets that stay secret, and
//! text from outside that stays text. The real programs against a real Redis; the worker's stands
//! beside `bridge`, where `make test` builds it.

mod acl;
mod canary;
mod escapes;
mod export;
mod support;
mod tls;
