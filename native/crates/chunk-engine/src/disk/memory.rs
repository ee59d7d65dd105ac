//! A disk in memory that forgets: what was not flushed may be lost or torn when the power goes
//! (`after_power_loss`), and the n-th operation can be made to fail. Everything follows from the seed; two
//! runs are equal.

use super::{Disk, DiskFile, DiskSpace};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::sync::Arc;

const PAGE_BYTES: u64 = 4096;
/// What a real disk writes as one: a lost write is lost in these units.
const SECTOR_BYTES: usize = 512;

/// What happens to the operation that `fail_at` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This one fails with EIO; a failed flush also forgets what it should have kept, as Linux does.
    Io,
    /// This one fails with ENOSPC.
    NoSpace,
    /// This and all later ones fail: the machine is off.
    PowerOff,
}

/// What remains of unflushed writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    LoseAll,
    /// The process died, the machine went on.
    KeepAll,
    /// Each write whole, in part, or not at all, independently of the others (so also out of order).
    Random(u64),
}

type Page = Arc<[u8; PAGE_BYTES as usize]>;

#[derive(Clone, Debug, Default)]
struct Image {
    pages: BTreeMap<u64, Page>,
    length: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    Length(u64),
    Punch { offset: u64, length: u64 },
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Image,
    durable: Image,
    unflushed: Vec<Change>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Remove(String),
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unflushed_names: Vec<NameChange>,
    capacity: u64,
    used_pages: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
}

/// Clones share the disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

/// SplitMix64: a seed is enough for what tests need.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}

impl Image {
    fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let position = offset + done as u64;
            let within = (position % PAGE_BYTES) as usize;
            let count = (PAGE_BYTES as usize - within).min(data.len() - done);
            let page =
                self.pages.entry(position / PAGE_BYTES).or_insert_with(|| Arc::new([0; PAGE_BYTES as usize]));
            Arc::make_mut(page)[within..within + count].copy_from_slice(&data[done..done + count]);
            done += count;
        }
        self.length = self.length.max(offset + data.len() as u64);
    }

    fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(PAGE_BYTES));
            let within = (length % PAGE_BYTES) as usize;
            if let Some(page) = self.pages.get_mut(&(length / PAGE_BYTES)).filter(|_| within != 0) {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.length = length;
    }

    fn punch(&mut self, offset: u64, length: u64) {
        let end = offset + length;
        let (first, last) = (offset.div_ceil(PAGE_BYTES), end / PAGE_BYTES);
        for (edge, from, to) in [
            (offset / PAGE_BYTES, offset, end.min(first * PAGE_BYTES)),
            (end / PAGE_BYTES, offset.max(last * PAGE_BYTES), end),
        ] {
            if let Some(page) = self.pages.get_mut(&edge).filter(|_| from < to) {
                let start = edge * PAGE_BYTES;
                Arc::make_mut(page)[(from - start) as usize..(to - start) as usize].fill(0);
            }
        }
        if first < last {
            let inside: Vec<u64> = self.pages.range(first..last).map(|(page, _)| *page).collect();
            for page in inside {
                self.pages.remove(&page);
            }
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, data } => self.write(*offset, data),
            Change::Length(length) => self.set_length(*length),
            Change::Punch { offset, length } => self.punch(*offset, *length),
        }
    }

    fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> usize {
        let mut position = offset;
        for part in parts {
            let count = (part.len() as u64).min(self.length.saturating_sub(position)) as usize;
            let mut done = 0;
            while done < count {
                let within = ((position + done as u64) % PAGE_BYTES) as usize;
                let step = (PAGE_BYTES as usize - within).min(count - done);
                match self.pages.get(&((position + done as u64) / PAGE_BYTES)) {
                    Some(page) => part[done..done + step].copy_from_slice(&page[within..within + step]),
                    None => part[done..done + step].fill(0),
                }
                done += step;
            }
            position += count as u64;
            if count < part.len() {
                break;
            }
        }
        (position - offset) as usize
    }
}

