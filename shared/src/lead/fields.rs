//! The fields of a JSON object: in their order, each as the very text it came in.
//!
//! All text stands in one string, the object's own first and then whatever was set, and a field is
//! two places in it. So reading a lead takes two allocations however many fields it has. What is
//! overwritten stays in there unseen; a lead does not live long. What is set stands there as it is
//! written, so that neighbours are written together, as one piece. Where each field stands is read by
//! `plain`, and where that cannot, by the parser.

mod plain;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use serde::de::{Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json;

/// Fields up to which a name is looked for one by one.
const FEW: usize = 32;

/// The fields of an object.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    text: String,
    list: Vec<Field>,
    /// Where each name stands in the list, once there are more than [`FEW`].
    places: Option<HashMap<String, usize>>,
    /// The marks of all names: what has another one is not among them.
    marks: u64,
    /// What a value is written into.
    scratch: Vec<u8>,
}

/// One of 64 marks, which tells most names apart.
fn mark(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    let ends = ends.map_or(0, |(first, last)| {
        usize::from(*first) * 7 + usize::from(*last)
    });
    1 << ((ends + bytes.len() * 3) % 64)
}

#[derive(Debug, Clone)]
struct Field {
    /// Without its quotes, and with no escapes in it.
    name: Range<usize>,
    value: Range<usize>,
    /// Whether the name stands between quotes that need nothing escaped.
    is_quoted: bool,
}

impl Field {
    /// Where the field stands as it is to be written, if it does.
    fn whole(&self) -> Option<Range<usize>> {
        // Between a name's quote and its value is then nothing but the colon.
        let is_whole = self.is_quoted && self.value.start == self.name.end + 2;
        is_whole.then(|| self.name.start - 1..self.value.end)
    }
}

impl Fields {
    /// Bytes of the text that all fields stand in.
    pub(super) fn size(&self) -> usize {
        self.text.len()
    }

