//! What is refused before it sets out on a route, worked on or tried.

use bridge_shared::envelope::{Envelope, ErrorKind, VERSION};

use super::Failure;

/// Refuses a lead of more than `most` bytes, and what is an envelope that this version cannot read.
pub(crate) fn admit(lead: &[u8], most: usize) -> Result<(), Failure> {
    let error = if lead.len() > most {
        too_large(lead.len() as u64, most)
    } else if let Some(version) = Envelope::newer_version(lead) {
        format!(
            "an envelope of version {version}, and this worker reads up to version {VERSION}: retry it when the workers are updated"
        )
    } else {
        return Ok(());
    };
    Err(Failure::new(ErrorKind::Invalid, error))
}

/// Why a lead of so many bytes is refused.
pub(crate) fn too_large(size: u64, limit: usize) -> String {
    format!(
        "the lead has {size} bytes, more than the {limit} that --max-lead-bytes (MAX_LEAD_BYTES) allows"
    )
}
