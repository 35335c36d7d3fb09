//! What can go wrong with Redis, in words that say what happened and what to do.

use std::io;
use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::names;

use super::address::{decoded, is_certain, split_scheme};
use super::target::Target;

/// Why the store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The URL is not one.
    #[error(
        "{url} is not a Redis URL: {why}. Set {} to redis://[user:password@]host[:port][/db], redis+sentinel://[user:password@]host[:port],host/NAME[/db] or redis+cluster://[user:password@]host[:port],host; rediss for TLS.", .url.set_by
    )]
    BadUrl {
        /// The URL, without its password.
        url: Target,
        /// The parser's words.
        why: String,
    },
    /// No connection, or it broke.
    #[error(
        "cannot reach Redis at {url}: {cause}. Is it running? Set {} to another one.",
        .url.set_by
    )]
    Unreachable {
        /// The URL, without its password.
        url: Target,
        /// The cause.
        cause: String,
    },
    /// The connection broke with much under way.
    #[error("the connection to Redis at {url} broke: {cause}.")]
    Broke {
        /// The URL, without its password.
        url: Target,
        /// How much, how fast, and what is done about it.
        cause: String,
    },
    /// Something else than Redis answers.
    #[error("what answers at {url} is not Redis: {cause}. Set {} to the port of Redis, mostly 6379.", .url.set_by)]
    NotRedis {
        /// The URL, without its password.
        url: Target,
        /// What it says, or what it is.
        cause: String,
    },
    /// One of the three names is a key that the bridge uses for something else.
    #[error(transparent)]
    NameTaken(#[from] names::Collision),
    /// The user or password is wrong, or one is wanted.
    #[error(
        "Redis at {url} refuses the login: {cause}. {}", .url.login
    )]
    Login {
        /// The URL, without its password.
        url: Target,
        /// The server's words.
        cause: String,
    },
    /// The encrypted connection cannot come about.
    #[error("no encrypted connection to Redis at {url}: {cause}.")]
    Tls {
        /// The URL, without its password.
        url: Target,
        /// The cause, and what to do about it.
        cause: String,
    },
    /// A file with a password or a certificate is not what it should be.
    #[error("{0}")]
    BadAccess(String),
    /// The user may not do this.
    #[error(
        "the Redis user {cause}.{} Give it that right, or use another user: assets/acl has what each program needs, and ACL LOG on the server names what was refused.",
        no_access(.keys)
    )]
    NotAllowed {
        /// Who may not do what, and the server's words.
        cause: String,
        /// Keys of the bridge that the user has no access to at all, where that is known.
        keys: Vec<String>,
    },
    /// The server reads its data after a start.
    #[error("Redis at {0} is still loading its data. It answers when that is done.")]
    Loading(Target),
    /// The server is a replica.
    #[error("Redis at {0} is a read-only replica. Set {set_by} to the primary.", set_by = .0.set_by)]
    ReadOnly(Target),
    /// The server is a replica that has lost its primary.
    #[error(
        "Redis at {0} is a replica that has lost its primary, and serves nothing until it has it back. Set {set_by} to the primary, or see why the two do not reach each other (INFO replication).", set_by = .0.set_by
    )]
    MasterDown(Target),
    /// No sentinel answers.
    #[error(
        "no sentinel of {url} answers: {cause}. Are they running, and on these ports? They listen on 26379 where nothing else is set."
    )]
    NoSentinel {
        /// The URL, without its passwords.
        url: Target,
        /// The first one's cause.
        cause: String,
    },
    /// The sentinels want a login of their own.
    #[error(
        "the sentinels of {url} refuse the login: {cause}. Put it behind the URL: ?sentinel_username=USER&sentinel_password=PASSWORD."
    )]
    SentinelLogin {
        /// The URL, without its passwords.
        url: Target,
        /// The first one's words.
        cause: String,
    },
    /// What should be sentinels is something else.
    #[error(
        "{0} does not lead to sentinels. Give their ports, mostly 26379; for a Redis itself write redis://host:port."
    )]
    NotASentinel(Target),
    /// The sentinels know no primary of this name.
    #[error(
        "the sentinels do not know a primary `{name}`; they know {known}. Put the right name into the URL: redis+sentinel://host:port/NAME."
    )]
    UnknownPrimary {
        /// The name in the URL.
        name: String,
        /// The names they know.
        known: String,
    },
    /// The sentinels know the name but hold the primary for down.
    #[error(
        "the sentinels know no primary of `{0}` that answers. They make a replica the new one, if there is one; the bridge follows."
    )]
    NoPrimary(String),
    /// The URL of one server leads to a sentinel.
    #[error("{0} is a sentinel. Set {set_by} to redis+sentinel://host:port/NAME.", set_by = .0.set_by)]
    IsSentinel(Target),
    /// The URL of one server leads to a node of a cluster.
    #[error("Redis at {0} belongs to a cluster. Set {set_by} to redis+cluster://host:port.", set_by = .0.set_by)]
    InCluster(Target),
    /// The URL of a cluster leads to a server that is none.
    #[error("Redis at {0} is not a cluster. Set {set_by} to redis://host:port.", set_by = .0.set_by)]
    NotACluster(Target),
    /// The names given would put the keys into more than one slot.
    #[error(
        "on Redis Cluster all keys must share one hash tag, and {} do not. Set QUEUE_NAME='{{leads}}_to_enrich', FAILED_QUEUE_NAME='{{leads}}_failed' and ENRICHED_STREAM='{{leads}}_enriched', or others with one {{tag}}.",
        .0.join(", ")
    )]
    Scattered([String; 3]),
    /// The keys are on another node than was thought, or on their way to one.
    #[error("the keys are moving to another node of the cluster {0}. The bridge follows.")]
    Moved(Target),
    /// The cluster does not serve the keys.
    #[error(
        "the cluster {url} does not serve the bridge's keys: {cause}. CLUSTER INFO and CLUSTER NODES tell more."
    )]
    ClusterDown {
        /// The URL, without its password.
        url: Target,
        /// The server's words.
        cause: String,
    },
    /// The server has no room or may not write.
    #[error(
        "Redis at {url} refuses to write: {cause}. {} What was asked for was not done.",
        room(.cause)
    )]
    WriteRefused {
        /// The URL, without its password.
        url: Target,
        /// The server's words.
        cause: String,
    },
    /// A push is not on as many replicas as were asked for.
    #[error(
        "the leads are pushed, but only {have} of {replicas} replicas have them. See why the others lag (INFO replication), or ask for fewer with --wait-replicas or wait_replicas."
    )]
    TooFewReplicas {
        /// How many have it.
        have: u32,
        /// How many were asked for.
        replicas: u32,
    },
    /// A push is not on the disks that were asked for.
    #[error(
        "the leads are pushed, but not yet on the disk of {missing}. See aof_last_write_status and the appendfsync setting there, or push without --wait-fsync or wait_fsync."
    )]
    NotOnDisk {
        /// Whose disk.
        missing: String,
    },
    /// The server cannot tell when a push is on its disk.
    #[error(
        "Redis cannot tell when leads are on its disk: {cause}. That needs Redis 7.2 with appendonly yes. Change the server, or push without --wait-fsync or wait_fsync."
    )]
    NoFsync {
        /// The server's words.
        cause: String,
    },
    /// The server is too old.
    #[error(
        "Redis at {url} is version {version}; the bridge needs 6.2 or newer (LMOVE, RPOP with a count)."
    )]
    TooOld {
        /// The URL, without its password.
        url: Target,
        /// The server's version.
        version: String,
    },
    /// A key holds another type than the bridge keeps there.
    #[error(
        "{} {}",
        wrong_type(.keys, .cause),
        WRONG_TYPE
    )]
    WrongType {
        /// The server's words, which do not name the key.
        cause: String,
        /// The keys found to be of another type: each with what it holds and what it should.
        keys: Vec<(String, String, &'static str)>,
    },
    /// The stream has no ids left.
    #[error("{}. {}", STREAM_FULL.0, STREAM_FULL.1)]
    StreamFull,
    /// Anything else the server says.
    #[error("Redis answered: {0}")]
    Answer(String),
}

