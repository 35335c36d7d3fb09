//! Dead letters that came from another queue.

use bridge_shared::triage::OfAnother;

use super::*;

#[test]
fn dead_letters_of_another_queue_stay_until_a_question_is_answered() {
    let mut scene = dlq();
    scene.press("r y");
    let id = ids(begun(&scene))[0].clone();
    let report = Report {
        other_queue: vec![OfAnother {
            id: id.clone(),
            queue: "acme_leads".into(),
            place: 7,
        }],
        ..Report::with_ids()
    };
    end(&mut scene, report.clone());
    let Some(Overlay::Confirm(confirm)) = &scene.app.overlay else {
        panic!("no question");
    };
    assert_eq!(
        confirm.question,
        "Put 1 dead letter of other queues into leads_to_enrich all the same?"
    );
    assert_eq!(confirm.notes[0], "1 from acme_leads.");
    // Keys that were meant for the list do not answer it.
    scene.press("y enter");
    assert_eq!(begun(&scene), None);
    scene.press("1 enter");
    let put = Work::IntoThisQueue([(id.clone(), 7)].into());
    assert_eq!(begun(&scene), Some(&put));
    end(
        &mut scene,
        Report {
            ids: Some(vec![id]),
            ..moved(1)
        },
    );
    assert!(scene.app.overlay.is_none());
    scene.press("r y");
    end(&mut scene, report);
    scene.press("esc");
    assert_eq!(begun(&scene), None);
}

#[test]
fn an_edited_lead_of_another_queue_says_so_before_it_goes() {
    let mut scene = dlq();
    let mut dead = scene.letters[0].clone();
    dead.envelope.queue = "acme_leads".into();
    let text = Ok("{\"name\":\"Ada\"}".into());
    scene.send(Message::Edited { dead, text });
    let Some(Overlay::Confirm(confirm)) = &scene.app.overlay else {
        panic!("no question");
    };
    assert!(
        confirm.notes[0]
            .starts_with("It came from the queue acme_leads and goes into leads_to_enrich")
    );
}
