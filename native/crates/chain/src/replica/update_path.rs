//! The way of an update through one member: the head gives it a version, every member stores it in the order
//! of versions and only then sends it on. After a version is given no member may refuse it (P8): a failure to
//! store takes the target offline.

use super::channel_table::Seen;
use super::chunk_queue::{Asked, Body, Held, Pending, Waiter};
use super::{Output, Replica, ReplyTo, Step};
use crate::limits;
use crate::museum::{Planted, planted};
use crate::update::{Acknowledged, Applied, Channel, Update};
use crate::view::Role;
use wire::message::UpdateKind;
use wire::{ChunkId, Code, Error, Result, TargetId, Version};

impl<P: Clone> Replica<P> {
    pub(super) fn on_update(
        &mut self,
        step: &mut Step<P>,
        reply: ReplyTo,
        chain_version: u64,
        update: Update,
        payload: P,
    ) {
        if let Err(error) = self.admit(step, chain_version, &update) {
            return step.out.push(Output::ReplyUpdate { reply, result: Err(error) });
        }
        let repeats = update.kind == UpdateKind::UpdateTruncate && planted(Planted::TruncateRepeated);
        let forgets = repeats || planted(Planted::NoDedupe);
        let seen = if forgets { Seen::New } else { self.table.look_up(&update) };
        let refuse = |code: Code| Err(Error::new(code, format!("channel {}", update.tag.channel)));
        let result = match seen {
            Seen::New => match self.may_assign(step, &update) {
                Ok(()) => return self.assign(step, reply, Body { update, payload }),
                Err(error) => Err(error),
            },
            Seen::InFlight(chunk, version) => {
                let pending = self.queues.get_mut(&chunk).and_then(|queue| queue.find(version));
                let pending = pending.expect("what is in the air is pending");
                match pending.wait(Waiter { reply, from_client: true }) {
                    None => return,
                    Some(oldest) => {
                        return step
                            .out
                            .push(Output::ReplyUpdate { reply: oldest.reply, result: refuse(Code::Busy) });
                    }
                }
            }
            Seen::Done(channel) => {
                let mut applied = channel.applied;
                if planted(Planted::AnswersAsOfNow) {
                    applied.chunk_length = step.chunks.committed(channel.chunk).length;
                }
                Ok(self.acknowledged(step, channel.version, applied))
            }
            Seen::Stale => refuse(Code::StaleSequence),
            Seen::Different => refuse(Code::InvalidArgument),
            Seen::Busy => refuse(Code::Busy),
        };
        step.out.push(Output::ReplyUpdate { reply, result });
    }

    /// Everything that can be said without looking at the tag.
    fn admit(&self, step: &Step<P>, chain_version: u64, update: &Update) -> Result<()> {
        self.may_serve(step.now, chain_version)?;
        if !self.view.is_head {
            return Err(Error::new(Code::NotHead, format!("target {}", self.identity.target)));
        }
        self.fencing.admits(update.tag.client)?;
        if update.tag.channel >= wire::limits::CHANNELS_MAX {
            return Err(Error::new(Code::InvalidArgument, "a channel number above the limit"));
        }
        Ok(())
    }

    /// The last moment to refuse (P8): whatever the engine would not store must be found here.
    fn may_assign(&self, step: &Step<P>, update: &Update) -> Result<()> {
        if self.view.chain.reordering && !planted(Planted::AssignsWhileReordering) {
            return Err(Error::new(Code::Busy, format!("chain {} is reordering", self.view.chain.id)));
        }
        let held = self.newest_chunk_size(step, update.chunk);
        if let Some(size) = held.filter(|size| *size != update.chunk_size)
            && update.kind != UpdateKind::UpdateRemove
        {
            let detail = format!("the chunk has {size} bytes, the update says {}", update.chunk_size);
            return Err(Error::new(Code::InvalidArgument, detail));
        }
        if self.too_many_pending(update.chunk) {
            return Err(Error::new(Code::Overloaded, format!("target {}", self.identity.target)));
        }
        self.has_room(step, update)
    }

