//! What a verifying job wrote into each of its blocks: which generation is there, and which blocks have a write
//! in the air. Two writes of one block at a time would leave it open which of them is there afterwards.

use crate::pattern::Generation;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

/// Four bytes a block of the job's file.
pub struct Generations {
    /// Of this run: a file that an earlier one left holds others.
    run: Generation,
    /// Writes of each block so far; 0: none, or it is open what one of them left.
    writes: Vec<u32>,
    busy: BTreeSet<u64>,
}

impl Generations {
    pub fn new(blocks: u64) -> Self {
        let run = RandomState::new().hash_one(blocks) as Generation;
        Generations { run, writes: vec![0; blocks as usize], busy: BTreeSet::new() }
    }

    fn of(&self, writes: u32) -> Generation {
        self.run.wrapping_add(writes)
    }

    pub fn is_busy(&self, block: u64) -> bool {
        self.busy.contains(&block)
    }

    /// The generation of a write that begins.
    pub fn begin(&mut self, block: u64) -> Generation {
        self.busy.insert(block);
        let writes = &mut self.writes[block as usize];
        *writes = writes.wrapping_add(1).max(1);
        let writes = *writes;
        self.of(writes)
    }

    /// What a failed write left is open.
    pub fn end(&mut self, block: u64, succeeded: bool) {
        self.busy.remove(&block);
        if !succeeded {
            self.writes[block as usize] = 0;
        }
    }

    /// Blocks of which it is known what they hold, and that.
    pub fn written(&self) -> impl Iterator<Item = (u64, Generation)> + '_ {
        let known = (0..).zip(&self.writes).filter(|(_, writes)| **writes > 0);
        known.map(|(block, writes)| (block, self.of(*writes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_write_of_a_block_has_its_generation() {
        let mut generations = Generations::new(8);
        let first = generations.begin(5);
        assert!(generations.is_busy(5) && !generations.is_busy(4));
        generations.end(5, true);
        assert!(!generations.is_busy(5));
        let second = generations.begin(5);
        assert_ne!(first, second);
        generations.end(5, true);
        generations.begin(2);
        generations.end(2, false);
        assert_eq!(generations.written().collect::<Vec<_>>(), [(5, second)]);
        let differs = (0..8).any(|_| Generations::new(8).begin(5) != first);
        assert!(differs, "another run has others");
    }
}
