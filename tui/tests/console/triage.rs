//! What an operator does with dead letters.

use super::bridge;
use super::redis::Redis;
use super::terminal::Terminal;

#[test]
fn an_operator_filters_marks_retries_drops_and_brings_back() {
    let mut redis = Redis::with_dead(20);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.sees("live");
    console.sees("DLQ 20");
    console.press("3");
    console.sees("Person19 Example");

    console.press("/error:503\r");
    console.sees("10 of 20 dead letters");
    console.press("  r");
    console.sees("Put 2 marked dead letters back to work?");
    console.press("y");
    console.sees("2 dead letters back to work");
    redis.depths(2, 18);
    let back: Vec<String> = redis.ask(&["LRANGE", "leads_to_enrich", "0", "-1"]);
    assert!(
        back.iter()
            .all(|lead| lead.contains("Person18") || lead.contains("Person16")),
        "{back:?}"
    );

    console.sees("8 of 18 dead letters");
    console.press("d");
    console.sees("Throw dead letter id-14 into the trash?");
    console.press("y");
    console.sees("1 dead letter in the trash");
    redis.depths(2, 17);
    console.press("\x1b");
    console.until("no filter", |text| !text.contains("filter error"));
    console.press("C");
    console.sees("Throw all 17 dead letters into the trash?");
    console.press("y");
    // One thing at a time: the next key counts when the console knows of the end of the last.
    console.sees("17 dead letters in the trash");
    redis.depths(2, 0);
    console.press("u");
    console.sees("Bring 17 dead letters back from the trash?");
    console.press("y");
    console.sees("17 dead letters brought back");
    redis.depths(2, 17);
    console.press("u");
    console.sees("Bring 1 dead letter back from the trash?");
    console.press("y");
    console.sees("1 dead letter brought back");
    redis.depths(2, 18);
    console.sees("Person14 Example");

    console.press("f");
    console.sees("nobody is known");
    console.press("R");
    console.press("q");
    console.press("q");
    assert_eq!(console.ends(), 0);
    // What it wrote last may be read only after its end.
    console.until("the terminal is restored", |_| console.is_restored());
    let audit: u64 = redis.ask(&["XLEN", "leads_to_enrich:audit"]);
    assert_eq!(
        audit, 5,
        "retried, dropped, cleared, and brought back twice"
    );
}

