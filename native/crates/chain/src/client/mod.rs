//! What a client decides by itself: which replica to ask, when to try again, which updates may be in the air
//! together, and in which channel.
//! Pure; the caller has the clock and the connections (P25, P1, P7).

mod call;
mod choice;
mod lane;
mod retry;

pub use call::{Call, Choice, Next, leaves_doubt};
pub use choice::{Suspects, head};
pub use lane::{Lane, NO_FILE, Ordered, Request, Started, bytes_of};
pub use retry::{Attempts, Decision};
