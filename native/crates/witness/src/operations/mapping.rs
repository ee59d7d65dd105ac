//! A file in memory: mmap(2), shared and writable.
#![allow(unsafe_code)]

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::ptr::NonNull;

/// Of any machine: a multiple of its pages is where msync(2) may begin.
const PAGE_BYTES_MAX: usize = 64 << 10;

/// Longer than the file is now, mostly: what lies behind its last page must not be touched.
pub struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

impl Mapping {
    pub fn new(file: &File, length: usize) -> std::io::Result<Mapping> {
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a fresh mapping, at an address that the kernel chooses; nobody else knows of it.
        let start = unsafe { mmap(std::ptr::null_mut(), length, access, flags, file, 0) }?;
        let start = NonNull::new(start).expect("a mapping without an address was asked for");
        Ok(Mapping { start, length })
    }

    /// `offset + into.len()` must not be behind the file's end, or the process ends by SIGBUS.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        assert!(offset + into.len() <= self.length, "inside the mapping");
        // SAFETY: inside the mapping, as just asserted; `into` is memory of its own. Other processes may change the
        // bytes meanwhile, which are copied and never borrowed.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.start.as_ptr().cast::<u8>().add(offset),
                into.as_mut_ptr(),
                into.len(),
            );
        }
    }

    /// As `read`; and the file has the bytes when it returns.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> std::io::Result<()> {
        assert!(offset + bytes.len() <= self.length, "inside the mapping");
        let first = offset - offset % PAGE_BYTES_MAX;
        // SAFETY: inside the mapping, as just asserted; `first` is the beginning of one of its pages.
        unsafe {
            let start = self.start.as_ptr().cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), start.add(offset), bytes.len());
            msync(start.add(first).cast(), offset + bytes.len() - first, MsyncFlags::SYNC)?;
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nothing refers to any more. It cannot fail with the range that mmap gave.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
