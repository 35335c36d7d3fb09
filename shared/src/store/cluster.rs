//! Asks a cluster which of its nodes holds the bridge's keys.
//!
//! All keys stand under one hash tag and so in one slot: the bridge talks to the one node that
//! holds it. The driver's own cluster connection is not used, because it sends a command again
//! whose answer was lost, and because a waiting command and a subscription need connections to
//! that node which are theirs alone.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, Value};

use super::access::Source;
use super::address::{Address, elsewhere};
use super::connect::Endpoint;
use super::{StoreError, convert};
use crate::keys::Keys;

/// How long one node may take to say who holds the keys.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 3;

/// The nodes of a cluster, as far as they are known.
pub(super) struct Cluster {
    /// Where those of the URL stand, and the login.
    source: Arc<Source>,
    /// Those the cluster told of, the one that held the keys last at the end: when it is asked
    /// for again something is wrong with it.
    told: Vec<ConnectionInfo>,
    /// A key that stands for all.
    key: String,
}

impl Cluster {
    /// # Errors
    /// [`StoreError::Scattered`] where the keys would not stand in one slot.
    pub(super) fn new(keys: &Keys, source: Arc<Source>) -> Result<Self, StoreError> {
        let tag = hash_tag(&keys.queue);
        if tag.is_none() || [&keys.failed, &keys.enriched].map(|key| hash_tag(key)) != [tag; 2] {
            return Err(StoreError::Scattered([
                keys.queue.clone(),
                keys.failed.clone(),
                keys.enriched.clone(),
            ]));
        }
        Ok(Self {
            source,
            told: Vec::new(),
            key: keys.queue.clone(),
        })
    }

    /// The primary that holds the keys.
    ///
    /// # Errors
    /// [`StoreError`]: the first node's that answers with one, else that of the connection.
    pub(super) async fn find(&mut self) -> Result<Endpoint, StoreError> {
        let (address, _) = self.source.read_again().await?;
        let Address::Cluster { nodes: named } = address else {
            unreachable!("made of the URL of a cluster");
        };
        // With the login as it is now.
        let told = self.told.iter().filter_map(|node| match node.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(elsewhere(&named[0], host.clone(), *port))
            }
            _ => None,
        });
        let mut nodes: Vec<ConnectionInfo> = told.collect();
        for node in &named {
            add(&mut nodes, node);
        }
        let asks: Vec<_> = nodes.iter().map(|node| ask(node, &self.key)).collect();
        let mut asks = futures::stream::iter(asks).buffered(ASKED_AT_ONCE);
        let mut trouble: Option<StoreError> = None;
        while let Some(answer) = asks.next().await {
            let error = match answer {
                Ok(Some((holder, others))) => {
                    drop(asks);
                    let endpoint = Endpoint::new(holder.addr().clone(), Arc::clone(&self.source));
                    self.told.clear();
                    for node in others.iter().filter(|node| node.addr() != holder.addr()) {
                        add(&mut self.told, node);
                    }
                    self.told.push(holder);
                    return Ok(endpoint);
                }
                Ok(None) => StoreError::ClusterDown {
                    url: self.source.target().clone(),
                    cause: "no node holds their slot".into(),
                },
                Err(error) => self.error(&error),
            };
            if trouble.as_ref().is_none_or(StoreError::is_unreachable) {
                trouble = Some(error);
            }
        }
        Err(trouble.expect("a URL names at least one node"))
    }

    fn error(&self, error: &RedisError) -> StoreError {
        StoreError::new(error, self.source.target())
    }
}

/// Adds a node that is not there yet.
fn add(nodes: &mut Vec<ConnectionInfo>, node: &ConnectionInfo) {
    if nodes.iter().all(|other| other.addr() != node.addr()) {
        nodes.push(node.clone());
    }
}

/// The node that holds a key's slot, and all nodes, some more than once.
type Holder = (ConnectionInfo, Vec<ConnectionInfo>);

