//! What lies over a screen: help, a question, an account, the command palette.

use bridge_shared::store::dead_letters::DeadLetter;

use super::input::Input;
use super::list::Position;
use crate::keymap::{Action, BINDINGS, Binding, Scope};
use crate::message::{Which, Work};

/// What lies over a screen.
#[derive(Debug)]
pub(crate) enum Overlay {
    /// The keys of the screen; how far it is scrolled.
    Help(usize),
    /// A question before something is changed.
    Confirm(Confirm),
    /// What came back from the editor is no lead.
    EditAgain {
        /// The dead letter it belongs to.
        dead: DeadLetter,
        /// What came back.
        text: String,
        /// What is wrong with it.
        error: String,
    },
    /// A file name is wanted.
    File(Input, Which),
    /// What was done and what was not.
    Account(Account),
    /// The command palette.
    Palette(Palette),
}

/// A question before something is changed.
#[derive(Debug)]
pub(crate) struct Confirm {
    /// What would happen, with how many.
    pub(crate) question: String,
    /// What else there is to know.
    pub(crate) notes: Vec<String>,
    /// The number that must be typed, and what has been.
    pub(crate) typed: Option<(u64, Input)>,
    /// What happens on yes.
    pub(crate) work: Work,
    /// It, while it is under way: `retrying all 46 dead letters`.
    pub(crate) words: String,
    /// How many it is about.
    pub(crate) count: u64,
}

impl Confirm {
    /// Whether yes counts.
    pub(crate) fn is_ready(&self) -> bool {
        self.typed.as_ref().is_none_or(|(wanted, input)| {
            input.text().replace([',', ' '], "").parse() == Ok(*wanted)
        })
    }
}

/// What was done and what was not.
#[derive(Debug)]
pub(crate) struct Account {
    /// In one line.
    pub(crate) summary: String,
    /// What was not done, by id, and why.
    pub(crate) rest: Vec<(String, &'static str)>,
    /// How far it is scrolled.
    pub(crate) at: Position,
}

/// The command palette.
#[derive(Debug, Default)]
pub(crate) struct Palette {
    /// What has been typed.
    pub(crate) input: Input,
    /// Where the cursor is.
    pub(crate) at: Position,
}

impl Palette {
    /// The commands that match what has been typed, the best first.
    pub(crate) fn found(&self, scopes: &[Scope], may_change: bool) -> Vec<&'static Binding> {
        let wanted = self.input.text().to_lowercase();
        let mut found: Vec<_> = BINDINGS
            .iter()
            .filter(|binding| scopes.contains(&binding.scope) && binding.scope != Scope::Lists)
            .filter(|binding| !matches!(binding.action, Action::Palette))
            .filter(|binding| may_change || !binding.changes)
            .filter_map(|binding| {
                let text = format!("{} {}", binding.label, binding.help).to_lowercase();
                closeness(&text, &wanted).map(|closeness| (closeness, binding))
            })
            .collect();
        found.sort_by_key(|(closeness, _)| *closeness);
        found.into_iter().map(|(_, binding)| binding).collect()
    }
}

/// How far apart the letters of what is wanted lie in a text that has them all in this order.
fn closeness(text: &str, wanted: &str) -> Option<usize> {
    if let Some(at) = text.find(wanted) {
        return Some(at.min(1));
    }
    let mut letters = wanted.chars().filter(|c| *c != ' ').peekable();
    let mut spread = 0;
    for c in text.chars() {
        match letters.peek() {
            None => break,
            Some(wanted) if *wanted == c => {
                letters.next();
            }
            Some(_) => spread += 1,
        }
    }
    letters.peek().is_none().then_some(10 + spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(typed: &str, may_change: bool) -> Vec<Action> {
        let palette = Palette {
            input: Input::new(typed),
            ..Palette::default()
        };
        let scopes = [Scope::Dlq, Scope::Lists, Scope::Everywhere];
        let found = palette.found(&scopes, may_change);
        found.iter().map(|binding| binding.action).collect()
    }

    #[test]
    fn commands_are_found_by_words_and_by_letters_in_order() {
        assert_eq!(found("filter", true)[0], Action::Filter);
        assert_eq!(found("pause", true)[0], Action::Pause);
        assert!(found("rtry", true).contains(&Action::Retry));
        assert!(found("zzzz", true).is_empty());
        assert!(!found("", false).contains(&Action::Retry) && found("", true).len() > 10);
    }
}
