//! The dead letter queue over HTTP, as its old readers know it.

use std::process::Command;
use std::sync::Arc;

use bridge_shared::envelope::{Attempt, Envelope, ErrorKind};
use serde_json::{Value, json};

use crate::client::Api;
use crate::common::Bridge;
use crate::common::proxy::scripts::Scripts;
use crate::common::proxy::{Cut, Proxy};

/// A dead letter as the bridge writes it.
fn letter(id: &str, name: &str, error: &str) -> Vec<u8> {
    let mut envelope = Envelope::new(id, format!(r#"{{"name":"{name}"}}"#).into(), Some(1_000));
    envelope.retry_count = 3;
    let attempt = Attempt {
        at: "2026-01-15T10:30:00Z".into(),
        station: "enrich".into(),
        error: error.into(),
        kind: ErrorKind::Transient,
        ms: 12,
        worker: "host-1-abc".into(),
    };
    envelope.fail(1_768_473_000_000, attempt);
    envelope.encode().to_vec()
}

fn kill(bridge: &Bridge, entry: &[u8]) {
    let _: u64 = bridge.run(&[b"LPUSH", b"failed_leads", entry]);
}

fn kill_many(bridge: &Bridge, ids: std::ops::Range<usize>) {
    for id in ids {
        kill(
            bridge,
            &letter(&format!("t-{id}"), &format!("Lead {id}"), "HTTP 503"),
        );
    }
}

fn ids(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// The audit as `what who count` lines, the newest first.
fn audit(bridge: &Bridge) -> Vec<String> {
    let entries: Vec<(String, std::collections::HashMap<String, String>)> =
        bridge.redis("XREVRANGE leads_to_enrich:audit + -");
    entries
        .into_iter()
        .map(|(_, entry)| format!("{} {} {}", entry["what"], entry["who"], entry["count"]))
        .collect()
}

#[test]
fn a_letter_of_another_queue_stays_unless_the_parameter_allows_it() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    let of = |id: &str, queue: &str| {
        let (mut envelope, _) = Envelope::from_dead_letter(&letter(id, "Ada", "HTTP 503").into());
        envelope.queue = queue.into();
        kill(&bridge, &envelope.encode());
    };
    of("t-1", "acme_leads");
    of("t-2", "leads_to_enrich");
    let (detail, problem) = api.post("/dlq/items/t-1/retry").problem(409);
    assert_eq!(problem["queue"], "acme_leads");
    assert!(
        detail.contains("came from the queue acme_leads and not leads_to_enrich")
            && detail.contains("?into_this_queue"),
        "{detail}"
    );
    api.post("/dlq/retry/1").problem(409);
    let all = api.post("/dlq/retry-all").ok();
    assert_eq!(
        (&all["retried_count"], &all["other_queue"][0]["id"]),
        (&json!(1), &json!("t-1"))
    );
    assert!(
        all["message"]
            .as_str()
            .is_some_and(|text| text.contains("1 from acme_leads stay"))
    );
    assert_eq!((bridge.dead(), bridge.waiting()), (1, 1));
    api.post("/dlq/items/t-1/retry?into_this_queue=no")
        .problem(409);
    api.post("/dlq/items/t-1/retry?into_this_queue=perhaps")
        .problem(422);
    api.post("/dlq/items/t-1/retry?into_this_queue").ok();
    of("t-3", "acme_leads");
    let all = api.post("/dlq/retry-all?into_this_queue=true").ok();
    assert_eq!(all["retried_count"], 1);
    assert_eq!((bridge.dead(), bridge.waiting()), (0, 3));
}

#[test]
fn rows_have_the_shape_that_old_readers_know() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill(&bridge, b"not json \x1b[31m\xff");
    kill(&bridge, br#"{"lead":{"name":"Old"},"error":"boom","retry_count":2,"failed_at":"2026-01-15T10:30:00Z"}"#);
    kill(&bridge, &letter("t-1", "Ada", "HTTP 503"));
    let all = api.get("/dlq/items?limit=10").ok();
    assert_eq!(all["total"], 3);
    let row = |n: usize| {
        let row = &all["items"][n];
        json!([
            row["index"],
            row["lead_data"],
            row["error"],
            row["retry_count"],
            row["failed_at"]
        ])
    };
    assert_eq!(
        row(0),
        json!([0, {"name":"Ada"}, "HTTP 503", 3, "2026-01-15T10:30:00Z"])
    );
    assert_eq!(
        row(1),
        json!([1, {"name":"Old"}, "boom", 2, "2026-01-15T10:30:00Z"])
    );
    assert_eq!(
        row(2),
        json!([
            2,
            "not json \u{1b}[31m\u{fffd}",
            "Unknown error",
            0,
            "Unknown"
        ])
    );
    assert_eq!(all["items"][0]["id"], "t-1");
    assert_eq!(all["items"][2]["can_retry"], false);
    let old = api.get("/dlq?limit=2").ok();
    assert_eq!(
        old["failed_leads"],
        json!([all["items"][0], all["items"][1]])
    );
    assert_eq!(old["total"], 3);
    assert_eq!(api.get("/dlq/count").ok(), json!({"count": 3}));
    let text = api.get("/dlq/items").text();
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

#[test]
fn windows_and_filters_come_together_however_long_the_list_is() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill_many(&bridge, 0..1_300);
    kill(&bridge, &letter("odd", "Ada", "HTTP 404"));
    let newest = |from: usize, n: usize| -> Vec<String> {
        (0..1_300)
            .rev()
            .skip(from)
            .take(n)
            .map(|id| format!("t-{id}"))
            .collect()
    };
    let all = api.get("/dlq/items?limit=100000").ok();
    assert_eq!(ids(&all["items"])[1..], newest(0, 1_300));
    assert_eq!(all["items"][1_300]["index"], 1_300);
    let window = api.get("/dlq/items?limit=450&offset=301").ok();
    assert_eq!(ids(&window["items"]), newest(300, 450));
    let default = api.get("/dlq/items").ok();
    assert_eq!(
        (default["items"].as_array().map(Vec::len), &default["total"]),
        (Some(50), &json!(1_301))
    );
    assert_eq!(
        api.get("/dlq").ok()["failed_leads"]
            .as_array()
            .map(Vec::len),
        Some(100)
    );
    let some = api
        .get("/dlq/items?filter=error%3A503&limit=700&offset=2")
        .ok();
    assert_eq!(ids(&some["items"]), newest(2, 700));
    assert_eq!(
        ids(&api.get("/dlq/items?filter=error:404").ok()["items"]),
        ["odd"]
    );
    for nothing in [
        "?limit=0",
        "?offset=5000",
        "?offset=9223372036854775807&limit=9223372036854775807",
        "?filter=nobody",
    ] {
        let answer = api.get(&format!("/dlq/items{nothing}")).ok();
        assert_eq!(answer, json!({"items": [], "total": 1_301}), "{nothing}");
    }
    for wrong in [
        "?limit=-1",
        "?limit=many",
        "?offset=1e3",
        "?offset=9223372036854775808",
        "?filter=colour:red",
        "?filter=%22open",
    ] {
        let (detail, _) = api.get(&format!("/dlq/items{wrong}")).problem(422);
        assert!(detail.contains("wrong"), "{detail}");
    }
}

#[test]
fn an_index_retries_what_stands_there_and_nothing_else() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill(&bridge, b"not json");
    kill_many(&bridge, 0..3);
    let answer = api.post("/dlq/retry/1").ok();
    assert_eq!(answer["success"], true);
    assert_eq!(answer["retried_count"], 1);
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|words| words.contains("t-1"))
    );
    let waiting: Vec<Value> = bridge
        .redis::<Vec<String>>("LRANGE leads_to_enrich 0 -1")
        .iter()
        .map(|lead| serde_json::from_str(lead).expect("an envelope"))
        .collect();
    assert_eq!(
        (waiting[0]["id"].as_str(), waiting[0]["redrives"].as_u64()),
        (Some("t-1"), Some(1))
    );

    // The list has shifted since the caller saw `t-0` at 1.
    kill(&bridge, &letter("t-9", "New", "HTTP 503"));
    let (detail, all) = api.post("/dlq/retry/1?expect=t-0").problem(409);
    assert!(detail.contains("is now t-2"), "{detail}");
    assert_eq!(all["found"], "t-2");
    let (_, _) = api.post("/dlq/retry/4").problem(404);
    let (_, _) = api.post("/dlq/retry/18446744073709551615").problem(404);
    let (detail, _) = api.post("/dlq/retry/3").problem(400);
    assert!(detail.contains("cannot be a lead"), "{detail}");
    for wrong in ["-1", "first", "1.5", "99999999999999999999"] {
        api.post(&format!("/dlq/retry/{wrong}")).problem(422);
    }
    assert_eq!((bridge.dead(), bridge.waiting()), (4, 1));
    assert_eq!(api.post("/dlq/retry/2?expect=t-0").ok()["retried_count"], 1);
    assert_eq!((bridge.dead(), bridge.waiting()), (3, 2));
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    assert_eq!(audit(&bridge), vec![format!("redriven api@{host} 1"); 2]);
}

