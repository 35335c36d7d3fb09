//! What the mouse does.

use crossterm::event::{KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::{begun, dlq, ids};
use crate::app::dlq::View;
use crate::app::overlay::Overlay;
use crate::app::scene::Scene;
use crate::message::Message;
use crate::screen::Screen;

fn point(scene: &mut Scene, kind: MouseEventKind, column: u16, row: u16) {
    scene.send(Message::Mouse(MouseEvent {
        kind,
        column,
        row,
        modifiers: KeyModifiers::NONE,
    }));
}

fn click(scene: &mut Scene, column: u16, row: u16) {
    point(scene, MouseEventKind::Down(MouseButton::Left), column, row);
}

#[test]
fn the_mouse_points_at_screens_rows_and_keys() {
    let mut scene = Scene::busy(80, 24);
    // "  1 Overview  2 Live [3 DLQ 46]..."
    click(&mut scene, 22, 1);
    assert_eq!(scene.app.screen, Screen::Dlq);
    click(&mut scene, 0, 1);
    click(&mut scene, 79, 1);
    assert_eq!(scene.app.screen, Screen::Dlq);
    // The first row of the list is the fifth of the screen.
    click(&mut scene, 10, 7);
    assert_eq!(
        (scene.app.dlq.at.cursor, scene.app.dlq.view),
        (3, View::List)
    );
    click(&mut scene, 10, 7);
    assert_eq!(scene.app.dlq.view, View::Letter);
    let opened = scene.app.dlq.letter.as_ref().map(|letter| letter.dead.id());
    assert_eq!(opened, Some("k3x-3"));
    point(&mut scene, MouseEventKind::ScrollDown, 10, 7);
    let at = scene.app.dlq.letter.as_ref().map(|letter| letter.at.cursor);
    assert_eq!(at, Some(3));
    scene.press("esc");
    point(&mut scene, MouseEventKind::ScrollDown, 10, 7);
    point(&mut scene, MouseEventKind::ScrollDown, 10, 7);
    point(&mut scene, MouseEventKind::ScrollUp, 10, 7);
    assert_eq!(scene.app.dlq.at.cursor, 6);
    // The footer begins with "r retry".
    click(&mut scene, 2, 23);
    assert_eq!(begun(&scene), None, "the mouse answers no question");
    scene.press("y");
    assert_eq!(ids(begun(&scene)), ["k3x-6"]);
    // A row that is not there, and other buttons, do nothing.
    let mut scene = Scene::empty(80, 24);
    scene.press("3");
    click(&mut scene, 10, 9);
    point(&mut scene, MouseEventKind::Down(MouseButton::Right), 10, 7);
    assert_eq!(scene.app.dlq.view, View::List);
}

#[test]
fn the_mouse_answers_no_question_and_leaves_a_line_alone() {
    let mut scene = dlq();
    scene.press("R");
    for row in 0..24 {
        click(&mut scene, 30, row);
        point(&mut scene, MouseEventKind::ScrollDown, 30, row);
    }
    assert!(begun(&scene).is_none() && matches!(scene.app.overlay, Some(Overlay::Confirm(_))));
    scene.press("esc /");
    click(&mut scene, 10, 9);
    assert!(scene.app.dlq.writing.is_some() && scene.app.dlq.at.cursor == 0);
    scene.press("esc L");
    click(&mut scene, 10, 9);
    assert_eq!(scene.app.dlq.at.cursor, 5);
}

#[test]
fn beside_the_list_the_mouse_opens_the_letter_and_goes_back() {
    let mut scene = Scene::busy(160, 40);
    scene.press("3");
    click(&mut scene, 120, 12);
    assert_eq!(scene.app.dlq.view, View::Letter);
    click(&mut scene, 120, 12);
    let at = scene.app.dlq.letter.as_ref().map(|letter| letter.at.cursor);
    assert_eq!(at, Some(8));
    click(&mut scene, 10, 9);
    assert_eq!(
        (scene.app.dlq.view, scene.app.dlq.at.cursor),
        (View::List, 5)
    );
}
