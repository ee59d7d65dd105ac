//! Punching a range: what is stored of it becomes zeros and gives its room back. No chunk is made or removed
//! by it: how far the chunks reach still says how long the file is (P20).

use super::Chunks;
use super::pieces::{Piece, chunk_size};
use super::write::Changed;
use crate::Caller;
use crate::chain_call::Limits;
use std::ops::Range;
use wire::message::{self as m, UpdateKind};
use wire::{Code, Error, Result};

impl Chunks {
    /// Blocks of 4 KiB that lie in the range as a whole give their room back. Returns the change in allocated
    /// bytes.
    ///
    /// # Errors
    /// `FileTooLarge` for a range past 2^63, and when a chain does not answer in time; then a part may be done.
    pub fn punch(
        &self,
        caller: &Caller,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        length: u64,
    ) -> Result<i64> {
        let limits = self.core.limits(caller.cancel.clone());
        let punched = self.punch_within(&limits, inode, layout, offset, length)?;
        punched.whole().map(|acked| acked.allocated_delta)
    }

    /// # Errors
    /// When nothing was done.
    pub(crate) fn punch_within(
        &self,
        limits: &Limits,
        inode: u64,
        layout: &m::Layout,
        offset: u64,
        length: u64,
    ) -> Result<Changed> {
        let size = chunk_size(layout)?;
        let end = offset.checked_add(length).filter(|&end| end <= i64::MAX as u64);
        let end = end.ok_or_else(|| Error::new(Code::FileTooLarge, format!("{length} bytes at {offset}")))?;
        if length == 0 {
            return Ok(Changed::default());
        }
        let indexes = self.perhaps_there(limits, inode, layout, offset / size..end.div_ceil(size))?;
        let pieces: Vec<Piece> =
            indexes.into_iter().map(|index| inside(size, index, &(offset..end))).collect();
        Ok(self.change(limits, inode, layout, UpdateKind::UpdatePunch, &pieces))
    }
}

/// What of a chunk lies in a range that touches it. Not in pieces as bytes are: a punch carries none.
fn inside(size: u64, index: u64, range: &Range<u64>) -> Piece {
    let start = index * size;
    let (from, to) = (range.start.max(start) - start, (range.end - start).min(size));
    Piece { index, offset: from as u32, length: (to - from) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_range_lie_inside_their_chunks() {
        let size = 64 << 20;
        let piece = |index, offset, length| Piece { index, offset, length };
        assert_eq!(inside(size, 0, &(10..20)), piece(0, 10, 10));
        let range = size - 1..3 * size + 5;
        assert_eq!(inside(size, 0, &range), piece(0, size as u32 - 1, 1));
        assert_eq!(inside(size, 1, &range), piece(1, 0, size as u32), "a whole chunk at once");
        assert_eq!(inside(size, 3, &range), piece(3, 0, 5));
        assert_eq!(inside(size, 2, &(2 * size..3 * size)), piece(2, 0, size as u32));
    }
}
