//! What keys do.

use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::look::Stage;
use crossterm::event::{KeyCode, KeyEvent};

use super::{account, pause, work, write};
use crate::app::dlq::{Unchosen, View};
use crate::app::letter::Letter;
use crate::app::list::Position;
use crate::app::live::Live;
use crate::app::overlay::{Account, Choice, Confirm, Overlay, Palette, Yes};
use crate::app::trash::Trashes;
use crate::app::trial::Trial;
use crate::app::window::Window;
use crate::app::{App, Stations};
use crate::keymap::{self, Action, Key};
use crate::layout;
use crate::message::{Command, Level, Work};
use crate::screen::Screen;

/// Takes a key that counts.
pub(super) fn key(app: &mut App, event: KeyEvent) -> Vec<Command> {
    if let Some(overlay) = app.overlay.take() {
        return on_overlay(app, overlay, event);
    }
    if let Some(commands) = write::key(app, event) {
        return commands;
    }
    match app.options.keymap.find(&app.scopes(), Key::of(event)) {
        Some(binding) if binding.changes && !app.may_change() => {
            let why = if app.options.read_only {
                "this console is read-only: nothing can be changed here"
            } else {
                "the console is locked; L unlocks it"
            };
            app.notices.say(app.uptime, Level::Note, why);
            Vec::new()
        }
        // The footer says which of the two it is, and the question says it again.
        Some(binding) if binding.action == Action::Pause && app.is_paused() => {
            act(app, Action::Resume)
        }
        Some(binding) => act(app, binding.action),
        None => Vec::new(),
    }
}

/// Does what a key asks for.
pub(super) fn act(app: &mut App, action: Action) -> Vec<Command> {
    match action {
        Action::Show(screen) => show(app, screen),
        Action::NextScreen => show(app, app.screen.step(1)),
        Action::PreviousScreen => show(app, app.screen.step(-1)),
        Action::Help => {
            app.overlay = Some(Overlay::Help(0));
            Vec::new()
        }
        Action::Palette => {
            app.overlay = Some(Overlay::Palette(Palette::default()));
            Vec::new()
        }
        Action::Lock => {
            app.locked = !app.locked;
            let told = if app.locked {
                "locked: nothing can be changed until L is pressed again"
            } else {
                "unlocked"
            };
            app.notices.say(app.uptime, Level::Note, told);
            Vec::new()
        }
        Action::Pause => pause::ask_to(app, true),
        Action::Resume => pause::ask_to(app, false),
        Action::Refresh => vec![Command::Redraw, Command::Refresh, Command::ReadMinutes],
        Action::Suspend => vec![Command::Suspend],
        Action::Back => back(app).unwrap_or_default(),
        Action::Quit => back(app).unwrap_or_else(|| {
            app.quit = true;
            Vec::new()
        }),
        action => match app.screen {
            Screen::Overview => {
                if action == Action::Span {
                    app.span = app.span.next();
                }
                Vec::new()
            }
            Screen::Dlq => on_dlq(app, action),
            screen => {
                let height = app.height();
                match screen {
                    Screen::Workers => {
                        let figures = app.figures.as_ref();
                        let count = figures.map_or(0, |(figures, _)| figures.workers.len());
                        app.workers_at.act(action, count, height);
                    }
                    Screen::Live => {
                        app.live.act(action, height);
                    }
                    Screen::Queue if action == Action::Span => {
                        app.stage = match app.stage {
                            Stage::Waiting => Stage::InFlight,
                            Stage::InFlight => Stage::Retry,
                            Stage::Retry => Stage::Waiting,
                        };
                        app.queue = Window::default();
                    }
                    Screen::Queue => {
                        app.queue.act(action, height);
                    }
                    Screen::Audit => {
                        app.audit.act(action, height);
                    }
                    Screen::Pipeline if action == Action::Span => {
                        let hours = if app.stations.hours == 1 { 24 } else { 1 };
                        app.stations = Stations {
                            hours,
                            ..Stations::default()
                        };
                    }
                    Screen::Pipeline => {
                        let count = app.stations.list.as_ref().map_or(0, Vec::len);
                        app.stations.at.act(action, count, height);
                    }
                    Screen::Overview | Screen::Dlq => {}
                }
                Vec::new()
            }
        },
    }
}

