//! What a checkpoint leaves behind: chunks, clients' channels and the target's own record, in redb on a file
//! of the same disk. Every commit is durable (quick repair: two phases, no walk over the tables after a
//! crash). Written by checkpoints only.

use crate::disk::DiskFile;
use crate::museum::{Planted, planted};
use crate::volume::Volume;
use prost::Message;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition,
};
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use wire::message::{StoredBlocks, StoredChannel, StoredChunk, StoredTarget};
use wire::{ChunkId, ClientId, Code, Error, Result};

pub(crate) const FILE: &str = "catalog.redb";
const CHUNKS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("chunks");
const BLOCKS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("blocks");
const CHANNELS: TableDefinition<([u8; 16], u32), &[u8]> = TableDefinition::new("channels");
const TARGET: TableDefinition<u32, &[u8]> = TableDefinition::new("target");

/// A file of the disk, as redb wants it. A full disk spends the reserve.
#[derive(Debug)]
struct Backend {
    volume: Arc<Volume>,
    file: Arc<dyn DiskFile>,
}

fn as_io(error: Error) -> std::io::Error {
    std::io::Error::other(error.to_string())
}

impl StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let wanted = out.len();
        let count = self.file.read_at(&mut [IoSliceMut::new(out)], offset)?;
        if count < wanted {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.volume.set_length(&*self.file, len, "the catalogue").map_err(as_io)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        if planted(Planted::CatalogWithoutBarrier) {
            return Ok(());
        }
        self.volume.flush(&*self.file, "the flush of the catalogue").map_err(as_io)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let parts = [IoSlice::new(data)];
        self.volume.write(&*self.file, &parts, offset, "the catalogue").map_err(as_io)
    }
}

pub(crate) struct Catalog {
    volume: Arc<Volume>,
    database: Database,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Catalog")
    }
}

/// The tables of one write, committed together.
pub(crate) struct Tables<'txn> {
    volume: &'txn Volume,
    chunks: Table<'txn, (u64, u64), &'static [u8]>,
    blocks: Table<'txn, (u64, u64), &'static [u8]>,
    channels: Table<'txn, ([u8; 16], u32), &'static [u8]>,
    target: Table<'txn, u32, &'static [u8]>,
}

fn key(chunk: ChunkId) -> (u64, u64) {
    (chunk.inode, chunk.index)
}

fn decode<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M> {
    M::decode(bytes).map_err(|error| Error::new(Code::Corrupt, format!("the catalogue's {what}: {error}")))
}

impl Catalog {
    /// Makes the file, or opens it.
    pub fn open(volume: Arc<Volume>, cache_bytes: usize) -> Result<Catalog> {
        let file = match volume.open(FILE)? {
            Some(file) => file,
            None => volume.create(FILE)?,
        };
        let backend = Backend { volume: volume.clone(), file };
        let database = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(backend)
            .map_err(|error| volume.fail("the catalogue", &error))?;
        Ok(Catalog { volume, database })
    }

