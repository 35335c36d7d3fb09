//! The state of the server itself: whether it accepts writes, how much memory is left, and whether
//! it may evict keys.
//!
//! Only a write proves that writes are accepted, so a program that may write makes one, of a few
//! bytes into a key that ends after a minute. A program that may not write infers what it can from
//! `INFO` and from the heartbeats of the workers, and says "not tried" of the rest.

use std::sync::atomic::{AtomicBool, Ordering};

use redis::Value;
use serde::Serialize;

use super::{Store, StoreError, Target};
use crate::stats::Worker;

/// How long a probe's key lives, in milliseconds.
const PROBE_TTL_MS: u64 = 60_000;
/// A heartbeat within this time proves that a write was accepted.
const RECENT_HEARTBEAT_MS: i64 = 3_000;
/// The last possible id of a stream.
const LAST_STREAM_ID: &str = "18446744073709551615-18446744073709551615";

/// Who looks, which decides what may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A worker: its heartbeats are its writes, and it may not read enriched leads.
    Worker,
    /// A program that must not write.
    ReadOnly,
    /// A program that may write, if its user may.
    Operator,
    /// A program that has to write: it is of no use to a user who may run no scripts.
    Service,
}

/// What the server says of itself in `INFO`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Why it accepts no writes, whatever its memory.
    pub obstacle: Option<Obstacle>,
    /// Bytes of memory that count against its limit.
    pub used_memory: u64,
    /// Its `maxmemory` in bytes; 0 for no limit.
    pub max_memory: u64,
    /// Its `maxmemory-policy`.
    pub policy: String,
    /// Keys it has evicted since its start.
    pub evicted_keys: u64,
    /// Whether its last snapshot could not be saved.
    pub saving_fails: bool,
}

/// Why a server accepts no writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// It is a read-only replica.
    Replica,
    /// Its append-only file cannot be written.
    AppendOnlyFile,
    /// It wants replicas before it accepts writes, and has none.
    NoReplicas,
}

/// Which keys a server's policy lets it evict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// None.
    Never,
    /// Those that have an end: trash, budgets, figures, caches.
    Volatile,
    /// Any: leads and dead letters too.
    Any,
}

impl Server {
    fn read(info: &str) -> Self {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map_or("", str::trim)
        };
        let number = |name: &str| field(name).parse::<u64>().unwrap_or(0);
        let obstacle = if field("role") == "slave" && field("slave_read_only") != "0" {
            Some(Obstacle::Replica)
        } else if field("aof_last_write_status") == "err" {
            Some(Obstacle::AppendOnlyFile)
        } else if field("min_slaves_good_slaves") == "0" {
            Some(Obstacle::NoReplicas)
        } else {
            None
        };
        Self {
            obstacle,
            used_memory: number("used_memory").saturating_sub(number("mem_not_counted_for_evict")),
            max_memory: number("maxmemory"),
            policy: field("maxmemory_policy").to_owned(),
            evicted_keys: number("evicted_keys"),
            saving_fails: field("rdb_last_bgsave_status") == "err",
        }
    }

    /// Which keys it may evict.
    #[must_use]
    pub fn eviction(&self) -> Eviction {
        if self.policy.starts_with("allkeys") {
            Eviction::Any
        } else if self.policy.starts_with("volatile") {
            Eviction::Volatile
        } else {
            Eviction::Never
        }
    }

    /// Whether it is at its limit and evicts nothing to make room.
    fn is_full(&self) -> bool {
        self.eviction() == Eviction::Never
            && self.max_memory > 0
            && self.used_memory > self.max_memory
    }

    /// Why it must refuse a write, if what it says of itself is enough to know.
    fn refusal(&self, at: &Target) -> Option<StoreError> {
        let refused = |cause: &str| StoreError::WriteRefused {
            url: at.clone(),
            cause: cause.to_owned(),
        };
        match self.obstacle {
            Some(Obstacle::Replica) => Some(StoreError::ReadOnly(at.clone())),
            _ if self.is_full() => Some(refused("OOM used memory > 'maxmemory'")),
            Some(Obstacle::AppendOnlyFile) => {
                Some(refused("MISCONF the append-only file cannot be written"))
            }
            Some(Obstacle::NoReplicas) => Some(refused("NOREPLICAS no replica is connected")),
            None => None,
        }
    }
}

