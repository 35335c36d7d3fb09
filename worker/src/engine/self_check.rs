//! Looks every few seconds whether Redis can still be worked with, beyond what the heartbeat needs:
//! the types of the keys, scripts that can be loaded again, and a policy that may evict leads.

use std::sync::Arc;
use std::time::Duration;

use bridge_shared::findings::{Finding, Severity, of_redis};
use bridge_shared::store::condition::Role;

use super::Context;

/// Time between two looks.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Looks until the engine ends.
pub(super) async fn run(context: Arc<Context>) {
    let mut told: Vec<&'static str> = Vec::new();
    loop {
        // While Redis is away the heartbeat says so.
        if let Ok(condition) = context.store.condition(Role::Worker).await {
            let found = of_redis(&condition, &[]);
            for finding in &found {
                if !told.contains(&finding.name) {
                    tell(finding);
                }
            }
            told = found.iter().map(|finding| finding.name).collect();
            context.health.checked(found);
        }
        let pause = tokio::time::sleep(CHECK_INTERVAL);
        if context.end.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

fn tell(finding: &Finding) {
    let Finding { text, remedy, .. } = finding;
    if finding.severity == Severity::Bad {
        tracing::error!("{text}. {remedy}");
    } else {
        tracing::warn!("{text}. {remedy}");
    }
}
