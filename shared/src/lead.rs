//! A lead: a JSON object whose fields are kept as the very text they came in.
//!
//! The names a field may come under are data here, so that the `identity` station, the CSV reader
//! and the duplicate check all agree. Source of the names: the existing producers (the wire
//! contract in `ARCHITECTURE.md`).

mod fields;

use fields::Fields;
use serde_json::value::RawValue;
use url::Url;

use crate::json;

/// Names of the profile URL, best first.
pub const URL: &[&str] = &[
    "linkedinUrl",
    "linkedin_url",
    "profile_url",
    "profileUrl",
    "navigationUrl",
];
/// Names of the full name, best first.
pub const NAME: &[&str] = &["name", "fullName", "full_name", "Name"];
/// Names of the first name, best first.
pub const FIRST_NAME: &[&str] = &["firstName", "first_name"];
/// Names of the last name, best first.
pub const LAST_NAME: &[&str] = &["lastName", "last_name"];
/// Names of the place as one text, best first.
pub const LOCATION: &[&str] = &["location", "geoRegion"];
/// Names of the job title, best first.
pub const TITLE: &[&str] = &["title", "job_title", "currentPosition.title", "headline"];
/// Names of the company, best first.
pub const COMPANY: &[&str] = &["company", "company_name", "currentPosition.companyName"];

/// Why bytes are not a lead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeadError {
    /// The bytes are not JSON; holds what is wrong and where.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The bytes are JSON, but of another type than object; holds that type's name.
    #[error("not a JSON object but {0}")]
    NotAnObject(&'static str),
}

/// Why nothing can be set at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} cannot be set: {field} is not an object but {found}")]
pub struct PathError {
    /// The path.
    path: String,
    /// The field on the way that is no object.
    field: String,
    /// Its type.
    found: &'static str,
}

/// A lead as stations see it. Every field keeps its own text, so a number with thirty digits or
/// a field nobody knows comes out as it went in.
#[derive(Debug, Clone, Default)]
pub struct Lead {
    fields: Fields,
    /// What is written, while somebody wants to know.
    writes: Option<Vec<Write>>,
}

/// Something that was written into a lead, so that it can be written into another one. It holds
/// what the writer said and nothing else of the lead that it was written into.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// [`Lead::set_raw`]: a field, whose name may have dots in it.
    Set(String, Box<RawValue>),
    /// [`Lead::set_at`]: what is at a path.
    SetAt(String, Box<RawValue>),
    /// [`Lead::remove_at`]: nothing is at a path, whether or not anything was.
    RemoveAt(String),
}