/// What is known of whether writes are accepted.
#[derive(Debug, Clone)]
pub enum Writes {
    /// One was accepted just now.
    Accepted,
    /// One was refused just now, or must be.
    Refused(StoreError),
    /// None was tried.
    NotTried,
}

/// The state of the server.
#[derive(Debug, Clone)]
pub struct Condition {
    /// What it says of itself; `None` if the user may not ask.
    pub server: Option<Server>,
    /// Whether it accepts writes, as far as this program tried.
    pub writes: Writes,
    /// A key of the bridge, or a command that it needs, that cannot be used, and why.
    pub unusable: Option<StoreError>,
}

impl Default for Condition {
    /// Nothing is known.
    fn default() -> Self {
        Self {
            server: None,
            writes: Writes::NotTried,
            unusable: None,
        }
    }
}

/// The state of the server as programs get it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RedisStatus<'a> {
    /// Whether it accepts writes: `accepted`, `refused` or `not_tried`.
    writes: &'static str,
    /// Bytes of memory that count against its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_memory: Option<u64>,
    /// Its `maxmemory` in bytes; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maxmemory_policy: Option<&'a str>,
    /// Keys it has evicted since its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    evicted_keys: Option<u64>,
}

impl Condition {
    /// Whether writes are accepted; a worker's recent heartbeat is a write as well.
    #[must_use]
    pub fn writes(&self, workers: &[Worker]) -> Writes {
        let recent = |worker: &Worker| {
            worker
                .silent_ms()
                .is_some_and(|silent| silent < RECENT_HEARTBEAT_MS)
        };
        match &self.writes {
            Writes::NotTried if workers.iter().any(recent) => Writes::Accepted,
            writes => writes.clone(),
        }
    }

    /// The same as programs get it.
    #[must_use]
    pub fn status(&self, workers: &[Worker]) -> RedisStatus<'_> {
        let server = self.server.as_ref();
        RedisStatus {
            writes: match self.writes(workers) {
                Writes::Accepted => "accepted",
                Writes::Refused(_) => "refused",
                Writes::NotTried => "not_tried",
            },
            used_memory: server.map(|server| server.used_memory),
            max_memory: server.map(|server| server.max_memory),
            maxmemory_policy: server.map(|server| server.policy.as_str()),
            evicted_keys: server.map(|server| server.evicted_keys),
        }
    }
}

/// What the user was denied once is not asked for again: every denial stands in the server's log.
#[derive(Debug, Default)]
pub(super) struct Denied {
    info: AtomicBool,
    probe: AtomicBool,
    types: AtomicBool,
    stream: AtomicBool,
}

