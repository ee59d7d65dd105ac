//! Where chunks lie: sparse segment files cut into extents of one size class each. An extent is address space
//! for one whole chunk; the file system gives blocks to what is written and takes back what is punched, so
//! that a small chunk costs a block. An extent belongs to one chunk at a time; giving it back is the caller's
//! duty, after the flush that P12 asks for.

use crate::checksum::BLOCK_BYTES;
use crate::disk::DiskFile;
use crate::museum::{Planted, planted};
use crate::volume::Volume;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::{Code, Error, Result};

const PREFIX: &str = "segment-";

/// New extents alternate over this many segments of a class: a buffered write holds the file's inode lock.
const LANES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ExtentAddress {
    pub segment: u32,
    pub extent: u32,
}

/// A segment's file, and whether it holds bytes that no flush covered yet.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    pub id: u32,
    pub class: u8,
    pub file: Arc<dyn DiskFile>,
    dirty: AtomicBool,
}

impl SegmentFile {
    /// To be called after the write, before anything on the disk relies on it: a flush that begins between
    /// the mark and the write would clear the mark and cover nothing.
    pub fn mark_dirty(&self) {
        self.dirty.store(true, Ordering::SeqCst);
    }

    pub fn offset(&self, extent: u32, block: u32) -> u64 {
        (u64::from(extent) << self.class) * BLOCK_BYTES as u64 + u64::from(block) * BLOCK_BYTES as u64
    }
}

#[derive(Debug)]
struct Map {
    class: u8,
    used: Vec<u64>,
    free: u32,
    /// No free extent lies below it.
    hint: u32,
}

#[derive(Debug)]
pub(crate) struct Segments {
    volume: Arc<Volume>,
    segment_bytes: u64,
    files: RwLock<BTreeMap<u32, Arc<SegmentFile>>>,
    maps: Mutex<BTreeMap<u32, Map>>,
    /// Held while a segment is made: two threads must not make the same one.
    growing: Mutex<()>,
    /// One flush at a time: a second one must not return while the first still flushes what it relies on.
    flushing: Mutex<()>,
}

/// The size class of a chunk size: an extent has 4 KiB << class.
pub(crate) fn class_of(chunk_size: u32) -> u8 {
    (chunk_size as usize).div_ceil(BLOCK_BYTES).next_power_of_two().trailing_zeros() as u8
}

fn name_of(id: u32, class: u8) -> String {
    format!("{PREFIX}{id:06}-{class:02}")
}

pub(crate) fn parse(name: &str) -> Option<(u32, u8)> {
    let (id, class) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((id.parse().ok()?, class.parse().ok()?))
}

impl Segments {
    /// Opens every segment on the disk, with all extents free.
    pub fn open(volume: Arc<Volume>, segment_bytes: u64) -> Result<Segments> {
        let segments = Segments {
            volume,
            segment_bytes,
            files: RwLock::new(BTreeMap::new()),
            maps: Mutex::new(BTreeMap::new()),
            growing: Mutex::new(()),
            flushing: Mutex::new(()),
        };
        for name in segments.volume.list()? {
            if let Some((id, class)) = parse(&name) {
                let file = segments.volume.open(&name)?.expect("a listed file can be opened");
                segments.add(id, class, file)?;
            }
        }
        Ok(segments)
    }

    fn add(&self, id: u32, class: u8, file: Arc<dyn DiskFile>) -> Result<()> {
        let length = file.length().map_err(|error| self.volume.fail("a segment's length", &error))?;
        if length < self.segment_bytes {
            self.volume.set_length(&*file, self.segment_bytes, "a segment's length")?;
        }
        let extents = self.extents(class);
        let map = Map { class, used: vec![0; extents.div_ceil(64) as usize], free: extents, hint: 0 };
        self.maps.lock().insert(id, map);
        // The process before may have left bytes in the page cache only.
        let dirty = AtomicBool::new(true);
        self.files.write().insert(id, Arc::new(SegmentFile { id, class, file, dirty }));
        Ok(())
    }

