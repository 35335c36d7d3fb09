//! What changes something is asked first, and what was not typed on purpose changes nothing.

use super::redis::Redis;
use super::terminal::Terminal;

fn is_paused(redis: &mut Redis) -> bool {
    redis.ask(&["EXISTS", "leads_to_enrich:paused"])
}

/// Waits until the flag is set, or is not.
#[track_caller]
fn pauses(console: &Terminal, redis: &mut Redis, paused: bool) {
    let connection = std::cell::RefCell::new(redis);
    console.until(&format!("paused: {paused}"), |_| {
        is_paused(&mut connection.borrow_mut()) == paused
    });
}

#[test]
fn pause_and_resume_are_two_questions_and_their_state_is_always_on_the_screen() {
    let mut redis = Redis::start();
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.sees("live");
    console.sees("p pause");
    // Pressed twice at once it is one question, and no way back to where it began.
    console.press("pp");
    console.sees("Pause the workers?");
    assert!(!is_paused(&mut redis), "nobody has said yes");
    console.press("n");
    console.until("no question", |text| !text.contains("Pause the workers?"));
    assert!(!is_paused(&mut redis));
    console.press("p");
    console.sees("Pause the workers?");
    console.press("y");
    pauses(&console, &mut redis, true);
    console.sees("PAUSED");
    console.sees("p resume");
    console.sees("drained: safe to deploy");
    assert!(!console.text().contains("p pause"));
    console.press("pp");
    console.sees("Resume the workers?");
    assert!(is_paused(&mut redis));
    // Another console was faster: what is asked for is what comes true, whatever was before.
    let _: u64 = redis.ask(&["DEL", "leads_to_enrich:paused"]);
    console.press("y");
    console.sees("they were not paused");
    console.sees("p pause");
    assert!(!is_paused(&mut redis));
    console.press("q");
    assert_eq!(console.ends(), 0);
    let audit: u64 = redis.ask(&["XLEN", "leads_to_enrich:audit"]);
    assert_eq!(audit, 1, "paused once; the rest changed nothing");
}

#[test]
fn pasted_text_changes_nothing() {
    let mut redis = Redis::with_dead(20);
    let text = "dear yes, drop C20\rR20\rpy uy dydy Ry\r yes please, resume";
    for (before, after) in [("\x1b[200~", "\x1b[201~"), ("", "")] {
        let mut console = Terminal::open(&redis.server.url(), &[]);
        console.press("3");
        console.sees("Person19 Example");
        console.press(&format!("{before}{text}{after}"));
        console.sees("nothing was changed");
        // As the serial line brings it: one after another, faster than any hand.
        for key in text.split_inclusive(' ') {
            console.press(key);
        }
        console.press("\x1b\x1b\x1b");
        redis.depths(0, 20);
        assert!(!is_paused(&mut redis));
        console.press("\x03\x03\x03");
        assert_eq!(console.ends(), 0);
    }
    let audit: u64 = redis.ask(&["EXISTS", "leads_to_enrich:audit"]);
    assert_eq!(audit, 0);
    // Where text is being written it goes there.
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person19 Example");
    console.press("/");
    console.press("\x1b[200~Person7\x1b[201~\r");
    console.sees("1 of 20 dead letters");
}

#[test]
fn every_change_is_a_question_that_was_seen_before_it_is_answered() {
    let mut redis = Redis::with_dead(20);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person19 Example");
    for (keys, question) in [
        ("ry", "Put dead letter id-19 back to work?"),
        ("dy", "Throw dead letter id-19 into the trash?"),
        ("Ry", "Put all 20 dead letters back to work?"),
        ("Cy", "Throw all 20 dead letters into the trash?"),
        ("py", "Pause the workers?"),
    ] {
        console.press(keys);
        console.sees(question);
        redis.depths(0, 20);
        assert!(!is_paused(&mut redis));
        console.press("n");
        console.until("no question", |text| !text.contains(question));
    }
    console.press("d");
    console.sees("Throw dead letter id-19 into the trash?");
    console.press("y");
    console.sees("1 dead letter in the trash");
    console.press("uy");
    console.sees("Bring 1 dead letter back from the trash?");
    redis.depths(0, 19);
    console.press("y");
    redis.depths(0, 20);
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn where_the_console_cannot_be_shown_no_key_acts_but_the_ways_out() {
    let mut redis = Redis::with_dead(20);
    let mut console = Terminal::open(&redis.server.url(), &["--mouse"]);
    console.press("3");
    console.sees("Person19 Example");
    console.press("d");
    console.sees("Throw dead letter id-19 into the trash?");
    console.resize(50, 10);
    console.sees("too small");
    console.says("No key acts here but q");
    // A question from before is not answered unseen either.
    console.press("y");
    for key in ["d", "r", "\r", "L", "p", "y", "1"] {
        console.press(key);
    }
    console.press("\x1b[<0;10;7M\x1b[<0;10;7m");
    // Keys go before a change of the size only where they have been read.
    console.resize(51, 11);
    console.sees("51x11");
    console.resize(100, 30);
    console.sees("Throw dead letter id-19 into the trash?");
    console.press("n");
    console.sees("Person19 Example");
    assert!(!console.text().contains("LOCKED"));
    redis.depths(0, 20);
    assert!(!is_paused(&mut redis));
    console.resize(59, 15);
    console.sees("too small");
    console.press("q");
    assert_eq!(console.ends(), 0);
    let audit: u64 = redis.ask(&["EXISTS", "leads_to_enrich:audit"]);
    assert_eq!(audit, 0);
}

#[test]
fn a_question_about_all_is_about_those_that_were_there_when_it_was_asked() {
    let mut redis = Redis::with_dead(20);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person19 Example");
    let late = |redis: &mut Redis, n: u32| {
        let entry = format!(
            r#"{{"envelope":1,"id":"late-{n}","lead":{{"name":"Late Example"}},"error":"boom"}}"#
        );
        let _: u64 = redis.ask(&["LPUSH", "failed_leads", &entry]);
    };
    console.press("C");
    console.sees("Throw all 20 dead letters into the trash?");
    late(&mut redis, 1);
    late(&mut redis, 2);
    console.press("y");
    console.sees("20 dead letters in the trash");
    redis.depths(0, 2);
    let left: Vec<String> = redis.ask(&["LRANGE", "failed_leads", "0", "-1"]);
    assert!(
        left[0].contains("late-2") && left[1].contains("late-1"),
        "{left:?}"
    );
    console.sees("Late Example");
    console.press("R");
    console.sees("Put all 2 dead letters back to work?");
    late(&mut redis, 3);
    console.press("y");
    console.sees("2 dead letters back to work");
    redis.depths(2, 1);
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}
