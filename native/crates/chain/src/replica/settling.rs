//! A member that was just synced and promoted is the new last one: it decides what is committed (P6). It may have
//! committed what its predecessor, the last one until now, still has pending, and a member that knows only the old
//! version of the chain would be told so by that predecessor. So it shows nothing before its predecessor has the
//! new version too: the answer to the question of `roll_forward` says so. A predecessor that left the chain answers
//! nobody: its lease had run out before (P1).

use super::Replica;
use crate::museum::{Planted, planted};
use crate::view::Role;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settling {
    /// Neither to clients nor to other members.
    pub shows_nothing: bool,
}

impl<P: Clone> Replica<P> {
    /// A new view: from `was` to what the view says now. Also one that comes while a member settles.
    pub(super) fn begin_settling(&mut self, was: Role) {
        let promoted = was == Role::Syncing || self.settling.shows_nothing;
        let serves_behind_another = self.view.role == Role::Serving && self.view.predecessor.is_some();
        self.settling.shows_nothing = serves_behind_another && promoted && !planted(Planted::NoSettling);
    }

    /// The predecessor has this version of the chain.
    pub(super) fn end_settling(&mut self) {
        self.settling.shows_nothing = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::roll_forward::NO_CHUNK;
    use super::super::test_target::{CHUNK, HEAD, TAIL, Target, version};
    use crate::{Committed, Input, Output, ReplyTo};
    use wire::message::PublicState::{PublicServing, PublicSyncing};
    use wire::{Code, Error};

    #[test]
    fn a_promoted_member_shows_nothing_before_its_predecessor_has_the_new_version() {
        let mut tail = Target::new(TAIL, Committed::default());
        let shows = |tail: &mut Target, chain_version: u64| {
            let read = Input::Read { reply: ReplyTo(1), chain_version, chunk: CHUNK };
            match tail.feed(read)[..] {
                [Output::ReadCommitted { .. }] => true,
                [Output::ReplyRead { ref error, .. }] if error.code == Code::NotServing => false,
                ref other => panic!("{other:?}"),
            }
        };
        let answered = |tail: &mut Target, chain_version: u64, result| {
            tail.feed(Input::CommittedAnswer { chain_version, chunk: NO_CHUNK, result });
            tail.feed(Input::Tick);
        };
        tail.view(1, PublicSyncing);
        tail.view(2, PublicServing);
        assert!(!shows(&mut tail, 2));
        answered(&mut tail, 2, Err(Error::new(Code::WrongChainVersion, "it has 1")));
        assert!(!shows(&mut tail, 2), "the predecessor decides still");
        tail.view(3, PublicServing);
        answered(&mut tail, 2, Ok(version(2, 0)));
        assert!(!shows(&mut tail, 3), "an answer about a version that is over");
        answered(&mut tail, 3, Ok(version(1, 0)));
        assert!(shows(&mut tail, 3), "whatever pends there");
        tail.view(4, PublicServing);
        assert!(shows(&mut tail, 4), "it has shown everything already");
        let mut head = Target::new(HEAD, Committed::default());
        head.view(1, PublicServing);
        assert!(shows(&mut head, 1), "nobody is before it");
    }
}