impl StoreError {
    /// Puts a driver's error into words.
    pub(super) fn new(error: &RedisError, url: &Target) -> Self {
        let url = url.clone();
        let error = &unwrapped(error.clone());
        let cause = words(error);
        match error.kind() {
            ErrorKind::AuthenticationFailed => return Self::Login { url, cause },
            ErrorKind::Parse => {
                let cause = foreign(&format!("{error:?}"));
                return Self::NotRedis { url, cause };
            }
            ErrorKind::Io if is_foreign(error) => {
                return Self::NotRedis { url, cause };
            }
            ErrorKind::Io if is_in_the_middle(error) => return Self::Broke { url, cause },
            ErrorKind::Io => {
                return match super::tls::words(error) {
                    Some(cause) => Self::Tls { url, cause },
                    // With TLS 1.3 a server looks at this side's certificate when this side is
                    // done, and its words may be lost with the connection.
                    None if url.url.starts_with("rediss") && error.is_connection_dropped() => {
                        let cause = format!(
                            "{cause}, as it is where Redis wants another certificate of this program (REDIS_CERT_FILE)"
                        );
                        Self::Unreachable { url, cause }
                    }
                    None => Self::Unreachable { url, cause },
                };
            }
            // The driver says so where the key is another certificate's.
            ErrorKind::InvalidClientConfig if error.to_string().contains("TLS") => {
                return Self::BadAccess(format!(
                    "REDIS_CERT_FILE and REDIS_KEY_FILE cannot be used: {cause}. The key must be the certificate's own."
                ));
            }
            ErrorKind::InvalidClientConfig => return Self::BadUrl { url, why: cause },
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::BusyLoading => return Self::Loading(url),
                ServerErrorKind::MasterDown => return Self::MasterDown(url),
                ServerErrorKind::ReadOnly => return Self::ReadOnly(url),
                ServerErrorKind::NoPerm => return Self::not_allowed(cause),
                ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain
                    if is_cluster(&url) =>
                {
                    return Self::Moved(url);
                }
                ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot => {
                    return Self::InCluster(url);
                }
                ServerErrorKind::ClusterDown => return Self::ClusterDown { url, cause },
                _ => {}
            },
            _ => {}
        }
        if cause.contains("DB index is out of range") {
            return Self::BadUrl {
                url,
                why: "the server has no database of that number".into(),
            };
        }
        let says = |word: &str| error.code() == Some(word) || cause.contains(word);
        if says("NOAUTH") || says("WRONGPASS") {
            Self::Login { url, cause }
        } else if says("NOPERM") || says("The user executing the script can't") {
            // The second is what Redis says of a command inside a script, with no code of its own.
            Self::not_allowed(cause)
        } else if says("MASTERDOWN") {
            Self::MasterDown(url)
        } else if says("READONLY") {
            Self::ReadOnly(url)
        } else if says("LOADING") {
            Self::Loading(url)
        } else if says("OOM") || says("MISCONF") || says("NOREPLICAS") {
            Self::WriteRefused { url, cause }
        } else if says("WRONGTYPE") {
            Self::WrongType {
                cause,
                keys: Vec::new(),
            }
        } else if says("exhausted the last possible ID") {
            Self::StreamFull
        } else if says("cluster support disabled") {
            Self::NotACluster(url)
        } else {
            Self::Answer(cause)
        }
    }

    /// Whether the connection could not be had, or broke: whether the call was carried out is then
    /// not known.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Broke { .. } | Self::NotRedis { .. }
        )
    }

    fn not_allowed(cause: String) -> Self {
        Self::NotAllowed {
            cause,
            keys: Vec::new(),
        }
    }

    /// In two or three words, for where there is room for no more.
    #[must_use]
    pub const fn brief(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Broke { .. } => "no Redis",
            Self::NotRedis { .. } => "not Redis",
            Self::Tls { .. } => "no TLS",
            Self::Login { .. } | Self::SentinelLogin { .. } => "login refused",
            Self::NotAllowed { .. } => "not allowed",
            Self::Loading(_) => "loading",
            Self::ReadOnly(_) => "replica",
            Self::MasterDown(_) | Self::NoSentinel { .. } | Self::NoPrimary(_) => "no primary",
            Self::Moved(_) => "moving",
            Self::ClusterDown { .. } => "cluster down",
            Self::WriteRefused { .. } => "not writable",
            Self::TooFewReplicas { .. } => "too few replicas",
            Self::NotOnDisk { .. } => "not on disk",
            Self::NoFsync { .. } => "no WAITAOF",
            Self::TooOld { .. } => "too old",
            Self::WrongType { .. } => "wrong type",
            Self::StreamFull => "stream full",
            Self::Answer(_) => "Redis error",
            Self::BadUrl { .. }
            | Self::BadAccess(_)
            | Self::NameTaken(_)
            | Self::NotASentinel(_)
            | Self::UnknownPrimary { .. }
            | Self::IsSentinel(_)
            | Self::InCluster(_)
            | Self::NotACluster(_)
            | Self::Scattered(_) => "wrong settings",
        }
    }

    /// Whether the same call may succeed later without anyone changing a setting: what a worker
    /// waits out, and what the console shows as a lost connection.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Broke { .. }
                | Self::NotRedis { .. }
                | Self::Loading(_)
                | Self::ReadOnly(_)
                | Self::MasterDown(_)
                | Self::NoSentinel { .. }
                | Self::NoPrimary(_)
                | Self::Moved(_)
                | Self::ClusterDown { .. }
                | Self::WriteRefused { .. }
                | Self::StreamFull
                | Self::TooFewReplicas { .. }
                | Self::NotOnDisk { .. }
                | Self::Answer(_)
        )
    }

    /// Whether Redis is away, and comes back without anybody doing anything to it. What else it
    /// may say needs an operator, even if a worker waits for it.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Loading(_)
                | Self::MasterDown(_)
                | Self::NoSentinel { .. }
                | Self::NoPrimary(_)
                | Self::Moved(_)
                | Self::ClusterDown { .. }
        )
    }

    /// What the server does not do, and the remedy, without its address.
    #[must_use]
    pub fn refusal(&self) -> (String, String) {
        match self {
            Self::WriteRefused { cause, .. } => (cause.clone(), room(cause).to_owned()),
            Self::ReadOnly(_) => (
                "it is a read-only replica".to_owned(),
                "Set REDIS_URL to the primary.".to_owned(),
            ),
            Self::WrongType { cause, keys } => (
                wrong_type(keys, cause).trim_end_matches('.').to_owned(),
                WRONG_TYPE.to_owned(),
            ),
            Self::StreamFull => (STREAM_FULL.0.to_owned(), STREAM_FULL.1.to_owned()),
            other => (other.to_string(), String::new()),
        }
    }
}