impl Store {
    /// Reads the state of the server.
    ///
    /// # Errors
    /// Those by which Redis cannot be used at all; a refused write is part of the answer.
    pub async fn condition(&self, role: Role) -> Result<Condition, StoreError> {
        let denied = &self.shared.denied;
        let (info, probe, types, stream, scripts) = tokio::join!(
            unless(&denied.info, true, self.info()),
            async {
                match role {
                    Role::Service => self.probe().await.map(Some),
                    Role::Operator if !self.scripts().snapshot.is_for_a_reader() => {
                        unless(&denied.probe, true, self.probe()).await
                    }
                    _ => Ok(None),
                }
            },
            unless(&denied.types, true, self.check_types()),
            unless(&denied.stream, role != Role::Worker, self.check_stream()),
            async {
                if role == Role::ReadOnly {
                    return Ok(());
                }
                self.check_scripts().await
            },
        );
        let server = info?;
        let mut unusable = None;
        let known = |server: &Option<Server>| {
            let refusal = server
                .as_ref()
                .and_then(|server| server.refusal(&self.shared.target));
            refusal.map_or(Writes::NotTried, Writes::Refused)
        };
        let writes = match probe {
            Ok(Some(true)) => Writes::Accepted,
            Err(error @ (StoreError::WriteRefused { .. } | StoreError::ReadOnly(_))) => {
                Writes::Refused(error)
            }
            Err(error @ StoreError::NotAllowed { .. }) => {
                unusable = Some(error);
                known(&server)
            }
            Err(error) => return Err(error),
            Ok(None | Some(false)) => known(&server),
        };
        for found in [types, stream] {
            match found {
                Ok(_) => {}
                Err(error @ (StoreError::WrongType { .. } | StoreError::StreamFull)) => {
                    unusable.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        match scripts {
            Err(error @ (StoreError::NotAllowed { .. } | StoreError::Answer(_))) => {
                unusable.get_or_insert(error);
            }
            answer => answer?,
        }
        Ok(Condition {
            server,
            writes,
            unusable,
        })
    }

    async fn info(&self) -> Result<Server, StoreError> {
        let info: String = self.query(&redis::cmd("INFO")).await?;
        Ok(Server::read(&info))
    }

    /// Makes a write that changes nothing of the bridge's; returns whether this user may.
    async fn probe(&self) -> Result<bool, StoreError> {
        let script = &self.scripts().probe;
        let mut cmd = script.call(&[&self.keys().probe]);
        cmd.arg(PROBE_TTL_MS);
        Ok(self.run(script, &cmd).await?.next::<i64>()? == 1)
    }

    /// Makes sure that scripts can be loaded. Those in use are known to the server, but it forgets
    /// them when it starts again.
    async fn check_scripts(&self) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg("return 1");
        self.query(&cmd).await
    }

    /// Makes sure that no key of the bridge holds something else.
    async fn check_types(&self) -> Result<(), StoreError> {
        let wanted = self.keys().types();
        let mut pipe = redis::pipe();
        for (key, _) in &wanted {
            pipe.cmd("TYPE").arg(key);
        }
        let found: Vec<String> = self.pipeline(&pipe).await?;
        let wrong = wanted
            .into_iter()
            .zip(found)
            .filter(|((_, wants), holds)| holds != wants && holds != "none");
        let keys: Vec<_> = wrong
            .map(|((key, wants), holds)| (key.to_owned(), holds, wants))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        Err(StoreError::WrongType {
            cause: String::new(),
            keys,
        })
    }

    /// Makes sure that the stream of enriched leads has ids left. One whose last entry was taken
    /// away again is not found out: only the workers' writes show that.
    async fn check_stream(&self) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("XRANGE");
        cmd.arg(&self.keys().enriched).arg(LAST_STREAM_ID).arg("+");
        cmd.arg("COUNT").arg(1);
        match self.query::<Vec<Value>>(&cmd).await {
            Ok(last) if !last.is_empty() => Err(StoreError::StreamFull),
            // The types tell of that.
            Err(StoreError::WrongType { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// Asks for something, unless it is not wanted or was denied once.
async fn unless<T>(
    denied: &AtomicBool,
    wanted: bool,
    ask: impl Future<Output = Result<T, StoreError>>,
) -> Result<Option<T>, StoreError> {
    if !wanted || denied.load(Ordering::Relaxed) {
        return Ok(None);
    }
    match ask.await {
        Ok(answer) => Ok(Some(answer)),
        Err(StoreError::NotAllowed { .. }) => {
            denied.store(true, Ordering::Relaxed);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_of_itself_tells_whether_it_must_refuse() {
        let refusal = |info: &str| {
            let server = Server::read(info);
            server
                .refusal(&"redis://x".into())
                .map(|error| error.to_string())
        };
        let sound = "role:master\r\nused_memory:90\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\naof_last_write_status:ok\r\n";
        assert_eq!(refusal(sound), None);
        let full = sound.replace("used_memory:90", "used_memory:120");
        for (info, word) in [
            (full.clone(), "OOM"),
            (sound.replace("master", "slave"), "replica"),
            (sound.replace("status:ok", "status:err"), "MISCONF"),
            (format!("{sound}min_slaves_good_slaves:0\r\n"), "NOREPLICAS"),
        ] {
            let said = refusal(&info).unwrap_or_default();
            assert!(said.contains(word), "{word}: {said}");
        }
        // Buffers of replicas do not count, and one that evicts makes room.
        assert_eq!(
            refusal(&format!("{full}mem_not_counted_for_evict:30\r\n")),
            None
        );
        assert_eq!(refusal(&full.replace("noeviction", "allkeys-lru")), None);
        let writable = sound.replace("master", "slave") + "slave_read_only:0\r\n";
        assert_eq!(refusal(&writable), None);
    }
}
