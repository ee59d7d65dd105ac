//! Reading without a copy: the pages of whole blocks are handed on with the checksums that were stored with
//! them. Nothing here looks at the bytes: who receives them does, and asks for `Engine::read` if they do not
//! match, because pages may be overwritten by a later version before they are sent, and because a disk may
//! have damaged them.

use crate::checksum::{BLOCK_BYTES, combine};
use crate::engine::Engine;
use crate::layout::Layout;
use crate::read::{ReadInfo, Run, Snapshot, Source, Unread};
use pages::{PAGES_BYTES_MAX, PagePool, Pages};
use std::io::ErrorKind;
use wire::{ChunkId, Result};

/// Bytes of the page cache, and what they are said to be.
#[derive(Debug)]
pub struct PagesRead {
    pub info: ReadInfo,
    pub parts: Vec<Pages>,
}

/// Blocks referred to at once: as many as one pipe takes.
const RUN_BLOCKS_MAX: u32 = (PAGES_BYTES_MAX / BLOCK_BYTES) as u32;

impl Engine {
    /// The committed version from `offset` on, at most `length` bytes. `None` where it cannot be had so, and must
    /// be read: the range begins or ends within a block, some of it is a hole or waits in the journal, no pipe is
    /// free, the medium has no page cache, or the chunk was changed meanwhile.
    ///
    /// # Errors
    /// `TargetOffline` when the disk fails.
    pub fn read_pages(
        &self,
        chunk: ChunkId,
        offset: u32,
        length: u32,
        pool: &PagePool,
    ) -> Result<Option<PagesRead>> {
        self.core.check()?;
        let Some(snapshot) = self.core.snapshot(chunk, None, offset, length as usize, RUN_BLOCKS_MAX)? else {
            return Ok(None);
        };
        let layout = &*snapshot.layout;
        let end = offset.saturating_add(length).min(layout.length);
        let whole = |place: u32| place.is_multiple_of(BLOCK_BYTES as u32);
        if offset >= end || !whole(offset) || !(whole(end) || end == layout.length) {
            return Ok(None);
        }
        let shared = share(&snapshot, (end - offset) as usize, pool);
        if !self.core.is_unchanged(chunk, snapshot.generation) {
            return Ok(None);
        }
        let Some(parts) = shared.map_err(|unread| self.core.unread(chunk, unread))? else { return Ok(None) };
        let (version, chunk_length) = (layout.version, layout.length);
        let crc =
            stored_checksum(layout, offset as usize / BLOCK_BYTES, (end as usize).div_ceil(BLOCK_BYTES));
        Ok(Some(PagesRead { info: ReadInfo { version, chunk_length, length: end - offset, crc }, parts }))
    }
}

fn stored_checksum(layout: &Layout, first: usize, end: usize) -> u32 {
    (first..end).fold(0, |sum, block| combine(sum, layout.crcs[block], layout.stored(block as u32)))
}

/// `None`: not all of it can be shared. Found out before the disk is asked, as far as it can be.
fn share(
    snapshot: &Snapshot,
    length: usize,
    pool: &PagePool,
) -> std::result::Result<Option<Vec<Pages>>, Unread> {
    let pieces = snapshot.runs.iter().map(|Run { first, count, source }| match source {
        Source::Disk { file, offset } => Some((first, count, file, *offset)),
        Source::Image(_) | Source::Hole => None,
    });
    let Some(pieces) = pieces.collect::<Option<Vec<_>>>() else { return Ok(None) };
    let pipes = (0..length.div_ceil(PAGES_BYTES_MAX)).map(|_| pool.try_take());
    let Some(mut parts) = pipes.collect::<Option<Vec<Pages>>>() else { return Ok(None) };
    let mut filled = 0;
    for (first, count, file, offset) in pieces {
        let length = (count - 1) as usize * BLOCK_BYTES + snapshot.layout.stored(first + count - 1);
        let mut done = 0;
        while done < length {
            if parts[filled].room_bytes() == 0 {
                filled += 1;
            }
            let pages = &mut parts[filled];
            let wanted = pages.room_bytes().min(length - done);
            match file.file.share(offset + done as u64, wanted, pages) {
                Ok(count) if count == wanted => done += count,
                // The segment ends too early: the read that verifies says which block is damaged.
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
                Err(error) => return Err(Unread::Failed(format!("block {first}: {error}"))),
            }
        }
    }
    Ok(Some(parts))
}