const WRONG_TYPE: &str = "Is QUEUE_NAME, FAILED_QUEUE_NAME or ENRICHED_STREAM used by another program? RENAME the key, and the bridge goes on.";

/// What is wrong with a stream without ids, and the remedy.
const STREAM_FULL: (&str, &str) = (
    "the stream has reached the largest possible id, so Redis adds nothing to it",
    "RENAME the key that ENRICHED_STREAM names, and the bridge goes on.",
);

/// Which keys the user has no access to, as a sentence.
fn no_access(keys: &[String]) -> String {
    if keys.is_empty() {
        String::new()
    } else {
        format!(" It has no access to {}.", keys.join(", "))
    }
}

/// Which keys hold what they should not, as a sentence.
fn wrong_type(keys: &[(String, String, &str)], cause: &str) -> String {
    if keys.is_empty() {
        return format!("a key of the bridge holds something else: {cause}.");
    }
    let told = keys.iter().map(|(key, holds, wants)| {
        format!("the key {key} is a {holds}, and the bridge keeps a {wants} there")
    });
    told.collect::<Vec<_>>().join("; ") + "."
}

/// What to do where the server has no room.
fn room(cause: &str) -> &'static str {
    if cause.contains("OOM") {
        "It is out of memory: raise its maxmemory, or free some."
    } else if cause.contains("NOREPLICAS") {
        "It wants more replicas than are connected (min-replicas-to-write)."
    } else {
        "Its disk may be full: its log tells why, and it goes on by itself when it can save again."
    }
}

