//! One process per directory: an exclusive flock on its file `LOCK`, which the kernel drops when the process
//! ends, however it ends.

use napi::{Error, Result, Status};
use napi_derive::napi;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::path::Path;

#[napi]
pub struct DirectoryLock(Option<File>);

#[napi]
impl DirectoryLock {
    /// Fails with the code `EWOULDBLOCK` in its text if another process holds the lock.
    #[napi(factory)]
    pub fn acquire(directory: String) -> Result<DirectoryLock> {
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(Path::new(&directory).join("LOCK"))?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(DirectoryLock(Some(file))),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Err(Error::new(Status::WouldDeadlock, format!("another process uses {directory}")))
            }
            Err(error) => Err(Error::new(Status::GenericFailure, format!("locking {directory}: {error}"))),
        }
    }

    #[napi]
    pub fn release(&mut self) {
        self.0 = None;
    }
}
