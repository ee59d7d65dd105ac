//! Answering reads. Bytes first, then the test that they may be shown (P2): the replica is asked with a time
//! taken after the bytes were read.

use super::{ReadRange, Target};
use crate::metrics::add;
use std::sync::Arc;
use transport::ReplySender;
use wire::message::{ChunkInfo, ReadReply};
use wire::{ChunkId, Code, Result};

impl Target {
    pub(super) fn read(
        self: &Arc<Self>,
        sender: ReplySender,
        chain_version: u64,
        chunk: ChunkId,
        range: ReadRange,
    ) {
        let metrics = &self.shared.metrics;
        let read = self.store.read(chunk, range, &self.shared.buffers.read);
        let valid = self.state.lock().replica.read_still_valid(crate::clock::now(), chain_version);
        if let Err(error) = valid {
            add(&metrics.reads_refused, 1);
            return sender.fail(&error);
        }
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                if error.code == Code::Corrupt {
                    add(&metrics.read_corrupt, 1);
                    log::warn!(target: "storage", target = self.id.0, error:% = error; "chunk.corrupt");
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
        let state = self.state.lock();
        if in_resync && state.replica.may_list(chain_version).is_ok() {
            return Ok(());
        }
        state.replica.read_still_valid(crate::clock::now(), chain_version)
    }

    /// Chunks from `from` on in the order of their ids; `with_checksum` reads their bytes.
    pub fn list(
        &self,
        from: ChunkId,
        inode: Option<u64>,
        limit: usize,
        with_checksum: bool,
    ) -> Result<Vec<ChunkInfo>> {
        let mut rows = self.store.list(from, inode, limit)?;
        if with_checksum {
            for row in rows.iter_mut().filter(|row| !row.removed) {
                let chunk = row.chunk.unwrap_or_default().into();
                let whole = ReadRange { offset: 0, length: row.length };
                match self.store.read(chunk, whole, &self.shared.buffers.read) {
                    Ok(read) => row.crc = read.crc,
                    Err(error) if error.code == Code::Corrupt => row.corrupt = true,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(rows)
    }
}
