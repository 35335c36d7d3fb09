//! The three names that an operator chooses, and what they may not be.

use crate::keys::Keys;

/// The queue of the wire contract.
pub const DEFAULT_QUEUE: &str = "leads_to_enrich";
/// The dead letter queue of the wire contract, for [`DEFAULT_QUEUE`] alone.
pub const DEFAULT_FAILED: &str = "failed_leads";
/// The stream of enriched leads of the wire contract, for [`DEFAULT_QUEUE`] alone.
pub const DEFAULT_ENRICHED: &str = "enriched_leads";

/// The dead letter queue of a queue, unless another one is set. One that belongs to no other queue, so
/// that two bridges in one Redis that differ in their queues share nothing; and with the queue's hash tag.
#[must_use]
pub fn failed_of(queue: &str) -> String {
    follow(queue, DEFAULT_FAILED, "failed")
}

/// The stream of enriched leads of a queue, unless another one is set.
#[must_use]
pub fn enriched_of(queue: &str) -> String {
    follow(queue, DEFAULT_ENRICHED, "enriched")
}

fn follow(queue: &str, default: &str, suffix: &str) -> String {
    if queue == DEFAULT_QUEUE {
        default.to_owned()
    } else {
        format!("{queue}:{suffix}")
    }
}

/// A name that the bridge uses for something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{setting}={name} is {used_for}: two kinds of data would end up in one key. Set {setting} to another name."
)]
pub struct Collision {
    /// The setting with the name.
    pub setting: &'static str,
    /// The name.
    pub name: String,
    /// What the key is used for.
    pub used_for: String,
}

impl Keys {
    /// Makes sure that each of the three names is no key of the bridge's, nor the beginning of any.
    ///
    /// # Errors
    /// [`Collision`].
    pub fn check(&self) -> Result<(), Collision> {
        let settings = [
            ("QUEUE_NAME", &self.queue),
            ("FAILED_QUEUE_NAME", &self.failed),
            ("ENRICHED_STREAM", &self.enriched),
        ];
        for (i, (setting, name)) in settings.into_iter().enumerate() {
            let collision = |used_for| {
                Err(Collision {
                    setting,
                    name: name.clone(),
                    used_for,
                })
            };
            if let Some((other, _)) = settings[..i].iter().find(|(_, other)| *other == name) {
                return collision(format!("the name of {other} too"));
            }
            if let Some(used_for) = self.reserved(name) {
                return collision(used_for);
            }
        }
        Ok(())
    }

    /// What a key of this name is or would be to the bridge, besides one of the three lists.
    #[must_use]
    pub fn reserved(&self, name: &str) -> Option<String> {
        let below = |list: &str, setting: &str, parts: &[&str]| {
            let rest = name.strip_prefix(list)?.strip_prefix(':')?;
            let part = rest.split(':').next().unwrap_or(rest);
            parts
                .contains(&part)
                .then(|| format!("one of the keys {list}:{part}... that belong to {setting}"))
        };
        below(&self.queue, "QUEUE_NAME", &Self::OF_QUEUE)
            .or_else(|| below(&self.failed, "FAILED_QUEUE_NAME", &Self::OF_FAILED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(names: [&str; 3]) -> String {
        let [queue, failed, enriched] = names;
        Keys::new(queue, failed, enriched)
            .check()
            .map_or_else(|error| error.to_string(), |()| "sound".into())
    }

    #[test]
    fn names_follow_the_queue_and_keep_its_hash_tag() {
        assert_eq!(failed_of(DEFAULT_QUEUE), "failed_leads");
        assert_eq!(enriched_of(DEFAULT_QUEUE), "enriched_leads");
        for queue in ["acme", "{leads}_to_enrich", "a:b"] {
            let (failed, enriched) = (failed_of(queue), enriched_of(queue));
            assert!(failed.starts_with(queue) && enriched.starts_with(queue));
            assert_eq!(said([queue, &failed, &enriched]), "sound");
        }
    }

    #[test]
    fn every_key_of_the_bridge_is_refused_as_a_name() {
        let keys = Keys::new("q", "f", "e");
        for key in keys.every() {
            for names in [
                ["q", "f", &*key],
                ["q", &*key, "e"],
                // Below the dead letters there may be a queue, too.
                [&*key, "f", "e"],
            ] {
                // A list may have the name of what was its own under another name.
                let is_of_failed = key.starts_with("f:");
                let is_sound =
                    (names[0] == key && !is_of_failed) || (names[1] == key && is_of_failed);
                let said = said(names);
                assert_eq!(said == "sound", is_sound, "{names:?}: {said}");
            }
        }
        for names in [
            ["q", "f", "q:active"],
            ["q", "q:cache", "e"],
            ["q", "f", "f:trash"],
            ["q", "q", "e"],
            ["q", "f", "f"],
            ["e", "f", "e"],
        ] {
            assert_ne!(said(names), "sound", "{names:?}");
        }
        for names in [
            ["q", "q:dlq", "q:out"],
            ["q", "q:failed", "q:enriched"],
            ["q", "q_audit", "q:audits"],
            ["f:x", "f", "e"],
        ] {
            assert_eq!(said(names), "sound", "{names:?}");
        }
        assert_eq!(
            said(["leads_to_enrich", "failed_leads", "leads_to_enrich:audit"]),
            "ENRICHED_STREAM=leads_to_enrich:audit is one of the keys leads_to_enrich:audit... that belong to QUEUE_NAME: two kinds of data would end up in one key. Set ENRICHED_STREAM to another name."
        );
    }
}
