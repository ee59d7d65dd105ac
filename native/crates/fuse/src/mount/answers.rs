//! The service's inodes in the kernel's form.

use super::volume::Volume;
use crate::protocol::abi::Attributes;
use crate::protocol::{Entry, FileAttributes};
use std::time::Instant;
use wire::message::{FileType, Inode};

/// Programs read and write in pieces of this size at least (cp, cat, stdio): one request of the kernel.
const BLOCK_BYTES_MAX: u32 = 1 << 20;

pub fn type_bits(kind: FileType) -> u32 {
    match kind {
        FileType::FileRegular => 0o100_000,
        FileType::FileDirectory => 0o040_000,
        FileType::FileSymlink => 0o120_000,
        FileType::FileFifo => 0o010_000,
        FileType::FileSocket => 0o140_000,
        FileType::FileCharacter => 0o020_000,
        FileType::FileBlock => 0o060_000,
    }
}

/// `None`: a file type that this release does not know.
pub fn file_type(mode: u32) -> Option<FileType> {
    let types = [
        FileType::FileRegular,
        FileType::FileDirectory,
        FileType::FileSymlink,
        FileType::FileFifo,
        FileType::FileSocket,
        FileType::FileCharacter,
        FileType::FileBlock,
    ];
    // mknod(2): no type means a regular file.
    let bits = if mode & 0o170_000 == 0 { 0o100_000 } else { mode & 0o170_000 };
    types.into_iter().find(|&kind| type_bits(kind) == bits)
}

fn attributes(inode: &Inode) -> Attributes {
    let chunk = inode.layout.as_ref().map_or(4096, |layout| layout.chunk_size);
    let mut attributes = Attributes {
        inode: inode.id,
        size: inode.length,
        blocks: inode.blocks_bytes.div_ceil(512),
        mode: type_bits(inode.r#type()) | inode.mode & 0o7777,
        nlink: inode.nlink,
        uid: inode.uid,
        gid: inode.gid,
        device: inode.device,
        block_size: chunk.clamp(4096, BLOCK_BYTES_MAX),
        ..Default::default()
    };
    if inode.r#type() == FileType::FileSymlink {
        attributes.size = inode.symlink.len() as u64;
    }
    attributes.set_times(inode.atime_ns, inode.mtime_ns, inode.ctime_ns);
    attributes
}

impl Volume {
    /// Whatever is made into an answer here is what the kernel knows from now on.
    pub fn entry(&self, inode: &Inode) -> Entry {
        self.view.told(inode, Instant::now());
        Entry {
            node: self.swap_root(inode.id),
            attributes: attributes(inode),
            entry_valid: self.valid,
            attributes_valid: self.valid,
        }
    }

    pub fn file_attributes(&self, inode: &Inode) -> FileAttributes {
        self.view.told(inode, Instant::now());
        FileAttributes { attributes: attributes(inode), valid: self.valid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::message::Layout;

    #[test]
    fn modes_and_types_go_both_ways() {
        for mode in [0o100_644, 0o040_755, 0o120_777, 0o010_600, 0o140_600, 0o020_660, 0o060_660] {
            let kind = file_type(mode).expect("a type");
            assert_eq!(type_bits(kind), mode & 0o170_000);
        }
        assert_eq!(file_type(0o644), Some(FileType::FileRegular));
        assert_eq!(file_type(0o170_644), None);
    }

    #[test]
    fn attributes_are_those_of_the_inode() {
        let layout = Layout { chunk_size: 64 << 20, ..Default::default() };
        let inode = Inode {
            id: 77,
            mode: 0o4755,
            nlink: 2,
            length: 1000,
            blocks_bytes: 4096,
            mtime_ns: -1,
            layout: Some(layout),
            ..Default::default()
        };
        let made = attributes(&inode);
        assert_eq!((made.inode, made.size, made.blocks, made.mode), (77, 1000, 8, 0o104_755));
        assert_eq!((made.mtime.cast_signed(), made.mtime_ns), (-1, 999_999_999));
        assert_eq!(made.block_size, BLOCK_BYTES_MAX);
    }

    #[test]
    fn a_links_size_is_its_targets() {
        let inode =
            Inode { r#type: FileType::FileSymlink as i32, symlink: "abc".into(), ..Default::default() };
        assert_eq!(attributes(&inode).size, 3);
    }
}
