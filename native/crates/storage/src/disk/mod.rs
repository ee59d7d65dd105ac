//! What the targets of one data directory share, and others do not: threads, memory, the bound on background
//! work. A disk that hangs stops these, and nothing of another disk.

pub mod control;
pub mod errand;
pub mod known_chains;
mod left;
pub mod opening;
pub mod pace;
mod probe;
pub mod progress;
pub mod room;
pub mod scrubber;
pub mod watchdog;
pub mod watched;

use crate::Config;
use crate::buffers::Buffers;
use crate::directory::Directory;
use crate::lanes::Lanes;
use crate::workers::Workers;
use control::Inbox;
use known_chains::KnownChains;
use pace::Pace;
use parking_lot::Mutex;
use progress::Progress;
use room::Room;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::{Code, Error, Result};

/// One reads while the other waits for a buffer; more would only take the disk from clients.
const RESYNC_THREADS: usize = 2;

/// As many pieces as a fast disk wants to read at once. Each of the threads keeps 2 MiB for the one that it reads.
pub const SCRUB_THREADS: usize = 4;

/// One waits for a member while the other uses the disk.
const MEND_THREADS: usize = 2;

/// A flush may have much to write: it is stuck only after so many times the limit of other operations.
const FLUSH_PATIENCE: u32 = 3;

pub struct DiskShare {
    pub index: usize,
    pub path: PathBuf,
    pub directory: Mutex<Directory>,
    pub known: KnownChains,
    /// Stores, in order per chunk.
    pub lanes: Lanes,
    pub readers: Workers,
    /// Reads for a resync wait for its buffers: clients' reads must not wait behind them.
    pub resyncs: Workers,
    /// Repairs wait for other members. Beside them goes what is left of targets, for which nobody waits.
    pub repairs: Workers,
    /// The same for updates that wait for them.
    pub mends: Workers,
    pub scrubs: Workers,
    pub flushers: Workers,
    pub buffers: Buffers,
    pub room: Arc<Room>,
    /// Of its files that run, but flushes.
    pub operations: Progress,
    pub flushes: Progress,
    /// Requests of clients so far.
    pub traffic: Arc<AtomicU64>,
    pub resync_pace: Pace,
    pub scrub_pace: Pace,
    pub inbox: Inbox,
    hangs: AtomicBool,
    /// The budgets of its memory, as far as the watchdog has seen to it.
    lifted: AtomicBool,
    refuses: AtomicBool,
}

impl DiskShare {
    pub fn new(index: usize, directory: Directory, known: KnownChains, config: &Config) -> DiskShare {
        let traffic: Arc<AtomicU64> = Arc::default();
        DiskShare {
            index,
            path: config.disks[index].clone(),
            directory: Mutex::new(directory),
            known,
            lanes: Lanes::start("chunk-store", config.store_threads),
            readers: Workers::start("chunk-read", config.read_threads),
            resyncs: Workers::start("chunk-resync", RESYNC_THREADS),
            repairs: Workers::start("chunk-repair", 1),
            mends: Workers::start("chunk-mend", MEND_THREADS),
            scrubs: Workers::start("chunk-scrub", SCRUB_THREADS),
            flushers: Workers::start("chunk-flush", 1),
            buffers: Buffers::new(config),
            room: Arc::default(),
            operations: Progress::new(config.disk_timeout),
            flushes: Progress::new(config.disk_timeout * FLUSH_PATIENCE),
            resync_pace: Pace::new(config.resync_bytes_per_second, traffic.clone()),
            scrub_pace: Pace::new(config.scrub_bytes_per_second, traffic.clone()),
            traffic,
            inbox: Inbox::default(),
            hangs: AtomicBool::new(false),
            lifted: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
        }
    }

    /// An operation beside those of its files: a small record, or names.
    pub fn watched<T>(&self, work: impl FnOnce() -> T) -> T {
        let _running = self.operations.begin();
        work()
    }

    /// The watchdog's look, which never waits for the disk. True while it hangs.
    pub fn watch(&self) -> bool {
        self.lanes.look();
        // Both advance.
        let hangs = self.operations.advance() | self.flushes.advance();
        self.hangs.store(hangs, Ordering::Release);
        hangs
    }

    /// Nobody waits for the memory of a disk that hangs; its targets refuse everything by now.
    pub fn follow_hang(&self) {
        let lifted = self.hangs() || self.resync_pace.is_lifted();
        if self.lifted.swap(lifted, Ordering::AcqRel) != lifted {
            self.buffers.lift_budgets(lifted);
        }
    }

    pub fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Acquire)
    }

    /// Why its targets are offline while it hangs.
    pub fn no_answer(&self) -> Error {
        Error::new(Code::Io, format!("{} does not answer", self.path.display()))
    }

    /// Whether it takes a write now; whoever asks waits for the disk.
    ///
    /// # Errors
    /// What the disk says: nothing on it may be served.
    pub fn probe(&self) -> Result<()> {
        let probed = self.watched(|| probe::probe(&self.path));
        self.refuses.store(probed.is_err(), Ordering::Release);
        probed
    }

    /// When it was asked last: opening anything on it again is of no use yet.
    pub fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Acquire)
    }

    /// Nothing is queued or running on any thread of the disk, for a moment at least.
    pub fn wait_idle(&self) {
        self.lanes.wait_idle();
        self.workers().iter().for_each(|workers| workers.wait_idle());
    }

    /// The process ends: nobody waits any more for memory, or until a copy is paid for.
    pub fn lift_limits(&self) {
        self.resync_pace.lift();
        self.buffers.lift_budgets(true);
    }

    pub fn close(&self) {
        self.lanes.close();
        self.workers().iter().for_each(|workers| workers.close());
    }

    fn workers(&self) -> [&Workers; 6] {
        [&self.readers, &self.resyncs, &self.repairs, &self.mends, &self.scrubs, &self.flushers]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::Path;

    /// Of a server that has no other.
    pub fn disk(path: &Path) -> Arc<DiskShare> {
        let config = Config { disks: vec![path.to_path_buf()], ..Config::new(1, "test") };
        let directory = Directory::open(path, "test", 1).unwrap();
        let known = directory.known_chains().unwrap();
        Arc::new(DiskShare::new(0, directory, known, &config))
    }
}
