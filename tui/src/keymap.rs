//! The keys, as data: what a key does where. The help, the footer and the command palette are made
//! of the same rows, so they cannot say anything else.

use std::collections::BTreeMap;
use std::fmt;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::screen::Screen;

/// Something a key can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Account,
    Back,
    ClearAll,
    Copy,
    Down,
    Drop,
    Edit,
    Export,
    Filter,
    Fold,
    Groups,
    HalfPageDown,
    HalfPageUp,
    Help,
    Lock,
    Mark,
    MarkAll,
    MarkRange,
    NextHit,
    NextScreen,
    Open,
    PageDown,
    PageUp,
    Palette,
    Pause,
    PreviousHit,
    PreviousScreen,
    Quit,
    Raw,
    Refresh,
    Retry,
    Resume,
    RetryMatching,
    Search,
    Show(Screen),
    Span,
    Suspend,
    Try,
    ToBottom,
    ToTop,
    Trash,
    Undo,
    Up,
}

/// Where a key means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Everywhere where no other row says otherwise.
    Everywhere,
    /// Wherever there is a list to go up and down in.
    Lists,
    /// The overview.
    Overview,
    /// The live events.
    Live,
    /// The list of dead letters.
    Dlq,
    /// The groups of dead letters.
    Groups,
    /// One dead letter, opened.
    Letter,
    /// What was thrown away.
    Trash,
    /// The waiting, in-flight and retry entries.
    Queue,
    /// The stations.
    Pipeline,
}

impl Scope {
    /// All of them.
    const ALL: [Self; 10] = [
        Self::Everywhere,
        Self::Lists,
        Self::Overview,
        Self::Live,
        Self::Dlq,
        Self::Groups,
        Self::Letter,
        Self::Trash,
        Self::Queue,
        Self::Pipeline,
    ];

    /// Its name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Everywhere => "everywhere",
            Self::Lists => "lists",
            Self::Overview => "overview",
            Self::Live => "live",
            Self::Dlq => "dlq",
            Self::Groups => "groups",
            Self::Letter => "letter",
            Self::Trash => "trash",
            Self::Queue => "queue",
            Self::Pipeline => "pipeline",
        }
    }

    /// Its heading in the help.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Everywhere => "Everywhere",
            Self::Lists => "Lists",
            Self::Overview => "Overview",
            Self::Live => "Live",
            Self::Dlq => "Dead letters",
            Self::Groups => "Groups",
            Self::Letter => "One dead letter",
            Self::Trash => "Trash",
            Self::Queue => "Queue",
            Self::Pipeline => "Pipeline",
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Where.
    pub(crate) scope: Scope,
    /// The keys, apart by spaces; the first one is shown in the footer.
    pub(crate) keys: &'static str,
    /// What they do.
    pub(crate) action: Action,
    /// In the footer; empty where it is not shown there.
    pub(crate) label: &'static str,
    /// In the help and the palette.
    pub(crate) help: &'static str,
    /// Whether it changes anything in Redis: hidden and refused where the console may not.
    pub(crate) changes: bool,
}

const fn reads(
    scope: Scope,
    keys: &'static str,
    action: Action,
    label: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        scope,
        keys,
        action,
        label,
        help,
        changes: false,
    }
}

const fn changes(
    scope: Scope,
    keys: &'static str,
    action: Action,
    label: &'static str,
    help: &'static str,
) -> Binding {
    Binding {
        scope,
        keys,
        action,
        label,
        help,
        changes: true,
    }
}

