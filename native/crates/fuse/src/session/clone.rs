//! The one ioctl: makes a fresh descriptor of /dev/fuse belong to an existing connection.
#![allow(unsafe_code)]

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;
use rustix::ioctl::{Setter, ioctl, opcode};

/// FUSE_DEV_IOC_CLONE: `_IOR(229, 0, uint32_t)`; the kernel reads the number through the pointer.
const CLONE: rustix::ioctl::Opcode = opcode::read::<u32>(229, 0);

pub fn clone_connection(fresh: impl AsFd, existing: impl AsFd) -> Result<(), Errno> {
    let number = existing.as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: FUSE_DEV_IOC_CLONE reads exactly one u32 from the pointer that `Setter` passes, and writes
    // nothing.
    unsafe { ioctl(fresh, Setter::<CLONE, u32>::new(number)) }
}
