//! Reading the store: copied and verified here, as pages for a reader that verifies, around damage.

use super::Store;
use crate::target::ReadRange;
use bytes::Bytes;
use chunk_engine::{BLOCK_BYTES, Damage, Engine, PagesRead};
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
        loop {
            let damage = self.damage(chunk)?;
            let mut buffer = pool.take(damage.chunk_length as usize);
            let read = self.with(|engine| read_around(engine, chunk, &damage, &mut buffer))?;
            if read {
                let crc = crc32c::crc32c(&buffer);
                let payload = if buffer.is_empty() { Bytes::new() } else { buffer.freeze() };
                let (version, chunk_length) = (damage.version, damage.chunk_length);
                return Ok((Read { version, chunk_length, payload, crc }, damage.blocks));
            }
        }
    }
}

fn read(engine: &Engine, chunk: ChunkId, range: ReadRange, pool: &BufferPool) -> Result<Read> {
    loop {
        let length = engine.meta(chunk).filter(|meta| !meta.removed).map_or(0, |meta| meta.length);
        let wanted = length.saturating_sub(range.offset).min(range.length);
        let mut buffer = pool.take(wanted as usize);
        let info = engine.read(chunk, range.offset, &mut buffer)?;
        // It grew in between: the buffer is too small for what is there now.
        if info.length < info.chunk_length.saturating_sub(range.offset).min(range.length) {
            continue;
        }
        buffer.truncate(info.length as usize);
        let payload = if info.length == 0 { Bytes::new() } else { buffer.freeze() };
        return Ok(Read { version: info.version, chunk_length: info.chunk_length, payload, crc: info.crc });
    }
}

/// False if the chunk is not what `damage` says any more.
fn read_around(engine: &Engine, chunk: ChunkId, damage: &Damage, buffer: &mut [u8]) -> Result<bool> {
    for (block, part) in buffer.chunks_mut(BLOCK_BYTES).enumerate() {
        if damage.blocks.binary_search(&(block as u32)).is_ok() {
            part.fill(0);
            continue;
        }
        let read = engine.read(chunk, (block * BLOCK_BYTES) as u32, part)?;
        if read.version != damage.version || read.length as usize != part.len() {
            return Ok(false);
        }
    }
    Ok(engine.meta(chunk).is_some_and(|meta| meta.committed == damage.version))
}
