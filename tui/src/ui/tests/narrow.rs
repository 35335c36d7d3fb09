//! Where there is little room lines scroll, break or leave something out; nothing is cut unseen,
//! and what is not known is not made up.

use ratatui::style::Color;
use unicode_width::UnicodeWidthStr as _;

use super::{frame, text};
use crate::app::scene::Scene;
use crate::message::{Level, Message};
use crate::theme::ThemeName;

/// Every line that is typed keeps its caret in sight, however long it is and wherever the caret is.
#[test]
fn a_line_being_written_scrolls_with_its_caret() {
    for (columns, rows) in [(60, 15), (80, 24), (200, 60)] {
        for keys in ["3 /", "2 /", "3 enter /", "3 x", "3 :"] {
            let mut scene = Scene::busy(columns, rows);
            scene.press(keys);
            scene.write(&"lorem ipsum ".repeat(25));
            scene.write("the-end");
            let shown = text(&scene);
            assert!(shown.contains("the-end▏"), "{keys}\n{shown}");
            scene.press("home");
            scene.write("begin-");
            let shown = text(&scene);
            assert!(shown.contains("begin-▏"), "{keys}\n{shown}");
            scene.press("ctrl-u right");
            assert!(text(&scene).contains('▏'), "{keys}");
        }
    }
    // What it may go on with stands under the word it is for.
    let mut scene = Scene::busy(200, 60);
    scene.press("3 /");
    scene.write(&"lorem ".repeat(60));
    for _ in 0..120 {
        scene.press("left");
    }
    scene.write("sta");
    let shown = text(&scene);
    let column = |wanted: &str| {
        let lines = shown.lines().skip(2);
        let found = lines.filter_map(|line| Some(line[..line.find(wanted)?].width()));
        found
            .max()
            .unwrap_or_else(|| panic!("no {wanted}\n{shown}"))
    };
    assert_eq!(column("sta▏"), column("station:"), "{shown}");
}

#[test]
fn the_footer_has_the_keys_of_what_is_in_front() {
    for (keys, here, not_here) in [
        ("3", "retry", "complete"),
        ("3 /", "enter filter  tab complete  esc leave", "retry"),
        ("2 /", "enter filter  esc leave", "timeline"),
        ("3 enter /", "enter search  esc leave", "retry"),
        ("3 x", "enter write  esc leave", "retry"),
        ("3 :", "enter do it  esc leave", "retry"),
        ("3 R", "y yes  n no", "retry "),
        ("3 ?", "j down  k up  esc close", "retry "),
    ] {
        for (columns, rows) in [(60, 15), (80, 24)] {
            let mut scene = Scene::busy(columns, rows);
            scene.press(keys);
            let shown = text(&scene);
            let footer = shown.lines().last().unwrap_or_default();
            assert!(footer.contains(here), "{keys}: {footer}");
            assert!(!footer.contains(not_here), "{keys}: {footer}");
        }
    }
}

/// Whatever is said is read to its end: where one row is too short it has more.
#[test]
fn nothing_that_is_said_is_cut() {
    let long = "the first of many words, and so many more that no row of any usual terminal has \
                them all, which is why there is a second one that ends with the last";
    for (columns, rows) in [(60, 15), (80, 24)] {
        for level in [Level::Good, Level::Note, Level::Bad] {
            let mut scene = Scene::busy(columns, rows);
            scene.press("3");
            scene.send(Message::Told(level, long.into()));
            let told = |scene: &Scene| {
                let shown = text(scene);
                let words: Vec<&str> = shown.split_whitespace().collect();
                let shown = words.join(" ");
                assert!(shown.contains("the first of many"), "{shown}");
                assert!(shown.contains("with the last"), "{shown}");
                shown
            };
            told(&scene);
            // Nor is it hidden by what is wrong with Redis, or by a mistake in a filter.
            scene.break_link();
            let shown = told(&scene);
            assert!(shown.contains("goes on trying"), "{shown}");
        }
        let mut scene = Scene::busy(columns, rows);
        scene.press("3 /");
        scene.write("colour:red");
        let mistake = scene.app.dlq.mistake.clone().expect("a mistake");
        let shown = text(&scene);
        let last = mistake.split(' ').next_back().expect("words");
        assert!(shown.contains(last), "{mistake}\n{shown}");

        let mut scene = Scene::busy(columns, rows);
        scene.app.options.read_only = true;
        scene.press("3 r");
        let shown = text(&scene);
        assert!(
            shown.contains("read-only: nothing can be changed here"),
            "{shown}"
        );

        let mut scene = Scene::empty(columns, rows);
        scene.press("3");
        let shown = text(&scene);
        assert!(shown.contains("dealt with"), "{shown}");
    }
}

