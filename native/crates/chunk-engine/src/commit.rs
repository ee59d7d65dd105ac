//! Committing and discarding pending versions, and bringing a chunk's details into memory.

use crate::catalog::Catalog;
use crate::chunk::{Active, Entry, Image, Plane, Retired};
use crate::engine::{Core, Engine};
use crate::index::Shard;
use crate::layout::{ALL_CHANGED, HOLE, Layout, Presence, blocks_of};
use crate::segments::{ExtentAddress, Segments};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::message::{JournalCommit, JournalDiscard, JournalRecord, StoredBlocks, StoredChunk, StoredPending};
use wire::{ChunkId, Code, Error, Result, Tag, Version};

impl Engine {
    /// Makes `version`, and every pending version before it, committed. Committed already: nothing to do.
    pub fn commit(&self, chunk: ChunkId, version: Version) -> Result<()> {
        let core = &*self.core;
        core.check()?;
        let _lock = core.index.lock_chunk(chunk);
        {
            let mut shard = core.index.shard(chunk);
            if !is_pending(&mut shard, chunk, version)? {
                return Ok(());
            }
            shard.active(chunk).expect("a chunk with pending versions is active").deciding = true;
        }
        core.decide(chunk, &commit_record(chunk, version), |shard, record| {
            core.commit_up_to(shard, chunk, version, record);
        })
    }

    /// `commit` without waiting for the disk, nor for anybody who does: reads see it at once, and the record
    /// goes out with the next one, or the next flush. After the death of the process the version may be pending
    /// again, and then it is the last thing that happened to this target. Only behind a `commit` or
    /// `discard_pending` of the same chunk it waits as they do.
    pub fn commit_soon(&self, chunk: ChunkId, version: Version) -> Result<()> {
        let core = &*self.core;
        core.check()?;
        loop {
            let showing = core.journal.showing();
            let mut shard = core.index.shard(chunk);
            if shard.active(chunk).is_some_and(|active| active.deciding) {
                drop((shard, showing));
                drop(core.index.lock_chunk(chunk));
                continue;
            }
            // The number and what it does are one step for everybody who looks at the chunk. An update that
            // is just being recorded follows a version that this one only commits.
            if is_pending(&mut shard, chunk, version)? {
                let record = core.journal.append_later(&commit_record(chunk, version), &showing);
                core.commit_up_to(&mut shard, chunk, version, record);
            }
            return Ok(());
        }
    }

    /// Drops every pending version, for resync from a serving predecessor only (P6).
    pub fn discard_pending(&self, chunk: ChunkId) -> Result<()> {
        let core = &*self.core;
        core.check()?;
        let _lock = core.index.lock_chunk(chunk);
        {
            let mut shard = core.index.shard(chunk);
            let Some(active) = shard.active(chunk).filter(|active| !active.pending.is_empty()) else {
                return Ok(());
            };
            active.deciding = true;
        }
        let discard = JournalDiscard { chunk: Some(chunk.into()) };
        let record = JournalRecord { discard: Some(discard), ..JournalRecord::default() };
        core.decide(chunk, &record, |shard, record| core.discard(shard, chunk, record))
    }
}

/// False: it is committed already.
fn is_pending(shard: &mut Shard, chunk: ChunkId, version: Version) -> Result<bool> {
    let entry = shard.entries.get_mut(&chunk);
    let committed = entry.as_ref().is_some_and(|entry| entry.version == version);
    let active = entry.and_then(|entry| entry.active.as_ref());
    let pending = active.is_some_and(|active| active.pending.iter().any(|layout| layout.version == version));
    match pending || committed {
        true => Ok(pending),
        false => Err(Error::new(Code::MissingVersion, format!("{version:?} of {chunk:?} is not pending"))),
    }
}

fn commit_record(chunk: ChunkId, version: Version) -> JournalRecord {
    let commit = JournalCommit { chunk: Some(chunk.into()), version: Some(version.into()) };
    JournalRecord { commit: Some(commit), ..JournalRecord::default() }
}

impl Core {
    /// Writes the record for which the chunk is `deciding`, and then does what it says.
    fn decide(
        &self,
        chunk: ChunkId,
        record: &JournalRecord,
        then: impl FnOnce(&mut Shard, u64),
    ) -> Result<()> {
        let written = self.journal.append(record, &[]);
        let mut shard = self.index.shard(chunk);
        shard.active(chunk).expect("a chunk with pending versions is active").deciding = false;
        let (number, _showing) = written?;
        then(&mut shard, number);
        Ok(())
    }

    /// The record is written: pending versions up to `version` become committed.
    pub fn commit_up_to(&self, shard: &mut Shard, chunk: ChunkId, version: Version, record: u64) {
        let entry = shard.entries.get_mut(&chunk).expect("a chunk with pending versions is there");
        let before = entry.presence;
        entry.last_record = entry.last_record.max(record);
        let active = entry.active.as_mut().expect("a chunk with pending versions is active");
        let mut retired: Vec<Retired> = Vec::new();
        // A replacement may have the version that is committed already: the pending one is meant.
        loop {
            retired.extend(active.commit_next(record));
            if active.committed.version == version {
                break;
            }
        }
        entry.refresh();
        let after = entry.presence;
        shard.count_presence(before, after);
        self.count_tombstone(before, after);
        self.changed(shard, chunk, retired);
    }

    pub fn discard(&self, shard: &mut Shard, chunk: ChunkId, record: u64) {
        let entry = shard.entries.get_mut(&chunk).expect("a chunk with pending versions is there");
        entry.last_record = entry.last_record.max(record);
        let active = entry.active.as_mut().expect("a chunk with pending versions is active");
        for layout in &active.pending {
            if let Some(tag) = &layout.tag {
                self.channels.forget_update(tag, chunk, layout.version);
            }
        }
        let retired = active.discard(record);
        self.changed(shard, chunk, retired);
    }

