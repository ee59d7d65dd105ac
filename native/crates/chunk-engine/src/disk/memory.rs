//! A disk in memory that forgets: what was not flushed may be lost or torn when the power goes
//! (`after_power_loss`), and the n-th operation can be made to fail. Everything follows from the seed; two
//! runs are equal.

mod dice;
mod image;
mod survivors;

use super::{Block, Disk, DiskFile, DiskSpace};
pub use dice::Dice;
use image::{Change, Image, PAGE_BYTES, Page, written_pages};
use pages::Pages;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::ops::RangeInclusive;
use std::sync::Arc;
use survivors::{Fate, Survivors};

/// How `ignore_flushes` names the folder, whose flush covers creations and removals.
const FOLDER: &str = ".";

/// What happens to the operation that `fail_at` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This one fails with EIO. A failed flush also forgets what it should have kept: the pages count as clean,
    /// reads show what was written, and the medium does not have it.
    Io,
    /// As `Io`, but what a failed flush forgets is gone from the page cache too: reads show the old bytes.
    IoDropsPages,
    /// This one fails with ENOSPC.
    NoSpace,
    /// If it is a write, its first half is done, and then it fails with ENOSPC.
    Short,
    /// This and all later ones fail: the machine is off.
    PowerOff,
}

/// What remains of unflushed writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    LoseAll,
    /// The process died, the machine went on.
    KeepAll,
    /// So many of the changes, in the order in which they were made, and half of the next.
    First(u64),
    /// Some of the changes, in their order, and of the next each sector or not.
    Torn(u64),
    /// All but this one of them (the first is 0): later ones overtook it.
    AllBut(u64),
    /// Each write whole, in part, or not at all, independently of the others (so also out of order).
    Random(u64),
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Image,
    durable: Image,
    /// With their place in the order of all changes of the disk.
    unflushed: Vec<(u64, Change)>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(String, usize),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    unflushed_names: Vec<(u64, NameChange)>,
    changes: u64,
    capacity: u64,
    used_pages: u64,
    operations: u64,
    /// Those of them that a full disk may refuse.
    room_takers: Vec<u64>,
    fault: Option<(u64, Fault)>,
    medium_bytes: u64,
    ignored_flushes: Option<String>,
    /// Prefix of names, and what happens to the next flush of such a file.
    flush_fault: Option<(String, Fault)>,
}

