//! One chunk in memory: its committed version, the pending ones after it, the planes they lie in, and the
//! journaled images that are not in their place yet. Pure: no I/O here; who calls holds the shard's lock.
//!
//! A plane is one extent of the chunk's size; block b of the chunk lies at block b of one of its planes. A
//! position is free when no version that may still be wanted uses it: the committed one, the pending ones,
//! and those that were replaced after the last flush (`retired`). So a version never overwrites bytes of
//! another, and rewriting a chunk in pieces ends in one contiguous plane again.

use crate::layout::{ALL_CHANGED, Layout, OVERLAY, PLANES_MAX, Presence, blocks_of};
use crate::museum::{Planted, planted};
use crate::segments::{ExtentAddress, SegmentFile};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Plane {
    pub address: ExtentAddress,
    pub file: Arc<SegmentFile>,
    used: Box<[u64]>,
}

impl Plane {
    pub fn new(address: ExtentAddress, file: Arc<SegmentFile>) -> Plane {
        let words = (1usize << file.class).div_ceil(64);
        Plane { address, file, used: vec![0; words].into_boxed_slice() }
    }

    pub fn is_used(&self, block: u32) -> bool {
        self.used[(block / 64) as usize] >> (block % 64) & 1 == 1
    }

    fn set(&mut self, block: u32, used: bool) {
        let mask = 1 << (block % 64);
        let word = &mut self.used[(block / 64) as usize];
        *word = if used { *word | mask } else { *word & !mask };
    }

    pub fn used_blocks(&self) -> u64 {
        self.used.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn is_empty(&self) -> bool {
        self.used.iter().all(|word| *word == 0)
    }

    fn clear(&mut self) {
        self.used.fill(0);
    }
}

/// The whole content of one block as of one journal record.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The record that committed a version with it; 0 while only pending versions have it.
    pub committed: u64,
    pub data: Arc<[u8]>,
}

/// Consecutive blocks in one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub plane: u8,
    pub first: u32,
    pub count: u32,
}

/// Positions that a record gave up; free after a flush that covers the record.
#[derive(Debug)]
pub(crate) struct Retired {
    pub record: u64,
    pub positions: Vec<Placed>,
}

#[derive(Debug)]
pub(crate) struct Active {
    pub committed: Arc<Layout>,
    pub pending: VecDeque<Arc<Layout>>,
    pub planes: Vec<Option<Plane>>,
    /// By block and record. A layout uses the newest image of a block that is not newer than itself.
    pub images: BTreeMap<(u32, u64), Image>,
    /// Items of the engine's list of retired positions that belong to this chunk.
    pub retired: u32,
    /// The longest version that may still be wanted: bytes below it are not overwritten in place.
    pub protected_length: u32,
    /// Changed since the catalogue saw it.
    pub dirty: bool,
    /// A checkpoint holds its record and has not committed it yet.
    pub saving: bool,
    /// An update of it is under way, which expects it in memory.
    pub changing: bool,
    /// Who holds the chunk's lock writes the record that commits or discards what pends.
    pub deciding: bool,
    /// Who holds the chunk's lock writes over blocks where they lie. A commit does not wait for that, so what
    /// it gives up is released only then.
    pub rewriting: bool,
    pub held: Vec<Retired>,
    /// What the shard's cache accounts for it; 0 = not in the queue.
    pub cached_bytes: u32,
}

impl Active {
    pub fn new(committed: Layout) -> Active {
        Active {
            protected_length: committed.length,
            committed: Arc::new(committed),
            pending: VecDeque::new(),
            planes: Vec::new(),
            images: BTreeMap::new(),
            retired: 0,
            dirty: false,
            saving: false,
            changing: false,
            deciding: false,
            rewriting: false,
            held: Vec::new(),
            cached_bytes: 0,
        }
    }

    /// The newest version, committed or not.
    pub fn tip(&self) -> &Arc<Layout> {
        self.pending.back().unwrap_or(&self.committed)
    }

    /// Nothing would be lost if it were dropped from memory.
    pub fn is_settled(&self) -> bool {
        let unsaved = self.dirty && !planted(Planted::EvictsUnsaved);
        !unsaved
            && !self.saving
            && !self.changing
            && self.pending.is_empty()
            && self.images.is_empty()
            && self.retired == 0
    }

