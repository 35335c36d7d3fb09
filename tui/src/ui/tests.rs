//! What every screen looks like, and that nothing foreign gets through.

mod narrow;

use std::fmt::Write as _;
use std::time::Duration;

use bridge_shared::store::{StoreError, Target};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Modifier;
use unicode_width::UnicodeWidthStr as _;

use super::draw;
use crate::app::scene::Scene;
use crate::message::{Level, Message};
use crate::picture;
use crate::screen::Screen;
use crate::theme::{Theme, ThemeName};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn frame(scene: &Scene, theme: ThemeName) -> Buffer {
    let size = scene.app.size;
    let Ok(mut terminal) = Terminal::new(TestBackend::new(size.width, size.height));
    let Ok(_) = terminal.draw(|frame| draw(frame, &scene.app, &Theme::new(theme)));
    terminal.backend().buffer().clone()
}

fn text(scene: &Scene) -> String {
    picture::text(&frame(scene, ThemeName::Dark))
}

type Make = fn(u16, u16) -> Scene;

#[test]
fn every_screen_at_every_size() {
    let scenes: [(&str, Make, &str); 30] = [
        ("connecting", Scene::new, "1"),
        ("overview-empty", Scene::empty, "1"),
        ("overview", Scene::busy, "1"),
        ("overview-day", Scene::busy, "t t"),
        ("dlq-empty", Scene::empty, "3"),
        ("dlq", Scene::busy, "3 j space space *"),
        ("dlq-groups", Scene::busy, "3 f j"),
        ("dlq-letter", Scene::busy, "3 j j enter"),
        (
            "dlq-rubbish",
            Scene::busy,
            "3 G ctrl-u k k k k k k k k k k k enter",
        ),
        ("dlq-confirm", Scene::busy, "3 R"),
        ("help", Scene::busy, "3 ?"),
        ("workers", Scene::busy, "5 j"),
        ("workers-empty", Scene::empty, "5"),
        ("overview-wrong", Scene::wrong, "1"),
        ("workers-wrong", Scene::wrong, "5"),
        ("live-empty", Scene::empty, "2"),
        ("live", Scene::busy, "2"),
        ("live-timeline", Scene::busy, "2 k enter"),
        ("queue-empty", Scene::empty, "4"),
        ("queue-waiting", Scene::busy, "4 j"),
        ("queue-in-flight", Scene::busy, "4 t"),
        ("queue-retry", Scene::busy, "4 t t"),
        ("pipeline-empty", Scene::empty, "6"),
        ("pipeline", Scene::busy, "6 t"),
        ("audit-empty", Scene::empty, "7"),
        ("audit", Scene::busy, "7"),
        ("trash-empty", Scene::empty, "3 T"),
        ("trash", Scene::busy, "3 T j"),
        ("trash-inside", Scene::busy, "3 T j enter j"),
        ("trash-confirm", Scene::busy, "3 T u"),
    ];
    for (name, make, keys) in scenes {
        for (columns, rows) in SIZES {
            let mut scene = make(columns, rows);
            scene.press(keys);
            insta::assert_snapshot!(format!("{name}-{columns}x{rows}"), text(&scene));
        }
    }
}

/// Every screen, with something to go wrong on each.
fn broken() -> [(&'static str, &'static str, Message); 9] {
    let url = || Target::from("redis://127.0.0.1:6379/0");
    let not_allowed = |keys: &[&str]| StoreError::NotAllowed {
        cause: "NOPERM this user has no permissions to access one of the keys used as arguments"
            .into(),
        keys: keys.iter().map(ToString::to_string).collect(),
    };
    let unreachable = StoreError::Unreachable {
        url: url(),
        cause: "connection refused".into(),
    };
    let wrong_type = StoreError::WrongType {
        cause: "WRONGTYPE".into(),
        keys: vec![("leads_to_enrich".into(), "string".into(), "list")],
    };
    let out_of_memory = StoreError::WriteRefused {
        url: url(),
        cause: "OOM command not allowed when used memory > 'maxmemory'".into(),
    };
    [
        ("overview", "1", Message::Trouble(unreachable)),
        (
            "live",
            "2",
            Message::Refused(Screen::Live, not_allowed(&[])),
        ),
        ("dlq", "3", Message::Trouble(StoreError::Loading(url()))),
        (
            "dlq-notice",
            "3",
            Message::Told(Level::Bad, out_of_memory.to_string()),
        ),
        ("queue", "4", Message::Trouble(wrong_type)),
        (
            "workers",
            "5",
            Message::Trouble(StoreError::MasterDown(url())),
        ),
        ("pipeline", "6", Message::Took(Duration::from_millis(2_300))),
        (
            "audit",
            "7",
            Message::Refused(Screen::Audit, not_allowed(&["leads_to_enrich:audit"])),
        ),
        (
            "trash",
            "3 T",
            Message::Trouble(StoreError::ReadOnly(url())),
        ),
    ]
}

