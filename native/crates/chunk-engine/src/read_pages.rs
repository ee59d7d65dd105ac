//! Reading without a copy: the pages of whole blocks are handed on with the checksums that were stored with
//! them. Nothing here looks at the bytes: who receives them does, and asks for `Engine::read` if they do not
//! match, because pages may be overwritten by a later version before they are sent, and because a disk may
//! have damaged them.

use crate::checksum::{BLOCK_BYTES, combine};
use crate::engine::{Core, Engine};
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
        self.core.read_pages(chunk, offset, length, pool)
    }
}

impl Core {
    fn read_pages(
        &self,
        chunk: ChunkId,
        offset: u32,
        length: u32,
        pool: &PagePool,
    ) -> Result<Option<PagesRead>> {
        let Some(snapshot) = self.snapshot(chunk, None, offset, length as usize, RUN_BLOCKS_MAX)? else {
            return Ok(None);
        };
        let layout = &*snapshot.layout;
        let end = offset.saturating_add(length).min(layout.length);
        let whole = |place: u32| place.is_multiple_of(BLOCK_BYTES as u32);
        if offset >= end || !whole(offset) || !(whole(end) || end == layout.length) {
            return Ok(None);
        }
        let shared = share(&snapshot, pool);
        let unchanged = {
            let shard = self.index.shard(chunk);
            shard.entries.get(&chunk).is_some_and(|entry| entry.generation == snapshot.generation)
        };
        let parts = match shared {
            _ if !unchanged => return Ok(None),
            Ok(Some(parts)) => parts,
            Ok(None) => return Ok(None),
            Err(unread) => return Err(self.unread(chunk, unread)),
        };
        let (version, chunk_length) = (layout.version, layout.length);
        let crc =
            stored_checksum(layout, offset as usize / BLOCK_BYTES, (end as usize).div_ceil(BLOCK_BYTES));
        Ok(Some(PagesRead { info: ReadInfo { version, chunk_length, length: end - offset, crc }, parts }))
    }
}

fn stored_checksum(layout: &Layout, first: usize, end: usize) -> u32 {
    (first..end).fold(0, |sum, block| combine(sum, layout.crcs[block], layout.stored(block as u32)))
}

/// `None`: not all of it can be shared.
fn share(snapshot: &Snapshot, pool: &PagePool) -> std::result::Result<Option<Vec<Pages>>, Unread> {
    let mut parts: Vec<Pages> = Vec::new();
    for Run { first, count, source } in &snapshot.runs {
        let Source::Disk { file, offset } = source else { return Ok(None) };
        let last = first + count - 1;
        let length = (count - 1) as usize * BLOCK_BYTES + snapshot.layout.stored(last);
        let mut done = 0;
        while done < length {
            let fits = parts.last().filter(|pages| pages.room_bytes() > 0).is_some();
            if !fits {
                let Some(pages) = pool.try_take() else { return Ok(None) };
                parts.push(pages);
            }
            let pages = parts.last_mut().expect("one with room");
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
