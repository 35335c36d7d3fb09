//! Where Redis is: one server, a primary behind sentinels, or a cluster.
//!
//! The forms are those other clients read:
//!
//! - `redis://[user:password@]host[:port][/db]`, and `unix:///path`
//! - `redis+sentinel://[user:password@]host[:26379][,host...]/NAME[/db]`, with
//!   `?sentinel_username=` and `?sentinel_password=` where the sentinels want a login too
//! - `redis+cluster://[user:password@]host[:port][,host...]`
//!
//! `rediss` in the place of `redis` is TLS, with the servers and with the sentinels.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use url::Url;

use super::error::redact;

/// The port a sentinel listens on when none is given.
const SENTINEL_PORT: u16 = 26379;

/// A Redis URL, taken apart.
#[derive(Debug)]
pub(super) enum Address {
    /// One server.
    Plain(ConnectionInfo),
    /// A primary that sentinels know by a name.
    Sentinel {
        /// Where the sentinels are, with their login.
        sentinels: Vec<ConnectionInfo>,
        /// The primary's name.
        name: String,
        /// How to talk to the primary; the host in it is a sentinel's.
        node: Box<ConnectionInfo>,
    },
    /// A cluster.
    Cluster {
        /// Some of its nodes.
        nodes: Vec<ConnectionInfo>,
    },
}

impl Address {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it, in words without a password.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        match scheme {
            "redis+sentinel" => sentinel(&Parts::of("redis", rest)),
            "rediss+sentinel" => sentinel(&Parts::of("rediss", rest)),
            "redis+cluster" => cluster(&Parts::of("redis", rest)),
            "rediss+cluster" => cluster(&Parts::of("rediss", rest)),
            _ => info(url).map(Self::Plain),
        }
    }
}

/// What stands between the marks of a URL with more than one host.
struct Parts<'a> {
    scheme: &'static str,
    /// `user:password@`, or nothing.
    login: &'a str,
    hosts: Vec<&'a str>,
    path: Vec<&'a str>,
    /// `?...`, or nothing.
    query: &'a str,
    /// `#...`, or nothing.
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(scheme: &'static str, rest: &'a str) -> Self {
        let (rest, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
        let (rest, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Self {
            scheme,
            login,
            hosts: hosts.split(',').map(str::trim).collect(),
            path: path.split('/').filter(|part| !part.is_empty()).collect(),
            query,
            fragment,
        }
    }

    /// The URL of one host alone, which the driver can read.
    fn single(&self, login: &str, host: &str, db: &str) -> String {
        format!(
            "{}://{login}{host}/{db}{}{}",
            self.scheme, self.query, self.fragment
        )
    }
}

fn sentinel(parts: &Parts<'_>) -> Result<Address, String> {
    let (name, db) = match parts.path[..] {
        [] => return Err("the name of the primary is missing".into()),
        [name] => (name, "0"),
        [name, db] => (name, db),
        _ => return Err("after the hosts come the primary's name and a database, no more".into()),
    };
    let node = info(&parts.single(parts.login, parts.hosts[0], db))?;
    let sentinels = parts
        .hosts
        .iter()
        .map(|host| info(&sentinel_url(parts, host)?));
    Ok(Address::Sentinel {
        sentinels: sentinels.collect::<Result<_, _>>()?,
        name: decoded(name),
        node: Box::new(node),
    })
}

/// A sentinel's own URL: another port where none is given, no database, and a login of its own.
fn sentinel_url(parts: &Parts<'_>, host: &str) -> Result<String, String> {
    let mut url = Url::parse(&parts.single("", host, "")).map_err(|error| error.to_string())?;
    let fails = |()| "a sentinel needs a host".to_owned();
    if url.port().is_none() {
        url.set_port(Some(SENTINEL_PORT)).map_err(fails)?;
    }
    for (field, value) in url.clone().query_pairs() {
        match &*field {
            "sentinel_username" => url.set_username(&value).map_err(fails)?,
            "sentinel_password" => url.set_password(Some(&value)).map_err(fails)?,
            _ => {}
        }
    }
    Ok(url.into())
}

fn cluster(parts: &Parts<'_>) -> Result<Address, String> {
    if !matches!(parts.path[..], [] | ["0"]) {
        return Err("a cluster has only database 0".into());
    }
    let nodes = parts
        .hosts
        .iter()
        .map(|host| info(&parts.single(parts.login, host, "")));
    Ok(Address::Cluster {
        nodes: nodes.collect::<Result<_, _>>()?,
    })
}

/// What the driver makes of a URL with one host.
fn info(url: &str) -> Result<ConnectionInfo, String> {
    url.into_connection_info().map_err(|error| {
        error
            .detail()
            .map_or_else(|| error.to_string(), ToOwned::to_owned)
            .replace(url, &redact(url))
    })
}

/// A part of a path with its `%xx` read.
fn decoded(part: &str) -> String {
    // A query is read the same way but for the plus sign.
    let query = format!("name={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(query.as_bytes())
        .next()
        .map_or_else(|| part.to_owned(), |(_, value)| value.into_owned())
}

/// The same kind of address, somewhere else.
pub(super) fn elsewhere(like: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let addr = match like.addr() {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    };
    like.clone().set_addr(addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn a_sentinel_url_has_hosts_a_name_and_two_logins() {
        let url = "redis+sentinel://ada:p%40ss@a:1,b,[::1]:3/my%2Fmaster/5?sentinel_username=guard&sentinel_password=s%26cret";
        let Ok(Address::Sentinel {
            sentinels,
            name,
            node,
        }) = Address::parse(url)
        else {
            panic!("it is one");
        };
        assert_eq!(shown(&sentinels), ["a:1", "b:26379", "::1:3"]);
        assert_eq!(name, "my/master");
        let login = |info: &ConnectionInfo| {
            let settings = info.redis_settings();
            (
                settings.username().map(str::to_owned),
                settings.password().map(str::to_owned),
                settings.db(),
            )
        };
        assert_eq!(login(&node), (Some("ada".into()), Some("p@ss".into()), 5));
        let guard = (Some("guard".into()), Some("s&cret".into()), 0);
        assert!(sentinels.iter().all(|sentinel| login(sentinel) == guard));
    }

    #[test]
    fn tls_goes_for_every_host() {
        let tls = |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        match Address::parse("rediss+sentinel://a,b/main") {
            Ok(Address::Sentinel {
                sentinels, node, ..
            }) => {
                assert!(sentinels.iter().all(tls) && tls(&node));
            }
            other => panic!("{other:?}"),
        }
        match Address::parse("rediss+cluster://a,b:7001") {
            Ok(Address::Cluster { nodes }) => {
                assert!(nodes.iter().all(tls));
                assert_eq!(shown(&nodes), ["a:6379", "b:7001"]);
                assert!(tls(&elsewhere(&nodes[0], "c".into(), 7002)));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, what) in [
            ("redis+sentinel://:hunter2@a:1", "name of the primary"),
            ("redis+sentinel://:hunter2@a/main/0/1", "no more"),
            ("redis+sentinel://:hunter2@a/main/x", "database"),
            ("redis+sentinel://:hunter2@a:b/main", "did not parse"),
            ("redis+cluster://:hunter2@a/1", "only database 0"),
            ("redis+cluster://:hunter2@", "did not parse"),
            ("redis+nothing://:hunter2@a", "did not parse"),
        ] {
            let why = Address::parse(url).expect_err("it is wrong");
            assert!(
                why.contains(what) && !why.contains("hunter2"),
                "{url}: {why}"
            );
        }
    }
}
