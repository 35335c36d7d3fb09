//! Settings that the worker and the console share.
//!
//! One type, used by both command lines: flag, then environment, then default. `--help` shows the
//! environment name and the default of each.

use clap::Args;

use crate::keys::Keys;

/// Where Redis is when nothing says otherwise.
pub const DEFAULT_REDIS_URL: &str = "redis://127.0.0.1:6379/0";

/// Which Redis, and which lists in it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Where Redis is: `redis://host:port/db`, `redis+sentinel://host:port,host:port/NAME/db` or
    /// `redis+cluster://host:port,host:port`, `rediss` for TLS; `APP_REDIS_URL` counts where neither this nor `REDIS_URL` is set, then
    /// `redis://127.0.0.1:6379/0`
    #[arg(
        long,
        global = true,
        env = "REDIS_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub redis_url: Option<String>,

    /// The list that producers push leads to
    #[arg(long, global = true, env = "QUEUE_NAME", value_name = "KEY", default_value = "leads_to_enrich", value_parser = key_name)]
    pub queue_name: String,

    /// The list of leads that were given up
    #[arg(long, global = true, env = "FAILED_QUEUE_NAME", value_name = "KEY", default_value = "failed_leads", value_parser = key_name)]
    pub failed_queue_name: String,

    /// The stream of enriched leads
    #[arg(long, global = true, env = "ENRICHED_STREAM", value_name = "KEY", default_value = "enriched_leads", value_parser = key_name)]
    pub enriched_stream: String,
}

impl RedisArgs {
    /// The URL in force: `--redis-url` or `REDIS_URL`, then `APP_REDIS_URL`, then the default.
    /// An empty setting counts as none, as in an `.env` file with the value left out.
    #[must_use]
    pub fn url(&self) -> String {
        let set = |text: &String| !text.trim().is_empty();
        self.redis_url
            .clone()
            .filter(set)
            .or_else(|| std::env::var("APP_REDIS_URL").ok().filter(set))
            .unwrap_or_else(|| DEFAULT_REDIS_URL.to_owned())
    }

    /// The keys that these names lead to.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys::new(
            &self.queue_name,
            &self.failed_queue_name,
            &self.enriched_stream,
        )
    }
}

fn key_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a key needs a name".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("a key name has no spaces or control characters".into());
    }
    Ok(text.to_owned())
}