/// The table.
#[rustfmt::skip]
pub(crate) const BINDINGS: &[Binding] = &[
    changes(Scope::Dlq, "r", Action::Retry, "retry", "put the marked dead letters, or the one under the cursor, back to work"),
    changes(Scope::Dlq, "R", Action::RetryMatching, "retry all", "put every dead letter that matches the filter back to work"),
    changes(Scope::Dlq, "d", Action::Drop, "drop", "throw the marked ones, or the one under the cursor, into the trash"),
    reads(Scope::Dlq, "/", Action::Filter, "filter", "filter: words (a ' before one takes it exactly), and error: kind: station: worker: cause: id: name: url: lead: attempts:>2 retries:0 age:>1h; tab completes"),
    reads(Scope::Dlq, "f", Action::Groups, "groups", "fold into groups by cause, with counts"),
    changes(Scope::Dlq, "e", Action::Edit, "edit", "open the lead in $EDITOR, and put it back to work as edited"),
    reads(Scope::Dlq, "t", Action::Try, "try", "let a worker bring the lead along its route once, dry, and see what each station answers"),
    reads(Scope::Dlq, "enter l right", Action::Open, "open", "open the dead letter"),
    reads(Scope::Dlq, "space", Action::Mark, "mark", "mark or unmark, and go on to the next"),
    changes(Scope::Dlq, "C", Action::ClearAll, "clear", "throw every dead letter into the trash"),
    changes(Scope::Dlq, "u", Action::Undo, "undo", "undo the last retry, as far as nobody has begun, or the last drop (the trash is kept for a day)"),
    reads(Scope::Dlq, "v", Action::MarkRange, "", "mark from here: go to the other end and press v again"),
    reads(Scope::Dlq, "*", Action::MarkAll, "", "mark all that match the filter, or none"),
    reads(Scope::Dlq, "x", Action::Export, "", "write the marked ones, or all that match, to a JSON lines or .csv file"),
    reads(Scope::Dlq, "T", Action::Trash, "", "what was thrown away in the last day, by whom, and bringing it back"),
    reads(Scope::Dlq, "a", Action::Account, "", "the account of the last bulk work: what was done and what was not, by id"),
    reads(Scope::Dlq, "y", Action::Copy, "", "copy the lead to the clipboard of this terminal"),
    reads(Scope::Groups, "enter l right", Action::Open, "look into", "show only this group"),
    reads(Scope::Groups, "f", Action::Groups, "list", "back to the list"),
    changes(Scope::Groups, "r", Action::Retry, "retry", "put the whole group back to work"),
    changes(Scope::Groups, "d", Action::Drop, "drop", "throw the whole group into the trash"),
    changes(Scope::Groups, "u", Action::Undo, "undo", "undo the last retry, as far as nobody has begun, or the last drop"),
    reads(Scope::Groups, "T", Action::Trash, "", "what was thrown away in the last day, by whom, and bringing it back"),
    reads(Scope::Groups, "a", Action::Account, "", "the account of the last bulk work: what was done and what was not, by id"),
    changes(Scope::Trash, "u", Action::Undo, "bring back", "bring back everything that is in this trash"),
    reads(Scope::Trash, "enter l right", Action::Open, "look inside", "look at what is in this trash, without touching it"),
    reads(Scope::Trash, "esc q h left", Action::Back, "back", "back"),
    changes(Scope::Letter, "r", Action::Retry, "retry", "put this dead letter back to work"),
    changes(Scope::Letter, "d", Action::Drop, "drop", "throw it into the trash"),
    changes(Scope::Letter, "e", Action::Edit, "edit", "open the lead in $EDITOR, and put it back to work as edited"),
    changes(Scope::Letter, "u", Action::Undo, "undo", "undo the last retry, as far as nobody has begun, or the last drop"),
    reads(Scope::Letter, "t", Action::Try, "try", "let a worker bring the lead along its route once, dry, and see what each station answers"),
    reads(Scope::Letter, "enter space", Action::Fold, "fold", "fold or unfold the field under the cursor"),
    reads(Scope::Letter, "/", Action::Search, "search", "search the keys and values of the lead; what is folded away opens"),
    reads(Scope::Letter, "n", Action::NextHit, "", "to the next place that was found"),
    reads(Scope::Letter, "N", Action::PreviousHit, "", "to the one before"),
    reads(Scope::Letter, "J", Action::Raw, "raw", "the bytes as they are, or the fields"),
    reads(Scope::Letter, "y", Action::Copy, "copy", "copy the lead to the clipboard of this terminal"),
    reads(Scope::Letter, "esc q h left", Action::Back, "back", "back to the list"),
    reads(Scope::Overview, "t", Action::Span, "span", "charts over 5 minutes, 1 hour or 24 hours"),
    reads(Scope::Live, "space", Action::Mark, "hold", "hold the lines still, or follow again"),
    reads(Scope::Live, "/", Action::Filter, "filter", "show only lines that contain these words"),
    reads(Scope::Live, "enter", Action::Open, "timeline", "only what happened to the lead under the cursor"),
    reads(Scope::Queue, "t", Action::Span, "place", "look at waiting, in-flight or retry entries"),
    reads(Scope::Pipeline, "t", Action::Span, "span", "over the running hour or the last 24"),
    reads(Scope::Lists, "j down", Action::Down, "", "down"),
    reads(Scope::Lists, "k up", Action::Up, "", "up"),
    reads(Scope::Lists, "g home", Action::ToTop, "", "to the top"),
    reads(Scope::Lists, "G end", Action::ToBottom, "", "to the bottom"),
    reads(Scope::Lists, "ctrl-d", Action::HalfPageDown, "", "half a page down"),
    reads(Scope::Lists, "ctrl-u", Action::HalfPageUp, "", "half a page up"),
    reads(Scope::Lists, "pgdn ctrl-f", Action::PageDown, "", "a page down"),
    reads(Scope::Lists, "pgup ctrl-b", Action::PageUp, "", "a page up"),
    reads(Scope::Everywhere, "1", Action::Show(Screen::Overview), "", "overview"),
    reads(Scope::Everywhere, "2", Action::Show(Screen::Live), "", "live events"),
    reads(Scope::Everywhere, "3", Action::Show(Screen::Dlq), "", "dead letters"),
    reads(Scope::Everywhere, "4", Action::Show(Screen::Queue), "", "queue"),
    reads(Scope::Everywhere, "5", Action::Show(Screen::Workers), "", "workers"),
    reads(Scope::Everywhere, "6", Action::Show(Screen::Pipeline), "", "pipeline"),
    reads(Scope::Everywhere, "7", Action::Show(Screen::Audit), "", "audit"),
    reads(Scope::Everywhere, "tab", Action::NextScreen, "", "next screen"),
    reads(Scope::Everywhere, "backtab", Action::PreviousScreen, "", "previous screen"),
    changes(Scope::Everywhere, "p", Action::Pause, "pause", "pause the workers, once that is confirmed; while they are paused: resume them"),
    changes(Scope::Everywhere, "P", Action::Resume, "", "resume the workers, once that is confirmed"),
    reads(Scope::Everywhere, "L", Action::Lock, "", "lock the console: nothing can be changed until it is unlocked"),
    reads(Scope::Everywhere, "ctrl-l", Action::Refresh, "", "read everything again and draw it anew"),
    reads(Scope::Everywhere, "?", Action::Help, "help", "the keys of this screen"),
    reads(Scope::Everywhere, ": ctrl-p", Action::Palette, "", "command palette"),
    reads(Scope::Everywhere, "ctrl-z", Action::Suspend, "", "suspend, as in a shell"),
    reads(Scope::Everywhere, "q", Action::Quit, "quit", "back, and on a screen itself leave the console"),
    reads(Scope::Everywhere, "esc", Action::Back, "", "back; it never leaves the console"),
];

