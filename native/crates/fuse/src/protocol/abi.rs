//! The structures and numbers of the kernel's header, name by name. Every structure is made of explicit
//! fields without hidden padding, so that it can be read from and written to bytes without `unsafe`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const MAJOR: u32 = 7;
/// The newest minor version whose meaning this code knows; newer features are separate INIT flags.
pub const MINOR: u32 = 40;
pub const ROOT: u64 = 1;
/// Set in `unique` of an INTERRUPT itself.
pub const INTERRUPT_BIT: u64 = 1;

macro_rules! structures {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub struct $name { $(pub $field: $kind),* })*
    };
}

structures! {
    InHeader { len: u32, opcode: u32, unique: u64, node: u64, uid: u32, gid: u32, pid: u32, total_extension_units: u16,
        padding: u16 }
    OutHeader { len: u32, error: i32, unique: u64 }
    /// What stat(2) shows.
    Attributes { inode: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64, atime_ns: u32, mtime_ns: u32,
        ctime_ns: u32, mode: u32, nlink: u32, uid: u32, gid: u32, device: u32, block_size: u32, flags: u32 }
    EntryOut { node: u64, generation: u64, entry_valid: u64, attributes_valid: u64, entry_valid_ns: u32,
        attributes_valid_ns: u32, attributes: Attributes }
    AttributesOut { valid: u64, valid_ns: u32, padding: u32, attributes: Attributes }
    OpenOut { handle: u64, open_flags: u32, padding: u32 }
    WriteOut { size: u32, padding: u32 }
    StatFileSystemOut { blocks: u64, blocks_free: u64, blocks_available: u64, files: u64, files_free: u64,
        block_size: u32, name_max: u32, fragment_size: u32, padding: u32, spare: [u32; 6] }
    SizeOut { size: u32, padding: u32 }
    OffsetOut { offset: u64 }
    FileLock { start: u64, end: u64, kind: u32, pid: u32 }

    ForgetIn { lookups: u64 }
    ForgetOne { node: u64, lookups: u64 }
    BatchForgetIn { count: u32, padding: u32 }
    GetAttributesIn { flags: u32, padding: u32, handle: u64 }
    SetAttributesIn { valid: u32, padding: u32, handle: u64, size: u64, lock_owner: u64, atime: u64, mtime: u64,
        ctime: u64, atime_ns: u32, mtime_ns: u32, ctime_ns: u32, mode: u32, unused: u32, uid: u32, gid: u32,
        unused_end: u32 }
    MakeNodeIn { mode: u32, device: u32, umask: u32, padding: u32 }
    MakeDirectoryIn { mode: u32, umask: u32 }
    RenameIn { new_parent: u64 }
    Rename2In { new_parent: u64, flags: u32, padding: u32 }
    LinkIn { node: u64 }
    OpenIn { flags: u32, open_flags: u32 }
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32 }
    ReleaseIn { handle: u64, flags: u32, release_flags: u32, lock_owner: u64 }
    FlushIn { handle: u64, unused: u32, padding: u32, lock_owner: u64 }
    ReadIn { handle: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32 }
    WriteIn { handle: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32 }
    SyncIn { handle: u64, flags: u32, padding: u32 }
    SetXattrIn { size: u32, flags: u32 }
    GetXattrIn { size: u32, padding: u32 }
    LockIn { handle: u64, owner: u64, lock: FileLock, lock_flags: u32, padding: u32 }
    AccessIn { mask: u32, padding: u32 }
    InterruptIn { unique: u64 }
    IoctlIn { handle: u64, flags: u32, command: u32, argument: u64, in_size: u32, out_size: u32 }
    FallocateIn { handle: u64, offset: u64, length: u64, mode: u32, padding: u32 }
    SeekIn { handle: u64, offset: u64, whence: u32, padding: u32 }
    CopyRangeIn { handle_in: u64, offset_in: u64, node_out: u64, handle_out: u64, offset_out: u64, length: u64,
        flags: u64 }
    /// Kernels before 7.36 send only the first four fields.
    InitIn { major: u32, minor: u32, readahead_max: u32, flags: u32 }
    InitOut { major: u32, minor: u32, readahead_max: u32, flags: u32, background_max: u16, congestion_threshold: u16,
        write_max: u32, time_granularity: u32, pages_max: u16, map_alignment: u16, flags2: u32, unused: [u32; 7] }
    DirectoryEntry { inode: u64, offset: u64, name_length: u32, kind: u32 }
    InvalidateInodeOut { node: u64, offset: i64, length: i64 }
    InvalidateEntryOut { parent: u64, name_length: u32, flags: u32 }
}

