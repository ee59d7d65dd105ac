//! What an update is, and what the replica asks its engine. Knows nothing of chains.

use crate::limits;
use wire::message::{ChannelRecord, UpdateKind};
use wire::{ChunkId, Tag, Version};

/// One update of one chunk, as the client asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub chunk: ChunkId,
    pub tag: Tag,
    pub kind: UpdateKind,
    pub offset: u32,
    pub length: u32,
    /// CRC32C of the payload.
    pub crc: u32,
    pub chunk_size: u32,
    /// durability=write: on the medium before `Stored` is reported.
    pub flush: bool,
}

impl Update {
    /// Tells a retry from another request under the same number (P7). FNV-1a over every field that changes
    /// bytes.
    pub fn fingerprint(&self) -> u32 {
        let kind = self.kind as u32;
        let fields = [
            self.chunk.inode,
            self.chunk.index,
            u64::from(kind) << 32 | u64::from(self.offset),
            u64::from(self.length) << 32 | u64::from(self.crc),
        ];
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in fields.iter().flat_map(|field| field.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        (hash ^ (hash >> 32)) as u32
    }

    /// Bytes that this update may newly allocate (P8).
    pub fn may_allocate_bytes(&self) -> u64 {
        match self.kind {
            UpdateKind::UpdateWrite => u64::from(self.length) + limits::ALLOCATION_SLACK_BYTES,
            // Whole blocks go; one that stays in part goes through the journal.
            UpdateKind::UpdatePunch => {
                let ends = [u64::from(self.offset), u64::from(self.offset) + u64::from(self.length)];
                let inside = ends.iter().filter(|&end| !end.is_multiple_of(limits::BLOCK_BYTES));
                inside.count() as u64 * limits::BLOCK_BYTES
            }
            // Of a block that is cut in the middle only the checksum changes, in the record.
            UpdateKind::UpdateTruncate | UpdateKind::UpdateRemove => 0,
        }
    }
}

/// What applying an update gave; decided when it is stored, returned to the client when it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub chunk_length: u32,
    pub allocated_delta: i64,
}

/// The exactly-once record of one channel (P7): the last update that was applied, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    pub tag: Tag,
    pub chunk: ChunkId,
    pub version: Version,
    pub fingerprint: u32,
    pub applied: Applied,
}

impl From<Channel> for ChannelRecord {
    fn from(channel: Channel) -> Self {
        ChannelRecord {
            tag: Some(channel.tag.into()),
            chunk: Some(channel.chunk.into()),
            version: Some(channel.version.into()),
            chunk_length: channel.applied.chunk_length,
            allocated_delta: channel.applied.allocated_delta,
            request_crc: channel.fingerprint,
        }
    }
}

impl TryFrom<&ChannelRecord> for Channel {
    type Error = wire::Error;
    fn try_from(record: &ChannelRecord) -> wire::Result<Self> {
        let tag = record.tag.as_ref().ok_or_else(|| {
            wire::Error::new(wire::Code::BadMessage, "a record of the exactly-once table without a tag")
        })?;
        Ok(Channel {
            tag: Tag::try_from(tag)?,
            chunk: record.chunk.unwrap_or_default().into(),
            version: record.version.unwrap_or_default().into(),
            fingerprint: record.request_crc,
            applied: Applied { chunk_length: record.chunk_length, allocated_delta: record.allocated_delta },
        })
    }
}

/// The answer to an update, to the client or to the member before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub version: Version,
    pub applied: Applied,
    pub durability_epoch: u64,
    /// Least number of bytes that this member and those that serve after it may still allocate (P8).
    pub allocatable_bytes: u64,
}

/// A chunk's committed state. `removed` with a version is the tombstone that a removal left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub version: Version,
    pub length: u32,
    pub removed: bool,
    pub chunk_size: u32,
}

impl Committed {
    /// Never written, or removed.
    pub fn is_absent(&self) -> bool {
        self.removed || self.version == Version::NONE
    }
}

/// One committed chunk of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub chunk: ChunkId,
    pub committed: Committed,
}

/// A whole chunk as of `version`, to a syncing member (P9). `committed.removed`: the chunk must not exist
/// there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    pub chunk: ChunkId,
    pub committed: Committed,
    /// CRC32C of the payload; 0 for a removal.
    pub crc: u32,
    /// Blocks of 4 KiB that no member has good bytes of: reads of them must fail here too.
    pub damaged_blocks: Vec<u32>,
}

/// Consecutive chunks of another member: how many, up to which id, and the digest of what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    /// The next range begins behind it; of the last range, the highest id there is.
    pub last: ChunkId,
    pub chunks: u32,
    pub digest: u64,
}

/// Of ids, versions and removals: FNV-1a, each step spread over the whole word, since neighbours differ little.
pub fn range_digest(listed: &[Listed]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for Listed { chunk, committed } in listed {
        let removed = u64::from(committed.removed);
        let fields = [chunk.inode, chunk.index, committed.version.chain, committed.version.number, removed];
        for field in fields {
            hash = (hash ^ field).wrapping_mul(0x0000_0100_0000_01b3);
            hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            hash ^= hash >> 32;
        }
    }
    hash
}

/// The engine as the replica sees it: pure in-memory look-ups.
pub trait Chunks {
    /// The newest committed version; `Committed::default()` if the chunk was never written or its tombstone was
    /// forgotten.
    ///
    /// The tombstone of a removal (`removed` with a version) is kept until `Replica::rolled_forward` is above the
    /// version of the chain that the removal was assigned in: until then another member may still hold the
    /// removal pending and ask for it. An engine that bounds their number forgets the oldest ones: so many
    /// newer removals came after them that their sender has long had an answer.
    fn committed(&self, chunk: ChunkId) -> Committed;

    /// Committed chunks with ids ≥ `from`, in their order, at most `limit`, tombstones of removals among them.
    fn list(&self, from: ChunkId, limit: usize) -> Vec<Listed>;

    /// Not below the version of any tombstone that was forgotten: the head assigns only higher versions, so that
    /// no number is used twice. It must not show up in `committed`, where it would pass for an update that
    /// this chunk has.
    fn forgotten(&self) -> Version {
        Version::NONE
    }

    /// Bytes that this target may still allocate, its reserve left out (P8).
    fn allocatable_bytes(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adds_no_bytes_and_splits_no_block_needs_no_room() {
        let cost = |kind, offset, length| {
            let (chunk, tag) = (ChunkId { inode: 1, index: 0 }, Tag::default());
            Update { chunk, tag, kind, offset, length, crc: 0, chunk_size: 1 << 20, flush: false }
                .may_allocate_bytes()
        };
        let punch = UpdateKind::UpdatePunch;
        assert_eq!([cost(punch, 0, 1 << 20), cost(punch, 4096, 8192)], [0, 0]);
        assert_eq!([cost(punch, 1, 4095), cost(punch, 4096, 1), cost(punch, 1, 1 << 19)], [4096, 4096, 8192]);
        assert_eq!([cost(UpdateKind::UpdateTruncate, 0, 5), cost(UpdateKind::UpdateRemove, 0, 0)], [0, 0]);
        assert_eq!(cost(UpdateKind::UpdateWrite, 0, 5), 5 + 8192);
    }
}
