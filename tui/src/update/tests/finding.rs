//! Finding dead letters, and finding something in one.

use super::{begun, dlq};
use crate::app::dlq::View;
use crate::app::overlay::{Overlay, Yes};
use crate::app::scene::{DEAD, NOW, Scene};
use crate::message::{Which, Work};

#[test]
fn tab_and_arrows_complete_the_filter() {
    for (keys, line, listed) in [
        ("e r r tab", "error:", 5),
        ("a tab", "attempts:", 2),
        ("a tab tab", "age:", 2),
        ("a tab tab tab", "attempts:", 2),
        ("a backtab", "age:", 2),
        ("a down down up", "attempts:", 2),
        // The arrow goes on after the choice, to its values.
        ("a tab tab right", "age:", 6),
        ("a tab tab right tab", "age:>10m", 6),
        ("a tab tab right tab tab right", "age:>1h ", 0),
        ("s t a right", "station:", 2),
        ("s t a right e tab", "station:enrich ", 0),
        ("! s t a tab tab", "!station:enrich", 2),
        ("tab", "error:", 12),
        ("z z tab", "zz", 0),
        // Within the line the arrow is only an arrow.
        ("e r r left right", "err", 1),
    ] {
        let mut scene = dlq();
        scene.press("/");
        scene.press(keys);
        let writing = scene.app.dlq.writing.as_ref().expect("a line");
        assert_eq!(
            (writing.input.text(), writing.choices.len()),
            (line, listed),
            "{keys}"
        );
    }
    let mut scene = dlq();
    scene.press("/ e r r o r tab");
    assert_eq!(scene.app.dlq.mistake, None, "a field that is begun is none");
    scene.press("tab enter");
    assert!(scene.app.dlq.writing.is_none() && scene.app.dlq.filter_text.starts_with("error:\""));
    assert!(scene.app.dlq.count() > 0, "what is offered is there");
}

#[test]
fn what_only_looks_alike_is_counted_before_it_is_acted_on() {
    let filter = |text: &str| {
        let mut scene = dlq();
        scene.press("/");
        scene.write(text);
        scene.press("enter");
        scene
    };
    for keys in ["R", "* r", "* d", "f r", "f d"] {
        for (text, warned) in [
            ("ovrloaded", true),
            ("overloaded", false),
            ("'overl", false),
        ] {
            let mut scene = filter(text);
            scene.press(keys);
            let Some(Overlay::Confirm(confirm)) = &scene.app.overlay else {
                panic!("{keys} {text}");
            };
            let told = confirm.notes.iter().any(|note| {
                let Yes::Begin { count, .. } = &confirm.yes else {
                    return false;
                };
                note.starts_with(&format!("{count} of them only have a word"))
            });
            assert_eq!(told, warned, "{keys} {text}: {:?}", confirm.notes);
        }
    }
    // What is shown is what is acted on.
    let mut scene = filter("ovrloaded");
    let shown = scene.app.dlq.count();
    scene.press("R y");
    let Some(Work::Move {
        which: Which::Matching(wanted),
        ..
    }) = begun(&scene)
    else {
        panic!("{:?}", scene.commands);
    };
    let acted = |letter: &&_| wanted.holds(letter, NOW);
    assert_eq!(scene.letters.iter().filter(acted).count(), shown);
    assert_eq!(filter("!ovrloaded").app.dlq.count() as u64, DEAD);
    assert_eq!(filter("'ovrloaded").app.dlq.count(), 0);
}

#[test]
fn a_lead_is_searched_key_by_key() {
    let mut scene = dlq();
    scene.press("enter /");
    scene.write("source");
    scene.press("enter");
    let count = |scene: &Scene| {
        let letter = scene.app.dlq.letter.as_ref().expect("opened");
        letter.search.as_ref().map(crate::app::find::Find::count)
    };
    assert_eq!(count(&scene).as_deref(), Some("1/2"));
    scene.press("n");
    assert_eq!(count(&scene).as_deref(), Some("2/2"));
    scene.press("N N");
    assert_eq!(count(&scene).as_deref(), Some("2/2"));
    scene.press("esc");
    assert_eq!((count(&scene), scene.app.dlq.view), (None, View::Letter));
    scene.press("/ q ctrl-c");
    assert!(!scene.app.quit && count(&scene).is_none());
    scene.press("/ q esc esc");
    assert_eq!(scene.app.dlq.view, View::List);
    // Number 11 is no JSON.
    scene.press("g j j j j j j j j j j j enter /");
    let told = scene.app.notices.last().map(|notice| notice.text.clone());
    assert!(told.is_some_and(|told| told.contains("no JSON")));
}
