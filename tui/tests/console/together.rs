//! Two consoles at once.

use super::redis::Redis;
use super::terminal::Terminal;

/// The number that stands before some words on the screen.
fn number_before(text: &str, words: &str) -> u64 {
    let at = text
        .find(words)
        .unwrap_or_else(|| panic!("no {words:?}\n{text}"));
    let digits: Vec<char> = text[..at]
        .chars()
        .rev()
        .take_while(|c| c.is_ascii_digit() || *c == ',')
        .filter(char::is_ascii_digit)
        .collect();
    let digits: String = digits.into_iter().rev().collect();
    digits.parse().expect("a number")
}

/// Lets two consoles retry at the same moment; returns what each says it did, and what it found gone.
fn both_retry(
    redis: &mut Redis,
    consoles: &mut [Terminal; 2],
    key: &str,
    ends: &str,
) -> [(u64, u64); 2] {
    for console in consoles.iter_mut() {
        console.press(key);
    }
    consoles.each_ref().map(|console| {
        console.sees(ends);
        let text = console.text();
        let gone = ["were already gone", "was already gone"]
            .iter()
            .find(|words| text.contains(**words));
        let moved = if text.contains("1 dead letter back") {
            1
        } else {
            number_before(&text, " dead letters back to work")
        };
        let gone = gone.map_or(0, |words| number_before(&text, &format!(" {words}")));
        let _: u64 = redis.ask(&["LLEN", "leads_to_enrich"]);
        (moved, gone)
    })
}

fn waiting_ids(redis: &mut Redis) -> Vec<String> {
    let waiting: Vec<String> = redis.ask(&["LRANGE", "leads_to_enrich", "0", "-1"]);
    let id = |lead: &String| {
        lead.split(r#""id":""#)
            .nth(1)?
            .split('"')
            .next()
            .map(Into::into)
    };
    let mut ids: Vec<String> = waiting.iter().filter_map(id).collect();
    ids.sort();
    ids
}

#[test]
fn two_consoles_with_overlapping_marks_retry_every_lead_once_and_say_what_each_did() {
    let mut redis = Redis::with_dead(40);
    let url = redis.server.url();
    let mut consoles = [Terminal::open(&url, &[]), Terminal::open(&url, &[])];
    // The newest 25, and the oldest 25: ten of them are marked twice.
    for (console, keys) in consoles.iter_mut().zip(["v", "Gv"]) {
        console.press("3");
        console.sees("Person39 Example");
        console.press(keys);
        console.sees("range: v marks");
        let step = if keys == "v" { "j" } else { "k" };
        console.press(&step.repeat(24));
        console.press("v");
        console.sees("25 marked");
        console.press("r");
        console.sees("Put 25 marked dead letters back to work?");
    }
    let told = both_retry(&mut redis, &mut consoles, "y", "back to work; ");
    redis.depths(40, 0);
    let mut expected: Vec<String> = (0..40).map(|n| format!("id-{n}")).collect();
    expected.sort();
    assert_eq!(waiting_ids(&mut redis), expected);
    for (moved, gone) in told {
        assert_eq!(moved + gone, 25, "{told:?}");
    }
    assert_eq!(told[0].0 + told[1].0, 40, "{told:?}");
    assert_eq!(told[0].1 + told[1].1, 10, "{told:?}");
}

#[test]
fn two_consoles_that_retry_all_retry_every_lead_once_and_say_what_each_did() {
    let mut redis = Redis::with_dead(1_500);
    let url = redis.server.url();
    let mut consoles = [Terminal::open(&url, &[]), Terminal::open(&url, &[])];
    for console in &mut consoles {
        console.press("3");
        console.sees("Person1499 Example");
        console.press("R");
        console.sees("Put all 1,500 dead letters back to work?");
        console.press("1500");
        console.sees("press enter: 1500");
    }
    let told = both_retry(&mut redis, &mut consoles, "\r", "back to work; ");
    redis.depths(1_500, 0);
    let mut ids = waiting_ids(&mut redis);
    ids.dedup();
    assert_eq!(ids.len(), 1_500);
    for (moved, gone) in told {
        assert_eq!(moved + gone, 1_500, "{told:?}");
    }
    assert_eq!(told[0].0 + told[1].0, 1_500, "{told:?}");
}