    /// Of the version that the next update follows; none if there is no chunk then. What an earlier process
    /// staged has no update in memory, and is of the size of what is committed or of no chunk.
    fn newest_chunk_size(&self, step: &Step<P>, chunk: ChunkId) -> Option<u32> {
        // A truncation or a punch makes no chunk and ends none.
        let decides = |pending: &&Pending<P>| {
            let kind = pending.body.as_ref().map(|body| body.update.kind);
            !matches!(kind, Some(UpdateKind::UpdateTruncate | UpdateKind::UpdatePunch))
        };
        let queue = self.queues.get(&chunk);
        let pending = queue.and_then(|queue| queue.pending.iter().rev().find(decides));
        match pending.and_then(|pending| pending.body.as_ref()) {
            Some(body) => (body.update.kind != UpdateKind::UpdateRemove).then_some(body.update.chunk_size),
            None => Some(step.chunks.committed(chunk))
                .filter(|committed| !committed.is_absent())
                .map(|committed| committed.chunk_size),
        }
    }

    fn assign(&mut self, step: &mut Step<P>, reply: ReplyTo, body: Body<P>) {
        let chain = self.view.version.0;
        let queue = self.queue(step.chunks, body.update.chunk);
        let used = queue.newest().max(step.chunks.forgotten());
        let version = Version { chain, number: used.number + 1 };
        let base = queue.next_base();
        assert!(version > used, "versions only rise");
        self.append(step, (version, base), body, vec![Waiter { reply, from_client: true }]);
    }

    /// The update is the newest of its chunk now: stored next, and in the air until it is committed.
    fn append(
        &mut self,
        step: &mut Step<P>,
        (version, base): (Version, Version),
        body: Body<P>,
        waiters: Vec<Waiter>,
    ) {
        let update = &body.update;
        let channel = Channel {
            tag: update.tag,
            chunk: update.chunk,
            version,
            fingerprint: update.fingerprint(),
            applied: Applied::default(),
        };
        self.table.assigned(&channel);
        self.fencing.appended(channel.tag.client);
        self.pending_total += 1;
        self.allocating_bytes += update.may_allocate_bytes();
        self.storing_bytes += update.may_allocate_bytes();
        let chunk = update.chunk;
        self.queue(step.chunks, chunk).pending.push_back(Pending {
            version,
            base,
            body: Some(body),
            channel: Some(channel),
            asked: Asked::No,
            applied: None,
            sent: false,
            acked: false,
            waiters,
        });
        self.store_waiting(step, chunk);
        if planted(Planted::ForwardBeforeStored) {
            self.advance(step, chunk);
        }
    }

    /// Has stored what may be: an update that may be refused goes alone, since those behind it stand on it.
    pub(super) fn store_waiting(&mut self, step: &mut Step<P>, chunk: ChunkId) {
        let syncing = self.view.role == Role::Syncing && !planted(Planted::SyncTakesReserve);
        let Some(queue) = self.queues.get_mut(&chunk) else { return };
        // Those that wait are the last ones.
        let waiting = queue.pending.iter().rev().take_while(|pending| pending.asked == Asked::No).count();
        let first = queue.pending.len() - waiting;
        let before = first.checked_sub(1).map(|place| &queue.pending[place]);
        if before.is_some_and(|pending| pending.asked == Asked::IfRoom && pending.applied.is_none()) {
            return;
        }
        for (place, pending) in (first..).zip(queue.pending.range_mut(first..)) {
            let Body { update, payload } = pending.body.clone().expect("what is not stored is in memory");
            let if_room = syncing && update.may_allocate_bytes() > 0;
            pending.asked = if if_room { Asked::IfRoom } else { Asked::Yes };
            // The sender may still name a removal that is committed here, whose tombstone may go at any time.
            let on_tombstone = place == 0 && queue.absent && pending.base == queue.committed;
            let named = !on_tombstone || planted(Planted::StoredOnTombstone);
            let base = if named { pending.base } else { Version::NONE };
            let (version, channel) = (pending.version, pending.channel.expect("as its body"));
            step.out.push(Output::Store { chunk, version, base, update, channel, payload, if_room });
            if if_room {
                return;
            }
        }
    }

