//! The lists of a queue by the names that earlier versions gave them.

use super::Store;
use crate::names::{DEFAULT_ENRICHED, DEFAULT_FAILED, DEFAULT_QUEUE, enriched_of, failed_of};

/// A list that earlier versions used for this queue, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// Its name.
    pub name: &'static str,
    /// How many entries it has.
    pub entries: u64,
    /// The name in force.
    pub now: String,
    /// The setting that brings the former name back.
    pub setting: &'static str,
}

impl std::fmt::Display for Former {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            entries,
            now,
            setting,
        } = self;
        write!(
            f,
            "{name} holds {entries} entries, and earlier versions used it for this queue; this one uses {now}. Set {setting}={name} to go on with it."
        )
    }
}

impl Store {
    /// Former lists that still hold something. Without a name of their own the dead letters and the
    /// enriched leads of every queue were in the lists of the default one. Where a bridge of the default
    /// queue is at home the lists are its own, and none is returned; nor where they cannot be read.
    pub async fn former_lists(&self) -> Vec<Former> {
        let keys = self.keys();
        // On a cluster, where each name has a hash tag, the default names are elsewhere.
        if keys.queue == DEFAULT_QUEUE || keys.queue.contains('{') {
            return Vec::new();
        }
        let mut of_default = redis::cmd("EXISTS");
        of_default
            .arg(DEFAULT_QUEUE)
            .arg(format!("{DEFAULT_QUEUE}:stats"));
        if self.query::<u64>(&of_default).await.ok() != Some(0) {
            return Vec::new();
        }
        let mut former = Vec::new();
        for (command, name, setting, now, follows) in [
            (
                "LLEN",
                DEFAULT_FAILED,
                "FAILED_QUEUE_NAME",
                &keys.failed,
                failed_of(&keys.queue),
            ),
            (
                "XLEN",
                DEFAULT_ENRICHED,
                "ENRICHED_STREAM",
                &keys.enriched,
                enriched_of(&keys.queue),
            ),
        ] {
            if *now != follows {
                continue;
            }
            match self.query::<u64>(redis::cmd(command).arg(name)).await {
                Ok(entries) if entries > 0 => former.push(Former {
                    name,
                    entries,
                    now: now.clone(),
                    setting,
                }),
                _ => {}
            }
        }
        former
    }
}
