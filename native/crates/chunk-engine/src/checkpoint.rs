//! The checkpoint: journaled blocks go in place, changed chunks and channels into the catalogue, and the
//! journal starts anew. Writers go on; they wait only if the journal reaches twice its limit. The order of
//! steps is the crash argument (docs/storage-engine.md): nothing is overwritten in place before its record
//! and its commit are on the medium, and the old journal goes only after the catalogue holds what it said.

use crate::catalog::Tables;
use crate::channels::{ChannelKey, Save};
use crate::chunk::{Active, Entry};
use crate::engine::{Core, Engine};
use crate::journal::Rotation;
use crate::layout::{Layout, Presence};
use crate::museum::{Planted, planted};
use crate::segments::SegmentFile;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wire::message::{StoredBlocks, StoredChunk, StoredImage, StoredPending, StoredPlane, StoredTarget};
use wire::{ChunkId, Result, Version};

/// Records of this release. 2: an image without bytes has them in the journal. 3: openings that set chunks back are
/// counted.
pub(crate) const FORMAT: u32 = 3;

impl Engine {
    /// Brings the catalogue up to date and starts a new journal. Called by itself when limits are reached.
    pub fn checkpoint(&self) -> Result<()> {
        self.core.check()?;
        self.core.checkpoint(false)
    }

    /// The orderly end: everything is flushed, the catalogue is complete, and the target is marked clean.
    pub fn close(mut self) -> Result<()> {
        self.stop_worker();
        self.core.check()?;
        let result = self.core.checkpoint(true);
        self.core.closed.store(true, Ordering::Release);
        result
    }

    fn stop_worker(&mut self) {
        self.core.checkpoint_signal.state.lock().stop = true;
        self.core.checkpoint_signal.changed.notify_all();
        if let Some(worker) = self.worker.take() {
            worker.join().expect("the checkpoint thread does not panic");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_worker();
    }
}

/// What the checkpoint thread does until the engine goes.
pub(crate) fn work(core: &Core) {
    // A failure is kept by the volume, and the next call of anyone meets it.
    if let Err(error) = core.reclaim_leaks() {
        log::error!(target: "chunk_engine", error = error.to_string().as_str(); "reclaim_failed");
    }
    loop {
        let mut state = core.checkpoint_signal.state.lock();
        while !state.wanted && !state.stop {
            core.checkpoint_signal.changed.wait(&mut state);
        }
        if state.stop {
            return;
        }
        state.wanted = false;
        drop(state);
        if let Err(error) = core.checkpoint(false) {
            log::error!(target: "chunk_engine", error = error.to_string().as_str(); "checkpoint_failed");
        }
        core.checkpoint_signal.state.lock().rounds += 1;
        core.checkpoint_signal.changed.notify_all();
    }
}

impl Core {
    pub fn checkpoint(&self, clean: bool) -> Result<()> {
        let _one = self.checkpoint.lock();
        // The long flush comes before the switch: what is overwritten after the switch cannot go in place
        // this time, and has to be kept in the catalogue.
        if !planted(Planted::InPlaceBeforeRecord) {
            self.flush()?;
        }
        let prepared = self.journal.prepare()?;
        // A record in the old journal must show in memory by now, or what follows would miss it.
        let rotation = self.journal.rotate(prepared);
        if !planted(Planted::InPlaceBeforeRecord) {
            self.flush()?;
        }
        self.volume.refill_reserve()?;
        self.write_catalog(rotation, clean)
    }