fn show(app: &mut App, screen: Screen) -> Vec<Command> {
    let before = std::mem::replace(&mut app.screen, screen);
    match screen {
        Screen::Dlq => {
            let (count, height) = (app.dlq.count(), app.height());
            app.dlq.at.keep(count, height);
        }
        Screen::Queue => app.queue.age(),
        Screen::Audit => app.audit.age(),
        Screen::Pipeline => app.stations.stale = true,
        _ => {}
    }
    // Workers tell more while somebody listens, so nobody does who does not look.
    match (before == Screen::Live, screen == Screen::Live) {
        (false, true) => {
            app.live = Live::default();
            vec![Command::Listen(true)]
        }
        (true, false) => vec![Command::Listen(false)],
        _ => Vec::new(),
    }
}

/// One step back: work under way, what is open, a filter; `None` where there is none left.
fn back(app: &mut App) -> Option<Vec<Command>> {
    app.notices.hush();
    if app.work.is_some() {
        return Some(work::stop(app));
    }
    match app.screen {
        Screen::Dlq if app.dlq.view == View::Trash && app.trash.back() => Some(Vec::new()),
        Screen::Dlq => app.dlq.back(),
        Screen::Live if !app.live.filter.is_empty() => {
            let height = app.height();
            app.live.set_filter("", height);
            Some(Vec::new())
        }
        _ => None,
    }
}

fn on_dlq(app: &mut App, action: Action) -> Vec<Command> {
    let area = app.list_area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    match (app.dlq.view, action) {
        (View::Trash, Action::Undo) => work::restore(app),
        (View::Trash, action) => {
            app.trash.act(action, height);
            Vec::new()
        }
        (_, Action::Undo) => work::undo(app),
        (_, Action::Trash) => {
            app.trash = Trashes::default();
            app.dlq.view = View::Trash;
            Vec::new()
        }
        (_, Action::Account) => account::show(app),
        (View::List, Action::Retry) => match app.dlq.chosen() {
            Ok(chosen) => work::retry(app, chosen),
            Err(why) => work::refuse(app, why),
        },
        (View::List, Action::RetryMatching) => {
            match app.dlq.all_matching(std::collections::HashSet::new()) {
                Ok(chosen) => work::retry(app, chosen),
                Err(why) => work::refuse(app, why),
            }
        }
        (View::List, Action::Drop) => match app.dlq.chosen() {
            Ok(chosen) => work::throw_away(app, chosen),
            Err(why) => work::refuse(app, why),
        },
        (View::List, Action::ClearAll) => work::clear(app),
        (View::List, Action::Export) => work::ask_export(app),
        (View::List, Action::Try) => {
            let dead = app.dlq.under_cursor().cloned();
            work::try_out(app, dead)
        }
        (View::Letter, Action::Try) => {
            let dead = app.dlq.letter.as_ref().map(|letter| letter.dead.clone());
            work::try_out(app, dead)
        }
        (View::List, Action::Edit) => match app.dlq.under_cursor().cloned() {
            Some(dead) => work::edit(app, dead),
            None => Vec::new(),
        },
        (View::List, Action::Copy) => copy(app, app.dlq.under_cursor().cloned()),
        (View::List, action) => app.dlq.act(action, height).unwrap_or_default(),
        (View::Groups, Action::Groups) => app.dlq.fold(),
        (View::Groups, Action::Open) => app.dlq.look_into_group(),
        (View::Groups, Action::Retry) => match app.dlq.chosen_group() {
            Ok(chosen) => work::retry(app, chosen),
            Err(why) => work::refuse(app, why),
        },
        (View::Groups, Action::Drop) => match app.dlq.chosen_group() {
            Ok(chosen) => work::throw_away(app, chosen),
            Err(why) => work::refuse(app, why),
        },
        (View::Groups, action) => {
            let count = app.dlq.groups().len();
            app.dlq.groups_at.act(action, count, height);
            Vec::new()
        }
        (View::Letter, Action::Retry | Action::Drop) => {
            let Some(letter) = &app.dlq.letter else {
                return Vec::new();
            };
            let chosen = crate::app::dlq::one(letter.dead.clone());
            if action == Action::Retry {
                work::retry(app, chosen)
            } else {
                work::throw_away(app, chosen)
            }
        }
        (View::Letter, Action::Edit) => {
            let letter = app.dlq.letter.as_ref().map(|letter| letter.dead.clone());
            letter.map_or_else(Vec::new, |dead| work::edit(app, dead))
        }
        (View::Letter, Action::Copy) => {
            let letter = app.dlq.letter.as_ref().map(|letter| letter.dead.clone());
            copy(app, letter)
        }
        (View::Letter, Action::Search) => {
            let found = app.dlq.letter.as_mut().is_some_and(Letter::begin_search);
            if found {
                return Vec::new();
            }
            let why = "these bytes are no JSON, so there are no fields to search";
            work::refuse(app, Unchosen(why.into()))
        }
        (View::Letter, action) => {
            let now = app.now();
            app.dlq.act_on_letter(action, width, height, now);
            Vec::new()
        }
    }
}

