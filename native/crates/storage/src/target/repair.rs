//! Damaged chunks: remembered, fetched from other members of the chain, put right. A copy counts only if it is
//! of the version that is committed here; the engine takes a block only if its own books name the block's
//! checksum. Nothing of this is a decision of the chain: no version changes.

use super::{ReadRange, Target, to_peers};
use crate::metrics::add;
use crate::peers::Purpose;
use bytes::Bytes;
use chain::Role;
use chunk_engine::{BLOCK_BYTES, Damage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use wire::message::{self as m, PublicState, ReadReply, ReadRequest};
use wire::{ChunkId, Code, Error, NodeId, Result, Version};

/// Chunks remembered; a scrub finds the others again.
const DAMAGED_MAX: usize = 65_536;

/// A chunk that could not be repaired is tried again after this long: the other members may be back.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A member that does not answer by then is as good as none.
const FETCH_TIMEOUT: Duration = Duration::from_millis(1500);

/// An update or a resync waits this long for a repair, whatever there is to be fetched, and from whom.
pub(super) const MEND_PATIENCE: Duration = Duration::from_secs(3);

/// One chunk does not hold up the repair of the others for longer.
const REPAIR_PATIENCE: Duration = Duration::from_secs(30);

/// Blocks fetched with one request: 1 MiB.
const BLOCKS_PER_FETCH: u32 = 256;

#[derive(Default)]
pub(super) struct Repairs {
    damaged: BTreeMap<ChunkId, Damaged>,
    running: bool,
}

#[derive(Clone, Copy)]
struct Damaged {
    /// When it may be tried again.
    due: Instant,
    /// The newest version that was stored over damage: until it is committed, what is found whole is an older one.
    over: Version,
}

impl Repairs {
    pub fn count(&self) -> usize {
        self.damaged.len()
    }

    pub fn is_running(&self) -> bool {
        self.running
    }
}

/// Runs of consecutive blocks: first and count.
fn runs(blocks: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &block in blocks {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == block && *count < BLOCKS_PER_FETCH => *count += 1,
            _ => runs.push((block, 1)),
        }
    }
    runs
}

impl Target {
    /// A read, a scrub or a resync met damage.
    pub(super) fn found_damage(self: &Arc<Self>, chunk: ChunkId) {
        self.stored_over_damage(chunk, Version::NONE);
    }

    /// An update met damage, and this version has some of it.
    pub(super) fn stored_over_damage(self: &Arc<Self>, chunk: ChunkId, version: Version) {
        {
            let mut repairs = self.repairs.lock();
            if let Some(known) = repairs.damaged.get_mut(&chunk) {
                known.over = known.over.max(version);
                return;
            }
            if repairs.damaged.len() >= DAMAGED_MAX {
                return;
            }
            repairs.damaged.insert(chunk, Damaged { due: Instant::now(), over: version });
        }
        add(&self.shared.metrics.damaged_chunks, 1);
        log::warn!(
            target: "storage", target = self.id.0, inode = chunk.inode, index = chunk.index; "chunk.damaged"
        );
        self.repair_damaged();
    }

    /// Works through what is due, if nobody does.
    pub(super) fn repair_damaged(self: &Arc<Self>) {
        {
            let mut repairs = self.repairs.lock();
            let now = Instant::now();
            if repairs.running || !repairs.damaged.values().any(|damaged| damaged.due <= now) {
                return;
            }
            repairs.running = true;
        }
        let target = self.clone();
        self.disk.repairs.push(move || {
            while let Some(chunk) = target.next_to_repair() {
                target.repair(chunk);
            }
        });
    }

    fn next_to_repair(&self) -> Option<ChunkId> {
        let mut repairs = self.repairs.lock();
        let now = Instant::now();
        let next = repairs.damaged.iter().find(|(_, damaged)| damaged.due <= now).map(|(chunk, _)| *chunk);
        let next = next.filter(|_| !self.is_offline());
        repairs.running = next.is_some();
        next
    }

