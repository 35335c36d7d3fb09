//! Somebody who listens to the events all the time.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bridge_shared::config::RedisArgs;
use bridge_shared::event::{Event, EventBatch, EventKind};
use bridge_shared::store::Store;
use futures::StreamExt as _;

use crate::operators::OPERATOR;
use crate::plan::ms;

/// What was heard of workers.
#[derive(Default)]
pub struct News {
    heard: Mutex<Vec<Event>>,
    /// Whether there is a subscription.
    pub listening: AtomicBool,
}

impl News {
    /// Listens until it is over, again whenever the connection breaks.
    pub async fn listen(&self, args: &RedisArgs, over: &AtomicBool) {
        let store = Store::new(args).expect("a store");
        while !over.load(Ordering::SeqCst) {
            let Ok(events) = store.subscribe().await else {
                tokio::time::sleep(ms(50)).await;
                continue;
            };
            self.listening.store(true, Ordering::SeqCst);
            let mut events = Box::pin(events);
            while !over.load(Ordering::SeqCst) {
                match tokio::time::timeout(Duration::from_millis(100), events.next()).await {
                    Ok(Some(batch)) => self.hear(batch.expect("an event of this version")),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
        }
    }

    fn hear(&self, batch: EventBatch) {
        // What an operator brings back is told as dead again, and nobody gave it up anew.
        if batch.worker == OPERATOR {
            return;
        }
        self.heard
            .lock()
            .expect("nobody panics with it")
            .extend(batch.events);
    }

    /// How often each kind was heard.
    pub fn counts(&self) -> HashMap<EventKind, i64> {
        let mut counts = HashMap::new();
        for event in &*self.heard.lock().expect("nobody panics with it") {
            *counts.entry(event.event).or_default() += 1;
        }
        counts
    }

    /// The ids of the leads of which this was told.
    pub fn told(&self, kind: EventKind) -> Vec<String> {
        let heard = self.heard.lock().expect("nobody panics with it");
        let of_kind = heard.iter().filter(|event| event.event == kind);
        of_kind.map(|event| event.lead.clone()).collect()
    }
}
