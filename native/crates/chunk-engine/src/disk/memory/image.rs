//! What one file of the in-memory disk contains, and the changes that make it so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::sync::Arc;

pub(super) const PAGE_BYTES: u64 = 4096;
/// What a real disk writes as one: a lost write is lost in these units.
pub(super) const SECTOR_BYTES: usize = 512;

pub(super) type Page = Arc<[u8; PAGE_BYTES as usize]>;

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub pages: BTreeMap<u64, Page>,
    pub length: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: u64, data: Vec<u8> },
    Length(u64),
    Punch { offset: u64, length: u64 },
}

/// Pages that the changes wrote to, each once.
pub(super) fn written_pages<'a>(changes: impl Iterator<Item = &'a Change>) -> BTreeSet<u64> {
    let mut pages = BTreeSet::new();
    for change in changes {
        if let Change::Write { offset, data } = change {
            pages.extend(offset / PAGE_BYTES..(offset + data.len() as u64).div_ceil(PAGE_BYTES));
        }
    }
    pages
}

impl Image {
    pub fn write(&mut self, offset: u64, data: &[u8]) {
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

    pub fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.pages.split_off(&length.div_ceil(PAGE_BYTES));
            let within = (length % PAGE_BYTES) as usize;
            if let Some(page) = self.pages.get_mut(&(length / PAGE_BYTES)).filter(|_| within != 0) {
                Arc::make_mut(page)[within..].fill(0);
            }
        }
        self.length = length;
    }

    pub fn punch(&mut self, offset: u64, length: u64) {
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

    /// Writes those sectors of `data` that `keep` says.
    pub fn write_torn(&mut self, offset: u64, data: &[u8], mut keep: impl FnMut(usize) -> bool) {
        let mut start = 0;
        while start < data.len() {
            let boundary = SECTOR_BYTES - ((offset as usize + start) % SECTOR_BYTES);
            let end = (start + boundary).min(data.len());
            if keep(start) {
                self.write(offset + start as u64, &data[start..end]);
            }
            start = end;
        }
    }

    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { offset, data } => self.write(*offset, data),
            Change::Length(length) => self.set_length(*length),
            Change::Punch { offset, length } => self.punch(*offset, *length),
        }
    }

    pub fn read(&self, parts: &mut [IoSliceMut<'_>], offset: u64) -> usize {
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
