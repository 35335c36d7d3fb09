//! `identity`: who the lead is, in the names everybody reads, from whatever names it came with.

use bridge_shared::envelope::ErrorKind;
use bridge_shared::lead::{self, Lead};
use futures::future::{BoxFuture, FutureExt as _, ready};

use super::{Call, Contract, Failure, Keys, Outcome, Station};

/// What it may fill.
const PRODUCES: &[&str] = &[
    "linkedinUrl",
    "name",
    "firstName",
    "lastName",
    "location",
    "city",
    "state",
    "title",
    "company",
];

#[derive(Debug)]
struct Identity;

/// It has no keys of its own.
#[allow(clippy::unnecessary_wraps, reason = "the shape of every kind")]
pub(super) fn make(_keys: &mut Keys<'_>) -> Option<Box<dyn Station>> {
    Some(Box::new(Identity))
}

impl Station for Identity {
    fn work<'a>(
        &'a self,
        _call: &'a Call<'a>,
        lead: &'a mut Lead,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        ready(identify(lead).map(|()| Outcome::Continue)).boxed()
    }

    fn contract(&self) -> Contract {
        Contract {
            produces: PRODUCES.iter().map(ToString::to_string).collect(),
            ..Contract::default()
        }
    }
}

/// Fills what is missing; what is there stays, but for the URL, which gets its clean form.
fn identify(lead: &mut Lead) -> Result<(), Failure> {
    let (url, name) = (lead.linkedin_url(), lead.full_name());
    if url.is_none() && name.is_none() {
        return Err(Failure::new(
            ErrorKind::Invalid,
            "the lead has neither a LinkedIn URL nor a name",
        ));
    }
    if let Some(url) = url {
        lead.set("linkedinUrl", &url);
    }
    let (first, last) = name.as_deref().map(split_name).unwrap_or_default();
    let location = lead.first_text(lead::LOCATION);
    let (city, state) = location.as_deref().map(split_location).unwrap_or_default();
    let or = |names, derived: Option<String>| lead.first_text(names).or(derived);
    let values = [
        ("name", name),
        ("firstName", or(lead::FIRST_NAME, first)),
        ("lastName", or(lead::LAST_NAME, last)),
        ("location", location),
        ("city", city),
        ("state", state),
        ("title", or(lead::TITLE, None)),
        ("company", or(lead::COMPANY, None)),
    ];
    for (field, value) in values {
        if let Some(value) = value
            && lead.text(field).is_none()
        {
            lead.set(field, &value);
        }
    }
    Ok(())
}

/// Words around a name that are no part of it.
const TITLES: &[&str] = &[
    "dr", "prof", "mr", "mrs", "ms", "sir", "phd", "md", "mba", "cpa", "pmp", "esq", "jr", "sr",
    "ii", "iii", "iv",
];
/// Words that begin a last name of several words.
const PARTICLES: &[&str] = &[
    "van", "von", "der", "den", "de", "del", "della", "da", "di", "dos", "du", "la", "le", "bin",
    "ibn", "al", "el", "ter", "ten", "zu",
];

/// First and last name from a full name; a single name has no last name.
fn split_name(name: &str) -> (Option<String>, Option<String>) {
    let bare = |word: &str| {
        word.trim_matches(['.', ',', '(', ')'])
            .replace('.', "")
            .to_lowercase()
    };
    // What follows a comma is a degree: `Ada Example, PhD`.
    let words: Vec<&str> = name
        .split(',')
        .next()
        .unwrap_or(name)
        .split_whitespace()
        .filter(|word| !TITLES.contains(&bare(word).as_str()))
        .collect();
    let [first, rest @ ..] = words.as_slice() else {
        return (None, None);
    };
    let last = rest
        .iter()
        .position(|word| PARTICLES.contains(&word.to_lowercase().as_str()))
        .unwrap_or(rest.len().saturating_sub(1));
    let last = rest[last..].join(" ");
    (
        Some((*first).to_owned()),
        (!last.is_empty()).then_some(last),
    )
}

/// City and state from a place such as `Austin, Texas, United States`. Of two parts the second is
/// a state only where it is one of the United States, for `Paris, France` has none.
fn split_location(location: &str) -> (Option<String>, Option<String>) {
    let parts: Vec<&str> = location
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let (city, state) = match parts.as_slice() {
        [city, state, _country, ..] => (*city, Some(*state)),
        [city, state] if is_us_state(state) => (*city, Some(*state)),
        [city, ..] => (*city, None),
        [] => return (None, None),
    };
    let city = city.strip_prefix("Greater ").unwrap_or(city);
    let city = ["Metropolitan Area", "Metro Area", "Bay Area", "Area"]
        .iter()
        .find_map(|suffix| city.strip_suffix(suffix))
        .map_or(city, str::trim_end);
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (text(city), state.and_then(text))
}

