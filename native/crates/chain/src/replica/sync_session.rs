//! The syncing member's side of a resync (P9). A session belongs to one version of the chain. What it has
//! written never goes back (R2), and the member is up to date only after a flush of everything it received,
//! for that version alone (R1, R3).

use super::{Output, Replica, ReplyTo, Step};
use crate::Time;
use crate::museum::{Planted, planted};
use crate::update::{Channel, Replacement};
use crate::view::Role;
use std::collections::{BTreeMap, BTreeSet};
use wire::{ChunkId, Code, Error, Result, Version};

pub(super) struct SyncSession {
    chain_version: u64,
    /// What was here before the session is being discarded: nothing else happens in it until that is done.
    discarding: Option<(u64, Vec<ReplyTo>)>,
    /// Chunks that this session has written: at most one entry per chunk of the target, gone with the
    /// session.
    written: BTreeSet<ChunkId>,
    replacing: BTreeMap<ChunkId, Replacing>,
    storing_channels: BTreeMap<u64, ReplyTo>,
    finishing: Option<(u64, Vec<ReplyTo>)>,
    /// Chunks of which a copy or an update has found no room so far: few, since the source tries the same ones until
    /// they fit.
    pub refused: BTreeMap<ChunkId, Refused>,
}

/// A chunk that is being replaced.
struct Replacing {
    version: Version,
    replies: Vec<ReplyTo>,
    /// There was one before.
    replaces: bool,
}

/// Since when a copy or an update finds no room.
pub(super) struct Refused {
    pub first: Time,
    /// That, or the last time that something made room.
    pub since: Time,
}

impl<P: Clone> Replica<P> {
    pub(super) fn on_sync_start(&mut self, step: &mut Step<P>, reply: ReplyTo, chain_version: u64) {
        let result = self.same_version(chain_version).and_then(|()| match self.view.role {
            Role::Syncing => Ok(()),
            _ => Err(self.not_syncing()),
        });
        match (result, &mut self.session) {
            (Ok(()), None) => self.begin_session(step, reply, chain_version),
            (Ok(()), Some(SyncSession { discarding: Some((_, replies)), .. })) => {
                replies.push(reply);
                if replies.len() > crate::limits::WAITERS_MAX {
                    let result = Err(Error::new(Code::Busy, "sent again too often"));
                    step.out.push(Output::ReplySync { reply: replies.remove(0), result });
                }
            }
            (result, _) => step.out.push(Output::ReplySync { reply, result }),
        }
    }

    fn begin_session(&mut self, step: &mut Step<P>, reply: ReplyTo, chain_version: u64) {
        let ticket = self.flushes.ticket();
        self.discard(step, ticket);
        let mut discarding = Some((ticket, vec![reply]));
        if planted(Planted::SyncBeforeDiscard) {
            discarding = None;
            step.out.push(Output::ReplySync { reply, result: Ok(()) });
        }
        self.session = Some(SyncSession {
            chain_version,
            discarding,
            written: BTreeSet::new(),
            replacing: BTreeMap::new(),
            storing_channels: BTreeMap::new(),
            finishing: None,
            refused: BTreeMap::new(),
        });
    }

    pub(super) fn on_discarded(&mut self, step: &mut Step<P>, ticket: u64, result: Result<()>) {
        if let Err(error) = result {
            return self.take_offline(step, error);
        }
        let Some(session) = &mut self.session else { return };
        let Some((_, replies)) = session.discarding.take_if(|(wanted, _)| *wanted == ticket) else { return };
        step.out.extend(replies.into_iter().map(|reply| Output::ReplySync { reply, result: Ok(()) }));
    }

    fn not_syncing(&self) -> Error {
        Error::new(Code::NotServing, format!("target {} is in no such resync", self.identity.target))
    }

    fn still_discarding(&self) -> Error {
        Error::new(Code::Busy, format!("target {} discards what it had", self.identity.target))
    }

    fn in_session(&self, chain_version: u64) -> Result<()> {
        self.same_version(chain_version)?;
        match &self.session {
            Some(session) if session.discarding.is_some() => Err(self.still_discarding()),
            Some(session) if session.chain_version == chain_version => Ok(()),
            Some(_) if planted(Planted::NoChainVersion) => Ok(()),
            _ => Err(self.not_syncing()),
        }
    }

    /// May the predecessor list this target's chunks for a resync? Not before the session has begun.
    pub fn may_list(&self, chain_version: u64) -> Result<()> {
        self.in_session(chain_version)
    }

    /// May a plain update of this chunk be taken?
    pub(super) fn session_accepts(&self, chunk: ChunkId) -> Result<()> {
        match &self.session {
            None => Err(self.not_syncing()),
            Some(session) if session.discarding.is_some() => Err(self.still_discarding()),
            Some(session) if session.replacing.contains_key(&chunk) => {
                Err(Error::new(Code::Busy, "the chunk is being replaced"))
            }
            Some(_) => Ok(()),
        }
    }