#[test]
fn a_question_is_answered_in_sight_however_large_the_number() {
    let mut scene = Scene::busy(60, 15);
    let mut figures = scene.app.figures.clone().expect("read").0;
    figures.dead = 1_234_567_890;
    scene.send(Message::Reading(Box::new(figures)));
    scene.press("3 C");
    scene.write("1,234,567,890");
    let shown = text(&scene);
    assert!(shown.contains("890▏"), "{shown}");
}

#[test]
fn how_many_there_are_is_unknown_before_it_was_read() {
    for (columns, rows) in [(60, 15), (80, 24), (200, 60)] {
        for keys in ["1", "2", "3", "3 f", "3 T", "4", "5", "6", "7"] {
            let mut scene = Scene::new(columns, rows);
            scene.break_link();
            scene.press(keys);
            let shown = text(&scene);
            for made_up in [
                "0 dead",
                "waiting 0",
                "flight 0",
                "retry 0",
                "0 stations",
                "0 events",
            ] {
                assert!(!shown.contains(made_up), "{keys}: {made_up}\n{shown}");
            }
        }
        let mut scene = Scene::new(columns, rows);
        scene.break_link();
        for keys in ["3 C", "R", "r", "x"] {
            scene.press(keys);
            let shown = text(&scene);
            assert!(
                !shown.contains("there is no") && !shown.contains("there are no"),
                "{shown}"
            );
            assert!(shown.contains("not read yet"), "{keys}\n{shown}");
        }
    }
}

#[test]
fn a_pause_is_seen_on_every_screen_and_drained_is_said_when_it_is_true() {
    for (columns, rows) in [(60, 15), (80, 24), (200, 60)] {
        for screen in ["1", "2", "3", "4", "5", "6", "7"] {
            let mut scene = Scene::busy(columns, rows);
            let mut figures = scene.app.figures.clone().expect("read").0;
            assert!(!text(&scene).contains("PAUSED"));
            figures.paused = true;
            scene.send(Message::Reading(Box::new(figures.clone())));
            scene.press(screen);
            let shown = text(&scene);
            assert!(shown.contains("PAUSED"), "{shown}");
            assert!(
                shown.contains("paused: 87 in flight, not drained yet"),
                "{shown}"
            );
            assert!(!shown.contains("safe to deploy") && !shown.contains("p pause"));
            figures.in_flight = 0;
            scene.send(Message::Reading(Box::new(figures)));
            let frame = frame(&scene, ThemeName::Dark);
            let row = |y| (0..columns).all(|x| frame[(x, y)].bg == Color::Indexed(214));
            assert!(row(0) && row(rows - 1), "the frame is amber");
            assert!(text(&scene).contains("drained: safe to deploy"));
            assert!(text(&scene).contains("p resume"));
            // What is old is no proof.
            scene.break_link();
            assert!(!text(&scene).contains("safe to deploy"));
        }
    }
    // An environment keeps its colour at the top.
    let mut scene = Scene::busy(80, 24);
    scene.app.options.profile = Some(("prod".into(), Some(Color::Red)));
    let mut figures = scene.app.figures.clone().expect("read").0;
    figures.paused = true;
    scene.send(Message::Reading(Box::new(figures)));
    let frame = frame(&scene, ThemeName::Dark);
    assert_eq!(
        (frame[(0, 0)].bg, frame[(0, 23)].bg),
        (Color::Red, Color::Indexed(214))
    );
}