    fn changed(&self, shard: &mut Shard, chunk: ChunkId, retired: impl IntoIterator<Item = Retired>) {
        for one in retired {
            shard.active(chunk).expect("a changed chunk is active").retired += 1;
            self.retired.lock().push_back((chunk, one));
        }
        self.index.mark_dirty(shard, chunk);
    }

    pub fn count_tombstone(&self, before: Presence, after: Presence) {
        if after == Presence::Removed && before != Presence::Removed {
            self.tombstones.fetch_add(1, Ordering::Relaxed);
        }
        if before == Presence::Removed && after != Presence::Removed {
            self.tombstones.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Brings the details of a chunk into memory; of a chunk that is not known, nothing.
    pub fn activate(&self, chunk: ChunkId) -> Result<()> {
        let last_record = {
            let mut shard = self.index.shard(chunk);
            match shard.entries.get_mut(&chunk) {
                Some(entry) if entry.active.is_none() && entry.presence == Presence::Removed => {
                    // All there is to know; and a checkpoint may be dropping its row just now.
                    entry.active = Some(Box::new(Active::new(entry.tombstone())));
                    self.index.settle_wanted(&mut shard, chunk);
                    return Ok(());
                }
                Some(entry) if entry.active.is_none() => entry.last_record,
                _ => return Ok(()),
            }
        };
        let loaded = load(&self.catalog, &self.segments, chunk);
        let mut shard = self.index.shard(chunk);
        if let Some(entry) = shard.entries.get_mut(&chunk)
            && entry.active.is_none()
            && entry.last_record == last_record
        {
            // Of a chunk that changed meanwhile, what was found says nothing, not even that it is damaged.
            let mut active = loaded?.ok_or_else(|| lost(chunk))?;
            active.rebuild_planes();
            entry.active = Some(Box::new(active));
            self.index.settle_wanted(&mut shard, chunk);
        }
        Ok(())
    }
}

fn lost(chunk: ChunkId) -> Error {
    Error::new(Code::Corrupt, format!("the catalogue lost {chunk:?}"))
}

/// A chunk's details from the catalogue.
pub(crate) fn load(catalog: &Catalog, segments: &Segments, chunk: ChunkId) -> Result<Option<Active>> {
    let Some((head, blocks)) = catalog.chunk(chunk)? else { return Ok(None) };
    let mut active = Active::new(committed_layout(&head, &blocks)?);
    for plane in &head.planes {
        let address = ExtentAddress { segment: plane.segment, extent: plane.extent };
        put_plane(&mut active, segments, plane.plane, address)?;
    }
    let pending: Result<VecDeque<Arc<Layout>>> =
        blocks.pending.iter().map(|one| pending_layout(one).map(Arc::new)).collect();
    active.pending = pending?;
    for image in &blocks.images {
        let committed = if image.record <= blocks.record { image.record } else { 0 };
        active.images.insert((image.block, image.record), Image { committed, data: image.data[..].into() });
    }
    active.protected_length = active.longest();
    Ok(Some(active))
}

/// Plane `number` of the chunk is this extent.
pub(crate) fn put_plane(
    active: &mut Active,
    segments: &Segments,
    number: u32,
    at: ExtentAddress,
) -> Result<()> {
    let file = segments.file(at.segment).filter(|_| number < u32::from(HOLE));
    let file = file.ok_or_else(|| Error::new(Code::Corrupt, format!("{at:?} is named but not there")))?;
    let number = number as usize;
    if active.planes.len() <= number {
        active.planes.resize_with(number + 1, || None);
    }
    active.planes[number] = Some(Plane::new(at, file));
    Ok(())
}

pub(crate) fn presence_of(head: &StoredChunk) -> Presence {
    match (head.exists, head.removed) {
        (_, true) => Presence::Removed,
        (true, false) => Presence::Present,
        (false, false) => Presence::Absent,
    }
}

fn committed_layout(head: &StoredChunk, blocks: &StoredBlocks) -> Result<Layout> {
    let layout = Layout {
        record: blocks.record,
        version: head.version.unwrap_or_default().into(),
        tag: None,
        length: head.length,
        chunk_size: head.chunk_size,
        presence: presence_of(head),
        slots: if blocks.slots.is_empty() { vec![0; blocks.crcs.len()] } else { blocks.slots.to_vec() },
        crcs: blocks.crcs.clone(),
        changed: ALL_CHANGED,
    };
    whole(layout)
}

fn pending_layout(stored: &StoredPending) -> Result<Layout> {
    let layout = Layout {
        record: stored.record,
        version: stored.version.unwrap_or_default().into(),
        tag: stored.tag.as_ref().map(Tag::try_from).transpose()?,
        length: stored.length,
        chunk_size: stored.chunk_size,
        presence: if stored.removed { Presence::Removed } else { Presence::Present },
        slots: stored.slots.to_vec(),
        crcs: stored.crcs.clone(),
        changed: ALL_CHANGED,
    };
    whole(layout)
}

fn whole(layout: Layout) -> Result<Layout> {
    let blocks = blocks_of(layout.length) as usize;
    if layout.slots.len() != blocks || layout.crcs.len() != blocks {
        return Err(Error::new(
            Code::Corrupt,
            "a stored chunk has another number of blocks than its length says",
        ));
    }
    Ok(layout)
}

/// A chunk as the catalogue's scan found it.
pub(crate) fn entry_of(head: &StoredChunk) -> Entry {
    let layout = Layout {
        version: head.version.unwrap_or_default().into(),
        length: head.length,
        chunk_size: head.chunk_size,
        presence: presence_of(head),
        ..Layout::absent()
    };
    Entry::of(&layout, head.last_record)
}
