//! A lead: read, changed and written, it is the same lead but for the change.
#![no_main]

use bridge_shared::lead::{Lead, clean_linkedin_url, is_object};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut lead) = Lead::parse(bytes) else {
        return;
    };
    assert!(is_object(bytes));
    let once = lead.to_json();
    assert_eq!(Lead::parse(&once).expect("its own text").to_json(), once);
    for name in lead.names() {
        let _ = lead.text(name);
    }
    if let Some(url) = lead.linkedin_url() {
        assert_eq!(clean_linkedin_url(&url), Some(url));
    }
    let _ = lead.full_name();
    let before = lead.clone();
    lead.set("a new one", &1);
    lead.remove_at("a new one");
    let _ = lead.remove_at("currentPosition.title");
    let _ = lead.changes_since(&before);
});
