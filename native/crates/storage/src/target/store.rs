//! The only place that touches the chunk engine: its calls in the words of the chain, and the chain's
//! look-ups in the words of the engine. It decides nothing and keeps no state of its own.

mod read;

use super::TargetRecord;
use crate::config::DiskOpener;
use crate::disk::DiskShare;
use crate::disk::room::Limit;
use crate::disk::watched::WatchedDisk;
use bytes::Bytes;
use chain::{Applied, Channel, Chunks, Committed, Listed, Recovered, RecoveredUpdate, Replacement};
use chunk_engine::{
    ChannelUpdate, ChunkMeta, Damage, Disk, Engine, ListedChunk, Options, StageRequest, Update,
};
use parking_lot::RwLock;
pub use read::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::limits::CHUNK_BYTES_MIN;
use wire::message::{ChunkInfo, UpdateKind};
use wire::{ChunkId, ClientId, Code, Error, Result, Tag, Version};

/// What a punch may allocate is counted in blocks of the engine (P8).
const _: () = assert!(chain::limits::BLOCK_BYTES == chunk_engine::BLOCK_BYTES as u64);

/// Most rows asked of the engine at a time: a range of a resync and the row behind it, which is listed most often.
const PAGE: usize = chain::limits::SYNC_RANGE + 1;

const FIRST: ChunkId = ChunkId { inode: 0, index: 0 };

pub(super) struct Store {
    /// Absent once it is closed, while it is opened again, or if it could not be. Held for a moment only,
    /// never while the disk works.
    engine: RwLock<Option<Arc<Engine>>>,
    /// How often it was opened again, as of the engine that is there.
    reopenings: AtomicU64,
    folder: PathBuf,
    options: Options,
    open_disk: DiskOpener,
    disk: Arc<DiskShare>,
}

/// What becomes of an update that needs old bytes which are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldDamage {
    /// `Corrupt`: they may still be repaired.
    Refused,
    /// It is stored, and the block stays damaged.
    Kept,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Space {
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub allocatable_bytes: u64,
    pub chunks: u64,
}

impl Store {
    /// Opens what lies in the folder. Where there is nothing it is begun empty by this process, on the record first:
    /// also where the target had a role, because the chain tells by the record that nothing is left of that, and
    /// fills it again (P10).
    pub fn open(
        folder: &Path,
        options: Options,
        open_disk: DiskOpener,
        disk: Arc<DiskShare>,
        (record, incarnation): (&mut TargetRecord, u64),
    ) -> Result<(Store, Recovered)> {
        let engine = match open_engine((&open_disk, folder, &disk), &options, record) {
            Err(error) if error.code == Code::NotFound => {
                // Before: a process that finds the new one made takes it for what it was.
                disk.watched(|| record.begin_anew(incarnation))?;
                Engine::create(watched(&open_disk, folder, &disk)?, options.clone())?
            }
            opened => opened?,
        };
        let recovered = recovered(&engine)?;
        let engine = RwLock::new(Some(Arc::new(engine)));
        let (folder, reopenings) = (folder.to_path_buf(), AtomicU64::new(0));
        Ok((Store { engine, reopenings, folder, options, open_disk, disk }, recovered))
    }

    /// What it asks of the disk is watched there, operation by operation.
    fn with<T>(&self, work: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
        let engine = self.engine.read().clone();
        match &engine {
            Some(engine) => work(engine),
            None => Err(Error::new(Code::TargetOffline, "the target is closed")),
        }
    }

    /// As after the death of the process: everything is read and verified again. `Busy` while somebody still
    /// works with the old one. `NotFound`: another disk is there. Nothing is begun on it: the chain takes this process
    /// for one that had everything, and would let it resume (P10). The next one begins it, and says so.
    pub fn reopen(&self, record: &mut TargetRecord) -> Result<Recovered> {
        self.retire()?;
        if !self.disk.watched(|| record.is_there()) {
            return Err(gone());
        }
        // Where the record could not be written when the target failed.
        self.disk.watched(|| record.lose())?;
        let opened = open_engine((&self.open_disk, &self.folder, &self.disk), &self.options, record);
        let engine = opened.map_err(|error| if error.code == Code::NotFound { gone() } else { error })?;
        let recovered = recovered(&engine)?;
        let mut held = self.engine.write();
        self.reopenings.fetch_add(1, Ordering::AcqRel);
        *held = Some(Arc::new(engine));
        Ok(recovered)
    }

    /// Tells the results of one engine from those of the next, and of a closed store.
    pub fn reopenings(&self) -> u64 {
        self.reopenings.load(Ordering::Acquire)
    }

