//! `bridge push`, driven as a producer would.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bridge_shared::sandbox::Sandbox;
use redis::{Connection, FromRedisValue};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Bridge {
    redis: Sandbox,
    folder: TempDir,
    connection: Connection,
}

impl Bridge {
    fn start(settings: &[&str]) -> Self {
        let redis = Sandbox::start(settings).expect("a private Redis");
        let connection = connect(&redis);
        Self {
            redis,
            folder: TempDir::with_prefix("bridge-test-").expect("a folder"),
            connection,
        }
    }

    fn redis<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut cmd = redis::Cmd::new();
        cmd.arg(words);
        cmd.query(&mut self.connection).expect("Redis answers")
    }

    /// What waits, the next first.
    fn waiting(&mut self) -> Vec<String> {
        let mut list: Vec<String> = self.redis(&["LRANGE", "leads_to_enrich", "0", "-1"]);
        list.reverse();
        list
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let file: PathBuf = self.folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file.to_str().expect("a plain path").to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bridge"));
        command
            .args(["--json", "push"])
            .args(args)
            .env("REDIS_URL", self.redis.url())
            .env_remove("QUEUE_NAME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn push(&self, args: &[&str]) -> (Option<i32>, Value, String) {
        summary(&self.command(args).output().expect("the command runs"))
    }
}

fn connect(redis: &Sandbox) -> Connection {
    redis::Client::open(redis.url())
        .and_then(|client| client.get_connection())
        .expect("a connection")
}

fn summary(output: &Output) -> (Option<i32>, Value, String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        said,
    )
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "never true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn numbered(n: usize) -> String {
    (0..n)
        .map(|i| format!("{{\"n\":{i},  \"x\":1.50}}\n"))
        .collect()
}

#[test]
fn leads_arrive_in_order_and_byte_for_byte() {
    let mut bridge = Bridge::start(&[]);
    let file = bridge.file("leads.jsonl", numbered(1_200));
    let (status, said, _) = bridge.push(&[&file]);
    assert_eq!(
        (status, &said["pushed"], &said["invalid"]),
        (Some(0), &json!(1_200), &json!(0))
    );
    let expected: Vec<String> = numbered(1_200).lines().map(ToOwned::to_owned).collect();
    assert_eq!(bridge.waiting(), expected);
}

