//! What several tests of the engine need: small options, requests in one line, bytes that tell their origin.

#![allow(dead_code)] // The tests of the planted bugs use a part of it.

pub mod cases;
pub mod damage;
pub mod failing;
pub mod model;
pub mod points;
pub mod scripts;
pub mod workloads;

use bytes::Bytes;
use chunk_engine::{ChannelUpdate, Engine, Options, StageRequest, Staged, Update};
use wire::{ChunkId, ClientId, Result, Tag, Version};

pub const CHUNK: u32 = 64 << 10;

/// Whether the tests look at every point, instead of a part of them.
pub fn is_exhaustive() -> bool {
    std::env::var_os("CATENA_EXHAUSTIVE").is_some()
}

pub fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        journal_bytes_max: 1 << 20,
        dirty_chunks_max: 1000,
        reserve_bytes: 256 << 10,
        layout_cache_bytes: 1 << 20,
        catalog_cache_bytes: 1 << 20,
        tombstones_max: 100,
        background: false,
    }
}

pub fn id(inode: u64, index: u64) -> ChunkId {
    ChunkId { inode, index }
}

pub fn version(number: u64) -> Version {
    Version { chain: 1, number }
}

pub fn tag(client: u8, channel: u32, sequence: u64) -> Tag {
    Tag { client: ClientId([client; 16]), channel, sequence }
}

/// Bytes that differ by seed and position.
pub fn pattern(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub fn request<'a>(chunk: ChunkId, base: u64, update: Update<'a>) -> StageRequest<'a> {
    StageRequest {
        chunk,
        version: version(base + 1),
        base: Some(if base == 0 { Version::NONE } else { version(base) }),
        update,
        chunk_size: CHUNK,
        channel: None,
        crc: None,
        commit: false,
    }
}

pub fn with_tag<'a>(request: StageRequest<'a>, tag: Tag) -> StageRequest<'a> {
    StageRequest { channel: Some(ChannelUpdate { tag, request_crc: tag.sequence as u32 }), ..request }
}

/// Writes and commits version `base + 1`.
pub fn write(engine: &Engine, chunk: ChunkId, base: u64, offset: u32, data: &[u8]) -> Result<Staged> {
    let data = [Bytes::copy_from_slice(data)];
    let staged = engine.stage(&request(chunk, base, Update::Write { offset, data: &data }))?;
    engine.commit(chunk, version(base + 1))?;
    Ok(staged)
}

pub fn content(engine: &Engine, chunk: ChunkId) -> Vec<u8> {
    let (info, bytes) = engine.read_all(chunk).unwrap();
    assert_eq!(info.crc, chunk_engine::checksum(&bytes));
    bytes
}
