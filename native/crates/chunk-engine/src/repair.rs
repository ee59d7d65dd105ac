//! Damaged blocks: finds them by reading everything, and puts them right in place from another member's copy.
//! A copy is taken only if it has the checksum that this target's own books name, so a wrong one does no
//! harm, whoever sent it. Nothing is allocated and no version changes: it works on a full disk, and while
//! updates pend.

use crate::checksum::{BLOCK_BYTES, checksum};
use crate::disk::{Block, HugePage};
use crate::engine::{Core, Engine};
use crate::layout::Layout;
use crate::read::{ReadInfo, Snapshot, Source, Unread};
use crate::stage::{StageRequest, Staged};
use std::cell::RefCell;
use std::io::IoSlice;
use std::sync::Arc;
use wire::{ChunkId, Result, Version};

/// Bytes of a chunk that are read with one call: enough for a disk to be at its best.
pub const PIECE_BYTES: u32 = 1 << 20;

const PIECE_BLOCKS: u32 = PIECE_BYTES / BLOCK_BYTES as u32;

thread_local! {
    /// Kept, because fresh memory costs more than the read; one for each thread that looks for damage: a server has
    /// seven of them for a disk.
    static PIECE: RefCell<Box<HugePage>> = RefCell::new(HugePage::new_zeros());
}

/// What reading a committed chunk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// `Version::NONE` for a chunk that does not exist.
    pub version: Version,
    pub chunk_length: u32,
    /// Blocks of 4 KiB that do not match their checksums, in order.
    pub blocks: Vec<u32>,
}

impl Engine {
    /// Reads the whole committed chunk, from the medium as far as a cache can be told, and names the blocks that
    /// are damaged. Each MiB as of the version that is committed when it is read, the last of which is
    /// named: so it ends, however fast the chunk is written to.
    pub fn damage(&self, chunk: ChunkId) -> Result<Damage> {
        let (mut blocks, mut offset) = (Vec::new(), 0);
        loop {
            let (length, found) = self.damage_at(chunk, offset)?;
            blocks.extend(found.blocks);
            offset += length;
            if offset >= found.chunk_length {
                // It may have become shorter, or longer behind a piece that ended within a block.
                blocks.dedup();
                blocks.retain(|block| *block < found.chunk_length.div_ceil(BLOCK_BYTES as u32));
                return Ok(Damage { blocks, ..found });
            }
        }
    }

    /// As `damage`, of the MiB at `offset` alone; and its length in bytes.
    pub fn damage_at(&self, chunk: ChunkId, offset: u32) -> Result<(u32, Damage)> {
        self.core.check()?;
        // The piece before ended within a block where the chunk did, which has become longer.
        let before = offset % BLOCK_BYTES as u32;
        let range = (offset - before, PIECE_BYTES as usize);
        let (read, blocks) = PIECE.with_borrow_mut(|piece| {
            let look = |snapshot: &Snapshot, _| damaged_blocks(snapshot, &mut piece.0);
            self.core.read_as(chunk, None, range, PIECE_BLOCKS, look)
        })?;
        let (version, chunk_length) = (read.version, read.chunk_length);
        Ok((read.length.saturating_sub(before), Damage { version, chunk_length, blocks }))
    }

    /// As `read` of the whole committed chunk, with zeros for damaged blocks, and which these are.
    pub fn read_around_damage(&self, chunk: ChunkId, buffer: &mut [u8]) -> Result<(ReadInfo, Vec<u32>)> {
        self.core.check()?;
        self.core.read_around_damage(chunk, 0, buffer)
    }

    /// As `stage`, for an update that no good bytes can be had for: old blocks that it changes in part and
    /// that are damaged stay damaged, and so do `damaged` blocks of its own payload. Reads of these blocks
    /// give `Corrupt`, until they are overwritten whole or the chunk is replaced.
    pub fn stage_damaged(&self, request: &StageRequest<'_>, damaged: &[u32]) -> Result<Staged> {
        self.stage_with(request, Some(damaged), true)
    }

    /// Rewrites those damaged blocks, from block `first` on, that `bytes` have the right content of: another
    /// member's, of the version `version`. How many are whole now that were not.
    pub fn mend(&self, chunk: ChunkId, version: Version, first: u32, bytes: &[u8]) -> Result<u32> {
        let core = &*self.core;
        core.check()?;
        let mended = core.mend(chunk, version, first, bytes)?;
        if mended > 0 {
            // No record says that there is something to flush.
            core.segments.flush()?;
        }
        Ok(mended)
    }
}

