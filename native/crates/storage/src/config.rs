//! What a storage server is started with. Checked before anything is opened.

use chunk_engine::{Disk, Media};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wire::{Code, Error, Result};

/// What a target reserves beside the bytes of updates: journal records and images of the blocks that small ones touch,
/// up to 8 KiB each, of 4,096 of them.
const RECORDS_BYTES: u64 = 32 << 20;

type OpenDisk = dyn Fn(&Path) -> Result<Arc<dyn Disk>> + Send + Sync;

/// How a target's folder becomes a `Disk`: files of the local file system, or the engine's twin in memory.
#[derive(Clone)]
pub struct DiskOpener(Arc<OpenDisk>);

impl DiskOpener {
    pub fn new(open: impl Fn(&Path) -> Result<Arc<dyn Disk>> + Send + Sync + 'static) -> Self {
        DiskOpener(Arc::new(open))
    }

    pub fn files() -> Self {
        DiskOpener::of(|_| Media::Buffered)
    }

    /// Files on what `media` says of each target's folder; where direct I/O cannot be, the log says so and
    /// the folder is buffered.
    pub fn of(media: impl Fn(&Path) -> Media + Send + Sync + 'static) -> Self {
        DiskOpener::new(move |folder| {
            let failed = |error| Error::new(Code::Io, format!("open {}: {error}", folder.display()));
            media(folder).open(folder).map_err(failed)
        })
    }

    pub(crate) fn open(&self, folder: &Path) -> Result<Arc<dyn Disk>> {
        (self.0)(folder)
    }
}

impl std::fmt::Debug for DiskOpener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DiskOpener")
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    pub node: u32,
    pub cluster: String,
    /// host:port to listen on; port 0 takes a free one.
    pub address: String,
    /// Its failure domain: no two copies of a chunk are in one. Empty: what the manager knows of it.
    pub domain: String,
    /// What others connect to; empty: the address that it listens on.
    pub advertise: String,
    /// host:port of every manager; tried in turn.
    pub managers: Vec<String>,
    /// Data directories; their index is the disk's number in the chain table, so their order must not change.
    pub disks: Vec<PathBuf>,
    /// A data directory that is not the root of a file system of its own is a disk that failed.
    pub require_mounted_disks: bool,
    /// Changes with each boot of the machine; an input, so that tests can set it (P10). `boot_id()` reads
    /// the kernel's.
    pub boot_id: String,
    /// Threads per disk that store updates, in their order per chunk; one works alone as long as it keeps up.
    pub store_threads: usize,
    pub read_threads: usize,
    /// Bytes of payloads of each role at once (P24): clients' updates, and forwarded ones per position in the
    /// chain.
    pub update_bytes: usize,
    pub read_bytes: usize,
    pub resync_bytes: usize,
    /// An operation of a disk that takes longer is stuck, and the disk's targets go offline. A flush has three
    /// times as long.
    pub disk_timeout: Duration,
    /// Most that a resync reads from one disk; a quarter of it while clients use the disk.
    pub resync_bytes_per_second: u64,
    /// Most that the background scrub reads from one disk; a quarter of it while clients use the disk.
    pub scrub_bytes_per_second: u64,
    /// A target is scrubbed again so long after the last pass; zero: only when asked for.
    pub scrub_interval: Duration,
    /// What was acknowledged is on the medium at the latest after this long (P11).
    pub flush_interval: Duration,
    /// Of each target.
    pub engine: chunk_engine::Options,
    pub open_disk: DiskOpener,
}

impl Config {
    /// With the defaults of the product; addresses, disks and managers are the caller's to fill in.
    pub fn new(node: u32, cluster: impl Into<String>) -> Config {
        Config {
            node,
            cluster: cluster.into(),
            address: "127.0.0.1:0".into(),
            domain: String::new(),
            advertise: String::new(),
            managers: Vec::new(),
            disks: Vec::new(),
            require_mounted_disks: false,
            boot_id: boot_id(),
            // Stores copy memory and write to the page cache: as many as run at once on a small machine, and
            // one that may wait.
            store_threads: 3,
            read_threads: 3,
            // 32 default chunks of each role: twice the stripe of one file.
            update_bytes: 32 << 20,
            read_bytes: 32 << 20,
            resync_bytes: 8 << 20,
            // Below the 10 s that the longest operation of a client may take.
            disk_timeout: Duration::from_secs(8),
            // A lost disk of 1 TiB is whole again in an hour, and an SSD has as much left for clients.
            resync_bytes_per_second: 256 << 20,
            // Reads 1 TiB in five hours; of an SSD's rate a few percent.
            scrub_bytes_per_second: 64 << 20,
            scrub_interval: Duration::from_secs(7 * 24 * 3600),
            flush_interval: Duration::from_secs(5),
            // Several targets share a small machine: caches for 6 GiB of chunks each.
            engine: chunk_engine::Options {
                layout_cache_bytes: 8 << 20,
                catalog_cache_bytes: 4 << 20,
                ..chunk_engine::Options::default()
            },
            open_disk: DiskOpener::files(),
        }
    }

    /// With so much memory for updates on their way, and as much of each target's disk in reserve as they may need all
    /// at once (P8): they have versions already when the disk is found full.
    pub fn with_update_bytes(self, update_bytes: usize) -> Config {
        let reserve_bytes = self.engine.reserve_bytes.max(update_bytes as u64 + RECORDS_BYTES);
        Config { update_bytes, engine: chunk_engine::Options { reserve_bytes, ..self.engine }, ..self }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let bad = |what: &str| Err(Error::new(Code::BadConfig, format!("storage server: {what}")));
        if self.node == 0 {
            return bad("`node` must be 1 or higher");
        }
        if self.cluster.is_empty() {
            return bad("`cluster` is empty");
        }
        if self.disks.is_empty() {
            return bad("`disks` names no data directory");
        }
        if self.managers.is_empty() {
            return bad("`managers` names no address");
        }
        if self.store_threads == 0 || self.read_threads == 0 {
            return bad("at least one thread stores and one reads");
        }
        Ok(())
    }
}

/// The kernel's name for this boot of the machine; without it every start counts as a new boot, which is the
/// safe side.
pub fn boot_id() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(id) => id.trim().to_string(),
        Err(_) => format!("unknown-{}", crate::clock::now().0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_of_a_target_covers_the_updates_that_its_memory_admits() {
        let default = Config::new(1, "cluster");
        let reserve = |update_bytes: usize| {
            let config = Config::new(1, "cluster").with_update_bytes(update_bytes);
            assert_eq!(config.update_bytes, update_bytes);
            config.engine.reserve_bytes
        };
        assert!(default.engine.reserve_bytes >= default.update_bytes as u64 + RECORDS_BYTES);
        assert_eq!(reserve(1 << 20), default.engine.reserve_bytes);
        assert_eq!(reserve(default.update_bytes), default.engine.reserve_bytes);
        assert_eq!(reserve(1 << 30), (1 << 30) + RECORDS_BYTES);
    }
}
