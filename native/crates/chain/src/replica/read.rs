//! Which committed version a read may see (P6). A member that holds something newer asks the last serving
//! one; its answer is a certificate that every member has that version, so it is committed here as well.
//! Lease and chain version are tested after the choice (P2).

use super::roll_forward::NO_CHUNK;
use super::{Output, Replica, ReplyTo, Step};
use crate::museum::{Planted, planted};
use crate::view::Role;
use crate::{Time, limits};
use std::collections::BTreeMap;
use wire::{ChunkId, Code, Error, Result, Version};

/// Reads of one chunk: those that the question in the air was asked for, and later ones, which need a
/// question of their own: an answer that was given before a read began may be older than what that read must
/// see.
#[derive(Default)]
struct Waiting {
    asked: Vec<ReplyTo>,
    later: Vec<ReplyTo>,
}

#[derive(Default)]
pub(super) struct DirtyReads {
    chunks: BTreeMap<ChunkId, Waiting>,
    count: usize,
}

impl DirtyReads {
    pub(super) fn fail<P>(&mut self, step: &mut Step<P>, error: &Error) {
        self.count = 0;
        for waiting in std::mem::take(&mut self.chunks).into_values() {
            let replies = waiting.asked.into_iter().chain(waiting.later);
            step.out.extend(replies.map(|reply| Output::ReplyRead { reply, error: error.clone() }));
        }
    }
}

impl<P: Clone> Replica<P> {
    pub(super) fn on_read(&mut self, step: &mut Step<P>, reply: ReplyTo, chain_version: u64, chunk: ChunkId) {
        if let Err(error) = self.may_serve(step.now, chain_version) {
            return step.out.push(Output::ReplyRead { reply, error });
        }
        if planted(Planted::ServePending) {
            self.commit_through(step, chunk, Version { chain: u64::MAX, number: 0 });
        }
        let clean = self.queues.get(&chunk).is_none_or(|queue| queue.pending.is_empty());
        let decides = self.view.last_serving == Some(self.identity.target) || planted(Planted::DirtyRead);
        if clean || decides {
            return step.out.push(Output::ReadCommitted { reply, chain_version, chunk });
        }
        if self.dirty.count >= limits::DIRTY_READS_MAX {
            let error = Error::new(Code::Overloaded, format!("target {}", self.identity.target));
            return step.out.push(Output::ReplyRead { reply, error });
        }
        self.dirty.count += 1;
        let waiting = self.dirty.chunks.entry(chunk).or_default();
        if waiting.asked.is_empty() {
            waiting.asked.push(reply);
            self.ask(step, chunk);
        } else {
            waiting.later.push(reply);
        }
    }

    fn ask(&self, step: &mut Step<P>, chunk: ChunkId) {
        let to = self.view.last_serving.expect("a serving member knows the last one");
        step.out.push(Output::AskCommitted { to, chain_version: self.view.version.0, chunk });
    }

    /// After the bytes were read: may they be shown? `now` must be taken after the version was chosen.
    pub fn read_still_valid(&self, now: Time, chain_version: u64) -> Result<()> {
        if let Some(reason) = &self.offline {
            return Err(Error::new(Code::TargetOffline, reason.detail.clone()));
        }
        self.may_serve(now, chain_version)
    }

    /// Before this member's list of committed chunks is shown to a client: it must have what was acknowledged,
    /// which another member may have committed while it pends here. The last serving one always has. `inode`:
    /// the list is of its chunks alone.
    pub fn may_list_committed(&self, now: Time, chain_version: u64, inode: Option<u64>) -> Result<()> {
        self.read_still_valid(now, chain_version)?;
        let listed = |chunk: &ChunkId| inode.is_none_or(|inode| chunk.inode == inode);
        let pends = self.queues.iter().any(|(chunk, queue)| listed(chunk) && !queue.pending.is_empty());
        let decides = self.view.last_serving == Some(self.identity.target);
        if pends && !decides && !planted(Planted::ListsWhilePending) {
            return Err(Error::new(Code::NotCommitted, "updates of listed chunks pend here"));
        }
        Ok(())
    }

    /// The last serving member decides with what it has committed, and never answers "pending".
    pub(super) fn on_committed_question(
        &mut self,
        step: &mut Step<P>,
        reply: ReplyTo,
        chain_version: u64,
        chunk: ChunkId,
    ) {
        if chunk == NO_CHUNK {
            return self.on_predecessor_question(step, reply, chain_version);
        }
        let lease_matters = !planted(Planted::OldLastDecides);
        let result = self.same_version(chain_version).and_then(|()| {
            // Without a lease another one may be the last by now, and have committed more.
            if lease_matters {
                self.may_serve(step.now, chain_version)?;
            }
            let last = self.view.last_serving == Some(self.identity.target);
            if self.view.role == Role::Serving && last {
                return Ok(self.committed_version(step, chunk));
            }
            Err(Error::new(Code::NotServing, format!("target {} is not the last", self.identity.target)))
        });
        step.out.push(Output::ReplyCommitted { reply, result });
    }

    fn committed_version(&self, step: &Step<P>, chunk: ChunkId) -> Version {
        self.queues.get(&chunk).map_or_else(|| step.chunks.committed(chunk).version, |queue| queue.committed)
    }

    pub(super) fn on_committed_answer(
        &mut self,
        step: &mut Step<P>,
        chain_version: u64,
        chunk: ChunkId,
        result: Result<Version>,
    ) {
        if chunk == NO_CHUNK {
            return self.on_predecessor_answer(chain_version, result);
        }
        if chain_version != self.view.version.0 {
            return;
        }
        let Some(mut waiting) = self.dirty.chunks.remove(&chunk) else { return };
        self.dirty.count -= waiting.asked.len();
        let seen = result.and_then(|version| {
            self.commit_through(step, chunk, version);
            if self.committed_version(step, chunk) >= version {
                return Ok(());
            }
            Err(Error::new(Code::NotCommitted, format!("{} is not here yet", version.number)))
        });
        for reply in std::mem::take(&mut waiting.asked) {
            step.out.push(match &seen {
                Ok(()) => Output::ReadCommitted { reply, chain_version, chunk },
                Err(error) => Output::ReplyRead { reply, error: error.clone() },
            });
        }
        if !waiting.later.is_empty() {
            waiting.asked = std::mem::take(&mut waiting.later);
            self.dirty.chunks.insert(chunk, waiting);
            self.ask(step, chunk);
        }
    }

    /// The last serving member has committed `version`: then every member has it stored.
    fn commit_through(&mut self, step: &mut Step<P>, chunk: ChunkId, version: Version) {
        let Some(queue) = self.queues.get_mut(&chunk) else { return };
        let mut bytes = 0;
        for pending in queue.pending.iter_mut().filter(|pending| pending.version <= version && !pending.acked)
        {
            pending.acked = true;
            bytes += pending.body.as_ref().map_or(0, |body| body.update.may_allocate_bytes());
        }
        self.spend_room(bytes);
        self.advance(step, chunk);
    }
}