    /// All changes of `change`, durable when it returns, or none of them.
    pub fn write(&self, change: impl FnOnce(&mut Tables<'_>) -> Result<()>) -> Result<()> {
        let fail = |error: &dyn std::fmt::Display| self.volume.fail("the catalogue", error);
        let mut transaction = self.database.begin_write().map_err(|error| fail(&error))?;
        transaction.set_quick_repair(true);
        {
            let mut tables = Tables {
                volume: &self.volume,
                chunks: transaction.open_table(CHUNKS).map_err(|error| fail(&error))?,
                blocks: transaction.open_table(BLOCKS).map_err(|error| fail(&error))?,
                channels: transaction.open_table(CHANNELS).map_err(|error| fail(&error))?,
                target: transaction.open_table(TARGET).map_err(|error| fail(&error))?,
            };
            change(&mut tables)?;
        }
        transaction.commit().map_err(|error| fail(&error))
    }

    /// The target's own record; `None` if its making was never finished.
    pub fn target(&self) -> Result<Option<StoredTarget>> {
        let bytes = self.get(&self.begin_read()?, TARGET, 0)?;
        bytes.map(|bytes| decode(&bytes, "target record")).transpose()
    }

    /// Both records as one commit left them.
    pub fn chunk(&self, chunk: ChunkId) -> Result<Option<(StoredChunk, StoredBlocks)>> {
        let transaction = self.begin_read()?;
        let Some(head) = self.get(&transaction, CHUNKS, key(chunk))? else { return Ok(None) };
        let blocks = self.get(&transaction, BLOCKS, key(chunk))?.unwrap_or_default();
        Ok(Some((decode(&head, "chunk record")?, decode(&blocks, "block record")?)))
    }

    /// Visits every chunk in the order of ids.
    pub fn for_each_chunk(&self, mut visit: impl FnMut(ChunkId, StoredChunk) -> Result<()>) -> Result<()> {
        let fail = |error: &dyn std::fmt::Display| self.volume.fail("the catalogue", error);
        let transaction = self.begin_read()?;
        let table = transaction.open_table(CHUNKS).map_err(|error| fail(&error))?;
        for row in table.iter().map_err(|error| fail(&error))? {
            let (id, bytes) = row.map_err(|error| fail(&error))?;
            let (inode, index) = id.value();
            visit(ChunkId { inode, index }, decode(bytes.value(), "chunk record")?)?;
        }
        Ok(())
    }

    pub fn for_each_channel(&self, mut visit: impl FnMut(StoredChannel)) -> Result<()> {
        let fail = |error: &dyn std::fmt::Display| self.volume.fail("the catalogue", error);
        let transaction = self.begin_read()?;
        let table = transaction.open_table(CHANNELS).map_err(|error| fail(&error))?;
        for row in table.iter().map_err(|error| fail(&error))? {
            let (_, bytes) = row.map_err(|error| fail(&error))?;
            visit(decode(bytes.value(), "channel record")?);
        }
        Ok(())
    }

    fn begin_read(&self) -> Result<ReadTransaction> {
        self.database.begin_read().map_err(|error| self.volume.fail("the catalogue", &error))
    }

    fn get<K: redb::Key + 'static>(
        &self,
        transaction: &ReadTransaction,
        table: TableDefinition<'_, K, &'static [u8]>,
        key: K::SelfType<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let fail = |error: &dyn std::fmt::Display| self.volume.fail("the catalogue", error);
        let table = match transaction.open_table(table) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(fail(&error)),
        };
        let row = table.get(key).map_err(|error| fail(&error))?;
        Ok(row.map(|bytes| bytes.value().to_vec()))
    }
}

impl Tables<'_> {
    fn fail(&self, error: redb::StorageError) -> Error {
        self.volume.fail("the catalogue", &error)
    }

    pub fn put_chunk(&mut self, chunk: ChunkId, head: &StoredChunk, blocks: &StoredBlocks) -> Result<()> {
        let (id, head, blocks) = (key(chunk), head.encode_to_vec(), blocks.encode_to_vec());
        let done = self.chunks.insert(id, &head[..]).map(drop);
        done.and_then(|()| self.blocks.insert(id, &blocks[..]).map(drop)).map_err(|error| self.fail(error))
    }

    pub fn remove_chunk(&mut self, chunk: ChunkId) -> Result<()> {
        let done = self.chunks.remove(key(chunk)).map(drop);
        done.and_then(|()| self.blocks.remove(key(chunk)).map(drop)).map_err(|error| self.fail(error))
    }

    pub fn put_channel(&mut self, client: ClientId, channel: u32, record: &StoredChannel) -> Result<()> {
        let bytes = record.encode_to_vec();
        self.channels.insert((client.0, channel), &bytes[..]).map(drop).map_err(|error| self.fail(error))
    }

    pub fn remove_channel(&mut self, client: ClientId, channel: u32) -> Result<()> {
        self.channels.remove((client.0, channel)).map(drop).map_err(|error| self.fail(error))
    }

    pub fn put_target(&mut self, target: &StoredTarget) -> Result<()> {
        let bytes = target.encode_to_vec();
        self.target.insert(0, &bytes[..]).map(drop).map_err(|error| self.fail(error))
    }
}

#[cfg(test)]
mod tests;
