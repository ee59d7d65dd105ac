//! What a serving member knows of those before it (P6): up to which version of the chain they have rolled forward,
//! which is to say that nothing pends there that names an earlier one. It asks its predecessor, which answers for
//! itself and for those before it, until there is nothing left to learn.
//!
//! Whoever still holds a removal pending drives it again and asks the last member for it, for as long as its
//! acknowledgements are lost. So no tombstone (the mark that a removal leaves) may go before this member and those
//! before it say that they hold nothing of its version of the chain any more. That stays true: later versions of the
//! chain have none of these members in front but those that said so, or change places when nothing pends anywhere. A
//! member that was away forgets what it knew: it may come back behind others.

use super::{Output, Replica, ReplyTo, Step};
use crate::museum::{Planted, planted};
use crate::view::Role;
use wire::{ChainVersion, ChunkId, Code, Error, Result, Version};

/// No chunk has this id: the question is about the version of the chain alone. The answer's `chain` is up to
/// where the asked member has rolled forward.
pub(super) const NO_CHUNK: ChunkId = ChunkId { inode: u64::MAX, index: u64::MAX };

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RollForward {
    /// Nothing of an earlier version of the chain pends here or before this member.
    up_to: u64,
    /// The question is in the air.
    asked: bool,
}

impl<P: Clone> Replica<P> {
    /// A new view. Who comes back was not among those that said so: it may come to stand behind one that did not.
    pub(super) fn begin_roll_forward(&mut self) {
        let stays = self.view.role == Role::Serving || planted(Planted::RolledForwardStays);
        let up_to = if stays { self.roll_forward.up_to } else { 0 };
        self.roll_forward = RollForward { up_to, asked: false };
    }

    /// Every member before this one has this version of the chain, and holds nothing of an earlier one.
    pub(super) fn all_rolled_forward(&self) -> bool {
        self.roll_forward.up_to >= self.view.version.0
    }

    pub(super) fn ask_predecessor(&mut self, step: &mut Step<P>) {
        let knows_all = !self.settling.shows_nothing && self.all_rolled_forward();
        if self.view.role != Role::Serving || knows_all || self.roll_forward.asked {
            return;
        }
        let chain_version = self.view.version.0;
        let Some(to) = self.view.predecessor else { return self.learn_rolled_forward(chain_version) };
        self.roll_forward.asked = true;
        step.out.push(Output::AskCommitted { to, chain_version, chunk: NO_CHUNK });
    }

    /// The successor asks: an answer says that this member and those before it have the version of the chain,
    /// and what they have rolled forward.
    pub(super) fn on_predecessor_question(&mut self, step: &mut Step<P>, reply: ReplyTo, chain_version: u64) {
        let result = self.same_version(chain_version).and_then(|()| {
            if self.view.role != Role::Serving || self.settling.shows_nothing {
                return Err(Error::new(Code::NotServing, format!("target {}", self.identity.target)));
            }
            if self.view.predecessor.is_none() {
                self.learn_rolled_forward(chain_version);
            }
            let chain = self.roll_forward.up_to.min(self.oldest_in_work());
            Ok(Version { chain, number: 0 })
        });
        step.out.push(Output::ReplyCommitted { reply, result });
    }

    pub(super) fn on_predecessor_answer(&mut self, chain_version: u64, result: Result<Version>) {
        if chain_version != self.view.version.0 || !self.roll_forward.asked {
            return;
        }
        self.roll_forward.asked = false;
        if let Ok(before) = result {
            self.end_settling();
            self.learn_rolled_forward(before.chain);
        }
    }

    /// The members before this one hold nothing of a version of the chain below `before`.
    fn learn_rolled_forward(&mut self, before: u64) {
        let here = before.min(self.oldest_in_work());
        self.roll_forward.up_to = self.roll_forward.up_to.max(here);
    }

    /// The oldest version of the chain that something names which pends here. The engine still looks for the
    /// base of what it has not stored yet.
    fn oldest_in_work(&self) -> u64 {
        let pending = self.queues.values().flat_map(|queue| &queue.pending);
        let named = pending.map(|pending| match pending.applied {
            None if pending.base != Version::NONE && !planted(Planted::StoredOnTombstone) => {
                pending.base.chain.min(pending.version.chain)
            }
            _ => pending.version.chain,
        });
        named.min().unwrap_or(u64::MAX)
    }

