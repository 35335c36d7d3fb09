//! One look at Redis for many who ask: it takes a write, and anybody may ask for it.

use std::time::Duration;

use bridge_shared::store::condition::{Condition, Role};
use bridge_shared::store::{Store, StoreError};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a look serves those who ask.
const LOOK_LASTS: Duration = Duration::from_secs(1);

/// The last look.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<(Instant, Condition)>>);

impl Looks {
    /// The state of Redis, at most a second old.
    ///
    /// # Errors
    /// Every [`StoreError`] by which it cannot be used at all.
    pub(super) async fn look(&self, store: &Store) -> Result<Condition, StoreError> {
        let mut last = self.0.lock().await;
        if let Some((at, condition)) = &*last
            && at.elapsed() < LOOK_LASTS
        {
            return Ok(condition.clone());
        }
        let condition = store.condition(Role::Service).await?;
        // Nearly everything else goes by scripts, which may be denied.
        if let Err(error) = store.snapshot().await
            && condition.unusable.is_none()
        {
            return Err(error);
        }
        *last = Some((Instant::now(), condition.clone()));
        Ok(condition)
    }
}
