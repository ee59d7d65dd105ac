//! Answering reads. Bytes first, then the test that they may be shown (P2): the replica is asked with a time
//! taken after the bytes were read.

use super::store::Read;
use super::{ReadRange, Target, Verified};
use crate::metrics::add;
use bytes::Bytes;
use chain::{Listed, ReplyTo};
use pages::Part;
use std::sync::Arc;
use wire::message::{ChunkInfo, ReadReply};
use wire::{ChunkId, Code, Result};

/// From here on it is cheaper to hand pages over to the thread that sends than to copy them.
const PAGES_BYTES_MIN: u32 = 64 << 10;

impl Target {
    pub(super) fn read(
        self: &Arc<Self>,
        reply: ReplyTo,
        chain_version: u64,
        chunk: ChunkId,
        (range, verified): (ReadRange, Verified),
    ) {
        if self.is_offline() {
            return; // it was answered
        }
        let metrics = &self.shared.metrics;
        let read = self.read_for_client(chunk, range, verified);
        let (sender, valid) = {
            let mut state = self.state.lock();
            // It went offline meanwhile, and answered.
            let Some(waiting) = state.waiting.remove(&reply.0) else { return };
            (waiting.sender(), state.replica.read_still_valid(crate::clock::now(), chain_version))
        };
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
        let length: usize = read.payload.iter().map(Part::len).sum();
        add(&metrics.reads, 1);
        add(&metrics.read_bytes, length as u64);
        let reply = ReadReply {
            header: None,
            version: Some(read.version.into()),
            chunk_length: read.chunk_length,
            length: u32::try_from(length).expect("a chunk is below 4 GiB"),
            crc: read.crc,
        };
        sender.send_parts(reply, read.payload);
    }

    /// Large reads of what lies in whole blocks go out as pages, without a copy and without a look (0005).
    fn read_for_client(
        &self,
        chunk: ChunkId,
        range: ReadRange,
        verified: Verified,
    ) -> Result<Read<Vec<Part>>> {
        if verified == Verified::ByReader
            && range.length >= PAGES_BYTES_MIN
            && let Some(read) = self.store.read_pages(chunk, range, &self.shared.pages)?
        {
            add(&self.shared.metrics.reads_of_pages, 1);
            return Ok(read);
        }
        let read = self.store.read(chunk, range, &self.disk.buffers.read)?;
        let payload = if read.payload.is_empty() { Vec::new() } else { vec![Part::Memory(read.payload)] };
        Ok(Read { payload, version: read.version, chunk_length: read.chunk_length, crc: read.crc })
    }

    /// Whether this target's list of chunks (of one inode) may be shown: to a client as for a read, to a
    /// predecessor in its resync.
    pub fn may_list(&self, chain_version: u64, inode: Option<u64>, in_resync: bool) -> Result<()> {
        let state = self.state.lock();
        let now = crate::clock::now();
        if !in_resync {
            return state.replica.may_list_committed(now, chain_version, inode);
        }
        state.replica.may_list(chain_version).or_else(|_| state.replica.read_still_valid(now, chain_version))
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
