//! Buffers are kept for the next call, because fresh memory of this size costs a page fault for each block.

use crate::disk::Block;
use parking_lot::Mutex;

/// Buffers that are kept, and blocks of the largest: 16 MiB in all.
const KEPT_MAX: usize = 16;
const KEPT_BLOCKS_MAX: usize = 257;

pub(super) struct Buffer {
    pages: Vec<Block>,
    blocks: usize,
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        Block::bytes_of(&self.pages[..self.blocks])
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        Block::bytes_of_mut(&mut self.pages[..self.blocks])
    }
}

#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Buffer>>);

impl std::fmt::Debug for Buffers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Buffers")
    }
}

impl Buffers {
    /// A buffer of so many blocks, with anything in it.
    pub fn take(&self, blocks: usize) -> Buffer {
        let mut kept = self.0.lock();
        let fits = kept.iter().position(|buffer| buffer.pages.len() >= blocks);
        let mut buffer = match fits.or_else(|| kept.len().checked_sub(1)) {
            Some(index) => kept.swap_remove(index),
            None => Buffer { pages: Vec::new(), blocks: 0 },
        };
        drop(kept);
        let missing = blocks.saturating_sub(buffer.pages.len());
        buffer.pages.extend(Block::new_zeros(missing));
        buffer.blocks = blocks;
        buffer
    }

    pub fn give_back(&self, buffer: Buffer) {
        let mut kept = self.0.lock();
        if kept.len() < KEPT_MAX && buffer.pages.len() <= KEPT_BLOCKS_MAX {
            kept.push(buffer);
        }
    }
}
