//! The live events: the newest few thousand lines, held still or followed.

use std::collections::VecDeque;

use bridge_shared::clock::Millis;
use bridge_shared::event::Event;

use super::input::Input;
use super::list::Position;
use crate::keymap::Action;

/// Lines that are kept. What is older is on record elsewhere; events are news.
const KEPT: usize = 2_000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// An event.
    Event {
        /// Who told it.
        worker: String,
        /// It.
        event: Event,
    },
    /// The subscription was cut, and stood again at this time: events are missing before it.
    Gap(Millis),
}

impl Told {
    /// How many of these are events.
    fn events(told: &[Self]) -> u64 {
        let events = told
            .iter()
            .filter(|told| matches!(told, Self::Event { .. }));
        events.count() as u64
    }
}

/// The live events.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The newest last.
    lines: VecDeque<Told>,
    /// What came in while the lines were held.
    held_back: Vec<Told>,
    /// How many events came in since the screen was opened.
    pub(crate) received: u64,
    /// How many of these were never shown, because too many came at once.
    pub(crate) skipped: u64,
    /// The newest version of events among them that is newer than this console's.
    pub(crate) newer: Option<u32>,
    /// How many messages could not be read at all.
    pub(crate) unread: u64,
    /// Whether the lines are held still.
    pub(crate) held: bool,
    /// Only lines that contain this are shown.
    pub(crate) filter: String,
    /// The filter being written.
    pub(crate) writing: Option<Input>,
    /// Where the cursor is while the lines are held.
    pub(crate) at: Position,
}

impl Live {
    /// Takes events; `skipped` more came in that are not among them.
    pub(crate) fn learn(&mut self, events: Vec<Told>, skipped: u64, height: usize) {
        self.received += Told::events(&events) + skipped;
        self.skipped += skipped;
        if self.held {
            self.held_back.extend(events);
            let excess = self.held_back.len().saturating_sub(KEPT);
            self.skipped += excess as u64;
            self.held_back.drain(..excess);
            return;
        }
        self.lines.extend(events);
        while self.lines.len() > KEPT {
            self.lines.pop_front();
        }
        self.follow(height);
    }

    /// The lines that match the filter, the oldest first.
    pub(crate) fn shown(&self) -> impl DoubleEndedIterator<Item = &Told> {
        self.lines.iter().filter(|told| self.matches(told))
    }

    fn matches(&self, told: &Told) -> bool {
        // What is missing might have matched.
        let Told::Event { worker, event } = told else {
            return true;
        };
        self.filter.split_whitespace().all(|word| {
            let texts = [
                event.lead.as_str(),
                event.event.as_str(),
                event.station.as_deref().unwrap_or_default(),
                event.error.as_deref().unwrap_or_default(),
                worker.as_str(),
            ];
            texts.iter().any(|text| text.to_lowercase().contains(word))
        })
    }

    /// Goes to the newest line.
    fn follow(&mut self, height: usize) {
        let count = self.shown().count();
        self.at.act(Action::ToBottom, count, height);
    }

    /// Takes a key; returns whether it meant something here.
    pub(crate) fn act(&mut self, action: Action, height: usize) -> bool {
        match action {
            Action::Mark if self.held => {
                self.held = false;
                let events = std::mem::take(&mut self.held_back);
                self.received -= Told::events(&events);
                self.learn(events, 0, height);
            }
            Action::Mark => self.held = true,
            Action::Filter => self.writing = Some(Input::new(self.filter.clone())),
            Action::Open => {
                // The timeline of the lead under the cursor.
                let lead = match self.shown().nth(self.at.cursor) {
                    Some(Told::Event { event, .. }) => Some(event.lead.to_lowercase()),
                    _ => None,
                };
                if let Some(lead) = lead {
                    self.set_filter(&lead, height);
                }
            }
            action => {
                let count = self.shown().count();
                if !self.at.act(action, count, height) {
                    return false;
                }
                // Whoever moves wants to read.
                self.held = true;
            }
        }
        true
    }

    /// Takes a filter.
    pub(crate) fn set_filter(&mut self, text: &str, height: usize) {
        self.filter = text.trim().to_lowercase();
        self.follow(height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bridge_shared::event::EventKind;

    fn told(n: usize) -> Told {
        Told::Event {
            worker: "w-1".into(),
            event: Event::new(0, EventKind::Received, format!("lead-{n}")),
        }
    }

    #[test]
    fn lines_are_held_counted_and_let_go() {
        let mut live = Live::default();
        live.learn((0..10).map(told).collect(), 5, 4);
        assert_eq!(
            (live.received, live.skipped, live.at.cursor, live.at.top),
            (15, 5, 9, 6)
        );
        live.act(Action::Up, 4);
        assert!(live.held);
        live.learn((10..20).map(told).collect(), 0, 4);
        assert_eq!((live.shown().count(), live.at.cursor), (10, 8));
        live.act(Action::Mark, 4);
        assert_eq!(
            (live.shown().count(), live.received, live.at.cursor),
            (20, 25, 19)
        );
        live.learn((0..3_000).map(told).collect(), 0, 4);
        assert_eq!(live.shown().count(), KEPT);
    }

    #[test]
    fn a_gap_is_a_line_that_no_filter_hides_and_no_event() {
        let mut live = Live::default();
        live.learn(vec![told(1), Told::Gap(5), told(2)], 0, 10);
        assert_eq!((live.received, live.shown().count()), (2, 3));
        live.set_filter("lead-2", 10);
        assert_eq!(live.shown().count(), 2);
        live.act(Action::ToTop, 10);
        live.act(Action::Open, 10);
        assert_eq!(live.filter, "lead-2");
    }

    #[test]
    fn a_line_opens_the_timeline_of_its_lead() {
        let mut live = Live::default();
        live.learn((0..10).chain(3..5).map(told).collect(), 0, 10);
        live.act(Action::ToTop, 10);
        for _ in 0..3 {
            live.act(Action::Down, 10);
        }
        live.act(Action::Open, 10);
        assert_eq!((live.filter.as_str(), live.shown().count()), ("lead-3", 2));
        live.set_filter("received W-1", 10);
        assert_eq!(live.shown().count(), 12);
        live.set_filter("nothing", 10);
        assert_eq!(live.shown().count(), 0);
    }
}
