//! Open directories: each keeps the page of entries that the service sent last, so that the kernel's small
//! requests do not each cost one of the service. An offset means the same for ever: the service's own, above
//! those of "." and "..".

use parking_lot::{Mutex, RwLock};
use rustix::io::Errno;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use wire::message::DirectoryEntry;

/// Entries fetched with one request: some 200 KiB with their attributes, as much as the kernel asks for at a
/// time.
pub const PAGE_ENTRIES: u32 = 1024;

/// Entries in the order of their offsets.
pub struct Page {
    /// The offset after which these entries come.
    pub after: u64,
    pub entries: Vec<DirectoryEntry>,
    /// Nothing comes after them.
    pub end: bool,
    pub plus: bool,
    pub fetched: Instant,
}

impl Page {
    /// The entries after `offset`, if this page knows where that is.
    pub fn rest(&self, offset: u64) -> Option<&[DirectoryEntry]> {
        if offset == self.after {
            return Some(&self.entries);
        }
        let position = self.entries.iter().position(|entry| entry.offset == offset)?;
        Some(&self.entries[position + 1..])
    }
}

#[derive(Default)]
pub struct DirectoryHandle {
    pub page: Mutex<Option<Page>>,
    /// For "..", once it is known.
    pub parent: AtomicU64,
}

#[derive(Default)]
pub struct DirectoryHandles {
    open: RwLock<HashMap<u64, Arc<DirectoryHandle>>>,
    last: AtomicU64,
}

impl DirectoryHandles {
    pub fn add(&self) -> u64 {
        let handle = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.write().insert(handle, Arc::default());
        handle
    }

    pub fn get(&self, handle: u64) -> Result<Arc<DirectoryHandle>, Errno> {
        self.open.read().get(&handle).cloned().ok_or(Errno::BADF)
    }

    pub fn remove(&self, handle: u64) {
        self.open.write().remove(&handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_where_it_is_told() {
        let entry = |offset| DirectoryEntry { offset, ..Default::default() };
        let entries = vec![entry(256), entry(512), entry(1024)];
        let page = Page { after: 128, entries, end: true, plus: false, fetched: Instant::now() };
        assert_eq!(page.rest(128).map(<[_]>::len), Some(3));
        assert_eq!(page.rest(256).map(<[_]>::len), Some(2));
        assert_eq!(page.rest(1024).map(<[_]>::len), Some(0));
        assert!(page.rest(300).is_none());
    }
}
