//! How many leads are taken in one step.
//!
//! As many as there are free slots: whoever takes more than they can work on keeps leads from the
//! other workers. Only leads that are over the moment they are started need no slot, and then a
//! step's own cost is what counts. So while every lead was of that kind more are taken, and the
//! next step sets out before they are started. The first lead that has to wait for anything ends
//! that; what was taken too much until then is at most [`BATCH`], and what whole batches brought
//! beyond that goes back as soon as no slot is free for it.

/// Leads taken in one step at most, and leads in hand beyond the slots at most.
pub(super) const BATCH: usize = 256;
/// Leads taken in one step beyond the free slots: there are two such steps at once.
const AHEAD: usize = BATCH / 2;
/// Leads of a whole batch at most. Larger ones brought little more, and hold the server for longer.
const WHOLE: usize = 512;

/// What was learned from the leads before.
#[derive(Debug, Default)]
pub(super) struct Appetite {
    /// How many may be taken without a slot for each.
    size: usize,
}

impl Appetite {
    /// How many leads to ask for.
    pub(super) fn leads(&self, free_slots: usize) -> usize {
        free_slots.max(self.size.min(AHEAD)).min(BATCH)
    }

    /// Whether a step may set out before the leads of the last one are started.
    pub(super) fn is_ahead(&self) -> bool {
        self.size > 0
    }

    /// Whether leads have been over at once for a while: then they come by whole batches.
    pub(super) fn is_for_batches(&self) -> bool {
        self.size >= AHEAD
    }

    /// A batch did not come whole: large leads may be among those that wait.
    pub(super) fn shrink(&mut self) {
        self.size = self.size.min(AHEAD);
    }

    /// How many leads to ask for as a whole batch.
    pub(super) fn batch(&self) -> usize {
        self.size
    }

    /// Takes note of leads that were started, and whether all of them were over at once.
    pub(super) fn learn(&mut self, leads: usize, all_over: bool) {
        if !all_over {
            self.size = 0;
        } else if leads > 0 {
            self.size = (2 * leads.max(self.size)).min(WHOLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_leads_need_no_slot_and_is_gone_with_the_first_that_does() {
        let mut appetite = Appetite::default();
        assert_eq!((appetite.leads(50), appetite.is_ahead()), (50, false));
        appetite.learn(50, true);
        assert_eq!((appetite.leads(1), appetite.is_ahead()), (100, true));
        appetite.learn(0, true);
        appetite.learn(100, true);
        assert_eq!((appetite.leads(1), appetite.batch()), (AHEAD, 200));
        appetite.learn(200, true);
        appetite.learn(400, true);
        assert_eq!((appetite.leads(1), appetite.batch()), (AHEAD, WHOLE));
        appetite.shrink();
        assert_eq!(appetite.batch(), AHEAD);
        assert_eq!((appetite.leads(200), appetite.leads(9_999)), (200, BATCH));
        appetite.learn(AHEAD, false);
        assert_eq!((appetite.leads(1), appetite.is_ahead()), (1, false));
    }
}
