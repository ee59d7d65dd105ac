//! Decoding of a request's body. Trusts no length: a short body, a missing terminator, a wrong count is EIO
//! for that request.

use super::abi;
use super::opcode::Opcode;
use super::operation::{CopyRange, Lock, Operation, SetAttributes, TimeChange};
use rustix::io::Errno;
use wire::limits::NAME_BYTES_MAX;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// Longest symbolic link, as in PATH_MAX.
const LINK_BYTES_MAX: usize = 4095;

/// A cursor over a request's body.
pub struct Arguments<'a> {
    rest: &'a [u8],
}

impl<'a> Arguments<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        Arguments { rest: body }
    }

    pub fn take<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, Errno> {
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| Errno::IO)?;
        self.rest = rest;
        Ok(value)
    }

    fn terminated(&mut self) -> Result<&'a [u8], Errno> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or(Errno::IO)?;
        let text = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(text)
    }

    /// One component of a path.
    pub fn name(&mut self) -> Result<&'a [u8], Errno> {
        let name = self.terminated()?;
        if name.len() > NAME_BYTES_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        if name.is_empty() || name.contains(&b'/') {
            return Err(Errno::INVAL);
        }
        Ok(name)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(Errno::IO)?;
        self.rest = rest;
        Ok(bytes)
    }
}

/// The arguments of WRITE; its data are the rest of the body.
pub fn write_arguments(body: &[u8]) -> Result<abi::WriteIn, Errno> {
    let mut arguments = Arguments::new(body);
    let write: abi::WriteIn = arguments.take()?;
    if arguments.rest.len() == write.size as usize { Ok(write) } else { Err(Errno::IO) }
}

/// Everything but WRITE and INIT, which have ways of their own.
pub fn decode(opcode: Opcode, body: &[u8]) -> Result<Operation<'_>, Errno> {
    let arguments = &mut Arguments::new(body);
    match opcode {
        Opcode::Forget => Ok(Operation::Forget { lookups: arguments.take::<abi::ForgetIn>()?.lookups }),
        Opcode::BatchForget => batch_forget(arguments),
        Opcode::Interrupt => {
            Ok(Operation::Interrupt { unique: arguments.take::<abi::InterruptIn>()?.unique })
        }
        Opcode::Destroy => Ok(Operation::Destroy),
        Opcode::GetAttributes | Opcode::SetAttributes | Opcode::Access => attributes(opcode, arguments),
        Opcode::Open | Opcode::Read | Opcode::Flush | Opcode::Release | Opcode::Sync => {
            file(opcode, arguments)
        }
        Opcode::OpenDirectory
        | Opcode::ReadDirectory
        | Opcode::ReadDirectoryPlus
        | Opcode::ReleaseDirectory
        | Opcode::SyncDirectory => directory(opcode, arguments),
        Opcode::StatFileSystem => Ok(Operation::StatFileSystem),
        Opcode::SyncFileSystem => Ok(Operation::SyncFileSystem),
        Opcode::Fallocate | Opcode::Seek | Opcode::CopyRange => range(opcode, arguments),
        Opcode::GetXattr | Opcode::SetXattr | Opcode::ListXattr | Opcode::RemoveXattr => {
            xattr(opcode, arguments)
        }
        Opcode::GetLock | Opcode::SetLock | Opcode::SetLockWait => lock(opcode, arguments),
        Opcode::Ioctl => ioctl(arguments),
        Opcode::Init | Opcode::Write => Err(Errno::IO),
        _ => name(opcode, arguments),
    }
}

fn batch_forget<'a>(arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    let count = arguments.take::<abi::BatchForgetIn>()?.count as usize;
    // The count is believed only as far as the body reaches.
    if arguments.rest.len() < count.saturating_mul(size_of::<abi::ForgetOne>()) {
        return Err(Errno::IO);
    }
    let forgets = (0..count).map(|_| arguments.take()).collect::<Result<_, _>>()?;
    Ok(Operation::BatchForget { forgets })
}

