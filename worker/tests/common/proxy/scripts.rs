//! The bridge's scripts as the proxy sees them: by hash; and the planted bugs, which are other
//! scripts in their place. The product has no hook for this: only what passes the proxy is changed.

use std::collections::HashMap;

macro_rules! sources {
    ($($name:literal),*) => {
        [$(($name, concat!(
            include_str!("../../../../shared/src/store/prelude.lua"),
            include_str!(concat!("../../../../shared/src/store/", $name, ".lua")),
        ))),*]
    };
}

const SOURCES: [(&str, &str); 9] = sources![
    "fetch",
    "batch",
    "commit",
    "heartbeat",
    "leave",
    "recover",
    "promote",
    "push",
    "take"
];

/// A bug that the checker must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// An outcome is recorded whoever holds the lead by now.
    CommitWithoutLease,
    /// A lead that is due again stays in its worker's hands.
    RetryWithoutRemoving,
    /// A dead worker's lead stays in its hands after it was given out, so that it is given out with
    /// every look at that worker.
    RecoverTwice,
    /// A dead letter is named by its place alone.
    RetryByIndex,
    /// A lead is with nobody when the answer that brought it is lost.
    LostHandOff,
    /// A whole batch is recorded whoever holds it by now.
    BatchWithoutWatch,
}

impl Bug {
    /// What is changed: the script, and a piece of it with what stands there instead. The lost
    /// hand-off and the missing watch are no scripts: the proxy itself does them.
    const fn change(self) -> Option<(&'static str, &'static str, &'static str)> {
        Some(match self {
            Self::CommitWithoutLease => (
                "commit",
                "redis.call('HEXISTS', KEYS[1], number) == 1",
                "true",
            ),
            Self::RetryWithoutRemoving => (
                "commit",
                "      recorded[#recorded + 1] = number",
                "      if letter ~= 'r' then recorded[#recorded + 1] = number end",
            ),
            Self::RecoverTwice => (
                "recover",
                "    redis.call('HDEL', KEYS[3], ARGV[i + 1])\n    if ARGV[i] ~= 'rubbish'",
                "    if ARGV[i] ~= 'rubbish'",
            ),
            Self::RetryByIndex => ("take", "if there and same(there) then", "if there then"),
            Self::LostHandOff | Self::BatchWithoutWatch => return None,
        })
    }
}

/// The scripts by hash.
pub struct Scripts {
    names: HashMap<String, &'static str>,
    /// The hash of a script that is replaced, the hash of what stands in its place, and that.
    swap: Option<(String, String, String)>,
    /// Whether a fetch whose answer is lost takes its leads with it.
    pub forgets_fetches: bool,
    /// Whether no key is watched, whatever a worker says.
    watches_nothing: bool,
}

impl Scripts {
    pub fn new(bug: Option<Bug>) -> Self {
        let swap = bug.and_then(Bug::change).map(|(script, old, new)| {
            let (_, source) = SOURCES
                .iter()
                .find(|(name, _)| *name == script)
                .expect("it is one of them");
            assert_eq!(
                source.matches(old).count(),
                1,
                "{script} has changed: {old}"
            );
            let planted = source.replace(old, new);
            (hash(source), hash(&planted), planted)
        });
        Self {
            names: SOURCES
                .iter()
                .map(|(name, source)| (hash(source), *name))
                .collect(),
            swap,
            forgets_fetches: bug == Some(Bug::LostHandOff),
            watches_nothing: bug == Some(Bug::BatchWithoutWatch),
        }
    }

    /// Which script a command runs; `exec` where it ends a transaction.
    pub fn name(&self, words: &[&[u8]]) -> Option<&'static str> {
        if words.first()?.eq_ignore_ascii_case(b"EXEC") {
            return Some("exec");
        }
        if !words.first()?.eq_ignore_ascii_case(b"EVALSHA") {
            return None;
        }
        self.names
            .get(std::str::from_utf8(words.get(1)?).ok()?)
            .copied()
    }

    /// Puts what is planted in the place of what it replaces.
    pub fn plant<'a>(&'a self, words: &mut [&'a [u8]]) {
        if self.watches_nothing && words.first().is_some_and(|word| *word == b"WATCH") {
            words[0] = b"TYPE";
        }
        let Some((old, new, source)) = &self.swap else {
            return;
        };
        let is = |word: Option<&&[u8]>, text: &[u8]| {
            word.is_some_and(|word| word.eq_ignore_ascii_case(text))
        };
        if is(words.first(), b"EVALSHA") && is(words.get(1), old.as_bytes()) {
            words[1] = new.as_bytes();
        } else if is(words.first(), b"SCRIPT")
            && is(words.get(1), b"LOAD")
            && words.get(2).is_some_and(|text| hash_bytes(text) == *old)
        {
            words[2] = source.as_bytes();
        }
    }
}

fn hash(source: &str) -> String {
    redis::Script::new(source).get_hash().to_owned()
}

fn hash_bytes(source: &[u8]) -> String {
    std::str::from_utf8(source).map(hash).unwrap_or_default()
}