#[test]
fn an_id_retries_that_letter_wherever_it_is() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill_many(&bridge, 0..1_200);
    let mut events = api.listen();
    assert_eq!(api.post("/dlq/items/t-7/retry").ok()["retried_count"], 1);
    let (kind, told) = events.next();
    assert_eq!((kind.as_str(), &told["lead"]), ("redriven", &json!("t-7")));
    assert!(
        told["worker"]
            .as_str()
            .is_some_and(|who| who.starts_with("api@"))
    );
    let (detail, _) = api.post("/dlq/items/t-7/retry").problem(404);
    assert!(detail.contains("t-7"), "{detail}");
    assert_eq!((bridge.dead(), bridge.waiting()), (1_199, 1));
    // What old workers left has an id of its bytes.
    kill(&bridge, b"{\"name\":\"bare\"}");
    let id = ids(&api.get("/dlq/items?limit=1").ok()["items"]).remove(0);
    api.post(&format!("/dlq/items/{id}/retry")).ok();
    assert_eq!(
        bridge.redis::<String>("LINDEX leads_to_enrich 0"),
        r#"{"name":"bare"}"#
    );
}

#[test]
fn retry_all_leaves_and_tells_what_cannot_be_a_lead() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill(&bridge, b"not json");
    kill_many(&bridge, 0..700);
    kill(&bridge, b"[1]");
    kill(&bridge, &letter("odd", "Ada", "HTTP 404"));
    let some = api.post("/dlq/retry-all?filter=error:404").ok();
    assert_eq!(some["retried_count"], 1);
    let all = api.post("/dlq/retry-all").ok();
    assert_eq!(
        (&all["success"], &all["retried_count"]),
        (&json!(true), &json!(700))
    );
    assert_eq!(all["kept"].as_array().map(Vec::len), Some(2));
    assert!(
        all["message"]
            .as_str()
            .is_some_and(|words| words.contains("2 cannot be a lead"))
    );
    assert_eq!((bridge.dead(), bridge.waiting()), (2, 701));
    assert_eq!(api.post("/dlq/retry-all").ok()["retried_count"], 0);
    api.post("/dlq/retry-all?filter=colour:red").problem(422);
    assert_eq!(bridge.stat("redriven"), 701);
}

