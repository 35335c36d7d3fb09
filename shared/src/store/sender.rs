//! Sends what a worker has to tell.

use std::time::Instant;

use super::wire::{Purpose, Wire};
use super::{IDLE, Store, StoreError, convert};

/// Bytes from which on messages go over a connection of their own.
const MUCH: usize = 32 * 1024;

/// Sends messages of events: the few of a worker with little to do like any other call, thousands at
/// a time over a connection of their own, where they are copied less often and hold up nobody.
pub struct Sender {
    store: Store,
    link: Option<(Wire, Instant)>,
    /// When no such connection was to be had.
    failed: Option<Instant>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl Store {
    /// What sends messages of events.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender {
            store: self.clone(),
            link: None,
            failed: None,
        }
    }
}

impl Sender {
    /// Sends messages that are already written; returns how many listen.
    ///
    /// # Errors
    /// Every [`StoreError`] a call can meet.
    pub async fn send(&mut self, messages: &[Vec<u8>]) -> Result<u64, StoreError> {
        let bytes: usize = messages.iter().map(Vec::len).sum();
        if bytes < MUCH || self.failed.is_some_and(|at| at.elapsed() < IDLE) {
            return self.store.publish_messages(messages).await;
        }
        // Out of its place meanwhile: a connection on which something went wrong is not used again.
        let link = self.link.take().filter(|(_, used)| used.elapsed() < IDLE);
        let wire = match link {
            Some((wire, _)) => Ok(wire),
            None => self.connect().await,
        };
        let Ok(mut wire) = wire else {
            // The server may have no place for another one, and is not asked for it all the time.
            self.failed = Some(Instant::now());
            return self.store.publish_messages(messages).await;
        };
        let channel = self.store.keys().events.as_bytes();
        let mut request = wire.request();
        for message in messages {
            request.add_words([b"PUBLISH", channel, message]);
        }
        let mut answers = wire.ask(request, 0, messages.len()).await?;
        let mut listeners = 0;
        for _ in messages {
            listeners = convert(wire.told(answers.value()).await?)?;
        }
        self.link = Some((wire, Instant::now()));
        Ok(listeners)
    }

    async fn connect(&self) -> Result<Wire, StoreError> {
        let purpose = Purpose {
            call: "publish",
            what: format!("PUBLISH {}", self.store.keys().events),
        };
        self.store.wire(purpose).await
    }
}
