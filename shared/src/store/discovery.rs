//! Finds the node that is the primary, and tells every connection when it is another one.

use std::sync::Arc;

use redis::ConnectionAddr;
use tokio::sync::watch;

use super::StoreError;
use super::access::Source;
use super::address::Address;
use super::cluster::Cluster;
use super::connect::Endpoint;
use super::sentinel::Sentinels;
use crate::keys::Keys;

/// The address at which the primary was found last. A node that hangs cannot say that it is no longer
/// the primary, so the connection that finds out tells all others, which may be idle.
#[derive(Clone, Default)]
pub(super) struct Primary(watch::Sender<Option<ConnectionAddr>>);

impl Primary {
    fn found(&self, addr: &ConnectionAddr) {
        self.0.send_if_modified(|known| {
            let is_new = known.as_ref() != Some(addr);
            if is_new {
                *known = Some(addr.clone());
            }
            is_new
        });
    }

    /// Whether the primary was last found at another address.
    pub(super) fn is_elsewhere(&self, addr: &ConnectionAddr) -> bool {
        self.0.borrow().as_ref().is_some_and(|known| known != addr)
    }

    /// Returns when the primary was found at another address.
    pub(super) async fn elsewhere(&self, addr: &ConnectionAddr) {
        let is_elsewhere =
            |known: &Option<ConnectionAddr>| known.as_ref().is_some_and(|known| known != addr);
        // Fails only if the sender is gone, which is part of this.
        let _ = self.0.subscribe().wait_for(is_elsewhere).await;
    }
}

/// Finds the primary.
pub(super) struct Discovery {
    via: Via,
    primary: Primary,
}

enum Via {
    Address(Endpoint),
    Sentinels(Sentinels),
    Cluster(Cluster),
}

impl Discovery {
    /// # Errors
    /// [`StoreError::BadAccess`], [`StoreError::Scattered`].
    pub(super) fn new(
        address: Address,
        source: &Arc<Source>,
        keys: &Keys,
        primary: Primary,
    ) -> Result<Self, StoreError> {
        let source = Arc::clone(source);
        let via = match address {
            Address::Plain(info) => Via::Address(Endpoint::new(info.addr().clone(), source)),
            Address::Sentinel { name, .. } => Via::Sentinels(Sentinels::new(name, source)),
            Address::Cluster { .. } => Via::Cluster(Cluster::new(keys, source)?),
        };
        Ok(Self { via, primary })
    }

    /// Whether the primary may be another node tomorrow.
    pub(super) const fn follows(&self) -> bool {
        !matches!(self.via, Via::Address(_))
    }

    /// The primary as it is now. Connections to another node end.
    ///
    /// # Errors
    /// [`StoreError`] if the primary is not known.
    pub(super) async fn find(&mut self) -> Result<Endpoint, StoreError> {
        let endpoint = match &mut self.via {
            Via::Address(endpoint) => endpoint.clone(),
            Via::Sentinels(sentinels) => sentinels.find().await?,
            Via::Cluster(cluster) => cluster.find().await?,
        };
        self.primary.found(&endpoint.addr);
        Ok(endpoint)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_connection_elsewhere_is_told_of_the_primary() {
        let addr = |port| ConnectionAddr::Tcp("127.0.0.1".into(), port);
        let primary = Primary::default();
        let seen_by_another = primary.clone();
        assert!(!primary.is_elsewhere(&addr(1)), "none was found yet");
        primary.found(&addr(1));
        assert!(seen_by_another.elsewhere(&addr(1)).now_or_never().is_none());
        primary.found(&addr(2));
        assert!(seen_by_another.is_elsewhere(&addr(1)));
        assert!(seen_by_another.elsewhere(&addr(1)).now_or_never().is_some());
        assert!(!seen_by_another.is_elsewhere(&addr(2)));
    }
}
