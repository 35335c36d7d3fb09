use std::fmt::Write as _;
use std::io::{BufReader, Read};

use super::*;

/// Reads a file both at once and byte by byte, which must come to the same.
fn read_with(file: &[u8], name: &str, options: &Options) -> Vec<(u64, Result<String, String>)> {
    let shown = |source: Vec<Item>| -> Vec<_> {
        source
            .into_iter()
            .map(|item| {
                let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                (item.line, item.result.map(text).map_err(|e| e.to_string()))
            })
            .collect()
    };
    let whole = shown(Source::new(file, name, options).collect());
    let slow = BufReader::with_capacity(1, file);
    assert_eq!(whole, shown(Source::new(slow, name, options).collect()));
    whole
}

fn read(file: impl AsRef<[u8]>, name: &str) -> Vec<(u64, Result<String, String>)> {
    read_with(file.as_ref(), name, &Options::default())
}

/// The file in short: a lead as it is, an error up to its first punctuation.
fn brief(file: impl AsRef<[u8]>, name: &str) -> Vec<String> {
    read(file, name)
        .into_iter()
        .map(|(line, result)| match result {
            Ok(lead) => format!("{line} {lead}"),
            Err(error) => format!("{line} ! {}", error.split([';', ':', '?']).next().unwrap()),
        })
        .collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_line_is_a_lead_byte_for_byte() {
    let file = "\u{feff}  {\"name\": \"Ada\",  \"n\":1.00}\t\r\n\r\n{}\n \n{\"z\":\"\\u00e9é\"}";
    assert_eq!(
        brief(file, "a.jsonl"),
        [
            "1 {\"name\": \"Ada\",  \"n\":1.00}",
            "3 {}",
            "5 {\"z\":\"\\u00e9é\"}"
        ]
    );
}

#[test]
fn bad_lines_are_told_apart_and_end_nothing() {
    let file = b"[1]\n\"x\"\nnull\n{\"a\":\n{\"a\":1}}\n{\"a\":\"\xff\"}\n{\"a\":\"\0\"}\n\0\0\nrubbish\n{\"a\":1}";
    assert_eq!(
        brief(file, "a.jsonl"),
        [
            "1 ! not a JSON object but a list",
            "2 ! not a JSON object but a text",
            "3 ! not a JSON object but null",
            "4 ! not JSON",
            "5 ! not JSON",
            "6 ! not UTF-8 from byte 7 on",
            "7 ! not JSON",
            "8 ! not JSON",
            "9 ! not JSON",
            "10 {\"a\":1}",
        ]
    );
    let (_, why) = &read("{\"a\":x}", "a.jsonl")[0];
    assert_eq!(
        why.as_ref().unwrap_err(),
        "not JSON: a value is missing there, or the double quotes around a text (byte 6)"
    );
}

#[test]
fn deep_nesting_is_valid() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(read(&deep, "a.jsonl"), [(1, Ok(deep.clone()))]);
    assert_eq!(read(format!("[{deep}]"), "a.json"), [(1, Ok(deep))]);
}

#[test]
fn nothing_comes_of_nothing() {
    for name in ["a.jsonl", "a.json", "a.csv", "a.tsv", "-"] {
        for file in ["", "\n", " \r\n \t\n", "\u{feff}", "\u{feff}\n\n"] {
            assert_eq!(brief(file, name), NOTHING, "{name} {file:?}");
        }
    }
    assert_eq!(brief("[]", "-"), NOTHING);
    assert_eq!(brief(" [ \n ] \n", "a.json"), NOTHING);
    assert_eq!(brief("name,title\r\n", "a.csv"), NOTHING);
}

