//! How long to wait before a connection is tried again. Whether a failed call is made again is decided in
//! `chain::client`, where the simulator runs it too.

use std::time::Duration;

/// First pause: a process that restarts on this machine is back within a few of them.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Longest pause: a peer that came back is found within it even if nothing tells us.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// After `failures` in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    (PAUSE_MIN * 2u32.pow(failures.saturating_sub(1).min(10))).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let pauses: Vec<Duration> = (0..u32::BITS).map(pause).collect();
        assert!(pauses.is_sorted() && pauses[0] == PAUSE_MIN && pauses[31] == PAUSE_MAX);
    }
}
