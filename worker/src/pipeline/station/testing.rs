//! What the unit tests of the stations share.

use std::path::Path;

use bridge_shared::lead::Lead;
use toml::de::DeTable;

use super::super::keys::{Keys, Reading};
use super::{Call, Failure, Outcome, Station};

/// Reads a station's keys, in which nothing must be wrong.
#[track_caller]
pub(super) fn with_keys<T>(text: &str, read: impl FnOnce(&mut Keys<'_>) -> Option<T>) -> Option<T> {
    let mut made = None;
    let said = mistakes(text, |keys| {
        made = read(keys);
        made.is_some()
    });
    assert_eq!(said, [""; 0], "{text}");
    made
}

/// Reads a station's keys and returns what is wrong with them: `line: what; hint`.
pub(super) fn mistakes(text: &str, read: impl FnOnce(&mut Keys<'_>) -> bool) -> Vec<String> {
    mistakes_in(Path::new(""), text, read)
}

/// The same for a route file in a folder.
pub(super) fn mistakes_in(
    folder: &Path,
    text: &str,
    read: impl FnOnce(&mut Keys<'_>) -> bool,
) -> Vec<String> {
    let reading = Reading::new(text, folder);
    let table = DeTable::parse(text).expect(text).into_inner();
    let mut keys = Keys::new(&reading, table, "the station", 0..0);
    let made = read(&mut keys);
    keys.finish();
    let (mistakes, _) = reading.end();
    assert!(made || !mistakes.is_empty(), "why was it not made? {text}");
    let line = |at: usize| text[..at].matches('\n').count() + 1;
    mistakes
        .into_iter()
        .map(|found| {
            format!(
                "{}: {}; {}",
                line(found.at) + found.down,
                found.what,
                found.hint
            )
        })
        .collect()
}

/// An HTTP client.
pub(super) fn client() -> reqwest::Client {
    // Fails where another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// What becomes of a lead at a station.
pub(super) async fn work(station: &dyn Station, lead: &str) -> Result<(Outcome, String), Failure> {
    let mut lead = Lead::parse(lead.as_bytes()).expect(lead);
    let outcome = station
        .work(&Call::new("id-7", None, false), &mut lead)
        .await?;
    Ok((outcome, String::from_utf8(lead.to_json()).expect("UTF-8")))
}

/// What becomes of a lead where it goes on.
#[track_caller]
pub(super) fn went_on(result: Result<(Outcome, String), Failure>) -> String {
    let (outcome, lead) = result.expect("no failure");
    assert_eq!(outcome, Outcome::Continue);
    lead
}

#[test]
fn every_kind_and_each_of_its_keys_is_in_the_manual() {
    const MANUAL: &str = include_str!("../../../../assets/pipelines/README.md");
    drop(client());
    for kind in super::KINDS {
        let section = MANUAL
            .split("\n## ")
            .find(|section| section.lines().next() == Some(kind.name));
        let section = section.unwrap_or_else(|| panic!("nothing about {}", kind.name));
        let mut asked = Vec::new();
        mistakes("", |keys| {
            let made = (kind.make)(keys).is_some();
            asked = keys.asked();
            made
        });
        for key in asked {
            let there = section.contains(&format!("`{key}`"));
            assert!(there, "nothing about {key} of {}", kind.name);
        }
    }
}
