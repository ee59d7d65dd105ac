//! Answering reads. Bytes first, then the test that they may be shown (P2): the replica is asked with a time
//! taken after the bytes were read.

use super::{ReadRange, Target};
use crate::metrics::add;
use bytes::Bytes;
use chain::Listed;
use std::sync::Arc;
use transport::ReplySender;
use wire::message::{ChunkInfo, ReadReply};
use wire::{ChunkId, Code, Error, Result};

impl Target {
    pub(super) fn read(
        self: &Arc<Self>,
        sender: ReplySender,
        chain_version: u64,
        chunk: ChunkId,
        range: ReadRange,
    ) {
        let metrics = &self.shared.metrics;
        let read = self.store.read(chunk, range, &self.disk.buffers.read);
        let Some(state) = self.lock_state() else {
            add(&metrics.reads_refused, 1);
            return sender.fail(&Error::new(Code::TargetOffline, "its disk hangs"));
        };
        let valid = state.replica.read_still_valid(crate::clock::now(), chain_version);
        drop(state);
        if let Err(error) = valid {
            add(&metrics.reads_refused, 1);
            return sender.fail(&error);
        }
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                if error.code == Code::Corrupt {
                    add(&metrics.read_corrupt, 1);
                    self.found_damage(chunk);
                }
                return sender.fail(&error);
            }
        };
        add(&metrics.reads, 1);
        add(&metrics.read_bytes, read.payload.len() as u64);
        let reply = ReadReply {
            header: None,
            version: Some(read.version.into()),
            chunk_length: read.chunk_length,
            length: u32::try_from(read.payload.len()).expect("a chunk is below 4 GiB"),
            crc: read.crc,
        };
        let payload = if read.payload.is_empty() { Vec::new() } else { vec![read.payload] };
        sender.send(reply, payload);
    }

    /// Whether this target's list of chunks may be shown: to a client as for a read, to a predecessor in its
    /// resync.
    pub fn may_list(&self, chain_version: u64, in_resync: bool) -> Result<()> {
        let hangs = || Error::new(Code::TargetOffline, "its disk hangs");
        let state = self.lock_state().ok_or_else(hangs)?;
        if in_resync && state.replica.may_list(chain_version).is_ok() {
            return Ok(());
        }
        state.replica.read_still_valid(crate::clock::now(), chain_version)
    }

    /// `count` chunks from `from` on, and where the next ones begin; fewer, and nothing: there are no more.
    pub fn list_range(&self, from: ChunkId, count: usize) -> Result<(Vec<Listed>, Option<ChunkId>)> {
        let rows = self.store.list(from, None, count)?;
        let listed: Vec<Listed> = rows.iter().map(super::to_peers::listed).collect();
        let next =
            listed.last().filter(|_| listed.len() == count).and_then(|last| super::store::after(last.chunk));
        Ok((listed, next))
    }

    /// Chunks from `from` on in the order of their ids; `with_checksum` reads their bytes.
    pub fn list(
        self: &Arc<Self>,
        from: ChunkId,
        inode: Option<u64>,
        limit: usize,
        with_checksum: bool,
    ) -> Result<Vec<ChunkInfo>> {
        let mut rows = self.store.list(from, inode, limit)?;
        if with_checksum {
            for row in rows.iter_mut().filter(|row| !row.removed) {
                let chunk = row.chunk.unwrap_or_default().into();
                let whole = ReadRange { offset: 0, length: u32::MAX };
                match self.store.read(chunk, whole, &self.disk.buffers.read) {
                    Ok(read) => {
                        row.crc = read.crc;
                        row.version = Some(read.version.into());
                        row.length = read.chunk_length;
                        let digest = xxhash_rust::xxh3::xxh3_128(&read.payload);
                        row.digest = Bytes::copy_from_slice(&digest.to_be_bytes());
                    }
                    Err(error) if error.code == Code::Corrupt => {
                        row.corrupt = true;
                        self.found_damage(chunk);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(rows)
    }
}
