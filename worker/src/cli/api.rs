//! The settings of the API, alone or beside a worker.

use std::time::Duration;

use bridge_shared::boolean;
use bridge_shared::config::RedisArgs;
use bridge_shared::store::Store;
use bridge_shared::store::produce::Durability;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::http::{Guard, Server, Settings};
use crate::{log, signals};

/// Where the API listens when nothing says otherwise.
pub(super) const LISTEN: &str = "127.0.0.1:8000";

/// The heading of [`ApiArgs`] in the help.
pub(super) const HEADING: &str = "API";

/// How to serve the API.
#[derive(Debug, Args)]
#[command(next_help_heading = HEADING)]
pub(crate) struct ApiArgs {
    /// Serve the API beside the work, at this address [default: not at all]
    ///
    /// For `run`; `api` serves it alone. `BRIDGE_API_TOKEN` is the token that every request then
    /// needs as `Authorization: Bearer TOKEN`; it is taken from the environment only. With none
    /// the API listens on the loopback and nowhere else.
    #[arg(long, global = true, env = "BRIDGE_HTTP", value_name = "ADDRESS")]
    http: Option<String>,

    /// Let everybody read; only what changes something needs the token
    #[arg(long, global = true, env = "BRIDGE_API_PUBLIC_READ", value_parser = boolean::variable("BRIDGE_API_PUBLIC_READ"))]
    public_read: bool,

    /// Listen on any address even without a token: whoever reaches it may do everything
    #[arg(long, global = true, env = "BRIDGE_API_INSECURE", value_parser = boolean::variable("BRIDGE_API_INSECURE"))]
    insecure: bool,

    /// Names by which the API may be called without a token, besides addresses and names of one
    /// word
    #[arg(
        long,
        global = true,
        env = "BRIDGE_API_HOSTS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    allow_host: Vec<String>,

    /// Take no more leads by `POST /leads` while this many wait [default: no limit]
    #[arg(long, global = true, env = "BRIDGE_API_MAX_WAITING", value_name = "N", value_parser = most)]
    max_waiting: Option<Most>,

    /// Accept leads by `POST /leads` only when this many replicas have them, unless a request says
    /// otherwise (`wait_replicas`) [default: none]
    #[arg(long, global = true, env = "BRIDGE_API_WAIT_REPLICAS", value_name = "N", value_parser = most)]
    wait_replicas: Option<Most>,

    /// Accept leads by `POST /leads` only when they are on the disk of the primary, and of as many
    /// replicas as `--wait-replicas` says, unless a request says otherwise (`wait_fsync`); needs Redis
    /// 7.2 with `appendonly yes`
    #[arg(long, global = true, env = "BRIDGE_API_WAIT_FSYNC", value_parser = boolean::variable("BRIDGE_API_WAIT_FSYNC"))]
    wait_fsync: bool,

    /// Seconds between two signs of life of `GET /events`
    #[arg(long, global = true, env = "BRIDGE_API_HEARTBEAT", value_name = "SECONDS", default_value = "15",
          value_parser = super::positive_seconds)]
    heartbeat: Duration,
}

/// A number; an empty setting counts as none.
#[derive(Debug, Clone, Copy)]
struct Most(Option<u64>);

fn most(text: &str) -> Result<Most, String> {
    match text.trim() {
        "" => Ok(Most(None)),
        text => match text.parse() {
            Ok(0) | Err(_) => Err("give a whole number, from 1 on".into()),
            Ok(n) => Ok(Most(Some(n))),
        },
    }
}

impl ApiArgs {
    /// Where to listen beside a worker, where that is wanted.
    pub(super) fn beside(&self) -> Option<String> {
        self.http
            .clone()
            .filter(|address| !address.trim().is_empty())
    }

    /// Takes the address and begins to measure.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    pub(super) async fn bind(&self, listen: String) -> Result<Server, String> {
        let token = std::env::var("BRIDGE_API_TOKEN").ok();
        let token = token.map(|token| token.trim().to_owned());
        let hosts: Vec<String> = self
            .allow_host
            .iter()
            .map(|host| host.trim().to_owned())
            .filter(|host| !host.is_empty())
            .collect();
        let settings = Settings {
            listen,
            guard: Guard::new(
                token.as_deref().filter(|token| !token.is_empty()),
                self.public_read,
                &hosts,
            )?,
            insecure: self.insecure,
            max_waiting: self.max_waiting.and_then(|most| most.0),
            durability: Durability {
                replicas: self
                    .wait_replicas
                    .and_then(|most| u32::try_from(most.0?).ok())
                    .unwrap_or(0),
                fsync: self.wait_fsync,
            },
            heartbeat: self.heartbeat,
        };
        Server::bind(settings).await
    }
}

/// Serves the API until it is told to stop.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub(crate) async fn run(redis: RedisArgs, args: ApiArgs, listen: String) -> Result<(), String> {
    let store = Store::new(&redis).map_err(|error| error.to_string())?;
    // An empty setting counts as none, as in an `.env` file with the value left out.
    let listen = Some(listen).filter(|listen| !listen.trim().is_empty());
    let server = args.bind(listen.unwrap_or_else(|| LISTEN.into())).await?;
    let stop = CancellationToken::new();
    signals::listen(
        {
            let stop = stop.clone();
            move |signal| {
                tracing::info!(signal, "stopping: requests under way get their answers");
                stop.cancel();
            }
        },
        |_| log::exit(130),
        async {},
    );
    signals::log_in_again_on_hangup(store.clone());
    // A Redis that is away comes back; one that refuses is told at once, as by a worker.
    if let Err(error) = store.check().await {
        if !error.is_transient() {
            return Err(error.to_string());
        }
        tracing::warn!("{error}");
    } else {
        for former in store.former_lists().await {
            tracing::warn!("{former}");
        }
    }
    let keys = store.keys();
    tracing::info!(
        queue = keys.queue,
        dead_letters = keys.failed,
        enriched = keys.enriched,
        "names in force"
    );
    server.serve(store, None, stop).await;
    Ok(())
}
