//! Making a file's chunks fewer: truncation and removal. Both are the end of a decision that the metadata
//! service has put on the medium before (P13, P19); both may be repeated.

use super::Chunks;
use super::pieces::{Piece, chunk_size};
use crate::Caller;
use crate::chain_call::Limits;
use std::ops::Range;
use wire::Result;
use wire::message::{self as m, UpdateKind};

impl Chunks {
    /// Cuts the chunk that holds `new_length` and removes those behind it; none is made or becomes longer, so that
    /// it needs no room. `old_length`: how far the file reached, if that is known. Returns the change in allocated
    /// bytes.
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
        let limits = self.core.limits(caller.cancel.clone());
        let mut delta = self.remove_from(&limits, inode, layout, kept..old_length.div_ceil(size))?;
        let rest = (new_length % size) as u32;
        // Last, so that a repetition after a failure does it all again.
        if rest != 0 {
            let cut = Piece { index: new_length / size, offset: 0, length: rest };
            delta += self
                .change(&limits, inode, layout, UpdateKind::UpdateTruncate, &[cut])
                .whole()?
                .allocated_delta;
        }
        Ok(delta)
    }

    /// Removes the chunks below `length`, and those above if that is more than a few chunks.
    ///
    /// # Errors
    /// When a chain does not answer in time; then a part may be done.
    pub fn remove(&self, caller: &Caller, inode: u64, layout: &m::Layout, length: u64) -> Result<i64> {
        let limits = self.core.limits(caller.cancel.clone());
        self.remove_from(&limits, inode, layout, 0..length.div_ceil(chunk_size(layout)?))
    }

    fn remove_from(
        &self,
        limits: &Limits,
        inode: u64,
        layout: &m::Layout,
        chunks: Range<u64>,
    ) -> Result<i64> {
        let indexes = self.perhaps_there(limits, inode, layout, chunks)?;
        let pieces: Vec<Piece> =
            indexes.into_iter().map(|index| Piece { index, offset: 0, length: 0 }).collect();
        Ok(self.change(limits, inode, layout, UpdateKind::UpdateRemove, &pieces).whole()?.allocated_delta)
    }
}