    pub fn memory_bytes(&self) -> u32 {
        let planes: usize = self.planes.iter().flatten().map(|plane| plane.used.len() * 8 + 64).sum();
        (256 + planes + self.committed.slots.len() * 5) as u32
    }

    /// The image that `layout` shows for `block`.
    pub fn image(&self, layout: &Layout, block: u32) -> Option<(u64, &Image)> {
        let newest = self.images.range((block, 0)..=(block, layout.record)).next_back();
        newest.map(|((_, record), image)| (*record, image))
    }

    /// Finds room for `count` blocks from `first` in existing planes, best in one; `None` if a new plane is
    /// wanted.
    pub fn place(&mut self, class: u8, first: u32, count: u32, planes_wanted: usize) -> Option<Vec<Placed>> {
        let fits = |plane: &Plane, range: std::ops::Range<u32>| {
            plane.file.class == class && range.into_iter().all(|block| !plane.is_used(block))
        };
        let whole = self
            .planes
            .iter()
            .position(|plane| plane.as_ref().is_some_and(|plane| fits(plane, first..first + count)));
        if let Some(index) = whole {
            self.take(index, first, count);
            return Some(vec![Placed { plane: index as u8, first, count }]);
        }
        if self.planes.iter().flatten().count() < planes_wanted {
            return None;
        }
        let mut placed: Vec<Placed> = Vec::new();
        for block in first..first + count {
            let free = self
                .planes
                .iter()
                .position(|plane| plane.as_ref().is_some_and(|plane| fits(plane, block..block + 1)));
            let Some(index) = free else {
                for done in placed {
                    let emptied = self.give_back(done);
                    assert!(emptied.is_none(), "a plane without used positions was kept");
                }
                return None;
            };
            self.take(index, block, 1);
            match placed.last_mut() {
                Some(last) if last.plane == index as u8 => last.count += 1,
                _ => placed.push(Placed { plane: index as u8, first: block, count: 1 }),
            }
        }
        Some(placed)
    }

    /// The number for a new plane, if there is one left.
    pub fn add_plane(&mut self, plane: Plane) -> Result<u8, Plane> {
        let index = self.planes.iter().position(Option::is_none).unwrap_or(self.planes.len());
        if index >= PLANES_MAX {
            return Err(plane);
        }
        if index == self.planes.len() {
            self.planes.push(None);
        }
        self.planes[index] = Some(plane);
        Ok(index as u8)
    }

    fn take(&mut self, plane: usize, first: u32, count: u32) {
        let plane = self.planes[plane].as_mut().expect("a plane that was chosen is there");
        (first..first + count).for_each(|block| plane.set(block, true));
    }

    /// Frees positions; the extents of planes that hold nothing any more.
    pub fn give_back(&mut self, placed: Placed) -> Option<ExtentAddress> {
        let slot = &mut self.planes[placed.plane as usize];
        let plane = slot.as_mut().expect("a plane with used positions is there");
        for block in placed.first..placed.first + placed.count {
            assert!(plane.is_used(block), "a free position is freed");
            plane.set(block, false);
        }
        if !plane.is_empty() {
            return None;
        }
        slot.take().map(|plane| plane.address)
    }

    /// Makes the oldest pending version the committed one. `record` is the journal record that says so.
    pub fn commit_next(&mut self, record: u64) -> Option<Retired> {
        let next = self.pending.pop_front().expect("a commit has a pending version");
        let previous = std::mem::replace(&mut self.committed, next.clone());
        self.drop_old_images(&next, record);
        let positions = difference(&previous, next.changed.clone(), &[&next]);
        (!positions.is_empty() || previous.length > next.length).then_some(Retired { record, positions })
    }

    /// Drops all pending versions; their positions may be used again after a flush that covers `record`.
    pub fn discard(&mut self, record: u64) -> Option<Retired> {
        let pending = std::mem::take(&mut self.pending);
        let newest = self.committed.record;
        self.images.retain(|(_, image), _| *image <= newest);
        let mut positions = Vec::new();
        for (index, layout) in pending.iter().enumerate() {
            // Each position once: what this version has and neither the committed nor an earlier dropped one.
            let mut others: Vec<&Layout> = vec![&self.committed];
            others.extend(pending.iter().take(index).map(|earlier| &**earlier));
            positions.extend(difference(layout, ALL_CHANGED, &others));
        }
        (!pending.is_empty()).then_some(Retired { record, positions })
    }