/// A key with what is held down with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    code: KeyCode,
    ctrl: bool,
    alt: bool,
}

impl Key {
    /// What the terminal reports, with the shift key already in the character.
    pub(crate) fn of(event: KeyEvent) -> Self {
        Self {
            code: event.code,
            ctrl: event.modifiers.contains(KeyModifiers::CONTROL),
            alt: event.modifiers.contains(KeyModifiers::ALT),
        }
    }

    /// Reads `j`, `ctrl-d`, `enter`, `pgdn`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mut rest, mut ctrl, mut alt) = (text, false, false);
        loop {
            if let Some(after) = rest.strip_prefix("ctrl-").filter(|after| !after.is_empty()) {
                (rest, ctrl) = (after, true);
            } else if let Some(after) = rest.strip_prefix("alt-").filter(|after| !after.is_empty())
            {
                (rest, alt) = (after, true);
            } else {
                break;
            }
        }
        let code = NAMES.iter().find(|(name, _)| *name == rest).map_or_else(
            || {
                let mut chars = rest.chars();
                chars
                    .next()
                    .filter(|_| chars.next().is_none())
                    .map(KeyCode::Char)
            },
            |(_, code)| Some(*code),
        )?;
        Some(Self { code, ctrl, alt })
    }
}

impl From<Key> for KeyEvent {
    fn from(key: Key) -> Self {
        let mut modifiers = KeyModifiers::NONE;
        modifiers.set(KeyModifiers::CONTROL, key.ctrl);
        modifiers.set(KeyModifiers::ALT, key.alt);
        Self::new(key.code, modifiers)
    }
}

