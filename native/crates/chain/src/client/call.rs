//! One request of a client to a chain, made again until it is answered, its time is over, or it cannot succeed (P25):
//! whom it goes to, and what an error means for it.

use super::{Attempts, Decision, Suspects, head};
use crate::Time;
use crate::client::choice::{read_target, serving};
use std::ops::Deref;
use wire::message::Chain;
use wire::{Code, TargetId};

/// Turns without a pause before one is made all the same, should routing and servers contradict each other for long.
const TURNS_MAX: u32 = 16;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Head,
    /// Any serving member, beginning with this one modulo their number.
    Any(u64),
}

/// What follows an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Again {
        /// 0: at once. Else after this time, or as soon as there is newer routing.
        after_ms: u64,
        /// The routing may be old: ask for newer.
        refresh_routing: bool,
        /// It did not answer: the client's other requests avoid it for a while (P1).
        suspect: Option<TargetId>,
    },
    /// The error is the answer.
    Fail,
}

#[derive(Clone, Debug)]
pub struct Call {
    choice: Choice,
    attempts: Attempts,
    /// Members asked since the last pause.
    asked: Vec<TargetId>,
    /// Whom the last attempt was made to, under which version of the chain.
    last: Option<(TargetId, u64)>,
    turns: u32,
}

/// Whether a request that was sent, and then ended with this error, may still arrive.
pub fn leaves_doubt(code: Code) -> bool {
    // Corrupt: perhaps it was the answer that was damaged.
    matches!(code, Code::ConnectionLost | Code::TimedOut | Code::Corrupt)
}

impl Call {
    /// Until `timeout_ms` after `now`; `None`: for ever.
    pub fn new(choice: Choice, now: Time, timeout_ms: Option<u64>) -> Call {
        Call { choice, attempts: Attempts::new(now, timeout_ms), asked: Vec::new(), last: None, turns: 0 }
    }

    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// Milliseconds until it is given up, with `TimedOut`; nothing is sent when there are none. `None`: for ever.
    pub fn remaining_ms(&self, now: Time) -> Option<u64> {
        self.attempts.remaining_ms(now)
    }

    /// Whom the next attempt goes to. `None`: nobody serves, which is `NoChain`. `suspects` is asked for reads alone.
    pub fn choose<S: Deref<Target = Suspects>>(
        &mut self,
        now: Time,
        chain: &Chain,
        suspects: impl FnOnce() -> S,
    ) -> Option<TargetId> {
        let target = match self.choice {
            Choice::Head => head(chain),
            Choice::Any(spread) => read_target(chain, &suspects(), now, &self.asked, spread),
        };
        self.last = target.map(|target| (target, chain.version));
        self.asked.extend(target);
        target
    }

    /// The last attempt ended with an error, or could not be made. `chain` is the routing of now; `salt` differs
    /// between clients.
    pub fn failed(&mut self, now: Time, code: Code, chain: Option<&Chain>, salt: u64) -> Next {
        let last = self.last.take();
        let moved = last.is_some_and(|(_, version)| chain.is_some_and(|chain| chain.version != version));
        let reads = matches!(self.choice, Choice::Any(_));
        let others =
            reads && chain.is_some_and(|chain| serving(chain).any(|member| !self.has_asked(member.target)));
        self.turns += 1;
        let jitter = salt.wrapping_mul(u64::from(self.turns)).rotate_left(32);
        let Decision::Again { after_ms, refresh_routing, suspect, elsewhere } =
            self.attempts.decide(now, code, jitter)
        else {
            return Next::Fail;
        };
        if code == Code::Corrupt && reads && !others {
            // Every copy was asked: no pause makes these bytes right. At the head it was one frame that was damaged
            // on its way; the same request is made again.
            return Next::Fail;
        }
        let at_once = (moved || elsewhere && others) && !self.turns.is_multiple_of(TURNS_MAX);
        if !at_once {
            self.asked.clear();
        }
        Next::Again {
            after_ms: if at_once { 0 } else { after_ms },
            refresh_routing: refresh_routing && !moved,
            suspect: last.filter(|_| suspect).map(|(target, _)| target),
        }
    }

