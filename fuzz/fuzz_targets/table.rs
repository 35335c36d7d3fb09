//! A file of leads, in every format: read to its end, the same in any pieces.
#![no_main]

use std::io::BufReader;

use bridge_shared::lead::is_object;
use bridge_shared::source::{Format, Item, Options, Source};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8], format: Option<Format>, chunk: usize) -> Vec<Item> {
    let options = Options {
        format,
        limit: 4_096,
    };
    Source::new(BufReader::with_capacity(chunk, bytes), "leads", &options).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let formats = [Format::Csv, Format::Tsv, Format::Json, Format::Jsonl];
    for format in formats.map(Some).into_iter().chain([None]) {
        let whole = read(bytes, format, 65_536);
        assert_eq!(whole, read(bytes, format, 7));
        for lead in whole.iter().filter_map(|item| item.result.as_ref().ok()) {
            assert!(is_object(lead));
        }
    }
});
