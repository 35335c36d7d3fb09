//! Whether a domain has mail servers, as the DNS says.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bridge_shared::envelope::ErrorKind;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};

use super::super::{Failure, Keys};

/// Time one question to one name server may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Questions before a name server counts as silent.
const ATTEMPTS: usize = 2;
/// Answers that are remembered.
const CACHE: u64 = 4_096;
/// Times for which an answer is remembered at most: that there is a server, and that there is none.
const REMEMBER: Duration = Duration::from_secs(3_600);
const REMEMBER_NONE: Duration = Duration::from_secs(300);

/// Asks for mail servers.
#[derive(Debug)]
pub(super) struct Mx {
    resolver: TokioResolver,
}

impl Mx {
    /// Reads `mx` and `dns`; `None` where nobody is to be asked.
    pub(super) fn read(keys: &mut Keys<'_>) -> Option<Self> {
        let (at, dns_at) = (keys.place("mx"), keys.place("dns"));
        let unasked = keys.has("dns") && !keys.has("mx");
        let wanted = keys.flag("mx").unwrap_or(false);
        let servers = keys.texts("dns");
        if unasked {
            keys.wrong(
                &dns_at,
                "name servers are asked only for mx",
                "add mx = true",
            );
        }
        let servers = servers.map(|texts| {
            let server = |text: toml::Spanned<String>| {
                let server = address(text.get_ref());
                if server.is_none() {
                    keys.wrong(
                        &text.span(),
                        format!("\"{}\" is not an address of a name server", text.get_ref()),
                        "write it like \"10.0.0.2\" or \"127.0.0.1:5353\"",
                    );
                }
                server
            };
            texts.into_iter().filter_map(server).collect::<Vec<_>>()
        });
        if !wanted {
            return None;
        }
        resolver(servers)
            .map_err(|error| {
                keys.wrong(
                    &at,
                    format!("cannot find out which name servers to ask: {error}"),
                    "name them with dns = [\"10.0.0.2\"]",
                );
            })
            .map(|resolver| Self { resolver })
            .ok()
    }

    /// Whether a domain takes mail.
    ///
    /// # Errors
    /// [`Failure`] of kind [`ErrorKind::Transient`] where nobody can tell at present.
    pub(super) async fn takes_mail(&self, domain: &str) -> Result<bool, Failure> {
        // A name the DNS could not hold is not in it.
        let Ok(mut name) = Name::from_utf8(domain) else {
            return Ok(false);
        };
        name.set_fqdn(true);
        match self.resolver.mx_lookup(name).await {
            Ok(answer) => Ok(answer.answers().iter().any(|record| match &record.data {
                // A domain that takes no mail says so with the root as its server (RFC 7505).
                RData::MX(mx) => !mx.exchange.is_root(),
                _ => false,
            })),
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if matches!(
                    none.response_code,
                    ResponseCode::NXDomain | ResponseCode::NoError
                ) =>
            {
                Ok(false)
            }
            Err(error) => {
                let what = format!("the mail servers of {domain} cannot be looked up: {error}");
                Err(match &error {
                    NetError::Io(io) => {
                        Failure::because_of(ErrorKind::Transient, what, io.as_ref())
                    }
                    error => Failure::because_of(ErrorKind::Transient, what, error),
                })
            }
        }
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let ip = text.parse::<IpAddr>().ok();
    ip.map(|ip| SocketAddr::new(ip, 53))
        .or_else(|| text.parse().ok())
}

fn resolver(servers: Option<Vec<SocketAddr>>) -> Result<TokioResolver, NetError> {
    let mut builder = match servers {
        Some(servers) => {
            let servers = servers.into_iter().map(|server| {
                let mut config = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut config.connections {
                    connection.port = server.port();
                }
                config
            });
            TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(servers.collect()),
                TokioRuntimeProvider::default(),
            )
        }
        None => TokioResolver::builder_tokio()?,
    };
    bound(builder.options_mut());
    builder.build()
}

fn bound(options: &mut ResolverOpts) {
    options.timeout = TIMEOUT;
    options.attempts = ATTEMPTS;
    options.cache_size = CACHE;
    options.positive_max_ttl = Some(REMEMBER);
    options.negative_max_ttl = Some(REMEMBER_NONE);
    options.use_hosts_file = ResolveHosts::Never;
}
