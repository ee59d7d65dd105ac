//! What a POSIX file system does, as far as everyday programs rely on it. Each function works inside one
//! empty directory.

pub mod attributes;
pub mod data;
pub mod names;

use rustix::io::Errno;
use std::fmt::Debug;

pub fn refused<T: Debug>(result: std::io::Result<T>, errno: Errno) {
    let error = result.expect_err("this must be refused");
    assert_eq!(error.raw_os_error(), Some(errno.raw_os_error()), "{error}");
}

/// Numbers that look random and are the same in each run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next(256) as u8).collect()
    }
}