    fn repair(self: &Arc<Self>, chunk: ChunkId) {
        let until = Instant::now() + REPAIR_PATIENCE;
        let repaired = self.mend(chunk, until).and_then(|damage| {
            // Else its own books do not name the right bytes: an update was stored over damage.
            let whole = damage.blocks.is_empty() || self.replace_damaged(chunk, &damage, until)?;
            Ok(whole.then_some(damage.version))
        });
        // What pended may have been discarded since.
        let newest = self.store.newest(chunk);
        let mut repairs = self.repairs.lock();
        let known = repairs.damaged.get_mut(&chunk).expect("only a repair forgets a damaged chunk");
        let is_over = |version: &Version| *version >= known.over.min(newest);
        if matches!(&repaired, Ok(Some(version)) if is_over(version)) {
            repairs.damaged.remove(&chunk);
            drop(repairs);
            add(&self.shared.metrics.repaired_chunks, 1);
            log::info!(
                target: "storage", target = self.id.0, inode = chunk.inode, index = chunk.index; "chunk.repaired"
            );
            return;
        }
        known.due = Instant::now() + TRY_AGAIN;
        drop(repairs);
        if !matches!(repaired, Ok(Some(_))) {
            add(&self.shared.metrics.repairs_failed, 1);
        }
        if let Err(error) = repaired {
            log::warn!(
                target: "storage", target = self.id.0, inode = chunk.inode, index = chunk.index,
                error:% = error; "chunk.unrepaired"
            );
        }
    }

    /// True: it was tried just now and could not be repaired.
    pub(super) fn is_beyond_repair(&self, chunk: ChunkId) -> bool {
        self.repairs.lock().damaged.get(&chunk).is_some_and(|damaged| damaged.due > Instant::now())
    }

    /// Rewrites damaged blocks in place with the bytes that other members send until then; what is still damaged.
    fn mend(self: &Arc<Self>, chunk: ChunkId, until: Instant) -> Result<Damage> {
        let damage = self.store.damage(chunk)?;
        for (first, count) in runs(&damage.blocks) {
            let offset = first * BLOCK_BYTES as u32;
            let length = (count * BLOCK_BYTES as u32).min(damage.chunk_length - offset);
            let mut missing = count;
            for (node, chain_version) in self.other_serving_members() {
                let Ok((reply, bytes)) = self.fetch((node, chain_version), chunk, (offset, length), until)
                else {
                    continue;
                };
                let version = reply.version.unwrap_or_default().into();
                missing = missing.saturating_sub(self.store.mend(chunk, version, first, &bytes)?);
                if missing == 0 {
                    break;
                }
            }
        }
        match damage.blocks.is_empty() {
            true => Ok(damage),
            false => self.store.damage(chunk),
        }
    }

    /// The whole chunk as another member has it, if that is the version that is committed here and nothing
    /// pends. True: done.
    fn replace_damaged(self: &Arc<Self>, chunk: ChunkId, damage: &Damage, until: Instant) -> Result<bool> {
        for (node, chain_version) in self.other_serving_members() {
            let range = (0, damage.chunk_length);
            let fetched = self.fetch((node, chain_version), chunk, range, until);
            let Ok((reply, bytes)) = fetched else { continue };
            if wire::Version::from(reply.version.unwrap_or_default()) != damage.version
                || reply.chunk_length != damage.chunk_length
            {
                continue;
            }
            let (done, answer) = sync_channel(1);
            let (target, version) = (self.clone(), damage.version);
            let generation = self.generation.current();
            // Among the stores of the chunk, so that none begins meanwhile.
            self.disk.lanes.push((self.id, chunk), bytes.len(), move |_| {
                let stored = target.in_generation(generation, |_| target.restore(chunk, version, &bytes));
                let _ = done.send(stored.unwrap_or(Ok(false)));
            });
            // A lane that was closed answers nobody.
            return answer.recv().unwrap_or(Ok(false));
        }
        Err(Error::new(Code::Corrupt, "no other member has good bytes of this version now"))
    }

    /// False: the chunk changed.
    fn restore(&self, chunk: ChunkId, version: Version, bytes: &Bytes) -> Result<bool> {
        let promise = self.promise_for_copy(bytes.len())?;
        let restored = self.store.restore(chunk, version, bytes)?;
        if restored {
            promise.keep();
        }
        Ok(restored)
    }

