//! One page of a directory in the kernel's form. Never longer than the kernel asked for: it refuses the whole
//! reply then.

use super::abi;
use super::answer::Entry;
use zerocopy::IntoBytes;

#[derive(Debug)]
pub struct DirectoryList {
    bytes: Vec<u8>,
    limit_bytes: usize,
    plus: bool,
}

impl DirectoryList {
    /// `plus`: each entry carries its attributes, and counts as a lookup.
    pub fn new(limit_bytes: u32, plus: bool) -> Self {
        DirectoryList {
            bytes: Vec::with_capacity(limit_bytes as usize),
            limit_bytes: limit_bytes as usize,
            plus,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds an entry; false if there is no room left (then it is not added). `offset` is where the next entry
    /// starts. With `plus`, no `entry` means that the kernel learns nothing about the inode: that is how "."
    /// and ".." go.
    pub fn push(&mut self, inode: u64, offset: u64, mode: u32, name: &[u8], entry: Option<Entry>) -> bool {
        let head = if self.plus { size_of::<abi::EntryOut>() } else { 0 };
        let length = (head + size_of::<abi::DirectoryEntry>() + name.len()).next_multiple_of(8);
        if self.bytes.len() + length > self.limit_bytes {
            return false;
        }
        let end = self.bytes.len() + length;
        if self.plus {
            let entry = entry.map(Entry::to_abi).unwrap_or_default();
            self.bytes.extend_from_slice(entry.as_bytes());
        }
        let kind = (mode >> 12) & 0o17;
        let directory_entry = abi::DirectoryEntry { inode, offset, name_length: name.len() as u32, kind };
        self.bytes.extend_from_slice(directory_entry.as_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.resize(end, 0);
        true
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_bounded() {
        let mut list = DirectoryList::new(64, false);
        assert!(list.push(5, 1, 0o040755, b"ab", None));
        assert!(list.push(6, 2, 0o100644, b"12345678", None));
        assert!(!list.push(7, 3, 0o100644, b"", None), "64 bytes are full");
        let bytes = list.as_bytes();
        assert_eq!(bytes.len(), 64);
        assert_eq!(bytes[..8], 5u64.to_ne_bytes());
        assert_eq!(bytes[20..24], 4u32.to_ne_bytes(), "DT_DIR");
        assert_eq!(&bytes[24..32], b"ab\0\0\0\0\0\0");
        assert_eq!(bytes[32..40], 6u64.to_ne_bytes());
        assert_eq!(&bytes[56..64], b"12345678");
    }

    #[test]
    fn a_plus_entry_without_attributes_has_node_zero() {
        let mut list = DirectoryList::new(4096, true);
        assert!(list.push(5, 1, 0o040755, b".", None));
        assert_eq!(list.as_bytes().len(), 128 + 32);
        assert_eq!(list.as_bytes()[..8], [0; 8]);
    }
}
