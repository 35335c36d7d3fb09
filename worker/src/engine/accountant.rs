//! Writes down what the stations did and cost.
//!
//! Once a second, so that the way of a lead stays cheap. A batch whose answer was lost is sent
//! again under its number, and counts once.

use std::sync::Arc;
use std::time::Duration;

use super::Context;

/// How often.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is tried at the end.
const LAST_TRIES: u32 = 3;

/// What is on its way to the store.
#[derive(Debug, Default)]
struct Books {
    /// The number of the batch.
    batch: u64,
    hour: i64,
    figures: Vec<(String, u64)>,
}

/// Writes until the engine ends, and what is left then.
pub(super) async fn run(context: Arc<Context>) {
    let mut books = Books::default();
    while !context.end.is_cancelled() {
        let _ = context
            .end
            .run_until_cancelled(tokio::time::sleep(EVERY))
            .await;
        books.write(&context).await;
    }
    for _ in 0..LAST_TRIES {
        if books.write(&context).await {
            return;
        }
    }
    tracing::warn!("the last figures of the stations could not be written down");
}

impl Books {
    /// Writes what there is; whether nothing is left.
    async fn write(&mut self, context: &Context) -> bool {
        self.settle(context).await & self.add(context).await
    }

    async fn add(&mut self, context: &Context) -> bool {
        if self.figures.is_empty() {
            self.figures = context.ledger.take();
            self.hour = context.store.now().div_euclid(3_600_000);
            self.batch += 1;
        }
        if self.figures.is_empty() {
            return true;
        }
        let written = context
            .store
            .add_figures(context.id.as_str(), self.batch, self.hour, &self.figures)
            .await;
        if let Err(error) = written {
            tracing::debug!("the stations' figures wait: {error}");
            return false;
        }
        self.figures.clear();
        true
    }

    /// Makes the corrections that could not be made at once. One of them whose answer was lost is
    /// made again: what is in doubt counts as spent.
    async fn settle(&self, context: &Context) -> bool {
        let mut all = true;
        for debt in context.ledger.take_debts() {
            let settled = context
                .store
                .settle(&debt.pipeline, debt.day, debt.more)
                .await;
            if settled.is_err() {
                all = false;
                if debt.more > 0 {
                    context.ledger.owe(debt);
                }
            }
        }
        all
    }
}