    /// Nodes of the other members that answer reads, and the version of the chain to ask under.
    fn other_serving_members(&self) -> Vec<(NodeId, u64)> {
        let state = self.state.lock();
        let view = state.replica.view();
        if view.role == Role::Idle {
            return Vec::new();
        }
        let serving =
            |member: &&m::Member| member.state() == PublicState::PublicServing && member.target != self.id.0;
        let members = view.chain.members.iter().filter(serving);
        members.map(|member| (NodeId(member.node), view.version.0)).collect()
    }

    fn fetch(
        &self,
        (node, chain_version): (NodeId, u64),
        chunk: ChunkId,
        (offset, length): (u32, u32),
        until: Instant,
    ) -> Result<(ReadReply, Bytes)> {
        let timeout = until.saturating_duration_since(Instant::now()).min(FETCH_TIMEOUT);
        if timeout.is_zero() {
            return Err(Error::new(Code::TimedOut, "there was no time left to ask for good bytes"));
        }
        let request = ReadRequest {
            header: None,
            chain: self.chain,
            chain_version,
            chunk: Some(chunk.into()),
            offset,
            length,
            verify: true,
        };
        let (done, answer) = sync_channel(1);
        let key = (node, Purpose::Repair);
        self.shared.peers.call(key, request, Vec::new(), timeout, move |result| {
            let _ = done.send(result);
        });
        transport::flush_held();
        let unanswered = |_| Err(Error::new(Code::Unreachable, format!("node {node}")));
        let (reply, bytes) = answer.recv().unwrap_or_else(unanswered)?;
        if bytes.len() != length as usize || crc32c::crc32c(&bytes) != reply.crc {
            return Err(Error::new(Code::Corrupt, format!("the answer of node {node}")));
        }
        Ok((reply, bytes))
    }

    /// For somebody who waits until then: an update that needs the old bytes of a damaged block, or a resync.
    pub(super) fn mend_in_the_way(self: &Arc<Self>, chunk: ChunkId, until: Instant) {
        if !self.is_beyond_repair(chunk)
            && let Err(error) = self.mend(chunk, until)
        {
            log::debug!(target: "storage", target = self.id.0, error:% = error; "chunk.unrepaired");
        }
    }

    /// The committed bytes for a resync, and the blocks that nobody has good bytes of: zeros stand there.
    pub(super) fn read_for_resync(
        self: &Arc<Self>,
        chunk: ChunkId,
    ) -> Result<(super::store::Read, Vec<u32>)> {
        let whole = ReadRange { offset: 0, length: u32::MAX };
        let pool = &self.disk.buffers.resync_out;
        match self.store.read(chunk, whole, pool) {
            Err(error) if error.code == Code::Corrupt => {}
            read => return read.map(|read| (read, Vec::new())),
        }
        add(&self.shared.metrics.read_corrupt, 1);
        self.found_damage(chunk);
        self.mend_in_the_way(chunk, Instant::now() + MEND_PATIENCE);
        self.store.read_around_damage(chunk, pool)
    }
}

/// The connections that repairs of this member need.
pub(super) fn links(view: &chain::View, own: wire::TargetId) -> Vec<crate::peers::Key> {
    let serving =
        |member: &&m::Member| member.state() == PublicState::PublicServing && member.target != own.0;
    let members = view.chain.members.iter().filter(serving);
    members
        .filter(|_| view.role != Role::Idle)
        .filter_map(|member| to_peers::place(view, wire::TargetId(member.target)))
        .map(|(node, _)| (node, Purpose::Repair))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_fetched_together() {
        assert_eq!(runs(&[]), []);
        assert_eq!(runs(&[3]), [(3, 1)]);
        assert_eq!(runs(&[0, 1, 2, 5, 6, 9]), [(0, 3), (5, 2), (9, 1)]);
        let all: Vec<u32> = (0..600).collect();
        assert_eq!(runs(&all), [(0, 256), (256, 256), (512, 88)]);
    }
}
