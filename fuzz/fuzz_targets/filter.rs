//! A filter: read, and asked about a dead letter; the first line is the filter, the rest the letter.
#![no_main]

use bridge_shared::filter::Filter;
use bridge_shared::store::dead_letters::DeadLetter;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (filter, letter) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(filter) = Filter::parse(filter) else {
        return;
    };
    let letter = DeadLetter::new(0, 1, Bytes::copy_from_slice(letter.as_bytes()));
    let matches = filter.matches(&letter, 1_768_473_000_000);
    assert!(matches || !filter.is_empty());
});
