//! What a crash leaves: blocks in the files that no version shows, because their update was never recorded
//! or their return never reached the medium. They go back to the file system.

use crate::BLOCK_BYTES;
use crate::chunk::Active;
use crate::engine::Core;
use crate::segments::SegmentFile;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::{ChunkId, Result};

/// A range of a segment's file.
type FileRange = (Arc<SegmentFile>, u64, u64);

fn unused_ranges(active: &Active, into: &mut Vec<FileRange>) {
    for (number, plane) in active.planes.iter().enumerate() {
        let Some(plane) = plane else { continue };
        into.extend(active.unused(number).iter().map(|placed| {
            let offset = plane.file.offset(plane.address.extent, placed.first);
            (plane.file.clone(), offset, u64::from(placed.count) * BLOCK_BYTES as u64)
        }));
    }
}

impl Core {
    /// When the target is opened after a crash: what free extents and the chunks of the journal hold too
    /// much. If the files still have more blocks than all chunks, others hold some: an update that was lost
    /// leaves no trace of whose it was. All chunks are gone through for that, by `reclaim_leaks`, which
    /// does not hold up the opening.
    pub fn reclaim(&self) -> Result<()> {
        self.segments.punch_free()?;
        let mut ranges = Vec::new();
        for shard in self.index.shards() {
            let active = shard.entries.values().filter_map(|entry| entry.active.as_ref());
            active.for_each(|active| unused_ranges(active, &mut ranges));
        }
        self.give_back(&ranges)?;
        let mut held = 0;
        for segment in self.segments.all() {
            let allocated = segment.file.allocated();
            held += *allocated.map_err(|error| self.volume.fail("a segment's blocks", &error))?.start();
        }
        *self.leaks.lock() = held > self.used_blocks.load(Ordering::Relaxed) * BLOCK_BYTES as u64;
        Ok(())
    }

    /// Goes through all chunks if `reclaim` found that it must. Updates go on; a second caller waits for
    /// the first.
    pub fn reclaim_leaks(&self) -> Result<()> {
        let mut leaks = self.leaks.lock();
        if !*leaks {
            return Ok(());
        }
        let chunks: Vec<ChunkId> =
            self.index.shards().flat_map(|shard| shard.entries.keys().copied().collect::<Vec<_>>()).collect();
        for chunk in chunks {
            if self.checkpoint_signal.state.lock().stop {
                return Ok(());
            }
            let _lock = self.index.lock_chunk(chunk);
            self.activate(chunk)?;
            let mut ranges = Vec::new();
            if let Some(active) = self.index.shard(chunk).active(chunk) {
                unused_ranges(active, &mut ranges);
            }
            self.give_back(&ranges)?;
        }
        *leaks = false;
        Ok(())
    }

    fn give_back(&self, ranges: &[FileRange]) -> Result<()> {
        ranges.iter().try_for_each(|(file, offset, length)| self.segments.punch(file, *offset, *length))
    }
}
