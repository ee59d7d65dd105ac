//! Reading the store: copied and verified here, as pages for a reader that verifies, around damage.

use super::Store;
use crate::target::ReadRange;
use bytes::Bytes;
use chunk_engine::{Engine, PagesRead, ReadInfo};
use pages::{PagePool, Part};
use wire::{BufferPool, ChunkId, Result, Version};

pub struct Read<P = Bytes> {
    pub version: Version,
    pub chunk_length: u32,
    pub payload: P,
    pub crc: u32,
}

impl Store {
    /// Committed bytes; fewer than asked for only where the chunk ends.
    pub fn read(&self, chunk: ChunkId, range: ReadRange, pool: &BufferPool) -> Result<Read> {
        self.with(|engine| read(engine, chunk, range, pool))
    }

    /// Committed bytes that nobody looked at; see `Engine::read_pages`.
    pub fn read_pages(
        &self,
        chunk: ChunkId,
        range: ReadRange,
        pool: &PagePool,
    ) -> Result<Option<Read<Vec<Part>>>> {
        self.with(|engine| {
            let read = engine.read_pages(chunk, range.offset, range.length, pool)?;
            Ok(read.map(|PagesRead { info, parts }| Read {
                version: info.version,
                chunk_length: info.chunk_length,
                payload: parts.into_iter().map(Part::from).collect(),
                crc: info.crc,
            }))
        })
    }

    /// The whole committed chunk, with zeros for damaged blocks, and which these are.
    pub fn read_around_damage(&self, chunk: ChunkId, pool: &BufferPool) -> Result<(Read, Vec<u32>)> {
        let whole = ReadRange { offset: 0, length: u32::MAX };
        self.with(|engine| fill(engine, chunk, whole, pool, |part| engine.read_around_damage(chunk, part)))
    }
}

fn read(engine: &Engine, chunk: ChunkId, range: ReadRange, pool: &BufferPool) -> Result<Read> {
    let read = |part: &mut [u8]| engine.read(chunk, range.offset, part).map(|info| (info, ()));
    fill(engine, chunk, range, pool, read).map(|(read, ())| read)
}

fn fill<T>(
    engine: &Engine,
    chunk: ChunkId,
    range: ReadRange,
    pool: &BufferPool,
    read: impl Fn(&mut [u8]) -> Result<(ReadInfo, T)>,
) -> Result<(Read, T)> {
    loop {
        let length = engine.meta(chunk).filter(|meta| !meta.removed).map_or(0, |meta| meta.length);
        let wanted = length.saturating_sub(range.offset).min(range.length);
        let mut buffer = pool.take(wanted as usize);
        let (info, found) = read(&mut buffer)?;
        // It grew in between: the buffer is too small for what is there now.
        if info.length < info.chunk_length.saturating_sub(range.offset).min(range.length) {
            continue;
        }
        buffer.truncate(info.length as usize);
        let payload = if info.length == 0 { Bytes::new() } else { buffer.freeze() };
        let ReadInfo { version, chunk_length, crc, .. } = info;
        return Ok((Read { version, chunk_length, payload, crc }, found));
    }
}