impl Content {
    fn after(&self, crash: Crash, dice: &mut Dice) -> Image {
        let mut image = self.durable.clone();
        for change in &self.unflushed {
            let (keep, tear) = match crash {
                Crash::LoseAll => (false, false),
                Crash::KeepAll => (true, false),
                Crash::Random(_) => (dice.roll(2) == 0, dice.roll(3) == 0),
            };
            match change {
                Change::Write { offset, data } if keep && tear => {
                    let mut start = 0;
                    while start < data.len() {
                        let boundary = SECTOR_BYTES - ((*offset as usize + start) % SECTOR_BYTES);
                        let end = (start + boundary).min(data.len());
                        if dice.roll(2) == 0 {
                            image.write(offset + start as u64, &data[start..end]);
                        }
                        start = end;
                    }
                }
                change if keep => image.apply(change),
                _ => {}
            }
        }
        image
    }
}

impl State {
    /// Counts the operation; the error it must fail with.
    fn begin(&mut self) -> Result<()> {
        self.operations += 1;
        match self.fault {
            Some((at, Fault::PowerOff)) if self.operations >= at => Err(Error::from_raw_os_error(5)),
            Some((at, Fault::Io)) if self.operations == at => Err(Error::from_raw_os_error(5)),
            Some((at, Fault::NoSpace)) if self.operations == at => Err(Error::from_raw_os_error(28)),
            _ => Ok(()),
        }
    }

    fn powered_off_now(&self) -> bool {
        matches!(self.fault, Some((at, Fault::PowerOff)) if self.operations == at)
    }

    fn change(&mut self, file: usize, change: Change) -> Result<()> {
        let started = self.begin();
        if started.is_err() && !self.powered_off_now() {
            return started;
        }
        let content = &mut self.files[file];
        let before = content.now.pages.len() as u64;
        if let Change::Write { offset, data } = &change {
            let (first, last) = (offset / PAGE_BYTES, (offset + data.len() as u64).div_ceil(PAGE_BYTES));
            let present = content.now.pages.range(first..last.max(first)).count() as u64;
            if (self.used_pages + (last - first) - present) * PAGE_BYTES > self.capacity {
                return Err(Error::from_raw_os_error(28));
            }
        }
        content.now.apply(&change);
        self.used_pages = self.used_pages + content.now.pages.len() as u64 - before;
        content.unflushed.push(change);
        started
    }
}

impl MemoryDisk {
    pub fn new(capacity: u64) -> MemoryDisk {
        MemoryDisk(Arc::new(Mutex::new(State { capacity, ..State::default() })))
    }

