//! Listens to the events of one database, on a connection of its own.

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt as _, Stream, StreamExt as _};
use redis::Value;

use super::door::Server;
use super::{CONNECT_TIMEOUT, Store, StoreError};
use crate::event::EventBatch;

/// How often a subscription makes sure that it listens at the right node.
const NODE_CHECK: Duration = Duration::from_secs(2);
/// Silence after which the subscription is made anew: a connection whose other end has gone without
/// a word is as silent as a bridge where nothing happens.
const SILENCE: Duration = Duration::from_secs(30);
/// Before the next try where subscribing failed.
const PAUSE: Duration = Duration::from_secs(1);

/// A message, or the parser's words where it is none of this version.
type Message = Result<EventBatch, serde_json::Error>;

/// What a [`Listener`] hears.
#[derive(Debug)]
pub enum Heard {
    /// What one process tells.
    Batch(EventBatch),
    /// A message that cannot be read, as one of a newer version may be.
    Unread,
    /// The subscription was cut and stands again: what was told in between is missing.
    Interrupted,
}

/// A subscription that is made anew whenever it breaks.
pub struct Listener {
    store: Store,
    /// `None` while it is broken.
    messages: Option<BoxStream<'static, Message>>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

impl Store {
    /// Listens to the events of this store's database, until the listener is dropped.
    ///
    /// # Errors
    /// [`StoreError`] where the first subscription fails: Redis is away, or the user may not.
    pub async fn listen(&self) -> Result<Listener, StoreError> {
        Ok(Listener {
            messages: Some(self.subscribe().await?.boxed()),
            store: self.clone(),
        })
    }

    /// One subscription to the events of this store's database. The stream ends when the connection
    /// does, or when another node becomes the primary.
    ///
    /// # Errors
    /// [`StoreError`] where Redis is away, or the user may not.
    pub async fn subscribe(
        &self,
    ) -> Result<impl Stream<Item = Message> + Send + use<>, StoreError> {
        let server = self.door.server().await?;
        let pubsub = server.endpoint.subscriber().await;
        let mut pubsub = pubsub.inspect_err(|error| self.note_broken(error))?;
        let subscribe = pubsub.subscribe(&self.keys().events);
        let subscribe = tokio::time::timeout(CONNECT_TIMEOUT, subscribe)
            .await
            .map_err(|_| self.no_answer())?;
        let what = || format!("SUBSCRIBE {}", self.keys().events);
        self.told(subscribe, what).await?;
        let database = self.database();
        Ok(pubsub
            .into_on_message()
            .map(|message| EventBatch::decode(message.get_payload_bytes()))
            .filter(move |message| {
                let is_elsewhere = message.as_ref().is_ok_and(|batch| batch.db != database);
                std::future::ready(!is_elsewhere)
            })
            .take_until(Box::pin(self.clone().replaced(server))))
    }

    /// Returns when calls no longer go to this server. A node that is no longer the primary may
    /// keep a subscription open for ever, so a call now and again finds out.
    async fn replaced(self, server: Server) {
        if !server.is_followed() {
            return std::future::pending().await;
        }
        let mut cmd = redis::cmd("EXISTS");
        cmd.arg(&self.keys().paused);
        while tokio::time::timeout(NODE_CHECK, server.gone())
            .await
            .is_err()
        {
            // What matters of the answer, the door takes note of.
            let _ = self.query::<Value>(&cmd).await;
        }
    }
}

impl Listener {
    /// The next thing that is heard. Nothing is lost where the call is given up before it returns.
    ///
    /// # Errors
    /// [`StoreError`] where the subscription is refused for good, as when a right was taken away;
    /// the next call tries again. That Redis is away is no error here: it is waited for.
    pub async fn next(&mut self) -> Result<Heard, StoreError> {
        loop {
            let Some(messages) = &mut self.messages else {
                tokio::time::sleep(PAUSE).await;
                match self.store.subscribe().await {
                    Ok(fresh) => {
                        self.messages = Some(fresh.boxed());
                        return Ok(Heard::Interrupted);
                    }
                    Err(error) if error.is_transient() => {
                        tracing::debug!(%error, "no events");
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            };
            match tokio::time::timeout(SILENCE, messages.next()).await {
                Ok(Some(Ok(batch))) => return Ok(Heard::Batch(batch)),
                Ok(Some(Err(_))) => return Ok(Heard::Unread),
                Ok(None) => self.messages = None,
                Err(_) => self.renew().await,
            }
        }
    }

    /// A new subscription in the place of one that is silent. No event is missed where the old one
    /// was whole: it is read to its end after the new one has begun.
    async fn renew(&mut self) {
        let fresh = self.store.subscribe().await;
        let (Some(mut old), Ok(fresh)) = (self.messages.take(), fresh) else {
            return;
        };
        let mut rest = Vec::new();
        while let Some(Some(message)) = old.next().now_or_never() {
            rest.push(message);
        }
        self.messages = Some(futures::stream::iter(rest).chain(fresh).boxed());
    }
}