#[test]
fn what_is_wrong_is_told_on_every_screen_with_what_to_do() {
    for (columns, rows) in SIZES {
        for (name, keys, message) in broken() {
            let mut scene = Scene::busy(columns, rows);
            scene.press(keys);
            let lost = matches!(message, Message::Trouble(_));
            scene.send(message);
            if lost {
                scene.wait(75);
            }
            insta::assert_snapshot!(format!("broken-{name}-{columns}x{rows}"), text(&scene));
        }
    }
}

#[test]
fn what_does_not_answer_is_told_while_it_does_not() {
    let mut scene = Scene::busy(80, 24);
    scene.wait(5);
    let shown = text(&scene);
    assert!(shown.contains("stale, 5s old"), "{shown}");
    assert!(shown.contains("has not answered for 5s"), "{shown}");
    assert!(shown.contains("no news from Redis"), "{shown}");
    assert!(!shown.contains("all well"), "{shown}");
}

#[test]
fn workers_from_the_future_are_told() {
    let mut scene = Scene::busy(80, 24);
    let mut figures = scene.app.figures.clone().expect("read").0;
    figures.workers[0].info.version = "99.0.0".into();
    scene.send(Message::Reading(Box::new(figures.clone())));
    scene.press("5");
    insta::assert_snapshot!("workers-newer-80x24", text(&scene));
    figures.workers[0].info = bridge_shared::stats::WorkerInfo::default();
    scene.send(Message::Reading(Box::new(figures)));
    let shown = text(&scene);
    assert!(shown.contains("1 worker says nothing"), "{shown}");
}

#[test]
fn work_under_way_tells_how_long_it_will_take() {
    let mut scene = Scene::busy(80, 24);
    scene.press("3 R y");
    assert!(!text(&scene).contains("left"));
    scene.wait(5);
    scene.send(Message::Progress(20));
    let shown = text(&scene);
    assert!(
        shown.contains("20 of 46, about 6s left, esc stops"),
        "{shown}"
    );
}

#[test]
fn an_account_is_shown_in_full() {
    use crate::message::{Command, Ended};
    let mut scene = Scene::busy(80, 24);
    scene.press("3 space space space r y");
    let work = scene.commands.iter().find_map(|command| match command {
        Command::Do(work) => Some(work.clone()),
        _ => None,
    });
    let report = bridge_shared::triage::Report {
        moved: 1,
        ids: Some(vec!["k3x-0".into()]),
        gone: vec!["k3x-1".into()],
        ..bridge_shared::triage::Report::default()
    };
    let error = StoreError::Loading("redis://127.0.0.1:6379/0".into());
    scene.send(Message::Ended(Ended {
        work: work.expect("work"),
        report,
        error: Some(error.to_string()),
    }));
    insta::assert_snapshot!("account-80x24", text(&scene));
}

/// The smallest size: everything in whole words.
#[test]
fn the_smallest_terminal_is_of_use() {
    for (name, keys) in [
        ("overview", "1"),
        ("live", "2"),
        ("dlq", "3 j space"),
        ("groups", "3 f"),
        ("letter", "3 enter"),
        ("confirm", "3 R"),
        ("trash", "3 T"),
        ("queue", "4"),
        ("workers", "5"),
        ("pipeline", "6"),
        ("audit", "7"),
    ] {
        let mut scene = Scene::busy(60, 15);
        scene.press(keys);
        let shown = text(&scene);
        let tabs = shown.lines().nth(1).unwrap_or_default();
        let words = ["Home", "Live", "DLQ 46", "Queue", "Work", "Route", "Audit"];
        assert!(words.iter().all(|word| tabs.contains(word)), "{tabs}");
        insta::assert_snapshot!(format!("small-{name}"), shown);
    }
    for dead in [9_999, 12_345, 1_234_567, 99_999_999] {
        let mut scene = Scene::busy(60, 15);
        let mut figures = scene.app.figures.clone().expect("read").0;
        (figures.dead, figures.waiting) = (dead, dead * 1_000);
        scene.send(Message::Reading(Box::new(figures)));
        let shown = text(&scene);
        assert!(
            shown.contains("7 Audit") && !shown.lines().nth(3).expect("tiles").contains('…'),
            "{shown}"
        );
    }
}

