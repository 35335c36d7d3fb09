//! How much work and memory one lead may take of the worker that computes for it.
//!
//! A lead decides how often an expression repeats a text and how long a list is. An expression is one
//! step that nothing interrupts, so its bound is counted and not timed: by the fuel of the minijinja
//! crate, which pays for each instruction, each byte that is made and each item that is visited, and here
//! for what that fuel leaves out, the lists that are made up only when they are read.

use std::io;

use bridge_shared::envelope::ErrorKind;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, State, filters};
use serde::ser::Error as _;
use serde_json::value::RawValue;

use super::Failure;

/// Bytes of lead whose fuel every lead has: small leads may compute too.
const SMALL_LEAD_BYTES: usize = 1 << 20;
/// Bytes of a made text or value, as of a service's answer; twice the fields it is made from if those
/// are larger.
const MADE_BYTES_MAX: usize = 8 << 20;
/// The least that an item of a list takes as JSON, with the comma after it.
const ITEM_BYTES: usize = 2;
/// Objects and lists inside each other. The limit of the JSON reader is the same, so nothing that came
/// in a lead is deeper.
const DEPTH_MAX: usize = 128;
/// Bytes that a lead may grow to in a pipeline; twice its own size if that is more.
const GROWN_BYTES_MAX: usize = 32 << 20;

/// The limits of one expression or text over a lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// What the language's steps may cost. One pays for an instruction or for 64 bytes.
    pub(super) fuel: u64,
    /// Bytes of the result.
    pub(super) made: usize,
}

impl Budget {
    /// The limits for fields of so many bytes.
    pub(super) fn of(bytes: usize) -> Self {
        Self {
            fuel: bytes.max(SMALL_LEAD_BYTES) as u64,
            made: bytes.saturating_mul(2).max(MADE_BYTES_MAX),
        }
    }

    /// The limits of what is run.
    pub(super) fn of_state(state: &State<'_, '_>) -> Self {
        let fuel = state.fuel_levels().map_or(0, |(used, left)| used + left);
        Self::of(usize::try_from(fuel).unwrap_or(usize::MAX))
    }

    /// Whether it is that of every small lead.
    pub(super) fn is_least(self) -> bool {
        self == Self::of(0)
    }
}

/// What a lead is refused with that takes more.
pub(super) fn exceeded(budget: Budget) -> String {
    let (steps, mib) = (budget.fuel, budget.made >> 20);
    format!(
        "it takes more than the {steps} steps, or makes more than the {mib} MiB, that a lead of this size may"
    )
}

/// Bytes that a lead of so many may grow to.
pub(super) fn grown(bytes: usize) -> usize {
    bytes.saturating_mul(2).max(GROWN_BYTES_MAX)
}

/// What a lead is refused with that has grown larger.
pub(super) fn too_large(size: usize, most: usize) -> Failure {
    Failure::new(
        ErrorKind::Invalid,
        format!(
            "the lead has grown to {size} bytes, more than the {most} that a lead of its size may have"
        ),
    )
}

/// A value needs more room than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Counts what a value would take as a text, without making it, and stops where that is more than
/// `most`. Lists such as `prices * 100000` have no items until they are read.
///
/// # Errors
/// [`TooMuch`], also for a value that is too deep to be written.
pub(super) fn weigh(value: &Value, most: usize) -> Result<(), TooMuch> {
    weigh_indented(value, most, 0)
}

/// The same for a value of which each item stands on a line of its own.
fn weigh_indented(value: &Value, most: usize, indent: usize) -> Result<(), TooMuch> {
    take(value, &mut { most }, 0, indent)
}

fn take(value: &Value, left: &mut usize, depth: usize, indent: usize) -> Result<(), TooMuch> {
    let mut pay = |bytes: usize| {
        *left = left.checked_sub(bytes).ok_or(TooMuch)?;
        Ok(())
    };
    if let Some(text) = value.as_str() {
        return pay(text.len());
    }
    if let Some(bytes) = value.as_bytes() {
        return pay(bytes.len());
    }
    pay(ITEM_BYTES + depth * indent)?;
    let kind = value.kind();
    if !matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        return Ok(());
    }
    if depth >= DEPTH_MAX {
        return Err(TooMuch);
    }
    let Ok(items) = value.try_iter() else {
        return Ok(());
    };
    for item in items {
        take(&item, left, depth + 1, indent)?;
        if kind == ValueKind::Map {
            let field = value.get_item(&item).unwrap_or_default();
            take(&field, left, depth + 1, indent)?;
        }
    }
    Ok(())
}