#[test]
fn what_is_too_long_is_skipped() {
    let options = Options {
        limit: 40,
        ..Options::default()
    };
    let lines = |file: &str, name: &str| -> Vec<String> {
        read_with(file.as_bytes(), name, &options)
            .into_iter()
            .map(|(line, result)| format!("{line} {}", result.unwrap_or_else(|error| error)))
            .collect()
    };
    let long = "x".repeat(20_000);
    let told = "longer than 40 bytes, so it is left out";
    let exact = format!("{{\"a\":\"{}\"}}", "y".repeat(32));
    assert_eq!(exact.len(), 40);
    let file = format!("{{\"a\":\"{long}\"}}\n{exact}\n{exact} \n{{}}\n{long}");
    let expected = [
        format!("1 {told}"),
        format!("2 {exact}"),
        format!("3 {told}"),
        "4 {}".into(),
        format!("5 {told}"),
    ];
    assert_eq!(lines(&file, "a.jsonl"), expected);

    let file = format!("[\n{{\"a\":\"{long}\",\"b\":[1]}},\n{exact},\n{{}}, \"{long}\"]");
    let expected = [
        format!("2 {told}"),
        format!("3 {exact}"),
        "4 {}".into(),
        format!("4 {told}"),
    ];
    assert_eq!(lines(&file, "a.json"), expected);

    let options = Options {
        limit: 4_200,
        ..Options::default()
    };
    let file = format!("name,x\nAda,\"{long}\"\nBob,y\n{}Eve,z", ",".repeat(9_000));
    let seen = read_with(file.as_bytes(), "a.csv", &options);
    let told = Err("longer than 4200 bytes, so it is left out".into());
    assert_eq!(seen[0], (2, told.clone()));
    assert_eq!(seen[1].0, 3);
    assert!(seen[1].1.as_ref().unwrap().contains("Bob"));
    assert_eq!(seen[2], (4, told));
    assert_eq!(seen.len(), 3);
}

#[test]
fn an_array_is_taken_apart_element_by_element() {
    let file = "\u{feff}\n [ {\"a\":\"],}{[\\\"\\\\\"} ,\n\n{\"b\": [[1,2],{\"c\":[]}],\n\"d\":\"\\u005d\"}\n,{}]\n\n";
    assert_eq!(
        brief(file, "-"),
        [
            "2 {\"a\":\"],}{[\\\"\\\\\"}",
            "4 {\"b\": [[1,2],{\"c\":[]}],\n\"d\":\"\\u005d\"}",
            "6 {}",
        ]
    );
}

#[test]
fn bad_elements_end_nothing() {
    let file = b"[1, [2,3], \"x,]\", {bad}, ,{\"a\":1},\n{\"a\":\"\xfe\"}, {} {}, {\"b\":2},]";
    assert_eq!(
        brief(file, "a.json"),
        [
            "1 ! not a JSON object but a number",
            "1 ! not a JSON object but a list",
            "1 ! not a JSON object but a text",
            "1 ! not JSON",
            "1 ! not JSON",
            "1 {\"a\":1}",
            "2 ! not UTF-8 from byte 7 on",
            "2 ! not JSON",
            "2 {\"b\":2}",
            "2 ! not JSON",
        ]
    );
    // A missing quote costs the element it is missing from, not the file.
    let file = "[\n{\n\"a\": \"x,\n\"b\": \"y\"\n},\n{\"c\": 1}\n]";
    assert_eq!(brief(file, "a.json"), ["2 ! not JSON", "6 {\"c\": 1}"]);
    let (_, why) = &read("[\n{\n\"a\": 1\n\"b\": 2}]", "a.json")[0];
    assert_eq!(
        why.as_ref().unwrap_err(),
        "not JSON: the object goes on without a comma, or its } is missing (line 4, byte 1)"
    );
}

#[test]
fn an_element_of_an_array_is_known_by_its_number() {
    let numbers = |file: &'static [u8], name: &str| -> Vec<Option<u64>> {
        Source::new(file, name, &Options::default())
            .map(|item| item.element)
            .collect()
    };
    let file = b"[{},3,,{bad},{}{},\n{}] x";
    let all: Vec<_> = (1..=6).map(Some).chain([None]).collect();
    assert_eq!(numbers(file, "a.json"), all);
    assert_eq!(numbers(b"{}\n3\n", "a.jsonl"), [None, None]);
    assert_eq!(numbers(b"{\n}{}", "a.json"), [None, None]);
}

