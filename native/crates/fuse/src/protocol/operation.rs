//! A decoded request. Names and data borrow from the request's buffer; only WRITE's data travel apart
//! (`write_arguments`), because they must outlive it without a copy.

use super::abi;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeChange {
    Now,
    /// Nanoseconds since 1970.
    At(i64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<TimeChange>,
    pub mtime: Option<TimeChange>,
    /// The open handle through which ftruncate(2) came.
    pub handle: Option<u64>,
    /// A truncation by somebody without CAP_FSETID: set-user-id and set-group-id bits go.
    pub kill_suid: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    pub handle: u64,
    pub owner: u64,
    pub lock: abi::FileLock,
    /// flock(2) rather than fcntl(2).
    pub flock: bool,
    pub wait: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyRange {
    pub handle: u64,
    pub offset: u64,
    pub target_node: u64,
    pub target_handle: u64,
    pub target_offset: u64,
    pub length: u64,
    pub flags: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    Lookup { name: &'a [u8] },
    Forget { lookups: u64 },
    BatchForget { forgets: Vec<abi::ForgetOne> },
    Interrupt { unique: u64 },
    Destroy,
    GetAttributes { handle: Option<u64> },
    SetAttributes(SetAttributes),
    ReadLink,
    Symlink { name: &'a [u8], target: &'a [u8] },
    MakeNode { name: &'a [u8], mode: u32, device: u32 },
    MakeDirectory { name: &'a [u8], mode: u32 },
    Unlink { name: &'a [u8] },
    RemoveDirectory { name: &'a [u8] },
    Rename { name: &'a [u8], new_parent: u64, new_name: &'a [u8], flags: u32 },
    Link { node: u64, name: &'a [u8] },
    Open { flags: u32, kill_suid: bool },
    Create { name: &'a [u8], mode: u32, flags: u32, kill_suid: bool },
    Read { handle: u64, offset: u64, size: u32, flags: u32 },
    Flush { handle: u64, lock_owner: u64 },
    Release { handle: u64, flags: u32 },
    Sync { handle: u64, data_only: bool },
    OpenDirectory { flags: u32 },
    ReadDirectory { handle: u64, offset: u64, size: u32, plus: bool },
    ReleaseDirectory { handle: u64 },
    SyncDirectory { handle: u64, data_only: bool },
    StatFileSystem,
    SyncFileSystem,
    Access { mask: u32 },
    Fallocate { handle: u64, offset: u64, length: u64, mode: u32 },
    Seek { handle: u64, offset: u64, whence: u32 },
    CopyRange(CopyRange),
    GetXattr { name: &'a [u8], size: u32 },
    SetXattr { name: &'a [u8], value: &'a [u8], flags: u32 },
    ListXattr { size: u32 },
    RemoveXattr { name: &'a [u8] },
    GetLock(Lock),
    SetLock(Lock),
    Ioctl { handle: u64, command: u32, argument: u64, data: &'a [u8], out_size: u32 },
}
