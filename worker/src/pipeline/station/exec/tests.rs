use std::time::Instant;

use super::super::testing::{mistakes, went_on, with_keys, work};
use super::*;

fn station(script: &str, more: &str) -> Box<dyn Station> {
    let script = serde_json::to_string(script).expect("a text");
    let route = format!("command = [\"sh\", \"-c\", {script}]\n{more}");
    with_keys(&route, make).expect("a station")
}

async fn failure(script: &str, more: &str) -> Failure {
    let station = station(script, more);
    work(&*station, r#"{"name":"Ada"}"#)
        .await
        .expect_err(script)
}

#[tokio::test]
async fn a_program_gets_the_lead_and_its_answer_is_merged() {
    let script = r#"lead=$(cat); printf '{"got":%s,"id":"%s","rest":"%s"}' "$lead" "$LEAD_ID" "$(env | cut -d= -f1 | sort | tr '\n' ' ')""#;
    let station = station(script, "environment = { TOKEN = \"x\" }");
    let lead = went_on(work(&*station, r#"{"name":"Ada","n":1.50}"#).await);
    let expected = r#"{"name":"Ada","n":1.50,"got":{"name":"Ada","n":1.50},"id":"id-7","rest":""#;
    assert!(lead.starts_with(expected), "{lead}");
    // The shell adds PWD and its like by itself.
    for (name, there) in [
        ("TOKEN", true),
        ("PATH", true),
        ("HOME", false),
        ("CARGO", false),
    ] {
        assert_eq!(lead.contains(&format!("{name} ")), there, "{name}: {lead}");
    }
}

#[tokio::test]
async fn no_answer_changes_nothing_and_one_need_not_read_the_lead() {
    let station = station("exit 0", "");
    let lead = format!(r#"{{"name":"{}"}}"#, "x".repeat(1_000_000));
    assert_eq!(went_on(work(&*station, &lead).await), lead);
}

#[tokio::test]
async fn exit_codes_tell_whether_another_try_can_help() {
    for (script, more, kind, says) in [
        ("exit 1", "", ErrorKind::Transient, "exit status: 1"),
        (
            "echo a >&2; echo 'b\x1b[31m' >&2; exit 75",
            "",
            ErrorKind::Transient,
            "exit status: 75: b [31m",
        ),
        ("exit 65", "", ErrorKind::Invalid, "exit status: 65"),
        ("exit 78", "", ErrorKind::Permanent, "exit status: 78"),
        (
            "exit 78",
            "final_exits = [1]",
            ErrorKind::Transient,
            "exit status: 78",
        ),
        (
            "exit 1",
            "final_exits = [1]",
            ErrorKind::Permanent,
            "exit status: 1",
        ),
        ("kill -9 $$", "", ErrorKind::Transient, "signal: 9"),
        (
            "echo '[1]'",
            "",
            ErrorKind::Permanent,
            "broke its contract: the answer is not a JSON object but a list",
        ),
        (
            "echo 'oops'",
            "",
            ErrorKind::Permanent,
            "broke its contract: the answer is not JSON",
        ),
        (
            "echo '{\"_error\": \"later\"}'",
            "",
            ErrorKind::Transient,
            "says: later",
        ),
        (
            "echo '{\"_error\": \"never\", \"_final\": true}'",
            "",
            ErrorKind::Permanent,
            "says: never",
        ),
        (
            "head -c 9000000 /dev/zero",
            "",
            ErrorKind::Permanent,
            "the answer is longer than 8 MiB",
        ),
    ] {
        let failure = failure(script, more).await;
        assert_eq!(failure.kind, kind, "{script}: {}", failure.error);
        assert!(failure.error.contains(says), "{script}: {}", failure.error);
    }
}

#[tokio::test]
async fn a_memory_limit_holds() {
    let script = r#"x=$(head -c 100000000 /dev/zero | tr '\0' x) && printf '{"n":%s}' ${#x}"#;
    let station = station(script, "memory = \"2GiB\"");
    assert_eq!(went_on(work(&*station, "{}").await), r#"{"n":100000000}"#);
    let failure = failure(script, "memory = \"64MiB\"").await;
    assert_eq!(failure.kind, ErrorKind::Transient, "{}", failure.error);
}

/// Whether a process is there and no zombie.
fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "never true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn whoever_is_given_up_is_killed_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    for (mode, lines) in [("once", false), ("lines", true)] {
        let file = folder.path().join(mode);
        let script = format!(
            "sleep 600 & echo $! $$ > {0}.tmp; mv {0}.tmp {0}; wait",
            file.display()
        );
        let station = station(&script, if lines { "mode = \"lines\"" } else { "" });
        {
            let call = work(&*station, "{}");
            let mut call = std::pin::pin!(call);
            let started = async { until("it has started", || file.exists()).await };
            tokio::select! {
                _ = &mut call => panic!("it cannot have ended"),
                () = started => {}
            }
        }
        let pids = std::fs::read_to_string(&file).expect("its own numbers");
        for pid in pids.split_whitespace() {
            until("it is gone", || !lives(pid)).await;
        }
    }
}

#[tokio::test]
async fn what_a_program_leaves_behind_holds_nobody_up() {
    let station = station("sleep 600 & echo '{\"pid\":'$!'}'", "");
    let lead = went_on(work(&*station, "{}").await);
    let pid = lead.trim_start_matches("{\"pid\":").trim_end_matches('}');
    until("it is gone", || !lives(pid)).await;
}

const ECHO: &str = r#"n=0; while read -r lead; do n=$((n+1)); printf '{"pid":%s,"n":%s,"got":%s}\n' $$ $n "$lead"; done"#;

#[tokio::test]
async fn a_program_that_stays_answers_line_by_line() {
    let station = station(
        ECHO,
        "mode = \"lines\"\nmap = { pid = \"$.pid\", n = \"$.n\", name = \"$.got.who\" }",
    );
    let mut pids = std::collections::HashSet::new();
    for n in 1..=5 {
        let lead = went_on(work(&*station, "{\"who\":\n\"A\\nda\"\r\n}").await);
        let lead: serde_json::Value = serde_json::from_str(&lead).expect("JSON");
        assert_eq!((&lead["n"], &lead["name"]), (&n.into(), &"A\nda".into()));
        pids.insert(lead["pid"].to_string());
    }
    assert_eq!(pids.len(), 1, "one process for all");
}

#[tokio::test]
async fn one_that_refuses_a_lead_stays() {
    let script = r#"n=0; while read -r lead; do n=$((n+1)); case $lead in *bad*) echo '{"_error":"no"}';; *) echo "{\"n\":$n}";; esac; done"#;
    let station = station(script, "mode = \"lines\"");
    let refused = work(&*station, r#"{"bad":1}"#).await.expect_err("refused");
    assert_eq!(
        (refused.kind, refused.error.as_str()),
        (ErrorKind::Transient, "sh says: no")
    );
    assert_eq!(went_on(work(&*station, "{}").await), r#"{"n":2}"#);
}

#[tokio::test]
async fn a_pool_has_so_many_processes_and_no_more() {
    let script = r#"while read -r lead; do sleep 0.05; printf '{"pid":%s}\n' $$; done"#;
    let station = station(script, "mode = \"lines\"\nprocesses = 3");
    let calls = (0..12).map(|_| work(&*station, "{}"));
    let leads: std::collections::HashSet<String> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(went_on)
        .collect();
    assert_eq!(leads.len(), 3, "{leads:?}");
}

#[tokio::test]
async fn one_that_dies_or_talks_nonsense_is_replaced() {
    let script = r#"read -r lead; case $lead in *die*) echo bye >&2; exit 3;; *bad*) exit 65;; *noise*) echo noise; echo '{"late":1}';; *extra*) printf '{"ok":1}\n{"extra":1}\n';; *) echo '{"ok":1}';; esac; read -r lead; echo '{"second":1}'; sleep 600"#;
    let station = station(script, "mode = \"lines\"");
    let died = work(&*station, r#"{"die":1}"#).await.expect_err("it dies");
    assert_eq!(died.kind, ErrorKind::Transient);
    assert!(
        died.error
            .contains("ended without an answer: exit status: 3: bye"),
        "{}",
        died.error
    );
    let bad = work(&*station, r#"{"bad":1}"#)
        .await
        .expect_err("it refuses");
    assert_eq!(bad.kind, ErrorKind::Invalid, "{}", bad.error);
    let noise = work(&*station, r#"{"noise":1}"#)
        .await
        .expect_err("no JSON");
    assert_eq!(noise.kind, ErrorKind::Permanent);
    // Each of these is answered by a fresh process.
    for lead in [r#"{"extra":1}"#, "{}"] {
        assert!(
            went_on(work(&*station, lead).await).contains("\"ok\":1"),
            "{lead}"
        );
    }
    assert!(went_on(work(&*station, "{}").await).contains("\"second\":1"));
}

#[tokio::test]
async fn what_a_program_says_after_its_answer_is_never_the_next_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = folder.path().join("said");
    let script = format!(
        "while read -r lead; do echo '{{\"ok\":1}}'; sleep 0.05; echo '{{\"stray\":1}}'; : > {}; done",
        said.display()
    );
    let station = station(&script, "mode = \"lines\"");
    for _ in 0..3 {
        assert_eq!(went_on(work(&*station, "{}").await), r#"{"ok":1}"#);
        until("it has said more", || said.exists()).await;
        std::fs::remove_file(&said).expect("removed");
    }
}

#[tokio::test]
async fn a_numbered_answer_belongs_to_its_lead() {
    let script = r#"count=0; while read -r lead; do count=$((count+1)); n=${lead##*\"_request\":}; n=${n%\}}; case $lead in *stray*) echo '{"stray":1}';; esac; printf '{"_request":%s,"count":%s,"got":%s}\n' "$n" $count "$lead"; done"#;
    let station = station(script, "mode = \"lines\"\nnumbered = true");
    let answered = |lead: String, count: u8, number: u8| {
        let expected =
            format!(r#"{{"who":1,"count":{count},"got":{{"who":1,"_request":{number}}}}}"#);
        assert_eq!(lead, expected);
    };
    answered(went_on(work(&*station, r#"{"who":1}"#).await), 1, 1);
    answered(went_on(work(&*station, r#"{"who":1}"#).await), 2, 2);
    // It comes just before the answer, when nobody can tell any more whose it is but by its number.
    let failed = work(&*station, r#"{"stray":1}"#)
        .await
        .expect_err("not its");
    assert_eq!(failed.kind, ErrorKind::Transient);
    assert_eq!(
        failed.error,
        "sh broke its contract: the answer does not have the \"_request\":3 of its lead"
    );
    answered(went_on(work(&*station, r#"{"who":1}"#).await), 1, 4);
}

#[test]
fn mistakes_are_named() {
    for (route, expected) in [
        ("", "1: the station needs command; add command = "),
        ("command = []", "1: there is no program \"\""),
        (
            "command = [\"no-such-program-here\"]",
            "1: there is no program \"no-such-program-here\"",
        ),
        (
            "command = [\"./none.sh\"]",
            "1: there is no program \"./none.sh\"",
        ),
        (
            "command = [\"sh\"]\nprocesses = 2",
            "2: in once mode there is a process for each lead",
        ),
        (
            "command = [\"sh\"]\nnumbered = true",
            "2: in once mode there is one answer only; write mode = \"lines\", or take it out",
        ),
        (
            "command = [\"sh\"]\nmemory = \"lots\"",
            "2: \"lots\" is no amount of memory",
        ),
        (
            "command = [\"sh\"]\nmode = \"line\"",
            "2: mode cannot be \"line\"; did you mean \"lines\"?",
        ),
        (
            "command = [\"sh\"]\nfinal_exits = [300]",
            "2: final_exits must be a list of whole numbers from 1 to 255",
        ),
        (
            "command = [\"sh\"]\nenvironment = { \"A=B\" = \"\" }",
            "2: \"A=B\" cannot be a variable",
        ),
        (
            "command = [\"sh\"]\nenvironment = { A = \"${NO_SUCH_VARIABLE_HERE}\" }",
            "2: the environment variable NO_SUCH_VARIABLE_HERE is not set",
        ),
    ] {
        let said = mistakes(route, |keys| make(keys).is_some());
        assert!(
            said.len() == 1 && said[0].starts_with(expected),
            "{said:#?}"
        );
    }
    assert_eq!(bytes("2 GiB"), Some(2 << 30));
    for text in ["", "5", "MiB", "-1MiB", "0KiB", "1TB"] {
        assert_eq!(bytes(text), None, "{text}");
    }
}