fn name<'a>(opcode: Opcode, arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    Ok(match opcode {
        Opcode::Lookup => Operation::Lookup { name: arguments.name()? },
        Opcode::ReadLink => Operation::ReadLink,
        Opcode::Symlink => {
            let name = arguments.name()?;
            let target = arguments.terminated()?;
            if target.len() > LINK_BYTES_MAX {
                return Err(Errno::NAMETOOLONG);
            }
            Operation::Symlink { name, target }
        }
        Opcode::MakeNode => {
            let node: abi::MakeNodeIn = arguments.take()?;
            Operation::MakeNode { name: arguments.name()?, mode: node.mode, device: node.device }
        }
        Opcode::MakeDirectory => {
            let directory: abi::MakeDirectoryIn = arguments.take()?;
            Operation::MakeDirectory { name: arguments.name()?, mode: directory.mode }
        }
        Opcode::Unlink => Operation::Unlink { name: arguments.name()? },
        Opcode::RemoveDirectory => Operation::RemoveDirectory { name: arguments.name()? },
        Opcode::Rename => {
            let new_parent = arguments.take::<abi::RenameIn>()?.new_parent;
            Operation::Rename { name: arguments.name()?, new_parent, new_name: arguments.name()?, flags: 0 }
        }
        Opcode::Rename2 => {
            let rename: abi::Rename2In = arguments.take()?;
            let (name, new_name) = (arguments.name()?, arguments.name()?);
            Operation::Rename { name, new_parent: rename.new_parent, new_name, flags: rename.flags }
        }
        Opcode::Link => {
            let node = arguments.take::<abi::LinkIn>()?.node;
            Operation::Link { node, name: arguments.name()? }
        }
        Opcode::Create => {
            let create: abi::CreateIn = arguments.take()?;
            let kill_suid = create.open_flags & abi::OPEN_KILL_SUIDGID != 0;
            Operation::Create { name: arguments.name()?, mode: create.mode, flags: create.flags, kill_suid }
        }
        _ => return Err(Errno::NOSYS),
    })
}

fn attributes<'a>(opcode: Opcode, arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    Ok(match opcode {
        Opcode::GetAttributes => {
            let get: abi::GetAttributesIn = arguments.take()?;
            Operation::GetAttributes { handle: (get.flags & abi::GETATTR_HANDLE != 0).then_some(get.handle) }
        }
        Opcode::Access => Operation::Access { mask: arguments.take::<abi::AccessIn>()?.mask },
        _ => Operation::SetAttributes(set_attributes(&arguments.take()?)),
    })
}

fn set_attributes(set: &abi::SetAttributesIn) -> SetAttributes {
    use abi::set_attributes as bit;
    let has = |bits: u32| set.valid & bits != 0;
    let time = |bits, now, seconds: u64, nanoseconds: u32| match (has(now), has(bits)) {
        (true, _) => Some(TimeChange::Now),
        (false, true) => {
            // Beyond the year 2262 nanoseconds do not fit 64 bits: the latest time that does is kept.
            let whole = seconds.cast_signed().saturating_mul(1_000_000_000);
            Some(TimeChange::At(whole.saturating_add(i64::from(nanoseconds))))
        }
        (false, false) => None,
    };
    SetAttributes {
        mode: has(bit::MODE).then_some(set.mode & 0o7777),
        uid: has(bit::UID).then_some(set.uid),
        gid: has(bit::GID).then_some(set.gid),
        size: has(bit::SIZE).then_some(set.size),
        atime: time(bit::ATIME, bit::ATIME_NOW, set.atime, set.atime_ns),
        mtime: time(bit::MTIME, bit::MTIME_NOW, set.mtime, set.mtime_ns),
        handle: has(bit::HANDLE).then_some(set.handle),
        kill_suid: has(bit::KILL_SUIDGID),
    }
}