    /// Everything that changed goes into the catalogue; journals before `rotation` go away.
    pub fn write_catalog(&self, rotation: Rotation, clean: bool) -> Result<()> {
        let chunks = self.index.take_dirty();
        let mut saved: BTreeMap<ChunkId, u64> = BTreeMap::new();
        let expired = self.expired_tombstones(rotation);
        if planted(Planted::JournalRemovedEarly) {
            self.journal.remove_before(rotation.journal)?;
        }
        let mut channels = Vec::new();
        let written = self.catalog.write(|tables| {
            let mut relies_on_journal = false;
            for chunk in &chunks {
                let (last_record, journaled) = self.save(*chunk, rotation, tables)?;
                saved.insert(*chunk, last_record);
                relies_on_journal |= journaled;
            }
            channels = self.save_channels(rotation, &saved, tables)?;
            expired.iter().try_for_each(|(chunk, _)| tables.remove_chunk(*chunk))?;
            tables.put_target(&self.target_record(rotation, &expired, clean))?;
            // What the records above describe must be on the medium before they are.
            if !planted(Planted::CatalogBeforeBytes) {
                self.segments.flush()?;
            }
            if relies_on_journal { self.journal.flush() } else { Ok(()) }
        });
        if let Err(error) = written {
            self.return_unsaved(&chunks, &saved, channels);
            return Err(error);
        }
        self.journal.remove_before(rotation.journal)?;
        self.finish(&saved, &expired);
        log::debug!(target: "chunk_engine", chunks = saved.len(), journal = rotation.journal; "checkpoint_done");
        Ok(())
    }

    /// A checkpoint that met a full disk: what it took to be saved waits for the next one, else that one would
    /// remove the journal that alone has it.
    fn return_unsaved(&self, chunks: &[ChunkId], saved: &BTreeMap<ChunkId, u64>, channels: Vec<ChannelKey>) {
        if planted(Planted::FailedCheckpointForgets) {
            return;
        }
        for chunk in chunks {
            let mut shard = self.index.shard(*chunk);
            let active = shard.active(*chunk).expect("a chunk that is not saved stays active");
            active.saving = false;
            // One that was not reached still has its flag, and stands in no list.
            active.dirty &= saved.contains_key(chunk);
            self.index.mark_dirty(&mut shard, *chunk);
        }
        self.channels.mark_dirty(channels);
    }

    fn target_record(&self, rotation: Rotation, expired: &[(ChunkId, Version)], clean: bool) -> StoredTarget {
        let mut forgotten = self.forgotten.lock();
        *forgotten = expired.iter().map(|(_, version)| *version).fold(*forgotten, Version::max);
        StoredTarget {
            format: FORMAT,
            first_journal: rotation.journal,
            next_record: rotation.first_record,
            clean,
            forgotten: Some((*forgotten).into()),
            segment_bytes: self.options.segment_bytes,
            losses: self.losses,
        }
    }

    /// Puts a chunk's images in place as far as they are flushed, and the chunk into the catalogue. The last
    /// record in it, and whether bytes of it are in the new journal only.
    fn save(&self, chunk: ChunkId, rotation: Rotation, tables: &mut Tables<'_>) -> Result<(u64, bool)> {
        let _lock = self.index.lock_chunk(chunk);
        self.settle_images(chunk)?;
        let (head, blocks, last_record, journaled) = {
            let mut shard = self.index.shard(chunk);
            let entry = shard.entries.get_mut(&chunk).expect("a dirty chunk is there");
            let last_record = entry.last_record;
            let active = entry.active.as_mut().expect("a dirty chunk is active");
            let (head, blocks) = stored(active, last_record, rotation);
            (active.dirty, active.saving) = (false, true);
            let journaled = active.images.keys().any(|(_, record)| *record >= rotation.first_record);
            if !active.images.is_empty() {
                // Come back at the next checkpoint to put them in place.
                self.index.mark_dirty(&mut shard, chunk);
            }
            (head, blocks, last_record, journaled)
        };
        tables.put_chunk(chunk, &head, &blocks)?;
        Ok((last_record, journaled))
    }