impl Lead {
    /// Reads a lead.
    ///
    /// # Errors
    /// [`LeadError`] where the bytes are not a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, LeadError> {
        match Fields::parse(bytes) {
            Ok(fields) => Ok(Self {
                fields,
                writes: None,
            }),
            Err(error) => Err(why_not(bytes, &error)),
        }
    }

    /// The lead as compact JSON, fields in the order they came, new ones last.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        self.fields.to_json()
    }

    /// Bytes of its names and values in memory, with those that were replaced since it was read.
    #[must_use]
    pub fn size(&self) -> usize {
        self.fields.size()
    }

    /// A top-level field's JSON text.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field)
    }

    /// The field names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name)
    }

    /// The text of a field, where it is a string with something in it; `path` may go into
    /// objects with dots (`currentPosition.title`).
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let (field, rest) = path
            .split_once('.')
            .map_or((path, None), |(f, r)| (f, Some(r)));
        let value = self.get(field)?;
        if let Some(rest) = rest {
            return Self::parse(value.as_bytes()).ok()?.text(rest);
        }
        let text: String = serde_json::from_str(value).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The first of several fields that holds text.
    #[must_use]
    pub fn first_text(&self, paths: &[&str]) -> Option<String> {
        paths.iter().find_map(|path| self.text(path))
    }

    /// The profile URL in its one clean form, from whichever field holds one.
    #[must_use]
    pub fn linkedin_url(&self) -> Option<String> {
        URL.iter()
            .filter_map(|path| self.text(path))
            .find_map(|text| clean_linkedin_url(&text))
    }

    /// A full name: as given, else put together from first and last.
    #[must_use]
    pub fn full_name(&self) -> Option<String> {
        self.first_text(NAME).or_else(|| {
            let parts = [self.first_text(FIRST_NAME), self.first_text(LAST_NAME)];
            let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
            (!name.is_empty()).then_some(name)
        })
    }

    /// Sets a field to a JSON text, in place if it was there, else last.
    pub fn set_raw(&mut self, field: &str, value: &RawValue) {
        if let Some(writes) = &mut self.writes {
            writes.push(Write::Set(field.to_owned(), value.to_owned()));
        }
        self.fields.set(field, value.get());
    }

    /// Makes room for so many more fields at once.
    pub fn reserve(&mut self, more: usize) {
        self.fields.reserve(more);
    }

    /// Sets a field to any value that JSON can hold.
    ///
    /// # Panics
    /// Never for the values the stations set: text, numbers, booleans and lists of them.
    pub fn set<T: serde::Serialize + ?Sized>(&mut self, field: &str, value: &T) {
        if self.writes.is_some() {
            let raw = serde_json::value::to_raw_value(value).expect("plain values are JSON");
            self.set_raw(field, &raw);
        } else {
            let set = self.fields.set_value(field, value);
            set.expect("plain values are JSON");
        }
    }

    /// The JSON text at a path that may go into objects with dots (`currentPosition.title`).
    #[must_use]
    pub fn get_at(&self, path: &str) -> Option<Box<RawValue>> {
        match path.split_once('.') {
            None => self.fields.get(path).map(raw),
            Some((field, rest)) => Self::parse(self.get(field)?.as_bytes()).ok()?.get_at(rest),
        }
    }

    /// Sets what is at a path; the objects on the way are made where they are missing. All that
    /// is not on the way stays as it is.
    ///
    /// # Errors
    /// [`PathError`] where something else than an object is on the way.
    pub fn set_at(&mut self, path: &str, value: Box<RawValue>) -> Result<(), PathError> {
        let Some((field, rest)) = path.split_once('.') else {
            self.set_raw(path, &value);
            return Ok(());
        };
        let mut inner = match self.get(field) {
            None | Some("null") => Self::default(),
            Some(json) => Self::parse(json.as_bytes()).map_err(|_| PathError {
                path: path.to_owned(),
                field: field.to_owned(),
                found: json_type(json),
            })?,
        };
        let written = self.writes.as_ref().map(|_| value.clone());
        inner.set_at(rest, value)?;
        if let (Some(writes), Some(value)) = (&mut self.writes, written) {
            writes.push(Write::SetAt(path.to_owned(), value));
        }
        self.put_back(field, &inner);
        Ok(())
    }

    /// Takes out what is at a path; the order of the others stays.
    pub fn remove_at(&mut self, path: &str) -> Option<Box<RawValue>> {
        if let Some(writes) = &mut self.writes {
            writes.push(Write::RemoveAt(path.to_owned()));
        }
        let Some((field, rest)) = path.split_once('.') else {
            return self.fields.remove(path).map(raw);
        };
        let mut inner = Self::parse(self.get(field)?.as_bytes()).ok()?;
        let removed = inner.remove_at(rest)?;
        self.put_back(field, &inner);
        Some(removed)
    }

    /// Puts an object that was taken out of a field to be changed into it again.
    fn put_back(&mut self, field: &str, inner: &Self) {
        let json = String::from_utf8(inner.to_json()).expect("JSON is UTF-8");
        self.fields.set(field, &json);
    }

    /// Keeps what is written from now on, until [`Self::take_writes`].
    pub fn keep_writes(&mut self) {
        self.writes = Some(Vec::new());
    }

    /// What was written since [`Self::keep_writes`], in order; nothing is kept any more.
    pub fn take_writes(&mut self) -> Vec<Write> {
        self.writes.take().unwrap_or_default()
    }

    /// Writes what was written into another lead.
    ///
    /// # Errors
    /// [`PathError`] where this lead has something else than an object on the way; what was
    /// written before stays.
    pub fn write(&mut self, writes: Vec<Write>) -> Result<(), PathError> {
        for write in writes {
            match write {
                Write::Set(field, value) => self.set_raw(&field, &value),
                Write::SetAt(path, value) => self.set_at(&path, value)?,
                Write::RemoveAt(path) => drop(self.remove_at(&path)),
            }
        }
        Ok(())
    }

    /// Takes over another object's fields: its values win, but its `null`s change nothing.
    pub fn merge(&mut self, other: &Self) {
        for (field, value) in other.fields.iter() {
            if value == "null" {
                continue;
            }
            if self.writes.is_some() {
                self.set_raw(field, &raw(value));
            } else {
                self.fields.set(field, value);
            }
        }
    }

    /// The fields that were added or changed since an earlier state of this lead.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Self {
        let mut changes = Self::default();
        for (field, value) in self.fields.iter() {
            if before.get(field) != Some(value) {
                changes.fields.set(field, value);
            }
        }
        changes
    }
}

/// A field's text, as a value of its own.
fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("a field's text is JSON")
}