#[test]
fn a_truncated_array_says_so() {
    let end = "! it ends in the middle of the array";
    for file in [
        "[{\"a\":1},\n{\"b\":",
        "[{\"a\":1},\n",
        "[{\"a\":1}\n",
        "[{\"a\":1},\n{\"b\":\"]",
    ] {
        assert_eq!(
            brief(file, "-"),
            ["1 {\"a\":1}".into(), format!("2 {end}")],
            "{file}"
        );
    }
    assert_eq!(brief("[", "-"), [format!("1 {end}")]);
    assert_eq!(
        brief("[{}]\n[{}]", "-"),
        [
            "1 {}",
            "2 ! there is more after the end of the array, which is not read"
        ]
    );
}

#[test]
fn objects_over_several_lines_follow_one_another() {
    let file = "{\n \"a\": \"}\"\n}\n{\n \"b\": {}\n}{\"c\":1}\n  \nrubbish\n{}";
    let expected = [
        "1 {\n \"a\": \"}\"\n}",
        "4 {\n \"b\": {}\n}",
        "6 {\"c\":1}",
        "8 ! not JSON",
        "9 {}",
    ];
    assert_eq!(brief(file, "-"), expected);
    assert_eq!(brief(file, "a.json"), expected);
    assert_eq!(brief("{\"a\":1}\n{bad\n{\"b\":1}", "a.json").len(), 3);
}

