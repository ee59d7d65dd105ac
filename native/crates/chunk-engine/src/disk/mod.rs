//! All access to a disk: flat files by name. `FileDisk` is a folder of a real file system, `DirectDisk` one
//! that goes past the page cache, `MemoryDisk` their faulty twin. All pass the suite in `suite.rs`. Whoever
//! adds an operation adds it to all, and to the suite.

mod direct;
mod file;
mod media;
mod memory;
pub mod suite;

pub use direct::DirectDisk;
pub use direct::block::{Block, HugePage};
pub use file::FileDisk;
pub use media::Media;
pub use memory::{Crash, Dice, Fault, MemoryDisk};

use pages::Pages;
use std::fmt::Debug;
use std::io::{IoSlice, IoSliceMut, Result};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Bytes of the whole disk, and those still free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    pub capacity: u64,
    pub free: u64,
}

/// A set of files.
pub trait Disk: Debug + Send + Sync + 'static {
    /// `None` if there is no such file.
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>>;
    /// A new empty file; its name is on the medium after `flush_names`. Fails with `AlreadyExists`.
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>>;
    fn remove(&self, name: &str) -> Result<()>;
    /// Names in no order.
    fn list(&self) -> Result<Vec<String>>;
    /// Creations and removals so far are on the medium when it returns.
    fn flush_names(&self) -> Result<()>;
    fn space(&self) -> Result<DiskSpace>;
}

/// One file. What was never written reads as zeros, up to the file's length.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Fills `parts` in order; returns fewer bytes only where the file ends.
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize>;
    /// As `read_at` into whole blocks, from the medium as far as a cache can be told: a copy in memory hides what
    /// rotted under it. What was written and is not there yet goes there first.
    fn read_medium(&self, into: &mut [Block], offset: u64) -> Result<usize> {
        self.read_at(&mut [IoSliceMut::new(Block::bytes_of_mut(into))], offset)
    }
    /// Adds the cached pages of a range that begins at a page to `pages`, as `read_at` would read them; they may
    /// change until they are sent. Fails with `Unsupported` where there are none to share: then they are read.
    fn share(&self, _offset: u64, _length: usize, _pages: &mut Pages) -> Result<usize> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
    /// Writes all bytes or fails. They survive the process at once, the power only after `flush`.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()>;
    /// Writes to several places that do not overlap, in any order, as `write_at` does: a disk may do them
    /// at once.
    fn write_many(&self, writes: &[(u64, &[IoSlice<'_>])]) -> Result<()> {
        writes.iter().try_for_each(|(offset, parts)| self.write_at(parts, *offset))
    }
    /// Bytes and length so far are on the medium when it returns (fdatasync). After an error nothing is
    /// known.
    fn flush(&self) -> Result<()>;
    /// Reserves real blocks for the range, without changing bytes or length.
    fn allocate(&self, offset: u64, length: u64) -> Result<()>;
    /// Gives the blocks wholly inside the range back; the range reads as zeros.
    fn punch(&self, offset: u64, length: u64) -> Result<()>;
    /// Cuts, or extends with zeros that take no blocks.
    fn set_length(&self, length: u64) -> Result<()>;
    /// To the byte while the file is open; opened anew it may be rounded up to a block, with zeros.
    fn length(&self) -> Result<u64>;
    /// Between how many bytes and how many the file's blocks hold; where the disk knows exactly, both are
    /// the same.
    fn allocated(&self) -> Result<RangeInclusive<u64>>;
}