    pub(super) fn mark_written(&mut self, chunk: ChunkId) {
        if let Some(session) = &mut self.session {
            session.written.insert(chunk);
        }
    }

    pub(super) fn on_sync_replace(
        &mut self,
        step: &mut Step<P>,
        reply: ReplyTo,
        chain_version: u64,
        replacement: Replacement,
        payload: P,
    ) {
        let chunk = replacement.chunk;
        let version = replacement.committed.version;
        match self.may_replace(step, chain_version, chunk, version) {
            Ok(true) => {
                let session = self.session.as_mut().expect("checked by may_replace");
                let replaces = !step.chunks.committed(chunk).is_absent();
                let new = Replacing { version, replies: Vec::new(), replaces };
                let replacing = session.replacing.entry(chunk).or_insert(new);
                replacing.replies.push(reply);
                if replacing.replies.len() == 1 {
                    step.out.push(Output::Replace { replacement, payload });
                }
            }
            Ok(false) => step.out.push(Output::ReplySync { reply, result: Ok(()) }),
            Err(error) => step.out.push(Output::ReplySync { reply, result: Err(error) }),
        }
    }

    /// Whether the chunk is to be replaced; `false`: it is this version already.
    fn may_replace(
        &self,
        step: &Step<P>,
        chain_version: u64,
        chunk: ChunkId,
        version: Version,
    ) -> Result<bool> {
        self.in_session(chain_version)?;
        let session = self.session.as_ref().expect("in_session");
        let busy = |detail: &str| Err(Error::new(Code::Busy, detail));
        if let Some(replacing) = session.replacing.get(&chunk) {
            let room = replacing.replies.len() < crate::limits::WAITERS_MAX;
            return if replacing.version == version && room {
                Ok(true)
            } else {
                busy("the chunk is being replaced")
            };
        }
        let queue = self.queues.get(&chunk);
        let committed = step.chunks.committed(chunk);
        let newest = queue.map_or(committed.version, super::ChunkQueue::newest);
        let pends = queue.is_some_and(|queue| !queue.pending.is_empty());
        // The source forgot a tombstone that it had sent before: gone is gone.
        if version == Version::NONE && committed.is_absent() && !pends {
            return Ok(false);
        }
        if session.written.contains(&chunk) && !planted(Planted::R2) {
            if version < newest {
                return busy("this session wrote a newer version");
            }
            if version == newest && !pends {
                return Ok(false);
            }
        }
        if pends { busy("an update of the chunk pends") } else { Ok(true) }
    }

    pub(super) fn on_replaced(
        &mut self,
        step: &mut Step<P>,
        chunk: ChunkId,
        version: Version,
        result: Result<()>,
    ) {
        // A copy has no version that the head gave here, so a full disk may refuse it (P8): the chunk is what it was.
        let refused = result.as_ref().err().filter(|error| error.code == Code::NoSpace).cloned();
        if let (Err(error), None) = (&result, &refused) {
            return self.take_offline(step, error.clone());
        }
        let Some(session) = &mut self.session else { return };
        if session.replacing.get(&chunk).is_none_or(|replacing| replacing.version != version) {
            return;
        }
        let Replacing { replies, replaces, .. } = session.replacing.remove(&chunk).expect("just looked at");
        // Updates of a chunk are refused while it is replaced, so nothing can pend on it now.
        assert!(self.queues.get(&chunk).is_none_or(|queue| queue.is_idle()), "nothing pends on a new chunk");
        let refused = refused.filter(|_| !planted(Planted::RefusedCopyCounts));
        let result = refused.clone().map_or(Ok(()), Err);
        let answer = |reply| Output::ReplySync { reply, result: result.clone() };
        step.out.extend(replies.into_iter().map(answer));
        if let Some(error) = refused {
            return self.had_no_room(step, chunk, error);
        }
        session.written.insert(chunk);
        self.queues.remove(&chunk);
        self.found_room(chunk);
        if replaces && step.chunks.committed(chunk).is_absent() {
            self.gone_makes_room(step);
        }
    }

    pub(super) fn on_sync_channels(
        &mut self,
        step: &mut Step<P>,
        reply: ReplyTo,
        chain_version: u64,
        channels: Vec<Channel>,
    ) {
        if let Err(error) = self.in_session(chain_version) {
            return step.out.push(Output::ReplySync { reply, result: Err(error) });
        }
        for channel in &channels {
            self.table.learn(*channel);
        }
        let ticket = self.flushes.ticket();
        let session = self.session.as_mut().expect("in_session");
        session.storing_channels.insert(ticket, reply);
        step.out.push(Output::StoreChannels { ticket, channels });
    }