/// Clones share the disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl Content {
    fn after(&self, survivors: &mut Survivors) -> Image {
        let mut image = self.durable.clone();
        for (place, change) in &self.unflushed {
            match (survivors.fate(*place), change) {
                (Fate::Lost, _) => {}
                (Fate::FirstHalf, Change::Write { offset, data }) => {
                    image.write_torn(*offset, data, |start| start < data.len() / 2);
                }
                (Fate::FirstHalf, _) => {}
                (Fate::Torn, Change::Write { offset, data }) => {
                    image.write_torn(*offset, data, |_| survivors.dice.roll(2) == 0);
                }
                (Fate::Whole | Fate::Torn, change) => image.apply(change),
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
            Some((at, Fault::Io | Fault::IoDropsPages)) if self.operations == at => {
                Err(Error::from_raw_os_error(5))
            }
            Some((at, Fault::NoSpace)) if self.operations == at => Err(Error::from_raw_os_error(28)),
            _ => Ok(()),
        }
    }

    fn is_short_now(&self) -> bool {
        matches!(self.fault, Some((at, Fault::Short)) if self.operations == at)
    }

    fn next_place(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    fn is_named(&self, file: usize, prefix: &str) -> bool {
        self.names.iter().any(|(name, named)| *named == file && name.starts_with(prefix))
    }

    fn ignores_flushes_of(&self, file: usize) -> bool {
        self.ignored_flushes.as_ref().is_some_and(|prefix| self.is_named(file, prefix))
    }

    /// The error of the medium that the flush that just began meets.
    fn fault_of_flush(&mut self, file: usize) -> Option<Fault> {
        let chosen = self.flush_fault.as_ref().is_some_and(|(prefix, _)| self.is_named(file, prefix));
        match chosen {
            true => self.flush_fault.take().map(|(_, fault)| fault),
            false => self.fault.filter(|(at, _)| *at == self.operations).map(|(_, fault)| fault),
        }
    }

    /// The pages that these changes wrote are as the medium has them.
    fn drop_pages(&mut self, file: usize, changes: &[(u64, Change)]) {
        let content = &mut self.files[file];
        let before = content.now.pages.len() as u64;
        for page in written_pages(changes.iter().map(|(_, change)| change)) {
            match content.durable.pages.get(&page) {
                Some(kept) => drop(content.now.pages.insert(page, kept.clone())),
                None => drop(content.now.pages.remove(&page)),
            }
        }
        self.used_pages = self.used_pages + content.now.pages.len() as u64 - before;
    }

    fn flip(&mut self, name: &str, offset: u64, bit: u8, image: fn(&mut Content) -> &mut Image) -> bool {
        let Some(file) = self.names.get(name).copied() else { return false };
        let page = image(&mut self.files[file]).pages.get_mut(&(offset / PAGE_BYTES));
        page.map(|page| Arc::make_mut(page)[(offset % PAGE_BYTES) as usize] ^= 1 << bit).is_some()
    }

    fn powered_off_now(&self) -> bool {
        matches!(self.fault, Some((at, Fault::PowerOff)) if self.operations == at)
    }

    fn change(&mut self, file: usize, mut change: Change) -> Result<()> {
        let started = self.begin();
        if let Change::Write { .. } = change {
            self.room_takers.push(self.operations);
        }
        let (short, powered_off) = (self.is_short_now(), self.powered_off_now());
        let started = match &mut change {
            Change::Write { data, .. } if short => {
                data.truncate(data.len() / 2);
                Err(Error::from_raw_os_error(28))
            }
            _ if started.is_err() && !powered_off => return started,
            _ => started,
        };
        let place = self.next_place();
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
        content.unflushed.push((place, change));
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

    /// The next flush of a file whose name begins so (any: "") fails.
    pub fn fail_flush(&self, prefix: &str, fault: Fault) {
        self.0.lock().flush_fault = Some((prefix.to_string(), fault));
    }

    /// What `fail_at` and `fail_flush` asked for does not happen any more.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        (state.fault, state.flush_fault) = (None, None);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// The numbers of those that wrote or created: the only ones that a full disk refuses.
    pub fn room_takers(&self) -> Vec<u64> {
        self.0.lock().room_takers.clone()
    }

    /// Bytes that flushes wrote to the medium so far, in whole pages: what a page cache makes of the writes.
    pub fn medium_bytes(&self) -> u64 {
        self.0.lock().medium_bytes
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.0.lock().capacity = capacity;
    }

    /// From now on flushes of files whose names begin so (all of them: ""; the folder itself: ".") say that
    /// they worked and do nothing: a bug for tests to find.
    pub fn ignore_flushes(&self, prefix: &str) {
        self.0.lock().ignored_flushes = Some(prefix.to_string());
    }

    /// Changes that no flush covers.
    pub fn unflushed(&self) -> u64 {
        let state = self.0.lock();
        let changes: usize = state.files.iter().map(|file| file.unflushed.len()).sum();
        (changes + state.unflushed_names.len()) as u64
    }

    /// The disk as the next start of the machine (or process) finds it. This one stays as it is.
    pub fn after(&self, crash: Crash) -> MemoryDisk {
        let state = self.0.lock();
        let changes = state.files.iter().flat_map(|file| file.unflushed.iter().map(|(place, _)| *place));
        let mut order: Vec<u64> =
            changes.chain(state.unflushed_names.iter().map(|(place, _)| *place)).collect();
        order.sort_unstable();
        let mut survivors = Survivors::new(crash, order);
        let kept_names = survivors.names(&state.unflushed_names);
        let mut names = state.durable_names.clone();
        for (_, change) in &state.unflushed_names[..kept_names] {
            match change {
                NameChange::Create(name, file) => drop(names.insert(name.clone(), *file)),
                NameChange::Remove(name) => drop(names.remove(name)),
            }
        }
        let ignored_flushes = state.ignored_flushes.clone();
        let mut next = State { capacity: state.capacity, ignored_flushes, ..State::default() };
        for (name, file) in names {
            let image = state.files[file].after(&mut survivors);
            next.used_pages += image.pages.len() as u64;
            next.names.insert(name, next.files.len());
            next.files.push(Content { now: image.clone(), durable: image, unflushed: Vec::new() });
        }
        next.durable_names = next.names.clone();
        MemoryDisk(Arc::new(Mutex::new(next)))
    }

    /// Another disk that is as this one is now, page cache and all.
    pub fn fork(&self) -> MemoryDisk {
        MemoryDisk(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    /// Inverts one bit of a file, on the medium too. `false` if no byte was ever written there.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> bool {
        let medium = self.rot_bit(name, offset, bit);
        self.0.lock().flip(name, offset, bit, |content| &mut content.now) | medium
    }

    /// The same on the medium alone: the page cache hides it. `false` if no flush covered a byte there.
    pub fn rot_bit(&self, name: &str, offset: u64, bit: u8) -> bool {
        self.0.lock().flip(name, offset, bit, |content| &mut content.durable)
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
        let number = state.operations;
        state.room_takers.push(number);
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.names.insert(name.to_string(), file);
        let place = state.next_place();
        state.unflushed_names.push((place, NameChange::Create(name.to_string(), file)));
        Ok(self.file(file))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.0.lock();
        state.begin()?;
        let file = state.names.remove(name).ok_or(ErrorKind::NotFound)?;
        state.used_pages -= state.files[file].now.pages.len() as u64;
        let place = state.next_place();
        state.unflushed_names.push((place, NameChange::Remove(name.to_string())));
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
        if state.ignored_flushes.as_deref() == Some(FOLDER) {
            return Ok(());
        }
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

    fn read_medium(&self, into: &mut [Block], offset: u64) -> Result<usize> {
        let mut state = self.disk.0.lock();
        state.begin()?;
        let content = &state.files[self.file];
        let mut medium = content.durable.clone();
        content.unflushed.iter().for_each(|(_, change)| medium.apply(change));
        Ok(medium.read(&mut [IoSliceMut::new(Block::bytes_of_mut(into))], offset))
    }

    fn share(&self, offset: u64, length: usize, pages: &mut Pages) -> Result<usize> {
        let mut bytes = vec![0; length];
        let count = self.read_at(&mut [IoSliceMut::new(&mut bytes)], offset)?;
        pages.copy_in(&bytes[..count])?;
        Ok(count)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> Result<()> {
        let mut data = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| data.extend_from_slice(part));
        self.disk.0.lock().change(self.file, Change::Write { offset, data })
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.disk.0.lock();
        let mut started = state.begin();
        let fault = state.fault_of_flush(self.file);
        if matches!(fault, Some(Fault::Io | Fault::IoDropsPages)) {
            started = Err(Error::from_raw_os_error(5));
        }
        if state.ignores_flushes_of(self.file) {
            return started;
        }
        let content = &mut state.files[self.file];
        let changes = std::mem::take(&mut content.unflushed);
        match (&started, fault) {
            (Ok(()), _) => changes.iter().for_each(|(_, change)| content.durable.apply(change)),
            // An error of the medium: the pages count as clean now, and nothing says what was kept. Lengths and
            // holes are the file system's own: it keeps them, or ends.
            (Err(_), Some(fault @ (Fault::Io | Fault::IoDropsPages))) => {
                let is_page = |change: &Change| matches!(change, Change::Write { .. });
                let kept = changes.iter().filter(|(_, change)| !is_page(change));
                kept.for_each(|(_, change)| content.durable.apply(change));
                if fault == Fault::IoDropsPages {
                    state.drop_pages(self.file, &changes);
                }
            }
            (Err(_), _) => content.unflushed = changes.clone(),
        }
        let pages = written_pages(changes.iter().map(|(_, change)| change)).len() as u64;
        state.medium_bytes += pages * PAGE_BYTES;
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

    fn allocated(&self) -> Result<RangeInclusive<u64>> {
        let state = self.disk.0.lock();
        let bytes = state.files[self.file].now.pages.len() as u64 * PAGE_BYTES;
        Ok(bytes..=bytes)
    }
}
