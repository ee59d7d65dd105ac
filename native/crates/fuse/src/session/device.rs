//! /dev/fuse. Each worker has its own descriptor of the one connection, so that they do not share one queue
//! of answers.

use super::channel::Channel;
use super::clone::clone_connection;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io::IoSlice;
use std::sync::Arc;

pub struct Device {
    fd: OwnedFd,
}

pub fn open_device() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

impl Device {
    pub fn new(fd: OwnedFd) -> Self {
        Device { fd }
    }
}

impl Channel for Device {
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            match rustix::io::read(&self.fd, &mut *buffer) {
                // ENOENT: the request was interrupted before we got it. It is not ours any more.
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                result => return result,
            }
        }
    }

    fn send(&self, pieces: &[IoSlice<'_>]) -> Result<(), Errno> {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let sent = rustix::io::writev(&self.fd, pieces)?;
        assert_eq!(sent, length, "the kernel takes an answer whole or not at all");
        Ok(())
    }

    fn another(&self) -> Result<Arc<dyn Channel>, Errno> {
        let fd = open_device()?;
        clone_connection(&fd, &self.fd)?;
        Ok(Arc::new(Device::new(fd)))
    }
}