fn copy(app: &mut App, letter: Option<DeadLetter>) -> Vec<Command> {
    let Some(letter) = letter else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&letter.envelope.lead).into_owned();
    app.notices.say(
        app.uptime,
        Level::Note,
        "the lead was sent to the terminal's clipboard (OSC 52)",
    );
    vec![Command::Copy(text)]
}

fn on_overlay(app: &mut App, overlay: Overlay, event: KeyEvent) -> Vec<Command> {
    if !app.overlay_drawn && !may_be_ahead(&overlay, event) {
        app.overlay = Some(overlay);
        return Vec::new();
    }
    match overlay {
        Overlay::Help(at) => {
            let (_, height) = layout::help(layout::areas(app.size).body);
            let last = app.help().len().saturating_sub(height);
            let step = |at: usize, by| Some(Overlay::Help(at.saturating_add_signed(by).min(last)));
            app.overlay = match event.code {
                KeyCode::Down | KeyCode::Char('j') => step(at, 1),
                KeyCode::Up | KeyCode::Char('k') => step(at, -1),
                KeyCode::PageDown | KeyCode::Char(' ') => step(at, 10),
                KeyCode::PageUp => step(at, -10),
                _ => None,
            };
            Vec::new()
        }
        Overlay::Account(account) => on_account(app, account, event),
        Overlay::Trial(trial) => on_trial(app, trial, event),
        Overlay::Confirm(confirm) => on_confirm(app, confirm, event),
        Overlay::EditAgain { dead, text, error } => match event.code {
            KeyCode::Esc | KeyCode::Char('q') => Vec::new(),
            KeyCode::Char('e') | KeyCode::Enter => vec![Command::Edit(dead, Some(text))],
            _ => {
                app.overlay = Some(Overlay::EditAgain { dead, text, error });
                Vec::new()
            }
        },
        Overlay::File(mut input, which) => match event.code {
            KeyCode::Esc => Vec::new(),
            KeyCode::Enter if !input.text().trim().is_empty() => {
                let file = input.text().trim().to_owned();
                work::export(app, which, file)
            }
            _ => {
                input.key(event);
                app.overlay = Some(Overlay::File(input, which));
                Vec::new()
            }
        },
        Overlay::Palette(palette) => on_palette(app, palette, event),
    }
}

/// Whether a key can be meant for an overlay that nobody has seen yet: text can, and what leaves a
/// question. No answer can, and nothing where the overlay came by itself.
fn may_be_ahead(overlay: &Overlay, event: KeyEvent) -> bool {
    match overlay {
        Overlay::Help(_) | Overlay::File(..) | Overlay::Palette(_) => true,
        Overlay::Confirm(_) => matches!(event.code, KeyCode::Esc | KeyCode::Char('n' | 'q')),
        Overlay::Account(_) | Overlay::Trial(_) | Overlay::EditAgain { .. } => false,
    }
}

