//! Counters of one server, for whoever exports them. Only adds and reads; names and kinds are decided here
//! alone.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $help:literal])* $field:ident = $name:literal,)*) => {
        /// Every counter rises only.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])* pub(crate) $field: AtomicU64,)*
        }
        impl Metrics {
            /// Name, help text and value of each.
            pub fn snapshot(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$(($name, concat!($($help),*), self.$field.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Reads answered with bytes
    reads = "storage_reads_total",
    /// Reads answered with pages of the cache, which the reader verifies
    reads_of_pages = "storage_reads_of_pages_total",
    /// Bytes of answered reads
    read_bytes = "storage_read_bytes_total",
    /// Reads that found bytes not matching their checksums
    read_corrupt = "storage_read_corrupt_total",
    /// Reads refused: not serving, wrong chain version, no lease
    reads_refused = "storage_reads_refused_total",
    /// Updates from clients that were committed and acknowledged
    updates = "storage_updates_total",
    /// Updates from clients that were refused
    updates_refused = "storage_updates_refused_total",
    /// Updates received from predecessors
    forwarded = "storage_forwarded_total",
    /// Bytes of updates stored, from clients and predecessors
    stored_bytes = "storage_stored_bytes_total",
    /// Requests refused before any target saw them
    requests_refused = "storage_requests_refused_total",
    /// Payloads that did not match the checksum they came with
    payload_corrupt = "storage_payload_corrupt_total",
    /// Flushes of a target to its medium
    flushes = "storage_flushes_total",
    /// Chunks sent whole to a syncing member
    resync_chunks = "storage_resync_chunks_total",
    /// Bytes of those chunks
    resync_bytes = "storage_resync_bytes_total",
    /// Chunks found damaged: bytes on the disk that do not match their checksums
    damaged_chunks = "storage_damaged_chunks_total",
    /// Damaged chunks that were put right from another member's copy
    repaired_chunks = "storage_repaired_chunks_total",
    /// Attempts to repair a chunk that found no good copy, or no room for it
    repairs_failed = "storage_repairs_failed_total",
    /// Chunks read by the background scrub
    scrubbed_chunks = "storage_scrubbed_chunks_total",
    /// Bytes read by the background scrub
    scrubbed_bytes = "storage_scrubbed_bytes_total",
    /// Messages to other members that got no answer
    peer_errors = "storage_peer_errors_total",
    /// Versions of chains that were refused: they do not follow what is known here, so the manager has an old state
    outdated_chains = "storage_outdated_chains_total",
    /// Targets taken offline by an error of their disk, or because it has no room for their copy
    targets_offline = "storage_targets_offline_total",
    /// Targets given up because their disk did not answer
    targets_hung = "storage_targets_hung_total",
    /// Heartbeats answered with a lease
    heartbeats = "storage_heartbeats_total",
    /// Heartbeats without an answer, and connections to managers that failed
    heartbeats_failed = "storage_heartbeats_failed_total",
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
