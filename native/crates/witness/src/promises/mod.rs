//! What fsync promised, and whether it is there after the power was cut. Each lane writes blocks of files of
//! its own, one after another, each followed by an fsync; what was begun and what was promised stands in a log
//! that the cut does not reach.

mod check;
mod write;

pub use check::{Broken, Checked, check};
pub use write::{WriterOptions, write};

use crate::random::content;

/// Written at once; crosses pages and blocks of checksums.
const BLOCK_BYTES: usize = 12_000;
const BLOCKS_PER_FILE: u64 = 24;

/// What version `version` of a block holds.
fn block_of(file: &str, block: u64, version: u64) -> Vec<u8> {
    let name = file.bytes().fold(0, |sum: u64, byte| sum.wrapping_mul(257).wrapping_add(byte.into()));
    content(name ^ block << 48 ^ version << 32, BLOCK_BYTES)
}