#[test]
fn a_misspelt_parameter_changes_nothing_and_is_named() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill_many(&bridge, 0..3);
    for (method, path, says) in [
        (
            "POST",
            "/dlq/retry-all?filtr=name:x",
            "there is no parameter `filtr`; there is `filter`",
        ),
        (
            "DELETE",
            "/dlq/clear?filter=name:x",
            "there is no parameter `filter`, nor any other",
        ),
        (
            "POST",
            "/dlq/retry/0?expected=x",
            "there is no parameter `expected`; there is `expect`",
        ),
        (
            "POST",
            "/leads?dedup",
            "there is no parameter `dedup`; there is `dedupe`",
        ),
    ] {
        let answer = api.send(method, path, &[], b"");
        assert_eq!(answer.status, 422, "{path}: {}", answer.text());
        assert!(answer.text().contains(says), "{path}: {}", answer.text());
    }
    assert_eq!((bridge.dead(), bridge.waiting()), (3, 0));
}

#[test]
fn clear_throws_into_a_trash_that_it_names() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill_many(&bridge, 0..5);
    let answer = api.send("DELETE", "/dlq/clear", &[], b"").ok();
    assert_eq!(
        (&answer["success"], &answer["cleared"]),
        (&json!(true), &json!(5))
    );
    let trash = answer["trash"].as_str().expect("a trash");
    assert_eq!(bridge.dead(), 0);
    assert_eq!(
        bridge.redis::<u64>(&format!("LLEN failed_leads:trash:{trash}")),
        5
    );
    let left: u64 = bridge.redis(&format!("TTL failed_leads:trash:{trash}"));
    assert!(left > 86_000, "{left}");
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    assert_eq!(audit(&bridge), [format!("cleared api@{host} 5")]);
    let answer = api.send("DELETE", "/dlq/clear", &[], b"").ok();
    assert_eq!(
        (&answer["cleared"], &answer["trash"]),
        (&json!(0), &Value::Null)
    );
}

