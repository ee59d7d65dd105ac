//! The disk as the engine uses it: one place that turns I/O errors into codes, spends the reserve when the
//! disk is full, and remembers a failure. After a failed flush or write-back nothing may be served any more
//! (P11), and nothing is retried.

use crate::disk::{Disk, DiskFile, DiskSpace};
use crate::museum::{Planted, planted};
use parking_lot::Mutex;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::OnceLock;
use wire::{Code, Error, Result};

pub(crate) const RESERVE: &str = "reserve";

/// The reserve is spent in pieces of this size, so that one full disk costs few truncations.
const RESERVE_STEP_BYTES: u64 = 1 << 20;

const ENOSPC: i32 = 28;

#[derive(Debug)]
pub(crate) struct Volume {
    pub disk: Arc<dyn Disk>,
    failure: OnceLock<String>,
    reserve: Mutex<Reserve>,
}

/// Blocks that are allocated so that an update with a version never finds the disk full (P8).
#[derive(Debug)]
struct Reserve {
    file: Option<Arc<dyn DiskFile>>,
    held_bytes: u64,
    wanted_bytes: u64,
}

impl Volume {
    pub fn new(disk: Arc<dyn Disk>) -> Volume {
        let reserve = Mutex::new(Reserve { file: None, held_bytes: 0, wanted_bytes: 0 });
        Volume { disk, failure: OnceLock::new(), reserve }
    }

