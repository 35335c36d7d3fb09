//! `noop`: does nothing. For measuring everything else.

use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _, ready};

use super::{Call, Failure, Keys, Outcome, Station};

#[derive(Debug)]
struct Noop;

/// It has no keys of its own.
#[allow(clippy::unnecessary_wraps, reason = "the shape of every kind")]
pub(super) fn make(_keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    Some(Box::new(Noop))
}

impl Station for Noop {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        _lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        ready(Ok(Outcome::Continue)).boxed()
    }
}
