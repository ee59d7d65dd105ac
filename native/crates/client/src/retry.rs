//! When a failed call is made again: a pure function of what failed and how often. It knows no clock.

use std::time::Duration;
use wire::Code;

/// First pause; routing that is on its way arrives within it on one machine.
const PAUSE_MIN: Duration = Duration::from_millis(2);
/// Longest pause: a target that came back is found within it even if nothing tells us.
const PAUSE_MAX: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The routing table has moved since the call was made, or another replica can be asked.
    Now,
    /// After this pause, or as soon as the routing table changes.
    Pause(Duration),
    /// The error is the answer.
    GiveUp,
}

/// What is known when a call has failed.
pub(crate) struct Failure {
    pub code: Code,
    /// Calls of this operation that failed, this one included.
    pub attempts: u32,
    /// The chain's version is another one than the call was made under.
    pub routing_moved: bool,
    /// Members that can answer and were not asked since the last pause.
    pub others_left: bool,
}

pub(crate) fn decide(failure: &Failure) -> Decision {
    let corrupt = failure.code == Code::Corrupt;
    if corrupt && !failure.others_left || !corrupt && !failure.code.retryable() {
        return Decision::GiveUp;
    }
    // A bound on turns without a pause, should routing and servers contradict each other for long.
    if (failure.routing_moved || failure.others_left) && !failure.attempts.is_multiple_of(16) {
        return Decision::Now;
    }
    Decision::Pause(pause(failure.attempts))
}

pub(crate) fn pause(attempts: u32) -> Duration {
    (PAUSE_MIN * 2u32.pow(attempts.saturating_sub(1).min(10))).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Code, attempts: u32) -> Failure {
        Failure { code, attempts, routing_moved: false, others_left: false }
    }

    #[test]
    fn what_cannot_change_is_final() {
        for code in [Code::Io, Code::NoSpace, Code::Fenced, Code::InvalidArgument, Code::Corrupt] {
            let moved = Failure { routing_moved: true, ..failure(code, 1) };
            assert_eq!(decide(&moved), Decision::GiveUp, "{code:?}");
        }
        assert_eq!(decide(&Failure { others_left: true, ..failure(Code::Corrupt, 1) }), Decision::Now);
    }

    #[test]
    fn fresh_routing_is_used_at_once_and_pauses_grow_to_their_bound() {
        for code in [Code::WrongChainVersion, Code::ConnectionLost, Code::NotCommitted, Code::NotServing] {
            assert_eq!(decide(&Failure { routing_moved: true, ..failure(code, 1) }), Decision::Now);
            assert_eq!(decide(&failure(code, 1)), Decision::Pause(PAUSE_MIN));
        }
        let pauses: Vec<Duration> = (1..30).map(pause).collect();
        assert!(pauses.is_sorted() && pauses[28] == PAUSE_MAX && pauses[1] == PAUSE_MIN * 2);
    }

    #[test]
    fn no_endless_turns_without_a_pause() {
        let pauses = (1..100).filter(|&attempts| {
            decide(&Failure { routing_moved: true, ..failure(Code::WrongChainVersion, attempts) })
                != Decision::Now
        });
        assert!(pauses.count() >= 6);
    }
}