const NAMES: &[(&str, KeyCode)] = &[
    ("space", KeyCode::Char(' ')),
    ("enter", KeyCode::Enter),
    ("esc", KeyCode::Esc),
    ("tab", KeyCode::Tab),
    ("backtab", KeyCode::BackTab),
    ("up", KeyCode::Up),
    ("down", KeyCode::Down),
    ("left", KeyCode::Left),
    ("right", KeyCode::Right),
    ("home", KeyCode::Home),
    ("end", KeyCode::End),
    ("pgup", KeyCode::PageUp),
    ("pgdn", KeyCode::PageDown),
    ("backspace", KeyCode::Backspace),
    ("del", KeyCode::Delete),
];

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ctrl {
            f.write_str("ctrl-")?;
        }
        if self.alt {
            f.write_str("alt-")?;
        }
        match (NAMES.iter().find(|(_, code)| *code == self.code), self.code) {
            (Some((name, _)), _) => f.write_str(name),
            (None, KeyCode::Char(c)) => write!(f, "{c}"),
            (None, code) => write!(f, "{code}"),
        }
    }
}

/// The keys in force.
#[derive(Debug, Clone)]
pub(crate) struct Keymap {
    rows: Vec<Row>,
}

/// A row of the table with the keys in force.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The row.
    pub(crate) binding: &'static Binding,
    /// Its keys, the first one for the footer.
    pub(crate) keys: Vec<Key>,
}

impl Row {
    /// Its keys in words.
    pub(crate) fn keys(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        keys.join(" ")
    }
}

impl Default for Keymap {
    fn default() -> Self {
        Self::new(&BTreeMap::new()).expect("the table's own keys are sound")
    }
}

impl Keymap {
    /// The table, with other keys for some actions: scope, action and keys by name.
    ///
    /// # Errors
    /// In words, where a name is unknown or a key would mean two things.
    pub(crate) fn new(
        changed: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<Self, String> {
        check_names(changed)?;
        let mut rows: Vec<Row> = Vec::with_capacity(BINDINGS.len());
        for binding in BINDINGS {
            let keys = changed
                .get(binding.scope.name())
                .and_then(|keys| keys.get(&binding.action.name()))
                .map_or(binding.keys, String::as_str);
            let keys = keys.split_whitespace().map(|name| {
                Key::parse(name).ok_or_else(|| {
                    format!("no key is called {name:?}; write j, J, ctrl-d, alt-x, enter, esc, tab, space, up, pgdn, ...")
                })
            });
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            let same = |row: &&Row| {
                row.binding.scope == binding.scope && row.keys.iter().any(|key| keys.contains(key))
            };
            if let Some(other) = rows.iter().find(same) {
                let twice = keys.iter().find(|key| other.keys.contains(key));
                return Err(format!(
                    "in keys.{} {:?} would mean both {} and {}",
                    binding.scope.name(),
                    twice.map(ToString::to_string).unwrap_or_default(),
                    other.binding.action.name(),
                    binding.action.name(),
                ));
            }
            rows.push(Row { binding, keys });
        }
        Ok(Self { rows })
    }

    /// The rows of a scope.
    pub(crate) fn of(&self, scope: Scope) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(move |row| row.binding.scope == scope)
    }

