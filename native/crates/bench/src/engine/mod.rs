//! Where operations go: one file per engine. Each says which layer costs what: `noop` is the protocol alone,
//! `client` adds chains and disks, `posix` on a mount adds FUSE, and on any other path it is the baseline.

mod client;
mod noop;
mod posix;

pub use client::ClientEngine;
pub use noop::NoopEngine;
pub use posix::PosixEngine;

use crate::job::Job;
use bytes::Bytes;
use std::sync::mpsc;
use wire::{Code, Error, Result};

pub type ReadDone = Box<dyn FnOnce(Result<Vec<Bytes>>) + Send>;
pub type WriteDone = Box<dyn FnOnce(Result<()>) + Send>;

/// Files are numbered by job. Completions may run on any thread, also before the call returns.
pub trait Engine: Send + Sync {
    /// Makes the job's files: for reads with the content that verification expects. Outside the measured
    /// time.
    ///
    /// # Errors
    /// When a file cannot be made or opened.
    fn prepare(&self, job: &Job) -> Result<()>;

    /// Whether calls return only when they are done: then depth is a number of threads.
    fn blocks(&self) -> bool;

    fn read(&self, job: u32, offset: u64, len: u32, done: ReadDone);

    fn write(&self, job: u32, offset: u64, data: Bytes, done: WriteDone);

    /// # Errors
    /// As fsync(2).
    fn fsync(&self, job: u32) -> Result<()>;
}

/// # Errors
/// What the engine says.
pub fn read_wait(engine: &dyn Engine, job: u32, offset: u64, len: u32) -> Result<Vec<Bytes>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    engine.read(
        job,
        offset,
        len,
        Box::new(move |result| {
            // The receiver waits as long as this closure exists.
            let _ = sender.send(result);
        }),
    );
    receiver.recv().unwrap_or_else(|_| Err(Error::new(Code::Internal, "an engine dropped a completion")))
}

/// # Errors
/// What the engine says.
pub fn write_wait(engine: &dyn Engine, job: u32, offset: u64, data: Bytes) -> Result<()> {
    let (sender, receiver) = mpsc::sync_channel(1);
    engine.write(
        job,
        offset,
        data,
        Box::new(move |result| {
            let _ = sender.send(result);
        }),
    );
    receiver.recv().unwrap_or_else(|_| Err(Error::new(Code::Internal, "an engine dropped a completion")))
}
