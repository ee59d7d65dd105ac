//! What the lost requests of one channel may still change.

use super::overlap;
use std::ops::Range;
use wire::ChunkId;

/// Each is an update that was given up after its whole time (60 s by default) while its channel did nothing else, so
/// that more than a few mean a chain that was away for long. Then nothing is known any more but that there are some.
const RANGES_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Doubts {
    ranges: Vec<(ChunkId, Range<u64>)>,
    /// There were too many: they may be of any bytes of any chunk.
    anything: bool,
}

impl Doubts {
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && !self.anything
    }

    pub fn add(&mut self, chunk: ChunkId, bytes: Range<u64>) {
        let covered = |(other, range): &(ChunkId, Range<u64>)| {
            *other == chunk && range.start <= bytes.start && bytes.end <= range.end
        };
        if self.anything || self.ranges.iter().any(covered) {
            return;
        }
        if self.ranges.len() == RANGES_MAX {
            self.anything = true;
            self.ranges = Vec::new();
        } else {
            self.ranges.push((chunk, bytes));
        }
    }

    /// A later request of the channel was applied.
    pub fn clear(&mut self) {
        *self = Doubts::default();
    }

    pub fn overlap(&self, chunk: ChunkId, bytes: &Range<u64>) -> bool {
        let overlaps = |(other, range): &(ChunkId, Range<u64>)| *other == chunk && overlap(range, bytes);
        self.anything || self.ranges.iter().any(overlaps)
    }

    /// The chunks that they are of; `None`: any.
    pub fn chunks(&self) -> Option<impl Iterator<Item = ChunkId>> {
        (!self.anything).then(|| self.ranges.iter().map(|(chunk, _)| *chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_doubts_are_doubts_of_everything() {
        let chunk = |index| ChunkId { inode: 1, index };
        let mut doubts = Doubts::default();
        for round in 0..RANGES_MAX as u64 {
            doubts.add(chunk(round), 10..20);
            doubts.add(chunk(round), 12..20);
        }
        assert!(doubts.overlap(chunk(3), &(19..30)) && !doubts.overlap(chunk(3), &(20..30)));
        assert!(!doubts.overlap(chunk(99), &(10..20)));
        assert_eq!(doubts.ranges.len(), RANGES_MAX, "one that is covered is not kept");
        doubts.add(chunk(0), 12..21);
        assert!(doubts.overlap(chunk(99), &(500..501)) && doubts.ranges.is_empty());
        doubts.clear();
        assert!(doubts.is_empty() && !doubts.overlap(chunk(0), &(10..20)));
    }
}