#[test]
fn an_operator_edits_a_lead_and_takes_a_retry_back() {
    let mut redis = Redis::with_dead(2);
    let folder = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let editor = folder.path().join("editor");
    // Breaks the lead the first time it is asked for, and puts it right the second time.
    let script = format!(
        "#!/bin/sh\nif [ -e {0}/once ]; then echo '{{\"name\":\"Right Example\"}}' > \"$1\"; else touch {0}/once; echo '{{' > \"$1\"; fi\n",
        folder.path().display()
    );
    std::fs::write(&editor, script).expect("written");
    let made = std::process::Command::new("chmod")
        .arg("+x")
        .arg(&editor)
        .status();
    assert!(made.expect("run").success());
    let run = format!(
        "EDITOR={} exec {}\r",
        editor.display(),
        env!("CARGO_BIN_EXE_bridge")
    );
    let mut console = Terminal::run(
        "bash",
        &["--norc"],
        &redis.server.url(),
        100,
        30,
        "xterm-256color",
    );
    console.press(&run);
    console.sees("DLQ 2");
    console.press("3");
    console.sees("Person1 Example");
    console.press("e");
    console.sees("edit it again");
    console.press("e");
    console.sees("back to work with the lead as edited?");
    console.press("y");
    redis.depths(1, 1);
    let back: Vec<String> = redis.ask(&["LRANGE", "leads_to_enrich", "0", "-1"]);
    assert!(
        back[0].contains(r#""lead":{"name":"Right Example"}"#) && back[0].contains("id-1"),
        "{back:?}"
    );
    console.sees("u undoes");
    console.press("u");
    console.sees("Take 1 lead back to the dead letters?");
    console.press("y");
    redis.depths(0, 2);
    console.sees("Person1 Example");
    console.press("q");
    assert_eq!(console.ends(), 0);
}

#[test]
fn an_operator_finds_words_loosely_completes_and_searches_a_lead() {
    let mut redis = Redis::with_dead(20);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person19 Example");
    console.press("/nobdy\r");
    console.sees("10 of 20 dead letters");
    console.press("R");
    console.sees("10 of them only have a word");
    console.press("n/");
    console.press("\x15'nobdy\r");
    console.sees("0 of 20 dead letters");
    console.press("/\x15err\t\t");
    console.sees("filter: error:");
    console.press("\r");
    console.sees("10 of 20 dead letters");
    console.press("\r/nam");
    console.sees("/nam");
    console.sees("1/1");
    console.press("\x1b\x1b[D");
    redis.depths(0, 20);
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn an_export_goes_below_the_home_it_names_and_is_told_in_full() {
    let redis = Redis::with_dead(3);
    let home = tempfile::TempDir::with_prefix("bridge-test-").expect("a folder");
    let home = home.path().display();
    let script = format!("HOME='{home}' exec '{}'", env!("CARGO_BIN_EXE_bridge"));
    let args = ["-c", &script];
    let mut console = Terminal::run("sh", &args, &redis.server.url(), 100, 30, "xterm-256color");
    console.press("3");
    console.sees("Person2 Example");
    console.press("x\x15~/dead.jsonl\r");
    console.says(&format!("3 dead letters written to {home}/dead.jsonl"));
    let written = std::fs::read_to_string(format!("{home}/dead.jsonl")).expect("a file");
    assert_eq!(written.lines().count(), 3);
    console.press("x\x15~/dead.jsonl\r");
    console.says(&format!("cannot write {home}/dead.jsonl: File exists"));
    console.press("\x03");
    assert_eq!(console.ends(), 0);
}

#[test]
fn an_undone_retry_leaves_the_dead_letters_in_their_order() {
    let mut redis = Redis::with_dead(5);
    let before: Vec<String> = redis.ask(&["LRANGE", "failed_leads", "0", "-1"]);
    let mut console = Terminal::open(&redis.server.url(), &[]);
    console.press("3");
    console.sees("Person4 Example");
    console.press("R");
    console.sees("Put all 5 dead letters back to work?");
    // Meant for what was there before the question, it is no answer.
    console.press("\ry");
    console.sees("u undoes");
    redis.depths(5, 0);
    console.press("u");
    console.sees("Take 5 leads back to the dead letters?");
    console.press("y");
    redis.depths(0, 5);
    let after: Vec<String> = redis.ask(&["LRANGE", "failed_leads", "0", "-1"]);
    assert_eq!(after, before);
}

#[test]
fn an_operator_finds_the_trash_of_a_session_before_and_brings_it_back() {
    let mut redis = Redis::with_dead(5);
    let url = redis.server.url();
    let output = bridge(&url)
        .args(["dlq", "drop", "id-1", "id-3"])
        .env("USER", "ada")
        .output();
    assert!(output.expect("it runs").status.success());
    let mut console = Terminal::open(&url, &[]);
    console.press("3");
    console.sees("Person4 Example");
    console.press("T");
    console.sees("2 dead letters in the trash");
    console.sees("ada@");
    console.press("\r");
    console.sees("Person3 Example");
    redis.depths(0, 3);
    console.press("u");
    console.sees("Bring 2 dead letters back");
    console.press("y");
    console.sees("2 dead letters brought back");
    redis.depths(0, 5);
    console.sees("nothing is left in it");
    console.press("\x1b");
    console.sees("nothing was thrown away");
    console.press("qq");
    assert_eq!(console.ends(), 0);
}