    /// Writes the committed images whose commit is on the medium to where their blocks lie.
    fn settle_images(&self, chunk: ChunkId) -> Result<()> {
        let flushed = if planted(Planted::InPlaceBeforeRecord) { u64::MAX } else { self.flusher.flushed() };
        let mut ready = Vec::new();
        {
            let mut shard = self.index.shard(chunk);
            let entry = shard.entries.get_mut(&chunk).expect("a dirty chunk is there");
            let active = entry.active.as_ref().expect("a dirty chunk is active");
            let committed = &active.committed;
            for ((block, record), image) in &active.images {
                let newest = active.image(committed, *block).is_some_and(|(newest, _)| newest == *record);
                if image.committed != 0
                    && image.committed <= flushed
                    && committed.is_overlaid(*block)
                    && newest
                {
                    let plane = committed.plane(*block).expect("an overlaid block has a place");
                    let plane = active.planes[plane as usize].as_ref().expect("a used plane is there");
                    let offset = plane.file.offset(plane.address.extent, *block);
                    ready.push(Settling {
                        block: *block,
                        record: *record,
                        file: plane.file.clone(),
                        offset,
                        data: image.data.clone(),
                        stored: committed.stored(*block),
                    });
                }
            }
            if ready.is_empty() {
                return Ok(());
            }
            entry.generation = self.index.next_generation();
            entry.active.as_mut().expect("a dirty chunk is active").rewriting = true;
        }
        let written = self.write_in_place(&ready);
        if written.is_ok() {
            let mut shard = self.index.shard(chunk);
            let active = shard.active(chunk).expect("a dirty chunk is active");
            ready.iter().for_each(|one| active.settle_image(one.block, one.record));
        }
        written.and(self.end_rewriting(chunk))
    }

    /// Neighbours with one write, and all writes to a file at once.
    fn write_in_place(&self, ready: &[Settling]) -> Result<()> {
        let parts: Vec<IoSlice<'_>> = ready.iter().map(|one| IoSlice::new(one.bytes())).collect();
        let mut start = 0;
        while start < ready.len() {
            let file = &ready[start].file;
            let (mut writes, mut first, mut next) = (Vec::new(), start, start);
            while next < ready.len() && ready[next].file.id == file.id {
                next += 1;
                let last = &ready[next - 1];
                let joined =
                    |one: &Settling| one.file.id == file.id && one.offset == last.offset + last.stored as u64;
                if !ready.get(next).is_some_and(joined) {
                    writes.push((ready[first].offset, &parts[first..next]));
                    first = next;
                }
            }
            self.volume.write_many(&*file.file, &writes, "a segment")?;
            file.mark_dirty();
            start = next;
        }
        Ok(())
    }

    /// A channel's entry goes with the update that it names, in the same checkpoint or after it: never an
    /// entry without its update, never an update whose entry an older one hides.
    fn save_channels(
        &self,
        rotation: Rotation,
        saved: &BTreeMap<ChunkId, u64>,
        tables: &mut Tables<'_>,
    ) -> Result<Vec<ChannelKey>> {
        let covered = |chunk: ChunkId, record: u64| {
            record < rotation.first_record || saved.get(&chunk).is_some_and(|last| *last >= record)
        };
        self.channels.save(covered, |(client, channel), save| match save {
            Save::Put(record) => tables.put_channel(client, channel, &record),
            Save::Remove => tables.remove_channel(client, channel),
        })
    }

    /// Tombstones beyond the limit, the oldest first, a quarter at once. Only those that the new journal does
    /// not name.
    fn expired_tombstones(&self, rotation: Rotation) -> Vec<(ChunkId, Version)> {
        let count = self.tombstones.load(Ordering::Relaxed);
        if count <= self.options.tombstones_max {
            return Vec::new();
        }
        let mut found = Vec::new();
        for shard in self.index.shards() {
            found.extend(shard.entries.iter().filter_map(|(chunk, entry)| {
                let at_rest = entry.active.as_ref().is_none_or(|active| active.is_settled());
                let old = entry.last_record < rotation.first_record;
                let expired = entry.presence == Presence::Removed && at_rest && old;
                expired.then_some((entry.last_record, *chunk, entry.version))
            }));
        }
        found.sort_unstable();
        let wanted = (count - self.options.tombstones_max * 3 / 4) as usize;
        found.truncate(wanted);
        found.into_iter().map(|(_, chunk, version)| (chunk, version)).collect()
    }

