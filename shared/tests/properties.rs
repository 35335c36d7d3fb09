//! What holds for every input: codecs, sources, the filter, money, causes, and text for a terminal.

use std::io::BufReader;

use bridge_shared::cause::Cause;
use bridge_shared::clock::rfc3339;
use bridge_shared::envelope::{Attempt, Envelope, ErrorKind, HEAD, Opened, Origin};
use bridge_shared::event::{Event, EventBatch, EventKind};
use bridge_shared::filter::Filter;
use bridge_shared::lead::{Lead, clean_linkedin_url, is_object};
use bridge_shared::money::Money;
use bridge_shared::source::{Format, Item, Options, Source};
use bridge_shared::store::dead_letters::DeadLetter;
use bridge_shared::store::redact;
use bridge_shared::terminal::{harmless_json, is_harmful};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

/// Any JSON value, with numbers that fit into no machine's.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "-?[1-9][0-9]{0,30}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| quoted(&text)),
        "\"(\\\\u[dD][89a-fA-F][0-9a-f]{2}|[a-z ]){0,4}\"",
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            object_of(inner),
        ]
    })
}

fn object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = prop_oneof![
        "[a-z]{0,3}",
        any::<String>(),
        Just("envelope".to_owned()),
        Just("lead".to_owned())
    ];
    vec((name, value, "[ \n\t]{0,2}"), 0..4).prop_map(|fields| {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value, space)| format!("{space}{}:{space}{value}", quoted(name)))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

fn object() -> impl Strategy<Value = String> {
    object_of(json())
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

/// The bytes of a lead, good or bad.
fn payload() -> impl Strategy<Value = Bytes> {
    let bytes = prop_oneof![
        4 => object().prop_map(String::into_bytes),
        2 => json().prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..64),
        1 => (object(), 0..60_000_usize).prop_map(|(text, n)| [text.into_bytes(), vec![b' '; n]].concat()),
        1 => vec(any::<u8>(), 17_000..18_000),
    ];
    bytes.prop_map(Bytes::from)
}

fn kind() -> impl Strategy<Value = ErrorKind> {
    use ErrorKind::{Invalid, Panic, Permanent, Poison, Timeout, Transient, Unknown, WorkerLost};
    proptest::sample::select(vec![
        Invalid, Panic, Permanent, Poison, Timeout, Transient, Unknown, WorkerLost,
    ])
}

prop_compose! {
    fn attempt()(
        at in 0_i64..4_000_000_000_000, station in ".{0,8}", error in any::<String>(),
        kind in kind(), ms in any::<u64>(), worker in ".{0,8}",
    ) -> Attempt {
        Attempt { at: rfc3339(at), station, error, kind, ms, worker }
    }
}

