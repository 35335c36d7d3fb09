//! What keys and messages do, by table.

mod finding;
mod pointing;
mod queues;

use bridge_shared::stats::Snapshot;

use crate::app::Link;
use crate::app::dlq::View;
use crate::app::overlay::Overlay;
use crate::app::scene::{DEAD, NOW, Scene};
use crate::message::{Command, Ended, Message, Which, Work};
use crate::screen::Screen;
use bridge_shared::triage::Report;

fn dlq() -> Scene {
    let mut scene = Scene::busy(80, 24);
    scene.press("3");
    scene.commands.clear();
    scene
}

/// The work that was begun.
fn begun(scene: &Scene) -> Option<&Work> {
    scene.commands.iter().find_map(|command| match command {
        Command::Do(work) => Some(work),
        _ => None,
    })
}

fn ids(work: Option<&Work>) -> Vec<String> {
    let Some(Work::Move { which, .. }) = work else {
        return Vec::new();
    };
    let mut ids: Vec<String> = match which {
        Which::These(letters) => letters
            .iter()
            .map(|letter| letter.id().to_owned())
            .collect(),
        Which::Ids(ids) => ids.keys().cloned().collect(),
        Which::Matching(_) => vec!["all".into()],
    };
    ids.sort();
    ids
}

fn end(scene: &mut Scene, report: Report) {
    let work = begun(scene).cloned().expect("work under way");
    scene.commands.clear();
    scene.send(Message::Ended(Ended {
        work,
        report,
        error: None,
    }));
}

fn moved(n: u64) -> Report {
    Report {
        moved: n,
        ..Report::default()
    }
}

#[test]
fn keys_go_from_screen_to_screen() {
    let mut scene = Scene::busy(80, 24);
    for (keys, screen) in [
        ("3", Screen::Dlq),
        ("5", Screen::Workers),
        ("backtab backtab", Screen::Dlq),
        ("tab tab", Screen::Workers),
        ("1 backtab", *Screen::ALL.last().expect("screens")),
        ("tab", Screen::Overview),
    ] {
        scene.press(keys);
        assert_eq!(scene.app.screen, screen, "{keys}");
    }
}

#[test]
fn what_is_retried_is_asked_first_whatever_it_is() {
    for (keys, expected) in [
        ("r", &[][..]),
        ("r enter", &[]),
        ("r r", &[]),
        ("r y", &["k3x-0"]),
        ("j j r y", &["k3x-2"]),
        ("space j space r", &[]),
        ("space j space r y", &["k3x-0", "k3x-2"]),
        ("space j space r enter", &[]),
        ("space j space r enter y", &["k3x-0", "k3x-2"]),
        ("space space r n", &[]),
        ("space space r esc", &[]),
        ("space j j v j v r y", &["k3x-0", "k3x-3", "k3x-4"]),
        ("R y", &["all"]),
        ("R", &[]),
        ("* r y", &["all"]),
        ("* * r y", &["k3x-0"]),
        ("enter r y", &["k3x-0"]),
        ("G r y", &["k3x-45"]),
    ] {
        let mut scene = dlq();
        scene.press(keys);
        assert_eq!(ids(begun(&scene)), expected, "{keys}");
    }
}

