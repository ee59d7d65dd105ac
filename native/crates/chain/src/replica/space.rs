//! What the serving members after this one may still allocate (P8). Acknowledgements carry it; but a head that
//! refuses every write for want of space gets none, and would never hear that there is room again. So while
//! it is little, the executor asks. It decides no version and no state. A member that does not know the room of
//! all behind it says so, and whoever asked asks again: its own room alone would be a promise in their name.
//!
//! Messages may overtake each other, and an acknowledgement that comes late tells of room that is gone since. So it
//! only lowers what is known; an answer may raise it, up to the least that any told since the question.
//!
//! A member that is only synced has no say: it leaves the chain if it has no room (`sync_room`), and no writer is
//! refused in its name. It is asked for the first time in the version in which it serves.

use super::{Replica, Step};
use crate::limits::{BLOCK_BYTES, ROOM_UNKNOWN, SPACE_ASKED_BELOW_BYTES, SPACE_QUESTIONS_MAX};
use crate::museum::{Planted, planted};
use crate::update::{Chunks, Update};
use crate::view::View;
use std::collections::VecDeque;
use wire::message::UpdateKind;
use wire::{Code, Error, Result, TargetId};

/// Each with the least that was told since it was put.
#[derive(Debug, Default)]
pub(super) struct Questions {
    put: u64,
    open: VecDeque<(u64, u64)>,
}

/// For a member's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceQuestion {
    pub of: TargetId,
    number: u64,
}

impl Questions {
    fn put(&mut self, of: TargetId) -> SpaceQuestion {
        self.put += 1;
        self.open.push_back((self.put, u64::MAX));
        if self.open.len() > SPACE_QUESTIONS_MAX {
            self.open.pop_front();
        }
        SpaceQuestion { of, number: self.put }
    }

    fn told(&mut self, bytes: u64) {
        self.open.iter_mut().for_each(|(_, least)| *least = bytes.min(*least));
    }

    /// The least that was told since; `None`: it does not count any more. Nor do those before it.
    fn answered(&mut self, question: SpaceQuestion) -> Option<u64> {
        let place = self.open.iter().position(|(number, _)| *number == question.number)?;
        self.open.drain(..=place).next_back().map(|(_, least)| least)
    }
}

impl<P: Clone> Replica<P> {
    /// A new version of the chain. What is known of the room of the members that served `before` after this one
    /// stays while no other is among them: it is less than they have, at worst. Whoever did not hear of the version
    /// between does not know that. If it is little, and one has left who may have been the full one, it is asked
    /// for: no write is refused in the name of that one.
    pub(super) fn begin_with_room(&mut self, before: &View) {
        self.space_questions.open.clear();
        let (was, after) = (&before.serving_after, &self.view.serving_after);
        let synced = |member: &TargetId| planted(Planted::SyncedRoomNotAsked) && before.syncs(*member);
        let same = after.iter().all(|member| was.contains(member) || synced(member));
        let others = !same || self.view.version.0 > before.version.0 + 1;
        let fewer = was.iter().any(|member| !after.contains(member));
        if after.is_empty() {
            self.successor_allocatable_bytes = Some(u64::MAX);
        } else if (others && !planted(Planted::OldRoomKept)) || (fewer && self.asks_space_of().is_some()) {
            self.successor_allocatable_bytes = None;
        }
    }

    /// The successor, if its room counts.
    fn serving_successor(&self) -> Option<TargetId> {
        let counts = !self.view.successor_is_syncing || planted(Planted::SyncingRoomCounts);
        self.view.successor.filter(|_| counts)
    }

    /// The successor, if it must be asked for its room. The executor asks about once a second, and at once while
    /// `room_is_unknown`, and brings the answer to `learn_space`.
    pub fn ask_space(&mut self) -> Option<SpaceQuestion> {
        let of = self.asks_space_of()?;
        Some(self.space_questions.put(of))
    }

