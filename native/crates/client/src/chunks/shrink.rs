//! Making a file's chunks fewer: truncation and removal. Both are the end of a decision that the metadata
//! service has put on the medium before (P13, P19); both may be repeated.

use super::Chunks;
use super::gather::Gather;
use super::lanes::Update;
use super::pieces::chunk_size;
use crate::Caller;
use crate::done::Done;
use crate::waiter::wait;
use wire::message::{self as m, UpdateKind};
use wire::{ChunkId, Result};

/// Up to this many chunks are removed without asking which of them exist: asking costs a call to each chain.
const BLIND_MAX: u64 = 16;
/// Removals that one call has in the air at a time.
const BATCH: usize = 256;

impl Chunks {
    /// Cuts the chunk that holds `new_length` and removes those behind it; `old_length`: how far the file
    /// reached, if that is known. Returns the change in allocated bytes.
    ///
    /// # Errors
    /// When a chain does not answer in time; then a part may be done.
    pub fn truncate(
        &self,
        caller: &Caller,
        inode: u64,
        layout: &m::Layout,
        old_length: Option<u64>,
        new_length: u64,
    ) -> Result<i64> {
        let size = chunk_size(layout)?;
        // Unknown: no file is longer, so the chains are asked.
        let old_length = old_length.unwrap_or(i64::MAX as u64);
        if new_length >= old_length {
            return Ok(0);
        }
        let kept = new_length.div_ceil(size);
        let mut delta = self.remove_from(caller, inode, layout, kept, old_length.div_ceil(size))?;
        let rest = (new_length % size) as u32;
        // Last, so that a repetition after a failure does it all again.
        if rest != 0 {
            delta +=
                self.shrink(caller, inode, layout, &[new_length / size], UpdateKind::UpdateTruncate, rest)?;
        }
        Ok(delta)
    }

    /// Removes the chunks below `length`, and those above if that is more than a few chunks.
    ///
    /// # Errors
    /// When a chain does not answer in time; then a part may be done.
    pub fn remove(&self, caller: &Caller, inode: u64, layout: &m::Layout, length: u64) -> Result<i64> {
        self.remove_from(caller, inode, layout, 0, length.div_ceil(chunk_size(layout)?))
    }

    fn remove_from(
        &self,
        caller: &Caller,
        inode: u64,
        layout: &m::Layout,
        first: u64,
        end: u64,
    ) -> Result<i64> {
        let indexes: Vec<u64> = if end.saturating_sub(first) <= BLIND_MAX {
            (first..end).collect()
        } else {
            self.list(caller, inode, layout, first)?.into_iter().map(|(index, _)| index).collect()
        };
        let mut delta = 0;
        for batch in indexes.chunks(BATCH) {
            delta += self.shrink(caller, inode, layout, batch, UpdateKind::UpdateRemove, 0)?;
        }
        Ok(delta)
    }

    fn shrink(
        &self,
        caller: &Caller,
        inode: u64,
        layout: &m::Layout,
        indexes: &[u64],
        kind: UpdateKind,
        length: u32,
    ) -> Result<i64> {
        let limits = self.core.limits(caller.cancel.clone());
        let table = self.core.routing.current();
        let replies = wait(caller.cancel.as_ref(), |done| {
            let gather = Gather::new(indexes.len(), Done::new(done));
            for (place, &index) in indexes.iter().enumerate() {
                let done = gather.part(place);
                let chain = match table.chain_of(layout, index) {
                    Ok(chain) => chain,
                    Err(error) => {
                        done.tell(Err(error));
                        continue;
                    }
                };
                let update = Update {
                    chain,
                    chunk: ChunkId { inode, index },
                    kind,
                    offset: 0,
                    length,
                    data: Vec::new(),
                    flush: false,
                    chunk_size: layout.chunk_size,
                    limits: limits.clone(),
                    done,
                };
                self.core.lanes.submit(&self.core, update);
            }
        })?;
        Ok(replies.iter().map(|reply: &m::UpdateReply| reply.allocated_delta).sum())
    }
}