/// Those of a snapshot's blocks that do not match their checksums.
fn damaged_blocks(snapshot: &Snapshot, piece: &mut [Block]) -> std::result::Result<Vec<u32>, Unread> {
    let layout = &snapshot.layout;
    let mut damaged = Vec::new();
    for run in &snapshot.runs {
        let bytes = match &run.source {
            Source::Hole => continue,
            Source::Image(data) => data,
            Source::Disk { file, offset } => {
                let into = &mut piece[..run.count as usize];
                let read = file.file.read_medium(into, *offset);
                let count = read.map_err(|error| Unread::Failed(format!("block {}: {error}", run.first)))?;
                // Fewer where the segment ends too early.
                &Block::bytes_of(into)[..count]
            }
        };
        damaged.extend((run.first..run.first + run.count).filter(|block| {
            let start = (block - run.first) as usize * BLOCK_BYTES;
            let stored = bytes.get(start..start + layout.stored(*block));
            stored.is_none_or(|stored| checksum(stored) != layout.crcs[*block as usize])
        }));
    }
    Ok(damaged)
}

impl Core {
    fn mend(&self, chunk: ChunkId, version: Version, first: u32, bytes: &[u8]) -> Result<u32> {
        let _lock = self.index.lock_chunk(chunk);
        self.activate(chunk)?;
        let layout = {
            let mut shard = self.index.shard(chunk);
            let Some(active) = shard.active(chunk) else { return Ok(0) };
            let Some(layout) = active.layouts().find(|layout| layout.version == version).cloned() else {
                return Ok(0);
            };
            (active.changing, active.rewriting) = (true, true);
            layout
        };
        let mended = self.mend_blocks(chunk, &layout, first, bytes);
        let released = self.end_rewriting(chunk);
        self.end_change(chunk);
        mended.and_then(|mended| released.map(|()| mended))
    }

    fn mend_blocks(&self, chunk: ChunkId, layout: &Arc<Layout>, first: u32, bytes: &[u8]) -> Result<u32> {
        let mut mended = 0;
        for (number, content) in bytes.chunks(BLOCK_BYTES).enumerate() {
            let block = first + number as u32;
            let right = block < layout.blocks()
                && content.len() == layout.stored(block)
                && checksum(content) == layout.crcs[block as usize];
            if right && self.is_damaged(chunk, layout, block)? {
                self.rewrite(chunk, layout, block, content)?;
                mended += u32::from(!self.is_damaged(chunk, layout, block)?);
            }
        }
        Ok(mended)
    }

    /// On the medium: that a cache has good bytes still is no reason to leave it so.
    fn is_damaged(&self, chunk: ChunkId, layout: &Arc<Layout>, block: u32) -> Result<bool> {
        loop {
            let snapshot = self.block_snapshot(chunk, layout, block);
            let damaged = PIECE.with_borrow_mut(|piece| damaged_blocks(&snapshot, &mut piece.0));
            if self.is_unchanged(chunk, snapshot.generation) {
                return damaged.map(|blocks| !blocks.is_empty()).map_err(|unread| self.unread(chunk, unread));
            }
        }
    }

    /// The caller holds the chunk's lock: the block stays where it is. Torn by a crash it is still damaged.
    fn rewrite(&self, chunk: ChunkId, layout: &Layout, block: u32, content: &[u8]) -> Result<()> {
        let place = {
            let mut shard = self.index.shard(chunk);
            let active = shard.active(chunk).expect("a chunk whose lock is held and that has a layout");
            // What lies in the journal is checked when it is read there, and holes have no bytes.
            layout.plane(block).filter(|_| !layout.is_overlaid(block)).map(|plane| {
                let plane = active.planes[plane as usize].as_ref().expect("a used plane is there");
                (plane.file.clone(), plane.file.offset(plane.address.extent, block))
            })
        };
        let Some((segment, offset)) = place else { return Ok(()) };
        self.volume.write(&*segment.file, &[IoSlice::new(content)], offset, "a damaged block")?;
        segment.mark_dirty();
        Ok(())
    }
}
