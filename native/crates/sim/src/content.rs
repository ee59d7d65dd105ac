//! What a chunk holds: up to four cells, as the storage engine holds up to a chunk's size of bytes. The disk below
//! keeps what lies behind a chunk's end until something is written there; no reader gets it.

use crate::lineage::Lineage;
use chain::Update;
use chain::museum::{Planted, planted};
use wire::message::UpdateKind;

pub const CELLS: usize = 4;
pub type Cells = [u32; CELLS];

/// A chunk as a reader gets it: cells behind its length are 0. One that is not there has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub length: u32,
    pub cells: Cells,
}

#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Behind the length: what was there before it was cut.
    cells: Cells,
    length: usize,
    /// Every update in it.
    pub lineage: Lineage,
}

impl Content {
    pub fn length(&self) -> u32 {
        self.length as u32
    }

    pub fn seen(&self) -> Seen {
        let mut cells = Cells::default();
        cells[..self.length].copy_from_slice(&self.cells[..self.length]);
        Seen { length: self.length(), cells }
    }

    /// With an update that leaves the chunk there.
    pub fn apply(&mut self, update: &Update, operation: u32) {
        let (first, length) = (update.offset as usize, update.length as usize);
        match update.kind {
            UpdateKind::UpdateWrite => {
                self.extend(first);
                self.cells[first..first + length].fill(operation);
                self.length = self.length.max(first + length);
            }
            UpdateKind::UpdateTruncate => self.length = self.length.min(length),
            UpdateKind::UpdatePunch => {
                let end = self.length.min(first + length);
                self.cells[first.min(end)..end].fill(0);
            }
            UpdateKind::UpdateRemove => unreachable!("nothing is left of a removed chunk"),
        }
        self.lineage = self.lineage.with(operation);
    }

    /// With zeros up to there, if it is shorter.
    fn extend(&mut self, length: usize) {
        if length > self.length {
            if !planted(Planted::StaleTail) {
                self.cells[self.length..length].fill(0);
            }
            self.length = length;
        }
    }

    /// Half of the cells are what they were before: the power went while they were written.
    pub fn tear(&mut self, before: Option<&Content>) {
        let before = before.map(|before| before.seen().cells).unwrap_or_default();
        self.cells[CELLS / 2..].copy_from_slice(&before[CELLS / 2..]);
    }

    /// Only planted: what was longer keeps its end.
    pub fn keep_tail_of(&mut self, before: &Content) {
        if before.length > self.length {
            self.cells[self.length..before.length].copy_from_slice(&before.cells[self.length..before.length]);
            self.length = before.length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{ChunkId, Tag};

    fn update(kind: UpdateKind, offset: u32, length: u32) -> Update {
        let (chunk, tag) = (ChunkId { inode: 1, index: 0 }, Tag::default());
        Update { chunk, tag, kind, offset, length, crc: 0, chunk_size: CELLS as u32, flush: false }
    }

    /// As the storage engine does it (`chunk-engine/src/stage/plan.rs`).
    #[test]
    fn lengths_and_zeros() {
        use UpdateKind::{UpdatePunch, UpdateTruncate, UpdateWrite};
        let mut content = Content::default();
        let mut then = |kind, offset, length, operation| {
            content.apply(&update(kind, offset, length), operation);
            let Seen { length, cells } = content.seen();
            (length, cells)
        };
        assert_eq!(then(UpdateWrite, 2, 1, 1), (3, [0, 0, 1, 0]), "behind the end: a gap of zeros");
        assert_eq!(then(UpdateWrite, 0, 4, 2), (4, [2; 4]));
        assert_eq!(then(UpdateTruncate, 0, 1, 3), (1, [2, 0, 0, 0]));
        assert_eq!(then(UpdatePunch, 1, 3, 4), (1, [2, 0, 0, 0]), "a punch behind the end changes nothing");
        assert_eq!(then(UpdateTruncate, 0, 3, 5), (1, [2, 0, 0, 0]), "what was cut does not come back");
        assert_eq!(then(UpdateWrite, 3, 1, 6), (4, [2, 0, 0, 6]));
        assert_eq!(then(UpdatePunch, 0, 4, 7), (4, [0; 4]), "the length stays");
        assert_eq!(then(UpdateTruncate, 0, 0, 8), (0, [0; 4]));
        assert_eq!(then(UpdateWrite, 1, 1, 9), (2, [0, 9, 0, 0]));
        assert!((1..10).all(|operation| content.lineage.contains(operation)));
    }
}