fn file<'a>(opcode: Opcode, arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    Ok(match opcode {
        Opcode::Open => {
            let open: abi::OpenIn = arguments.take()?;
            Operation::Open { flags: open.flags, kill_suid: open.open_flags & abi::OPEN_KILL_SUIDGID != 0 }
        }
        Opcode::Read => {
            let read: abi::ReadIn = arguments.take()?;
            Operation::Read { handle: read.handle, offset: read.offset, size: read.size, flags: read.flags }
        }
        Opcode::Flush => {
            let flush: abi::FlushIn = arguments.take()?;
            Operation::Flush { handle: flush.handle, lock_owner: flush.lock_owner }
        }
        Opcode::Release => {
            let release: abi::ReleaseIn = arguments.take()?;
            Operation::Release { handle: release.handle, flags: release.flags }
        }
        _ => {
            let sync: abi::SyncIn = arguments.take()?;
            Operation::Sync { handle: sync.handle, data_only: sync.flags & abi::SYNC_DATA_ONLY != 0 }
        }
    })
}

fn directory<'a>(opcode: Opcode, arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    Ok(match opcode {
        Opcode::OpenDirectory => Operation::OpenDirectory { flags: arguments.take::<abi::OpenIn>()?.flags },
        Opcode::ReadDirectory | Opcode::ReadDirectoryPlus => {
            let read: abi::ReadIn = arguments.take()?;
            let plus = opcode == Opcode::ReadDirectoryPlus;
            Operation::ReadDirectory { handle: read.handle, offset: read.offset, size: read.size, plus }
        }
        Opcode::ReleaseDirectory => {
            Operation::ReleaseDirectory { handle: arguments.take::<abi::ReleaseIn>()?.handle }
        }
        _ => {
            let sync: abi::SyncIn = arguments.take()?;
            Operation::SyncDirectory { handle: sync.handle, data_only: sync.flags & abi::SYNC_DATA_ONLY != 0 }
        }
    })
}

fn range<'a>(opcode: Opcode, arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    Ok(match opcode {
        Opcode::Fallocate => {
            let range: abi::FallocateIn = arguments.take()?;
            let (handle, offset, length, mode) = (range.handle, range.offset, range.length, range.mode);
            Operation::Fallocate { handle, offset, length, mode }
        }
        Opcode::Seek => {
            let seek: abi::SeekIn = arguments.take()?;
            Operation::Seek { handle: seek.handle, offset: seek.offset, whence: seek.whence }
        }
        _ => {
            let copy: abi::CopyRangeIn = arguments.take()?;
            Operation::CopyRange(CopyRange {
                handle: copy.handle_in,
                offset: copy.offset_in,
                target_node: copy.node_out,
                target_handle: copy.handle_out,
                target_offset: copy.offset_out,
                length: copy.length,
                flags: copy.flags,
            })
        }
    })
}

fn xattr<'a>(opcode: Opcode, arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    Ok(match opcode {
        Opcode::GetXattr => {
            let get: abi::GetXattrIn = arguments.take()?;
            Operation::GetXattr { name: arguments.terminated()?, size: get.size }
        }
        Opcode::SetXattr => {
            let set: abi::SetXattrIn = arguments.take()?;
            let name = arguments.terminated()?;
            Operation::SetXattr { name, value: arguments.bytes(set.size as usize)?, flags: set.flags }
        }
        Opcode::ListXattr => Operation::ListXattr { size: arguments.take::<abi::GetXattrIn>()?.size },
        _ => Operation::RemoveXattr { name: arguments.terminated()? },
    })
}

fn lock<'a>(opcode: Opcode, arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    let lock: abi::LockIn = arguments.take()?;
    let lock = Lock {
        handle: lock.handle,
        owner: lock.owner,
        lock: lock.lock,
        flock: lock.lock_flags & abi::LOCK_FLOCK != 0,
        wait: opcode == Opcode::SetLockWait,
    };
    Ok(if opcode == Opcode::GetLock { Operation::GetLock(lock) } else { Operation::SetLock(lock) })
}

fn ioctl<'a>(arguments: &mut Arguments<'a>) -> Result<Operation<'a>, Errno> {
    let ioctl: abi::IoctlIn = arguments.take()?;
    let data = arguments.bytes(ioctl.in_size as usize)?;
    let (handle, command, argument, out_size) = (ioctl.handle, ioctl.command, ioctl.argument, ioctl.out_size);
    Ok(Operation::Ioctl { handle, command, argument, data, out_size })
}

#[cfg(test)]
#[path = "operation_decode_test.rs"]
mod tests;