    fn asks_space_of(&self) -> Option<TargetId> {
        let little = self.successor_allocatable_bytes.is_none_or(|bytes| bytes < SPACE_ASKED_BELOW_BYTES);
        self.serving_successor().filter(|_| little)
    }

    /// While this holds a head gives no versions to updates that allocate.
    pub fn room_is_unknown(&self) -> bool {
        self.successor_allocatable_bytes.is_none()
    }

    /// Of another member an answer says nothing, nor of another version of the chain, which is that of whoever
    /// answered: there, others may be behind it than here.
    fn tells_room(&self, from: TargetId, chain_version: u64, allocatable_bytes: u64) -> bool {
        let same = chain_version == self.view.version.0 || planted(Planted::RoomOfAnyView);
        let known = allocatable_bytes != ROOM_UNKNOWN || planted(Planted::OwnRoomForAll);
        self.serving_successor() == Some(from) && same && known
    }

    pub fn learn_space(&mut self, question: SpaceQuestion, chain_version: u64, allocatable_bytes: u64) {
        if self.tells_room(question.of, chain_version, allocatable_bytes)
            && let Some(least) = self.space_questions.answered(question)
        {
            self.successor_allocatable_bytes = Some(allocatable_bytes.min(least));
        }
    }

    /// By an acknowledgement.
    pub(super) fn told_room(&mut self, from: TargetId, chain_version: u64, allocatable_bytes: u64) {
        if self.tells_room(from, chain_version, allocatable_bytes) {
            self.space_questions.told(allocatable_bytes);
            let known = self.successor_allocatable_bytes.unwrap_or(u64::MAX);
            self.successor_allocatable_bytes = Some(known.min(allocatable_bytes));
        }
    }

    /// Updates were committed without an acknowledgement, which would have said what room they left.
    pub(super) fn spend_room(&mut self, bytes: u64) {
        if let Some(known) = &mut self.successor_allocatable_bytes {
            *known = known.saturating_sub(bytes);
        }
    }

    /// Whether all members can store what the update allocates. Truncations and removals are how room is made, and are
    /// never refused.
    pub(super) fn has_room(&self, step: &Step<P>, update: &Update) -> Result<()> {
        let cuts = update.kind == UpdateKind::UpdateTruncate && planted(Planted::RoomToCut);
        let wanted = if cuts { BLOCK_BYTES } else { update.may_allocate_bytes() };
        if wanted == 0 {
            return Ok(());
        }
        let Some(others) = self.successor_allocatable_bytes else {
            let detail = format!("target {} does not know the room after it yet", self.identity.target);
            return Err(Error::new(Code::Busy, detail));
        };
        // What is stored here is gone from what is left here, and until it is committed not from what others said.
        let full_here = self.storing_bytes + wanted > step.chunks.allocatable_bytes();
        let full = full_here || self.allocating_bytes + wanted > others;
        match full && !planted(Planted::IgnoreSpace) {
            false => Ok(()),
            true => Err(Error::new(Code::NoSpace, format!("chain {}", self.view.chain.id))),
        }
    }