#[test]
fn marks_survive_scrolling_new_arrivals_and_a_refresh() {
    let mut scene = dlq();
    scene.press("j space G g");
    // Three more die; the cursor stays on its letter, and so does the mark.
    let more = DEAD + 3;
    let mut newer = Scene::busy(80, 24).letters;
    for letter in &mut newer {
        letter.index += 3;
        letter.of = more;
    }
    let fresh = |n: u64| {
        let bytes = format!(r#"{{"envelope":1,"id":"new-{n}","lead":{{}},"error":"late"}}"#);
        bridge_shared::store::dead_letters::DeadLetter::new(n, more, bytes.into())
    };
    scene.letters = (0..3).map(fresh).chain(newer).collect();
    let mut figures = scene.app.figures.clone().expect("read").0;
    figures.dead = more;
    figures.totals.dead += 3;
    scene.send(Message::Reading(Box::new(figures)));
    assert_eq!(
        scene
            .app
            .dlq
            .under_cursor()
            .map(bridge_shared::store::dead_letters::DeadLetter::id),
        Some("k3x-0")
    );
    assert_eq!((scene.app.dlq.at.cursor, scene.app.dlq.at.top), (3, 0));
    assert_eq!(scene.app.dlq.marks.count(more), 1);
    scene.press("r y");
    assert_eq!(ids(begun(&scene)), ["k3x-1"]);
}

#[test]
fn a_range_over_a_list_that_somebody_else_changed_marks_nothing() {
    let mut scene = dlq();
    scene.press("j v j j");
    // Everything has moved by one place since the range was begun.
    for letter in &mut scene.letters {
        letter.index += 1;
        letter.of = DEAD;
    }
    scene.press("v");
    assert_eq!(scene.app.dlq.marks.count(DEAD), 0);
    let mistake = scene.app.dlq.mistake.clone().unwrap_or_default();
    assert!(mistake.contains("mark the range again"), "{mistake}");
}

#[test]
fn where_the_answer_was_lost_the_trash_can_still_be_brought_back() {
    let mut scene = dlq();
    scene.press("C y");
    let Some(Work::Clear(trash, asked)) = begun(&scene).cloned() else {
        panic!("{:?}", scene.commands);
    };
    scene.commands.clear();
    scene.send(Message::Ended(Ended {
        work: Work::Clear(trash.clone(), asked),
        report: Report::default(),
        error: Some("no answer in time".into()),
    }));
    scene.press("u y");
    assert_eq!(begun(&scene), Some(&Work::Restore(trash)));
}

#[test]
fn more_than_a_hundred_ask_for_the_number() {
    let mut scene = dlq();
    let mut figures = scene.app.figures.clone().expect("read").0;
    figures.dead = 1_234;
    scene.send(Message::Reading(Box::new(figures)));
    for (keys, begins) in [
        ("C enter", false),
        ("C y enter", false),
        ("C 1 2 3 enter", false),
        ("C 1 2 3 4 enter", true),
    ] {
        scene.app.overlay = None;
        scene.press(keys);
        assert_eq!(
            matches!(begun(&scene), Some(Work::Clear(..))),
            begins,
            "{keys}"
        );
    }
}

#[test]
fn what_was_done_is_undone_last_first() {
    let mut scene = dlq();
    scene.press("u");
    assert_eq!(begun(&scene), None);
    scene.press("d y");
    let Some(Work::Move {
        trash: Some(first), ..
    }) = begun(&scene).cloned()
    else {
        panic!("{:?}", scene.commands);
    };
    end(&mut scene, moved(1));
    scene.press("r y");
    let put = vec![("waiting".into(), "dead".into())];
    let retried = Report {
        put: put.clone(),
        ..moved(1)
    };
    end(&mut scene, retried);
    scene.press("C y");
    end(&mut scene, moved(45));
    assert_eq!(scene.app.dlq.undos.len(), 3);
    scene.press("u y");
    assert!(matches!(begun(&scene), Some(Work::Restore(name)) if *name != first));
    end(&mut scene, moved(45));
    scene.press("u y");
    assert_eq!(begun(&scene), Some(&Work::Recall(put)));
    end(&mut scene, moved(1));
    scene.press("u y");
    assert_eq!(begun(&scene), Some(&Work::Restore(first)));
    end(&mut scene, moved(1));
    assert!(scene.app.dlq.undos.is_empty());
}

#[test]
fn an_edited_lead_is_retried_when_it_is_a_lead_and_was_changed() {
    let edit = |text: Result<&str, &str>| {
        let mut scene = dlq();
        scene.press("e");
        let Some(Command::Edit(dead, None)) = scene.commands.pop() else {
            panic!("{:?}", scene.commands);
        };
        let before = super::work::editable(&dead);
        let text = text
            .map(|text| text.replace("BEFORE", &before))
            .map_err(Into::into);
        scene.send(Message::Edited { dead, text });
        scene
    };
    for unchanged in [Ok("BEFORE\n"), Err("no editor")] {
        let mut scene = edit(unchanged);
        assert!(scene.app.overlay.is_none() && scene.app.notices.last().is_some());
        scene.press("y");
        assert_eq!(begun(&scene), None);
    }
    let mut scene = edit(Ok("{\"name\": \"Right\"}\n"));
    scene.press("y");
    let Some(Work::Edited(dead)) = begun(&scene) else {
        panic!("{:?}", scene.commands);
    };
    assert_eq!(
        (dead.id(), &dead.envelope.lead[..]),
        ("k3x-0", &b"{\"name\": \"Right\"}"[..])
    );
    assert_eq!(dead.bytes, scene.letters[0].bytes);

    let mut scene = edit(Ok("{\"name\": "));
    assert!(
        matches!(&scene.app.overlay, Some(Overlay::EditAgain { error, .. }) if error.contains("not JSON"))
    );
    scene.press("x e");
    assert!(
        matches!(scene.commands.pop(), Some(Command::Edit(_, Some(text))) if text == "{\"name\": ")
    );
}

#[test]
fn a_filter_narrows_the_list_and_what_keys_are_about() {
    let mut scene = dlq();
    scene.press("/");
    scene.write("error:404");
    scene.press("enter");
    assert_eq!(scene.app.dlq.count(), 9);
    scene.press("R y");
    let Some(Work::Move {
        which: Which::Matching(wanted),
        ..
    }) = begun(&scene)
    else {
        panic!("{:?}", scene.commands);
    };
    let matching = scene
        .letters
        .iter()
        .filter(|letter| wanted.holds(letter, NOW))
        .count();
    assert_eq!(matching, 9);
    end(&mut scene, moved(9));
    scene.press("esc");
    assert_eq!(
        (scene.app.dlq.count() as u64, scene.app.quit),
        (DEAD, false)
    );
}

#[test]
fn a_wrong_filter_is_named_and_the_old_one_stays() {
    let mut scene = dlq();
    scene.press("/");
    scene.write("colour:red");
    scene.press("enter");
    let mistake = scene.app.dlq.mistake.clone().expect("a mistake");
    assert!(mistake.contains("no field \"colour\""), "{mistake}");
    scene.press("esc");
    assert_eq!(
        (
            scene.app.dlq.count() as u64,
            scene.app.dlq.mistake.is_none()
        ),
        (DEAD, true)
    );
}

#[test]
fn groups_are_looked_into_and_retried_as_one() {
    let mut scene = dlq();
    scene.press("f");
    let counts: Vec<u64> = scene
        .app
        .dlq
        .groups()
        .iter()
        .map(|group| group.count)
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), DEAD);
    assert!(counts.is_sorted_by(|a, b| a >= b));
    scene.press("r y");
    let Some(Work::Move {
        which: Which::Matching(wanted),
        ..
    }) = begun(&scene)
    else {
        panic!("{:?}", scene.commands);
    };
    let matching = scene
        .letters
        .iter()
        .filter(|letter| wanted.holds(letter, NOW))
        .count();
    assert_eq!(matching as u64, counts[0]);
    end(&mut scene, moved(counts[0]));
    scene.press("j enter");
    assert_eq!(
        (scene.app.dlq.view, scene.app.dlq.count() as u64),
        (View::List, counts[1])
    );
    scene.press("esc");
    assert_eq!(
        (scene.app.dlq.view, scene.app.dlq.groups().len()),
        (View::Groups, counts.len())
    );
    scene.press("esc esc esc esc");
    assert!(!scene.app.quit, "esc never leaves the console");
}

