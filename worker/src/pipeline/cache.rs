//! What a station found for the same question before: `cache = { ttl = "30d", key = ["domain"] }`.

use std::borrow::Cow;
use std::time::Duration;

use bridge_shared::lead::Lead;
use sha2::{Digest as _, Sha256};

use super::keys::Keys;

/// A station's memory, in Redis.
#[derive(Debug)]
pub(super) struct Cache {
    ttl: Duration,
    key: Vec<String>,
    /// What the station is made from: another URL or prompt is another question.
    station: String,
}

/// Reads the table of a station's cache.
pub(super) fn read(keys: &mut Keys<'_>) -> Option<(Duration, Vec<String>)> {
    let mut table = keys.table("cache")?;
    let example = "cache = { ttl = \"30d\", key = [\"linkedinUrl\"] }";
    let ttl = table.duration("ttl");
    let ttl = table.need("ttl", ttl, example);
    let key = table.texts("key").filter(|key| !key.is_empty());
    let key = table.need("key", key, example);
    table.finish();
    let key = key?.into_iter().map(toml::Spanned::into_inner).collect();
    Some((ttl?, key))
}

impl Cache {
    pub(super) fn new((ttl, key): (Duration, Vec<String>), station: String) -> Self {
        Self { ttl, key, station }
    }

    /// How long an answer is remembered.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The fields that make the question.
    pub(super) fn key(&self) -> &[String] {
        &self.key
    }

    /// The question that a lead puts; `None` where it lacks a field of the key, so that leads
    /// without one do not share an answer.
    pub(super) fn question(&self, lead: &Lead) -> Option<String> {
        let mut hash = Sha256::new();
        hash.update(self.station.as_bytes());
        for field in &self.key {
            if !super::has(lead, field) {
                return None;
            }
            let value = match lead.get(field) {
                Some(value) => Cow::Borrowed(value),
                None => Cow::Owned(lead.get_at(field)?.get().to_owned()),
            };
            // With their lengths, so that no two lists of names and values are the same text.
            for text in [field.as_str(), &value] {
                hash.update(text.len().to_le_bytes());
                hash.update(text.as_bytes());
            }
        }
        let hash = hash.finalize();
        Some(
            hash[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(json: &str) -> Lead {
        Lead::parse(json.as_bytes()).expect(json)
    }

    #[test]
    fn the_same_fields_put_the_same_question() {
        let cache = |station: &str, key: &[&str]| {
            let key = key.iter().map(ToString::to_string).collect();
            Cache::new((Duration::from_secs(1), key), station.into())
        };
        let ada = lead(r#"{"a":"x","b":"yz","n":1}"#);
        let question = cache("s", &["a", "b"]).question(&ada);
        assert!(question.is_some());
        let same = lead(r#"{"b":"yz","a":"x","n":2}"#);
        assert_eq!(cache("s", &["a", "b"]).question(&same), question);
        let other = lead(r#"{"a":"xy","b":"z"}"#);
        assert_ne!(cache("s", &["a", "b"]).question(&other), question);
        assert_ne!(cache("t", &["a", "b"]).question(&ada), question);
        // A route that asks by another field asks something else.
        let by = |field: &str| {
            cache("s", &[field]).question(&lead(r#"{"a":"x","c":"x","d":{"e":"x"}}"#))
        };
        assert_ne!(by("a"), by("c"));
        assert!(by("d.e").is_some() && by("d.f").is_none());
        for json in [
            "{}",
            r#"{"a":"x"}"#,
            r#"{"a":"x","b":""}"#,
            r#"{"a":"x","b":null}"#,
        ] {
            assert_eq!(
                cache("s", &["a", "b"]).question(&lead(json)),
                None,
                "{json}"
            );
        }
    }
}
