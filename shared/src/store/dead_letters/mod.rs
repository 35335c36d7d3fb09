//! Reading the dead letter queue, and moving entries out of it.
//!
//! - `letter`: an entry, as it was read
//! - `read`: windows, places, ids, walks, and the whole of a large entry
//! - `take`: out of the queue; `recall`: back into it, before anybody began

mod letter;
mod read;
mod recall;
mod take;

pub use letter::DeadLetter;
pub use read::{DeadWalk, Looked};
pub use take::{Destination, Moved};

/// Entries that one call may move. The script stops by itself before it holds the server too
/// long, so this bounds the request, not the work.
const BATCH: usize = 200;
/// The largest entry that is read whole, in bytes, to be put back to work or looked into.
const READ_WHOLE: u64 = 16 << 20;

/// Ten letters and digits that nobody else has.
#[must_use]
pub fn token() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..10)
        .map(|_| char::from(ALPHABET[fastrand::usize(..32)]))
        .collect()
}
