//! What answers carry, and their bytes. `Data` is sent as the pieces it consists of, never joined.

use super::abi;
use super::directory::DirectoryList;
use bytes::Bytes;
use std::time::Duration;
use zerocopy::IntoBytes;

/// An inode under a name. The kernel keeps one more lookup on it, given back by FORGET.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub node: u64,
    pub attributes: abi::Attributes,
    pub entry_valid: Duration,
    pub attributes_valid: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct FileAttributes {
    pub attributes: abi::Attributes,
    pub valid: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Opened {
    pub handle: u64,
    /// `abi::opened`.
    pub flags: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Created {
    pub entry: Entry,
    pub opened: Opened,
}

/// One writev(2) takes 1,024 pieces; more than this many are joined.
const PIECES_MAX: usize = 512;

/// Bytes read; fewer than asked only at the end of the file.
#[derive(Clone, Debug, Default)]
pub struct Data(pub Vec<Bytes>);

#[derive(Clone, Copy, Debug)]
pub struct Written(pub u32);

#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    pub block_size: u32,
    pub blocks: u64,
    pub blocks_free: u64,
    pub files: u64,
    pub files_free: u64,
}

/// Something that can follow the header of a reply.
pub trait Answer {
    /// Calls `send` once with the pieces of the body.
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R;
}

impl Entry {
    pub(super) fn to_abi(self) -> abi::EntryOut {
        abi::EntryOut {
            node: self.node,
            generation: 0,
            entry_valid: self.entry_valid.as_secs(),
            attributes_valid: self.attributes_valid.as_secs(),
            entry_valid_ns: self.entry_valid.subsec_nanos(),
            attributes_valid_ns: self.attributes_valid.subsec_nanos(),
            attributes: self.attributes,
        }
    }
}

impl Opened {
    fn to_abi(self) -> abi::OpenOut {
        abi::OpenOut { handle: self.handle, open_flags: self.flags, padding: 0 }
    }
}

impl Answer for () {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[])
    }
}

impl Answer for Entry {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[self.to_abi().as_bytes()])
    }
}

impl Answer for FileAttributes {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        let out = abi::AttributesOut {
            valid: self.valid.as_secs(),
            valid_ns: self.valid.subsec_nanos(),
            padding: 0,
            attributes: self.attributes,
        };
        send(&[out.as_bytes()])
    }
}

impl Answer for Opened {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[self.to_abi().as_bytes()])
    }
}

impl Answer for Created {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[self.entry.to_abi().as_bytes(), self.opened.to_abi().as_bytes()])
    }
}

impl Answer for Data {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        match self.0.as_slice() {
            [one] => send(&[one]),
            many if many.len() > PIECES_MAX => send(&[&self.0.concat()]),
            many => send(&many.iter().map(|piece| &piece[..]).collect::<Vec<_>>()),
        }
    }
}

impl Answer for Bytes {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[self])
    }
}

impl Answer for Written {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[abi::WriteOut { size: self.0, padding: 0 }.as_bytes()])
    }
}

impl Answer for DirectoryList {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[self.as_bytes()])
    }
}

impl Answer for Statistics {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        let out = abi::StatFileSystemOut {
            blocks: self.blocks,
            blocks_free: self.blocks_free,
            blocks_available: self.blocks_free,
            files: self.files,
            files_free: self.files_free,
            block_size: self.block_size,
            name_max: wire::limits::NAME_BYTES_MAX as u32,
            fragment_size: self.block_size,
            ..Default::default()
        };
        send(&[out.as_bytes()])
    }
}

/// Answers of operations that only some file systems have: an offset (lseek), a lock (getlk).
impl Answer for abi::OffsetOut {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[self.as_bytes()])
    }
}

impl Answer for abi::FileLock {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        send(&[self.as_bytes()])
    }
}

/// An extended attribute's value, or only its size when the caller's buffer was empty.
impl Answer for Result<Bytes, abi::SizeOut> {
    fn with_pieces<R>(&self, send: impl FnOnce(&[&[u8]]) -> R) -> R {
        match self {
            Ok(value) => send(&[value]),
            Err(size) => send(&[size.as_bytes()]),
        }
    }
}