    fn drop_old_images(&mut self, committed: &Layout, record: u64) {
        if self.images.is_empty() {
            return;
        }
        let mut keep = None;
        let mut stale = Vec::new();
        // A chunk that is overwritten at random has an image of nearly every block: only those of blocks that
        // this version changed may be stale now. From newest to oldest: of each block, the first image not
        // newer than the committed version is the one it shows.
        let changed = (committed.changed.start, 0)..(committed.changed.end, 0);
        for ((block, image), content) in
            self.images.range_mut(changed).rev().filter(|((_, image), _)| *image <= committed.record)
        {
            if committed.is_overlaid(*block) && keep != Some(*block) {
                keep = Some(*block);
                if content.committed == 0 {
                    content.committed = record;
                }
            } else {
                stale.push((*block, *image));
            }
        }
        stale.iter().for_each(|key| drop(self.images.remove(key)));
    }

    /// Computes which positions are used, from the layouts alone, and gives up planes that none uses (after
    /// opening).
    pub fn rebuild_planes(&mut self) {
        self.planes.iter_mut().flatten().for_each(Plane::clear);
        let layouts: Vec<Arc<Layout>> = self.layouts().cloned().collect();
        for layout in &layouts {
            for block in 0..layout.blocks() {
                if let Some(plane) = layout.plane(block) {
                    self.take(plane as usize, block, 1);
                }
            }
        }
        for plane in &mut self.planes {
            if plane.as_ref().is_some_and(Plane::is_empty) {
                *plane = None;
            }
        }
        self.protected_length = self.longest();
    }

    pub fn layouts(&self) -> impl Iterator<Item = &Arc<Layout>> {
        std::iter::once(&self.committed).chain(&self.pending)
    }

    pub fn longest(&self) -> u32 {
        self.layouts().map(|layout| layout.length).max().unwrap_or(0)
    }

    /// Positions in use, also by retired versions.
    pub fn used_blocks(&self) -> u64 {
        self.planes.iter().flatten().map(Plane::used_blocks).sum()
    }

    /// Positions of `plane` that nothing uses.
    pub fn unused(&self, plane: usize) -> Vec<Placed> {
        let Some(held) = self.planes[plane].as_ref() else { return Vec::new() };
        let blocks = (0..1u32 << held.file.class).filter(|block| !held.is_used(*block));
        join(blocks.map(|block| (plane as u8, block)))
    }

    /// The committed image of `block` is in its place now: layouts that show it point there.
    pub fn settle_image(&mut self, block: u32, record: u64) {
        let shows = |images: &BTreeMap<(u32, u64), Image>, layout: &Layout| {
            layout.is_overlaid(block)
                && images
                    .range((block, 0)..=(block, layout.record))
                    .next_back()
                    .is_some_and(|((_, at), _)| *at == record)
        };
        let images = &self.images;
        for layout in std::iter::once(&mut self.committed).chain(&mut self.pending) {
            if shows(images, layout) {
                Arc::make_mut(layout).slots[block as usize] &= !OVERLAY;
            }
        }
        self.images.remove(&(block, record));
    }
}

/// Positions among `blocks` that `old` uses and none of `others` does.
fn difference(old: &Layout, blocks: Range<u32>, others: &[&Layout]) -> Vec<Placed> {
    let gone = (blocks.start..blocks.end.min(old.blocks())).filter_map(|block| {
        let plane = old.plane(block)?;
        others.iter().all(|other| other.plane(block) != Some(plane)).then_some((plane, block))
    });
    join(gone)
}

fn join(positions: impl Iterator<Item = (u8, u32)>) -> Vec<Placed> {
    let mut placed: Vec<Placed> = Vec::new();
    for (plane, block) in positions {
        match placed.last_mut() {
            Some(last) if last.plane == plane && last.first + last.count == block => last.count += 1,
            _ => placed.push(Placed { plane, first: block, count: 1 }),
        }
    }
    placed
}