/// Spaces that `tojson(indent=...)` may put before each line, once for each level.
const INDENT_MAX: usize = 16;

/// Replaces the filters that write a whole value before they pay for it.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("tojson", tojson);
    environment.add_filter("pprint", pprint);
}

fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<Value>,
    more: Kwargs,
) -> Result<Value, Error> {
    let given = more
        .get::<Option<Value>>("indent")?
        .or_else(|| indent.clone());
    let width = given.map_or(0, |indent| {
        let on = usize::from(indent.is_true()) * 2;
        indent.as_usize().unwrap_or(on)
    });
    if width > INDENT_MAX {
        let what = format!("the indent of tojson is at most {INDENT_MAX}");
        return Err(Error::new(minijinja::ErrorKind::InvalidOperation, what));
    }
    afford(state, value, width)?;
    let text = filters::tojson(value, indent, more)?;
    pay_for(state, text.as_str().map_or(0, str::len))?;
    Ok(text)
}

fn pprint(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    afford(state, value, 4)?;
    let text = filters::pprint(value);
    pay_for(state, text.len())?;
    Ok(text)
}

fn afford(state: &State<'_, '_>, value: &Value, indent: usize) -> Result<(), Error> {
    let made = Budget::of_state(state).made;
    weigh_indented(value, made, indent).map_err(|TooMuch| minijinja::ErrorKind::OutOfFuel.into())
}

/// What the language takes for what it writes by itself: a quarter of an instruction for each byte.
fn pay_for(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(bytes as u64 / 4)
}

/// A value as JSON of at most `most` bytes; `None` if it has more.
///
/// # Errors
/// What cannot stand in JSON.
pub(super) fn to_json(
    value: &Value,
    most: usize,
) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    if weigh(value, most).is_err() {
        return Ok(None);
    }
    let mut json = Limited {
        bytes: Vec::new(),
        most,
        is_full: false,
    };
    match serde_json::to_writer(&mut json, value) {
        Ok(()) => {}
        Err(_) if json.is_full => return Ok(None),
        Err(error) => return Err(error),
    }
    let json = String::from_utf8(json.bytes).map_err(serde_json::Error::custom)?;
    RawValue::from_string(json).map(Some)
}

/// A buffer that takes so many bytes and refuses any more.
struct Limited {
    bytes: Vec<u8>,
    most: usize,
    is_full: bool,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(source: &str) -> Value {
        let environment = Environment::new();
        let expression = environment.compile_expression(source).expect(source);
        expression.eval(()).expect(source)
    }

    #[test]
    fn a_list_that_is_not_made_yet_is_weighed_as_what_it_would_be() {
        assert_eq!(weigh(&value("['abcd'] * 10"), 42), Ok(()));
        for huge in [
            "['abcd'] * 99000000",
            "[['abcd'] * 99000000] * 99000000",
            "{'a': {'b': [1] * 99000000}}",
        ] {
            assert_eq!(weigh(&value(huge), 1 << 20), Err(TooMuch), "{huge}");
            assert!(to_json(&value(huge), 1 << 20).is_ok_and(|json| json.is_none()));
        }
        let json = to_json(&value("[1, {'a': 'b'}] * 2"), 1 << 10).expect("JSON");
        let json = json.expect("a small value");
        assert_eq!(json.get(), r#"[1,{"a":"b"},1,{"a":"b"}]"#);
    }

    #[test]
    fn a_value_that_grows_with_its_escapes_is_refused_as_well() {
        let text = Value::from("\u{1}".repeat(1_000));
        assert!(to_json(&text, 5_999).is_ok_and(|json| json.is_none()));
        assert!(to_json(&text, 6_002).is_ok_and(|json| json.is_some()));
    }

    #[test]
    fn large_leads_may_take_more_in_proportion() {
        assert!(Budget::of(0).is_least() && Budget::of(1 << 20).is_least());
        let large = Budget::of(64 << 20);
        assert_eq!((large.fuel, large.made), (64 << 20, 128 << 20));
        assert_eq!((grown(10), grown(64 << 20)), (32 << 20, 128 << 20));
    }
}
