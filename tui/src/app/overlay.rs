//! What lies over a screen: help, a question, an account, the command palette.

use bridge_shared::store::dead_letters::DeadLetter;

use super::App;
use super::input::Input;
use super::list::Position;
use super::trial::Trial;
use crate::keymap::{Action, Scope};
use crate::message::{Which, Work};

/// What lies over a screen.
#[derive(Debug)]
pub(crate) enum Overlay {
    /// The keys of the screen; how far it is scrolled.
    Help(usize),
    /// A question before something is changed.
    Confirm(Confirm),
    /// A lead that a worker has tried.
    Trial(Trial),
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
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// In one line.
    pub(crate) summary: String,
    /// What was not done, by id, and why.
    pub(crate) rest: Vec<(String, &'static str)>,
    /// What was done, by id; empty where only Redis knows.
    pub(crate) done: Vec<String>,
    /// What was done to those.
    pub(crate) did: &'static str,
    /// How far it is scrolled.
    pub(crate) at: Position,
}

impl Account {
    /// How many rows it has.
    pub(crate) fn count(&self) -> usize {
        self.rest.len() + self.done.len()
    }

    /// A row: an id, what became of it, and whether that was what was asked for. What was not done
    /// comes first.
    pub(crate) fn row(&self, n: usize) -> Option<(&str, &'static str, bool)> {
        if let Some((id, why)) = self.rest.get(n) {
            return Some((id, why, false));
        }
        let id = self.done.get(n - self.rest.len())?;
        Some((id, self.did, true))
    }

    /// All of it, as JSON lines.
    pub(crate) fn text(&self) -> String {
        (0..self.count())
            .filter_map(|n| self.row(n))
            .map(|(id, what, done)| {
                serde_json::json!({ "id": id, "done": done, "what": what }).to_string() + "\n"
            })
            .collect()
    }
}

/// The command palette.
#[derive(Debug, Default)]
pub(crate) struct Palette {
    /// What has been typed.
    pub(crate) input: Input,
    /// Where the cursor is.
    pub(crate) at: Position,
}

/// A line of the palette.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Something a key does too: its keys, what it does, and the action.
    Do(String, &'static str, Action),
    /// Another environment.
    GoTo(String),
}

impl Choice {
    /// What it says.
    pub(crate) fn words(&self) -> (String, String) {
        match self {
            Self::Do(keys, help, _) => (keys.clone(), (*help).to_owned()),
            Self::GoTo(name) => ("profile".into(), format!("go to the environment {name}")),
        }
    }
}

impl Palette {
    /// What matches the text that has been typed, the best first.
    pub(crate) fn found(&self, app: &App) -> Vec<Choice> {
        let wanted = self.input.text().to_lowercase();
        let options = &app.options;
        let scopes = app.scopes();
        let rows = scopes
            .iter()
            .filter(|scope| **scope != Scope::Lists)
            .flat_map(|scope| options.keymap.of(*scope))
            .filter(|row| !matches!(row.binding.action, Action::Palette))
            .filter(|row| app.may_change() || !row.binding.changes)
            .map(|row| {
                let binding = row.binding;
                let name = binding.action.name();
                let text = format!("{name} {} {}", binding.label, binding.help);
                (text, Choice::Do(row.keys(), binding.help, binding.action))
            });
        let here = options.profile.as_ref().map(|(name, _)| name);
        let profiles = options
            .profiles
            .iter()
            .filter(|name| Some(*name) != here)
            .map(|name| {
                (
                    format!("profile environment {name}"),
                    Choice::GoTo(name.clone()),
                )
            });
        let mut found: Vec<_> = rows
            .chain(profiles)
            .filter_map(|(text, choice)| Some((closeness(&text.to_lowercase(), &wanted)?, choice)))
            .collect();
        found.sort_by_key(|(closeness, _)| *closeness);
        found.into_iter().map(|(_, choice)| choice).collect()
    }
}

/// How far apart the letters of what is wanted lie in a text that has them all in this order.
fn closeness(text: &str, wanted: &str) -> Option<usize> {
    // What it is called, then a word of what it does, then any part of that.
    if let Some(at) = text.find(wanted) {
        let at_a_word = text.split([' ', '-']).any(|word| word.starts_with(wanted));
        return Some(at.min(1) + usize::from(at > 0 && !at_a_word));
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
    use crate::app::scene::Scene;

    fn found(typed: &str, may_change: bool) -> Vec<Choice> {
        let palette = Palette {
            input: Input::new(typed),
            ..Palette::default()
        };
        let mut scene = Scene::empty(80, 24);
        scene.press("3");
        scene.app.locked = !may_change;
        palette.found(&scene.app)
    }

    #[test]
    fn commands_are_found_by_words_and_by_letters_in_order() {
        let does =
            |choice: &Choice, action| matches!(choice, Choice::Do(.., found) if *found == action);
        let has = |typed, may_change, action| {
            found(typed, may_change)
                .iter()
                .any(|choice| does(choice, action))
        };
        assert!(does(&found("filter", true)[0], Action::Filter));
        assert!(does(&found("pause", true)[0], Action::Pause));
        assert!(has("rtry", true, Action::Retry));
        assert!(found("zzzz", true).is_empty());
        assert!(!has("", false, Action::Retry) && found("", true).len() > 10);
        assert_eq!(
            found("environment prod", true)[0],
            Choice::GoTo("prod".into())
        );
    }
}
