//! What a client decides by itself: which replica to ask, when to try again, which channel an update takes.
//! Pure; the caller has the clock and the connections (P25, P1, P7).

mod channels;
mod choice;
mod retry;

pub use channels::{Channels, Permit};
pub use choice::{Suspects, head, read_target};
pub use retry::{Attempts, Decision};
