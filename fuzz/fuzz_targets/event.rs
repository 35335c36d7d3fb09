//! A message of events: what can be read can be written and read again.
#![no_main]

use bridge_shared::event::EventBatch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = EventBatch::decode(bytes) {
        assert_eq!(EventBatch::decode(&batch.encode()).expect("its own"), batch);
    }
});