    /// The catalogue holds them: they may leave memory.
    fn finish(&self, saved: &BTreeMap<ChunkId, u64>, expired: &[(ChunkId, Version)]) {
        for chunk in saved.keys() {
            let mut shard = self.index.shard(*chunk);
            if let Some(active) = shard.active(*chunk) {
                active.saving = false;
            }
            self.index.settle(&mut shard, *chunk);
        }
        for (chunk, version) in expired {
            let _lock = self.index.lock_chunk(*chunk);
            let mut shard = self.index.shard(*chunk);
            let same = |entry: &Entry| entry.version == *version && entry.presence == Presence::Removed;
            let at_rest = |entry: &Entry| entry.active.as_ref().is_none_or(|active| active.is_settled());
            // It may have come back to life meanwhile; then the journal and the next checkpoint have it.
            if shard.entries.get(chunk).is_some_and(|entry| same(entry) && at_rest(entry)) {
                shard.forget(*chunk);
                self.tombstones.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

/// An image that is about to go in place.
struct Settling {
    block: u32,
    record: u64,
    file: Arc<SegmentFile>,
    offset: u64,
    data: Arc<[u8]>,
    /// Bytes of it that the committed version has.
    stored: usize,
}

impl Settling {
    fn bytes(&self) -> &[u8] {
        &self.data[..self.stored]
    }
}

/// What the catalogue keeps of a chunk. The bytes of images from the journal that stays are not repeated:
/// writing them twice would cost more than putting them in place.
fn stored(active: &Active, last_record: u64, rotation: Rotation) -> (StoredChunk, StoredBlocks) {
    let committed = &active.committed;
    let mut planes = Vec::new();
    for (number, plane) in active.planes.iter().enumerate() {
        let named =
            |layout: &Layout| (0..layout.blocks()).any(|block| layout.plane(block) == Some(number as u8));
        if let Some(plane) = plane.as_ref().filter(|_| active.layouts().any(|layout| named(layout))) {
            let (segment, extent) = (plane.address.segment, plane.address.extent);
            planes.push(StoredPlane { plane: number as u32, segment, extent });
        }
    }
    let head = StoredChunk {
        version: Some(committed.version.into()),
        length: committed.length,
        chunk_size: committed.chunk_size,
        removed: committed.presence == Presence::Removed,
        stored_blocks: committed.stored_blocks(),
        last_record,
        planes,
        exists: committed.presence == Presence::Present,
        unsettled: !active.pending.is_empty() || !active.images.is_empty(),
    };
    let simple = committed.slots.iter().all(|slot| *slot == 0);
    let pending = active.pending.iter().map(|layout| StoredPending {
        version: Some(layout.version.into()),
        length: layout.length,
        chunk_size: layout.chunk_size,
        removed: layout.presence == Presence::Removed,
        slots: bytes::Bytes::copy_from_slice(&layout.slots),
        crcs: layout.crcs.clone(),
        record: layout.record,
        tag: layout.tag.map(Into::into),
    });
    let images = active.images.iter().map(|((block, record), image)| StoredImage {
        block: *block,
        record: *record,
        data: match *record < rotation.first_record && !planted(Planted::ImageLeftOut) {
            true => bytes::Bytes::copy_from_slice(&image.data),
            false => bytes::Bytes::new(),
        },
    });
    let blocks = StoredBlocks {
        slots: if simple { bytes::Bytes::new() } else { bytes::Bytes::copy_from_slice(&committed.slots) },
        crcs: committed.crcs.clone(),
        pending: pending.collect(),
        images: images.collect(),
        record: committed.record,
    };
    (head, blocks)
}