    fn has_asked(&self, target: u64) -> bool {
        self.asked.contains(&TargetId(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::message::{Member, PublicState};

    const NOW: Time = Time(0);

    fn chain(version: u64, serving: &[u64]) -> Chain {
        let state = PublicState::PublicServing as i32;
        let members = serving.iter().map(|&target| Member { target, state, ..Member::default() }).collect();
        Chain { version, members, ..Chain::default() }
    }

    fn choose(call: &mut Call, chain: &Chain) -> Option<u64> {
        let suspects = Suspects::default();
        call.choose(NOW, chain, || &suspects).map(|target| target.0)
    }

    /// Whether it is made again at once; and with what else.
    fn again(call: &mut Call, code: Code, chain: &Chain) -> (bool, bool, Option<u64>) {
        match call.failed(NOW, code, Some(chain), 7) {
            Next::Again { after_ms, refresh_routing, suspect } => {
                (after_ms == 0, refresh_routing, suspect.map(|target| target.0))
            }
            Next::Fail => panic!("{} is final", code.name()),
        }
    }

    #[test]
    fn a_read_asks_every_other_member_before_it_pauses() {
        let (mut call, chain) = (Call::new(Choice::Any(1), NOW, None), chain(5, &[7, 8, 9]));
        let mut asked = vec![choose(&mut call, &chain).unwrap()];
        assert_eq!(again(&mut call, Code::ConnectionLost, &chain), (true, true, Some(8)));
        asked.extend(choose(&mut call, &chain));
        assert_eq!(again(&mut call, Code::NotCommitted, &chain), (true, false, None));
        asked.extend(choose(&mut call, &chain));
        asked.sort_unstable();
        assert_eq!(asked, [7, 8, 9]);
        assert_eq!(again(&mut call, Code::NotServing, &chain), (false, true, None), "all were asked");
        assert_eq!(choose(&mut call, &chain), Some(8), "and after the pause all may be asked again");
        assert_eq!(again(&mut call, Code::Busy, &chain), (false, false, None), "another one is as busy");
    }

    #[test]
    fn an_update_waits_for_its_head_or_for_another_version() {
        let (mut call, old) = (Call::new(Choice::Head, NOW, None), chain(5, &[7, 8]));
        assert_eq!(choose(&mut call, &old), Some(7));
        assert_eq!(
            again(&mut call, Code::TimedOut, &old),
            (false, true, Some(7)),
            "nobody else may be asked"
        );
        assert_eq!(choose(&mut call, &old), Some(7));
        let new = chain(6, &[8]);
        assert_eq!(again(&mut call, Code::NotHead, &new), (true, false, None), "newer routing is there");
        assert_eq!(choose(&mut call, &new), Some(8));
        assert_eq!(again(&mut call, Code::Corrupt, &new), (false, false, None), "it was damaged on its way");
        let none = chain(7, &[]);
        assert_eq!(choose(&mut call, &none), None);
        assert_eq!(again(&mut call, Code::NoChain, &none), (false, true, None));
    }

    #[test]
    fn routing_that_changes_all_the_time_does_not_make_it_spin() {
        let mut call = Call::new(Choice::Head, NOW, None);
        let pauses = (0..10 * u64::from(TURNS_MAX)).filter(|turn| {
            choose(&mut call, &chain(*turn, &[7]));
            !again(&mut call, Code::WrongChainVersion, &chain(turn + 1, &[7])).0
        });
        assert_eq!(pauses.count(), 10);
    }

    #[test]
    fn bytes_that_are_bad_everywhere_are_bad() {
        let (mut call, chain) = (Call::new(Choice::Any(0), NOW, None), chain(5, &[7, 8]));
        choose(&mut call, &chain);
        assert!(again(&mut call, Code::Corrupt, &chain).0);
        choose(&mut call, &chain);
        assert_eq!(call.failed(NOW, Code::Corrupt, Some(&chain), 7), Next::Fail);
    }

    #[test]
    fn only_an_answer_ends_a_doubt() {
        let doubtful = [Code::ConnectionLost, Code::TimedOut, Code::Corrupt];
        assert!(doubtful.into_iter().all(leaves_doubt));
        let answered = [Code::NotHead, Code::WrongChainVersion, Code::Busy, Code::NoSpace, Code::Unreachable];
        assert!(!answered.into_iter().any(leaves_doubt));
    }
}