#[test]
fn an_account_tells_what_was_not_done_by_id() {
    let mut scene = dlq();
    scene.press("R y");
    end(
        &mut scene,
        Report {
            moved: 40,
            gone: vec!["k3x-1".into()],
            refused: vec!["raw-1".into(), "raw-2".into()],
            ..Report::default()
        },
    );
    let Some(Overlay::Account(account)) = &scene.app.overlay else {
        panic!("no account");
    };
    let told: Vec<&str> = account.rest.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(told, ["k3x-1", "raw-1", "raw-2"]);
    // 46 were asked for: whoever took the others did so before they could be read.
    let said = "40 dead letters back to work; 4 were already gone; 2 cannot be a lead";
    assert!(account.summary.contains(said), "{}", account.summary);
    scene.press("esc");
    assert!(scene.app.overlay.is_none() && !scene.app.quit);
}

#[test]
fn an_account_of_all_that_was_done_can_be_looked_at_again_and_written() {
    let mut scene = dlq();
    scene.press("a");
    assert!(scene.app.overlay.is_none());
    scene.press("space j space space r y");
    let stopped = Report {
        moved: 1,
        ids: Some(vec!["k3x-0".into()]),
        gone: vec!["k3x-2".into()],
        stopped: true,
        ..Report::default()
    };
    end(&mut scene, stopped);
    let Some(Overlay::Account(account)) = &scene.app.overlay else {
        panic!("no account");
    };
    let rows: Vec<_> = (0..account.count())
        .filter_map(|n| account.row(n))
        .collect();
    assert_eq!(
        rows,
        [
            ("k3x-2", "already gone", false),
            ("k3x-3", "not come to: stopped before", false),
            ("k3x-0", "back to work", true),
        ]
    );
    // What was not come to is still marked.
    let marks = &scene.app.dlq.marks;
    assert!(marks.contains("k3x-3") && !marks.contains("k3x-0") && !marks.contains("k3x-2"));
    scene.press("esc a");
    assert!(matches!(scene.app.overlay, Some(Overlay::Account(_))));
    scene.commands.clear();
    scene.press("x");
    let [Command::Save(file, text)] = &scene.commands[..] else {
        panic!("{:?}", scene.commands);
    };
    assert!(
        file.starts_with("account-") && text.lines().count() == 3,
        "{file}: {text}"
    );
    assert!(
        text.contains(r#"{"id":"k3x-0","done":true,"what":"back to work"}"#),
        "{text}"
    );
}

#[test]
fn marks_survive_another_filter_and_work_on_something_else() {
    let mut scene = dlq();
    scene.press("space space");
    scene.press("/");
    scene.write("error:404");
    scene.press("enter");
    let told = |scene: &Scene| (scene.app.dlq.marks.count(DEAD), scene.app.dlq.hidden());
    assert_eq!(told(&scene), (2, 2));
    // One that is shown is marked beside them.
    scene.press("space r");
    let Some(Overlay::Confirm(confirm)) = &scene.app.overlay else {
        panic!("no question");
    };
    let asked = "Put 3 marked dead letters, 2 of them not shown, back to work?";
    assert_eq!(confirm.question, asked);
    scene.press("n enter r y");
    end(
        &mut scene,
        Report {
            ids: Some(vec!["k3x-8".into()]),
            ..moved(1)
        },
    );
    assert_eq!(told(&scene), (3, 2), "another one was retried");
    // What was marked as all goes with its filter, and that is said.
    let mut scene = dlq();
    scene.press("* /");
    scene.write("error:404");
    scene.press("enter");
    assert_eq!(told(&scene), (0, 0));
    let said = scene.app.notices.last().map(|notice| notice.text.clone());
    assert!(said.is_some_and(|said| said.contains("marks went with the filter")));
}

#[test]
fn what_one_screen_may_not_read_is_no_lost_link() {
    let mut scene = Scene::busy(80, 24);
    scene.press("7");
    let error = bridge_shared::store::StoreError::NotAllowed {
        cause: "NOPERM".into(),
        keys: Vec::new(),
    };
    scene.send(Message::Refused(Screen::Audit, error));
    assert!(matches!(scene.app.link, Link::Live));
    assert!(scene.app.refused.contains_key(&Screen::Audit));
    let figures = scene.app.figures.clone().expect("read").0;
    scene.send(Message::Reading(Box::new(figures)));
    assert!(
        scene.app.refused.is_empty(),
        "it was asked for again, and answered"
    );
    assert!(scene.app.notices.last().is_none(), "nothing came back");
}

#[test]
fn a_trash_of_somebody_else_is_looked_into_and_brought_back() {
    let mut scene = dlq();
    scene.press("T enter");
    let inside = scene
        .app
        .trash
        .letter()
        .map(|letter| letter.id().to_owned());
    assert_eq!(inside.as_deref(), Some("k3x-0"));
    scene.press("r d e");
    assert_eq!(
        begun(&scene),
        None,
        "nothing in the trash is retried or dropped from there"
    );
    scene.press("u y");
    assert_eq!(begun(&scene), Some(&Work::Restore("dljc633k3e".into())));
    end(&mut scene, moved(3));
    scene.press("esc");
    assert_eq!(
        (scene.app.dlq.view, scene.app.trash.open.is_none()),
        (View::Trash, true)
    );
    scene.press("esc");
    assert_eq!(scene.app.dlq.view, View::List);
    scene.commands.clear();
    scene.app.locked = true;
    scene.press("T u");
    assert!(scene.app.overlay.is_none() && begun(&scene).is_none());
}

#[test]
fn work_under_way_can_be_stopped_and_is_done_one_at_a_time() {
    let mut scene = dlq();
    scene.press("R y");
    scene.send(Message::Progress(12));
    assert_eq!(
        scene.app.work.as_ref().map(|work| (work.done, work.total)),
        Some((12, DEAD))
    );
    scene.commands.clear();
    scene.press("r C");
    assert_eq!((begun(&scene), scene.app.overlay.is_none()), (None, true));
    scene.press("esc");
    assert_eq!(scene.commands, [Command::Stop]);
}

#[test]
fn a_read_only_or_locked_console_changes_nothing() {
    for lock in [true, false] {
        let mut scene = dlq();
        if lock {
            scene.press("L");
        } else {
            scene.app.options.read_only = true;
        }
        scene.press("r R d C u p f r d");
        assert_eq!(
            (&scene.commands[..], scene.app.overlay.is_none()),
            (&[][..], true)
        );
        let told = scene.app.notices.last().map(|notice| notice.text.clone());
        assert!(told.is_some_and(|told| told.contains("locked") || told.contains("read-only")));
    }
    let mut scene = dlq();
    scene.press("L L r y");
    assert!(begun(&scene).is_some());
}

#[test]
fn back_closes_what_is_open_and_quits_at_the_end() {
    let mut scene = dlq();
    scene.press("enter q");
    assert_eq!((scene.app.dlq.view, scene.app.quit), (View::List, false));
    scene.press("space esc");
    assert_eq!(
        (scene.app.dlq.marks.count(DEAD), scene.app.quit),
        (0, false)
    );
    scene.press("? esc");
    assert!(!scene.app.quit);
    scene.press("q");
    assert!(scene.app.quit);
    let mut scene = dlq();
    scene.press("? ctrl-c");
    assert!(!scene.app.quit && scene.app.overlay.is_none());
    scene.press("ctrl-c");
    assert!(scene.app.quit);
}

#[test]
fn a_lost_link_keeps_what_was_read_and_comes_back() {
    let mut scene = dlq();
    scene.break_link();
    scene.wait(30);
    scene.break_link();
    assert!(matches!(scene.app.link, Link::Lost { since, .. } if since.as_secs() == 30));
    assert_eq!(scene.app.age().map(|age| age.as_secs()), Some(30));
    assert_eq!(scene.app.dlq.count() as u64, DEAD);
    scene.commands.clear();
    scene.press("j");
    assert_eq!(
        scene.commands,
        [],
        "no reading is tried before the next sign of life"
    );
    let figures = scene.app.figures.clone().expect("read").0;
    scene.send(Message::Reading(Box::new(figures)));
    assert!(matches!(scene.app.link, Link::Live));
    let told = scene.app.notices.last().map(|notice| notice.text.clone());
    assert_eq!(told.as_deref(), Some("Redis answers again"));
}

#[test]
fn pausing_and_resuming_are_two_questions_with_two_commands() {
    let paused = || {
        let figures = Snapshot {
            paused: true,
            now: NOW,
            ..Snapshot::default()
        };
        Message::Reading(Box::new(figures))
    };
    let mut scene = Scene::busy(80, 24);
    scene.commands.clear();
    let asked = |scene: &Scene| match &scene.app.overlay {
        Some(Overlay::Confirm(confirm)) => confirm.question.clone(),
        _ => String::new(),
    };
    scene.press("p p enter");
    assert_eq!(asked(&scene), "Pause the workers?");
    assert_eq!(scene.commands, []);
    // Somebody else pauses them meanwhile: yes is yes to what was asked.
    scene.send(paused());
    scene.press("y");
    assert_eq!(scene.commands.pop(), Some(Command::SetPaused(true)));
    scene.press("p");
    assert_eq!(asked(&scene), "Resume the workers?");
    scene.press("n P");
    assert_eq!(asked(&scene), "Resume the workers?");
    scene.press("y");
    assert_eq!(scene.commands.pop(), Some(Command::SetPaused(false)));
    // The answer counts before the next reading does.
    scene.send(Message::Paused {
        paused: false,
        changed: Ok(true),
    });
    scene.press("p");
    assert_eq!(asked(&scene), "Pause the workers?");
    // By name it is what it is called, whatever was read last.
    scene.press("n");
    scene.send(paused());
    scene.press(":");
    scene.write("pause");
    scene.press("enter");
    assert_eq!(asked(&scene), "Pause the workers?");
    // The question is no way around a lock.
    scene.app.locked = true;
    scene.commands.clear();
    scene.press("y");
    assert_eq!(scene.commands, []);
}

#[test]
fn no_question_is_answered_before_it_was_drawn() {
    for keys in [
        "r y",
        "d y",
        "R y",
        "C y",
        "p y",
        "* d y",
        "f d y",
        "enter r y",
    ] {
        let mut scene = dlq();
        scene.app.drawn(scene.app.size);
        scene.type_ahead(keys);
        let question = matches!(scene.app.overlay, Some(Overlay::Confirm(_)));
        assert!(question && begun(&scene).is_none(), "{keys}");
        assert!(!scene.commands.contains(&Command::SetPaused(true)));
        scene.press("y");
        let done = scene.commands.contains(&Command::SetPaused(true));
        assert!(done || begun(&scene).is_some(), "{keys}");
    }
    // What leaves a question may come early.
    let mut scene = dlq();
    scene.type_ahead("d n j");
    assert!(scene.app.overlay.is_none() && scene.app.dlq.at.cursor == 1);
    // What opens by itself takes no key that was meant for what is below it.
    let mut scene = dlq();
    scene.press("t");
    let dead = scene.letters[0].clone();
    let answer = serde_json::json!({"stations": [], "outcome": "done", "cost": 0.0});
    scene.send(Message::Tried(dead, Ok(answer)));
    scene.type_ahead("r esc q");
    assert!(matches!(scene.app.overlay, Some(Overlay::Trial(_))));
    scene.press("q");
    assert!(scene.app.overlay.is_none() && !scene.app.quit);
}

#[test]
fn where_nothing_can_be_seen_no_key_acts() {
    let mut scene = dlq();
    scene.press("d");
    scene.send(Message::Size(59, 24));
    scene.commands.clear();
    scene.press("y j 1 L p : t enter esc");
    scene.send(Message::Paste("y".into()));
    assert_eq!(scene.commands, []);
    assert!(!scene.app.locked && scene.app.screen == Screen::Dlq && !scene.app.quit);
    scene.press("ctrl-z");
    assert_eq!(scene.commands, [Command::Suspend]);
    // The question is answered when it was seen again.
    scene.send(Message::Size(80, 24));
    scene.type_ahead("y");
    assert_eq!(begun(&scene), None);
    scene.press("y");
    assert_eq!(ids(begun(&scene)), ["k3x-0"]);
    for key in ["q", "ctrl-c"] {
        let mut scene = dlq();
        scene.press("enter");
        scene.send(Message::Size(80, 14));
        scene.press(key);
        assert!(scene.app.quit, "{key}");
    }
}

#[test]
fn where_slips_cost_more_the_number_is_typed_from_two_on() {
    let mut scene = dlq();
    scene.app.options.confirm = true;
    scene.press("space space r y");
    assert_eq!(begun(&scene), None);
    scene.press("2 enter");
    assert_eq!(ids(begun(&scene)), ["k3x-0", "k3x-1"]);
    let mut scene = dlq();
    scene.app.options.confirm = true;
    scene.press("r y");
    assert_eq!(ids(begun(&scene)), ["k3x-0"]);
}

#[test]
fn the_palette_does_what_its_line_says() {
    let mut scene = dlq();
    scene.press(":");
    scene.write("groups by cause");
    scene.press("enter");
    assert_eq!(scene.app.dlq.view, View::Groups);
}

#[test]
fn a_lead_is_tried_by_a_worker_and_can_be_retried_from_there() {
    let mut scene = dlq();
    scene.press("j t");
    let Some(Command::Try(dead)) = scene.commands.pop() else {
        panic!("{:?}", scene.commands);
    };
    assert_eq!(dead.id(), "k3x-1");
    scene.press("t r");
    assert_eq!(scene.commands, [], "one thing at a time");
    let answer = serde_json::json!({"stations": [], "outcome": "done", "cost": 0.0});
    scene.send(Message::Tried(dead.clone(), Ok(answer)));
    assert!(matches!(scene.app.overlay, Some(Overlay::Trial(_))) && scene.app.work.is_none());
    scene.press("j r y");
    assert_eq!(ids(begun(&scene)), ["k3x-1"]);
    let mut scene = dlq();
    scene.press("t");
    scene.send(Message::Tried(dead, Err("no worker answered".into())));
    assert!(scene.app.overlay.is_none() && scene.app.work.is_none());
    let mut scene = Scene::empty(80, 24);
    scene.press("3 t");
    assert_eq!(scene.commands, []);
}

#[test]
fn stations_stand_in_the_order_of_their_route() {
    let mut scene = Scene::busy(80, 24);
    scene.press("6");
    let names = |scene: &Scene| -> Vec<String> {
        let list = scene.app.stations.list.iter().flatten();
        list.map(|station| station.station.clone()).collect()
    };
    assert_eq!(names(&scene), ["identity", "enrich"]);
    // The workers go; what they said stays true.
    let mut figures = scene.app.figures.clone().expect("read").0;
    figures.workers.clear();
    scene.send(Message::Reading(Box::new(figures)));
    assert_eq!(names(&scene), ["identity", "enrich"]);
}
