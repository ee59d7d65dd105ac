//! A syncing member on a full disk (P8, P9). It takes nothing of the reserve, which is for the updates of members
//! that serve: what finds no room, a copy or an update, is tried again, since what is gone or was overwritten comes
//! back with a flush. The chain waits for it meanwhile, so not for long: then the member leaves, and the others go on.
//! It does not begin to serve while something that it received has no room; made to all the same, it has the reserve.

use super::chunk_queue::Asked;
use super::sync_session::Refused;
use super::{Output, Replica, Step};
use crate::limits::{SYNC_ROOM_PATIENCE_MAX_MS, SYNC_ROOM_PATIENCE_MS};
use crate::museum::{Planted, planted};
use crate::view::Role;
use wire::{ChunkId, Error, Version};

impl<P: Clone> Replica<P> {
    pub(super) fn lacks_room(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.refused.is_empty())
    }

    pub(super) fn may_be_refused(&mut self, chunk: ChunkId, version: Version) -> bool {
        let pending = self.queues.get_mut(&chunk).and_then(|queue| queue.find(version));
        pending.is_some_and(|pending| pending.asked == Asked::IfRoom)
    }

    pub(super) fn on_refused_update(
        &mut self,
        step: &mut Step<P>,
        chunk: ChunkId,
        version: Version,
        error: Error,
    ) {
        let first = self.session.as_ref().is_some_and(|session| !session.refused.contains_key(&chunk));
        let pending = self.queues.get_mut(&chunk).and_then(|queue| queue.find(version));
        let pending = pending.expect("it may be refused");
        pending.asked = Asked::No;
        if self.view.role != Role::Syncing {
            // It may serve by now.
            return self.advance(step, chunk);
        }
        // The predecessor hears of it once, sees to it that what is gone makes room, and sends it again.
        for waiter in pending.waiters.extract_if(.., |_| first) {
            step.out.push(Output::ReplyUpdate { reply: waiter.reply, result: Err(error.clone()) });
        }
        self.retry.insert(chunk);
        self.had_no_room(step, chunk, error);
    }

    /// A copy, or an update, of which the chunk is what it was.
    pub(super) fn had_no_room(&mut self, step: &mut Step<P>, chunk: ChunkId, error: Error) {
        let Some(session) = &mut self.session else { return };
        let new = Refused { first: step.now, since: step.now };
        let Refused { first, since } = session.refused.entry(chunk).or_insert(new);
        let until = since.plus_ms(SYNC_ROOM_PATIENCE_MS).min(first.plus_ms(SYNC_ROOM_PATIENCE_MAX_MS));
        if step.now >= until && !planted(Planted::EndlessPatience) {
            self.take_offline(step, error);
        }
    }

    pub(super) fn found_room(&mut self, chunk: ChunkId) {
        if let Some(session) = &mut self.session {
            session.refused.remove(&chunk);
        }
    }

    /// With a flush behind it.
    pub(super) fn gone_makes_room(&mut self, step: &Step<P>) {
        if let Some(session) = &mut self.session {
            session.refused.values_mut().for_each(|refused| refused.since = step.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_target::{CHUNK, TAIL, Target, present, update, version};
    use super::*;
    use crate::update::Replacement;
    use crate::{Committed, Input, ReplyTo, Time};
    use wire::message::{LocalState, PublicState, UpdateKind};
    use wire::{Code, Result};

    const PATIENCE: Time = Time(SYNC_ROOM_PATIENCE_MS * 1000);

    fn full<T>() -> Result<T> {
        Err(Error::new(Code::NoSpace, "4 KiB"))
    }

    fn syncing() -> Target {
        let mut tail = Target::new(TAIL, present(version(1, 5)));
        tail.view(2, PublicState::PublicSyncing);
        let ticket = tail.start_sync(2, 0);
        tail.feed(Input::Discarded { ticket, result: Ok(()) });
        tail
    }

    /// It follows the one before.
    fn forward(tail: &mut Target, number: u64, kind: UpdateKind) -> Vec<Output<()>> {
        let base = if number == 6 { version(1, 5) } else { version(2, number - 1) };
        let update = update(number as u32, kind, u32::from(kind == UpdateKind::UpdateWrite));
        let (reply, version) = (ReplyTo(number), version(2, number));
        tail.feed(Input::Forwarded { reply, chain_version: 2, version, base, update, payload: () })
    }

    fn refused(tail: &mut Target, now: Time, number: u64) -> Vec<Output<()>> {
        let stored = Input::Stored { chunk: CHUNK, version: version(2, number), result: full() };
        tail.feed_at(now, stored)
    }

    /// The numbers of what is to be stored, each with whether that may be refused. Nothing else happens.
    fn stores(out: Vec<Output<()>>) -> Vec<(u64, bool)> {
        let store = |output: Output<()>| match output {
            Output::Store { version, if_room, .. } => (version.number, if_room),
            other => panic!("{other:?}"),
        };
        out.into_iter().map(store).collect()
    }

    fn told(out: &[Output<()>]) -> Vec<(u64, Option<Code>)> {
        let answer = |output: &Output<()>| match output {
            Output::ReplyUpdate { reply, result } => (reply.0, result.as_ref().err().map(|error| error.code)),
            Output::ReplySync { reply, result } => (reply.0, result.as_ref().err().map(|error| error.code)),
            other => panic!("{other:?}"),
        };
        out.iter().map(answer).collect()
    }

    #[test]
    fn an_update_without_room_is_tried_again_and_those_behind_it_wait() {
        use UpdateKind::{UpdateRemove, UpdateTruncate, UpdateWrite};
        let mut tail = syncing();
        assert_eq!(stores(forward(&mut tail, 6, UpdateTruncate)), [(6, false)], "it takes no room");
        assert_eq!(stores(forward(&mut tail, 7, UpdateWrite)), [(7, true)]);
        assert_eq!(stores(forward(&mut tail, 8, UpdateRemove)), []);
        assert!(matches!(
            tail.stored(version(2, 6))[..],
            [Output::Commit { .. }, Output::ReplyUpdate { .. }]
        ));
        assert_eq!(told(&refused(&mut tail, Time(1), 7)), [(7, Some(Code::NoSpace))], "its sender hears it");
        assert_eq!(stores(tail.feed(Input::Tick)), [(7, true)]);
        assert_eq!(stores(forward(&mut tail, 7, UpdateWrite)), [], "sent again, it waits");
        assert_eq!(told(&refused(&mut tail, Time(2), 7)), [], "once");
        assert_eq!(stores(tail.feed(Input::Tick)), [(7, true)]);
        let out = tail.stored(version(2, 7));
        let [
            Output::Store { if_room: false, .. },
            Output::Commit { version: seventh, .. },
            Output::ReplyUpdate { .. },
        ] = out[..]
        else {
            panic!("{out:?}");
        };
        assert_eq!(seventh, version(2, 7));
        assert_eq!(tail.replica.report().0, LocalState::LocalOnline);
    }

    /// Another chunk is gone; `there`: the member has it.
    fn told_gone(tail: &mut Target, now: Time, there: bool) {
        let chunk = ChunkId { inode: 1, index: 9 };
        let committed = Committed { version: version(1, now.0), removed: true, ..Committed::default() };
        if there {
            tail.held.0.borrow_mut().insert(chunk, present(version(1, 1)));
        }
        let replacement = Replacement { chunk, committed, crc: 0, damaged_blocks: Vec::new() };
        tail.feed(Input::SyncReplace { reply: ReplyTo(9), chain_version: 2, replacement, payload: () });
        tail.held.0.borrow_mut().insert(chunk, committed);
        let gone = Input::Replaced { chunk, version: committed.version, result: Ok(()) };
        assert_eq!(told(&tail.feed_at(now, gone)), [(9, None)]);
    }

    /// It is tried again, and refused: whether the member stays.
    fn stays(tail: &mut Target, now: Time) -> bool {
        assert_eq!(stores(tail.feed(Input::Tick)), [(6, true)]);
        match refused(tail, now, 6)[..] {
            [] => true,
            [Output::TakeOffline { .. }] => false,
            ref out => panic!("{out:?}"),
        }
    }

    #[test]
    fn a_member_whose_update_finds_no_room_for_long_leaves_its_chain() {
        let mut tail = syncing();
        forward(&mut tail, 6, UpdateKind::UpdateWrite);
        assert_eq!(told(&refused(&mut tail, Time(1), 6)).len(), 1);
        told_gone(&mut tail, PATIENCE, true);
        assert!(stays(&mut tail, PATIENCE.plus_ms(1)));
        assert!(!stays(&mut tail, PATIENCE.plus_ms(SYNC_ROOM_PATIENCE_MS)));
        assert_eq!(tail.replica.report().0, LocalState::LocalOffline);
    }

    #[test]
    fn what_makes_no_room_and_what_never_makes_enough_keeps_no_client_waiting() {
        let mut tail = syncing();
        forward(&mut tail, 6, UpdateKind::UpdateWrite);
        refused(&mut tail, Time(1), 6);
        // A removal of what was never here.
        told_gone(&mut tail, PATIENCE, false);
        assert!(!stays(&mut tail, PATIENCE.plus_ms(1)));

        let mut tail = syncing();
        forward(&mut tail, 6, UpdateKind::UpdateWrite);
        refused(&mut tail, Time(1), 6);
        let end = Time::ZERO.plus_ms(SYNC_ROOM_PATIENCE_MAX_MS);
        let mut now = PATIENCE;
        while now < end {
            told_gone(&mut tail, now, true);
            assert!(stays(&mut tail, now), "{now:?}");
            now = now.plus_ms(SYNC_ROOM_PATIENCE_MS / 2);
        }
        told_gone(&mut tail, end, true);
        assert!(!stays(&mut tail, end.plus_ms(1)));
    }

    #[test]
    fn a_member_is_not_up_to_date_while_an_update_of_it_has_no_room() {
        let mut tail = syncing();
        forward(&mut tail, 6, UpdateKind::UpdateWrite);
        refused(&mut tail, Time(1), 6);
        let done = |tail: &mut Target| tail.feed(Input::SyncDone { reply: ReplyTo(5), chain_version: 2 });
        assert_eq!(told(&done(&mut tail)), [(5, Some(Code::Busy))]);
        tail.feed(Input::Tick);
        tail.stored(version(2, 6));
        tail.held.0.borrow_mut().insert(CHUNK, present(version(2, 6)));
        let [Output::Flush { ticket }] = done(&mut tail)[..] else { panic!("it has everything") };
        tail.feed(Input::Flushed { ticket, result: Ok(()) });
        assert_eq!(tail.replica.report().0, LocalState::LocalUptodate);
        forward(&mut tail, 7, UpdateKind::UpdateWrite);
        refused(&mut tail, Time(2), 7);
        assert_eq!(tail.replica.report().0, LocalState::LocalOnline);
        tail.feed(Input::Tick);
        tail.stored(version(2, 7));
        assert_eq!(tail.replica.report().0, LocalState::LocalUptodate);
    }

    /// The manager had heard that it is up to date before.
    #[test]
    fn what_found_no_room_has_the_reserve_of_a_member_that_serves() {
        let waits = |tail: &mut Target| {
            forward(tail, 6, UpdateKind::UpdateWrite);
            forward(tail, 7, UpdateKind::UpdateWrite);
        };
        let serve = |tail: &mut Target| {
            let mut out = tail.view(3, PublicState::PublicServing);
            out.retain(|output| matches!(output, Output::Store { .. }));
            stores(out)
        };
        let mut before = syncing();
        waits(&mut before);
        refused(&mut before, Time(1), 6);
        assert_eq!(serve(&mut before), [(6, false), (7, false)]);
        let mut after = syncing();
        waits(&mut after);
        assert_eq!(serve(&mut after), [], "the disk has not said anything yet");
        assert_eq!(stores(refused(&mut after, Time(1), 6)), [(6, false), (7, false)]);
        let out = refused(&mut after, Time(2), 6);
        assert!(
            out.iter().any(|output| matches!(output, Output::TakeOffline { .. })),
            "as of any other: {out:?}"
        );
    }
}