    /// Whether whoever sends this to a serving member sent it before it had an answer, and has one since: the
    /// update is committed everywhere, though a removal that followed it may have left no tombstone here.
    pub(super) fn is_rolled_forward(&self, version: Version) -> bool {
        let serves = self.view.role == Role::Serving;
        serves && version.chain < self.roll_forward.up_to && !planted(Planted::LateUpdateStored)
    }

    /// Tombstones of an earlier version of the chain than this may be forgotten: every member before this one has
    /// committed those removals.
    pub fn rolled_forward(&self) -> ChainVersion {
        match planted(Planted::TombstonesByVersion) {
            true => self.view.version,
            false => ChainVersion(self.roll_forward.up_to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_target::{CHUNK, HEAD, TAIL, Target, asks, present, update, version};
    use super::*;
    use crate::{Committed, Input, Replacement, Time};
    use wire::message::{PublicState, UpdateKind};

    #[test]
    fn a_head_has_rolled_forward_what_is_committed_and_stands_on_nothing_older() {
        let mut head = Target::new(HEAD, present(version(1, 5)));
        head.view(1, PublicState::PublicServing);
        head.assign(1, 1, UpdateKind::UpdateRemove);
        head.stored(version(1, 6));
        head.view(2, PublicState::PublicServing);
        head.assign(2, 2, UpdateKind::UpdateWrite);
        assert_eq!((head.answer(2), head.replica.rolled_forward().0), (1, 1), "the removal pends");
        head.acknowledged(2, version(1, 6));
        assert_eq!(head.answer(2), 1, "the engine still looks for the removal that the write follows");
        head.stored(version(2, 7));
        assert_eq!((head.answer(2), head.replica.rolled_forward().0), (2, 2));
        head.view(3, PublicState::PublicServing);
        assert_eq!(head.answer(3), 2, "the write pends");
        head.acknowledged(3, version(2, 7));
        head.feed(Input::Tick);
        assert_eq!(head.replica.rolled_forward().0, 3);
    }

    #[test]
    fn a_member_with_pending_updates_leaves_the_list_of_chunks_to_others() {
        let mut head = Target::new(HEAD, present(version(1, 5)));
        head.view(1, PublicState::PublicServing);
        let may_list = |head: &Target, inode| {
            head.replica.may_list_committed(Time::ZERO, 1, inode).map_err(|error| error.code)
        };
        assert_eq!(may_list(&head, None), Ok(()));
        head.assign(1, 1, UpdateKind::UpdateRemove);
        head.stored(version(1, 6));
        assert_eq!(may_list(&head, None), Err(Code::NotCommitted));
        assert_eq!(may_list(&head, Some(CHUNK.inode)), Err(Code::NotCommitted));
        assert_eq!(may_list(&head, Some(CHUNK.inode + 1)), Ok(()), "of another inode");
        head.acknowledged(1, version(1, 6));
        assert_eq!(may_list(&head, Some(CHUNK.inode)), Ok(()));
        head.assign(1, 2, UpdateKind::UpdateWrite);
        head.view(2, PublicState::PublicSyncing);
        assert_eq!(head.replica.may_list_committed(Time::ZERO, 2, None), Ok(()), "the last one decides");
    }

    /// With reordering: at rest is what the last member knows of all, and what it knew before it was away is void.
    #[test]
    fn the_last_member_is_at_rest_when_all_before_it_have_rolled_forward() {
        let mut tail = Target::new(TAIL, Committed::default());
        let reordering = |tail: &mut Target, number: u64| {
            tail.view(number, PublicState::PublicServing);
            let mut chain = tail.replica.view().chain.clone();
            chain.version += 1;
            chain.reordering = true;
            tail.feed(Input::View { chain, lease_until: Some(Time(u64::MAX)) });
            tail.feed(Input::Tick);
        };
        reordering(&mut tail, 4);
        assert!(!tail.replica.is_at_rest(), "the head did not say anything");
        let answer = |tail: &mut Target, of: u64, chain: u64| {
            let result = Ok(Version { chain, number: 0 });
            tail.feed(Input::CommittedAnswer { chain_version: of, chunk: NO_CHUNK, result });
            tail.feed(Input::Tick);
        };
        answer(&mut tail, 5, 3);
        assert!(!tail.replica.is_at_rest(), "something of version 3 pends before it");
        answer(&mut tail, 5, 5);
        assert!(tail.replica.is_at_rest());
        tail.view(6, PublicState::PublicSyncing);
        assert_eq!(tail.replica.rolled_forward().0, 0, "it was away");
    }

    #[test]
    fn a_member_asks_until_those_before_it_have_rolled_forward() {
        let mut tail = Target::new(TAIL, Committed::default());
        assert!(asks(&tail.view(4, PublicState::PublicServing)));
        assert!(!asks(&tail.feed(Input::Tick)), "one question is in the air");
        let mut answered = |result: Result<Version>| {
            tail.feed(Input::CommittedAnswer { chain_version: 4, chunk: NO_CHUNK, result });
            let asked = asks(&tail.feed(Input::Tick));
            (tail.replica.rolled_forward().0, asked)
        };
        assert_eq!(answered(Err(Error::new(Code::TimedOut, "no answer"))), (0, true));
        assert_eq!(answered(Ok(Version::NONE)), (0, true), "it says nothing of it");
        assert_eq!(answered(Ok(version(3, 0))), (3, true));
        assert_eq!(answered(Ok(version(4, 0))), (4, false));
    }

    /// The sender committed the removal after it had sent this, and the tombstone may go before it is stored.
    #[test]
    fn nothing_is_stored_on_a_tombstone() {
        let mut tail = Target::new(TAIL, Committed { removed: true, ..present(version(1, 6)) });
        tail.view(2, PublicState::PublicServing);
        let forwarded = |number: u64, base: Version| Input::Forwarded {
            reply: ReplyTo(number),
            chain_version: 2,
            version: version(2, number),
            base,
            update: update(number as u32, UpdateKind::UpdateWrite, 1),
            payload: (),
        };
        let mut stored_on = |number, base| match tail.feed(forwarded(number, base))[..] {
            [Output::Store { base, .. }] => base,
            ref other => panic!("{other:?}"),
        };
        assert_eq!(stored_on(7, version(1, 6)), Version::NONE);
        assert_eq!(stored_on(8, version(2, 7)), version(2, 7), "that one pends");
    }

    /// It was on the way for so long that the removal that followed it is committed everywhere, and forgotten.
    #[test]
    fn an_update_that_every_member_has_committed_is_not_stored_again() {
        let fed = |rolled_forward: u64| {
            let mut tail = Target::new(TAIL, Committed::default());
            tail.view(4, PublicState::PublicServing);
            let result = Ok(version(rolled_forward, 0));
            tail.feed(Input::CommittedAnswer { chain_version: 4, chunk: NO_CHUNK, result });
            tail.feed(Input::Forwarded {
                reply: ReplyTo(1),
                chain_version: 4,
                version: version(3, 1),
                base: Version::NONE,
                update: update(1, UpdateKind::UpdateWrite, 1),
                payload: (),
            })
        };
        assert!(matches!(fed(4)[..], [Output::ReplyUpdate { result: Ok(_), .. }]));
        assert!(matches!(fed(3)[..], [Output::Store { .. }]), "it may be new");
    }

    /// The answer to the first copy was lost, and the source has forgotten the tombstone since.
    #[test]
    fn a_tombstone_that_its_source_forgot_is_as_good_as_none() {
        let mut tail = Target::new(TAIL, present(version(1, 5)));
        tail.view(2, PublicState::PublicSyncing);
        let ticket = tail.start_sync(2, 1);
        tail.feed(Input::Discarded { ticket, result: Ok(()) });
        let tombstone = Committed { removed: true, ..present(version(1, 6)) };
        let copy = |committed| Input::SyncReplace {
            reply: ReplyTo(2),
            chain_version: 2,
            replacement: Replacement { chunk: CHUNK, committed, crc: 0, damaged_blocks: Vec::new() },
            payload: (),
        };
        assert!(matches!(tail.feed(copy(tombstone))[..], [Output::Replace { .. }]));
        tail.held.0.borrow_mut().insert(CHUNK, tombstone);
        tail.feed(Input::Replaced { chunk: CHUNK, version: tombstone.version, result: Ok(()) });
        let copied = tail.feed(copy(Committed::default()));
        assert!(matches!(copied[..], [Output::ReplySync { result: Ok(()), .. }]), "{copied:?}");
        tail.held.0.borrow_mut().insert(CHUNK, present(version(2, 7)));
        let copied = tail.feed(copy(Committed::default()));
        assert!(
            matches!(copied[..], [Output::ReplySync { result: Err(_), .. }]),
            "it lives again: {copied:?}"
        );
    }
}