    /// Takes the engine out, with nobody left who works with it.
    fn retire(&self) -> Result<Option<Engine>> {
        let mut held = self.engine.write();
        let Some(engine) = held.take() else { return Ok(None) };
        match Arc::try_unwrap(engine) {
            Ok(engine) => Ok(Some(engine)),
            Err(engine) => {
                *held = Some(engine);
                Err(Error::new(Code::Busy, "the disk still works for the target"))
            }
        }
    }

    /// Flushed, with nothing to replay. For a target that nobody asks any more.
    pub fn close(&self) -> Result<()> {
        loop {
            match self.retire() {
                // A scrub or a repair ends soon.
                Err(error) if error.code == Code::Busy => std::thread::yield_now(),
                retired => return retired?.map_or(Ok(()), Engine::close),
            }
        }
    }

    /// `if_room`: `NoSpace` where its bytes would need the reserve; the chunk is what it was then.
    pub fn stage(
        &self,
        (version, base): (Version, Version),
        update: &chain::Update,
        channel: Channel,
        payload: &Bytes,
        damage: OldDamage,
        if_room: bool,
    ) -> Result<Applied> {
        let chunk = update.chunk;
        let data = std::slice::from_ref(payload);
        let change = match update.kind {
            UpdateKind::UpdateWrite => Update::Write { offset: update.offset, data },
            UpdateKind::UpdateTruncate => Update::Truncate { length: update.length },
            UpdateKind::UpdatePunch => Update::Punch { offset: update.offset, length: update.length },
            UpdateKind::UpdateRemove => Update::Remove,
        };
        // "No such chunk" is one base for the chain; the engine may remember a removal under its version.
        self.with(|engine| {
            let base = match base {
                Version::NONE => engine.meta(chunk).map_or(Version::NONE, |meta| meta.tip()),
                base => base,
            };
            let request = StageRequest {
                chunk,
                version,
                base: Some(base),
                update: change,
                chunk_size: update.chunk_size,
                channel: Some(ChannelUpdate { tag: channel.tag, request_crc: channel.fingerprint }),
                crc: None,
                commit: false,
            };
            let damaged: Option<&[u32]> = (damage == OldDamage::Kept).then_some(&[]);
            let staged = match damaged {
                damaged if if_room => engine.stage_unreserved(&request, damaged)?,
                None => engine.stage(&request)?,
                Some(damaged) => engine.stage_damaged(&request, damaged)?,
            };
            Ok(Applied { chunk_length: staged.chunk_length, allocated_delta: staged.allocated_delta })
        })
    }

    /// Under the replica's lock, perhaps on a network thread, so without a system call, and without waiting for
    /// anybody who makes one. A process that dies may find the version pending again, and rolls it forward like
    /// every other (P6).
    pub fn commit(&self, chunk: ChunkId, version: Version) -> Result<()> {
        self.with(|engine| engine.commit_soon(chunk, version))
    }

    /// The chunk becomes these bytes, committed by the same record. `NoSpace`: it is what it was.
    pub fn replace(&self, replacement: &Replacement, payload: &Bytes) -> Result<()> {
        let committed = replacement.committed;
        let update = match committed.removed {
            true => Update::Remove,
            false => Update::Replace { data: std::slice::from_ref(payload) },
        };
        let request = StageRequest {
            chunk: replacement.chunk,
            version: committed.version,
            base: None,
            update,
            // A chunk that was never here has no size; its removal needs one all the same.
            chunk_size: committed.chunk_size.max(CHUNK_BYTES_MIN as u32),
            channel: None,
            crc: None,
            commit: true,
        };
        self.with(|engine| engine.stage_unreserved(&request, Some(&replacement.damaged_blocks)).map(|_| ()))
    }

    /// The committed version again, with good bytes: another member's. False: it is not the committed one any
    /// more, or something pends. Nothing may be staged meanwhile. `NoSpace`: it is what it was.
    pub fn restore(&self, chunk: ChunkId, version: Version, payload: &Bytes) -> Result<bool> {
        self.with(|engine| {
            let meta = engine.meta(chunk);
            let same = |meta: &ChunkMeta| {
                meta.committed == version
                    && meta.pending.is_empty()
                    && !meta.removed
                    && meta.length as usize == payload.len()
            };
            let Some(meta) = meta.filter(same) else { return Ok(false) };
            let request = StageRequest {
                chunk,
                version,
                base: None,
                update: Update::Replace { data: std::slice::from_ref(payload) },
                chunk_size: meta.chunk_size,
                channel: None,
                crc: None,
                commit: true,
            };
            engine.stage_unreserved(&request, Some(&[])).map(|_| true)
        })
    }