    /// Reads an object.
    ///
    /// # Errors
    /// The parser's, where the bytes are not one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let source = std::str::from_utf8(bytes).map_err(serde_json::Error::custom)?;
        plain::read(source).map_or_else(|| Self::parse_any(source), Ok)
    }

    /// Reads any object, plain or not.
    fn parse_any(source: &str) -> Result<Self, serde_json::Error> {
        let mut fields = Self::of(source);
        let mut reader = serde_json::Deserializer::from_str(source);
        reader.deserialize_map(Reader {
            source,
            fields: &mut fields,
        })?;
        reader.end()?;
        Ok(fields)
    }

    /// None as yet, of this object.
    fn of(source: &str) -> Self {
        // With room for what a lead gets on its way at least.
        let mut text = String::with_capacity(source.len() + 160);
        text.push_str(source);
        Self {
            text,
            list: Vec::with_capacity(16),
            ..Self::default()
        }
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.list.reserve(more);
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.place(name)
            .map(|place| &self.text[self.list[place].value.clone()])
    }

    /// Names and values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.list.iter().map(|field| {
            (
                &self.text[field.name.clone()],
                &self.text[field.value.clone()],
            )
        })
    }

    /// Sets a field to a JSON text, in place if it was there, else last.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        if let Some(place) = self.place_to_put(name) {
            let value = self.keep(value);
            self.list[place].value = value;
        } else {
            let is_quoted = !json::needs_escapes(name);
            self.text.push_str(",\"");
            let name = self.keep(name);
            self.text.push_str("\":");
            let value = self.keep(value);
            self.add(Field {
                name,
                value,
                is_quoted,
            });
        }
    }

    /// Sets a field to any value that JSON can hold.
    ///
    /// # Errors
    /// The value's own, where it cannot be written as JSON.
    pub(super) fn set_value<T: serde::Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        serde_json::to_writer(&mut scratch, value)?;
        let text = std::str::from_utf8(&scratch).map_err(serde::ser::Error::custom)?;
        self.set(name, text);
        self.scratch = scratch;
        Ok(())
    }

    /// Takes a field out; the order of the others stays.
    pub(super) fn remove(&mut self, name: &str) -> Option<&str> {
        let place = self.place(name)?;
        let field = self.list.remove(place);
        self.places = None;
        Some(&self.text[field.value])
    }

    /// As compact JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let room: usize = self
            .list
            .iter()
            .map(|field| field.name.len() + field.value.len() + 4)
            .sum();
        // Not one byte too many: what is longer than it seems is moved once more.
        let mut out = Vec::with_capacity((room + 1).max(2));
        out.push(b'{');
        let mut fields = self.list.iter().peekable();
        while let Some(field) = fields.next() {
            if out.len() > 1 {
                out.push(b',');
            }
            if let Some(mut piece) = field.whole() {
                // Those that follow with nothing but a comma between.
                while let Some(next) = fields.next_if(|next| self.follows(piece.end, next)) {
                    piece.end = next.value.end;
                }
                out.extend_from_slice(self.text[piece].as_bytes());
            } else {
                if field.is_quoted {
                    let quoted = field.name.start - 1..field.name.end + 1;
                    out.extend_from_slice(self.text[quoted].as_bytes());
                } else {
                    json::push_text(&mut out, &self.text[field.name.clone()]);
                }
                out.push(b':');
                out.extend_from_slice(self.text[field.value.clone()].as_bytes());
            }
        }
        out.push(b'}');
        out
    }

    /// Whether a field stands whole behind a comma at this place.
    fn follows(&self, end: usize, field: &Field) -> bool {
        let whole = field.whole();
        whole.is_some_and(|whole| whole.start == end + 1) && self.text.as_bytes()[end] == b','
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    /// Takes a field that was read, whose name may stand in the text as it is. Of two of one name the
    /// last counts, at the place of the first.
    fn read(&mut self, name: &str, place: Option<Range<usize>>, value: Range<usize>) {
        if let Some(place) = self.place_to_put(name) {
            self.list[place].value = value;
            return;
        }
        let is_quoted = place.is_some();
        let name = place.unwrap_or_else(|| self.keep(name));
        self.add(Field {
            name,
            value,
            is_quoted,
        });
    }

    fn add(&mut self, field: Field) {
        let name = &self.text[field.name.clone()];
        self.marks |= mark(name);
        if let Some(places) = &mut self.places {
            places.insert(name.to_owned(), self.list.len());
        }
        self.list.push(field);
    }

    fn place(&self, name: &str) -> Option<usize> {
        if self.marks & mark(name) == 0 {
            return None;
        }
        if let Some(places) = &self.places {
            return places.get(name).copied();
        }
        self.list.iter().position(|field| {
            field.name.len() == name.len() && &self.text[field.name.clone()] == name
        })
    }

    /// The same, for whoever is about to make the list longer.
    fn place_to_put(&mut self, name: &str) -> Option<usize> {
        if self.places.is_none() && self.list.len() > FEW {
            let names = self.iter().map(|(name, _)| name.to_owned());
            self.places = Some(names.zip(0..).collect());
        }
        self.place(name)
    }
}

/// Takes the fields out of their source, of which they hold a copy.
struct Reader<'a> {
    source: &'a str,
    fields: &'a mut Fields,
}

impl Reader<'_> {
    /// Where a part of the source stands; nowhere, where it is no part of it.
    fn place(&self, part: &str) -> Option<Range<usize>> {
        let start = (part.as_ptr() as usize).checked_sub(self.source.as_ptr() as usize)?;
        let place = start..start.checked_add(part.len())?;
        (place.end <= self.source.len()).then_some(place)
    }
}

impl<'a> Visitor<'a> for Reader<'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let value = map.next_value::<&RawValue>()?.get();
            let value = match self.place(value) {
                Some(place) => place,
                None => self.fields.keep(value),
            };
            let place = match &name {
                Cow::Borrowed(name) => self.place(name),
                Cow::Owned(_) => None,
            };
            self.fields.read(&name, place, value);
        }
        Ok(())
    }
}

