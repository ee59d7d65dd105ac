//! A disk whose writes take long: files of a real folder behind a pause.

use chunk_engine::disk::DiskSpace;
use chunk_engine::{Disk, DiskFile, FileDisk};
use std::io::{IoSlice, IoSliceMut, Result};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Some hundred times what a write to the page cache takes.
const PAUSE: Duration = Duration::from_micros(500);

#[derive(Debug)]
pub struct SlowDisk(FileDisk);

impl SlowDisk {
    pub fn open(folder: &Path) -> Result<SlowDisk> {
        FileDisk::open(folder).map(SlowDisk)
    }
}

impl Disk for SlowDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        Ok(self.0.open(name)?.map(|file| Arc::new(SlowFile(file)) as Arc<dyn DiskFile>))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(self.0.create(name)?)))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }

    fn list(&self) -> Result<Vec<String>> {
        self.0.list()
    }

    fn flush_names(&self) -> Result<()> {
        self.0.flush_names()
    }

    fn space(&self) -> Result<DiskSpace> {
        self.0.space()
    }
}

#[derive(Debug)]
struct SlowFile(Arc<dyn DiskFile>);

impl DiskFile for SlowFile {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.0.read_at(parts, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        std::thread::sleep(PAUSE);
        self.0.write_at(parts, offset)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.0.allocate(offset, length)
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        self.0.punch(offset, length)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.0.set_length(length)
    }

    fn length(&self) -> Result<u64> {
        self.0.length()
    }

    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        self.0.allocated()
    }
}