    /// Committed or not.
    pub fn newest(&self, chunk: ChunkId) -> Version {
        let meta = self.with(|engine| Ok(engine.meta(chunk))).ok().flatten();
        meta.map_or(Version::NONE, |meta| meta.tip())
    }

    /// Blocks of the committed chunk that are damaged.
    pub fn damage(&self, chunk: ChunkId) -> Result<Damage> {
        self.with(|engine| engine.damage(chunk))
    }

    /// The same of the piece at `offset`, and its length.
    pub fn damage_at(&self, chunk: ChunkId, offset: u32) -> Result<(u32, Damage)> {
        self.with(|engine| engine.damage_at(chunk, offset))
    }

    /// Committed bytes of the chunk.
    pub fn length(&self, chunk: ChunkId) -> u32 {
        let meta = self.with(|engine| Ok(engine.meta(chunk))).ok().flatten();
        meta.map_or(0, |meta| meta.length)
    }

    /// How many blocks `bytes` put right.
    pub fn mend(&self, chunk: ChunkId, version: Version, first: u32, bytes: &[u8]) -> Result<u32> {
        self.with(|engine| engine.mend(chunk, version, first, bytes))
    }

    /// Everything that is staged and not committed, and the whole exactly-once table.
    pub fn discard(&self) -> Result<()> {
        self.with(|engine| {
            each_row(engine, (FIRST, None), PAGE, |row| {
                if row.pending {
                    engine.discard_pending(row.chunk)?;
                }
                Ok(true)
            })?;
            clear_channels(engine)
        })
    }

    pub fn install_channels(&self, channels: &[Channel]) -> Result<()> {
        let channels: Vec<chunk_engine::Channel> = channels.iter().map(to_engine).collect();
        self.with(|engine| engine.install_channels(&channels))
    }

    pub fn drop_channels(&self, client: ClientId) -> Result<()> {
        self.with(|engine| engine.forget_client(client))
    }

    pub fn flush(&self) -> Result<()> {
        self.with(Engine::flush)
    }

    pub fn failure(&self) -> Option<Error> {
        self.with(|engine| engine.failure().map_or(Ok(()), Err)).err()
    }

    /// Committed chunks and marks of removals from `from` on: `limit` of them, or all that there are.
    pub fn list(&self, from: ChunkId, inode: Option<u64>, limit: usize) -> Result<Vec<ChunkInfo>> {
        let mut listed = Vec::new();
        let visit = |row: &ListedChunk| {
            if row.version != Version::NONE {
                listed.push(ChunkInfo {
                    chunk: Some(row.chunk.into()),
                    version: Some(row.version.into()),
                    length: row.length,
                    removed: row.removed,
                    pending: row.pending,
                    chunk_size: row.chunk_size,
                    ..Default::default()
                });
            }
            Ok(listed.len() < limit)
        };
        self.with(|engine| each_row(engine, (from, inode), limit.min(PAGE), visit))?;
        Ok(listed)
    }

    /// `None` while the disk does not answer, or the engine is opened again.
    pub fn space(&self) -> Option<Space> {
        let space = self.with(Engine::space).ok()?;
        Some(Space {
            capacity_bytes: space.capacity,
            used_bytes: space.used,
            allocatable_bytes: space.allocatable,
            chunks: space.chunks,
        })
    }
}

fn clear_channels(engine: &Engine) -> Result<()> {
    loop {
        let page = engine.channels(None, PAGE);
        if page.is_empty() {
            return Ok(());
        }
        let mut clients: Vec<ClientId> = page.iter().map(|one| one.tag.client).collect();
        clients.dedup();
        clients.into_iter().try_for_each(|client| engine.forget_client(client))?;
    }
}

fn watched(open_disk: &DiskOpener, folder: &Path, disk: &Arc<DiskShare>) -> Result<Arc<dyn Disk>> {
    let opened = disk.watched(|| open_disk.open(folder))?;
    Ok(Arc::new(WatchedDisk::new(opened, disk.clone())))
}

fn open_engine(
    (open_disk, folder, disk): (&DiskOpener, &Path, &Arc<DiskShare>),
    options: &Options,
    record: &mut TargetRecord,
) -> Result<Engine> {
    let (engine, opened) = Engine::open(watched(open_disk, folder, disk)?, options.clone())?;
    disk.watched(|| record.engine_opened(opened.losses))?;
    Ok(engine)
}

