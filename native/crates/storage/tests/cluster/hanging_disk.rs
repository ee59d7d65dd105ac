//! A disk in memory whose operations can be made to wait, all of them or those of one kind, until they are let go.

use chunk_engine::disk::DiskSpace;
use chunk_engine::{Disk, DiskFile, MemoryDisk};
use parking_lot::{Condvar, Mutex};
use std::io::{IoSlice, IoSliceMut, Result};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Whoever passes waits while it is closed.
#[derive(Debug, Default)]
pub struct Barrier {
    state: Mutex<Passing>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Passing {
    closed: bool,
    waiting: usize,
}

impl Barrier {
    pub fn close(&self) {
        self.state.lock().closed = true;
    }

    pub fn open(&self) {
        self.state.lock().closed = false;
        self.changed.notify_all();
    }

    /// It is closed, and so many wait.
    pub fn wait_for(&self, count: usize) {
        let mut state = self.state.lock();
        while state.waiting < count {
            self.changed.wait(&mut state);
        }
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while state.closed {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
    }
}

#[derive(Debug, Default)]
pub struct Gate {
    pub operations: Barrier,
    /// Flushes alone.
    pub flushes: Barrier,
    /// Records of the journal alone.
    pub records: Barrier,
    /// Writes alone.
    pub writes: Barrier,
    space: Mutex<Space>,
    space_changed: Condvar,
    /// Behind it.
    pub disks: Mutex<Vec<MemoryDisk>>,
}

/// Questions for the free space, which may be made to wait alone.
#[derive(Debug, Default)]
struct Space {
    held: bool,
    waiting: usize,
    answered: usize,
}

impl Gate {
    pub fn close(&self) {
        self.operations.close();
    }

    pub fn open(&self) {
        self.operations.open();
    }

    pub fn open_all(&self) {
        [&self.operations, &self.flushes, &self.records].into_iter().for_each(Barrier::open);
        self.tell_space();
    }

    /// The disk's free space is asked for again, of each of its folders, and the answer taken.
    pub fn wait_for_space(&self) {
        let mut space = self.space.lock();
        let enough = space.answered + 3 * self.disks.lock().len();
        while space.answered < enough {
            self.space_changed.wait(&mut space);
        }
    }

    /// From now on nobody gets an answer, until `tell_space`; somebody waits for one already.
    pub fn hold_space(&self) {
        let mut space = self.space.lock();
        space.held = true;
        while space.waiting == 0 {
            self.space_changed.wait(&mut space);
        }
    }

    pub fn tell_space(&self) {
        self.space.lock().held = false;
        self.space_changed.notify_all();
    }

    fn pass_space(&self) {
        let mut space = self.space.lock();
        space.waiting += 1;
        self.space_changed.notify_all();
        while space.held {
            self.space_changed.wait(&mut space);
        }
        space.waiting -= 1;
        space.answered += 1;
        self.space_changed.notify_all();
    }

    fn pass(&self) {
        self.operations.pass();
    }
}

/// Opens everything when it goes, so that a test that failed does not hang as well.
pub struct OpensAtLast(pub Arc<Gate>);

impl Drop for OpensAtLast {
    fn drop(&mut self) {
        self.0.open_all();
    }
}

#[derive(Debug)]
pub struct HangingDisk {
    pub disk: MemoryDisk,
    pub gate: Arc<Gate>,
}

#[derive(Debug)]
struct HangingFile {
    file: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
    is_journal: bool,
}

impl HangingDisk {
    fn file(&self, file: Arc<dyn DiskFile>, name: &str) -> Arc<dyn DiskFile> {
        Arc::new(HangingFile { file, gate: self.gate.clone(), is_journal: name.starts_with("journal-") })
    }
}

impl Disk for HangingDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        self.gate.pass();
        Ok(self.disk.open(name)?.map(|file| self.file(file, name)))
    }
    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        self.gate.pass();
        Ok(self.file(self.disk.create(name)?, name))
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.gate.pass();
        self.disk.remove(name)
    }
    fn list(&self) -> Result<Vec<String>> {
        self.gate.pass();
        self.disk.list()
    }
    fn flush_names(&self) -> Result<()> {
        self.gate.pass();
        self.disk.flush_names()
    }
    fn space(&self) -> Result<DiskSpace> {
        self.gate.pass();
        self.gate.pass_space();
        self.disk.space()
    }
}

impl DiskFile for HangingFile {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        self.gate.pass();
        self.file.read_at(parts, offset)
    }
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        self.gate.pass();
        if self.is_journal {
            self.gate.records.pass();
        }
        self.gate.writes.pass();
        self.file.write_at(parts, offset)
    }
    fn flush(&self) -> Result<()> {
        self.gate.pass();
        self.gate.flushes.pass();
        self.file.flush()
    }
    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        self.gate.pass();
        self.file.allocate(offset, length)
    }
    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        self.gate.pass();
        self.file.punch(offset, length)
    }
    fn set_length(&self, length: u64) -> Result<()> {
        self.gate.pass();
        self.file.set_length(length)
    }
    fn length(&self) -> Result<u64> {
        self.gate.pass();
        self.file.length()
    }
    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        self.gate.pass();
        self.file.allocated()
    }
}