    pub(super) fn on_channels_stored(&mut self, step: &mut Step<P>, ticket: u64, result: Result<()>) {
        if let Err(error) = result {
            return self.take_offline(step, error);
        }
        let Some(session) = &mut self.session else { return };
        if let Some(reply) = session.storing_channels.remove(&ticket) {
            step.out.push(Output::ReplySync { reply, result: Ok(()) });
        }
    }

    pub(super) fn on_sync_done(&mut self, step: &mut Step<P>, reply: ReplyTo, chain_version: u64) {
        let ready = self.in_session(chain_version).and_then(|()| {
            let session = self.session.as_ref().expect("in_session");
            let stores = !session.replacing.is_empty() || !session.storing_channels.is_empty();
            let waits = stores || self.lacks_room();
            if waits { Err(Error::new(Code::Busy, "something is still being stored")) } else { Ok(()) }
        });
        if let Err(error) = ready {
            return step.out.push(Output::ReplySync { reply, result: Err(error) });
        }
        self.up_to_date |= planted(Planted::SyncWithoutFlush);
        if self.up_to_date {
            return step.out.push(Output::ReplySync { reply, result: Ok(()) });
        }
        let ticket = self.flushes.ticket();
        let session = self.session.as_mut().expect("in_session");
        let (wanted, replies) = session.finishing.get_or_insert((ticket, Vec::new()));
        replies.push(reply);
        if *wanted == ticket {
            step.out.push(Output::Flush { ticket });
        }
    }

    /// The flush that ends a session; `false`: this ticket is somebody else's.
    pub(super) fn session_flushed(&mut self, step: &mut Step<P>, ticket: u64) -> bool {
        let Some(session) = &mut self.session else { return false };
        let ends = session.finishing.as_ref().is_some_and(|(wanted, _)| *wanted == ticket);
        if !ends {
            return false;
        }
        let (_, replies) = session.finishing.take().expect("just looked at");
        self.up_to_date = true;
        step.out.extend(replies.into_iter().map(|reply| Output::ReplySync { reply, result: Ok(()) }));
        true
    }

