//! Every chunk of the target, in memory, in shards; and the locks. A shard's lock is held for short sections,
//! never across I/O; a chunk's lock is held across the I/O of one change. Order: chunk, shard, everything
//! else. Details of chunks at rest are dropped when the cache is full; the catalogue has them.

use crate::chunk::{Active, Entry};
use crate::layout::Presence;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use wire::ChunkId;

/// Enough that two of a few dozen threads seldom meet.
pub(crate) const SHARDS: usize = 64;
const CHUNK_LOCKS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Shard {
    pub entries: BTreeMap<ChunkId, Entry>,
    /// Chunks whose `dirty` flag is set.
    pub dirty: Vec<ChunkId>,
    cached: VecDeque<ChunkId>,
    cached_bytes: u64,
    /// Chunks that are present.
    pub live: u64,
}

#[derive(Debug)]
pub(crate) struct Index {
    shards: Vec<Mutex<Shard>>,
    locks: Vec<Mutex<()>>,
    cache_bytes_max: u64,
    generations: AtomicU64,
    dirty: AtomicU64,
}

fn hash(chunk: ChunkId) -> u64 {
    let mixed =
        (chunk.inode.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ chunk.index).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 29)
}

impl Index {
    pub fn new(cache_bytes_max: u64) -> Index {
        Index {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            locks: (0..CHUNK_LOCKS).map(|_| Mutex::default()).collect(),
            cache_bytes_max,
            generations: AtomicU64::new(1),
            dirty: AtomicU64::new(0),
        }
    }

    pub fn shard(&self, chunk: ChunkId) -> MutexGuard<'_, Shard> {
        self.shards[(hash(chunk) % SHARDS as u64) as usize].lock()
    }

    pub fn shard_at(&self, number: usize) -> MutexGuard<'_, Shard> {
        self.shards[number].lock()
    }

    /// One after another.
    pub fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(Mutex::lock)
    }

    /// Changes of one chunk happen one after another.
    pub fn lock_chunk(&self, chunk: ChunkId) -> MutexGuard<'_, ()> {
        self.locks[(hash(chunk) >> 32) as usize % CHUNK_LOCKS].lock()
    }

    /// Tells the two hash uses apart: which lane of segments a chunk's extents come from.
    pub fn lane_seed(chunk: ChunkId) -> u64 {
        hash(chunk) >> 16
    }

    pub fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    pub fn mark_dirty(&self, shard: &mut Shard, chunk: ChunkId) {
        let active = shard.active(chunk).expect("a changed chunk is active");
        if !active.dirty {
            active.dirty = true;
            shard.dirty.push(chunk);
            self.dirty.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn dirty_chunks(&self) -> u64 {
        self.dirty.load(Ordering::Relaxed)
    }

    /// All dirty chunks in the order of their ids. Their flags stay set until each is saved.
    pub fn take_dirty(&self) -> Vec<ChunkId> {
        let mut chunks = Vec::new();
        for mut shard in self.shards() {
            chunks.append(&mut shard.dirty);
        }
        self.dirty.fetch_sub(chunks.len() as u64, Ordering::Relaxed);
        chunks.sort_unstable();
        chunks
    }

    /// A chunk may be at rest now: lets the cache drop it, or others.
    pub fn settle(&self, shard: &mut Shard, chunk: ChunkId) {
        self.count_at_rest(shard, chunk);
        self.evict(shard, None);
    }

    /// A chunk at rest came into memory because someone is about to look at it: lets the cache drop others. It
    /// stays, however small the cache is, or who wants it would never see it.
    pub fn settle_wanted(&self, shard: &mut Shard, chunk: ChunkId) {
        self.count_at_rest(shard, chunk);
        self.evict(shard, Some(chunk));
    }

    fn count_at_rest(&self, shard: &mut Shard, chunk: ChunkId) {
        let Some(active) = shard.active(chunk) else { return };
        if active.cached_bytes == 0 && active.is_settled() {
            let bytes = active.memory_bytes();
            active.cached_bytes = bytes;
            shard.cached.push_back(chunk);
            shard.cached_bytes += u64::from(bytes);
        }
    }

    fn evict(&self, shard: &mut Shard, wanted: Option<ChunkId>) {
        while shard.cached_bytes > self.cache_bytes_max / SHARDS as u64 {
            let Some(oldest) = shard.cached.pop_front_if(|oldest| Some(*oldest) != wanted) else { break };
            let Some(entry) = shard.entries.get_mut(&oldest) else { continue };
            let Some(active) = entry.active.as_mut() else { continue };
            shard.cached_bytes -= u64::from(std::mem::take(&mut active.cached_bytes));
            if active.is_settled() {
                entry.active = None;
            }
        }
    }
}

impl Shard {
    pub fn active(&mut self, chunk: ChunkId) -> Option<&mut Active> {
        self.entries.get_mut(&chunk)?.active.as_deref_mut()
    }

    pub fn count_presence(&mut self, before: Presence, after: Presence) {
        self.live += u64::from(after == Presence::Present);
        self.live -= u64::from(before == Presence::Present);
    }

    /// Removes a chunk that is nothing any more.
    pub fn forget(&mut self, chunk: ChunkId) {
        if let Some(active) = self.entries.remove(&chunk).and_then(|entry| entry.active) {
            self.cached_bytes -= u64::from(active.cached_bytes);
            if active.cached_bytes > 0 {
                self.cached.retain(|cached| *cached != chunk);
            }
        }
    }
}