/// Names the type of a JSON text, with its article.
pub(crate) fn json_type(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// Whether bytes are a JSON object, without building anything from them.
#[must_use]
pub fn is_object(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes)
        .is_ok_and(|value| value.get().trim_start().starts_with('{'))
}

/// Whether bytes, of which there may be more, can be the beginning of a JSON object.
#[must_use]
pub fn begins_as_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// Brings a LinkedIn profile URL into one form, so that the same person is the same text:
/// `https://www.linkedin.com/in/<slug>`, without query, fragment, country host or trailing slash.
/// Sales Navigator addresses keep their own path but lose the search they were found by.
/// `None` where the text is not an address at LinkedIn.
///
/// ```
/// use bridge_shared::lead::clean_linkedin_url as clean;
/// assert_eq!(
///     clean("uk.linkedin.com/in/Jane-Doe/?trk=x").as_deref(),
///     Some("https://www.linkedin.com/in/jane-doe"),
/// );
/// assert_eq!(clean("https://example.com/in/jane"), None);
/// ```
#[must_use]
pub fn clean_linkedin_url(text: &str) -> Option<String> {
    let text = text.trim();
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        _ => Url::parse(&format!("https://{}", text.trim_start_matches('/'))).ok()?,
    };
    let host = url.host_str()?;
    if host != "linkedin.com" && !host.ends_with(".linkedin.com") {
        return None;
    }
    let mut path: Vec<&str> = url
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    match path.as_mut_slice() {
        ["in", slug, ..] => Some(format!("https://www.linkedin.com/in/{}", clean_slug(slug))),
        // `/sales/lead/<id>,<auth type>,<auth token>`: only the id names the person.
        ["sales", kind, id, ..] if matches!(*kind, "lead" | "people") => {
            let id = id.split(',').next().filter(|id| !id.is_empty())?;
            Some(format!("https://www.linkedin.com/sales/lead/{id}"))
        }
        [_, _, ..] => Some(format!("https://www.linkedin.com/{}", path.join("/"))),
        _ => None,
    }
}

/// Public slugs do not depend on case; LinkedIn's opaque member ids (`ACoAAB...`) do.
fn clean_slug(slug: &str) -> String {
    if slug.starts_with("AC") && slug.len() > 20 {
        slug.to_owned()
    } else {
        slug.to_ascii_lowercase()
    }
}

