//! Damaged blocks: finds them by reading everything, and puts them right in place from another member's copy.
//! A copy is taken only if it has the checksum that this target's own books name, so a wrong one does no
//! harm, whoever sent it. Nothing is allocated and no version changes: it works on a full disk, and while
//! updates pend.

use crate::checksum::{BLOCK_BYTES, checksum};
use crate::engine::{Core, Engine};
use crate::layout::Layout;
use crate::read::ReadInfo;
use crate::stage::{StageRequest, Staged};
use std::io::IoSlice;
use std::sync::Arc;
use wire::{ChunkId, Code, Result, Version};

/// Bytes of a chunk that are read with one call.
pub const PIECE_BYTES: u32 = 1 << 20;

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
    /// Reads the whole committed chunk, from the medium as far as the disk can be told so, and names the
    /// blocks that are damaged. Each MiB as of the version that is committed when it is read, the last of which is
    /// named: so it ends, however fast the chunk is written to.
    pub fn damage(&self, chunk: ChunkId) -> Result<Damage> {
        self.read_ahead(chunk, 0)?;
        let mut piece = vec![0; PIECE_BYTES as usize];
        let (mut blocks, mut offset) = (Vec::new(), 0);
        loop {
            let (length, found) = self.damage_of(chunk, offset, &mut piece)?;
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

    /// As `damage`, of the MiB at `offset` alone; and its length in bytes. From the medium, if `read_ahead` of the
    /// chunk's first piece was called since it was read last.
    pub fn damage_at(&self, chunk: ChunkId, offset: u32) -> Result<(u32, Damage)> {
        self.damage_of(chunk, offset, &mut vec![0; PIECE_BYTES as usize])
    }

    /// `damage_at` of this piece follows soon: the medium begins to read it. With the first one, no cache has any of
    /// the chunk. False: the chunk ends before.
    pub fn read_ahead(&self, chunk: ChunkId, offset: u32) -> Result<bool> {
        self.core.check()?;
        self.core.read_ahead(chunk, offset)
    }

    fn damage_of(&self, chunk: ChunkId, offset: u32, piece: &mut [u8]) -> Result<(u32, Damage)> {
        self.core.check()?;
        let (read, blocks) = self.core.read_around_damage(chunk, offset, piece)?;
        let (version, chunk_length) = (read.version, read.chunk_length);
        Ok((read.length, Damage { version, chunk_length, blocks }))
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

    fn is_damaged(&self, chunk: ChunkId, layout: &Arc<Layout>, block: u32) -> Result<bool> {
        match self.read_block(chunk, layout, block) {
            Ok(_) => Ok(false),
            Err(error) if error.code == Code::Corrupt => Ok(true),
            Err(error) => Err(error),
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

    fn read_ahead(&self, chunk: ChunkId, offset: u32) -> Result<bool> {
        self.activate(chunk)?;
        let files: Vec<_> = {
            let mut shard = self.index.shard(chunk);
            if shard.entries.get(&chunk).is_none_or(|entry| offset >= entry.length) {
                return Ok(false);
            }
            let Some(active) = shard.active(chunk) else { return Ok(false) };
            let extent = |plane: &crate::chunk::Plane| {
                (plane.file.clone(), plane.file.offset(plane.address.extent, 0))
            };
            active.planes.iter().flatten().map(extent).collect()
        };
        for (segment, start) in files {
            let (extent_bytes, offset) = ((BLOCK_BYTES as u64) << segment.class, u64::from(offset));
            if offset == 0 {
                segment.file.forget_cached(start, extent_bytes);
            }
            let length = u64::from(PIECE_BYTES).min(extent_bytes.saturating_sub(offset));
            if length > 0 {
                segment.file.read_ahead(start + offset, length);
            }
        }
        Ok(true)
    }
}
