//! `stream`: the Redis stream `enriched_leads`. The commit writes it in the very step that records
//! the outcome, so a lead is in it exactly once; here is only its name.

use super::super::keys::Keys;
use super::Made;

/// It has no keys of its own: `ENRICHED_STREAM` names the stream.
#[allow(clippy::unnecessary_wraps, reason = "the shape of every kind")]
pub(super) fn make(_keys: &mut Keys<'_>) -> Option<Made> {
    Some(Made::Stream)
}
