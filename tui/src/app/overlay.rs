//! What lies over a screen: help, a question, an account, the command palette.

use bridge_shared::filter::needle::Needle;
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
    pub(crate) yes: Yes,
}

/// What happens on yes.
#[derive(Debug)]
pub(crate) enum Yes {
    /// A piece of work begins.
    Begin {
        /// It.
        work: Box<Work>,
        /// It, while it is under way: `retrying all 46 dead letters`.
        words: String,
        /// How many it is about.
        count: u64,
    },
    /// The workers are paused, or resumed.
    SetPaused(bool),
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
        // What is only like what was typed is for slips of the hand.
        if found
            .iter()
            .any(|(closeness, _)| *closeness < Closeness::Like)
        {
            found.retain(|(closeness, _)| *closeness < Closeness::Like);
        }
        found.into_iter().map(|(_, choice)| choice).collect()
    }
}

/// How well a command fits what was typed, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// It is called so.
    Called,
    /// Words of it begin so.
    Word,
    /// It has that somewhere.
    Within,
    /// It has a word that is like it.
    Like,
}

/// How well a text has all the words of what is wanted, found as a filter finds them.
fn closeness(text: &str, wanted: &str) -> Option<Closeness> {
    if text.starts_with(wanted.trim()) {
        return Some(Closeness::Called);
    }
    let of_word = |word| {
        let needle = Needle::loose(word);
        let begins = |part: &str| part.starts_with(word);
        if text.split([' ', '-']).any(begins) {
            Some(Closeness::Word)
        } else if needle.is_in(text) {
            Some(Closeness::Within)
        } else {
            let like = needle.is_like_a_word_in(text);
            like.then_some(Closeness::Like)
        }
    };
    wanted
        .split_whitespace()
        .map(of_word)
        .try_fold(Closeness::Called, |worst, next| Some(worst.max(next?)))
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
    fn what_is_typed_is_found_by_the_rule_of_filters_the_best_first() {
        let names = |typed: &str| -> Vec<String> {
            let found = found(typed, true).into_iter();
            found.map(|choice| choice.words().1).collect()
        };
        // Words that begin with it come before those that have it somewhere.
        let marks = names("mark");
        assert!(
            marks.len() > 2 && marks.iter().all(|help| help.contains("mark")),
            "{marks:?}"
        );
        let tries = names("try");
        assert!(tries[0].starts_with("let a worker"), "{tries:?}");
        // What only has the letters somewhere is nothing that anybody looks for.
        for typed in ["trash", "filter", "pause", "export", "group", "undo"] {
            let action = |choice: &Choice| match choice {
                Choice::Do(_, help, action) => format!("{} {help}", action.name()),
                Choice::GoTo(name) => name.clone(),
            };
            for choice in found(typed, true) {
                let has = format!("{} ", action(&choice));
                assert!(has.contains(typed), "{typed}: {has}");
            }
        }
        // A slip of the hand finds what is like it, where nothing else does.
        assert!(names("exprt").iter().any(|help| help.contains(".csv")));
        assert!(names("tst").is_empty(), "{:?}", names("tst"));
        // Words in any order, all of them.
        assert!(
            names("clipboard copy").len() == 1,
            "{:?}",
            names("clipboard copy")
        );
    }

    #[test]
    fn commands_are_found_by_words_and_by_what_is_like_them() {
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