    /// Refuses everything after a failure.
    pub fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => Err(Error::new(Code::TargetOffline, reason.clone())),
        }
    }

    /// The engine has failed for good: the first reason is kept, and logged.
    pub fn fail(&self, what: &str, cause: &dyn std::fmt::Display) -> Error {
        let reason = format!("{what}: {cause}");
        if self.failure.set(reason.clone()).is_ok() {
            log::error!(target: "chunk_engine", reason = reason.as_str(); "target_failed");
        }
        Error::new(Code::TargetOffline, reason)
    }

    /// Writes; a full disk spends the reserve first, any other error is the end.
    pub fn write(&self, file: &dyn DiskFile, parts: &[IoSlice<'_>], offset: u64, what: &str) -> Result<()> {
        self.spending(what, || file.write_at(parts, offset))
    }

    /// As `write`, of what a full disk may refuse.
    pub fn write_unreserved(
        &self,
        file: &dyn DiskFile,
        parts: &[IoSlice<'_>],
        offset: u64,
        what: &str,
    ) -> Result<()> {
        self.check()?;
        match file.write_at(parts, offset) {
            Err(error) if error.raw_os_error() == Some(ENOSPC) => {
                Err(Error::new(Code::NoSpace, format!("{what}: the disk is full")))
            }
            written => written.map_err(|error| self.fail(what, &error)),
        }
    }

    /// As `write`, to several places at once.
    pub fn write_many(
        &self,
        file: &dyn DiskFile,
        writes: &[(u64, &[IoSlice<'_>])],
        what: &str,
    ) -> Result<()> {
        self.spending(what, || file.write_many(writes))
    }

    pub fn set_length(&self, file: &dyn DiskFile, length: u64, what: &str) -> Result<()> {
        self.spending(what, || file.set_length(length))
    }

    fn spending(&self, what: &str, attempt: impl Fn() -> std::io::Result<()>) -> Result<()> {
        self.check()?;
        loop {
            match attempt() {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(ENOSPC) => {
                    if planted(Planted::ReserveNotSpent) || !self.spend_reserve() {
                        return Err(Error::new(
                            Code::NoSpace,
                            format!("{what}: the disk and its reserve are full"),
                        ));
                    }
                }
                Err(error) => return Err(self.fail(what, &error)),
            }
        }
    }

    /// Never after a failure: one that succeeds would say nothing of what the failed one was to write.
    pub fn flush(&self, file: &dyn DiskFile, what: &str) -> Result<()> {
        self.check()?;
        if planted(Planted::FlushErrorForgotten) {
            return file.flush().map_err(|error| Error::new(Code::TargetOffline, error.to_string()));
        }
        file.flush().map_err(|error| self.fail(what, &error))
    }

    /// Creations and removals are on the medium.
    pub fn flush_names(&self, what: &str) -> Result<()> {
        self.check()?;
        self.disk.flush_names().map_err(|error| self.fail(what, &error))
    }

    pub fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        let created = Mutex::new(None);
        self.spending(name, || {
            *created.lock() = Some(self.disk.create(name)?);
            Ok(())
        })?;
        if !planted(Planted::NamesNotFlushed) {
            self.flush_names(name)?;
        }
        Ok(created.into_inner().expect("a created file"))
    }

    pub fn open(&self, name: &str) -> Result<Option<Arc<dyn DiskFile>>> {
        self.disk.open(name).map_err(|error| self.fail(name, &error))
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        self.disk.remove(name).map_err(|error| self.fail(name, &error))
    }

    pub fn list(&self) -> Result<Vec<String>> {
        self.disk.list().map_err(|error| self.fail("the list of files", &error))
    }

    pub fn space(&self) -> Result<DiskSpace> {
        self.disk.space().map_err(|error| self.fail("the disk's free space", &error))
    }

    /// Opens the reserve file, and takes `bytes` for it as far as the disk has them.
    pub fn open_reserve(&self, bytes: u64) -> Result<()> {
        let file = match self.open(RESERVE)? {
            Some(file) => file,
            None => self.create(RESERVE)?,
        };
        let held_bytes = file.length().map_err(|error| self.fail(RESERVE, &error))?;
        *self.reserve.lock() = Reserve { file: Some(file), held_bytes, wanted_bytes: 0 };
        self.set_reserve(bytes)
    }

    /// Grows or shrinks the reserve. Growing on a full disk stops where the disk does.
    pub fn set_reserve(&self, bytes: u64) -> Result<()> {
        let mut reserve = self.reserve.lock();
        reserve.wanted_bytes = bytes;
        let Some(file) = reserve.file.clone() else { return Ok(()) };
        if bytes < reserve.held_bytes {
            file.set_length(bytes).map_err(|error| self.fail(RESERVE, &error))?;
            reserve.held_bytes = bytes;
        }
        while reserve.held_bytes < bytes {
            let step = RESERVE_STEP_BYTES.min(bytes - reserve.held_bytes);
            match file
                .allocate(reserve.held_bytes, step)
                .and_then(|()| file.set_length(reserve.held_bytes + step))
            {
                Ok(()) => reserve.held_bytes += step,
                Err(error) if error.raw_os_error() == Some(ENOSPC) => break,
                Err(error) => return Err(self.fail(RESERVE, &error)),
            }
        }
        Ok(())
    }

    /// Takes back what was spent, when the disk has room again.
    pub fn refill_reserve(&self) -> Result<()> {
        let wanted = self.reserve.lock().wanted_bytes;
        self.set_reserve(wanted)
    }

    pub fn reserve_held(&self) -> u64 {
        self.reserve.lock().held_bytes
    }

    /// What was given up of the reserve and not taken back yet: free blocks that belong to it.
    pub fn reserve_missing(&self) -> u64 {
        let reserve = self.reserve.lock();
        reserve.wanted_bytes.saturating_sub(reserve.held_bytes)
    }

    fn spend_reserve(&self) -> bool {
        let mut reserve = self.reserve.lock();
        let Some(file) = reserve.file.clone().filter(|_| reserve.held_bytes > 0) else { return false };
        let left = reserve.held_bytes.saturating_sub(RESERVE_STEP_BYTES);
        log::warn!(target: "chunk_engine", left_bytes = left; "reserve_spent");
        reserve.held_bytes = left;
        file.set_length(left).is_ok()
    }
}