/// The server's own error, out of a pipeline's.
pub(super) fn unwrapped(error: RedisError) -> RedisError {
    match error.clone().into_server_errors().as_deref() {
        Some([(_, first), ..]) => first.clone().into(),
        _ => error,
    }
}

/// What the server or the operating system said, without the driver's wrapping.
pub(super) fn words(error: &RedisError) -> String {
    if error.kind() == ErrorKind::Io {
        return if error.is_timeout() {
            "no answer in time".into()
        } else if error.is_connection_refusal() {
            "connection refused".into()
        } else {
            error.to_string()
        };
    }
    // Where in which script it happened says nothing to whoever reads it.
    let detail = error.detail().map(|detail| {
        let at = detail.find(" script: ").unwrap_or(detail.len());
        detail[..at].trim_end_matches(['.', '\n'])
    });
    match (error.code(), detail) {
        (Some("ERR") | None, Some(detail)) => detail.to_owned(),
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => {
            // "No address found for host - InvalidClientConfig": the second is the library's own.
            let said = error.to_string();
            match said.split_once(" - ") {
                Some((said, _)) => said.to_owned(),
                None => said,
            }
        }
    }
}

/// Whether a URL names a cluster.
fn is_cluster(url: &Target) -> bool {
    split_scheme(&url.url).0.ends_with("+cluster://")
}