    pub(super) fn on_forwarded(
        &mut self,
        step: &mut Step<P>,
        reply: ReplyTo,
        chain_version: u64,
        (version, base): (Version, Version),
        body: Body<P>,
    ) {
        let chunk = body.update.chunk;
        if let Err(error) = self.accepts_forwarded(chain_version, chunk) {
            return step.out.push(Output::ReplyUpdate { reply, result: Err(error) });
        }
        let waiter = Waiter { reply, from_client: false };
        let queue = self.queue(step.chunks, chunk);
        let pends = queue.find(version).is_some();
        if version <= queue.committed || !pends && self.is_rolled_forward(version) {
            let length = step.chunks.committed(chunk).length;
            let applied = Applied { chunk_length: length, allocated_delta: 0 };
            let result = Ok(self.acknowledged(step, version, applied));
            step.out.push(Output::ReplyUpdate { reply, result });
        } else if let Some(pending) = self.queue(step.chunks, chunk).find(version) {
            if let Some(oldest) = pending.wait(waiter) {
                let result = Err(Error::new(Code::Busy, "sent again too often"));
                step.out.push(Output::ReplyUpdate { reply: oldest.reply, result });
            }
        } else if self.is_next(step, chunk, (version, base)) {
            self.mark_written(chunk);
            self.append(step, (version, base), body, vec![waiter]);
            self.append_held(step, chunk);
        } else {
            self.hold(step, (version, base), body, waiter);
        }
        self.forget_if_idle(chunk);
    }

    fn is_next(&mut self, step: &Step<P>, chunk: ChunkId, (version, base): (Version, Version)) -> bool {
        let queue = self.queue(step.chunks, chunk);
        version > queue.newest() && (queue.follows(base) || planted(Planted::AcceptGap))
    }

    fn accepts_forwarded(&self, chain_version: u64, chunk: ChunkId) -> Result<()> {
        self.same_version(chain_version)?;
        match self.view.role {
            Role::Serving => Ok(()),
            Role::Syncing => self.session_accepts(chunk),
            Role::Idle => Err(Error::new(Code::NotServing, format!("target {}", self.identity.target))),
        }
    }

    /// Too early: kept for a while, or the predecessor is asked to start again from what is here.
    fn hold(
        &mut self,
        step: &mut Step<P>,
        (version, base): (Version, Version),
        body: Body<P>,
        waiter: Waiter,
    ) {
        let queue = self.queue(step.chunks, body.update.chunk);
        let newest = queue.newest();
        let room = queue.held.len() < limits::HELD_PER_CHUNK_MAX && !queue.held.contains_key(&version);
        // Without anything pending the missing update may never come by itself, so the predecessor must hear
        // of it.
        if version > newest && room && !queue.pending.is_empty() {
            queue.held.insert(version, Held { base, body, waiters: vec![waiter] });
            return;
        }
        let detail = format!("{} after {}: has {}", version.number, base.number, newest.number);
        let result = Err(Error::new(Code::MissingVersion, detail));
        step.out.push(Output::ReplyUpdate { reply: waiter.reply, result });
    }

    fn append_held(&mut self, step: &mut Step<P>, chunk: ChunkId) {
        loop {
            let queue = self.queue(step.chunks, chunk);
            let base = queue.next_base();
            let Some(next) =
                queue.held.iter().find(|(_, held)| held.base == base).map(|(version, _)| *version)
            else {
                return;
            };
            let held = queue.held.remove(&next).expect("just found");
            self.append(step, (next, held.base), held.body, held.waiters);
        }
    }

