//! What a caller asks of a stage, and what it gets.

use bytes::Bytes;
use wire::{ChunkId, Tag, Version};

/// What an update does to its chunk.
#[derive(Clone, Copy, Debug)]
pub enum Update<'a> {
    /// Bytes at `offset`, at least one; grows the chunk, a gap reads as zeros.
    Write { offset: u32, data: &'a [Bytes] },
    /// Nothing is left beyond `length`. A chunk that is not longer stays as it is, and one that does not exist
    /// stays so.
    Truncate { length: u32 },
    /// What the chunk has of `length` bytes at `offset` becomes zeros, and whole blocks of it give their
    /// room back; the chunk's length stays, and a chunk that does not exist stays so.
    Punch { offset: u32, length: u32 },
    /// The chunk is gone; a tombstone keeps the version.
    Remove,
    /// The whole chunk becomes `data`.
    Replace { data: &'a [Bytes] },
}

/// Whose update it is, for the exactly-once table (P7).
#[derive(Clone, Copy, Debug)]
pub struct ChannelUpdate {
    pub tag: Tag,
    pub request_crc: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct StageRequest<'a> {
    pub chunk: ChunkId,
    pub version: Version,
    /// The version that this one follows: must be the newest that the target holds, else `MissingVersion`.
    /// `None` (resync): no check, and `version` may be lower; nothing may pend.
    pub base: Option<Version>,
    pub update: Update<'a>,
    /// Of the file's layout: the most bytes the chunk will ever have.
    pub chunk_size: u32,
    pub channel: Option<ChannelUpdate>,
    /// CRC32C of the payload as the caller got it; compared before anything is written.
    pub crc: Option<u32>,
    /// Commit by the same journal record (the tail of a chain; resync).
    pub commit: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    pub chunk_length: u32,
    /// Bytes of blocks that the chunk takes more (or fewer) than its base version.
    pub allocated_delta: i64,
    /// CRC32C of the payload.
    pub crc: u32,
}
