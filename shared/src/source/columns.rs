//! Which column of a CSV is which field of a lead.
//!
//! Source of the names: the exports of LinkedIn Sales Navigator and of the tools around it, and
//! the variants in [`lead`].

use crate::lead;

/// The wire contract's fields, each with the headers it may come under, best first. Headers are
/// compared by their letters and digits only, in lower case.
const FIELDS: &[(&str, &[&[&str]])] = &[
    (
        LINKEDIN_URL,
        &[
            &["linkedinUrl", "Person Linkedin Url", "LinkedIn Profile URL"],
            lead::URL,
            &["Public Profile URL", "LinkedIn Profile", "LinkedIn"],
            &["LinkedIn Sales Navigator URL", "Sales Navigator URL"],
        ],
    ),
    ("name", &[lead::NAME, &["Contact Name", "Lead Name"]]),
    ("firstName", &[lead::FIRST_NAME, &["Given Name"]]),
    ("lastName", &[lead::LAST_NAME, &["Surname", "Family Name"]]),
    (
        "location",
        &[lead::LOCATION, &["Geography", "Person Location"]],
    ),
    ("city", &[&["City"]]),
    ("state", &[&["State", "State / Province", "Province"]]),
    ("title", &[lead::TITLE, &["Current Title", "Position"]]),
    (
        "company",
        &[
            lead::COMPANY,
            &["Current Company", "Account Name", "Organization"],
        ],
    ),
    (
        "email",
        &[&["Email", "Email Address", "E-mail Address", "Work Email"]],
    ),
    (
        "phone",
        &[&["Phone", "Phone Number", "Work Phone", "Mobile Phone"]],
    ),
    (PLATFORM, &[&["Platform"]]),
];
const LINKEDIN_URL: &str = "linkedinUrl";
const PLATFORM: &str = "platform";
const SOURCE: &str = "sourceDetails";

