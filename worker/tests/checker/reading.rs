//! Everything that is in Redis at the end of a run, read without the bridge's own code.

use std::collections::HashMap;

use bridge_shared::envelope::ErrorKind;
use bytes::Bytes;
use redis::Connection;

use crate::account::open;
use crate::site::run;

/// A lead somewhere.
#[derive(Debug, Clone)]
pub struct Place {
    /// `enriched`, `failed`, `trash`, `waiting`, `retry` or `hand`.
    pub at: &'static str,
    pub id: String,
    pub lead: Bytes,
    /// Why it failed last.
    pub kind: ErrorKind,
    pub deaths: u32,
    pub entry: Bytes,
}

/// All leads and all figures.
#[derive(Debug)]
pub struct Reading {
    pub places: Vec<Place>,
    pub stats: HashMap<String, i64>,
    /// The minutes' figures added up.
    pub minutes: HashMap<String, i64>,
}

impl Reading {
    pub fn take(at: &mut Connection) -> Self {
        let mut places = Vec::new();
        let mut add = |place: &'static str, entries: Vec<Vec<u8>>| {
            places.extend(entries.into_iter().map(|entry| {
                let entry = Bytes::from(entry);
                let (id, lead, kind, deaths) = open(&entry);
                Place {
                    at: place,
                    id,
                    lead,
                    kind,
                    deaths,
                    entry,
                }
            }));
        };
        add("waiting", ask(at, "LRANGE leads_to_enrich 0 -1"));
        add("retry", ask(at, "ZRANGE leads_to_enrich:retry 0 -1"));
        add("failed", ask(at, "LRANGE failed_leads 0 -1"));
        let keys: Vec<String> = ask(at, "KEYS *");
        let with = |prefix: &str| -> Vec<&String> {
            keys.iter().filter(|key| key.starts_with(prefix)).collect()
        };
        for key in with("failed_leads:trash:") {
            add("trash", ask(at, &format!("LRANGE {key} 0 -1")));
        }
        for key in with("leads_to_enrich:active:") {
            // A worker's hash, or the list of a batch.
            if ask::<String>(at, &format!("TYPE {key}")) == "list" {
                add("hand", ask(at, &format!("LRANGE {key} 0 -1")));
                continue;
            }
            let held: HashMap<String, Vec<u8>> = ask(at, &format!("HGETALL {key}"));
            let alone = held
                .into_iter()
                .filter(|(field, _)| !field.starts_with("batch:"));
            add("hand", alone.map(|(_, payload)| payload).collect());
        }
        let enriched: Vec<(String, HashMap<String, Vec<u8>>)> =
            ask(at, "XRANGE enriched_leads - +");
        places.extend(enriched.into_iter().map(|(_, mut fields)| {
            let lead = Bytes::from(fields.remove("lead").expect("it has a lead"));
            let id = fields.remove("id").expect("it has an id");
            Place {
                at: "enriched",
                id: String::from_utf8(id).expect("a text"),
                entry: lead.clone(),
                lead,
                kind: ErrorKind::Unknown,
                deaths: 0,
            }
        }));
        let mut minutes = HashMap::new();
        for key in with("leads_to_enrich:stats:") {
            let minute: HashMap<String, i64> = ask(at, &format!("HGETALL {key}"));
            for (name, n) in minute {
                *minutes.entry(name).or_default() += n;
            }
        }
        Self {
            places,
            stats: ask(at, "HGETALL leads_to_enrich:stats"),
            minutes,
        }
    }
}

fn ask<T: redis::FromRedisValue>(at: &mut Connection, words: &str) -> T {
    run(at, words).unwrap_or_else(|error| panic!("{words}: {error}"))
}