    pub(super) fn on_stored(
        &mut self,
        step: &mut Step<P>,
        chunk: ChunkId,
        version: Version,
        result: Result<Applied>,
    ) {
        let applied = match result {
            Ok(applied) => applied,
            Err(error) if planted(Planted::RefuseAfterAssign) => {
                return self.refuse_assigned(step, chunk, version, &error);
            }
            Err(error) if error.code == Code::NoSpace && self.may_be_refused(chunk, version) => {
                return self.on_refused_update(step, chunk, version, error);
            }
            Err(error) => return self.take_offline(step, error),
        };
        // Not found: discarded by a resync while the engine worked.
        if let Some(pending) = self.queues.get_mut(&chunk).and_then(|queue| queue.find(version)) {
            let before = pending.applied.replace(applied);
            let bytes = pending.body.as_ref().map_or(0, |body| body.update.may_allocate_bytes());
            self.storing_bytes -= if before.is_none() { bytes } else { 0 };
            if let Some(channel) = &mut pending.channel {
                channel.applied = applied;
            }
            self.found_room(chunk);
            self.advance(step, chunk);
        }
    }

    /// Only planted: what P8 forbids.
    fn refuse_assigned(&mut self, step: &mut Step<P>, chunk: ChunkId, version: Version, error: &Error) {
        let Some(queue) = self.queues.get_mut(&chunk) else { return };
        let Some(place) = queue.pending.iter().position(|pending| pending.version == version) else { return };
        for pending in queue.pending.split_off(place) {
            self.pending_total -= 1;
            let replies = pending.waiters.into_iter().map(|waiter| waiter.reply);
            step.out.extend(replies.map(|reply| Output::ReplyUpdate { reply, result: Err(error.clone()) }));
        }
    }

    pub(super) fn on_forward_answer(
        &mut self,
        step: &mut Step<P>,
        (from, chain_version): (TargetId, u64),
        chunk: ChunkId,
        version: Version,
        result: Result<Acknowledged>,
    ) {
        // An answer of another version of the chain says nothing about the members of this one.
        let current = self.view.successor == Some(from) && chain_version == self.view.version.0;
        if !current && !planted(Planted::NoChainVersion) {
            return;
        }
        match result {
            Ok(acknowledged) => {
                self.told_room(from, chain_version, acknowledged.allocatable_bytes);
                let Some(queue) = self.queues.get_mut(&chunk) else { return };
                // The successor commits in order: an answer for one version answers for those before it.
                for pending in queue
                    .pending
                    .iter_mut()
                    .filter(|pending| pending.version <= version || planted(Planted::AckAll))
                {
                    pending.acked = true;
                }
                self.advance(step, chunk);
            }
            Err(error) => {
                if error.code == Code::NoSpace {
                    self.tell_what_is_gone();
                }
                let Some(queue) = self.queues.get_mut(&chunk) else { return };
                for pending in queue.pending.iter_mut().filter(|pending| !pending.acked) {
                    pending.sent &= match error.code {
                        Code::MissingVersion => false,
                        // It keeps what it has no room for, and what is behind it.
                        Code::NoSpace => pending.version != version,
                        _ => pending.version < version,
                    };
                }
                self.retry.insert(chunk);
            }
        }
    }