    pub(super) fn end_session(&mut self, step: &mut Step<P>, told: &Error) {
        let Some(session) = self.session.take() else { return };
        let replacing = session.replacing.into_values().flat_map(|replacing| replacing.replies);
        let begun = session.discarding.into_iter().chain(session.finishing).flat_map(|(_, replies)| replies);
        let replies = replacing.chain(session.storing_channels.into_values()).chain(begun);
        step.out.extend(replies.map(|reply| Output::ReplySync { reply, result: Err(told.clone()) }));
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_target::{CHUNK, TAIL, Target, present, update, version};
    use super::*;
    use crate::limits::SYNC_ROOM_PATIENCE_MS;
    use crate::{Committed, Input};
    use wire::message::{LocalState, PublicState, UpdateKind};

    /// Whom it told what, if it did nothing else.
    fn told(out: &[Output<()>]) -> Vec<(u64, Option<Code>)> {
        let answer = |output: &Output<()>| match output {
            Output::ReplySync { reply, result } => (reply.0, result.as_ref().err().map(|error| error.code)),
            Output::ReplyUpdate { reply, result } => (reply.0, result.as_ref().err().map(|error| error.code)),
            other => panic!("{other:?}"),
        };
        out.iter().map(answer).collect()
    }

    fn forwarded(reply: u64) -> Input<()> {
        Input::Forwarded {
            reply: ReplyTo(reply),
            chain_version: 2,
            version: version(2, 6),
            base: version(1, 5),
            update: update(1, UpdateKind::UpdateWrite, 1),
            payload: (),
        }
    }

    fn syncing() -> Target {
        let mut tail = Target::new(TAIL, present(version(1, 5)));
        tail.view(2, PublicState::PublicSyncing);
        tail
    }

    #[test]
    fn a_resync_begins_when_what_was_here_is_discarded() {
        let mut tail = syncing();
        let ticket = tail.start_sync(2, 1);
        let again = |tail: &mut Target, reply| {
            tail.feed(Input::SyncStart { reply: ReplyTo(reply), chain_version: 2 })
        };
        assert!(again(&mut tail, 2).is_empty(), "it waits with the first one");
        assert!(tail.replica.may_list(2).is_err());
        assert_eq!(told(&tail.feed(forwarded(3))), [(3, Some(Code::Busy))]);
        let channels = Input::SyncChannels { reply: ReplyTo(4), chain_version: 2, channels: Vec::new() };
        assert_eq!(told(&tail.feed(channels)), [(4, Some(Code::Busy))]);
        assert_eq!(
            told(&tail.feed(Input::SyncDone { reply: ReplyTo(5), chain_version: 2 })),
            [(5, Some(Code::Busy))]
        );
        assert!(
            tail.feed(Input::Discarded { ticket: ticket + 1, result: Ok(()) }).is_empty(),
            "another one's"
        );
        let discarded = tail.feed(Input::Discarded { ticket, result: Ok(()) });
        assert_eq!(told(&discarded), [(1, None), (2, None)]);
        assert_eq!(told(&again(&mut tail, 6)), [(6, None)]);
        assert!(tail.replica.may_list(2).is_ok());
        assert!(matches!(tail.feed(forwarded(7))[..], [Output::Store { .. }]));
    }

    #[test]
    fn whoever_waits_for_the_beginning_of_a_resync_hears_of_its_end() {
        let mut tail = syncing();
        let first = tail.start_sync(2, 1);
        assert_eq!(told(&tail.view(3, PublicState::PublicSyncing)), [(1, Some(Code::WrongChainVersion))]);
        let second = tail.start_sync(3, 2);
        assert!(tail.feed(Input::Discarded { ticket: first, result: Ok(()) }).is_empty(), "it is over");
        let failed = Err(Error::new(Code::Io, "the disk"));
        let out = tail.feed(Input::Discarded { ticket: second, result: failed });
        let [Output::ReplySync { reply: ReplyTo(2), result: Err(_) }, Output::TakeOffline { .. }] = &out[..]
        else {
            panic!("{out:?}");
        };
        assert_eq!(tail.replica.report().0, LocalState::LocalOffline);
    }

    /// One that gave up long ago makes room.
    #[test]
    fn few_wait_for_the_beginning_of_a_resync() {
        let mut tail = Target::new(TAIL, Committed::default());
        tail.view(2, PublicState::PublicSyncing);
        tail.start_sync(2, 1);
        let starts = (2..=crate::limits::WAITERS_MAX as u64 + 1)
            .map(|reply| Input::SyncStart { reply: ReplyTo(reply), chain_version: 2 });
        let out: Vec<Output<()>> = starts.flat_map(|start| tail.feed(start)).collect();
        assert_eq!(told(&out), [(1, Some(Code::Busy))]);
    }

    /// What follows when the chunk was sent and the disk has answered.
    fn copied(target: &mut Target, now: Time, number: u64, result: Result<()>) -> Vec<Output<()>> {
        let committed = Committed { version: version(1, number), length: 1, removed: false, chunk_size: 8 };
        let replacement = Replacement { chunk: CHUNK, committed, crc: 0, damaged_blocks: Vec::new() };
        let (reply, payload) = (ReplyTo(number), ());
        let asked = target.feed_at(now, Input::SyncReplace { reply, chain_version: 1, replacement, payload });
        assert!(matches!(asked[..], [Output::Replace { .. }]), "{asked:?}");
        target.feed_at(now, Input::Replaced { chunk: CHUNK, version: committed.version, result })
    }

    /// What the source is told.
    fn replaced(target: &mut Target, now: Time, number: u64, result: Result<()>) -> Result<()> {
        match &copied(target, now, number, result)[..] {
            [Output::ReplySync { result, .. }] => result.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_copy_without_room_is_refused_and_after_a_while_the_member_leaves() {
        let mut target = Target::new(TAIL, Committed::default());
        target.view(1, PublicState::PublicSyncing);
        let ticket = target.start_sync(1, 0);
        target.feed(Input::Discarded { ticket, result: Ok(()) });
        let full = Error::new(Code::NoSpace, "4 KiB");
        let patience = Time::ZERO.plus_ms(SYNC_ROOM_PATIENCE_MS);
        assert_eq!(replaced(&mut target, Time(1), 1, Err(full.clone())), Err(full.clone()));
        // The same one has room at last.
        assert_eq!(replaced(&mut target, patience, 2, Ok(())), Ok(()));
        assert_eq!(replaced(&mut target, patience, 3, Err(full.clone())), Err(full.clone()));
        // What is gone makes room.
        let gone = Committed { removed: true, length: 0, ..present(version(1, 3)) };
        target.held.0.borrow_mut().insert(CHUNK, gone);
        assert_eq!(replaced(&mut target, patience.plus_ms(1), 4, Ok(())), Ok(()));
        let (again, late) = (patience.plus_ms(2), patience.plus_ms(2 + SYNC_ROOM_PATIENCE_MS));
        assert_eq!(replaced(&mut target, again, 5, Err(full.clone())), Err(full.clone()));
        // Nothing is tried meanwhile: that says nothing of the room.
        assert!(target.feed_at(late, Input::Tick).is_empty());
        assert_eq!(target.replica.report().0, LocalState::LocalOnline);
        let out = copied(&mut target, late, 6, Err(full.clone()));
        assert!(
            matches!(&out[..], [Output::ReplySync { .. }, Output::TakeOffline { reason }] if *reason == full),
            "{out:?}"
        );
        assert_eq!(target.replica.report().0, LocalState::LocalOffline);
    }
}