/// Bits of `SetAttributesIn::valid`.
pub mod set_attributes {
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const HANDLE: u32 = 1 << 6;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const CTIME: u32 = 1 << 10;
    pub const KILL_SUIDGID: u32 = 1 << 11;
}

/// Flags of the answer to OPEN and CREATE.
pub mod opened {
    pub const DIRECT_IO: u32 = 1 << 0;
    pub const KEEP_CACHE: u32 = 1 << 1;
    pub const CACHE_DIRECTORY: u32 = 1 << 3;
    pub const NO_FLUSH: u32 = 1 << 5;
    pub const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
}

/// Features of INIT; the upper half travels in `flags2`.
pub mod init {
    pub const ASYNC_READ: u64 = 1 << 0;
    pub const ATOMIC_O_TRUNC: u64 = 1 << 3;
    pub const BIG_WRITES: u64 = 1 << 5;
    pub const AUTO_INVALIDATE_DATA: u64 = 1 << 12;
    pub const READDIRPLUS: u64 = 1 << 13;
    pub const READDIRPLUS_AUTO: u64 = 1 << 14;
    pub const ASYNC_DIRECT_IO: u64 = 1 << 15;
    pub const PARALLEL_DIRECTORY_OPERATIONS: u64 = 1 << 18;
    pub const ABORT_ERROR: u64 = 1 << 21;
    pub const MAX_PAGES: u64 = 1 << 22;
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    pub const EXTENDED: u64 = 1 << 30;
    pub const EXPIRE_ONLY: u64 = 1 << 35;
    pub const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
}

pub const GETATTR_HANDLE: u32 = 1 << 0;
pub const OPEN_KILL_SUIDGID: u32 = 1 << 0;
pub const WRITE_CACHE: u32 = 1 << 0;
pub const WRITE_KILL_SUIDGID: u32 = 1 << 2;
pub const SYNC_DATA_ONLY: u32 = 1 << 0;
pub const LOCK_FLOCK: u32 = 1 << 0;

pub const NOTIFY_INVALIDATE_INODE: i32 = 2;
pub const NOTIFY_INVALIDATE_ENTRY: i32 = 3;

impl Attributes {
    /// Sets a time from nanoseconds since 1970; times before are negative.
    pub fn split_time(time_ns: i64) -> (u64, u32) {
        let seconds = time_ns.div_euclid(1_000_000_000);
        (seconds.cast_unsigned(), time_ns.rem_euclid(1_000_000_000) as u32)
    }

    pub fn set_times(&mut self, atime_ns: i64, mtime_ns: i64, ctime_ns: i64) {
        (self.atime, self.atime_ns) = Self::split_time(atime_ns);
        (self.mtime, self.mtime_ns) = Self::split_time(mtime_ns);
        (self.ctime, self.ctime_ns) = Self::split_time(ctime_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernel() {
        let sizes = [
            (size_of::<InHeader>(), 40),
            (size_of::<OutHeader>(), 16),
            (size_of::<Attributes>(), 88),
            (size_of::<EntryOut>(), 128),
            (size_of::<AttributesOut>(), 104),
            (size_of::<SetAttributesIn>(), 88),
            (size_of::<ReadIn>(), 40),
            (size_of::<WriteIn>(), 40),
            (size_of::<InitOut>(), 64),
            (size_of::<StatFileSystemOut>(), 80),
            (size_of::<DirectoryEntry>(), 24),
            (size_of::<LockIn>(), 48),
            (size_of::<IoctlIn>(), 32),
            (size_of::<FallocateIn>(), 32),
            (size_of::<CopyRangeIn>(), 56),
            (size_of::<ReleaseIn>(), 24),
        ];
        for (position, (ours, kernel)) in sizes.into_iter().enumerate() {
            assert_eq!(ours, kernel, "structure {position}");
        }
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds() {
        assert_eq!(Attributes::split_time(-1), ((-1i64).cast_unsigned(), 999_999_999));
        assert_eq!(Attributes::split_time(1_500_000_000), (1, 500_000_000));
    }
}