    /// What a key does where the innermost of these scopes knows it.
    pub(crate) fn find(&self, scopes: &[Scope], key: Key) -> Option<&'static Binding> {
        scopes.iter().find_map(|scope| {
            let row = self.of(*scope).find(|row| row.keys.contains(&key))?;
            Some(row.binding)
        })
    }
}

fn check_names(changed: &BTreeMap<String, BTreeMap<String, String>>) -> Result<(), String> {
    for (scope, keys) in changed {
        let here: Vec<String> = BINDINGS
            .iter()
            .filter(|binding| binding.scope.name() == scope)
            .map(|binding| binding.action.name())
            .collect();
        if here.is_empty() {
            let scopes: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
            return Err(format!(
                "keys has no {scope:?}; there are {}",
                scopes.join(", ")
            ));
        }
        if let Some(unknown) = keys.keys().find(|name| !here.contains(name)) {
            return Err(format!(
                "keys.{scope} has no {unknown:?}; there are {}",
                here.join(", ")
            ));
        }
    }
    Ok(())
}

impl Action {
    /// Whether it only goes up or down in a list.
    pub(crate) const fn moves(self) -> bool {
        matches!(
            self,
            Self::Down
                | Self::Up
                | Self::HalfPageDown
                | Self::HalfPageUp
                | Self::PageDown
                | Self::PageUp
                | Self::ToTop
                | Self::ToBottom
        )
    }

    /// Its name in the configuration: `retry`, `half-page-down`, `show-dlq`.
    pub(crate) fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}")
            .chars()
            .filter(|c| c.is_alphanumeric() || *c == '(')
        {
            if c.is_uppercase() && !name.is_empty() && !name.ends_with('-') {
                name.push('-');
            }
            match c {
                '(' => name.push('-'),
                c => name.extend(c.to_lowercase()),
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_shown_as_it_is_written() {
        for binding in BINDINGS {
            for name in binding.keys.split(' ') {
                assert_eq!(
                    Key::parse(name).map(|key| key.to_string()).as_deref(),
                    Some(name)
                );
            }
            assert!(Scope::ALL.contains(&binding.scope));
        }
    }

    #[test]
    fn the_innermost_scope_wins() {
        let keymap = Keymap::default();
        let action = |scopes: &[Scope], key: &str| {
            let key = Key::parse(key).expect(key);
            keymap.find(scopes, key).map(|binding| binding.action)
        };
        let letter = [Scope::Letter, Scope::Lists, Scope::Everywhere];
        assert_eq!(action(&letter, "q"), Some(Action::Back));
        assert_eq!(action(&letter, "j"), Some(Action::Down));
        assert_eq!(action(&letter, "enter"), Some(Action::Fold));
        assert_eq!(action(&letter, "R"), None);
        assert_eq!(action(&[Scope::Everywhere], "j"), None);
    }

    #[test]
    fn keys_can_be_changed() {
        let keys = |name: &str, keys: &str| (name.to_owned(), keys.to_owned());
        let changed = [(
            "dlq".to_owned(),
            [keys("retry", "ctrl-r f5x"), keys("mark-all", "A")].into(),
        )]
        .into();
        assert!(Keymap::new(&changed).is_err());
        let changed = [(
            "dlq".to_owned(),
            [keys("retry", "ctrl-r"), keys("mark-all", "A")].into(),
        )]
        .into();
        let keymap = Keymap::new(&changed).expect("sound");
        let action = |key: &str| {
            keymap
                .find(&[Scope::Dlq], Key::parse(key)?)
                .map(|binding| binding.action)
        };
        assert_eq!(action("ctrl-r"), Some(Action::Retry));
        assert_eq!(
            (action("r"), action("*"), action("A")),
            (None, None, Some(Action::MarkAll))
        );
        assert_eq!(Action::Show(Screen::Dlq).name(), "show-dlq");
        assert_eq!(Action::HalfPageDown.name(), "half-page-down");
    }
}
