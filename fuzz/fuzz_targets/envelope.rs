//! An entry of any of the lists: whoever wrote it, its lead goes back to work byte for byte, and its
//! beginning tells the same as all of it.
#![no_main]

use bridge_shared::cause::Cause;
use bridge_shared::envelope::{Envelope, HEAD, Opened, Origin};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Some(envelope) = Envelope::from_payload(&bytes) {
        assert_eq!(Envelope::from_payload(&envelope.encode()), Some(envelope));
    }
    let (read, origin) = Envelope::from_dead_letter(&bytes);
    let _ = Cause::of(&read);
    let lead = read.lead.clone();
    let put = read.redriven(origin, || "fresh".into());
    let back = Envelope::from_payload(&put).map_or(put, |envelope| envelope.lead);
    assert!(back == lead || origin == Origin::Bare);
    let head = bytes.slice(..bytes.len().min(HEAD));
    let opened = Opened::certain(&head, bytes.len() as u64 + 1_000_000);
    let (put, replaces) = opened.redriven();
    assert!(replaces as usize <= head.len() && (replaces > 0 || put.is_empty()));
});
