//! What a serving member learns from the one before it after a change of the chain (P6), by one question that
//! is asked until there is nothing left to learn.
//!
//! **A member that was just synced** is the new last one: it decides what is committed. It may have committed
//! what its predecessor, the last one until now, still has pending, and a member that knows only the old
//! version of the chain would be told so by that predecessor. So it shows nothing before its predecessor has
//! the new version too. A predecessor that left the chain answers nobody: its lease had run out before (P1).
//!
//! **Rolled forward**: whoever still holds a removal pending drives it again and asks the last member for it,
//! for as long as its acknowledgements are lost. So no mark of a removal may go before this member and those
//! before it say that they hold nothing of its version of the chain any more. That stays true: later versions
//! of the chain have none of these members in front but those that said so, or change places when nothing pends
//! anywhere. A member that was away forgets what it knew: it may come back behind others.

use super::{Output, Replica, ReplyTo, Step};
use crate::museum::{Planted, planted};
use crate::view::Role;
use wire::{ChainVersion, ChunkId, Code, Error, Result, Version};

/// No chunk has this id: the question is about the version of the chain alone. The answer's `chain` is up to
/// where the asked member has rolled forward.
pub(super) const NO_CHUNK: ChunkId = ChunkId { inode: u64::MAX, index: u64::MAX };

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settling {
    /// This member shows nothing yet.
    pub waits: bool,
    /// The question is in the air.
    asked: bool,
    pub rolled_forward: u64,
}

impl<P: Clone> Replica<P> {
    /// A new view: from `was` to what the view says now.
    pub(super) fn begin_settling(&mut self, was: Role) {
        let alone = self.view.predecessor.is_none();
        let new = was == Role::Syncing || self.settling.waits;
        let waits = self.view.role == Role::Serving && new && !alone && !planted(Planted::NoSettling);
        // Who comes back was not among those that said so: it may come to stand behind one that did not.
        let kept = if self.view.role == Role::Serving { self.settling.rolled_forward } else { 0 };
        self.settling = Settling { waits, asked: false, rolled_forward: kept };
    }

    pub(super) fn ask_predecessor(&mut self, step: &mut Step<P>) {
        let settled = !self.settling.waits && self.settling.rolled_forward >= self.view.version.0;
        if self.view.role != Role::Serving || settled || self.settling.asked {
            return;
        }
        let chain_version = self.view.version.0;
        let Some(to) = self.view.predecessor else { return self.learn_rolled_forward(chain_version) };
        self.settling.asked = true;
        step.out.push(Output::AskCommitted { to, chain_version, chunk: NO_CHUNK });
    }

    /// The successor asks: an answer says that this member and those before it have the version of the chain,
    /// and what they have rolled forward.
    pub(super) fn on_settling_question(&mut self, step: &mut Step<P>, reply: ReplyTo, chain_version: u64) {
        let result = self.same_version(chain_version).and_then(|()| {
            if self.view.role != Role::Serving || self.settling.waits {
                return Err(Error::new(Code::NotServing, format!("target {}", self.identity.target)));
            }
            if self.view.predecessor.is_none() {
                self.learn_rolled_forward(chain_version);
            }
            let chain = self.settling.rolled_forward.min(self.oldest_in_work());
            Ok(Version { chain, number: 0 })
        });
        step.out.push(Output::ReplyCommitted { reply, result });
    }

    pub(super) fn on_settling_answer(&mut self, chain_version: u64, result: Result<Version>) {
        if chain_version != self.view.version.0 || !self.settling.asked {
            return;
        }
        self.settling.asked = false;
        if let Ok(before) = result {
            self.settling.waits = false;
            self.learn_rolled_forward(before.chain);
        }
    }

    /// The members before this one hold nothing of a version of the chain below `before`.
    fn learn_rolled_forward(&mut self, before: u64) {
        let here = before.min(self.oldest_in_work());
        self.settling.rolled_forward = self.settling.rolled_forward.max(here);
    }

    /// The oldest version of the chain that something names which pends here. The engine still looks for the
    /// base of what it has not stored yet.
    fn oldest_in_work(&self) -> u64 {
        let pending = self.queues.values().flat_map(|queue| &queue.pending);
        let named = pending.map(|pending| match pending.applied {
            None if pending.base != Version::NONE && !planted(Planted::StoredOnMark) => {
                pending.base.chain.min(pending.version.chain)
            }
            _ => pending.version.chain,
        });
        named.min().unwrap_or(u64::MAX)
    }

    /// Whether whoever sends this to a serving member sent it before it had an answer, and has one since: the
    /// update is committed everywhere, though a removal that followed it may have left no mark here.
    pub(super) fn is_rolled_forward(&self, version: Version) -> bool {
        let serves = self.view.role == Role::Serving;
        serves && version.chain < self.settling.rolled_forward && !planted(Planted::LateUpdateStored)
    }

