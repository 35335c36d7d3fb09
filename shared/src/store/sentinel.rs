//! Asks sentinels where the primary is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError,
    RedisResult, ServerErrorKind, TlsMode,
};

use super::access::{Access, Source};
use super::address::Address;
use super::connect::Endpoint;
use super::error::words;
use super::{CONNECT_TIMEOUT, StoreError};

/// How long one sentinel may take to say why there is no primary.
const REASON_TIMEOUT: Duration = Duration::from_secs(1);

/// The sentinels of one primary.
pub(super) struct Sentinels {
    name: String,
    /// Read each time: a password or a certificate may be another one by now.
    source: Arc<Source>,
}

/// What a sentinel says of each primary it watches.
type Primaries = Vec<HashMap<String, String>>;

impl Sentinels {
    pub(super) const fn new(name: String, source: Arc<Source>) -> Self {
        Self { name, source }
    }

    /// The primary, which was asked whether it is one.
    ///
    /// # Errors
    /// [`StoreError`], with the sentinels' reason where they have one.
    pub(super) async fn find(&mut self) -> Result<Endpoint, StoreError> {
        let (address, access) = self.source.read_again().await?;
        let Address::Sentinel {
            sentinels, node, ..
        } = address
        else {
            unreachable!("made of the URL of sentinels");
        };
        let wrong = |error: &RedisError| StoreError::new(error, self.source.target());
        let mut client = client(&sentinels, &self.name, &node, &access).map_err(|e| wrong(&e))?;
        let found = tokio::time::timeout(CONNECT_TIMEOUT, client.async_get_client()).await;
        match found {
            Ok(Ok(client)) => {
                let addr = client.get_connection_info().addr().clone();
                Ok(Endpoint::new(addr, Arc::clone(&self.source)))
            }
            Ok(Err(error)) => Err(self.reason(&sentinels, Some(&error)).await),
            Err(_) => Err(self.reason(&sentinels, None).await),
        }
    }

    /// Puts into words why there is no primary.
    async fn reason(&self, sentinels: &[ConnectionInfo], error: Option<&RedisError>) -> StoreError {
        let answers = futures::future::join_all(sentinels.iter().map(primaries)).await;
        let known: Primaries = answers.iter().flatten().flatten().cloned().collect();
        if answers.iter().all(Result::is_err) {
            let errors = answers.into_iter().filter_map(Result::err);
            return self.no_sentinel(&errors.collect::<Vec<_>>());
        }
        let name = |primary: &HashMap<String, String>| primary.get("name").cloned();
        let ours = known
            .iter()
            .find(|primary| name(primary).is_some_and(|name| name == self.name));
        let Some(primary) = ours else {
            let names: BTreeSet<String> = known.iter().filter_map(name).collect();
            return StoreError::UnknownPrimary {
                name: self.name.clone(),
                known: match &Vec::from_iter(names)[..] {
                    [] => "none".to_owned(),
                    names => names.join(", "),
                },
            };
        };
        let down = primary
            .get("flags")
            .is_some_and(|flags| flags.contains("_down"));
        match error {
            Some(error) if !down && error.kind() != ErrorKind::MasterNameNotFoundBySentinel => {
                StoreError::new(error, self.source.target())
            }
            _ => StoreError::NoPrimary(self.name.clone()),
        }
    }

    /// None of the sentinels answered as one.
    fn no_sentinel(&self, errors: &[RedisError]) -> StoreError {
        let url = self.source.target().clone();
        let login = |error: &&RedisError| {
            let text = error.to_string();
            error.kind() == ErrorKind::AuthenticationFailed
                || ["NOAUTH", "WRONGPASS"]
                    .iter()
                    .any(|word| text.contains(word))
        };
        // Ports and logins are in order where certificates are not.
        let certificates = |error: &&RedisError| {
            super::tls::words(error).is_some()
                || (url.url.starts_with("rediss") && error.is_connection_dropped())
        };
        let unknown =
            |error: &RedisError| error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError);
        if let Some(error) = errors.iter().find(login) {
            StoreError::SentinelLogin {
                url,
                cause: words(error),
            }
        } else if let Some(error) = errors.iter().find(certificates) {
            StoreError::new(error, &url)
        } else if errors.iter().all(unknown) {
            StoreError::NotASentinel(url)
        } else {
            StoreError::NoSentinel {
                url,
                cause: errors.first().map_or_else(String::new, words),
            }
        }
    }
}

/// The driver's part of it. Only its builder hands certificates on to the servers.
fn client(
    sentinels: &[ConnectionInfo],
    name: &str,
    node: &ConnectionInfo,
    access: &Access,
) -> RedisResult<SentinelClient> {
    let addresses = sentinels.iter().map(|sentinel| sentinel.addr().clone());
    let mut builder = SentinelClientBuilder::new(addresses, name, SentinelServerType::Master)?
        .set_client_to_redis_db(node.redis_settings().db())
        .set_client_to_redis_protocol(node.redis_settings().protocol());
    if let Some(user) = node.redis_settings().username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = node.redis_settings().password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let ConnectionAddr::TcpTls { insecure, .. } = node.addr() {
        builder = builder.set_client_to_redis_tls_mode(if *insecure {
            TlsMode::Insecure
        } else {
            TlsMode::Secure
        });
        if let Some(certificates) = &access.certificates {
            builder = builder.set_client_to_redis_certificates(certificates.clone());
        }
    }
    // All have the same login.
    if let Some(login) = sentinels.first().map(ConnectionInfo::redis_settings) {
        builder = builder.set_client_to_sentinel_protocol(login.protocol());
        if let Some(user) = login.username() {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = login.password() {
            builder = builder.set_client_to_sentinel_password(password);
        }
    }
    builder.build()
}

/// Asks one sentinel what it watches.
async fn primaries(sentinel: &ConnectionInfo) -> RedisResult<Primaries> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(REASON_TIMEOUT))
        .set_response_timeout(Some(REASON_TIMEOUT));
    let mut connection = Client::open(sentinel.clone())?
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    redis::cmd("SENTINEL")
        .arg("MASTERS")
        .query_async(&mut connection)
        .await
}
