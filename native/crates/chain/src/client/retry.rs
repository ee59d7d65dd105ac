//! What a client does after an error (P25): which codes are worth another attempt, after how long, with new
//! routing or not, until the deadline.

use crate::Time;
use wire::Code;

/// First pause; doubles with each attempt, so that a chain change of a second costs few requests.
const PAUSE_FIRST_MS: u64 = 5;

/// Longest pause: what a client adds at most to the end of an outage.
const PAUSE_MAX_MS: u64 = 400;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Again {
        after_ms: u64,
        /// The routing may be old: ask for newer, and try earlier if it comes.
        refresh_routing: bool,
        /// Tell the others: this target did not answer (P1).
        suspect: bool,
        /// Ask another replica next, if there is one.
        elsewhere: bool,
    },
    Fail(Code),
}

/// The attempts of one request.
#[derive(Clone, Debug)]
pub struct Attempts {
    started: Time,
    /// `None`: for ever (`hard`).
    timeout_ms: Option<u64>,
    failed: u32,
}

impl Attempts {
    pub fn new(started: Time, timeout_ms: Option<u64>) -> Self {
        Attempts { started, timeout_ms, failed: 0 }
    }

    /// Milliseconds until the request is given up.
    pub fn remaining_ms(&self, now: Time) -> Option<u64> {
        self.timeout_ms.map(|timeout| timeout.saturating_sub(now.since_ms(self.started)))
    }

    /// `jitter` is any number: it moves the pause by up to a quarter, so that many clients do not come back
    /// together.
    pub fn decide(&mut self, now: Time, code: Code, jitter: u64) -> Decision {
        let (refresh_routing, suspect, elsewhere) = match code {
            Code::WrongChainVersion | Code::NotServing | Code::NotHead => (true, false, true),
            Code::NoChain | Code::TargetOffline => (true, false, true),
            Code::TimedOut | Code::Unreachable | Code::ConnectionLost => (true, true, true),
            // These bytes are bad on one replica: another one has them. What pends at one is committed at another.
            Code::Corrupt | Code::NotCommitted => (false, false, true),
            other if other.retryable() => (false, false, false),
            other => return Decision::Fail(other),
        };
        let doubled = PAUSE_FIRST_MS << self.failed.min(10);
        let pause = doubled.min(PAUSE_MAX_MS);
        let after_ms = pause - pause / 4 + jitter % (pause / 2 + 1);
        self.failed = self.failed.saturating_add(1);
        if self.remaining_ms(now).is_some_and(|remaining| remaining <= after_ms) {
            return Decision::Fail(code);
        }
        Decision::Again { after_ms, refresh_routing, suspect, elsewhere }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(decision: Decision) -> u64 {
        match decision {
            Decision::Again { after_ms, .. } => after_ms,
            Decision::Fail(code) => panic!("failed with {}", code.name()),
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_stop_at_the_deadline() {
        let mut attempts = Attempts::new(Time(0), Some(60_000));
        let pauses: Vec<u64> = (0..12).map(|_| pause(attempts.decide(Time(0), Code::NotHead, 0))).collect();
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(pauses[0] <= PAUSE_FIRST_MS && pauses[11] <= PAUSE_MAX_MS && pauses[11] > PAUSE_MAX_MS / 2);
        let late = Time(0).plus_ms(59_990);
        assert_eq!(attempts.decide(late, Code::TimedOut, 0), Decision::Fail(Code::TimedOut));
        let mut hard = Attempts::new(Time(0), None);
        assert!(pause(hard.decide(late, Code::TimedOut, 7)) > 0);
    }

    #[test]
    fn only_what_may_succeed_later_is_tried_again() {
        let mut attempts = Attempts::new(Time(0), None);
        for code in [Code::NoSpace, Code::StaleSequence, Code::Fenced, Code::InvalidArgument, Code::Io] {
            assert_eq!(attempts.decide(Time(0), code, 0), Decision::Fail(code));
        }
        let suspects = |attempts: &mut Attempts, code| match attempts.decide(Time(0), code, 0) {
            Decision::Again { suspect, refresh_routing, elsewhere, .. } => {
                (suspect, refresh_routing, elsewhere)
            }
            Decision::Fail(code) => panic!("failed with {}", code.name()),
        };
        assert_eq!(suspects(&mut attempts, Code::ConnectionLost), (true, true, true));
        assert_eq!(suspects(&mut attempts, Code::WrongChainVersion), (false, true, true));
        assert_eq!(suspects(&mut attempts, Code::Busy), (false, false, false));
        assert_eq!(suspects(&mut attempts, Code::Corrupt), (false, false, true));
        assert_eq!(suspects(&mut attempts, Code::NotCommitted), (false, false, true));
    }
}