#[test]
fn the_palette_finds_what_is_typed() {
    let mut scene = Scene::busy(80, 24);
    scene.press("3 :");
    scene.write("trash");
    insta::assert_snapshot!(text(&scene));
}

#[test]
fn a_tried_lead_is_shown_station_by_station() {
    let mut scene = Scene::busy(80, 24);
    scene.press("3");
    let answer = serde_json::json!({
        "stations": [
            {"station": "identity", "ms": 0.2, "cost": 0.0, "answer": {"firstName": "Ada", "evil": "\u{1b}[2J"}},
            {"station": "cheap", "passed_by": "its condition is not true"},
            {"station": "enrich", "ms": 312.4, "cost": 0.01, "answer": {}, "error": "HTTP 404: nobody"},
        ],
        "outcome": "failed", "station": "enrich", "kind": "permanent", "reason": "HTTP 404: nobody", "cost": 0.01,
    });
    let dead = scene.letters[0].clone();
    scene.send(Message::Tried(dead, Ok(answer)));
    insta::assert_snapshot!(text(&scene));
}

#[test]
fn many_must_be_typed() {
    let mut scene = Scene::busy(80, 24);
    let mut figures = scene.app.figures.clone().expect("read").0;
    figures.dead = 1_234;
    scene.send(Message::Reading(Box::new(figures)));
    scene.press("3 C 1 2");
    insta::assert_snapshot!(text(&scene));
}

/// A screen after a filter: what was found is between brackets.
fn filtered(columns: u16, filter: &str) -> String {
    let mut scene = Scene::busy(columns, 24);
    scene.press("3 /");
    scene.write(filter);
    scene.press("enter");
    underlined(&frame(&scene, ThemeName::Dark))
}