/// What the index knows of every chunk, used or not: about 80 bytes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub version: wire::Version,
    pub length: u32,
    pub chunk_size: u32,
    pub presence: Presence,
    /// Journal records of this chunk up to this one are in it.
    pub last_record: u64,
    /// Changes whenever bytes that a reader may be reading are about to be overwritten or given back.
    pub generation: u64,
    pub active: Option<Box<Active>>,
}

impl Entry {
    pub fn absent() -> Entry {
        Entry::of(&Layout::absent(), 0)
    }

    pub fn of(layout: &Layout, last_record: u64) -> Entry {
        Entry {
            version: layout.version,
            length: layout.length,
            chunk_size: layout.chunk_size,
            presence: layout.presence,
            last_record,
            generation: 0,
            active: None,
        }
    }

    /// Repeats what the committed layout says.
    pub fn refresh(&mut self) {
        let layout = &self.active.as_ref().expect("a changed chunk is active").committed;
        (self.version, self.length, self.chunk_size, self.presence) =
            (layout.version, layout.length, layout.chunk_size, layout.presence);
    }

    pub fn blocks(&self) -> u32 {
        blocks_of(self.length)
    }

    /// The layout of a removed chunk.
    pub fn tombstone(&self) -> Layout {
        assert!(self.presence == Presence::Removed, "only a removed chunk has no details");
        let (version, chunk_size) = (self.version, self.chunk_size);
        Layout { version, chunk_size, presence: Presence::Removed, ..Layout::absent() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::message::{BlockRun, BlockRunKind, JournalStage};

    const BLOCKS: u32 = 8;

    /// Stages an update of some blocks, as the engine does: with images, in place, or all of it.
    fn stage(active: &mut Active, record: u64, random: &mut impl FnMut(u32) -> u32) {
        let first = random(BLOCKS);
        let count = 1 + random(BLOCKS - first);
        let kind = match random(4) {
            0 => BlockRunKind::RunDirect,
            1 => BlockRunKind::RunHole,
            _ => BlockRunKind::RunOverlay,
        };
        let blocks = if random(8) == 0 { 1 + random(BLOCKS) } else { blocks_of(active.tip().length).max(1) };
        let last = first.min(blocks - 1)..(first + count).min(blocks).max(first.min(blocks - 1) + 1);
        let run = BlockRun {
            first: last.start,
            count: last.len() as u32,
            kind: kind as i32,
            crcs: if kind == BlockRunKind::RunHole { Vec::new() } else { vec![record as u32; last.len()] },
            ..BlockRun::default()
        };
        let length = blocks * crate::checksum::BLOCK_BYTES as u32;
        let stage = JournalStage { runs: vec![run], length, ..JournalStage::default() };
        let next = active.tip().next(&stage, record).unwrap();
        if kind == BlockRunKind::RunOverlay {
            for block in last {
                active.images.insert((block, record), Image { committed: 0, data: Arc::new([]) });
            }
        }
        active.pending.push_back(Arc::new(next));
    }

    /// Of the images that are not newer than the committed version exactly those are left that it shows,
    /// however many versions pend.
    #[test]
    fn a_commit_leaves_the_images_that_its_version_shows() {
        let mut state = 7u64;
        let mut random = move |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % u64::from(below)) as u32
        };
        let mut active = Active::new(Layout::absent());
        let mut left = 0;
        for record in 1..4000 {
            if active.pending.len() < 3 && random(2) == 0 {
                stage(&mut active, record, &mut random);
            } else if !active.pending.is_empty() {
                active.commit_next(record);
                let committed = active.committed.clone();
                let newest = committed.record;
                let expected: Vec<(u32, u64)> = (0..committed.blocks())
                    .filter(|block| committed.is_overlaid(*block))
                    .map(|block| (block, active.image(&committed, block).expect("it is shown").0))
                    .collect();
                let old = active.images.iter().filter(|((_, record), _)| *record <= newest);
                assert!(old.clone().all(|(_, image)| image.committed != 0));
                assert_eq!(old.map(|(key, _)| *key).collect::<Vec<_>>(), expected);
                left += expected.len();
            }
        }
        assert!(left > 1000, "there were images: {left}");
    }
}