fn gone() -> Error {
    let detail =
        "the target's data are gone; restart this server to have it filled again from the other copies";
    Error::new(Code::NotFound, detail)
}

fn recovered(engine: &Engine) -> Result<Recovered> {
    let mut recovered = Recovered::default();
    each_row(engine, (FIRST, None), PAGE, |row| {
        if row.pending {
            recovered.pending.extend(pending_of(engine, row.chunk)?);
        }
        Ok(true)
    })?;
    let mut after = None;
    loop {
        let page = engine.channels(after, PAGE);
        let Some(last) = page.last() else { return Ok(recovered) };
        after = Some((last.tag.client, last.tag.channel));
        recovered.channels.extend(page.iter().map(from_engine));
    }
}

fn pending_of(engine: &Engine, chunk: ChunkId) -> Result<Vec<RecoveredUpdate>> {
    let pending = engine.meta(chunk).map(|meta| meta.pending).unwrap_or_default();
    let channel = |version: Version, tag: Tag| {
        let known = engine.channel(tag.client, tag.channel);
        known
            .filter(|known| known.version == version && known.chunk == chunk)
            .map(|known| from_engine(&known))
    };
    let update = |version: Version, tag: Option<Tag>| RecoveredUpdate {
        chunk,
        version,
        channel: tag.and_then(|tag| channel(version, tag)),
    };
    Ok(pending.into_iter().map(|one| update(one.version, one.tag)).collect())
}

/// Every row from `from` on until `visit` says false; so many are asked of the engine at a time.
fn each_row(
    engine: &Engine,
    (from, inode): (ChunkId, Option<u64>),
    rows: usize,
    mut visit: impl FnMut(&ListedChunk) -> Result<bool>,
) -> Result<()> {
    let mut next = Some(from);
    while let Some(from) = next {
        let page = engine.list(from, inode, rows);
        for row in &page {
            if !visit(row)? {
                return Ok(());
            }
        }
        next = page.last().filter(|_| page.len() == rows).and_then(|last| after(last.chunk));
    }
    Ok(())
}

pub(super) fn after(chunk: ChunkId) -> Option<ChunkId> {
    match (chunk.index.checked_add(1), chunk.inode.checked_add(1)) {
        (Some(index), _) => Some(ChunkId { inode: chunk.inode, index }),
        (None, Some(inode)) => Some(ChunkId { inode, index: 0 }),
        (None, None) => None,
    }
}

fn from_engine(channel: &chunk_engine::Channel) -> Channel {
    Channel {
        tag: channel.tag,
        chunk: channel.chunk,
        version: channel.version,
        fingerprint: channel.request_crc,
        applied: Applied { chunk_length: channel.chunk_length, allocated_delta: channel.allocated_delta },
    }
}

fn to_engine(channel: &Channel) -> chunk_engine::Channel {
    chunk_engine::Channel {
        tag: channel.tag,
        chunk: channel.chunk,
        version: channel.version,
        chunk_length: channel.applied.chunk_length,
        allocated_delta: channel.applied.allocated_delta,
        request_crc: channel.fingerprint,
    }
}

/// Of a store that is gone nothing may be concluded: "absent" would let a resync remove the other copies. A
/// stopped target takes no steps, and one that could not be opened again is offline and looks at nothing.
const OPEN: &str = "the store is open while the replica looks at it";

/// The engine as the replica looks at it.
pub(super) struct Look<'a> {
    store: &'a Store,
    room_limit: &'a Limit,
}

impl<'a> Look<'a> {
    pub fn new(store: &'a Store, room_limit: &'a Limit) -> Self {
        Look { store, room_limit }
    }
}

impl Chunks for Look<'_> {
    fn committed(&self, chunk: ChunkId) -> Committed {
        match self.store.with(|engine| Ok(engine.meta(chunk))).expect(OPEN) {
            Some(meta) => Committed {
                version: meta.committed,
                length: meta.length,
                removed: meta.removed,
                chunk_size: meta.chunk_size,
            },
            None => Committed::default(),
        }
    }

    fn list(&self, from: ChunkId, limit: usize) -> Vec<Listed> {
        let rows = self.store.list(from, None, limit).expect(OPEN);
        rows.iter().map(super::to_peers::listed).collect()
    }

    fn forgotten(&self) -> Version {
        self.store.with(|engine| Ok(engine.forgotten())).expect(OPEN)
    }

    fn allocatable_bytes(&self) -> u64 {
        self.store.disk.room.left(self.room_limit)
    }
}
