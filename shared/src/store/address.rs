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

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use url::Url;

use super::access::Access;
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
    pub(super) fn parse(url: &str, access: &Access) -> Result<Self, String> {
        let (scheme, rest) = split_scheme(url);
        match scheme {
            "redis+sentinel://" => sentinel(&Parts::of("redis", rest), access),
            "rediss+sentinel://" => sentinel(&Parts::of("rediss", rest), access),
            "redis+cluster://" => cluster(&Parts::of("redis", rest), access),
            "rediss+cluster://" => cluster(&Parts::of("rediss", rest), access),
            _ => node(url, access).map(Self::Plain),
        }
    }

    /// How to log in to a server that holds the leads.
    pub(super) fn settings(&self) -> RedisConnectionInfo {
        let node = match self {
            Self::Plain(node) => Some(node),
            Self::Sentinel { node, .. } => Some(&**node),
            Self::Cluster { nodes } => nodes.first(),
        };
        node.map(|node| node.redis_settings().clone())
            .unwrap_or_default()
    }
}

/// A URL's scheme with its `://`, or nothing, and the rest. Another `://` may stand in a password.
pub(super) fn split_scheme(url: &str) -> (&str, &str) {
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let end = url.find(|c| !is_scheme(c)).unwrap_or(url.len());
    let has_one = url[end..].starts_with("://");
    url.split_at(if has_one { end + "://".len() } else { 0 })
}