fn is_us_state(text: &str) -> bool {
    const STATES: &[(&str, &str)] = &[
        ("AL", "Alabama"),
        ("AK", "Alaska"),
        ("AZ", "Arizona"),
        ("AR", "Arkansas"),
        ("CA", "California"),
        ("CO", "Colorado"),
        ("CT", "Connecticut"),
        ("DE", "Delaware"),
        ("FL", "Florida"),
        ("GA", "Georgia"),
        ("HI", "Hawaii"),
        ("ID", "Idaho"),
        ("IL", "Illinois"),
        ("IN", "Indiana"),
        ("IA", "Iowa"),
        ("KS", "Kansas"),
        ("KY", "Kentucky"),
        ("LA", "Louisiana"),
        ("ME", "Maine"),
        ("MD", "Maryland"),
        ("MA", "Massachusetts"),
        ("MI", "Michigan"),
        ("MN", "Minnesota"),
        ("MS", "Mississippi"),
        ("MO", "Missouri"),
        ("MT", "Montana"),
        ("NE", "Nebraska"),
        ("NV", "Nevada"),
        ("NH", "New Hampshire"),
        ("NJ", "New Jersey"),
        ("NM", "New Mexico"),
        ("NY", "New York"),
        ("NC", "North Carolina"),
        ("ND", "North Dakota"),
        ("OH", "Ohio"),
        ("OK", "Oklahoma"),
        ("OR", "Oregon"),
        ("PA", "Pennsylvania"),
        ("RI", "Rhode Island"),
        ("SC", "South Carolina"),
        ("SD", "South Dakota"),
        ("TN", "Tennessee"),
        ("TX", "Texas"),
        ("UT", "Utah"),
        ("VT", "Vermont"),
        ("VA", "Virginia"),
        ("WA", "Washington"),
        ("WV", "West Virginia"),
        ("WI", "Wisconsin"),
        ("WY", "Wyoming"),
        ("DC", "District of Columbia"),
    ];
    STATES
        .iter()
        .any(|(short, long)| text.eq_ignore_ascii_case(short) || text.eq_ignore_ascii_case(long))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identified(json: &str) -> serde_json::Value {
        let mut lead = Lead::parse(json.as_bytes()).expect(json);
        identify(&mut lead).expect(json);
        serde_json::from_slice(&lead.to_json()).expect("JSON")
    }

    #[test]
    fn names_are_split_as_people_would() {
        for (name, first, last) in [
            ("Ada Example", "Ada", Some("Example")),
            ("Dr. Ada M. Example, PhD, MBA", "Ada", Some("Example")),
            ("Ludwig van der Example", "Ludwig", Some("van der Example")),
            ("Prince", "Prince", None),
            ("José María de la Example", "José", Some("de la Example")),
        ] {
            let (f, l) = split_name(name);
            assert_eq!((f.as_deref(), l.as_deref()), (Some(first), last), "{name}");
        }
        assert_eq!(split_name("Dr."), (None, None));
    }

    #[test]
    fn places_are_split_without_inventing_a_state() {
        for (place, city, state) in [
            ("Austin, Texas, United States", "Austin", Some("Texas")),
            ("Austin, TX", "Austin", Some("TX")),
            ("Paris, France", "Paris", None),
            ("Greater Boston Area", "Boston", None),
            ("San Francisco Bay Area", "San Francisco", None),
            ("Berlin", "Berlin", None),
        ] {
            let (c, s) = split_location(place);
            assert_eq!((c.as_deref(), s.as_deref()), (Some(city), state), "{place}");
        }
        assert_eq!(split_location(" , "), (None, None));
    }

    #[test]
    fn variants_fill_the_names_that_readers_know() {
        let lead = identified(
            r#"{"full_name":"Ada Example","profile_url":"linkedin.com/in/Ada/","geoRegion":"Austin, TX",
                "currentPosition":{"title":"CTO","companyName":"Example Co"}}"#,
        );
        for (field, value) in [
            ("name", "Ada Example"),
            ("firstName", "Ada"),
            ("lastName", "Example"),
            ("city", "Austin"),
            ("state", "TX"),
            ("title", "CTO"),
            ("company", "Example Co"),
            ("linkedinUrl", "https://www.linkedin.com/in/ada"),
        ] {
            assert_eq!(lead[field], value, "{field}");
        }
        let kept = identified(
            r#"{"name":"Ada Example","firstName":"A.","city":"Rome","location":"Paris, France"}"#,
        );
        assert_eq!(
            (&kept["firstName"], &kept["city"]),
            (&"A.".into(), &"Rome".into())
        );
    }

    #[test]
    fn a_lead_that_is_nobody_fails_for_good() {
        for json in [
            "{}",
            r#"{"name":"  "}"#,
            r#"{"linkedinUrl":"https://example.com","name":7}"#,
        ] {
            let failure = identify(&mut Lead::parse(json.as_bytes()).expect(json)).expect_err(json);
            assert_eq!(failure.kind, ErrorKind::Invalid);
        }
    }
}