/// The calls as a script for the former API makes them.
const OLD_CLIENT: &str = r#"
import json, sys, urllib.error, urllib.request

def call(method, path):
    request = urllib.request.Request("http://" + sys.argv[1] + path, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)

page = call("GET", "/dlq/items?limit=10")
assert page["total"] == 3, page
for place, item in enumerate(page["items"]):
    assert item["index"] == place
    assert item["lead_data"]["name"] and item["error"] and item["failed_at"]
    assert isinstance(item["retry_count"], int)
assert call("GET", "/dlq/count") == {"count": 3}
assert len(call("GET", "/dlq?limit=100")["failed_leads"]) == 3
answer = call("POST", "/dlq/retry/0")
assert answer["success"] is True and answer["retried_count"] == 1 and answer["message"]
try:
    call("POST", "/dlq/retry/7")
    raise AssertionError("no error beyond the end")
except urllib.error.HTTPError as error:
    assert error.code == 404 and json.load(error)["detail"]
assert call("POST", "/dlq/retry-all")["retried_count"] == 2
assert call("DELETE", "/dlq/clear")["cleared"] == 0
print("well")
"#;

#[test]
fn a_client_of_the_former_api_works_unchanged() {
    let bridge = Bridge::start();
    let api = Api::start(&bridge);
    kill_many(&bridge, 0..3);
    let address = api.address.replace("127.0.0.1", "localhost");
    let python = Command::new("python3")
        .args(["-c", OLD_CLIENT, &address])
        .output();
    let output = python.expect("python3 is on the PATH");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && output.stdout == b"well\n",
        "{said}"
    );
    assert_eq!((bridge.dead(), bridge.waiting()), (0, 3));
}

#[test]
fn a_retry_whose_answer_is_lost_names_its_letter_and_invites_to_no_second_one() {
    let bridge = Bridge::start();
    kill_many(&bridge, 0..3);
    let port = bridge.redis.port();
    let proxy = Proxy::start(port, "", Arc::new(Scripts::new(None)));
    let api = Api::with(&bridge, &[], &[("REDIS_URL", &proxy.url())]);
    // With this one Redis learns the script.
    assert_eq!(api.post("/dlq/retry/0").status, 200);
    proxy.trap("take", Cut::After);
    let answer = api.post("/dlq/retry/0");
    assert!(!proxy.untrap(), "the answer was lost");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.headers.get("retry-after"), None);
    let problem = answer.json();
    assert_eq!(problem["id"], "t-1");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("POST /dlq/items/t-1/retry"), "{detail}");
    assert_eq!((bridge.waiting(), bridge.dead()), (2, 1));
    assert_eq!(api.post("/dlq/items/t-1/retry").status, 404);
    assert_eq!((bridge.waiting(), bridge.dead()), (2, 1));
}