    /// Marks of removals of an earlier version of the chain than this may be forgotten: every member before
    /// this one has committed them.
    pub fn rolled_forward(&self) -> ChainVersion {
        match planted(Planted::MarksByVersion) {
            true => self.view.version,
            false => ChainVersion(self.settling.rolled_forward),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Acknowledged, Applied, Chunks, Committed, Identity, Input, Listed, LiveClients, Recovered,
        Replacement, Time, Update,
    };
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use wire::message::{Chain, Member, PublicState, Routing, UpdateKind};
    use wire::{Tag, TargetId};

    const HEAD: TargetId = TargetId(7);
    const TAIL: TargetId = TargetId(8);
    const CHUNK: ChunkId = ChunkId { inode: 1, index: 1 };

    fn version(chain: u64, number: u64) -> Version {
        Version { chain, number }
    }

    /// What is committed, as the outputs say.
    #[derive(Default)]
    struct Held(RefCell<BTreeMap<ChunkId, Committed>>);

    impl Chunks for Held {
        fn committed(&self, chunk: ChunkId) -> Committed {
            self.0.borrow().get(&chunk).copied().unwrap_or_default()
        }

        fn list(&self, _: ChunkId, _: usize) -> Vec<Listed> {
            Vec::new()
        }

        fn allocatable_bytes(&self) -> u64 {
            1 << 40
        }
    }

    struct Target {
        replica: Replica<()>,
        held: Held,
    }

    impl Target {
        fn new(target: TargetId, committed: Committed) -> Target {
            let replica = Replica::new(Identity { target, incarnation: 1 }, Recovered::default());
            let held = Held::default();
            held.0.borrow_mut().insert(CHUNK, committed);
            let mut new = Target { replica, held };
            let clients_added = vec![vec![0; 16].into()];
            let mut clients = LiveClients::default();
            clients.apply(&Routing { version: 1, clients_added, ..Routing::default() });
            new.feed(Input::Clients(clients.into()));
            new
        }

        fn feed(&mut self, input: Input<()>) -> Vec<Output<()>> {
            let mut out = Vec::new();
            self.replica.handle(Time::ZERO, input, &self.held, &mut out);
            out
        }

        /// What the head and the tail are in this version.
        fn view(&mut self, number: u64, tail: PublicState) -> Vec<Output<()>> {
            let member = |target: TargetId, state: PublicState| Member {
                target: target.0,
                node: target.0 as u32,
                state: state as i32,
                incarnation: 1,
                ..Member::default()
            };
            let members = vec![member(HEAD, PublicState::PublicServing), member(TAIL, tail)];
            let chain = Chain { id: 1, version: number, members, ..Chain::default() };
            let out = self.feed(Input::View { chain, lease_until: Some(Time(u64::MAX)) });
            self.replica.learn_space(TAIL, number, 1 << 40);
            out
        }

        fn assign(&mut self, chain_version: u64, channel: u32, kind: UpdateKind) {
            let length = u32::from(kind == UpdateKind::UpdateWrite);
            let update = update(channel, kind, length);
            let out = self.feed(Input::Update {
                reply: ReplyTo(u64::from(channel)),
                chain_version,
                update,
                payload: (),
            });
            assert!(matches!(out[..], [Output::Store { .. }]), "{out:?}");
        }

        fn stored(&mut self, version: Version) -> Vec<Output<()>> {
            self.feed(Input::Stored { chunk: CHUNK, version, result: Ok(Applied::default()) })
        }

        fn acknowledged(&mut self, chain_version: u64, version: Version) {
            let acknowledged = Acknowledged {
                version,
                applied: Applied::default(),
                durability_epoch: 0,
                allocatable_bytes: 1 << 40,
            };
            let (from, result) = (TAIL, Ok(acknowledged));
            self.feed(Input::ForwardAnswer { from, chain_version, chunk: CHUNK, version, result });
        }

        /// The answer to the successor's question.
        fn answer(&mut self, chain_version: u64) -> u64 {
            let question = Input::Committed { reply: ReplyTo(9), chain_version, chunk: NO_CHUNK };
            match self.feed(question)[..] {
                [Output::ReplyCommitted { result: Ok(Version { chain, number: 0 }), .. }] => chain,
                ref other => panic!("{other:?}"),
            }
        }
    }

    fn update(channel: u32, kind: UpdateKind, length: u32) -> Update {
        let tag = Tag { channel, sequence: 1, ..Tag::default() };
        Update { chunk: CHUNK, tag, kind, offset: 0, length, crc: 0, chunk_size: 8, flush: false }
    }

    fn present(version: Version) -> Committed {
        Committed { version, length: 1, removed: false, chunk_size: 8 }
    }

    fn asks(out: &[Output<()>]) -> bool {
        let question = |output: &Output<()>| matches!(output, Output::AskCommitted { to, chunk: NO_CHUNK, .. } if *to == HEAD);
        out.iter().any(question)
    }

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

    /// The sender committed the removal after it had sent this, and the mark may go before it is stored.
    #[test]
    fn nothing_is_stored_on_the_mark_of_a_removal() {
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

    /// The answer to the first copy was lost, and the source has forgotten the mark since.
    #[test]
    fn a_mark_that_its_source_forgot_is_as_good_as_none() {
        let mut tail = Target::new(TAIL, present(version(1, 5)));
        tail.view(2, PublicState::PublicSyncing);
        tail.feed(Input::SyncStart { reply: ReplyTo(1), chain_version: 2 });
        let mark = Committed { removed: true, ..present(version(1, 6)) };
        let copy = |committed| Input::SyncReplace {
            reply: ReplyTo(2),
            chain_version: 2,
            replacement: Replacement { chunk: CHUNK, committed, crc: 0, damaged_blocks: Vec::new() },
            payload: (),
        };
        assert!(matches!(tail.feed(copy(mark))[..], [Output::Replace { .. }]));
        tail.held.0.borrow_mut().insert(CHUNK, mark);
        tail.feed(Input::Replaced { chunk: CHUNK, version: mark.version, result: Ok(()) });
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
