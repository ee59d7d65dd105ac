//! The engine checks its own books against the disk: every extent has one owner, the counters are right, and
//! every stored byte matches its checksum. It changes nothing.

use crate::checksum::BLOCK_BYTES;
use crate::engine::Engine;
use crate::layout::Presence;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use wire::{ChunkId, Code, Result};

/// What `check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub chunks: u64,
    pub bytes: u64,
    /// Chunks with a block that does not match its checksum.
    pub corrupt: Vec<ChunkId>,
    /// Sentences about books that do not agree; each is a bug of the engine.
    pub wrong: Vec<String>,
}

impl Engine {
    /// Reads everything. For a quiet target: updates during the check are counted half.
    pub fn check(&self) -> Result<CheckReport> {
        self.flush()?;
        let core = &*self.core;
        let mut report = CheckReport::default();
        let mut owned = BTreeSet::new();
        let mut used_blocks = 0;
        let chunks: Vec<ChunkId> =
            core.index.shards().flat_map(|shard| shard.entries.keys().copied().collect::<Vec<_>>()).collect();
        for chunk in chunks {
            core.activate(chunk)?;
            let mut present = false;
            {
                let mut shard = core.index.shard(chunk);
                let Some(entry) = shard.entries.get(&chunk) else { continue };
                present |= entry.presence == Presence::Present;
                let Some(active) = shard.active(chunk) else { continue };
                used_blocks += active.used_blocks();
                for plane in active.planes.iter().flatten() {
                    if !owned.insert(plane.address) {
                        report.wrong.push(format!("{:?} has two owners", plane.address));
                    }
                    if !core.segments.is_used(plane.address) {
                        report.wrong.push(format!("{:?} of {chunk:?} counts as free", plane.address));
                    }
                }
            }
            if present {
                report.chunks += 1;
                match self.verify(chunk) {
                    Ok(info) => report.bytes += u64::from(info.length),
                    Err(error) if error.code == Code::Corrupt => report.corrupt.push(chunk),
                    Err(error) => return Err(error),
                }
            }
        }
        let counted = core.used_blocks.load(Ordering::Relaxed);
        if counted != used_blocks {
            let bytes = BLOCK_BYTES as u64;
            report.wrong.push(format!(
                "{} bytes are used, {} are counted",
                used_blocks * bytes,
                counted * bytes
            ));
        }
        if owned.len() != core.segments.used_extents() {
            let extents = core.segments.used_extents();
            report.wrong.push(format!("{} extents have owners, {extents} are taken", owned.len()));
        }
        Ok(report)
    }
}
