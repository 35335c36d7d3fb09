//! Settings that the worker and the console share.
//!
//! One type, used by both command lines: flag, then environment, then default. `--help` shows the
//! environment name and the default of each.

use std::path::PathBuf;

use clap::Args;

use crate::command_line;
use crate::keys::Keys;
use crate::names;

/// Where Redis is when nothing says otherwise.
pub const DEFAULT_REDIS_URL: &str = "redis://127.0.0.1:6379/0";

/// The longest name of a list, in bytes: it stands in every envelope.
const LONGEST_NAME: usize = 250;

/// Which Redis, and which lists in it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Where Redis is: `redis://host:port/db`, `redis+sentinel://host:port,host:port/NAME/db` or
    /// `redis+cluster://host:port,host:port`, `rediss` for TLS; `APP_REDIS_URL` counts where neither this nor `REDIS_URL` is set, then
    /// `redis://127.0.0.1:6379/0`. A password is better kept out of a command line: put it into
    /// `REDIS_PASSWORD_FILE` or `REDIS_PASSWORD`
    #[arg(
        long,
        global = true,
        env = "REDIS_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub redis_url: Option<String>,

    /// The list that producers push leads to
    #[arg(long, global = true, env = "QUEUE_NAME", value_name = "KEY", default_value = names::DEFAULT_QUEUE, value_parser = key_name)]
    pub queue_name: String,

    /// The list of leads that were given up [default: `failed_leads` for the queue
    /// `leads_to_enrich`, `QUEUE:failed` for any other]
    #[arg(long, global = true, env = "FAILED_QUEUE_NAME", value_name = "KEY", value_parser = key_name)]
    pub failed_queue_name: Option<String>,

    /// The stream of enriched leads [default: `enriched_leads` for the queue `leads_to_enrich`,
    /// `QUEUE:enriched` for any other]
    #[arg(long, global = true, env = "ENRICHED_STREAM", value_name = "KEY", value_parser = key_name)]
    pub enriched_stream: Option<String>,

    /// How to be let in.
    #[command(flatten)]
    pub access: RedisAccess,
}

/// What opens the door where the URL alone does not.
#[derive(Debug, Clone, Default, Args)]
pub struct RedisAccess {
    /// A file with the password of the URL's user, where the URL has none; it counts before
    /// `REDIS_PASSWORD`
    #[arg(
        long,
        global = true,
        env = "REDIS_PASSWORD_FILE",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_password_file: Option<PathBuf>,

    /// With TLS: the certificates (PEM) of the CAs that may vouch for Redis, in place of this
    /// machine's own
    #[arg(
        long,
        global = true,
        env = "REDIS_CA_FILE",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_ca_file: Option<PathBuf>,

    /// With TLS: this program's own certificate (PEM), where Redis wants one
    #[arg(
        long,
        global = true,
        env = "REDIS_CERT_FILE",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_cert_file: Option<PathBuf>,

    /// With TLS: the private key (PEM) of that certificate
    #[arg(
        long,
        global = true,
        env = "REDIS_KEY_FILE",
        value_name = "FILE",
        help_heading = "Redis"
    )]
    pub redis_key_file: Option<PathBuf>,

    /// `REDIS_PASSWORD`: the password where neither the URL nor a file has one. It has no flag, for
    /// everybody on a machine can read the flags of its programs.
    #[arg(skip = Secret::of("REDIS_PASSWORD"))]
    pub password: Secret,

    /// The profile that the URL comes from, and its file, as an error names them.
    #[arg(skip)]
    pub profile: Option<String>,

    /// `REDIS_SENTINEL_PASSWORD`: the same for the sentinels.
    #[arg(skip = Secret::of("REDIS_SENTINEL_PASSWORD"))]
    pub sentinel_password: Secret,
}

/// A text that is never shown, or none.
#[derive(Clone, Default)]
pub struct Secret(pub Option<String>);

impl Secret {
    /// What a variable holds; one that is empty counts as not set.
    fn of(name: &str) -> Self {
        Self(std::env::var(name).ok().filter(|value| !value.is_empty()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "***" } else { "none" })
    }
}

impl RedisArgs {
    /// A Redis with these lists in it: of the leads that wait, of those that were given up, and the
    /// stream of the enriched ones. The URL has all that it takes to be let in.
    #[must_use]
    pub fn of(url: impl Into<String>, [queue, failed, enriched]: [&str; 3]) -> Self {
        Self {
            redis_url: Some(url.into()),
            queue_name: queue.into(),
            failed_queue_name: Some(failed.into()),
            enriched_stream: Some(enriched.into()),
            access: RedisAccess::default(),
        }
    }

    /// The URL in force: `--redis-url` or `REDIS_URL`, then `APP_REDIS_URL`, then the default.
    /// An empty setting counts as none, as in an `.env` file with the value left out.
    #[must_use]
    pub fn url(&self) -> String {
        let set = |text: &String| !text.trim().is_empty();
        self.redis_url
            .clone()
            .filter(set)
            .map(|url| command_line::given(&url).unwrap_or(url))
            .or_else(|| std::env::var("APP_REDIS_URL").ok().filter(set))
            .map_or_else(|| DEFAULT_REDIS_URL.to_owned(), |url| url.trim().to_owned())
    }

    /// The keys that these names lead to.
    #[must_use]
    pub fn keys(&self) -> Keys {
        let queue = &*self.queue_name;
        let failed = self.failed_queue_name.clone();
        let enriched = self.enriched_stream.clone();
        Keys::new(
            queue,
            &failed.unwrap_or_else(|| names::failed_of(queue)),
            &enriched.unwrap_or_else(|| names::enriched_of(queue)),
        )
    }
}

/// Reads the name of a list.
///
/// # Errors
/// Why it cannot be one.
pub fn key_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a key needs a name".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a key name has no spaces or control characters".into());
    }
    if text.len() > LONGEST_NAME {
        return Err(format!("a key name has at most {LONGEST_NAME} bytes"));
    }
    Ok(text.to_owned())
}
