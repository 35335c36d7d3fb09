//! Leads in over HTTP.

use std::io::Write as _;

use bridge_shared::sandbox::Sandbox;
use serde_json::{Value, json};

use crate::client::{Answer, Api};
use crate::common::{Bridge, connect, eventually};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

fn waiting(bridge: &Bridge) -> Vec<String> {
    let mut leads: Vec<String> = bridge.redis("LRANGE leads_to_enrich 0 -1");
    leads.reverse();
    leads
}

fn accepted(answer: &Answer) -> (Value, Value) {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let all = answer.ok();
    assert_eq!(all["success"], true);
    (all["accepted"].clone(), all["skipped"].clone())
}

#[test]
fn one_many_and_lines_go_to_the_end_of_the_line_byte_for_byte() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let one = api.push("/leads", JSON, b"{\"name\" : \"Ada\",  \"n\":1.00}\n");
    assert_eq!(accepted(&one), (json!(1), json!(0)));
    assert_eq!(one.ok()["waiting"], 1);
    let pretty = b"{\n  \"name\": \"Grace\"\n}";
    assert_eq!(accepted(&api.push("/leads", JSON, pretty)).0, 1);
    let same_line = b"{\"name\":\n \"Mary\"}";
    assert_eq!(accepted(&api.push("/leads", JSON, same_line)).0, 1);
    let many = api.push(
        "/leads",
        "application/json; charset=utf-8",
        b"[{\"n\":2},\n{\"n\":3}]",
    );
    assert_eq!(accepted(&many).0, 2);
    let lines = api.push("/leads", NDJSON, b"{\"n\":4}\r\n\n{\"n\":5}");
    assert_eq!(accepted(&lines).0, 2);
    let plain = api.send("POST", "/leads", &[], b"{\"n\":6}");
    assert_eq!(accepted(&plain).0, 1);
    assert_eq!(accepted(&api.push("/leads", JSON, b"[]")).0, 0);
    assert_eq!(accepted(&api.push("/leads", NDJSON, b"")).0, 0);
    assert_eq!(
        waiting(&bridge),
        [
            "{\"name\" : \"Ada\",  \"n\":1.00}",
            "{\n  \"name\": \"Grace\"\n}",
            "{\"name\":\n \"Mary\"}",
            "{\"n\":2}",
            "{\"n\":3}",
            "{\"n\":4}",
            "{\"n\":5}",
            "{\"n\":6}",
        ]
    );
}

#[test]
fn ten_thousand_leads_come_in_by_one_stream() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut upload = api.begin("/leads", NDJSON);
    let mut sent = 0;
    // Chunks that have nothing to do with lines.
    let lines: String = (0..10_000)
        .map(|n| format!("{{\"name\":\"Lead {n}\",\"n\":{n}}}\n"))
        .collect();
    for chunk in lines.as_bytes().chunks(7_001) {
        upload.chunk(chunk).expect("sent");
        sent += 1;
        if sent == 3 {
            // What came is at work before the rest is sent.
            eventually("the first leads wait", || bridge.waiting() > 0);
        }
    }
    let answer = upload.end();
    assert_eq!(accepted(&answer), (json!(10_000), json!(0)));
    assert_eq!(answer.ok()["waiting"], 10_000);
    let order: Vec<u64> = waiting(&bridge)
        .iter()
        .map(|lead| {
            serde_json::from_str::<Value>(lead).expect("a lead")["n"]
                .as_u64()
                .expect("n")
        })
        .collect();
    assert!(order.iter().copied().eq(0..10_000));
}

#[test]
fn an_element_of_an_array_is_told_by_its_number() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    for (body, line, element, words) in [
        (
            "[{\"n\":1},{\"n\":2},3]",
            1,
            3,
            "element 3 of the array, in line 1: not a JSON object but a number; what came before",
        ),
        (
            "[{\"n\":1},\n{\"n\":2 \"m\":3}]",
            2,
            2,
            "element 2 of the array, in line 2: not JSON: the object goes on without a comma, or its } is missing (byte 8)",
        ),
        ("[{\"n\":1},]", 1, 2, "not JSON: there is a comma too many"),
    ] {
        let (detail, all) = api.push("/leads", JSON, body.as_bytes()).problem(422);
        assert!(detail.contains(words), "{detail}");
        assert_eq!(
            (&all["line"], &all["element"]),
            (&json!(line), &json!(element))
        );
    }
    let (detail, all) = api.push("/leads", NDJSON, b"{}\n{a:1}").problem(422);
    assert!(
        detail.contains("line 2: not JSON: the name of a field in double quotes is missing"),
        "{detail}"
    );
    assert!(all["element"].is_null());
}