/// What a call ends with whose connection broke when it had brought so many bytes, of so many that
/// were asked for, in so much time.
pub(super) fn in_the_middle(
    error: &RedisError,
    bytes: u64,
    asked: usize,
    took: Duration,
) -> RedisError {
    let kind = if error.is_timeout() {
        io::ErrorKind::TimedOut
    } else {
        io::ErrorKind::BrokenPipe
    };
    io::Error::new(
        kind,
        InTheMiddle {
            cause: words(error),
            bytes,
            asked,
            took,
        },
    )
    .into()
}

#[derive(Debug, Clone)]
struct InTheMiddle {
    cause: String,
    bytes: u64,
    asked: usize,
    took: Duration,
}

impl std::error::Error for InTheMiddle {}

impl std::fmt::Display for InTheMiddle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            cause,
            bytes,
            asked,
            took,
        } = self;
        let seconds = took.as_secs_f64();
        write!(f, "{cause}, after {} in {seconds:.1} s", amount(*bytes))?;
        if seconds >= 1.0 {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            write!(f, " ({} a second)", amount(*bytes * 1_000 / millis))?;
        }
        write!(
            f,
            ", with up to {} of leads asked for. Half as much is asked for next. Does the link carry that much, and does the server allow such a reply (client-output-buffer-limit)",
            amount(*asked as u64)
        )
    }
}

/// Bytes as they are read.
fn amount(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

fn inner<E: std::error::Error + 'static>(error: &RedisError) -> bool {
    super::tls::io_error(error)
        .and_then(io::Error::get_ref)
        .is_some_and(<dyn std::error::Error + Send + Sync>::is::<E>)
}

fn is_in_the_middle(error: &RedisError) -> bool {
    inner::<InTheMiddle>(error)
}

/// What came is no answer of Redis.
#[derive(Debug, Clone)]
pub(super) struct Foreign(pub(super) String);

impl std::error::Error for Foreign {}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&foreign(&self.0))
    }
}

/// What a call to a server of HTTP ends with.
pub(super) fn speaks_http() -> RedisError {
    io::Error::new(io::ErrorKind::InvalidData, Foreign("HTTP/".into())).into()
}

pub(super) fn is_foreign(error: &RedisError) -> bool {
    inner::<Foreign>(error)
}

/// What it is that is no answer of Redis, as far as the first bytes tell.
fn foreign(said: &str) -> String {
    if said.contains("HTTP/") {
        "it speaks HTTP".into()
    } else {
        "its answer is none of Redis's protocol".into()
    }
}

/// A Redis URL that may be shown: the passwords are gone.
///
/// It need not be a good one. A password with an `@`, `/`, `?` or `#` that nobody wrote as `%40` and
/// so on makes another URL of it, so what stands before the last `@` is shown only where it can be
/// nothing but a user.
///
/// A user without a password may be a password in the wrong place: it is hidden too.
#[must_use]
pub fn redact(url: &str) -> String {
    redacted(url, false)
}

/// The same where the password is known to come from elsewhere: then the user is one.
pub(super) fn redacted(url: &str, user_is_certain: bool) -> String {
    let (scheme, rest) = split_scheme(url);
    let Some(at) = rest.rfind('@') else {
        return match misplaced_password(rest) {
            Some(begin) => format!("{scheme}{}***", &rest[..begin]),
            None => without_query_passwords(url),
        };
    };
    let (login, place) = rest.split_at(at);
    let (user, password) = match login.split_once(':') {
        Some((user, _)) => (user, ":***"),
        None if user_is_certain || login.is_empty() => (login, ""),
        None => ("***", ""),
    };
    if is_certain(scheme) && !login.contains(['@', '/', '?', '#']) {
        return format!("{scheme}{user}{password}{}", without_query_passwords(place));
    }
    // The `@` may as well stand in a password of the query, and what follows it is its end.
    if login.to_ascii_lowercase().contains("pass") {
        return format!("{scheme}***");
    }
    format!("{scheme}***{}", without_query_passwords(place))
}