    /// The least that this member and those that serve after it may still allocate; `ROOM_UNKNOWN` while it does not
    /// know of those.
    pub fn allocatable_bytes(&self, chunks: &dyn Chunks) -> u64 {
        let own = chunks.allocatable_bytes();
        match self.successor_allocatable_bytes {
            Some(bytes) => own.min(bytes),
            None if planted(Planted::OwnRoomForAll) => own,
            None => ROOM_UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_target::{CHUNK, HEAD, TAIL, Target, present, update, version};
    use super::*;
    use crate::update::{Committed, Listed};
    use crate::{Identity, Input, Output, Recovered, ReplyTo, Time};
    use wire::ChunkId;
    use wire::message::{Chain, Member, PublicState, UpdateKind};

    struct Room(u64);
    impl Chunks for Room {
        fn committed(&self, _chunk: ChunkId) -> Committed {
            Committed::default()
        }
        fn list(&self, _from: ChunkId, _limit: usize) -> Vec<Listed> {
            Vec::new()
        }
        fn allocatable_bytes(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn little_room_is_asked_for_until_there_is_more() {
        let member = |target: u64| Member {
            target,
            node: target as u32,
            state: PublicState::PublicServing as i32,
            incarnation: 7,
            ..Member::default()
        };
        let chain = Chain { id: 1, version: 4, members: vec![member(1), member(2)], ..Chain::default() };
        let mut replica: Replica<()> =
            Replica::new(Identity { target: TargetId(1), incarnation: 7 }, Recovered::default());
        let room = Room(1 << 40);
        replica.handle(Time(1), Input::View { chain, lease_until: Some(Time(9)) }, &room, &mut Vec::new());
        assert_eq!(replica.asks_space_of(), Some(TargetId(2)), "nothing is known");
        assert!(replica.room_is_unknown());
        assert_eq!(replica.allocatable_bytes(&room), ROOM_UNKNOWN, "nor does it promise anything");
        let answer = |replica: &mut Replica<()>, bytes: u64| {
            let question = replica.ask_space().expect("it is little");
            replica.learn_space(question, 4, bytes);
        };
        answer(&mut replica, ROOM_UNKNOWN);
        assert!(replica.room_is_unknown(), "that one does not know either");
        answer(&mut replica, 1 << 39);
        assert_eq!(replica.ask_space(), None, "it is not little");
        replica.told_room(TargetId(2), 4, 100);
        assert_eq!(replica.allocatable_bytes(&room), 100);
        replica.told_room(TargetId(3), 4, 5);
        replica.told_room(TargetId(2), 3, 5);
        replica.told_room(TargetId(2), 4, ROOM_UNKNOWN);
        let other = SpaceQuestion { of: TargetId(3), ..replica.ask_space().unwrap() };
        replica.learn_space(other, 4, u64::MAX);
        let old = replica.ask_space().unwrap();
        replica.learn_space(old, 3, u64::MAX);
        assert_eq!(replica.allocatable_bytes(&room), 100, "another member, another version");
        answer(&mut replica, 1 << 39);
        assert_eq!(replica.ask_space(), None);
        assert_eq!(replica.allocatable_bytes(&room), 1 << 39);
        assert_eq!(replica.allocatable_bytes(&Room(5)), 5);
    }

    /// It tells of room that is gone since.
    #[test]
    fn what_was_overtaken_raises_nothing() {
        let mut head = Target::new(HEAD, present(version(1, 5)));
        head.view(1, PublicState::PublicServing);
        let room = |head: &Target| head.replica.allocatable_bytes(&Room(1 << 50));
        head.replica.told_room(TAIL, 1, 10);
        head.replica.told_room(TAIL, 1, 30);
        assert_eq!(room(&head), 10);
        let [first, second, third] = [(); 3].map(|()| head.replica.ask_space().unwrap());
        head.replica.learn_space(second, 1, 40);
        assert_eq!(room(&head), 40, "there is more again");
        head.replica.learn_space(first, 1, 50);
        assert_eq!(room(&head), 40, "asked before");
        head.replica.told_room(TAIL, 1, 20);
        head.replica.told_room(TAIL, 1, 25);
        head.replica.learn_space(third, 1, 40);
        assert_eq!(room(&head), 20, "asked before that was told");
        let last = head.replica.ask_space().unwrap();
        head.view(2, PublicState::PublicServing);
        let before = room(&head);
        head.replica.learn_space(last, 2, 1 << 45);
        assert_eq!(room(&head), before, "asked in another version");
    }

    #[test]
    fn what_is_known_is_of_the_members_it_was_learnt_of() {
        let view = |version: u64, order: &[u64]| {
            let member = |target: &u64| Member {
                target: *target,
                node: *target as u32,
                state: PublicState::PublicServing as i32,
                incarnation: 7,
                ..Member::default()
            };
            let members = order.iter().map(member).collect();
            let chain = Chain { id: 1, version, members, ..Chain::default() };
            Input::View { chain, lease_until: Some(Time(9)) }
        };
        let mut replica: Replica<()> =
            Replica::new(Identity { target: TargetId(2), incarnation: 7 }, Recovered::default());
        let mut is_unknown_in = |version: u64, order: &[u64], learns: Option<u64>| {
            replica.handle(Time(1), view(version, order), &Room(1 << 40), &mut Vec::new());
            let unknown = replica.room_is_unknown();
            if let Some(from) = learns {
                replica.told_room(TargetId(from), version, 1 << 20);
            }
            unknown
        };
        assert!(is_unknown_in(1, &[1, 2, 3], Some(3)));
        assert!(!is_unknown_in(2, &[2, 3], None), "the same one");
        assert!(is_unknown_in(3, &[2, 3, 1], Some(3)), "one more");
        assert!(!is_unknown_in(4, &[2, 1, 3], None), "the same ones");
        assert!(!is_unknown_in(5, &[3, 2], None), "nobody is after it");
        assert!(is_unknown_in(6, &[2, 3], Some(3)), "nothing is known of it any more");
        assert!(is_unknown_in(7, &[2, 3, 1], Some(3)), "one more");
        assert!(!is_unknown_in(8, &[2, 1, 3], None), "the same ones");
        assert!(is_unknown_in(9, &[2, 3], None), "the one who left may have been the full one");
    }

    /// In each version: who is in the chain (`2s`: it is synced), who tells its room then, and whether it was unknown.
    fn unknown_of(target: u64, versions: &[(u64, &str, Option<u64>)]) -> Vec<(bool, Option<TargetId>, u64)> {
        let mut replica: Replica<()> =
            Replica::new(Identity { target: TargetId(target), incarnation: 7 }, Recovered::default());
        let room = Room(1 << 40);
        let state = |name: &str| match name.ends_with('s') {
            true => PublicState::PublicSyncing as i32,
            false => PublicState::PublicServing as i32,
        };
        let member = |name: &str| {
            let target = name.trim_end_matches('s').parse().unwrap();
            Member { target, node: target as u32, state: state(name), incarnation: 7, ..Member::default() }
        };
        let mut known = Vec::new();
        for &(version, members, told) in versions {
            let members = members.split(' ').map(member).collect();
            let chain = Chain { id: 1, version, members, ..Chain::default() };
            replica.handle(
                Time(1),
                Input::View { chain, lease_until: Some(Time(9)) },
                &room,
                &mut Vec::new(),
            );
            let unknown = replica.room_is_unknown();
            if let Some(from) = told {
                replica.told_room(TargetId(from), version, 100);
            }
            known.push((unknown, replica.asks_space_of(), replica.allocatable_bytes(&room)));
        }
        known
    }

    #[test]
    fn a_member_that_is_synced_has_no_say() {
        let own = 1 << 40;
        let alone = (false, None, own);
        let asked = (true, Some(TargetId(2)), 100);
        // The head alone, then with one that is synced, whatever that one says, and serves at last.
        let versions = [(1, "1", None), (2, "1 2s", Some(2)), (3, "1 2", Some(2))];
        assert_eq!(unknown_of(1, &versions), [alone, alone, asked]);
        // The last one that serves answers for itself, and hears of the other when that one serves.
        let versions = [(1, "2 1 3s", Some(3)), (2, "2 1 3", None)];
        assert_eq!(unknown_of(1, &versions), [alone, (true, Some(TargetId(3)), ROOM_UNKNOWN)]);
        // What the head knows of the one between stays, and is asked for anew when the third one serves.
        let versions = [(1, "1 2", Some(2)), (2, "1 2 3s", None), (3, "1 2 3", None)];
        let (kept, anew) = ((false, Some(TargetId(2)), 100), (true, Some(TargetId(2)), ROOM_UNKNOWN));
        assert_eq!(unknown_of(1, &versions), [asked, kept, anew]);
        // It leaves without having served: it was not the full one.
        let versions = [(1, "1 2", Some(2)), (2, "1 2 3s", None), (3, "1 2", None)];
        assert_eq!(unknown_of(1, &versions), [asked, kept, kept]);
    }

    #[test]
    fn who_missed_a_version_does_not_know_who_came_back() {
        let known = unknown_of(1, &[(1, "1 2", Some(2)), (2, "1 2", None), (5, "1 2", None)]);
        let unknown: Vec<bool> = known.iter().map(|(unknown, _, _)| *unknown).collect();
        assert_eq!(unknown, [true, false, true], "it may have been synced in between");
    }

    /// The acknowledgement is lost, and a read asks the last member.
    #[test]
    fn what_a_read_commits_has_taken_its_room() {
        let mut head = Target::new(HEAD, Committed::default());
        head.view(1, PublicState::PublicServing);
        let room = head.replica.allocatable_bytes(&Room(1 << 50));
        head.assign(1, 1, UpdateKind::UpdateWrite);
        head.stored(version(1, 1));
        head.feed(Input::Read { reply: ReplyTo(5), chain_version: 1, chunk: CHUNK });
        let result = Ok(version(1, 1));
        head.feed(Input::CommittedAnswer { chain_version: 1, chunk: CHUNK, result });
        assert!(head.replica.is_idle());
        assert_eq!(head.replica.allocatable_bytes(&Room(1 << 50)), room - 1 - 8192);
        head.acknowledged(1, version(1, 1));
        assert_eq!(head.replica.allocatable_bytes(&Room(1 << 50)), room - 1 - 8192, "it may come late");
    }

    /// Whatever the chunk's length is: one that it exceeds changes nothing, and takes no room either.
    #[test]
    fn a_full_chain_takes_every_truncation() {
        let mut head = Target::new(HEAD, Committed { length: 5, ..present(version(1, 5)) });
        head.view(1, PublicState::PublicServing);
        let mut channel = 0;
        let mut refusal = |head: &mut Target, kind: UpdateKind, length: u32| {
            channel += 1;
            let update = update(channel, kind, length);
            let reply = ReplyTo(u64::from(channel));
            let out = head.feed(Input::Update { reply, chain_version: 1, update, payload: () });
            match &out[..] {
                [Output::ReplyUpdate { result: Err(error), .. }] => Some(error.code),
                [Output::Store { .. }] => None,
                other => panic!("{other:?}"),
            }
        };
        head.replica.told_room(TAIL, 1, BLOCK_BYTES - 1);
        assert_eq!(refusal(&mut head, UpdateKind::UpdateWrite, 1), Some(Code::NoSpace));
        for length in [6, 4, 5, 0, 8] {
            assert_eq!(refusal(&mut head, UpdateKind::UpdateTruncate, length), None, "to {length}");
        }
    }

    /// Also while its commit waits for others: what is left here knows of it.
    #[test]
    fn what_is_stored_takes_its_room_once() {
        let mut head = Target::new(HEAD, present(version(1, 5)));
        head.view(1, PublicState::PublicServing);
        head.replica.told_room(TAIL, 1, 1 << 40);
        let each = update(1, UpdateKind::UpdateWrite, 1).may_allocate_bytes();
        let write = |head: &mut Target, channel: u32| {
            let update = update(channel, UpdateKind::UpdateWrite, 1);
            let reply = ReplyTo(u64::from(channel));
            let out = head.feed(Input::Update { reply, chain_version: 1, update, payload: () });
            matches!(out[..], [Output::Store { .. }])
        };
        head.held.1.set(2 * each);
        assert!(write(&mut head, 1));
        head.stored(version(1, 6));
        head.held.1.set(each);
        assert!(write(&mut head, 2));
        assert!(!write(&mut head, 3), "the second is not stored");
        head.held.1.set(2 * each - 1);
        assert!(!write(&mut head, 3));
        head.held.1.set(2 * each);
        assert!(write(&mut head, 3));
        head.replica.told_room(TAIL, 1, 4 * each - 1);
        head.held.1.set(1 << 40);
        assert!(!write(&mut head, 4), "of others it is not known that they have stored any");
    }
}