/// Why bytes are no object, where reading them as one ended with this error.
fn why_not(bytes: &[u8], error: &serde_json::Error) -> LeadError {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let first = error.valid_up_to() + 1;
            return LeadError::NotJson(format!("not UTF-8 from byte {first} on"));
        }
    };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => match json_type(value.get()) {
            "an object" => LeadError::NotJson(json::mistake(error, 1)),
            other => LeadError::NotAnObject(other),
        },
        Err(error) => LeadError::NotJson(json::mistake(&error, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(json: &str) -> Lead {
        Lead::parse(json.as_bytes()).expect(json)
    }

    #[test]
    fn unknown_fields_and_huge_numbers_survive_untouched() {
        let json =
            r#"{"name":"Ada","n":123456789012345678901234567890.5e400,"x":{"b":1,  "a":[ ]}}"#;
        assert_eq!(String::from_utf8(lead(json).to_json()).unwrap(), json);
    }

    #[test]
    fn deep_nesting_is_no_reason_to_refuse_a_lead() {
        let json = format!(r#"{{"deep":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(lead(&json).to_json().len(), json.len());
    }

    #[test]
    fn what_is_not_an_object_is_named() {
        assert_eq!(
            Lead::parse(b"[1]").unwrap_err().to_string(),
            "not a JSON object but a list"
        );
        assert_eq!(
            Lead::parse(b"7").unwrap_err().to_string(),
            "not a JSON object but a number"
        );
        assert_eq!(
            Lead::parse(b"{\"a\":").unwrap_err().to_string(),
            "not JSON: it ends where a value should be; is it complete? (byte 5)"
        );
        assert_eq!(
            Lead::parse(b"{\"a\":\"\xff\"}").unwrap_err().to_string(),
            "not JSON: not UTF-8 from byte 7 on"
        );
        assert!(!is_object(b"[]") && is_object(b" {} ") && !is_object(b"{"));
    }

    #[test]
    fn variants_are_found_by_path_and_in_order() {
        let lead = lead(r#"{"name":"  ","fullName":" Ada L ","currentPosition":{"title":"CTO"}}"#);
        assert_eq!(lead.full_name().as_deref(), Some("Ada L"));
        assert_eq!(lead.first_text(TITLE).as_deref(), Some("CTO"));
        assert_eq!(lead.text("currentPosition.companyName"), None);
    }

    #[test]
    fn merging_lets_the_reply_win_but_not_its_nulls() {
        let mut a = lead(r#"{"name":"Ada","email":"a@example.com"}"#);
        a.merge(&lead(r#"{"email":null,"phone":"555-0100","name":"Ada L"}"#));
        let text = String::from_utf8(a.to_json()).unwrap();
        assert_eq!(
            text,
            r#"{"name":"Ada L","email":"a@example.com","phone":"555-0100"}"#
        );
    }

    #[test]
    fn what_was_added_or_changed_can_be_told() {
        let before = lead(r#"{"a":1,"b":2,"c":3}"#);
        let changes = lead(r#"{"a":1,"b":2.50,"c":null,"d":[ ]}"#).changes_since(&before);
        assert_eq!(changes.to_json(), br#"{"b":2.50,"c":null,"d":[ ]}"#);
    }

    #[test]
    fn what_was_written_can_be_written_into_another_lead_and_is_nothing_else() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).expect(json);
        let mut first = lead(r#"{"info":{"phone":"111","size":5},"same":1,"gone":{"x":1}}"#);
        first.set("unwatched", &1);
        first.keep_writes();
        first.set_at("info.size", raw("5")).expect("an object");
        first.set("same", &1);
        first.merge(&lead(r#"{"a.b":2.50,"null":null}"#));
        first.remove_at("gone.x");
        first.remove_at("none");
        let copy = first.clone();
        first = copy;
        first.set_at("same.x", raw("1")).expect_err("no object");
        let json = serde_json::to_string(&first.take_writes()).expect("JSON");
        assert_eq!(
            json,
            r#"[{"set_at":["info.size",5]},{"set":["same",1]},{"set":["a.b",2.50]},{"remove_at":"gone.x"},{"remove_at":"none"}]"#
        );
        first.set("later", &1);
        assert!(first.take_writes().is_empty());
        let mut second = lead(r#"{"info":{"phone":"222"},"none":1,"gone":{"x":2,"y":3}}"#);
        second
            .write(serde_json::from_str(&json).expect("writes"))
            .expect("objects all the way");
        assert_eq!(
            String::from_utf8(second.to_json()).expect("UTF-8"),
            r#"{"info":{"phone":"222","size":5},"gone":{"y":3},"same":1,"a.b":2.50}"#
        );
    }

    #[test]
    fn paths_go_into_objects_and_leave_the_rest_alone() {
        let mut lead = lead(r#"{"a":{"n":1.50,  "b":{"x":1}},"t":"text"}"#);
        let raw = |json: &str| RawValue::from_string(json.to_owned()).expect(json);
        assert_eq!(lead.get_at("a.b.x").expect("there").get(), "1");
        assert!(lead.get_at("a.b.y").is_none() && lead.get_at("t.x").is_none());
        lead.set_at("a.b.y", raw("[ ]"))
            .expect("objects all the way");
        lead.set_at("new.deep", raw("true")).expect("made");
        assert_eq!(lead.remove_at("a.b.x").expect("there").get(), "1");
        assert!(lead.remove_at("a.q.x").is_none() && lead.remove_at("t.x").is_none());
        assert_eq!(
            lead.set_at("t.x", raw("1")).unwrap_err().to_string(),
            "t.x cannot be set: t is not an object but a text"
        );
        let text = String::from_utf8(lead.to_json()).unwrap();
        assert_eq!(
            text,
            r#"{"a":{"n":1.50,"b":{"y":[ ]}},"t":"text","new":{"deep":true}}"#
        );
    }

    #[test]
    fn profile_urls_have_one_form() {
        let clean = |text| clean_linkedin_url(text);
        let jane = Some("https://www.linkedin.com/in/jane-doe".to_owned());
        for text in [
            "https://www.linkedin.com/in/jane-doe",
            "http://de.linkedin.com/in/Jane-Doe/en?x=1#top",
            "linkedin.com/in/jane-doe/",
            "  //www.linkedin.com/in/jane-doe",
        ] {
            assert_eq!(clean(text), jane, "{text}");
        }
        assert_eq!(
            clean("https://www.linkedin.com/sales/lead/ACwAAABc12,NAME_SEARCH,xYz?_ntb=1")
                .as_deref(),
            Some("https://www.linkedin.com/sales/lead/ACwAAABc12"),
        );
        for text in [
            "",
            "n/a",
            "https://example.com/in/a",
            "https://linkedin.com",
            "javascript:alert(1)",
            "https://evillinkedin.com/in/jane",
        ] {
            assert_eq!(clean(text), None, "{text}");
        }
    }
}