/// Whether what [`split_scheme`] found cannot be a user whose password begins with `//`.
pub(super) fn is_certain(scheme: &str) -> bool {
    let name = scheme.split(['+', ':']).next().unwrap_or_default();
    let known = ["redis", "rediss", "valkey", "valkeys", "unix"];
    scheme.is_empty() || known.iter().any(|known| name.eq_ignore_ascii_case(known))
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

fn sentinel(parts: &Parts<'_>, access: &Access) -> Result<Address, String> {
    let (name, db) = match parts.path[..] {
        [] => return Err("the name of the primary is missing".into()),
        [name] => (name, "0"),
        [name, db] => (name, db),
        _ => return Err("after the hosts come the primary's name and a database, no more".into()),
    };
    let node = node(&parts.single(parts.login, parts.hosts[0], db), access)?;
    let sentinels = parts.hosts.iter().map(|host| {
        let info = info(&sentinel_url(parts, host)?, access)?;
        Ok(with_password(info, access.sentinel_password.as_deref()))
    });
    Ok(Address::Sentinel {
        sentinels: sentinels.collect::<Result<_, String>>()?,
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

fn cluster(parts: &Parts<'_>, access: &Access) -> Result<Address, String> {
    if !matches!(parts.path[..], [] | ["0"]) {
        return Err("a cluster has only database 0".into());
    }
    let nodes = parts
        .hosts
        .iter()
        .map(|host| node(&parts.single(parts.login, host, ""), access));
    Ok(Address::Cluster {
        nodes: nodes.collect::<Result<_, _>>()?,
    })
}

/// How to talk to a server that holds the leads.
fn node(url: &str, access: &Access) -> Result<ConnectionInfo, String> {
    Ok(with_password(
        info(url, access)?,
        access.password.as_deref(),
    ))
}

/// What the driver makes of a URL with one host.
fn info(url: &str, access: &Access) -> Result<ConnectionInfo, String> {
    let said = |error: redis::RedisError| unreadable(url, &super::error::words(&error));
    let mut info = url.into_connection_info().map_err(said)?;
    let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err("#insecure is not possible: the certificate is always checked. Put the certificate of its CA into REDIS_CA_FILE, and leave #insecure out".into());
    }
    if let Some(certificates) = &access.certificates {
        if !is_tls {
            return Err("a certificate is set (REDIS_CA_FILE, REDIS_CERT_FILE), and the connection would not be encrypted; write rediss:// for TLS, or leave the certificate out".into());
        }
        let client = Client::build_with_tls(info, certificates.clone());
        info = client.map_err(said)?.get_connection_info().clone();
    }
    // The driver's name at the server would cost two calls for each connection, and a right that a
    // user of the bridge needs for nothing else.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings))
}

/// What is wrong with a URL, in our own words, with nothing of a password.
fn unreadable(url: &str, said: &str) -> String {
    let (_, rest) = split_scheme(url);
    // Each of these marks ends the place of the password.
    let before = rest.rfind('@').map_or("", |at| &rest[..at]);
    if before.contains(['/', '?', '#', '@']) {
        return "its password has a character that means something else in a URL. Write @ as %40, / as %2F, ? as %3F, # as %23, % as %25 and : as %3A, or put the password as it is into REDIS_PASSWORD_FILE".into();
    }
    match said {
        "Invalid database number" => {
            "what follows the host and its / is no number of a database".into()
        }
        "Redis URL did not parse" => unparsed(url),
        said => said.replace(url, &redact(url)),
    }
}

/// Why a URL did not parse.
fn unparsed(url: &str) -> String {
    let (scheme, _) = split_scheme(url);
    if !scheme.is_empty() && !is_certain(scheme) {
        return format!("it begins with {scheme}");
    }
    match Url::parse(url) {
        Err(url::ParseError::InvalidPort) => {
            "what follows the : behind the host is no port, a number up to 65535".into()
        }
        Err(url::ParseError::EmptyHost) => "it has no host".into(),
        _ => "it did not parse".into(),
    }
}

/// The same with a password, where the URL had none.
fn with_password(info: ConnectionInfo, password: Option<&str>) -> ConnectionInfo {
    match password {
        Some(password) if info.redis_settings().password().is_none() => {
            let settings = info.redis_settings().clone().set_password(password);
            info.set_redis_settings(settings)
        }
        _ => info,
    }
}

/// The user that a URL names.
pub(super) fn user(url: &str) -> String {
    let parts = Parts::of("redis", split_scheme(url).1);
    let user = parts.login.split([':', '@']).next().unwrap_or_default();
    if user.is_empty() {
        "default".to_owned()
    } else {
        decoded(user)
    }
}

/// Whether a URL has something before its `@`, and no `:` in it.
pub(super) fn lone_user(url: &str) -> bool {
    let login = Parts::of("redis", split_scheme(url).1).login;
    !login.trim_end_matches('@').is_empty() && !login.contains(':')
}

/// Whether a URL brings the password of its user.
#[must_use]
pub fn has_password(url: &str) -> bool {
    let (scheme, rest) = split_scheme(url);
    let parts = Parts::of("redis", rest);
    if scheme.ends_with("unix://") {
        let mut settings = parts.query.trim_start_matches('?').split('&');
        return settings.any(|setting| setting.starts_with("pass="));
    }
    let password = parts.login.split_once(':').map_or("", |(_, rest)| rest);
    password.len() > "@".len()
}

/// A part of a path with its `%xx` read.
pub(super) fn decoded(part: &str) -> String {
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
        }) = Address::parse(url, &Access::default())
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
        match Address::parse("rediss+sentinel://a,b/main", &Access::default()) {
            Ok(Address::Sentinel {
                sentinels, node, ..
            }) => {
                assert!(sentinels.iter().all(tls) && tls(&node));
            }
            other => panic!("{other:?}"),
        }
        match Address::parse("rediss+cluster://a,b:7001", &Access::default()) {
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
            ("redis+sentinel://:hunter2@a:b/main", "is no port"),
            ("redis+cluster://:hunter2@a/1", "only database 0"),
            ("redis+cluster://:hunter2@", "has no host"),
            ("redis+nothing://:hunter2@a", "did not parse"),
            ("redis://:hun/ter2@a", "/ as %2F"),
            ("redis://ada:12/hunter2@a", "REDIS_PASSWORD_FILE"),
            ("redis://:hun#ter2@a", "# as %23"),
            ("redis://a/x", "no number of a database"),
            ("redis://:hunter2@a:99999", "is no port"),
            ("http://:hunter2@a", "begins with http://"),
        ] {
            let why = Address::parse(url, &Access::default()).expect_err("it is wrong");
            assert!(
                why.contains(what) && !why.contains("hunter2"),
                "{url}: {why}"
            );
        }
    }

    #[test]
    fn a_password_is_given_where_the_url_has_none() {
        let access = Access {
            password: Some("given".into()),
            sentinel_password: Some("guards".into()),
            certificates: None,
        };
        let login = |info: &ConnectionInfo| {
            let settings = info.redis_settings();
            let (user, password) = (settings.username(), settings.password());
            (user.map(str::to_owned), password.map(str::to_owned))
        };
        for (url, user, password) in [
            ("redis://ada@a", Some("ada"), "given"),
            ("redis://a", None, "given"),
            ("redis://ada:own@a", Some("ada"), "own"),
        ] {
            match Address::parse(url, &access) {
                Ok(Address::Plain(info)) => assert_eq!(
                    login(&info),
                    (user.map(str::to_owned), Some(password.into())),
                    "{url}"
                ),
                other => panic!("{url}: {other:?}"),
            }
        }
        match Address::parse("redis+sentinel://ada@a,b/main", &access) {
            Ok(Address::Sentinel {
                sentinels, node, ..
            }) => {
                assert_eq!(login(&node), (Some("ada".into()), Some("given".into())));
                let guards = (None, Some("guards".into()));
                assert!(sentinels.iter().all(|sentinel| login(sentinel) == guards));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_user_of_a_url_is_known() {
        for (url, name) in [
            ("redis://a:1/0", "default"),
            ("redis://:p@a", "default"),
            ("redis://ada:p@a", "ada"),
            ("rediss+sentinel://a%40b:p@a:1,b/x", "a@b"),
            ("unix:///tmp/x", "default"),
        ] {
            assert_eq!(user(url), name, "{url}");
        }
    }
}