#[test]
fn csv_becomes_leads() {
    let file = "\u{feff}First Name,Last Name,Profile Url,Notes\r\n\
        Ada,\"O\"\"Neil, Jr\",https://www.linkedin.com/in/ada-1,\"two\r\nlines\"\r\n\
        \r\n\
        , , ,\r\n\
        Zoë,,,\u{0}";
    let source = r#""sourceDetails":{"source":"a.csv"}"#;
    assert_eq!(
        brief(file, "a.csv"),
        [
            format!(
                r#"2 {{"linkedinUrl":"https://www.linkedin.com/in/ada-1","firstName":"Ada","lastName":"O\"Neil, Jr","platform":"linkedin",{source},"Notes":"two\r\nlines"}}"#
            ),
            format!(r#"6 {{"firstName":"Zoë",{source},"Notes":"\u0000"}}"#),
        ]
    );
}

#[test]
fn a_bad_record_is_told_with_the_line_it_begins_at() {
    let file = b"name,title\nAda\n\"B\no\nb\",x\nEve,\xe9\nDan,a,b\nFay,y\n";
    assert_eq!(
        brief(file, "a.csv"),
        [
            "2 ! 1 field where the header has 2".to_owned(),
            "3 {\"name\":\"B\\no\\nb\",\"title\":\"x\",\"sourceDetails\":{\"source\":\"a.csv\"}}"
                .into(),
            "6 ! not UTF-8 in the column \"title\"".into(),
            "7 ! 3 fields where the header has 2".into(),
            "8 {\"name\":\"Fay\",\"title\":\"y\",\"sourceDetails\":{\"source\":\"a.csv\"}}".into(),
        ]
    );
    assert_eq!(
        brief(b"n\xe9me\nAda", "a.csv"),
        ["1 ! not UTF-8 in the column \"1\""]
    );
}

#[test]
fn the_delimiter_is_the_one_the_header_has_most_of() {
    let expected = r#"2 {"name":"Ada","title":"a,b","sourceDetails":{"source":"-"}}"#;
    for file in [
        "name;\"title\"\nAda;a,b",
        "\nname\t\"title\"\nAda\ta,b\n",
        "\"name\",title\nAda,\"a,b\"",
    ] {
        let line = if file.starts_with('\n') { "3" } else { "2" };
        assert_eq!(
            brief(file, "-"),
            [expected.replacen('2', line, 1)],
            "{file}"
        );
    }
    let tabs = brief("x;y\tname\nb\tAda", "a.tsv");
    assert!(tabs[0].contains(r#""x;y":"b""#), "{tabs:?}");
}

#[test]
fn what_cannot_be_told_is_said() {
    for file in [&b"hello\nworld\n"[..], b"<html>\n<p>"] {
        let seen = brief(file, "-");
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].contains("neither JSON nor"), "{seen:?}");
    }
    assert_eq!(brief(b"\xff\xfen\0a\0", "a.csv"), ["1 ! UTF-16 text"]);
}

#[test]
fn a_csv_without_a_known_column_is_told_once_and_not_read() {
    for file in ["a,b,c\n1,2,3\n4,5,6\n", "Ada,CTO\nBob,CFO\n", "hello\n"] {
        assert_eq!(
            read(file, "a.csv"),
            [(
                1,
                Err(
                    "none of the columns is known, such as name, first name, last name or \
                     LinkedIn URL, so nothing of the file is read; is there a header row?"
                        .into()
                )
            )],
            "{file}"
        );
    }
}

#[test]
fn a_table_that_is_called_json_is_told_once() {
    let table = "name,url\n".to_owned() + &"Ada,https://example.com\n".repeat(250);
    for name in ["a.json", "a.jsonl"] {
        assert_eq!(
            brief(&table, name),
            ["1 ! no line of it begins a JSON object, so nothing of it is read"]
        );
    }
    // One bad line among good ones, wherever it is, is one bad line; and so is one alone.
    assert_eq!(brief("rubbish\n{}\n", "a.jsonl").len(), 2);
    assert_eq!(brief("rubbish\n\n", "a.jsonl"), ["1 ! not JSON"]);
}

#[test]
fn what_is_no_text_is_told_once() {
    for name in ["a.csv", "a.tsv", "a.jsonl", "a.json", "-"] {
        for (file, told) in [
            (&b"\x1f\x8b\x08\0re\nst\n"[..], "gzip"),
            (b"PK\x03\x04\x14\0\n\xff\n", "a zip archive"),
            (b"\x28\xb5\x2f\xfd\n\xff\n", "zstd"),
            (b"\x7fELF\0\xff\xfe\n\xff\n", "binary data, not text"),
        ] {
            let seen = brief(file, name);
            assert_eq!(seen.len(), 1, "{name} {seen:?}");
            assert!(
                seen[0].starts_with(&format!("1 ! {told}")),
                "{name} {seen:?}"
            );
        }
    }
    assert_eq!(brief(b"\0\0\0\0", "-"), ["1 ! binary data, not text"]);
}

/// What becomes of each record, by its line: the name, or nothing where it is bad.
fn names(file: &str) -> Vec<(u64, Option<String>)> {
    let name = |lead: String| {
        let lead: serde_json::Value = serde_json::from_str(&lead).unwrap();
        lead["name"].as_str().unwrap().to_owned()
    };
    read(file, "a.csv")
        .into_iter()
        .map(|(line, result)| (line, result.ok().map(name)))
        .collect()
}

/// Rows of a name `P<n>` and another field; they fill the lines from `line` on.
fn rows(line: u64, count: u64) -> (String, Vec<(u64, Option<String>)>) {
    let mut file = String::new();
    let mut expected = Vec::new();
    for at in line..line + count {
        let _ = writeln!(file, "P{at},x");
        expected.push((at, Some(format!("P{at}"))));
    }
    (file, expected)
}

#[test]
fn a_stray_quote_costs_one_line() {
    for (stray, bad) in [
        // To the end of the file, the look-ahead's bound, or the next quote.
        ("\"A,x\n", vec![(2, None)]),
        ("A,\"x\n", vec![(2, None)]),
        ("A,\"x\r\n", vec![(2, None)]),
        ("\"A,x\n\"B,y\n", vec![(2, None), (3, None)]),
        ("\"A,x\nC,\"y\"\n", vec![(2, None), (3, Some("C".into()))]),
        ("\"A,x\n\"C\",y\n", vec![(2, None), (3, Some("C".into()))]),
        (
            "\"A\",\"x\n\"C\",\"y\"\n",
            vec![(2, None), (3, Some("C".into()))],
        ),
        ("\"A\n\"\n", vec![(2, None), (3, None)]),
        ("\"A\n\",x,y\n", vec![(2, None), (3, None)]),
    ] {
        for count in [0, 3, 2_000] {
            let (good, expected) = rows(2 + bad.len() as u64, count);
            assert_eq!(
                names(&format!("name,title\n{stray}{good}")),
                [&bad[..], &expected[..]].concat(),
                "{stray:?} before {count} rows"
            );
        }
    }
    let (_, why) = &read("name,title\n\"A,x\nB,y\n", "a.csv")[0];
    assert_eq!(
        why.as_ref().unwrap_err(),
        "a quote opens in this line and does not close as a part of one record; is it a stray one?"
    );
    // Without a line's end too.
    assert_eq!(names("name,title\nA,\"x"), [(2, None)]);
}

#[test]
fn a_field_of_many_lines_is_one_field() {
    let note = "a \"\"note\"\", with\r\n\r\nlines;\n".repeat(100);
    let (good, mut expected) = rows(303, 2);
    expected.insert(0, (2, Some("A".into())));
    assert_eq!(
        names(&format!("name,title\nA,\"{note}\" \n{good}")),
        expected
    );
    // As a header, and beside others of their kind.
    assert_eq!(
        names("name,\"a\nb\"\n\"A\",\"x\ny\"\n\"B\",\"\n\"\n"),
        [(3, Some("A".into())), (5, Some("B".into()))]
    );
    // Lines of old Macs.
    assert_eq!(
        names("name,title\rA,\"x\ry\"\r\rB,z"),
        [(2, Some("A".into())), (5, Some("B".into()))]
    );
}

/// Counts what is asked of it, and never ends before `left` lines are read.
struct Endless {
    line: &'static [u8],
    left: usize,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let n = (&self.line[self.at..]).read(into)?;
        self.at += n;
        if self.at == self.line.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(n)
    }
}