    fn extents(&self, class: u8) -> u32 {
        (self.segment_bytes / ((BLOCK_BYTES as u64) << class)) as u32
    }

    /// An extent for a chunk; `seed` spreads chunks over the lanes.
    pub fn allocate(&self, class: u8, seed: u64) -> Result<(ExtentAddress, Arc<SegmentFile>)> {
        let lane = (seed % LANES as u64) as u32;
        loop {
            if let Some(address) = self.take_free(class, lane) {
                return Ok((address, self.file(address.segment).expect("a mapped segment has a file")));
            }
            let _growing = self.growing.lock();
            if let Some(address) = self.take_free(class, lane) {
                return Ok((address, self.file(address.segment).expect("a mapped segment has a file")));
            }
            let id = {
                let maps = self.maps.lock();
                let lowest = maps.keys().next_back().map_or(0, |last| last + 1);
                (lowest..).find(|id| id % LANES as u32 == lane).expect("ids do not run out")
            };
            let file = self.volume.create(&name_of(id, class))?;
            self.add(id, class, file)?;
        }
    }

    fn take_free(&self, class: u8, lane: u32) -> Option<ExtentAddress> {
        let mut maps = self.maps.lock();
        let (id, map) = maps
            .iter_mut()
            .find(|(id, map)| map.class == class && map.free > 0 && **id % LANES as u32 == lane)?;
        let extents = self.extents(class);
        let extent =
            (map.hint..extents).find(|extent| map.used[(extent / 64) as usize] >> (extent % 64) & 1 == 0);
        let extent = extent.expect("a segment with free extents has one");
        map.used[(extent / 64) as usize] |= 1 << (extent % 64);
        map.free -= 1;
        map.hint = extent + 1;
        Some(ExtentAddress { segment: *id, extent })
    }

    /// Takes a particular extent: a chunk on the disk owns it.
    pub fn mark_used(&self, address: ExtentAddress) -> Result<()> {
        let mut maps = self.maps.lock();
        let extent = address.extent;
        let known = maps.get_mut(&address.segment).filter(|map| extent < self.extents(map.class));
        let Some(map) = known else {
            return Err(Error::new(Code::Corrupt, format!("{address:?} is named but not there")));
        };
        let (word, bit) = ((extent / 64) as usize, extent % 64);
        if map.used[word] >> bit & 1 == 1 {
            return Err(Error::new(Code::Corrupt, format!("{address:?} has two owners")));
        }
        map.used[word] |= 1 << bit;
        map.free -= 1;
        Ok(())
    }

    pub fn free(&self, address: ExtentAddress) {
        let mut maps = self.maps.lock();
        let map = maps.get_mut(&address.segment).expect("an extent that is freed has a segment");
        let (word, bit) = ((address.extent / 64) as usize, address.extent % 64);
        assert!(map.used[word] >> bit & 1 == 1, "{address:?} is freed twice");
        map.used[word] &= !(1 << bit);
        map.free += 1;
        map.hint = map.hint.min(address.extent);
    }

    pub fn is_used(&self, address: ExtentAddress) -> bool {
        let maps = self.maps.lock();
        maps.get(&address.segment)
            .is_some_and(|map| map.used[(address.extent / 64) as usize] >> (address.extent % 64) & 1 == 1)
    }

    pub fn used_extents(&self) -> usize {
        self.maps
            .lock()
            .values()
            .map(|map| map.used.iter().map(|word| word.count_ones() as usize).sum::<usize>())
            .sum()
    }

    pub fn file(&self, segment: u32) -> Option<Arc<SegmentFile>> {
        self.files.read().get(&segment).cloned()
    }

    pub fn all(&self) -> Vec<Arc<SegmentFile>> {
        self.files.read().values().cloned().collect()
    }