#[derive(Debug)]
pub(super) struct Columns {
    /// For each field that has any, its columns, best first.
    fields: Vec<(&'static str, Vec<usize>)>,
    /// The name of each column where it is no field of the contract, as JSON.
    own: Vec<String>,
    headers: Vec<String>,
    /// The value of `sourceDetails`, as JSON.
    source: String,
}

impl Columns {
    /// Reads a header. `file` is what the leads carry as their source.
    pub(super) fn new(headers: &[String], file: &str) -> Self {
        let normal: Vec<String> = headers.iter().map(|header| normalise(header)).collect();
        let fields = FIELDS.iter().map(|(field, variants)| {
            let mut columns = Vec::new();
            for variant in variants.iter().copied().flatten() {
                let variant = normalise(variant);
                for (at, header) in normal.iter().enumerate() {
                    if *header == variant && !columns.contains(&at) {
                        columns.push(at);
                    }
                }
            }
            (*field, columns)
        });
        Self {
            fields: fields.collect(),
            own: own_names(headers).iter().map(|name| json(name)).collect(),
            headers: headers.to_vec(),
            source: format!("{{\"source\":{}}}", json(file)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn name(&self, column: usize) -> &str {
        &self.headers[column]
    }

    /// Whether any column is a field of the contract.
    pub(super) fn any_known(&self) -> bool {
        self.fields.iter().any(|(_, columns)| !columns.is_empty())
    }

    /// A lead made of a record's trimmed cells; `None` where all are empty.
    ///
    /// The best column that has something becomes the contract's field, every other one keeps
    /// its own header, and empty cells are left out.
    pub(super) fn lead(&self, cells: &[&str]) -> Option<Vec<u8>> {
        if cells.iter().all(|cell| cell.is_empty()) {
            return None;
        }
        let mut out = String::from("{");
        let mut used = vec![false; cells.len()];
        let mut linkedin = false;
        for (field, columns) in &self.fields {
            let column = best(field, columns, cells);
            if let Some(column) = column {
                used[column] = true;
                put(&mut out, &json(field), &json(cells[column]));
            }
            match *field {
                LINKEDIN_URL => linkedin = column.is_some_and(|at| is_linkedin(cells[at])),
                PLATFORM if column.is_none() && linkedin => {
                    put(&mut out, &json(PLATFORM), "\"linkedin\"");
                }
                _ => {}
            }
        }
        put(&mut out, &json(SOURCE), &self.source);
        for (column, cell) in cells.iter().enumerate() {
            if !used[column] && !cell.is_empty() {
                put(&mut out, &self.own[column], &json(cell));
            }
        }
        out.push('}');
        Some(out.into_bytes())
    }
}

/// The column a field is taken from: the best that is not empty, and of several addresses one
/// that is at LinkedIn.
fn best(field: &str, columns: &[usize], cells: &[&str]) -> Option<usize> {
    let mut full = columns.iter().copied().filter(|&at| !cells[at].is_empty());
    if field == LINKEDIN_URL
        && let Some(at) = full.clone().find(|&at| is_linkedin(cells[at]))
    {
        return Some(at);
    }
    full.next()
}

fn is_linkedin(url: &str) -> bool {
    lead::clean_linkedin_url(url).is_some()
}

/// A name of its own for each column, so that no lead has a field twice.
fn own_names(headers: &[String]) -> Vec<String> {
    let mut taken: Vec<String> = FIELDS
        .iter()
        .map(|(field, _)| (*field).to_owned())
        .collect();
    taken.push(SOURCE.to_owned());
    let reserved = taken.len();
    for (at, header) in headers.iter().enumerate() {
        let name = if header.is_empty() {
            format!("column {}", at + 1)
        } else {
            header.clone()
        };
        let mut unique = name.clone();
        let mut n = 2;
        while taken.contains(&unique) {
            unique = format!("{name} {n}");
            n += 1;
        }
        taken.push(unique);
    }
    taken.split_off(reserved)
}

fn put(out: &mut String, key: &str, value: &str) {
    if out.len() > 1 {
        out.push(',');
    }
    out.push_str(key);
    out.push(':');
    out.push_str(value);
}

fn json(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always JSON")
}

/// A header by its letters and digits only, in lower case.
fn normalise(header: &str) -> String {
    header
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(headers: &[&str], cells: &[&str]) -> String {
        let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
        let columns = Columns::new(&headers, "a.csv");
        String::from_utf8(columns.lead(cells).expect("not empty")).unwrap()
    }

    #[test]
    fn headers_are_known_whatever_their_dress() {
        assert_eq!(
            lead(
                &[
                    "FULL NAME",
                    "job-title",
                    "Company Name",
                    "GEOGRAPHY",
                    "E-mail"
                ],
                &["Ada", "CTO", "Initech", "Oslo", "a@example.com"],
            ),
            r#"{"name":"Ada","location":"Oslo","title":"CTO","company":"Initech","email":"a@example.com","sourceDetails":{"source":"a.csv"}}"#
        );
    }

    #[test]
    fn the_best_column_wins_and_the_other_keeps_its_header() {
        let headers = [
            "LinkedIn Sales Navigator URL",
            "Profile Url",
            "Title",
            "Title",
        ];
        let sales = "https://www.linkedin.com/sales/lead/X1,NAME";
        assert_eq!(
            lead(
                &headers,
                &[sales, "https://www.linkedin.com/in/ada-1", "CTO", "Boss"]
            ),
            format!(
                r#"{{"linkedinUrl":"https://www.linkedin.com/in/ada-1","title":"CTO","platform":"linkedin","sourceDetails":{{"source":"a.csv"}},"LinkedIn Sales Navigator URL":"{sales}","Title 2":"Boss"}}"#
            )
        );
        assert!(
            lead(&headers, &[sales, "https://xing.example/ada", "", ""]).starts_with(&format!(
                r#"{{"linkedinUrl":"{sales}","platform":"linkedin""#
            ))
        );
        assert!(!lead(&headers, &["", "https://xing.example/ada", "", ""]).contains("platform"));
    }

    #[test]
    fn no_field_is_there_twice() {
        assert_eq!(
            own_names(&["a", "", "a", "a 2", "sourceDetails", "title"].map(String::from)),
            [
                "a",
                "column 2",
                "a 2",
                "a 2 2",
                "sourceDetails 2",
                "title 2"
            ]
        );
    }
}
