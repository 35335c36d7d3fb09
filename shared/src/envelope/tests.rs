//! What envelopes keep, and what is read of other writers.

use super::attempt::LEFT_OUT;
use super::*;

fn attempt() -> Attempt {
    Attempt {
        at: "2026-01-15T10:30:00Z".into(),
        station: "enrich".into(),
        error: "HTTP 503".into(),
        kind: ErrorKind::Transient,
        ms: 12,
        worker: "host-1-abc".into(),
    }
}

fn round_trip(lead: &'static [u8]) -> serde_json::Value {
    let mut envelope = Envelope::new("tok-7", Bytes::from_static(lead), Some(1_000));
    envelope.retry_count = 2;
    envelope.fail(2_000, attempt());
    let bytes = envelope.encode();
    assert!(looks_like_envelope(&bytes));
    assert_eq!(
        Envelope::from_payload(&bytes).expect("its own envelope"),
        envelope
    );
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn the_leads_bytes_come_back_exactly_whatever_they_are() {
    let seen = round_trip(br#"{"name":"Ada",  "n":1.00}"#);
    assert_eq!(seen["lead"]["name"], "Ada");
    assert!(seen.get("lead_base64").is_none());
    assert_eq!(round_trip(b"  {\"a\":1}\n")["lead"]["a"], 1);
    assert_eq!(round_trip(b"not json")["lead"], "not json");
    assert!(round_trip(b"\xff\x00\xfe")["lead_base64"].is_string());
    assert_eq!(round_trip(b"")["lead"], "");
    assert_eq!(round_trip(b"null")["lead"], serde_json::Value::Null);
}

#[test]
fn readers_of_the_dead_letter_queue_find_their_fields() {
    let seen = round_trip(b"{}");
    assert_eq!(seen["error"], "HTTP 503");
    assert_eq!(seen["retry_count"], 2);
    assert_eq!(seen["failed_at"], "1970-01-01T00:00:02Z");
    assert_eq!(seen["error_kind"], "transient");
    assert_eq!(seen["attempts"][0]["station"], "enrich");
}

#[test]
fn a_lead_is_not_mistaken_for_an_envelope() {
    for bytes in [
        &b"{\"name\":\"envelope\"}"[..],
        b"{\"envelope\":true}",
        b"{\"envelope\":0,\"id\":\"a\",\"lead\":{}}",
        b"{\"envelope\":1,\"id\":\"\",\"lead\":{}}",
        b"{\"envelope\":1,\"id\":\"a\"}",
        b"{\"envelope\":9,\"id\":\"a\",\"lead\":{}}",
        b"{\"envelope\":1,\"id\":\"a\",\"lead_base64\":\"*\"}",
        b"",
        b"{",
    ] {
        assert_eq!(Envelope::from_payload(&Bytes::from_static(bytes)), None);
    }
    let newer = b"{\"envelope\":9,\"id\":\"a\",\"x\":[]}";
    assert_eq!(Envelope::newer_version(newer), Some(9));
    assert_eq!(Envelope::newer_version(b"{\"envelope\":1}"), None);
    assert_eq!(Envelope::newer_version(b"{\"x\":{\"envelope\":9}}"), None);
    let spaced = Bytes::from_static(b" { \"envelope\" : 1, \"id\":\"a\", \"lead\": {\"b\": 1} }");
    let envelope = Envelope::from_payload(&spaced).expect("re-encoded by another language");
    assert_eq!(&envelope.lead[..], b"{\"b\": 1}");
}

#[test]
fn an_envelope_of_a_newer_version_goes_into_the_queue_of_the_dead_and_back_whole() {
    let newer = Bytes::from_static(br#"{"envelope":2,"id":"a", "lead":{"n":1},"more":[1]}"#);
    assert_eq!(Envelope::newer_version(&newer), Some(2));
    let mut dead = Envelope::new("tok-7", newer.clone(), None);
    dead.fail(2_000, attempt());
    let (read, origin) = Envelope::from_dead_letter(&dead.encode());
    assert_eq!(read.redriven(origin, || unreachable!()), newer);
    for other in [
        &br#"{"envelope":1,"id":"a","lead":{}}"#[..],
        br#"{"envelope":2,"id":""}"#,
        br#"{"envelope":"2","id":"a"}"#,
        br#"{"id":"a","envelope":2}"#,
        br#"{"envelope":2,"id":"a","#,
    ] {
        assert_eq!(Envelope::newer_version(other), None);
    }
}

#[test]
fn old_entries_are_understood_as_their_readers_do() {
    let old = Bytes::from_static(
        br#"{"lead":{"name":"Ada"},"error":"boom","retry_count":3,"failed_at":"2026-01-15T10:30:00Z"}"#,
    );
    let (envelope, origin) = Envelope::from_dead_letter(&old);
    assert_eq!(origin, Origin::Legacy);
    assert_eq!(&envelope.lead[..], br#"{"name":"Ada"}"#);
    assert_eq!((envelope.error.as_str(), envelope.retry_count), ("boom", 3));
    assert_eq!(envelope.failed_at, Some(1_768_473_000_000));

    let back = envelope.redriven(origin, || "fresh-1".into());
    let back = Envelope::from_payload(&back).expect("an envelope");
    assert_eq!(
        (back.id.as_str(), back.redrives, back.retry_count),
        ("fresh-1", 1, 0)
    );
    assert_eq!(back.attempts[0].error, "boom");

    // Of types that nobody expects there: nothing is known, and nothing is made up.
    let odd = br#"{"lead":{"name":"Ada"},"error":{},"retry_count":"three","failed_at":7}"#;
    let (envelope, origin) = Envelope::from_dead_letter(&Bytes::from_static(odd));
    assert_eq!(
        (origin, envelope.error.as_str(), envelope.retry_count),
        (Origin::Legacy, "", 0)
    );
    let back = envelope.redriven(origin, || "fresh-2".into());
    let back = Envelope::from_payload(&back).expect("an envelope");
    assert_eq!(back.attempts, []);

    for bare in [
        &br#"{"name":"Ada"}"#[..],
        b"rubbish",
        br#"{"lead":null,"name":"x"}"#,
        b"[1]",
    ] {
        let bare = Bytes::from_static(bare);
        let (envelope, origin) = Envelope::from_dead_letter(&bare);
        assert_eq!(origin, Origin::Bare);
        assert_eq!(envelope.lead, bare);
        assert!(envelope.id.starts_with("raw-"));
        assert_eq!(envelope.redriven(origin, || unreachable!()), bare);
    }
    let odd = Bytes::from_static(br#"{"lead":{"a":1},"error":{"x":1},"retry_count":"two"}"#);
    let (envelope, _) = Envelope::from_dead_letter(&odd);
    assert_eq!((envelope.error.as_str(), envelope.retry_count), ("", 0));
}

/// An envelope with a long history, and a lead that stands behind it.
fn long_history(lead: Bytes) -> Envelope {
    let mut envelope = Envelope::new("tok-7", lead, Some(1_000));
    for _ in 0..1_000 {
        envelope.fail(2_000, attempt());
    }
    envelope
}

#[test]
fn a_long_history_never_hides_the_lead_behind_it() {
    let large = Bytes::from(format!("{{\"x\":\"{}\"}}", "x".repeat(2 << 20)));
    let small = Bytes::from_static(b"{\"x\":1}");
    for lead in [large, small, Bytes::from(vec![0xfe; 20_000])] {
        let envelope = long_history(lead.clone());
        let bytes = envelope.encode();
        let read = Envelope::from_payload(&bytes).expect("its own envelope");
        assert_eq!((&read.id, &read.lead), (&envelope.id, &lead));
        let head = bytes.slice(..bytes.len().min(HEAD));
        let opened = Opened::new(&head, bytes.len() as u64);
        assert_eq!(opened.envelope.id, "tok-7");
        assert_eq!(opened.envelope.attempts, read.attempts);

        // Every attempt is there or counted, the oldest and the newest as they were.
        let counted: u64 = read.attempts.iter().map(Attempt::stands_for).sum();
        assert_eq!(counted, 1_000);
        assert!(read.attempts.len() > 300, "{}", read.attempts.len());
        assert_eq!(read.attempts.first(), Some(&attempt()));
        assert_eq!(read.attempts.last(), Some(&attempt()));

        // And so after one more.
        let mut again = read;
        again.fail(3_000, attempt());
        let again = Envelope::from_payload(&again.encode()).expect("its own envelope");
        let counted: u64 = again.attempts.iter().map(Attempt::stands_for).sum();
        assert_eq!(counted, 1_001);
        let markers = again.attempts.iter().filter(|one| one.stands_for() > 1);
        assert_eq!(markers.count(), 1);
    }
}

#[test]
fn a_long_error_is_cut_where_it_would_hide_the_lead() {
    let mut envelope = Envelope::new("tok-7", Bytes::from(vec![0xfe; 20_000]), None);
    let error = "\u{1}é".repeat(60_000);
    envelope.fail(
        2_000,
        Attempt {
            error: error.clone(),
            ..attempt()
        },
    );
    let bytes = envelope.encode();
    let opened = Opened::new(&bytes.slice(..HEAD.min(bytes.len())), bytes.len() as u64);
    let read = opened.envelope;
    assert_eq!((read.id.as_str(), read.attempts.len()), ("tok-7", 1));
    assert!(
        read.error.ends_with("(180000 bytes in all)"),
        "{}",
        read.error
    );
    assert!(error.starts_with(read.error.split('…').next().expect("a part")));
    assert_eq!(read.error, read.attempts[0].error);
}

#[test]
fn a_head_that_others_made_too_long_is_read_where_all_of_it_is_there() {
    let lead = vec![0xfe; 20_000];
    let head = format!(
        "{{\"envelope\":1,\"id\":\"a\",\"error\":\"{}\",\"lead_bytes\":20000}}\n",
        "e".repeat(HEAD)
    );
    let bytes = Bytes::from([head.as_bytes(), &lead].concat());
    let read = Envelope::from_payload(&bytes).expect("an envelope");
    assert_eq!((read.id.as_str(), &read.lead[..]), ("a", &lead[..]));
}

#[test]
fn a_lead_of_blanks_behind_its_envelope_is_that_lead() {
    let mut envelope = Envelope::new("tok-7", Bytes::from(vec![b' '; 20_000]), None);
    envelope.fail(2_000, attempt());
    let read = Envelope::from_payload(&envelope.encode());
    assert_eq!(read, Some(envelope));
}

#[test]
fn a_count_that_others_made_too_large_does_not_overflow() {
    let mut envelope = long_history(Bytes::from_static(b"{}"));
    envelope.attempts[ATTEMPTS / 2].error = format!("{}{LEFT_OUT}", u64::MAX);
    envelope.fail(2_000, attempt());
    assert_eq!(envelope.attempts[ATTEMPTS / 2].stands_for(), u64::MAX);
}

#[test]
fn a_newer_envelope_with_its_lead_behind_it_comes_back_whole_too() {
    let head = br#"{"envelope":2,"id":"a","lead_bytes":300000}"#;
    let newer = Bytes::from([&head[..], b"\n", &vec![0xfe; 300_000]].concat());
    let inside = format!(
        r#"{{"envelope":2,"id":"a","lead":"{}"}}"#,
        "x".repeat(300_000)
    );
    for newer in [newer, Bytes::from(inside)] {
        assert_eq!(Envelope::newer_version(&newer), Some(2));
        let mut dead = Envelope::new("tok-7", newer.clone(), None);
        dead.fail(2_000, attempt());
        let (read, origin) = Envelope::from_dead_letter(&dead.encode());
        assert_eq!(read.redriven(origin, || unreachable!()), newer);

        // Also where only its beginning was ever at hand.
        let bare = Opened::certain(&newer.slice(..HEAD), newer.len() as u64);
        let (head, replaces) = bare.with(&dead);
        assert_eq!(replaces, 0);
        let entry = Bytes::from([&head[..], &newer[..]].concat());
        let opened = Opened::certain(&entry.slice(..HEAD), entry.len() as u64);
        let (put, replaces) = opened.redriven();
        let replaces = usize::try_from(replaces).expect("small");
        assert_eq!([&put[..], &entry[replaces..]].concat(), newer);
    }
}