/// Asks one node; `None` where by its answer nobody holds the slot.
async fn ask(node: &ConnectionInfo, key: &str) -> Result<Option<Holder>, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ASK_TIMEOUT))
        .set_response_timeout(Some(ASK_TIMEOUT));
    let mut connection = Client::open(node.clone())?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut pipe = redis::pipe();
    pipe.cmd("CLUSTER").arg("KEYSLOT").arg(key);
    pipe.cmd("CLUSTER").arg("SLOTS");
    let (slot, ranges): (i64, Vec<Vec<Value>>) = pipe.query_async(&mut connection).await?;
    let (mut holder, mut all) = (None, Vec::new());
    for range in ranges {
        let mut parts = range.into_iter();
        let (Some(Value::Int(first)), Some(Value::Int(last))) = (parts.next(), parts.next()) else {
            continue;
        };
        // The primary comes first, then its replicas.
        let nodes: Vec<_> = parts.map(|entry| place(entry, node)).collect();
        if (first..=last).contains(&slot) {
            holder = nodes.first().cloned().flatten();
        }
        all.extend(nodes.into_iter().flatten());
    }
    Ok(holder.map(|holder| (holder, all)))
}

/// Where a node of the answer to `CLUSTER SLOTS` is. One without a name is at the host that
/// answers; `?` stands for one that does not know its own
/// (<https://redis.io/docs/latest/commands/cluster-slots/>).
fn place(entry: Value, asked: &ConnectionInfo) -> Option<ConnectionInfo> {
    let Value::Array(fields) = entry else {
        return None;
    };
    let mut fields = fields.into_iter();
    let host: Option<String> = convert(fields.next()?).ok()?;
    let port: u16 = convert(fields.next()?).ok()?;
    let host = match (host.as_deref(), asked.addr()) {
        (Some("?"), _) => return None,
        (None | Some(""), ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => {
            host.clone()
        }
        _ => host?,
    };
    Some(elsewhere(asked, host, port))
}

/// What of a key decides its slot, where it has a hash tag
/// (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).
fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RedisArgs;

    #[test]
    fn a_hash_tag_is_the_first_and_not_empty() {
        for (key, tag) in [
            ("leads", None),
            ("{leads}_to_enrich", Some("leads")),
            ("a{leads}{b}", Some("leads")),
            ("{}{leads}", None),
            ("{{leads}}", Some("{leads")),
            ("{leads", None),
        ] {
            assert_eq!(hash_tag(key), tag, "{key}");
        }
    }

    #[test]
    fn every_key_has_the_tag_of_the_name_it_is_made_of() {
        let keys = Keys::new("{leads}_to_enrich", "{leads}_failed", "{leads}_enriched");
        for key in [
            &keys.retry,
            &keys.workers,
            &keys.workers_info,
            &keys.stats,
            &keys.events,
            &keys.audit,
            &keys.paused,
            &keys.active("worker-{1}"),
            &keys.minute(1),
            &keys.push_run("{run}"),
            &keys.trash("{token}"),
        ] {
            assert_eq!(hash_tag(key), Some("leads"), "{key}");
        }
    }

    #[test]
    fn names_without_one_tag_are_refused_in_one_line() {
        for (queue, failed, enriched) in [
            ("leads_to_enrich", "failed_leads", "enriched_leads"),
            ("{leads}_to_enrich", "{leads}_failed", "enriched_leads"),
            ("{leads}_to_enrich", "{lead}_failed", "{leads}_enriched"),
            ("leads", "leads", "leads"),
        ] {
            let keys = Keys::new(queue, failed, enriched);
            let source = Arc::new(Source::new(&RedisArgs::of(
                "redis+cluster://a",
                [queue, failed, enriched],
            )));
            let error = Cluster::new(&keys, source).err();
            let text = error.expect("refused").to_string();
            assert!(text.contains(queue) && text.contains("QUEUE_NAME='{leads}_to_enrich'"));
            assert!(!text.contains('\n'));
        }
    }
}