/// The text of a frame, what is underlined in brackets: they take no columns.
fn underlined(buffer: &Buffer) -> String {
    let mut out = String::new();
    for row in buffer.content.chunks(usize::from(buffer.area.width)) {
        let (mut line, mut before, mut skip) = (String::new(), false, 0);
        for cell in row {
            if skip > 0 {
                // The second cell of a wide character.
                skip -= 1;
                continue;
            }
            skip = cell.symbol().width().saturating_sub(1);
            let here = cell.modifier.contains(Modifier::UNDERLINED);
            if here != before {
                line.push(if here { '[' } else { ']' });
                before = here;
            }
            line.push_str(cell.symbol());
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[test]
fn a_row_shows_why_it_matches() {
    insta::assert_snapshot!("filter-loose", filtered(80, "ovrloaded ada"));
    insta::assert_snapshot!("filter-elsewhere", filtered(80, "'Lyon, example-3"));
    insta::assert_snapshot!("filter-field", filtered(120, "error:nobody name:\"zoë\""));
}

#[test]
fn a_filter_is_completed_under_its_line() {
    for (name, columns, rows, keys) in [
        ("fields", 80, 24, "3 / tab tab"),
        ("values", 80, 24, "3 / ! e r r o r : tab"),
        (
            "small",
            60,
            15,
            "3 / tab tab tab tab tab tab tab tab tab tab",
        ),
        ("wide", 120, 40, "3 / w o r tab"),
    ] {
        let mut scene = Scene::busy(columns, rows);
        scene.press(keys);
        insta::assert_snapshot!(format!("complete-{name}"), text(&scene));
    }
}

#[test]
fn a_lead_is_searched_in_its_tree() {
    for columns in [80, 120] {
        let mut scene = Scene::busy(columns, 24);
        scene.press("3 enter /");
        scene.write("source");
        insta::assert_snapshot!(
            format!("search-{columns}"),
            underlined(&frame(&scene, ThemeName::Dark))
        );
    }
}

/// Every screen in every theme, as a letter for each style in use.
#[test]
fn every_theme() {
    for (name, theme) in [
        ("dark", ThemeName::Dark),
        ("light", ThemeName::Light),
        ("16", ThemeName::Sixteen),
        ("mono", ThemeName::Mono),
    ] {
        for (screen, keys) in [
            ("overview", "1"),
            ("live", "2"),
            ("dlq", "3 j space j"),
            ("groups", "3 f"),
            ("letter", "3 j enter"),
            ("trash", "3 T"),
            ("confirm", "3 R"),
            ("help", "3 ?"),
            ("queue", "4"),
            ("workers", "5"),
            ("pipeline", "6"),
            ("audit", "7"),
        ] {
            let mut scene = Scene::busy(80, 24);
            scene.press(keys);
            insta::assert_snapshot!(
                format!("theme-{name}-{screen}"),
                styles(&frame(&scene, theme))
            );
        }
        let mut scene = Scene::busy(80, 24);
        scene.break_link();
        scene.wait(75);
        let broken = styles(&frame(&scene, theme));
        insta::assert_snapshot!(format!("theme-{name}-broken"), broken);
    }
}

fn styles(buffer: &Buffer) -> String {
    let mut known = Vec::new();
    let mut out = String::new();
    for row in buffer.content.chunks(usize::from(buffer.area.width)) {
        for cell in row {
            let style = cell.style();
            let n = known
                .iter()
                .position(|seen| *seen == style)
                .unwrap_or_else(|| {
                    known.push(style);
                    known.len() - 1
                });
            out.push(char::from(b'a' + u8::try_from(n).expect("few styles")));
        }
        out.push('\n');
    }
    for (letter, style) in ('a'..).zip(known) {
        let modifiers = format!("{:?}", style.add_modifier);
        let _ = writeln!(
            out,
            "{letter}: {:?} on {:?} {modifiers}",
            style.fg, style.bg
        );
    }
    out
}

#[test]
fn nothing_from_a_lead_reaches_the_terminal_as_a_command() {
    for keys in [
        "3",
        "3 j j j enter",
        "3 G ctrl-u k k k k k k k k k k k enter",
        "3 f",
        "3 T",
        "3 T enter",
        "1",
        "2",
        "4",
        "5",
        "6",
        "7",
    ] {
        let mut scene = Scene::busy(120, 40);
        scene.press(keys);
        let shown = text(&scene);
        let bad = |c: &char| {
            c.is_control() && *c != '\n'
                || matches!(*c, '\u{202a}'..='\u{202e}' | '\u{200b}'..='\u{200f}')
        };
        assert_eq!(shown.chars().find(bad), None, "{keys}");
    }
}

#[test]
fn columns_stay_aligned_whatever_the_names_are() {
    let mut scene = Scene::busy(120, 40);
    scene.press("3");
    let buffer = frame(&scene, ThemeName::Dark);
    // The column of errors begins at the same cell in every row.
    let cell = |x: u16, y: u16| buffer[(x, y)].symbol().to_owned();
    let heading = (0..60).find(|x| (0..5).map(|i| cell(x + i, 3)).collect::<String>() == "error");
    let x = heading.expect("a heading");
    for y in 4..30 {
        assert_eq!(cell(x - 1, y), " ");
        assert_ne!(cell(x, y), " ", "row {y}");
    }
}

#[test]
fn without_unicode_only_ascii_is_drawn() {
    for keys in ["1", "3 j space", "3 enter", "3 R", "5"] {
        let mut scene = Scene::busy(100, 30);
        scene.app.options.unicode = false;
        scene.press(keys);
        let shown = text(&scene);
        assert!(shown.is_ascii(), "{shown}");
    }
    let mut scene = Scene::busy(80, 24);
    scene.app.options.unicode = false;
    insta::assert_snapshot!("ascii-80x24", text(&scene));
}

#[test]
fn a_terminal_that_is_too_small_is_told_so() {
    let scene = Scene::busy(40, 10);
    insta::assert_snapshot!(text(&scene));
    // No size makes it panic.
    for (columns, rows) in [(1, 1), (2, 60), (300, 1), (60, 15), (61, 16), (500, 200)] {
        let mut scene = Scene::busy(columns, rows);
        for keys in [
            "1",
            "3 enter",
            "/ s",
            "esc esc f",
            "R",
            "esc f / tab tab",
            "esc ?",
        ] {
            scene.press(keys);
            text(&scene);
        }
    }
}
