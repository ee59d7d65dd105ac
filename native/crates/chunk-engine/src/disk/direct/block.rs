//! Memory that the kernel can move to the disk by itself: it begins at a multiple of a block.
#![allow(unsafe_code)]

use rustix::mm::{Advice, madvise};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

pub(super) const BLOCK_BYTES: usize = 4096;

#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(4096))]
pub struct Block([u8; BLOCK_BYTES]);

impl Block {
    pub fn new_zeros(count: usize) -> Vec<Block> {
        vec![Block::new_zeroed(); count]
    }

    pub fn bytes_of(blocks: &[Block]) -> &[u8] {
        blocks.as_bytes()
    }

    pub fn bytes_of_mut(blocks: &mut [Block]) -> &mut [u8] {
        blocks.as_mut_bytes()
    }
}

const HUGE_BYTES: usize = 2 << 20;

/// Blocks that lie side by side in the machine's memory too, if it has room for that: a disk that is told of one place
/// for a read, and not of hundreds, is more than twice as fast (virtio).
#[repr(C, align(2097152))]
pub struct HugePage(pub [Block; HUGE_BYTES / BLOCK_BYTES]);

impl HugePage {
    pub fn new_zeros() -> Box<HugePage> {
        let mut memory = Box::<HugePage>::new_uninit();
        // SAFETY: the memory is ours, and only what it lies on changes. Zeros are a page.
        unsafe {
            // To be said before it is touched. A kernel that refuses gives small pages.
            let _ = madvise(memory.as_mut_ptr().cast(), HUGE_BYTES, Advice::LinuxHugepage);
            memory.as_mut_ptr().write_bytes(0, 1);
            memory.assume_init()
        }
    }
}