/// Where a password begins that nobody wrote a host behind: it stands in the place of a port.
fn misplaced_password(rest: &str) -> Option<usize> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let mut begin = 0;
    for host in authority.split(',') {
        if !host.starts_with('[')
            && let Some((name, port)) = host.split_once(':')
            && (name.is_empty() || port.contains(|c: char| !c.is_ascii_digit()))
        {
            return Some(begin + name.len() + ":".len());
        }
        begin += host.len() + ",".len();
    }
    None
}

/// Hides what `?sentinel_password=`, and `?pass=` of a socket's URL, give; a `=` may stand before
/// them, and what follows them may be theirs.
fn without_query_passwords(url: &str) -> String {
    let mut begin = 0;
    for part in url.split('&') {
        let names = |end: usize| decoded(&part[..end]).to_ascii_lowercase().contains("pass");
        if let Some((end, _)) = part.match_indices('=').find(|(end, _)| names(*end)) {
            return format!("{}=***", &url[..begin + end]);
        }
        begin += part.len() + "&".len();
    }
    url.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "redis://user:hunter2@host:6379/0",
            "rediss://:hunter2@host",
            "redis://user:hunter2@ho st",
            "user:hunter2@host",
            "redis://user:hun@ter2@[bad",
            "redis+sentinel://user:hunter2@a:1,b:2/main/0",
            "redis+sentinel://a:1,b:2/main?sentinel_password=hunter2",
            "redis+sentinel://a:1/main?protocol=3&sentinel_password=hun@ter2",
            "redis+cluster://:hunter2@a,b",
            "unix:///socket?user=ada&pass=hunter2",
            "redis://ada:12/hunter2@host",
            "redis://ada:12?hunter2@host",
            "redis://ada:12#hunter2@host",
            "redis://ada:p@ss/hunter2@host",
            "redis+cluster://ada:12/hunter2@a,b",
            // One that looks like a query, or like more of them.
            "redis://ada:hun?pass=ter2@host",
            "redis://ada:hun&pass=ter2@host",
            "redis://ada:hunpass=ter2@host",
            "redis://ada:hun@x?pass=ter2@host",
            "ada:hunter2@host/0?sentinel_password=://",
            "ada://hunter2@host",
            "://hunter2@host",
            "+x://hunter2@host",
            "unix:///run/a=b.sock?pass=hunter2",
            "redis+sentinel://a:1/m=x?sentinel_password=hunter2",
            "ada:=@host/0?sentinel_password=@hunter2",
            "redis+sentinel://ada:hun?sentinel_password=ter2@a:1/main",
            "redis+sentinel://ada:hun@a:1/main?sentinel_password=x@ter2",
            "redis+sentinel://a:1/main?sentinel_password=hun&ter2",
            "redis+sentinel://a:1/main?sentinel_p%61ssword=hunter2",
            // One without a host behind it.
            "redis://:hunter2",
            "redis://ada:hunter2/0",
            "redis://ada:hun/ter2",
            "redis://ada:hunter2host:6379",
            "redis+cluster://a:1,ada:hunter2",
            "ada:hunter2",
        ] {
            let shown = redact(url);
            for part in ["hunter2", "hun", "ter2"] {
                assert!(!shown.contains(part), "{url}: {shown}");
            }
        }
        for (url, shown) in [
            ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
            ("redis://hunter2@host:1/0", "redis://***@host:1/0"),
            ("redis://ada:x/0", "redis://ada:***"),
            ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
            ("unix:///run/a:b.sock?db=1", "unix:///run/a:b.sock?db=1"),
            ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
            ("redis://ada:x@host:1/0", "redis://ada:***@host:1/0"),
            ("redis://ada:x/y@host:1/0", "redis://***@host:1/0"),
        ] {
            assert_eq!(redact(url), shown);
        }
        assert_eq!(redacted("redis://ada@host", true), "redis://ada@host");
    }
}
