//! The engine's view of its disk, with every operation of a file under the eye of the watchdog. Whoever waits for
//! another thread's flush, or for a checkpoint, waits for operations that are counted there: so a wait is as long
//! as the work takes, and one operation that does not end is found whoever began it.

use super::DiskShare;
use super::progress::Running;
use chunk_engine::disk::{Block, DiskSpace};
use chunk_engine::{Disk, DiskFile};
use pages::Pages;
use std::io::{IoSlice, IoSliceMut, Result};
use std::ops::RangeInclusive;
use std::sync::Arc;

pub struct WatchedDisk {
    disk: Arc<dyn Disk>,
    share: Arc<DiskShare>,
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    share: Arc<DiskShare>,
}

impl WatchedDisk {
    /// `disk` is a folder of `share`.
    pub fn new(disk: Arc<dyn Disk>, share: Arc<DiskShare>) -> WatchedDisk {
        WatchedDisk { disk, share }
    }

    fn watched(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { file, share: self.share.clone() })
    }

    fn operation(&self) -> Running<'_> {
        self.share.operations.begin()
    }
}

impl std::fmt::Debug for WatchedDisk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.disk.fmt(formatter)
    }
}

impl Disk for WatchedDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        let _running = self.operation();
        Ok(self.disk.open(name)?.map(|file| self.watched(file)))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let _running = self.operation();
        Ok(self.watched(self.disk.create(name)?))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let _running = self.operation();
        self.disk.remove(name)
    }

    fn list(&self) -> Result<Vec<String>> {
        let _running = self.operation();
        self.disk.list()
    }

    fn flush_names(&self) -> Result<()> {
        let _running = self.share.flushes.begin();
        self.disk.flush_names()
    }

    fn space(&self) -> Result<DiskSpace> {
        let _running = self.operation();
        self.disk.space()
    }
}

impl WatchedFile {
    fn operation(&self) -> Running<'_> {
        self.share.operations.begin()
    }
}

impl std::fmt::Debug for WatchedFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(formatter)
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let _running = self.operation();
        self.file.read_at(parts, offset)
    }

    fn read_medium(&self, into: &mut [Block], offset: u64) -> Result<usize> {
        let _running = self.operation();
        self.file.read_medium(into, offset)
    }

    fn share(&self, offset: u64, length: usize, pages: &mut Pages) -> Result<usize> {
        let _running = self.operation();
        self.file.share(offset, length, pages)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let _running = self.operation();
        self.file.write_at(parts, offset)
    }

    fn write_many(&self, writes: &[(u64, &[IoSlice<'_>])]) -> Result<()> {
        let _running = self.operation();
        self.file.write_many(writes)
    }

    fn flush(&self) -> Result<()> {
        let _running = self.share.flushes.begin();
        self.file.flush()
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        let _running = self.operation();
        self.file.allocate(offset, length)
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        let _running = self.operation();
        self.file.punch(offset, length)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        let _running = self.operation();
        self.file.set_length(length)
    }

    fn length(&self) -> Result<u64> {
        let _running = self.operation();
        self.file.length()
    }

    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        let _running = self.operation();
        self.file.allocated()
    }
}
