//! What a key is about: the marked ones, the one under the cursor, all that match, or a group.

use std::collections::HashSet;

use bridge_shared::filter::Filter;
use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::triage::Matching;

use super::Dlq;
use crate::app::search::Search;
use crate::message::Which;

/// Dead letters that a key is about, and how many they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Which.
    pub(crate) which: Which,
    /// How many.
    pub(crate) count: u64,
    /// In words: `3 marked dead letters`.
    pub(crate) words: String,
    /// How many of them only have a word that is like one of the filter, at most.
    pub(crate) loose: u64,
}

/// Why nothing could be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unchosen(pub(crate) String);

impl Dlq {
    /// The marked ones, or the one under the cursor.
    pub(crate) fn chosen(&self) -> Result<Chosen, Unchosen> {
        if self.marks.all {
            let except: HashSet<String> = self.marks.ids.keys().cloned().collect();
            return self.all_matching(except);
        }
        if !self.marks.ids.is_empty() {
            let count = self.marks.ids.len() as u64;
            let mut words = crate::text::plural(count, "marked dead letter");
            let hidden = self.hidden();
            if hidden > 0 {
                words = format!(
                    "{words}, {} of them not shown,",
                    crate::text::thousands(hidden)
                );
            }
            return Ok(Chosen {
                which: Which::Ids(self.marks.ids.clone()),
                count,
                words,
                // Each of them was looked at.
                loose: 0,
            });
        }
        match self.under_cursor() {
            Some(letter) => Ok(one(letter.clone())),
            None => Err(self.nothing_here()),
        }
    }

    /// All that match the filter.
    pub(crate) fn all_matching(&self, except: HashSet<String>) -> Result<Chosen, Unchosen> {
        let Some(matching) = self.matching() else {
            return Err(match self.total {
                None => not_read(),
                Some(_) => {
                    Unchosen("the matches are still being counted; try again in a moment".into())
                }
            });
        };
        let count = matching.saturating_sub(except.len() as u64);
        if count == 0 {
            return Err(self.nothing_here());
        }
        let mut words = format!("all {}", crate::text::plural(count, "dead letter"));
        if !self.filter.is_empty() {
            words = format!("{words} that match {}", self.filter_text);
        }
        Ok(Chosen {
            which: Which::Matching(Matching {
                filter: self.filter.clone(),
                except,
                asked: None,
            }),
            count,
            words,
            loose: self.listed().map_or(0, Search::loose).min(count),
        })
    }

    /// The group under the cursor.
    pub(crate) fn chosen_group(&self) -> Result<Chosen, Unchosen> {
        let group = self.groups().get(self.groups_at.cursor);
        let group = group.ok_or_else(|| Unchosen("there is no group here".into()))?;
        if self.searching().is_some() {
            return Err(Unchosen(
                "the groups are still being counted; try again in a moment".into(),
            ));
        }
        let filter = self.group_filter(group);
        Ok(Chosen {
            which: Which::Matching(Matching {
                filter: Filter::parse(&filter).map_err(|error| Unchosen(error.to_string()))?,
                ..Matching::default()
            }),
            count: group.count,
            loose: group.loose,
            words: format!(
                "all {} of this group: {}",
                crate::text::plural(group.count, "dead letter"),
                group.cause.text
            ),
        })
    }

    fn nothing_here(&self) -> Unchosen {
        match self.total {
            None => not_read(),
            Some(_) => Unchosen("there is no dead letter here".into()),
        }
    }
}

/// Why nothing can be chosen before there was a reading.
pub(crate) fn not_read() -> Unchosen {
    Unchosen("the dead letters were not read yet".into())
}

/// One dead letter, as chosen.
pub(crate) fn one(letter: DeadLetter) -> Chosen {
    Chosen {
        words: format!("dead letter {}", letter.id()),
        which: Which::These(vec![letter]),
        count: 1,
        loose: 0,
    }
}