#[test]
fn a_mistake_is_told_with_its_line_and_what_was_accepted() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    for (kind, body, status, line, words) in [
        (
            NDJSON,
            &b"{\"n\":1}\n{\"n\":2}\noops\n{\"n\":3}\n"[..],
            422,
            3,
            "line 3: not JSON",
        ),
        (
            NDJSON,
            b"{\"n\":1}\n[]\n",
            422,
            2,
            "not a JSON object but a list",
        ),
        (NDJSON, b"{\"n\":\"\xff\"}", 422, 1, "not UTF-8"),
        (
            JSON,
            b"[{\"n\":1},\n{\"n\":2},\n3]",
            422,
            3,
            "not a JSON object but a number",
        ),
        (JSON, b"[{\"n\":1},", 422, 1, "ends in the middle"),
        (JSON, b"{\"n\":1", 422, 1, "not JSON"),
        (JSON, b"\"text\"", 422, 1, "not a JSON object"),
        (
            JSON,
            b"\x1f\x8b\x08\x00",
            422,
            1,
            "gzip, not text; unpack it before",
        ),
        (
            NDJSON,
            b"\0\xff",
            422,
            1,
            "binary data, not text; send JSON",
        ),
    ] {
        let before = bridge.waiting();
        let (detail, all) = api.push("/leads", kind, body).problem(status);
        assert!(detail.contains(words), "{detail}");
        assert_eq!(all["line"], line, "{detail}");
        assert_eq!(all["accepted"], bridge.waiting() - before, "{detail}");
    }
    assert_eq!(bridge.waiting(), 2 + 1 + 2 + 1);
    api.push("/leads", JSON, b" \n ").problem(422);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let (detail, _) = api.push("/leads", kind, b"{}").problem(415);
        assert!(detail.contains("application/x-ndjson"), "{detail}");
    }
    let packed = [("Content-Type", JSON), ("Content-Encoding", "gzip")];
    api.send("POST", "/leads", &packed, b"{}").problem(415);
}

#[test]
fn a_lead_that_is_too_long_is_refused_and_its_sender_hears_so() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut body = b"{\"n\":1}\n{\"x\":\"".to_vec();
    body.resize(9 << 20, b'x');
    body.extend_from_slice(b"\"}\n{\"n\":2}\n");
    let (detail, all) = api.push("/leads", NDJSON, &body).problem(413);
    assert!(
        detail.contains("line 2: longer than 1048576 bytes"),
        "{detail}"
    );
    assert_eq!((&all["accepted"], bridge.waiting()), (&json!(1), 1));
}

#[test]
fn a_refused_upload_counts_as_long_as_its_rest_is_read() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let one = || api.push("/leads", NDJSON, b"{\"n\":1}\n").status;
    let refused: Vec<_> = (0..32)
        .map(|_| {
            let mut upload = api.begin("/leads", NDJSON);
            upload.chunk(b"oops\n").expect("sent");
            assert_eq!(upload.status(), 422);
            upload
        })
        .collect();
    assert_eq!((one(), bridge.waiting()), (503, 0));
    drop(refused);
    eventually("the senders' places are free", || one() == 202);
}

#[test]
fn a_sender_that_hangs_up_leaves_what_it_sent() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let mut upload = api.begin("/leads", NDJSON);
    upload
        .chunk(b"{\"n\":1}\n{\"n\":2}\n{\"n\":")
        .expect("sent");
    eventually("both wait", || bridge.waiting() == 2);
    drop(upload);
    let mut broken = api.connect();
    api.head(
        &mut broken,
        "POST",
        "/leads",
        &[("Content-Type", NDJSON), ("Transfer-Encoding", "chunked")],
    );
    broken
        .write_all(b"\r\n8\r\n{\"n\":3}\n\r\nno chunk\r\n")
        .expect("sent");
    let answer = Answer::read(&mut std::io::BufReader::new(broken)).expect("an answer");
    let (detail, all) = answer.problem(400);
    assert!(detail.contains("broke off"), "{detail}");
    assert_eq!((&all["accepted"], bridge.waiting()), (&json!(1), 3));
    api.get("/healthz").ok();
}