#[test]
fn stray_quotes_cost_no_memory_and_no_square_of_time() {
    for line in [
        &b"\"A,some more text to make the line longer\n"[..],
        b"\"\"\",x\n",
        b"\"A\"\",x\n",
        b"x\",\"y\n",
        b"A,\"\"\"\n",
    ] {
        let left = 100_000;
        let lines = Endless { line, left, at: 0 };
        let reader = BufReader::new((&b"name,title\n"[..]).chain(lines));
        let items = Source::new(reader, "a.csv", &Options::default());
        let (mut seen, mut last) = (0, 1);
        for item in items {
            assert!(item.line > last, "{item:?}");
            (seen, last) = (seen + 1, item.line);
        }
        assert!(seen >= left / 2, "{seen}");
    }
}

#[test]
fn the_option_is_stronger_than_the_name() {
    let options = Options {
        format: Some(Format::Jsonl),
        ..Options::default()
    };
    assert_eq!(
        read_with(b"{\"a\":1}", "a.csv", &options),
        [(1, Ok("{\"a\":1}".into()))]
    );
}

#[test]
fn a_reader_that_fails_is_told_once() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk on fire"))
        }
    }
    for (head, name, whole) in [
        ("", "-", 0),
        ("{\"a\":1}\n{\"b\"", "a.jsonl", 1),
        ("[{\"a\":1},{\"b\"", "a.json", 1),
        ("name\nAda\nBob", "a.csv", 1),
        ("name", "a.csv", 0),
    ] {
        let reader = BufReader::new(head.as_bytes().chain(Broken));
        let items: Vec<Item> = Source::new(reader, name, &Options::default()).collect();
        let good = items.iter().filter(|item| item.result.is_ok()).count();
        assert_eq!((good, items.len()), (whole, whole + 1), "{head}");
        let last = items.last().unwrap().result.clone();
        assert_eq!(last, Err(SourceError::Read("disk on fire".into())));
    }
}

#[test]
fn many_elements_keep_their_lines() {
    let mut file = String::from("[\n");
    for n in 0..2_000 {
        let _ = write!(file, "{{\"n\":{n},\n\"t\":\"a\\\\\"}},\n");
    }
    file.push_str("{}]");
    let items: Vec<Item> = Source::new(file.as_bytes(), "-", &Options::default()).collect();
    assert_eq!(items.len(), 2_001);
    for (n, item) in items.iter().enumerate() {
        assert_eq!(item.line, 2 + 2 * n as u64);
        assert!(item.result.is_ok());
    }
}