/// A field's name, borrowed where it stands in the source as it is.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json.as_bytes()).expect(json)
    }

    fn json(fields: &Fields) -> String {
        String::from_utf8(fields.to_json()).expect("UTF-8")
    }

    #[test]
    fn names_with_escapes_are_found_and_written_again() {
        let mut fields = fields(r#" { "a\"b\n" : 1, "\u0041" : [ 2 ],"ä":"\u00e4" } "#);
        assert_eq!(fields.get("a\"b\n"), Some("1"));
        assert_eq!(fields.get("A"), Some("[ 2 ]"));
        assert_eq!(fields.get("ä"), Some(r#""\u00e4""#));
        fields.set("\\", "0");
        assert_eq!(
            json(&fields),
            r#"{"a\"b\n":1,"A":[ 2 ],"ä":"\u00e4","\\":0}"#
        );
    }

    #[test]
    fn the_last_of_two_fields_of_one_name_counts_at_the_place_of_the_first() {
        let mut few = fields(r#"{"a":1,"b":2,"\u0061":3}"#);
        assert_eq!(json(&few), r#"{"a":3,"b":2}"#);
        few.set("a", "4");
        assert_eq!(json(&few), r#"{"a":4,"b":2}"#);
        let twice =
            (0..2).flat_map(|round| (0..100).map(move |n| format!("\"f{n}\":{}", n + round)));
        let many = fields(&format!("{{{}}}", twice.collect::<Vec<_>>().join(",")));
        let expected: Vec<_> = (0..100).map(|n| format!("\"f{n}\":{}", n + 1)).collect();
        assert_eq!(json(&many), format!("{{{}}}", expected.join(",")));
    }

    #[test]
    fn many_fields_are_set_and_taken_out_like_few() {
        let mut fields = Fields::default();
        for n in 0..200 {
            fields.set(&format!("f{n}"), &n.to_string());
        }
        fields.set_value("f7", "sie\u{df}t").expect("JSON");
        for n in (0..200).filter(|n| n % 2 == 0) {
            assert_eq!(
                fields.remove(&format!("f{n}")),
                Some(n.to_string().as_str())
            );
        }
        assert_eq!(fields.remove("f0"), None);
        fields.set("f0", "null");
        fields.set("f199", "false");
        let names: Vec<&str> = fields.iter().map(|(name, _)| name).collect();
        assert_eq!((names.len(), names[0], names[100]), (101, "f1", "f0"));
        assert_eq!(fields.get("f7"), Some("\"sie\u{df}t\""));
        assert_eq!(fields.get("f199"), Some("false"));
        assert_eq!(fields.get("f198"), None);
    }

    #[test]
    fn pieces_are_written_as_if_field_by_field() {
        let mut fields = fields(r#" {"a":1,"b" : 2, "c":3,"\u0064":4,"e":[5 ],"f":6 } "#);
        assert_eq!(json(&fields), r#"{"a":1,"b":2,"c":3,"d":4,"e":[5 ],"f":6}"#);
        fields.set("b", "true");
        fields.remove("a");
        fields.remove("e");
        fields.set("g\t", "7");
        fields.set("h", "8");
        fields.set_value("i", "9,").expect("JSON");
        fields.set("h", "\"8\"");
        fields.set("f", "null");
        let expected = r#"{"b":true,"c":3,"d":4,"f":null,"g\t":7,"h":"8","i":"9,"}"#;
        assert_eq!(json(&fields), expected);
        assert_eq!(
            json(&Fields::parse(expected.as_bytes()).expect("JSON")),
            expected
        );
    }

    #[test]
    fn what_stands_behind_an_object_is_no_lead() {
        for wrong in ["{} {}", "{\"a\":1", "[]", "{\"a\" 1}", ""] {
            assert!(Fields::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