    /// Flushes every segment written since the last flush.
    pub fn flush(&self) -> Result<()> {
        let _one = self.flushing.lock();
        // After a flush that failed its segments count as clean here, and are not.
        self.volume.check()?;
        let dirty: Vec<Arc<SegmentFile>> = self
            .files
            .read()
            .values()
            .filter(|file| file.dirty.swap(false, Ordering::SeqCst))
            .cloned()
            .collect();
        let covered = if planted(Planted::FlushSkipsFile) { 1 } else { dirty.len() };
        for segment in dirty.iter().take(covered) {
            self.volume.flush(&*segment.file, "the flush of a segment")?;
        }
        Ok(())
    }

    /// Gives the blocks of everything that no chunk owns back to the file system: after a crash, punches may
    /// be missing.
    pub fn punch_free(&self) -> Result<()> {
        let mut ranges = Vec::new();
        for (id, map) in self.maps.lock().iter() {
            let extents = self.extents(map.class);
            let used = |extent: u32| map.used[(extent / 64) as usize] >> (extent % 64) & 1 == 1;
            let mut extent = 0;
            while extent < extents {
                let end = (extent..extents).find(|extent| used(*extent)).unwrap_or(extents);
                if end > extent {
                    ranges.push((*id, extent, end));
                }
                extent = end + 1;
            }
        }
        for (id, first, end) in ranges {
            let segment = self.file(id).expect("a mapped segment has a file");
            let (from, to) = (segment.offset(first, 0), segment.offset(end, 0));
            self.punch(&segment, from, to - from)?;
        }
        Ok(())
    }

    pub fn punch(&self, segment: &SegmentFile, offset: u64, length: u64) -> Result<()> {
        match segment.file.punch(offset, length) {
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(()),
            done => done.map_err(|error| self.volume.fail("the return of blocks", &error))?,
        }
        segment.mark_dirty();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Fault, MemoryDisk};
    use std::io::IoSlice;

    #[test]
    fn classes_hold_their_chunks() {
        for (chunk_size, class) in
            [(1, 0), (4096, 0), (4097, 1), (64 << 10, 4), (65 << 10, 5), (1 << 20, 8), (64 << 20, 14)]
        {
            assert_eq!(class_of(chunk_size), class, "{chunk_size}");
        }
    }

    #[test]
    fn an_extent_has_one_owner() {
        let volume = Arc::new(Volume::new(Arc::new(MemoryDisk::new(1 << 30))));
        let segments = Segments::open(volume.clone(), 1 << 20).unwrap();
        let mut taken: Vec<ExtentAddress> = (0..40).map(|_| segments.allocate(4, 0).unwrap().0).collect();
        taken.sort();
        taken.dedup();
        assert_eq!(taken.len(), 40);
        segments.free(taken[3]);
        assert_eq!(segments.allocate(4, 0).unwrap().0, taken[3]);
        let again = Segments::open(volume, 1 << 20).unwrap();
        again.mark_used(taken[0]).unwrap();
        assert_eq!(again.mark_used(taken[0]).unwrap_err().code, Code::Corrupt);
        assert_eq!(
            again.mark_used(ExtentAddress { segment: 999, extent: 0 }).unwrap_err().code,
            Code::Corrupt
        );
    }
    /// As a checkpoint does while the flush of another thread fails: the segments are not flushed because
    /// nobody marked them since.
    #[test]
    fn a_flush_after_a_failed_one_fails() {
        let disk = MemoryDisk::new(1 << 30);
        let segments = Segments::open(Arc::new(Volume::new(Arc::new(disk.clone()))), 1 << 20).unwrap();
        let (address, file) = segments.allocate(4, 0).unwrap();
        let write = || {
            let parts = [IoSlice::new(b"bytes")];
            segments.volume.write(&*file.file, &parts, file.offset(address.extent, 0), "a segment")
        };
        write().unwrap();
        file.mark_dirty();
        disk.fail_flush("segment-", Fault::Io);
        assert_eq!(segments.flush().unwrap_err().code, Code::TargetOffline);
        assert_eq!(segments.flush().unwrap_err().code, Code::TargetOffline);
        assert_eq!(write().unwrap_err().code, Code::TargetOffline);
    }
}