fn on_account(app: &mut App, mut account: Account, event: KeyEvent) -> Vec<Command> {
    let lists = [keymap::Scope::Lists];
    let binding = app.options.keymap.find(&lists, Key::of(event));
    if let Some(binding) = binding {
        let body = layout::areas(app.size).body;
        let summary = crate::text::wrap(&account.summary, layout::account_width(body));
        let height = layout::account(body, summary.len(), account.count());
        account.at.act(binding.action, account.count(), height);
        app.overlay = Some(Overlay::Account(account));
        return Vec::new();
    }
    let save = event.code == KeyCode::Char('x');
    let commands = save.then(|| {
        let file = format!("account-{}.jsonl", app.now() / 1_000);
        Command::Save(file, account.text())
    });
    // It can be looked at again.
    app.account = Some(account);
    commands.into_iter().collect()
}

fn on_trial(app: &mut App, mut trial: Trial, event: KeyEvent) -> Vec<Command> {
    let lists = [keymap::Scope::Lists];
    let binding = app.options.keymap.find(&lists, Key::of(event));
    if let Some(binding) = binding {
        let (width, height) = layout::trial(layout::areas(app.size).body);
        trial
            .at
            .act(binding.action, trial.lines(width).len(), height);
    } else if event.code == KeyCode::Char('r') && app.may_change() {
        return work::retry(app, crate::app::dlq::one(trial.dead));
    } else if matches!(
        event.code,
        KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q')
    ) {
        return Vec::new();
    }
    app.overlay = Some(Overlay::Trial(trial));
    Vec::new()
}

fn on_confirm(app: &mut App, mut confirm: Confirm, event: KeyEvent) -> Vec<Command> {
    let plain = confirm.typed.is_none();
    match event.code {
        KeyCode::Esc | KeyCode::Char('n' | 'q') => return Vec::new(),
        // Enter alone is no answer: it may be meant for what was there before the question.
        KeyCode::Enter if !plain && confirm.is_ready() => return confirmed(app, confirm.yes),
        KeyCode::Char('y') if plain => return confirmed(app, confirm.yes),
        _ => {
            let word = matches!(event.code, KeyCode::Char(c) if !c.is_ascii_digit() && c != ',');
            if let Some((_, input)) = &mut confirm.typed
                && !word
            {
                input.key(event);
            }
        }
    }
    app.overlay = Some(Overlay::Confirm(confirm));
    Vec::new()
}

fn confirmed(app: &mut App, yes: Yes) -> Vec<Command> {
    match yes {
        Yes::Begin { work, words, count } => work::begin(app, *work, words, count),
        Yes::SetPaused(paused) => pause::set(app, paused),
    }
}

fn on_palette(app: &mut App, mut palette: Palette, event: KeyEvent) -> Vec<Command> {
    let mut found = palette.found(app);
    let height = usize::from(app.size.height).saturating_sub(8).max(1);
    match event.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter if palette.at.cursor < found.len() => {
            return match found.swap_remove(palette.at.cursor) {
                Choice::Do(.., action) => act(app, action),
                Choice::GoTo(profile) => {
                    app.switch_to = Some(profile);
                    app.quit = true;
                    Vec::new()
                }
            };
        }
        KeyCode::Down => {
            palette.at.act(Action::Down, found.len(), height);
        }
        KeyCode::Up => {
            palette.at.act(Action::Up, found.len(), height);
        }
        _ => {
            if palette.input.key(event) {
                palette.at = Position::default();
            }
        }
    }
    app.overlay = Some(Overlay::Palette(palette));
    Vec::new()
}

/// Asks before anything is changed. The answer counts once the question has been drawn.
pub(super) fn ask(app: &mut App, confirm: Confirm) -> Vec<Command> {
    if app.work.is_some() && matches!(confirm.yes, Yes::Begin { .. }) {
        app.notices.say(
            app.uptime,
            Level::Note,
            "one thing at a time: esc stops what is under way",
        );
        return Vec::new();
    }
    app.overlay = Some(Overlay::Confirm(confirm));
    app.overlay_drawn = false;
    Vec::new()
}

/// Whether a piece of work changes anything.
pub(super) const fn changes(work: &Work) -> bool {
    !matches!(work, Work::Export(..))
}
