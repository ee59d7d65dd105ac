//! What an update means for each block of its chunk: where the block goes, what it will contain, its
//! checksum. Reads old bytes only of blocks that are overwritten in part or cut. Every payload byte is
//! checksummed once, here.

use super::{StageRequest, Tip, Update};
use crate::BLOCK_BYTES;
use crate::checksum::{checksum, combine, of_zeros};
use crate::engine::Core;
use crate::layout::{Presence, blocks_of, stored_in};
use crate::museum::{Planted, planted};
use bytes::Bytes;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use wire::{Code, Result};

/// Overwritten blocks that still go through the journal: 64 KiB touch at most 17. More go to new blocks.
const JOURNALED_BLOCKS_MAX: usize = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A position that no version uses.
    Fresh,
    /// Behind the chunk's last byte, in the block that holds it.
    Behind(u8),
    /// The journal now, its place later.
    Overlay,
    /// Zeros without room.
    Hole,
    /// Where it is; only its checksum changes (a cut).
    Keep,
}

#[derive(Debug)]
pub(super) enum Content {
    None,
    /// Zeros, bytes of the payload, zeros.
    Payload {
        before: usize,
        range: Range<usize>,
        after: usize,
    },
    Owned(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct BlockPlan {
    pub block: u32,
    pub place: Place,
    pub crc: u32,
    /// First byte of the block that is written.
    pub skip: usize,
    pub content: Content,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub length: u32,
    pub blocks: Vec<BlockPlan>,
    pub payload_crc: u32,
}

/// The caller's bytes, in parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload<'a>(&'a [Bytes]);

impl<'a> Payload<'a> {
    pub fn new(parts: &'a [Bytes]) -> Payload<'a> {
        Payload(parts)
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn each(&self, range: Range<usize>, mut visit: impl FnMut(&'a [u8])) {
        let mut start = 0;
        for part in self.0 {
            let end = start + part.len();
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                visit(&part[from - start..to - start]);
            }
            if end >= range.end {
                break;
            }
            start = end;
        }
    }

    pub fn slices(&self, range: Range<usize>, into: &mut Vec<IoSlice<'a>>) {
        self.each(range, |part| into.push(IoSlice::new(part)));
    }

    fn crc(&self, range: Range<usize>) -> u32 {
        let mut crc = None;
        self.each(range, |part| {
            crc = Some(crc.map_or_else(|| checksum(part), |crc| combine(crc, checksum(part), part.len())));
        });
        crc.unwrap_or(0)
    }

    /// Zeros, bytes of the payload, zeros. A whole block that came in one piece is copied once, without being
    /// cleared before.
    fn image(&self, before: usize, range: Range<usize>, after: usize) -> Arc<[u8]> {
        let (mut parts, mut first) = (0, &[][..]);
        self.each(range.clone(), |part| (parts, first) = (parts + 1, part));
        if parts == 1 && before == 0 && after == 0 {
            return first.into();
        }
        let mut bytes = vec![0; before + range.len() + after];
        self.copy(range.clone(), &mut bytes[before..before + range.len()]);
        bytes.into()
    }

    fn copy(&self, range: Range<usize>, into: &mut [u8]) {
        let mut done = 0;
        self.each(range, |part| {
            into[done..done + part.len()].copy_from_slice(part);
            done += part.len();
        });
    }
}

impl Content {
    pub fn len(&self) -> usize {
        match self {
            Content::None => 0,
            Content::Payload { before, range, after } => before + range.len() + after,
            Content::Owned(bytes) => bytes.len(),
        }
    }
}

/// A write as block arithmetic sees it.
struct Write<'a> {
    core: &'a Core,
    tip: &'a Tip,
    /// The base version's length (0 if it starts anew).
    stored: u32,
    offset: usize,
    end: usize,
    length: u32,
    payload: &'a Payload<'a>,
    plan: Plan,
    overwritten: usize,
}

impl Plan {
    pub fn new(core: &Core, request: &StageRequest<'_>, tip: &Tip, payload: &Payload<'_>) -> Result<Plan> {
        let present = tip.layout.presence == Presence::Present;
        let stored = if present { tip.layout.length } else { 0 };
        match request.update {
            Update::Remove => Ok(Plan { length: 0, blocks: Vec::new(), payload_crc: 0 }),
            Update::Truncate { length } => cut(core, tip, stored.min(length)),
            Update::Punch { offset, length } => punch(core, tip, stored, offset as usize, length as usize),
            Update::Write { offset, .. } => Write::plan(core, tip, stored, offset as usize, payload),
            Update::Replace { .. } => Write::plan(core, tip, 0, 0, payload),
        }
    }

    /// These blocks came without good bytes: reads of them say so.
    pub fn mark_damaged(&mut self, damaged: &[u32]) {
        for block in self.blocks.iter_mut().filter(|block| damaged.contains(&block.block)) {
            block.crc = mark(block.crc, true);
        }
    }

    /// Fresh blocks, neighbours together.
    pub fn fresh_runs(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for block in self.blocks.iter().filter(|block| block.place == Place::Fresh) {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == block.block => *count += 1,
                _ => runs.push((block.block, 1)),
            }
        }
        runs
    }

    /// The whole blocks that go through the journal.
    pub fn images(&self, payload: &Payload<'_>) -> Vec<(u32, Arc<[u8]>)> {
        let overlays = self.blocks.iter().filter(|block| block.place == Place::Overlay);
        overlays
            .map(|block| match &block.content {
                Content::Owned(bytes) => (block.block, bytes[..].into()),
                Content::Payload { before, range, after } => {
                    (block.block, payload.image(*before, range.clone(), *after))
                }
                Content::None => unreachable!("an overlay has content"),
            })
            .collect()
    }
}

/// A checksum that the bytes do not have, if they are not the right ones.
fn mark(crc: u32, damaged: bool) -> u32 {
    if damaged && !planted(Planted::DamageUnmarked) { !crc } else { crc }
}

impl Tip {
    /// What the block holds; true beside it: zeros instead, since it is damaged and the caller goes on with
    /// that.
    fn old_bytes(&self, core: &Core, block: u32) -> Result<(Vec<u8>, bool)> {
        match core.read_block(self.chunk, &self.layout, block) {
            Err(error) if error.code == Code::Corrupt && self.keeps_damage => {
                Ok((vec![0; self.layout.stored(block)], true))
            }
            read => read.map(|bytes| (bytes, false)),
        }
    }
}

/// Shortens a chunk. Only the checksum of the last block changes.
fn cut(core: &Core, tip: &Tip, length: u32) -> Result<Plan> {
    let mut plan = Plan { length, blocks: Vec::new(), payload_crc: 0 };
    let within = length as usize % BLOCK_BYTES;
    if within != 0 && length < tip.layout.length {
        let block = length / BLOCK_BYTES as u32;
        let (bytes, damaged) = tip.old_bytes(core, block)?;
        let crc = mark(checksum(&bytes[..within]), damaged);
        plan.blocks.push(BlockPlan { block, place: Place::Keep, crc, skip: 0, content: Content::None });
    }
    Ok(plan)
}

/// Whole blocks become holes; the ends of the range, which share a block with other bytes, go through the
/// journal.
fn punch(core: &Core, tip: &Tip, stored: u32, offset: usize, length: usize) -> Result<Plan> {
    let mut plan = Plan { length: stored, blocks: Vec::new(), payload_crc: 0 };
    let end = (offset + length).min(stored as usize);
    for block in (offset / BLOCK_BYTES) as u32..blocks_of(end as u32) {
        let start = block as usize * BLOCK_BYTES;
        let (from, to) = (offset.max(start) - start, (end - start).min(BLOCK_BYTES));
        // A hole stays one.
        if from >= to || tip.layout.plane(block).is_none() {
            continue;
        }
        let held = tip.layout.stored(block);
        let planned = if from == 0 && to == held {
            BlockPlan { block, place: Place::Hole, crc: of_zeros(held), skip: 0, content: Content::None }
        } else {
            let (mut bytes, damaged) = tip.old_bytes(core, block)?;
            bytes[from..to].fill(0);
            let crc = mark(checksum(&bytes), damaged);
            BlockPlan { block, place: Place::Overlay, crc, skip: 0, content: Content::Owned(bytes) }
        };
        plan.blocks.push(planned);
    }
    Ok(plan)
}

impl Write<'_> {
    /// `offset` behind the chunk's end makes a gap of zeros.
    fn plan(core: &Core, tip: &Tip, stored: u32, offset: usize, payload: &Payload<'_>) -> Result<Plan> {
        let end = offset + payload.len();
        let length = stored.max(end as u32);
        let plan = Plan { length, blocks: Vec::new(), payload_crc: 0 };
        let mut write = Write { core, tip, stored, offset, end, length, payload, plan, overwritten: 0 };
        let first = offset.min(stored as usize) / BLOCK_BYTES;
        for block in first as u32..blocks_of(end as u32) {
            write.block(block)?;
        }
        let mut plan = write.plan;
        if write.overwritten > JOURNALED_BLOCKS_MAX {
            // Large overwrites go to new blocks. What is appended to a block in the journal's care stays in
            // the journal.
            for block in plan.blocks.iter_mut().filter(|block| block.place == Place::Overlay) {
                let held = tip.layout.plane(block.block).filter(|_| !tip.layout.is_overlaid(block.block));
                block.place = match held.filter(|_| planted(Planted::OverwriteInPlace)) {
                    Some(plane) => Place::Behind(plane),
                    None => Place::Fresh,
                };
            }
        }
        Ok(plan)
    }

    fn block(&mut self, block: u32) -> Result<()> {
        let start = block as usize * BLOCK_BYTES;
        let within = |position: usize| position.saturating_sub(start).min(BLOCK_BYTES);
        let (from, to) = (within(self.offset), within(self.end));
        let (old, new) = (stored_in(self.stored, block), stored_in(self.length, block));
        if from == to && old == new {
            return Ok(());
        }
        let range =
            (start + from).max(self.offset) - self.offset..(start + to).max(self.offset) - self.offset;
        let crc = self.payload.crc(range.clone());
        self.plan.payload_crc = combine(self.plan.payload_crc, crc, range.len());
        let held = if old > 0 { self.tip.layout.plane(block) } else { None };
        let planned = match held {
            None if range.is_empty() => {
                BlockPlan { block, place: Place::Hole, crc: of_zeros(new), skip: 0, content: Content::None }
            }
            None => {
                let after = new - to;
                let head = combine(of_zeros(from), crc, range.len());
                let crc = combine(head, of_zeros(after), after);
                let content = Content::Payload { before: from, range, after };
                BlockPlan { block, place: Place::Fresh, crc, skip: 0, content }
            }
            Some(plane) if from >= old => self.append(block, plane, old, from, range, crc)?,
            Some(_) => {
                self.overwritten += 1;
                self.overwrite(block, old, from, range, crc)?
            }
        };
        self.plan.blocks.push(planned);
        Ok(())
    }

    /// Bytes behind the last one of a block that holds some.
    fn append(
        &self,
        block: u32,
        plane: u8,
        old: usize,
        from: usize,
        range: Range<usize>,
        crc: u32,
    ) -> Result<BlockPlan> {
        let layout = &self.tip.layout;
        let gap = from - old;
        let filled = combine(layout.crcs[block as usize], of_zeros(gap), gap);
        let crc = combine(filled, crc, range.len());
        let unprotected = self.stored >= self.tip.protected_length || planted(Planted::AppendOverLonger);
        if !layout.is_overlaid(block) && unprotected {
            let (skip, before) = if planted(Planted::GapNotZeroed) { (from, 0) } else { (old, gap) };
            let content = Content::Payload { before, range, after: 0 };
            return Ok(BlockPlan { block, place: Place::Behind(plane), crc, skip, content });
        }
        // The checksum follows from the old one, so that damage shows on.
        let (mut bytes, _) = self.tip.old_bytes(self.core, block)?;
        bytes.resize(from + range.len(), 0);
        self.payload.copy(range, &mut bytes[from..]);
        let crc = if planted(Planted::AppendHealsDamage) { checksum(&bytes) } else { crc };
        Ok(BlockPlan { block, place: Place::Overlay, crc, skip: 0, content: Content::Owned(bytes) })
    }

    fn overwrite(
        &self,
        block: u32,
        old: usize,
        from: usize,
        range: Range<usize>,
        crc: u32,
    ) -> Result<BlockPlan> {
        let to = from + range.len();
        if from == 0 && to >= old {
            let content = Content::Payload { before: 0, range, after: 0 };
            return Ok(BlockPlan { block, place: Place::Overlay, crc, skip: 0, content });
        }
        let (mut bytes, damaged) = self.tip.old_bytes(self.core, block)?;
        bytes.resize(old.max(to), 0);
        self.payload.copy(range, &mut bytes[from..to]);
        let crc = mark(checksum(&bytes), damaged);
        Ok(BlockPlan { block, place: Place::Overlay, crc, skip: 0, content: Content::Owned(bytes) })
    }
}