prop_compose! {
    fn envelope()(
        id in ".{1,20}", lead in payload(), error in any::<String>(), error_kind in kind(),
        counts in any::<(u32, u32, u32, u64)>(), failed_at in option::of(0_i64..4_000_000_000_000),
        station in ".{0,8}", worker in ".{0,8}", attempts in vec(attempt(), 0..4),
    ) -> Envelope {
        let mut envelope = Envelope::new(id, lead, failed_at);
        (envelope.error, envelope.error_kind) = (error, error_kind);
        (envelope.retry_count, envelope.deaths, envelope.redrives, _) = counts;
        (envelope.spent, envelope.failed_at) = (Money::from_micros(counts.3), failed_at);
        (envelope.station, envelope.worker, envelope.attempts) = (station, worker, attempts);
        envelope
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lead_comes_out_as_it_went_in(text in object()) {
        let lead = Lead::parse(text.as_bytes());
        prop_assert_eq!(is_object(text.as_bytes()), true);
        if let Ok(lead) = lead {
            let once = lead.to_json();
            let again = Lead::parse(&once).expect("its own text").to_json();
            prop_assert_eq!(&once, &again);
            for name in lead.names() {
                let value = lead.get(name).expect("named");
                prop_assert!(text.contains(value), "{} was re-encoded", value);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_lead_or_a_reason(bytes in vec(any::<u8>(), 0..200)) {
        match Lead::parse(&bytes) {
            Ok(_) => prop_assert!(is_object(&bytes)),
            Err(error) => prop_assert!(error.to_string().starts_with("not ")),
        }
    }

    #[test]
    fn a_url_has_one_clean_form(text in "(https?://)?([a-z]{2,3}\\.)?linkedin\\.com/(in|sales/lead|x)/\\PC{0,20}") {
        if let Some(clean) = clean_linkedin_url(&text) {
            prop_assert_eq!(clean_linkedin_url(&clean), Some(clean));
        }
    }

    #[test]
    fn an_envelope_survives_the_wire_with_the_leads_very_bytes(envelope in envelope()) {
        let bytes = envelope.encode();
        prop_assert_eq!(Envelope::from_payload(&bytes), Some(envelope.clone()));
        let (read, origin) = Envelope::from_dead_letter(&bytes);
        prop_assert_eq!((&read, origin), (&envelope, Origin::Envelope));
    }

    #[test]
    fn another_languages_order_spaces_and_fields_change_nothing(envelope in envelope(), more in json()) {
        let bytes = envelope.encode();
        if let Ok(Value::Object(fields)) = serde_json::from_slice(&bytes) {
            let mut text = format!("{{ \"envelope\" : 1 , \"of a newer one\": {more}");
            for (name, value) in fields.iter().filter(|(name, _)| *name != "envelope").rev() {
                text += &[",\n", &quoted(name), " : ", &value.to_string()].concat();
            }
            text.push('}');
            let read = Envelope::from_payload(&Bytes::from(text));
            let lead = read.as_ref().map(|read| serde_json::from_slice::<Value>(&read.lead).ok());
            prop_assert_eq!(lead, Some(serde_json::from_slice(&envelope.lead).ok()));
            let read = Envelope { lead: envelope.lead.clone(), ..read.expect("read") };
            prop_assert_eq!(read, envelope);
        }
    }

    #[test]
    fn the_beginning_of_a_large_entry_tells_what_all_of_it_tells(mut envelope in envelope(), size in HEAD..3 * HEAD, json in any::<bool>()) {
        envelope.attempts.truncate(2);
        envelope.lead = if json {
            Bytes::from(format!("{{\"x\":\"{}\"}}", "x".repeat(size)))
        } else {
            Bytes::from(vec![0xfe; size])
        };
        let bytes = envelope.encode();
        let opened = Opened::new(&bytes.slice(..HEAD), bytes.len() as u64);
        prop_assert!(envelope.lead.starts_with(&opened.envelope.lead));
        prop_assert_eq!(opened.origin, Origin::Envelope);
        prop_assert_eq!(opened.lead_bytes(), (!json).then_some(size as u64));
        let same = Envelope { lead: envelope.lead.clone(), ..opened.envelope.clone() };
        prop_assert_eq!(&same, &envelope);

        // Put back to work by its beginning, it is what it would be as a whole.
        let (head, replaces) = opened.redriven();
        let replaces = usize::try_from(replaces).expect("small");
        let put = Bytes::from([&head[..], &bytes[replaces..]].concat());
        prop_assert_eq!(put, envelope.redriven(Origin::Envelope, String::new));
    }

    #[test]
    fn any_entry_is_a_dead_letter_that_can_go_back(bytes in prop_oneof![payload(), forged()]) {
        let (read, origin) = Envelope::from_dead_letter(&bytes);
        prop_assert!(!read.id.is_empty());
        let lead = read.lead.clone();
        let put = read.redriven(origin, || "fresh".into());
        let back = Envelope::from_payload(&put).map_or(put, |envelope| envelope.lead);
        if origin == Origin::Bare {
            prop_assert_eq!(&back, &bytes);
        }
        prop_assert_eq!(back, lead);
        let _ = Opened::new(&bytes, bytes.len() as u64 + 100_000).redriven();
    }

    #[test]
    fn events_survive_the_wire(worker in ".{0,8}", db in 0..16_i64, events in vec(event(), 0..4), more in json()) {
        let batch = EventBatch::new(worker, db, events);
        let bytes = batch.encode();
        prop_assert_eq!(&EventBatch::decode(&bytes).expect("its own"), &batch);
        let text = String::from_utf8(bytes).expect("JSON");
        let newer = format!("{{\"newer\":{more},{}", &text[1..]);
        if let Ok(read) = EventBatch::decode(newer.as_bytes()) {
            prop_assert_eq!(read, batch);
        }
    }

    #[test]
    fn any_bytes_are_events_or_a_reason(bytes in vec(any::<u8>(), 0..200)) {
        let _ = EventBatch::decode(&bytes);
    }

    #[test]
    fn lines_and_arrays_give_the_same_leads_however_they_arrive(leads in vec(object(), 1..6), chunk in 1..40_usize) {
        let one_line: Vec<String> = leads.iter().map(|lead| lead.replace('\n', " ")).collect();
        let lines = format!("{}\n", one_line.join("\n"));
        let array = format!("[{}]", leads.join(" ,\n"));
        prop_assert_eq!(good(&read(lines.as_bytes(), Format::Jsonl, chunk)), one_line);
        prop_assert_eq!(good(&read(array.as_bytes(), Format::Json, chunk)), leads);
    }

    #[test]
    fn any_file_is_read_to_its_end_and_the_same_in_any_pieces(
        bytes in prop_oneof![vec(any::<u8>(), 0..300), "(\"|,|;|\t|\r|\n|name|[a-z\\[\\]{}:]){0,80}".prop_map(String::into_bytes)],
        chunk in 1..20_usize,
    ) {
        for format in [Format::Jsonl, Format::Json, Format::Csv, Format::Tsv] {
            let whole = read(&bytes, format, 4_096);
            prop_assert_eq!(&whole, &read(&bytes, format, chunk));
            for item in whole {
                prop_assert!(item.line >= 1);
                if let Ok(lead) = item.result {
                    prop_assert!(is_object(&lead));
                }
            }
        }
    }

    #[test]
    fn a_table_gives_back_its_cells(rows in vec((cell(), cell(), cell()), 1..6), tabs in any::<bool>(), chunk in 1..20_usize) {
        let (between, format) = if tabs { ("\t", Format::Tsv) } else { (",", Format::Csv) };
        let mut text = ["name", "company", "notes"].join(between);
        for (a, b, c) in &rows {
            let cells = [a, b, c].map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
            text += "\r\n";
            text += &cells.join(between);
        }
        let items = read(text.as_bytes(), format, chunk);
        let leads: Vec<Lead> = items.iter().map(|item| Lead::parse(item.result.as_ref().expect("a lead")).expect("JSON")).collect();
        let filled: Vec<_> = rows.iter().filter(|(a, b, c)| [a, b, c].iter().any(|cell| !cell.trim().is_empty())).collect();
        prop_assert_eq!(leads.len(), filled.len());
        for (lead, (a, b, _)) in leads.iter().zip(filled) {
            let text = |cell: &str| (!cell.trim().is_empty()).then(|| cell.trim().to_owned());
            prop_assert_eq!(lead.text("name"), text(a));
            prop_assert_eq!(lead.text("company"), text(b));
        }
    }

    #[test]
    fn any_text_is_a_filter_or_a_reason(text in "(!|\"|:|>|<|=|age|attempts|kind|error|1h|[a-z0-9]| |\\PC){0,30}", envelope in envelope()) {
        let letter = DeadLetter::new(0, 1, envelope.encode());
        match Filter::parse(&text) {
            Ok(filter) => {
                let matches = filter.matches(&letter, 1);
                prop_assert!(matches || !filter.is_empty());
                // Twice the same says no more, and spaces around it say nothing.
                let twice = Filter::parse(&format!("  {text} {text}\t")).expect("the same");
                prop_assert_eq!(twice.matches(&letter, 1), matches);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_filter_agrees_with_what_it_says(envelope in envelope(), word in "[^\"]{0,6}", from in 0..40_usize, n in 0..5_i64) {
        let letter = DeadLetter::new(0, 1, envelope.encode());
        let says = |filter: &str| Filter::parse(filter).expect("a filter").matches(&letter, 10_000);
        // Any part of a field is found in it, and a term turned round says the opposite.
        let part: String = envelope.error.chars().skip(from).take(5).filter(|c| *c != '"').collect();
        if envelope.error.contains(&part) {
            let filter = format!("error:\"{part}\"");
            prop_assert!(says(&filter));
        }
        let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
        for (field, value) in [("error", &envelope.error), ("station", &envelope.station), ("worker", &envelope.worker), ("id", &envelope.id)] {
            let expected = lower(value).contains(&lower(&word));
            prop_assert_eq!(says(&format!("{field}:\"{word}\"")), expected);
            prop_assert_eq!(says(&format!("!{field}:\"{word}\"")), !expected);
        }
        let tries = i64::try_from(envelope.attempts.len()).expect("few");
        for (sign, expected) in [("<", tries < n), ("<=", tries <= n), ("", tries == n), (">=", tries >= n), (">", tries > n)] {
            prop_assert_eq!(says(&format!("attempts:{sign}{n}")), expected);
        }
        let filter = format!("kind:{} cause:{}", envelope.error_kind.as_str(), Cause::of(&envelope).id);
        prop_assert!(says(&filter));
    }

    #[test]
    fn money_is_exact_or_refused(micros in 0..1_000_000_000_000_000_u64, dollars in any::<f64>()) {
        let money = Money::from_micros(micros);
        prop_assert_eq!(Money::from_dollars(money.dollars()), Some(money));
        let shown = money.to_string();
        let (whole, part) = shown.strip_prefix('$').and_then(|shown| shown.split_once('.')).expect("$1.00");
        let read: u64 = format!("{whole}{part:0<6}").parse().expect("digits");
        prop_assert_eq!(read, micros);
        prop_assert_eq!(serde_json::from_str::<Money>(&serde_json::to_string(&money).expect("JSON")).expect("money"), money);
        if let Some(money) = Money::from_dollars(dollars) {
            prop_assert!((money.dollars() - dollars).abs() <= dollars * 1e-9);
        }
    }

    #[test]
    fn a_cause_is_stable_bounded_and_knows_no_numbers(error in any::<String>(), words in "[a-z ]{0,30}", a in any::<u32>(), b in any::<u32>()) {
        let cause = |error: &str| {
            let mut envelope = Envelope::new("x", Bytes::new(), None);
            error.clone_into(&mut envelope.error);
            Cause::of(&envelope)
        };
        let one = cause(&error);
        prop_assert_eq!(&one, &cause(&error));
        prop_assert_eq!(one.id.len(), 8);
        prop_assert!(!one.text.is_empty());
        prop_assert!(cause(&error.repeat(1_000)).text.len() <= 4_096);
        prop_assert_eq!(cause(&format!("{words} {a} {words}")), cause(&format!("{words} {b} {words}")));
    }

    #[test]
    fn nothing_of_a_password_is_shown_whatever_is_in_it(
        scheme in "(rediss?(\\+sentinel|\\+cluster)?://)?",
        password in "([A-Z@:/?#&=%;+, ]|pass=|\\?pass=|&sentinel_password=){1,12}",
        query in "(\\?sentinel_password=[A-Z@:/?#%;+]{1,9})?",
    ) {
        let shown = redact(&format!("{scheme}ada:{password}@host:6379/0{query}"));
        let letter = shown.chars().find(char::is_ascii_uppercase);
        prop_assert_eq!(letter, None, "{}", &shown);
        prop_assert_eq!(redact(&shown), shown);
    }

    #[test]
    fn json_for_a_terminal_gives_it_no_orders_and_says_the_same(text in json()) {
        let shown = harmless_json(text.replace('\t', " "));
        prop_assert!(!shown.chars().any(|c| is_harmful(c) && c != '\n'), "{:?}", shown);
        let same = |text: &str| serde_json::from_str::<Value>(text).ok();
        prop_assert_eq!(same(&shown), same(&text));
    }
}

fn event() -> impl Strategy<Value = Event> {
    (
        any::<i64>(),
        ".{0,8}",
        option::of(".{0,8}"),
        option::of(any::<String>()),
        any::<(Option<u32>, Option<u64>)>(),
    )
        .prop_map(|(at, lead, station, error, (retry, ms))| Event {
            station,
            error,
            retry,
            ms,
            ..Event::new(at, EventKind::Station, lead)
        })
}

/// What looks like an envelope and may be none.
fn forged() -> impl Strategy<Value = Bytes> {
    let field = prop_oneof![
        Just("envelope"),
        Just("id"),
        Just("lead"),
        Just("lead_base64"),
        Just("lead_bytes"),
        Just("error"),
        Just("retry_count"),
        Just("failed_at"),
        Just("attempts"),
        Just("spent"),
        Just("redrives"),
    ];
    let value = prop_oneof![
        json(),
        Just("1".to_owned()),
        Just("\"x\"".to_owned()),
        Just("{\"a\":1}".to_owned()),
        Just("4294967295".to_owned()),
        Just("[{}]".to_owned()),
        Just("\"AAAA\"".to_owned()),
    ];
    (vec((field, value), 0..8), "\n?[ -~]{0,9}").prop_map(|(fields, tail)| {
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!(",\"{name}\":{value}"))
            .collect();
        Bytes::from(format!("{{\"envelope\":1{fields}}}{tail}"))
    })
}

/// A cell of a table, without the ends of lines: a quote that is astray may not reach over them.
fn cell() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ,;\"\t'{}\\[\\]äß漢]{0,12}"
}

fn read(bytes: &[u8], format: Format, chunk: usize) -> Vec<Item> {
    let options = Options {
        format: Some(format),
        limit: 10_000,
    };
    Source::new(BufReader::with_capacity(chunk, bytes), "leads", &options).collect()
}

fn good(items: &[Item]) -> Vec<String> {
    let text =
        |item: &Item| String::from_utf8_lossy(item.result.as_ref().expect("a lead")).into_owned();
    items.iter().map(text).collect()
}