#[test]
fn dedupe_skips_who_is_there_already() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let lead =
        |name: &str| format!("{{\"linkedinUrl\":\"https://www.linkedin.com/in/{name}/\"}}\n");
    bridge.push(r#"{"profile_url":"linkedin.com/in/ada"}"#);
    let _: u64 = bridge.run(&[
        b"LPUSH",
        b"failed_leads",
        br#"{"lead":{"linkedinUrl":"https://linkedin.com/in/bob"}}"#,
    ]);
    let _: String = bridge.run(&[
        b"XADD",
        b"enriched_leads",
        b"*",
        b"lead",
        lead("cy").as_bytes(),
    ]);
    let body = [
        lead("ada"),
        lead("bob"),
        lead("cy"),
        lead("dora"),
        lead("dora"),
    ]
    .concat();
    let answer = api.push("/leads?dedupe", NDJSON, body.as_bytes());
    assert_eq!(accepted(&answer), (json!(1), json!(4)));
    let answer = api.push(
        "/leads?dedupe=true&dedupe_days=0",
        NDJSON,
        lead("cy").as_bytes(),
    );
    assert_eq!(accepted(&answer), (json!(1), json!(0)));
    let answer = api.push("/leads?dedupe=false", NDJSON, lead("ada").as_bytes());
    assert_eq!(accepted(&answer), (json!(1), json!(0)));
    for wrong in ["dedupe=perhaps", "dedupe_days=-1", "dedupe_days=36501"] {
        let path = format!("/leads?{wrong}");
        api.push(&path, NDJSON, b"").problem(422);
    }
}

#[test]
fn a_full_line_holds_the_sender_up_until_there_is_room() {
    let bridge = Bridge::start();
    let api = Api::with(&bridge, &["--max-waiting", "10"], &[]);
    let mut upload = api.begin("/leads", NDJSON);
    let lines: String = (0..25).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    upload.chunk(lines.as_bytes()).expect("sent");
    let mut taken = Vec::new();
    while taken.len() < 25 {
        eventually("leads wait", || bridge.waiting() > 0);
        assert!(bridge.waiting() <= 10);
        taken.push(bridge.redis::<String>("RPOP leads_to_enrich"));
    }
    assert_eq!(accepted(&upload.end()).0, 25);
    assert_eq!(taken.concat(), lines.replace('\n', ""));
}

#[test]
fn a_redis_without_room_is_waited_out() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    api.push("/leads", JSON, b"{\"n\":1}").ok();
    let () = bridge.redis("CONFIG SET maxmemory 1");
    let mut upload = api.begin("/leads", NDJSON);
    upload.chunk(b"{\"n\":2}\n").expect("sent");
    // It is waited out: memory may become free.
    let refused = "bridge_redis_errors_total{call=\"push\"}";
    eventually("it is refused", || {
        api.get("/metrics").text().contains(refused)
    });
    let () = bridge.redis("CONFIG SET maxmemory 0");
    assert_eq!(accepted(&upload.end()).0, 1);
    assert_eq!(bridge.waiting(), 2);
}

#[test]
fn leads_are_accepted_when_as_many_replicas_as_asked_for_have_them() {
    let bridge = Bridge::with_redis(&["--repl-diskless-sync-delay", "0"]);
    let port = bridge.redis.port().to_string();
    let replica = Sandbox::start(&["--replicaof", "127.0.0.1", &port]).expect("a replica");
    eventually("the replica follows", || {
        let info: String = bridge.redis("INFO replication");
        info.contains("state=online")
    });
    let api = Api::start(&bridge);
    let lead = br#"{"name":"Ada"}"#;
    let answer = api.push("/leads?wait_replicas=1", NDJSON, lead);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let there: u64 = redis::cmd("LLEN")
        .arg("leads_to_enrich")
        .query(&mut connect(&replica))
        .expect("LLEN");
    assert_eq!(there, 1);
    // More than there are: it is pushed, and that is in doubt.
    let answer = api.push("/leads?wait_replicas=2", NDJSON, lead);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.text().contains("only 1 of 2 replicas"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.json()["in_doubt"], 1);
    assert_eq!(bridge.waiting(), 2, "once, however often it was sent");
    for wrong in ["-1", "many", "101"] {
        let answer = api.push(&format!("/leads?wait_replicas={wrong}"), NDJSON, lead);
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
}
