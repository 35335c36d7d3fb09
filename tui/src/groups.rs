//! Dead letters by what they died of.

use std::collections::HashMap;

use bridge_shared::cause::Cause;
use bridge_shared::clock::Millis;
use bridge_shared::filter::needle::Fit;
use bridge_shared::store::dead_letters::DeadLetter;

/// Dead letters of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// The cause.
    pub(crate) cause: Cause,
    /// The station they failed at.
    pub(crate) station: String,
    /// The kind of error.
    pub(crate) kind: &'static str,
    /// How many there are.
    pub(crate) count: u64,
    /// How many of them only have a word that is like one of the filter.
    pub(crate) loose: u64,
    /// When the first one failed.
    pub(crate) first: Option<Millis>,
    /// When the last one failed.
    pub(crate) last: Option<Millis>,
}

/// Groups in the making.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_cause: HashMap<String, Group>,
}

impl Groups {
    /// Counts a dead letter that matches like this.
    pub(crate) fn add(&mut self, letter: &DeadLetter, fit: Fit) {
        let envelope = &letter.envelope;
        let cause = Cause::of(envelope);
        self.merge(Group {
            cause,
            station: envelope.station.clone(),
            kind: envelope.error_kind.as_str(),
            count: 1,
            loose: u64::from(fit == Fit::Loose),
            first: envelope.failed_at,
            last: envelope.failed_at,
        });
    }

    /// Counts a group.
    pub(crate) fn merge(&mut self, group: Group) {
        let Some(known) = self.by_cause.get_mut(&group.cause.id) else {
            self.by_cause.insert(group.cause.id.clone(), group);
            return;
        };
        known.count += group.count;
        known.loose += group.loose;
        known.first = known.first.into_iter().chain(group.first).min();
        known.last = known.last.max(group.last);
    }

    /// Hands over the groups, in no order, and begins anew.
    pub(crate) fn drain(&mut self) -> Vec<Group> {
        self.by_cause.drain().map(|(_, group)| group).collect()
    }

    /// The groups, the most frequent first.
    pub(crate) fn sorted(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.by_cause.values().cloned().collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cause.cmp(&b.cause)));
        groups
    }
}
