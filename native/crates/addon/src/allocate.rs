//! Blocks of a file allocated before they are written (fallocate): what a full disk cannot take away (P8).

use crate::error::{invalid, thrown};
use napi::Result;
use napi_derive::napi;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::OpenOptions;
use wire::{Code, Error};

/// Allocates the bytes from `offset` on and makes the file, if it is missing. With `keep_length` it does not
/// become longer: later appends find their blocks. Waits for the file system alone, some milliseconds.
///
/// # Errors
/// `NO_SPACE`; `NOT_SUPPORTED` by this file system; `IO`.
#[napi]
pub fn allocate_blocks(path: String, offset: f64, length: f64, keep_length: bool) -> Result<(), String> {
    if !(offset >= 0.0 && length >= 1.0) {
        return Err(invalid("an offset from 0 and a length from 1 on are needed"));
    }
    let wrong = |code, error: std::io::Error| {
        thrown(&Error::new(code, format!("allocating {length} bytes of {path}: {error}")))
    };
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(false).write(true).open(&path).map_err(|error| {
        let full = error.raw_os_error() == Some(Errno::NOSPC.raw_os_error());
        wrong(if full { Code::NoSpace } else { Code::Io }, error)
    })?;
    let flags = if keep_length { FallocateFlags::KEEP_SIZE } else { FallocateFlags::empty() };
    fallocate(&file, flags, offset as u64, length as u64).map_err(|errno| {
        let code = match errno {
            Errno::NOSPC | Errno::DQUOT => Code::NoSpace,
            Errno::OPNOTSUPP | Errno::NOSYS => Code::NotSupported,
            _ => Code::Io,
        };
        wrong(code, errno.into())
    })
}