    /// Whether there is no chunk after this update; `absent`: there was none before it.
    pub(super) fn leaves_absent(pending: &Pending<P>, absent: bool) -> bool {
        pending.body.as_ref().is_some_and(|body| match body.update.kind {
            UpdateKind::UpdateRemove => true,
            UpdateKind::UpdatePunch | UpdateKind::UpdateTruncate => absent,
            UpdateKind::UpdateWrite => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chunks, Committed, Identity, Input, Listed, LiveClients, Recovered, Time};
    use wire::Tag;
    use wire::message::{Chain, Member, PublicState, Routing};

    /// Chunk 1 is committed with 8 bytes and chunk 2 removed; there is no other.
    struct Held;

    impl Chunks for Held {
        fn committed(&self, chunk: ChunkId) -> Committed {
            let version = Version { chain: 1, number: 5 };
            match chunk.index {
                1 => Committed { version, length: 0, removed: false, chunk_size: 8 },
                2 => Committed { version, length: 0, removed: true, chunk_size: 8 },
                _ => Committed::default(),
            }
        }

        fn list(&self, _: ChunkId, _: usize) -> Vec<Listed> {
            Vec::new()
        }

        fn allocatable_bytes(&self) -> u64 {
            1 << 40
        }
    }

    fn head() -> Replica<()> {
        let target = TargetId(7);
        let mut replica = Replica::new(Identity { target, incarnation: 1 }, Recovered::default());
        let state = PublicState::PublicServing as i32;
        let member =
            Member { target: target.0, node: 1, state, disk: 0, incarnation: 1, ..Member::default() };
        let chain = Chain { id: 1, version: 1, members: vec![member], ..Chain::default() };
        let view = Input::View { chain, lease_until: Some(Time(u64::MAX)) };
        let clients_added = vec![vec![0; 16].into()];
        let mut clients = LiveClients::default();
        clients.apply(&Routing { version: 1, clients_added, ..Routing::default() });
        replica.handle(Time::ZERO, Input::Clients(clients.into()), &Held, &mut Vec::new());
        replica.handle(Time::ZERO, view, &Held, &mut Vec::new());
        replica
    }

    /// The code of the refusal, if it is one; else the update has a version now.
    fn update(
        replica: &mut Replica<()>,
        channel: u32,
        index: u64,
        (kind, size): (UpdateKind, u32),
    ) -> Option<Code> {
        let tag = Tag { channel, sequence: 1, ..Tag::default() };
        let chunk = ChunkId { inode: 1, index };
        let length = if kind == UpdateKind::UpdateWrite { 1 } else { 0 };
        let update = Update { chunk, tag, kind, offset: 0, length, crc: 0, chunk_size: size, flush: false };
        let mut out = Vec::new();
        let input = Input::Update { reply: ReplyTo(1), chain_version: 1, update, payload: () };
        replica.handle(Time::ZERO, input, &Held, &mut out);
        match &out[..] {
            [Output::ReplyUpdate { result: Err(error), .. }] => Some(error.code),
            [Output::Store { .. }] => None,
            other => panic!("{} outputs", other.len()),
        }
    }

    #[test]
    fn an_update_of_another_chunk_size_is_refused_before_it_has_a_version() {
        use UpdateKind::{UpdatePunch, UpdateRemove, UpdateTruncate, UpdateWrite};
        let refused = Some(Code::InvalidArgument);
        let mut replica = head();
        assert_eq!(update(&mut replica, 1, 1, (UpdateWrite, 16)), refused);
        assert_eq!(update(&mut replica, 1, 1, (UpdateTruncate, 4)), refused);
        assert_eq!(update(&mut replica, 1, 1, (UpdatePunch, 16)), refused);
        assert!(replica.is_idle(), "nothing was assigned");
        assert_eq!(update(&mut replica, 1, 1, (UpdateWrite, 8)), None);
        assert_eq!(update(&mut replica, 2, 1, (UpdateRemove, 16)), None, "a removal says nothing of sizes");
        assert_eq!(update(&mut replica, 3, 1, (UpdateWrite, 16)), None, "the chunk is gone by then");
        assert_eq!(update(&mut replica, 4, 1, (UpdateWrite, 8)), refused, "what pends decides");
        assert_eq!(update(&mut replica, 5, 2, (UpdateWrite, 16)), None, "committed as removed");
        assert_eq!(update(&mut replica, 6, 3, (UpdateWrite, 16)), None, "never written");
        assert_eq!(update(&mut replica, 7, 3, (UpdateWrite, 8)), refused);
        assert_eq!(update(&mut replica, 7, 4, (UpdatePunch, 8)), None);
        assert_eq!(update(&mut replica, 8, 4, (UpdateWrite, 16)), None, "a punch made no chunk");
        assert_eq!(update(&mut replica, 9, 4, (UpdatePunch, 16)), None);
        assert_eq!(update(&mut replica, 10, 4, (UpdateWrite, 8)), refused, "nor did it end this one");
        assert_eq!(update(&mut replica, 11, 6, (UpdateTruncate, 8)), None);
        assert_eq!(update(&mut replica, 12, 6, (UpdateWrite, 16)), None, "nor did a truncation make one");
    }
}