#[test]
fn bad_lines_of_every_kind_are_named_and_odd_leads_go_by_untouched() {
    let mut bridge = Bridge::start(&[]);
    let deep = format!(r#"{{"deep":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let odd = [
        r#"{"n":1e999,"digits":77777777777777777777777777777777777777777777}"#.to_owned(),
        r#"{"a":1,"a":2}"#.to_owned(),
        r#"{"half":"\ud800"}"#.to_owned(),
        r#"{"envelope":1,"id":"forged","retry_count":9,"lead":{}}"#.to_owned(),
        deep,
    ];
    let bad: [&[u8]; 9] = [
        b"not json",
        b"17",
        b"\"text\"",
        b"null",
        b"[1]",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\0\"}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":",
    ];
    let mut text = b"\xef\xbb\xbf".to_vec();
    for line in odd.iter().map(String::as_bytes).chain(bad) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    // A line of more than 64 MiB is named with its limit, and what comes after it is read.
    text.extend(std::iter::repeat_n(b'x', (64 << 20) + 1));
    text.extend_from_slice(b"\n{\"last\":1}\n");
    let file = bridge.file("leads.jsonl", text);
    let (status, said, told) = bridge.push(&[&file]);
    assert_eq!(
        (status, &said["pushed"], &said["invalid"]),
        (Some(1), &json!(odd.len() + 1), &json!(bad.len() + 1)),
        "{told}"
    );
    assert!(told.contains("longer than 67108864 bytes"), "{told}");
    let waiting = bridge.waiting();
    assert_eq!(waiting[..odd.len()], odd);
    assert_eq!(waiting[odd.len()], r#"{"last":1}"#);
}

#[test]
fn a_sales_navigator_export_becomes_leads() {
    let mut bridge = Bridge::start(&[]);
    let file = bridge.file(
        "export.csv",
        "First Name,Last Name,Title,Company,Geography,LinkedIn Sales Navigator URL\n\
         Ada,Example,CTO,\"Example, Co\",\"Austin, Texas, United States\",\"https://www.linkedin.com/sales/lead/AC1,NAME,x\"\n",
    );
    assert_eq!(bridge.push(&[&file]).0, Some(0));
    let lead: Value = serde_json::from_str(&bridge.waiting()[0]).expect("JSON");
    for (field, value) in [
        ("firstName", "Ada"),
        ("lastName", "Example"),
        ("company", "Example, Co"),
        ("location", "Austin, Texas, United States"),
        ("platform", "linkedin"),
    ] {
        assert_eq!(lead[field], value, "{field}");
    }
    assert!(
        lead["sourceDetails"]["source"]
            .as_str()
            .expect("a source")
            .ends_with("export.csv")
    );
}

#[test]
fn a_bad_line_is_named_and_stops_nothing_unless_strict() {
    let mut bridge = Bridge::start(&[]);
    let text = b"{\"n\":1}\nrubbish \x1b[2J\n[1]\n\xff\n{\"n\":2}\n";
    let file = bridge.file("leads.jsonl", text);
    let (status, said, errors) = bridge.push(&[&file]);
    assert_eq!(
        (status, &said["pushed"], &said["invalid"]),
        (Some(1), &json!(2), &json!(3))
    );
    for line in [2, 3, 4] {
        assert!(
            errors.contains(&format!("leads.jsonl:{line}: ")),
            "{errors}"
        );
    }
    assert!(!errors.contains('\x1b'));
    let (status, said, errors) = bridge.push(&["--strict", &file]);
    assert_eq!(
        (status, &said["pushed"], &said["invalid"]),
        (Some(1), &json!(1), &json!(1))
    );
    assert!(errors.contains("--strict"), "{errors}");
    assert_eq!(bridge.waiting().len(), 3);
    let file = bridge.file("leads.json", "[{\"n\":1},{\"n\":2},{\"n\":3 \"m\":4}]");
    let (_, said, errors) = bridge.push(&[&file]);
    assert_eq!((&said["pushed"], &said["invalid"]), (&json!(2), &json!(1)));
    assert!(
        errors.contains(
            "leads.json:1: element 3 of the array: not JSON: the object goes on without a comma"
        ),
        "{errors}"
    );
}

#[test]
fn a_bad_csv_costs_what_is_bad_and_no_other_line_or_file() {
    let mut bridge = Bridge::start(&[]);
    let mut text = String::from("name,linkedinUrl\n\"A,https://www.linkedin.com/in/a\n");
    text.extend((0..2_000).map(|n| format!("P{n},https://www.linkedin.com/in/p-{n}\n")));
    let quote = bridge.file("quote.csv", text);
    let bare = bridge.file("bare.csv", "Ada,https://www.linkedin.com/in/a\nBob,x\n");
    let packed = bridge.file("packed.csv", b"\x1f\x8b\x08\0\n\xff\n");
    let good = bridge.file("good.csv", "name\nZoe\n");
    let (status, said, errors) = bridge.push(&[&bare, &packed, &quote, &good]);
    assert_eq!(
        (status, &said["pushed"], &said["invalid"]),
        (Some(1), &json!(2_001), &json!(3)),
        "{errors}"
    );
    for told in [
        "bare.csv:1: none of the columns is known",
        "packed.csv:1: gzip, not text; unpack it first",
        "quote.csv:2: a quote opens in this line",
    ] {
        assert!(errors.contains(told), "{errors}");
    }
    assert_eq!(errors.lines().count(), 3, "{errors}");
    assert_eq!(bridge.waiting().len(), 2_001);
}

#[test]
fn a_dry_run_pushes_nothing_and_mistakes_are_found_before_anything_is_pushed() {
    let mut bridge = Bridge::start(&[]);
    let file = bridge.file("leads.json", "[{\"n\":1},\n{\"n\":2}]");
    let (status, said, _) = bridge.push(&["--dry-run", &file]);
    assert_eq!((status, &said["pushed"]), (Some(0), &json!(2)));
    let (status, _, errors) = bridge.push(&[&file, "/nowhere/leads.jsonl"]);
    assert_eq!(status, Some(1));
    assert!(
        errors.contains("cannot read /nowhere/leads.jsonl") && errors.lines().count() == 1,
        "{errors}"
    );
    assert!(bridge.waiting().is_empty());
}

#[test]
fn standard_input_is_a_file_too() {
    let mut bridge = Bridge::start(&[]);
    let mut child = bridge
        .command(&["-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"{\"n\":1}\n").expect("written");
    // What is there goes out before the input ends.
    eventually("the first lead is in", || bridge.waiting().len() == 1);
    input.write_all(b"{\"n\":2}\n").expect("written");
    drop(input);
    assert_eq!(
        summary(&child.wait_with_output().expect("ended")).1["pushed"],
        2
    );
}

#[test]
fn duplicates_are_found_wherever_they_are() {
    let mut bridge = Bridge::start(&[]);
    let url = |n: usize| format!("https://www.linkedin.com/in/person-{n}");
    let lead = |n: usize| format!(r#"{{"profile_url":"{}"}}"#, url(n));
    let envelope = format!(r#"{{"envelope":1,"id":"a-1","lead":{}}}"#, lead(3));
    let _: u64 = bridge.redis(&["LPUSH", "leads_to_enrich", &lead(1)]);
    let _: u64 = bridge.redis(&["ZADD", "leads_to_enrich:workers", "9e15", "w"]);
    let _: u64 = bridge.redis(&["HSET", "leads_to_enrich:active:w", "1", &lead(2)]);
    let _: u64 = bridge.redis(&["ZADD", "leads_to_enrich:retry", "9e15", &envelope]);
    let _: u64 = bridge.redis(&[
        "LPUSH",
        "failed_leads",
        &format!(r#"{{"lead":{},"error":"x"}}"#, lead(4)),
    ]);
    let _: String = bridge.redis(&["XADD", "enriched_leads", "*", "id", "b", "lead", &lead(5)]);
    let _: String = bridge.redis(&["XADD", "old:enriched", "1-1", "id", "c", "lead", &lead(6)]);
    let text: String = (1..=8)
        .map(|n| format!("{{\"linkedinUrl\":\"{}/?x={n}\"}}\n", url(n)))
        .collect();
    let file = bridge.file(
        "leads.jsonl",
        format!(
            "{text}{}\n{{\"name\":\"A\"}}\n{{\"name\":\"A\"}}\n",
            lead(8)
        ),
    );
    let (_, said, _) = bridge.push(&[
        "--dedupe",
        "--dry-run",
        "--enriched-stream",
        "old:enriched",
        &file,
    ]);
    assert_eq!(
        (&said["pushed"], &said["skipped"]),
        (&json!(6), &json!(5)),
        "an old one does not count"
    );
    let (_, said, _) = bridge.push(&["--dedupe", &file]);
    assert_eq!((&said["pushed"], &said["skipped"]), (&json!(5), &json!(6)));
    let (_, said, _) = bridge.push(&["--dedupe", &file]);
    assert_eq!(
        said["pushed"], 2,
        "leads without a URL are never duplicates"
    );
}

#[test]
fn a_full_queue_holds_the_producer_back() {
    let mut bridge = Bridge::start(&[]);
    let file = bridge.file("leads.jsonl", numbered(60));
    let mut child: Child = bridge
        .command(&["--max-depth", "25", &file])
        .spawn()
        .expect("the command runs");
    let mut taken: Vec<String> = Vec::new();
    eventually("all were taken", || {
        let waiting = bridge.waiting().len();
        assert!(waiting <= 25, "{waiting} wait");
        if waiting > 0 {
            taken.push(bridge.redis(&["RPOP", "leads_to_enrich"]));
        }
        taken.len() == 60
    });
    assert!(child.wait().expect("ended").success());
    let expected: Vec<String> = numbered(60).lines().map(ToOwned::to_owned).collect();
    assert_eq!(taken, expected);
}

#[test]
fn a_rate_is_kept() {
    let bridge = Bridge::start(&[]);
    let file = bridge.file("leads.jsonl", numbered(30));
    let started = Instant::now();
    assert_eq!(bridge.push(&["--rate", "50", &file]).1["pushed"], 30);
    // The last batch of five may go when the 25 before it are due.
    assert!(
        started.elapsed() >= Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_redis_that_dies_on_the_way_gets_every_lead_once() {
    let mut bridge = Bridge::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let file = bridge.file("leads.jsonl", numbered(2_000));
    let child = bridge
        .command(&["--rate", "2000", &file])
        .spawn()
        .expect("the command runs");
    eventually("some are in", || bridge.waiting().len() > 300);
    bridge.redis.restart().expect("Redis starts again");
    bridge.connection = connect(&bridge.redis);
    let (status, said, _) = summary(&child.wait_with_output().expect("ended"));
    assert_eq!((status, &said["pushed"]), (Some(0), &json!(2_000)));
    let expected: Vec<String> = numbered(2_000).lines().map(ToOwned::to_owned).collect();
    assert_eq!(bridge.waiting(), expected);
}

/// Leads of so many people.
fn people(n: usize) -> String {
    (0..n)
        .map(|n| format!("{{\"linkedinUrl\":\"https://linkedin.com/in/person-{n}\"}}\n"))
        .collect()
}

#[test]
fn runs_with_dedupe_at_once_push_each_person_once() {
    let mut bridge = Bridge::start(&[]);
    let leads = people(3_000);
    // All have looked at what is there before the first pushes anything.
    let mut runs: Vec<Child> = (0..3)
        .map(|_| {
            let mut command = bridge.command(&["--dedupe", "-"]);
            command.stdin(Stdio::piped()).spawn().expect("it starts")
        })
        .collect();
    eventually("all have looked", || {
        let calls: String = bridge.redis(&["INFO", "commandstats"]);
        calls.contains("cmdstat_xrange:calls=3,")
    });
    let feeders: Vec<_> = runs
        .iter_mut()
        .map(|run| {
            let (mut input, leads) = (run.stdin.take().expect("an input"), leads.clone());
            std::thread::spawn(move || input.write_all(leads.as_bytes()))
        })
        .collect();
    for feeder in feeders {
        feeder.join().expect("no panic").expect("written");
    }
    let mut sums = (0, 0);
    for run in runs {
        let (status, said, told) = summary(&run.wait_with_output().expect("it ends"));
        assert_eq!(status, Some(0), "{told}");
        sums.0 += said["pushed"].as_u64().expect("a number");
        sums.1 += said["skipped"].as_u64().expect("a number");
    }
    assert_eq!(sums, (3_000, 6_000));
    let waiting: u64 = bridge.redis(&["LLEN", "leads_to_enrich"]);
    assert_eq!(waiting, 3_000);
    // A lead that is gone may come again: only claims since a run's own look count.
    let _: u64 = bridge.redis(&["DEL", "leads_to_enrich"]);
    let file = bridge.file("leads.jsonl", leads);
    let (_, said, _) = bridge.push(&["--dedupe", &file]);
    assert_eq!(
        (&said["pushed"], &said["skipped"]),
        (&json!(3_000), &json!(0))
    );
    let keys: Vec<String> = bridge.redis(&["KEYS", "leads_to_enrich:push:*"]);
    for key in keys {
        let left: i64 = bridge.redis(&["PTTL", &key]);
        assert!((1..=3_600_000).contains(&left), "{key} ends in {left} ms");
    }
}

#[test]
fn a_push_that_waits_for_replicas_is_done_when_they_have_it() {
    let mut bridge = Bridge::start(&["--repl-diskless-sync-delay", "0"]);
    let port = bridge.redis.port().to_string();
    let replica = Sandbox::start(&["--replicaof", "127.0.0.1", &port]).expect("a replica");
    let mut at_replica = connect(&replica);
    eventually("the replica follows", || {
        let mut info = redis::cmd("INFO");
        let info: String = info
            .arg("replication")
            .query(&mut at_replica)
            .expect("INFO");
        info.contains("master_link_status:up")
    });
    let file = bridge.file("leads.jsonl", numbered(1_200));
    let (status, said, told) = bridge.push(&["--wait-replicas", "1", &file]);
    assert_eq!(
        (status, &said["pushed"]),
        (Some(0), &json!(1_200)),
        "{told}"
    );
    let there: u64 = redis::cmd("LLEN")
        .arg("leads_to_enrich")
        .query(&mut at_replica)
        .expect("LLEN");
    assert_eq!(there, 1_200);
    // Not done while fewer have it, and pushed once all the same.
    let more = bridge.file("more.jsonl", numbered(10));
    let waits = bridge.command(&["--wait-replicas", "2", &more]).spawn();
    let mut waits = waits.expect("it starts");
    let mut told = BufReader::new(waits.stderr.take().expect("its words"));
    let mut line = String::new();
    told.read_line(&mut line).expect("a line");
    assert!(line.contains("only 1 of 2 replicas have them"), "{line}");
    let second = Sandbox::start(&["--replicaof", "127.0.0.1", &port]).expect("a replica");
    let (status, said, _) = summary(&waits.wait_with_output().expect("it ends"));
    assert_eq!((status, &said["pushed"]), (Some(0), &json!(10)));
    let waiting: u64 = bridge.redis(&["LLEN", "leads_to_enrich"]);
    assert_eq!(waiting, 1_210);
    drop(second);
}

#[test]
fn no_lead_that_all_replicas_had_is_lost_at_a_failover() {
    const LEADS: usize = 3_000;
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let bridge = Bridge::start(&at_once);
    let port = bridge.redis.port().to_string();
    let replica = [&at_once[..], &["--replicaof", "127.0.0.1", &port]].concat();
    let replicas = [(); 2].map(|()| Sandbox::start(&replica).expect("a replica"));
    let sentinel = bridge.redis.sentinel("leads", Duration::from_secs(5), &[]);
    let sentinel = sentinel.expect("a sentinel");
    let mut at_sentinel = connect(&sentinel);
    let mut ask = |words: &str| -> redis::RedisResult<String> {
        let mut cmd = redis::Cmd::new();
        cmd.arg(words.split(' ').collect::<Vec<_>>());
        cmd.query(&mut at_sentinel)
    };
    eventually("the sentinel knows both replicas", || {
        ask("INFO sentinel").is_ok_and(|info| info.contains("slaves=2"))
    });
    let url = format!("redis+sentinel://127.0.0.1:{}/leads/0", sentinel.port());
    let mut push = bridge
        .command(&["-", "--wait-replicas", "2", "--rate", "1500"])
        .env("REDIS_URL", url)
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut leads = push.stdin.take().expect("its input");
    let feed = std::thread::spawn(move || leads.write_all(numbered(LEADS).as_bytes()));
    let mut at_primary = connect(&bridge.redis);
    eventually("some are pushed", || {
        let n: redis::RedisResult<usize> = redis::cmd("LLEN")
            .arg("leads_to_enrich")
            .query(&mut at_primary);
        n.is_ok_and(|n| n > 300)
    });
    eventually("a failover begins", || {
        ask("SENTINEL FAILOVER leads").is_ok()
    });
    let output = push.wait_with_output().expect("it ends");
    let (status, said, told) = summary(&output);
    feed.join().expect("no panic").expect("all is read");
    assert_eq!(
        (status, &said["pushed"]),
        (Some(0), &json!(LEADS)),
        "{told}"
    );
    let primary = replicas.iter().find(|replica| {
        let role: Vec<redis::Value> = redis::cmd("ROLE")
            .query(&mut connect(replica))
            .expect("ROLE");
        role.first() == Some(&redis::Value::BulkString(b"master".to_vec()))
    });
    let mut list: Vec<String> = redis::cmd("LRANGE")
        .arg(&["leads_to_enrich", "0", "-1"])
        .query(&mut connect(primary.expect("one of them is the primary")))
        .expect("LRANGE");
    list.reverse();
    let expected: Vec<String> = numbered(LEADS).lines().map(ToOwned::to_owned).collect();
    assert_eq!(list.len(), LEADS);
    assert!(list == expected, "each once, and in order");
}

#[test]
fn a_push_that_waits_for_the_disk_says_whether_the_server_can_tell() {
    let mut bridge = Bridge::start(&["--appendonly", "yes"]);
    let info: String = bridge.redis(&["INFO", "server"]);
    let version = info.split("redis_version:").nth(1).expect("a version");
    let part = |n| version.split('.').nth(n).and_then(|part| part.parse().ok());
    let can_tell = (part(0), part(1)) >= (Some(7), Some(2));
    let file = bridge.file("leads.jsonl", numbered(700));
    let (status, said, told) = bridge.push(&["--wait-fsync", &file]);
    if can_tell {
        assert_eq!((status, &said["pushed"]), (Some(0), &json!(700)), "{told}");
    } else {
        assert_eq!(status, Some(1), "{told}");
        assert!(told.contains("needs Redis 7.2"), "{told}");
        assert!(bridge.waiting().is_empty(), "nothing is pushed before");
    }
    // A server that writes no file cannot, of whatever version.
    let mut bridge = Bridge::start(&[]);
    let file = bridge.file("leads.jsonl", numbered(10));
    let (status, _, told) = bridge.push(&["--wait-fsync", &file]);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("appendonly yes"), "{told}");
    assert!(bridge.waiting().is_empty());
}

#[test]
fn a_table_that_is_called_json_is_told_of_once() {
    let mut bridge = Bridge::start(&[]);
    let table = "name,url\n".to_owned() + &"Ada,https://example.com\n".repeat(250);
    let file = bridge.file("leads.json", table);
    let output = bridge.command(&[&file]).output().expect("it runs");
    let (status, summary, said) = summary(&output);
    assert_eq!((status, &summary["invalid"]), (Some(1), &json!(1)));
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("--format csv"), "{said}");
    assert!(bridge.waiting().is_empty());
}

#[test]
fn many_invalid_lines_are_listed_in_part_and_counted_in_whole() {
    let bridge = Bridge::start(&[]);
    let file = bridge.file("leads.jsonl", "{}\n".to_owned() + &"rubbish\n".repeat(250));
    let output = bridge.command(&[&file]).output().expect("it runs");
    let (_, counted, said) = summary(&output);
    assert_eq!(counted["invalid"], 250);
    assert_eq!(said.lines().count(), 21, "{said}");
    assert!(
        said.contains("and 230 bad lines more; --list-errors 250 lists all"),
        "{said}"
    );
    let all = bridge.command(&[&file, "--list-errors", "250"]).output();
    let (_, _, said) = summary(&all.expect("it runs"));
    assert_eq!(said.lines().count(), 250);
}

#[test]
fn a_person_in_flight_at_an_unregistered_worker_is_known() {
    let mut bridge = Bridge::start(&[]);
    let lead = |n: u32| format!(r#"{{"linkedinUrl":"https://linkedin.com/in/person-{n}"}}"#);
    let _: u64 = bridge.redis(&["HSET", "leads_to_enrich:active:gone", "7", &lead(1)]);
    let file = bridge.file("leads.jsonl", format!("{}\n{}\n", lead(1), lead(2)));
    let dry = ["--dedupe", "--dry-run", &file];
    let (_, said, warned) = bridge.push(&dry);
    assert_eq!((&said["pushed"], &said["skipped"]), (&json!(1), &json!(1)));
    assert_eq!(warned, "");
    // A user who may not look for it is told what that may lead to.
    let () = bridge.redis(&["ACL", "SETUSER", "default", "-scan"]);
    let (_, said, warned) = bridge.push(&dry);
    assert_eq!((&said["pushed"], &said["skipped"]), (&json!(2), &json!(0)));
    assert!(warned.contains("may be pushed twice"), "{warned}");
    assert!(warned.contains("+scan"), "{warned}");
}
