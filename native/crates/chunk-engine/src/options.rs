//! Sizes of one target, each with its reason.

/// How a target is laid out and how much memory it may take.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address space of one segment file (sparse). Stays as the target was created. Large, so that a disk of
    /// small chunks, each with address space for a whole chunk, needs few files.
    pub segment_bytes: u64,
    /// Journal length that starts a checkpoint. Twice of it stops writers until the checkpoint is done, so it
    /// bounds both the time to open and the memory of journaled blocks.
    pub journal_bytes_max: u64,
    /// Changed chunks that start a checkpoint, and twice of it stops writers: about 2 KiB each are held in
    /// memory for a chunk of 1 MiB.
    pub dirty_chunks_max: u64,
    /// Blocks kept allocated for updates that already have a version (P8): all credits outstanding to this
    /// target.
    pub reserve_bytes: u64,
    /// Memory for checksums of chunks at rest: 32 MiB hold those of 25 GiB in 1 MiB chunks.
    pub layout_cache_bytes: u64,
    /// Memory for pages of the catalogue.
    pub catalog_cache_bytes: usize,
    /// Removed chunks remembered with their version; the oldest go first (about 80 bytes each). A returning
    /// member learns from them that its chunk is gone; of a forgotten one it learns so because the full list
    /// lacks it.
    pub tombstones_max: u64,
    /// Checkpoints run on a thread of the engine; `false`: in the call that crosses the limit (tests,
    /// simulation).
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 16 << 30,
            journal_bytes_max: 32 << 20,
            dirty_chunks_max: 4096,
            reserve_bytes: 64 << 20,
            layout_cache_bytes: 32 << 20,
            catalog_cache_bytes: 16 << 20,
            tombstones_max: 262_144,
            background: true,
        }
    }
}
