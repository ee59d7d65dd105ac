//! One version of one chunk: its length, and for each block where it lies and what its checksum is. A layout
//! never changes; an update makes the next one, by the same function when it happens and when it is replayed.

use crate::checksum::{BLOCK_BYTES, of_zeros};
use std::ops::Range;
use wire::message::{BlockRunKind, JournalStage};
use wire::{Code, Error, Result, Tag, Version};

/// A block that has no bytes and reads as zeros.
pub(crate) const HOLE: u8 = 0x7f;
/// Set in a slot when the newest bytes are an image in memory (and in the journal), not yet in their place.
pub(crate) const OVERLAY: u8 = 0x80;
/// Planes are numbered below this.
pub(crate) const PLANES_MAX: usize = HOLE as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Never written, as far as this target knows.
    Absent,
    Present,
    /// A tombstone: the removal has a version.
    Removed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The journal record that made it.
    pub record: u64,
    pub version: Version,
    /// Whose update it was (P7).
    pub tag: Option<Tag>,
    pub length: u32,
    pub chunk_size: u32,
    pub presence: Presence,
    /// Per block: the plane, `HOLE`, or a plane with `OVERLAY`.
    pub slots: Vec<u8>,
    /// Per block: CRC32C of its stored bytes (the last block may be short).
    pub crcs: Vec<u32>,
    /// Blocks that may differ from those of the version before.
    pub changed: Range<u32>,
}

/// Of a version whose predecessor is not known any more.
pub(crate) const ALL_CHANGED: Range<u32> = 0..u32::MAX;

pub(crate) fn blocks_of(length: u32) -> u32 {
    (length as usize).div_ceil(BLOCK_BYTES) as u32
}

impl Layout {
    pub fn absent() -> Layout {
        Layout {
            record: 0,
            version: Version::NONE,
            tag: None,
            length: 0,
            chunk_size: 0,
            presence: Presence::Absent,
            slots: Vec::new(),
            crcs: Vec::new(),
            changed: ALL_CHANGED,
        }
    }

    pub fn blocks(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Bytes of block `block` below the chunk's length.
    pub fn stored(&self, block: u32) -> usize {
        stored_in(self.length, block)
    }

    pub fn plane(&self, block: u32) -> Option<u8> {
        self.slots.get(block as usize).map(|slot| slot & !OVERLAY).filter(|plane| *plane != HOLE)
    }

    pub fn is_overlaid(&self, block: u32) -> bool {
        self.slots.get(block as usize).is_some_and(|slot| slot & OVERLAY != 0)
    }

    /// Blocks that take room on the disk.
    pub fn stored_blocks(&self) -> u32 {
        self.slots.iter().filter(|slot| **slot != HOLE).count() as u32
    }

    /// The layout after `stage`, which follows this one.
    pub fn next(&self, stage: &JournalStage, record: u64) -> Result<Layout> {
        let fresh = stage.fresh || stage.removed || self.presence != Presence::Present;
        let (slots, crcs) =
            if fresh { (Vec::new(), Vec::new()) } else { (self.slots.clone(), self.crcs.clone()) };
        let first = stage.runs.iter().map(|run| run.first).min();
        let end = stage.runs.iter().map(|run| run.first.saturating_add(run.count)).max();
        let changed = match first.zip(end) {
            Some((first, end)) if !fresh && stage.length == self.length => first..end,
            _ => ALL_CHANGED,
        };
        let mut next = Layout {
            record,
            version: stage.version.unwrap_or_default().into(),
            tag: stage.channel.as_ref().and_then(|channel| Tag::try_from(channel.tag.as_ref()?).ok()),
            length: stage.length,
            chunk_size: stage.chunk_size,
            presence: if stage.removed { Presence::Removed } else { Presence::Present },
            slots,
            crcs,
            changed,
        };
        let blocks = blocks_of(stage.length) as usize;
        next.slots.resize(blocks, HOLE);
        next.crcs.resize(blocks, 0);
        for run in &stage.runs {
            let range = run.first as usize..(run.first as usize + run.count as usize);
            let hole = run.kind() == BlockRunKind::RunHole;
            if range.end > blocks
                || run.plane as usize >= PLANES_MAX
                || (!hole && run.crcs.len() != range.len())
            {
                return Err(Error::new(Code::Corrupt, "a journal record names blocks outside its chunk"));
            }
            match run.kind() {
                BlockRunKind::RunKeep => {}
                BlockRunKind::RunDirect => next.slots[range.clone()].fill(run.plane as u8),
                BlockRunKind::RunOverlay => {
                    next.slots[range.clone()].iter_mut().for_each(|slot| *slot |= OVERLAY)
                }
                BlockRunKind::RunHole => next.slots[range.clone()].fill(HOLE),
            }
            if hole {
                for block in range {
                    next.crcs[block] = of_zeros(next.stored(block as u32));
                }
            } else {
                next.crcs[range].copy_from_slice(&run.crcs);
            }
        }
        Ok(next)
    }
}

/// Bytes of block `block` below `length`.
pub(crate) fn stored_in(length: u32, block: u32) -> usize {
    (length as usize).saturating_sub(block as usize * BLOCK_BYTES).min(BLOCK_BYTES)
}