    /// The `n`-th operation from now on (1 = the next) fails.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        let mut state = self.0.lock();
        state.fault = Some((state.operations + n, fault));
    }

    /// What `fail_at` asked for does not happen any more.
    pub fn heal(&self) {
        self.0.lock().fault = None;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.0.lock().capacity = capacity;
    }

    /// The disk as the next start of the machine (or process) finds it. This one stays as it is.
    pub fn after(&self, crash: Crash) -> MemoryDisk {
        let state = self.0.lock();
        let mut dice = Dice(if let Crash::Random(seed) = crash { seed } else { 0 });
        let kept_names = match crash {
            Crash::LoseAll => 0,
            Crash::KeepAll => state.unflushed_names.len(),
            Crash::Random(_) => dice.roll(state.unflushed_names.len() as u64 + 1) as usize,
        };
        let mut names = state.durable_names.clone();
        for change in &state.unflushed_names[..kept_names] {
            match change {
                NameChange::Create(name, file) => drop(names.insert(name.clone(), *file)),
                NameChange::Remove(name) => drop(names.remove(name)),
            }
        }
        let mut next = State { capacity: state.capacity, ..State::default() };
        for (name, file) in names {
            let image = state.files[file].after(crash, &mut dice);
            next.used_pages += image.pages.len() as u64;
            next.names.insert(name, next.files.len());
            next.files.push(Content { now: image.clone(), durable: image, unflushed: Vec::new() });
        }
        next.durable_names = next.names.clone();
        MemoryDisk(Arc::new(Mutex::new(next)))
    }

    /// Inverts one bit of a file, on the medium too. `false` if no byte was ever written there.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> bool {
        let mut state = self.0.lock();
        let Some(file) = state.names.get(name).copied() else { return false };
        let content = &mut state.files[file];
        let mut flipped = false;
        for image in [&mut content.now, &mut content.durable] {
            if let Some(page) = image.pages.get_mut(&(offset / PAGE_BYTES)) {
                Arc::make_mut(page)[(offset % PAGE_BYTES) as usize] ^= 1 << bit;
                flipped = true;
            }
        }
        flipped
    }

    /// First bytes of the pages that hold anything, for tests that damage them.
    pub fn written_pages(&self, name: &str) -> Vec<u64> {
        let state = self.0.lock();
        let Some(file) = state.names.get(name) else { return Vec::new() };
        state.files[*file].now.pages.keys().map(|page| page * PAGE_BYTES).collect()
    }

    fn file(&self, file: usize) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile { disk: self.clone(), file })
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        let mut state = self.0.lock();
        state.begin()?;
        Ok(state.names.get(name).map(|file| self.file(*file)))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock();
        state.begin()?;
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.names.insert(name.to_string(), file);
        state.unflushed_names.push(NameChange::Create(name.to_string(), file));
        Ok(self.file(file))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        let file = state.names.remove(name).ok_or(ErrorKind::NotFound)?;
        state.used_pages -= state.files[file].now.pages.len() as u64;
        state.unflushed_names.push(NameChange::Remove(name.to_string()));
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>> {
        let mut state = self.0.lock();
        state.begin()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn flush_names(&self) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        state.durable_names = state.names.clone();
        state.unflushed_names.clear();
        Ok(())
    }

    fn space(&self) -> Result<DiskSpace> {
        let mut state = self.0.lock();
        state.begin()?;
        let free = state.capacity.saturating_sub(state.used_pages * PAGE_BYTES);
        Ok(DiskSpace { capacity: state.capacity, free })
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> Result<usize> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        Ok(state.files[self.file].now.read(parts, offset))
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let data = parts.iter().flat_map(|part| part.iter().copied()).collect();
        self.disk.0.lock().change(self.file, Change::Write { offset, data })
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.disk.0.lock();
        let started = state.begin();
        let io_error = matches!(state.fault, Some((_, Fault::Io)));
        let content = &mut state.files[self.file];
        let changes = std::mem::take(&mut content.unflushed);
        match &started {
            Ok(()) => changes.iter().for_each(|change| content.durable.apply(change)),
            // An error of the medium: the pages count as clean now, and nothing says what was kept.
            Err(_) if io_error => {}
            Err(_) => content.unflushed = changes,
        }
        started
    }

    fn allocate(&self, offset: u64, length: u64) -> Result<()> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        let (first, last) = (offset / PAGE_BYTES, (offset + length).div_ceil(PAGE_BYTES));
        let present = state.files[self.file].now.pages.range(first..last).count() as u64;
        if (state.used_pages + (last - first) - present) * PAGE_BYTES > state.capacity {
            return Err(Error::from_raw_os_error(28));
        }
        state.used_pages += last - first - present;
        let zero: Page = Arc::new([0; PAGE_BYTES as usize]);
        let content = &mut state.files[self.file];
        for page in first..last {
            content.now.pages.entry(page).or_insert_with(|| zero.clone());
        }
        Ok(())
    }

    fn punch(&self, offset: u64, length: u64) -> Result<()> {
        self.disk.0.lock().change(self.file, Change::Punch { offset, length })
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.disk.0.lock().change(self.file, Change::Length(length))
    }

    fn length(&self) -> Result<u64> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        Ok(state.files[self.file].now.length)
    }
}
