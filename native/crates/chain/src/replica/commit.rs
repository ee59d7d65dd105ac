//! What moves a chunk's updates on: send what is stored, commit what every later member has, answer who
//! waits. Always in the order of versions.

use super::{Output, Replica, Step};
use crate::museum::{Planted, planted};
use crate::update::{Acknowledged, Applied};
use crate::view::Role;
use wire::{ChunkId, Version};

impl<P: Clone> Replica<P> {
    /// Does everything that has become possible for this chunk.
    pub(super) fn advance(&mut self, step: &mut Step<P>, chunk: ChunkId) {
        let decides = match self.view.role {
            Role::Serving => true,
            Role::Syncing => self.session.is_some(),
            Role::Idle => false,
        };
        // A member out of the chain neither drops what pends nor decides it (P6).
        if !decides {
            return;
        }
        self.store_waiting(step, chunk);
        self.send_stored(step, chunk);
        self.commit_acked(step, chunk);
        self.forget_if_idle(chunk);
    }

    pub(super) fn forget_if_idle(&mut self, chunk: ChunkId) {
        if self.queues.get(&chunk).is_some_and(|queue| queue.is_idle()) {
            self.queues.remove(&chunk);
        }
    }

    fn send_stored(&mut self, step: &mut Step<P>, chunk: ChunkId) {
        let Some(to) = self.view.successor else { return };
        let Some(queue) = self.queues.get(&chunk) else { return };
        let stored = |applied: Option<Applied>| applied.is_some() || planted(Planted::ForwardBeforeStored);
        let waits = queue.pending.iter().take_while(|pending| stored(pending.applied));
        if !waits.clone().any(|pending| !pending.sent && !pending.acked) {
            return;
        }
        if self.view.successor_is_syncing && !self.copied_or_ask(step, chunk) {
            return;
        }
        let chain_version = self.view.version.0;
        let queue = self.queues.get_mut(&chunk).expect("looked up above");
        let absent = queue.absent;
        for (place, pending) in queue.pending.iter_mut().enumerate() {
            if !stored(pending.applied) {
                break;
            }
            if pending.sent || pending.acked {
                continue;
            }
            // A removal that was pending when this update got its version, and is committed now: a syncing
            // member was only told that the chunk is absent, not by which version.
            let base = if place == 0 && absent { Version::NONE } else { pending.base };
            let body = pending.body.as_ref().expect("only updates in memory are sent");
            pending.sent = true;
            step.out.push(Output::Forward {
                to,
                chain_version,
                version: pending.version,
                base,
                update: body.update.clone(),
                payload: body.payload.clone(),
            });
        }
    }

    fn commit_acked(&mut self, step: &mut Step<P>, chunk: ChunkId) {
        let alone = match self.view.successor {
            None => true,
            Some(_) if planted(Planted::AckBeforeSuccessor) => true,
            Some(_) => self.view.successor_is_syncing && planted(Planted::AckBeforeSyncing),
        };
        loop {
            let Some(queue) = self.queues.get_mut(&chunk) else { return };
            let ready =
                queue.pending.front().is_some_and(|next| next.applied.is_some() && (alone || next.acked));
            if !ready {
                return;
            }
            let pending = queue.pending.pop_front().expect("just looked at");
            assert!(pending.version > queue.committed, "commits only rise");
            queue.committed = pending.version;
            queue.absent = Self::leaves_absent(&pending, queue.absent);
            self.pending_total -= 1;
            let bytes = pending.body.as_ref().map_or(0, |body| body.update.may_allocate_bytes());
            self.allocating_bytes -= bytes;
            step.out.push(Output::Commit { chunk, version: pending.version });
            if let Some(channel) = pending.channel {
                self.table.committed(channel);
                self.fence_progress(step, channel.tag.client);
            }
            let applied = pending.applied.expect("checked above");
            let acknowledged = self.acknowledged(step, pending.version, applied);
            let replies = pending.waiters.iter().map(|waiter| waiter.reply);
            step.out.extend(replies.map(|reply| Output::ReplyUpdate { reply, result: Ok(acknowledged) }));
        }
    }

    pub(super) fn acknowledged(&self, step: &Step<P>, version: Version, applied: Applied) -> Acknowledged {
        Acknowledged {
            version,
            applied,
            durability_epoch: self.view.durability_epoch,
            allocatable_bytes: self.allocatable_bytes(step.chunks),
        }
    }
}
