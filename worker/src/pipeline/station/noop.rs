//! `noop`: does nothing. For measuring everything else.

use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _, ready};

use super::{Common, Failure, Station};

#[derive(Debug)]
pub(super) struct Noop {
    common: Common,
}

impl Noop {
    pub(super) fn new(common: Common) -> Self {
        Self { common }
    }
}

impl Station for Noop {
    fn name(&self) -> &str {
        &self.common.name
    }

    fn cost(&self) -> f64 {
        self.common.cost
    }

    fn work<'a>(&'a self, _id: &'a str, _lead: &'a mut Lead) -> BoxFuture<'a, Result<(), Failure>> {
        ready(Ok(())).boxed()
    }
}
