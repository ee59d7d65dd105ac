//! The engine's state and its small questions; each larger operation has a file of its own.
//! `Core` is shared with the checkpoint thread; `Engine` owns the thread.

use crate::catalog::Catalog;
use crate::channels::{Channel, Channels};
use crate::chunk::Retired;
use crate::disk::DiskSpace;
use crate::flush::Flusher;
use crate::index::Index;
use crate::journal::Journal;
use crate::layout::Presence;
use crate::museum::{Planted, planted};
use crate::options::Options;
use crate::segments::Segments;
use crate::throttle::Pace;
use crate::volume::Volume;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::message::{JournalChannels, JournalForget, JournalRecord};
use wire::{ChunkId, ClientId, Code, Error, Result, Tag, Version};

/// Most entries that one journal record of installed channels holds (about 100 bytes each, below the record's
/// limit).
const CHANNELS_PER_RECORD: usize = 4096;

#[derive(Debug)]
pub(crate) struct Core {
    pub options: Options,
    pub volume: Arc<Volume>,
    pub segments: Segments,
    pub index: Index,
    pub journal: Journal,
    pub catalog: Catalog,
    pub channels: Channels,
    pub flusher: Flusher,
    /// Positions that wait for a flush, in the order of their records.
    pub retired: Mutex<VecDeque<(ChunkId, Retired)>>,
    /// One checkpoint at a time.
    pub checkpoint: Mutex<()>,
    pub checkpoint_signal: Signal,
    pub pace: Pace,
    /// A crash left blocks in the files that no chunk owns; held while they are given back.
    pub leaks: Mutex<bool>,
    /// Highest version among expired tombstones.
    pub forgotten: Mutex<Version>,
    /// Openings that set chunks back, until now.
    pub losses: u64,
    pub tombstones: AtomicU64,
    pub used_blocks: AtomicU64,
    pub closed: AtomicBool,
}

/// Wakes the checkpoint thread, and those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    pub state: Mutex<SignalState>,
    pub changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct SignalState {
    pub wanted: bool,
    pub stop: bool,
    pub rounds: u64,
}

/// One target's store on one disk. All calls may be made from any thread; each returns when its work is done.
/// Dropping it without `close` leaves the disk as the death of the process would.
#[derive(Debug)]
pub struct Engine {
    pub(crate) core: Arc<Core>,
    pub(crate) worker: Option<std::thread::JoinHandle<()>>,
}

/// A pending version of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingVersion {
    pub version: Version,
    pub length: u32,
    pub removed: bool,
    pub tag: Option<Tag>,
}

/// What a target knows of a chunk without touching the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// `Version::NONE` if nothing is committed yet.
    pub committed: Version,
    pub length: u32,
    pub chunk_size: u32,
    /// A tombstone: `committed` is the version of the removal.
    pub removed: bool,
    /// Oldest first.
    pub pending: Vec<PendingVersion>,
}

impl ChunkMeta {
    /// The newest version, committed or not: the base of the next update.
    pub fn tip(&self) -> Version {
        self.pending.last().map_or(self.committed, |pending| pending.version)
    }
}

/// A row of `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedChunk {
    pub chunk: ChunkId,
    pub version: Version,
    pub length: u32,
    pub chunk_size: u32,
    pub removed: bool,
    pub pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Of the disk.
    pub capacity: u64,
    /// By this target's chunks.
    pub used: u64,
    /// What updates may still allocate, the reserve not counted (P8).
    pub allocatable: u64,
    /// Blocks held back for updates that already have a version.
    pub reserve: u64,
    /// Chunks with a committed version, tombstones not counted.
    pub chunks: u64,
}

impl Core {
    pub fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(Code::TargetOffline, "the target is closed"));
        }
        self.volume.check()
    }

    pub fn append_channels(&self, channels: &[Channel]) -> Result<()> {
        for page in channels.chunks(CHANNELS_PER_RECORD) {
            let records = page.iter().map(Into::into).collect();
            let message = JournalRecord {
                channels: Some(JournalChannels { channels: records }),
                ..JournalRecord::default()
            };
            let (number, _showing) = self.journal.append(&message, &[])?;
            page.iter().for_each(|channel| self.channels.install(number, *channel));
        }
        Ok(())
    }

    pub fn append_forget(&self, client: ClientId) -> Result<()> {
        let forget = JournalForget { client: bytes::Bytes::copy_from_slice(&client.0) };
        let record = JournalRecord { forget: Some(forget), ..JournalRecord::default() };
        let _recorded = match planted(Planted::ForgetNotRecorded) {
            true => None,
            false => Some(self.journal.append(&record, &[])?),
        };
        self.channels.forget_client(client);
        Ok(())
    }
}

impl Engine {
    /// What is known of a chunk; `None` if it was never written (or its tombstone expired). Memory answers,
    /// also after a failure: an error would be taken for "no such chunk".
    pub fn meta(&self, chunk: ChunkId) -> Option<ChunkMeta> {
        let shard = self.core.index.shard(chunk);
        let entry = shard.entries.get(&chunk)?;
        let pending = entry.active.iter().flat_map(|active| &active.pending).map(|layout| PendingVersion {
            version: layout.version,
            length: layout.length,
            removed: layout.presence == Presence::Removed,
            tag: layout.tag,
        });
        let pending: Vec<PendingVersion> = pending.collect();
        if pending.is_empty() && entry.presence == Presence::Absent {
            return None;
        }
        Some(ChunkMeta {
            committed: entry.version,
            length: entry.length,
            chunk_size: entry.chunk_size,
            removed: entry.presence == Presence::Removed,
            pending,
        })
    }

    /// The last update of one channel of one client (P7).
    pub fn channel(&self, client: ClientId, channel: u32) -> Option<Channel> {
        self.core.channels.get(client, channel)
    }

    /// Up to `limit` entries of the exactly-once table after `after`, in order.
    pub fn channels(&self, after: Option<(ClientId, u32)>, limit: usize) -> Vec<Channel> {
        self.core.channels.list(after, limit)
    }

    /// Takes entries from another member; of two for one channel the later sequence stays.
    pub fn install_channels(&self, page: &[Channel]) -> Result<()> {
        self.core.check()?;
        self.core.append_channels(page)
    }

    /// Drops a fenced client's entries (P4).
    pub fn forget_client(&self, client: ClientId) -> Result<()> {
        self.core.check()?;
        self.core.append_forget(client)
    }

    /// The highest version among tombstones that were dropped to bound memory: a chunk that `meta` does not
    /// know starts with a higher number, so that it cannot repeat a version of its former self.
    pub fn forgotten(&self) -> Version {
        *self.core.forgotten.lock()
    }

    pub fn space(&self) -> Result<Space> {
        self.core.check()?;
        let DiskSpace { capacity, free } = self.core.volume.space()?;
        let live = |shard: parking_lot::MutexGuard<'_, crate::index::Shard>| shard.live;
        Ok(Space {
            capacity,
            used: self.core.used_blocks.load(Ordering::Relaxed) * crate::BLOCK_BYTES as u64,
            allocatable: free.saturating_sub(self.core.volume.reserve_missing()),
            reserve: self.core.volume.reserve_held(),
            chunks: self.core.index.shards().map(live).sum(),
        })
    }

    /// Changes the reserve (P8). The new size holds as far as the disk has room.
    pub fn set_reserve(&self, bytes: u64) -> Result<()> {
        self.core.check()?;
        self.core.volume.set_reserve(bytes)
    }

    /// Why the target failed, if it did.
    pub fn failure(&self) -> Option<Error> {
        self.core.volume.check().err()
    }
}
