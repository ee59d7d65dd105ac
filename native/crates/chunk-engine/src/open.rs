//! Making a target, and opening one: the catalogue, then the journal on top of it. Records covered by a flush
//! mark are taken as they are; of later ones every directly written block is verified and written again, and a
//! chunk that fails returns to its last good version (P12). Written again, because a flush that failed may have
//! left a block in the page cache alone, where it counts as clean: no later flush would write it. Opening ends
//! with a checkpoint, so that nothing dropped can come back.

mod replay;

use crate::catalog::Catalog;
use crate::channels::{Channel, Channels};
use crate::checkpoint::{FORMAT, work};
use crate::commit::entry_of;
use crate::disk::Disk;
use crate::engine::{Core, Engine, Signal};
use crate::flush::Flusher;
use crate::index::Index;
use crate::journal::{Journal, Rotation};
use crate::layout::Presence;
use crate::museum::{Planted, planted};
use crate::options::Options;
use crate::segments::{ExtentAddress, Segments};
use crate::throttle::Pace;
use crate::volume::Volume;
use crate::{catalog, journal, segments, volume};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::message::StoredTarget;
use wire::{ChunkId, Code, Error, Result};

/// An empty file that says that a target was made to the end.
const MADE: &str = "target";

fn is_ours(name: &str) -> bool {
    name == catalog::FILE
        || name == volume::RESERVE
        || journal::parse(name).is_some()
        || segments::parse(name).is_some()
}

/// How a target came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Nothing that the journal names is missing or damaged. `false`: see `dropped`.
    pub complete: bool,
    /// Openings that set chunks back since the target was made, this one among them. Whoever must know of each
    /// compares with what it knew: an opening may be cut off after it set them back.
    pub losses: u64,
    /// It was closed in order; nothing had to be replayed.
    pub clean: bool,
    /// Chunks that returned to an earlier version because later bytes were not on the medium.
    pub dropped: Vec<ChunkId>,
    /// Records read from the journal.
    pub replayed: u64,
}

impl Engine {
    /// Makes an empty target. `Exists` if the disk holds one.
    pub fn create(disk: Arc<dyn Disk>, options: Options) -> Result<Engine> {
        let volume = Arc::new(Volume::new(disk));
        if volume.open(MADE)?.is_some() {
            return Err(Error::new(Code::Exists, "the disk holds a target already"));
        }
        // A making that was cut off left files that nothing may trust.
        for name in volume.list()?.iter().filter(|name| is_ours(name)) {
            volume.remove(name)?;
        }
        let catalog = Catalog::open(volume.clone(), options.catalog_cache_bytes)?;
        volume.open_reserve(options.reserve_bytes)?;
        let target = StoredTarget {
            format: FORMAT,
            first_journal: 1,
            next_record: 1,
            segment_bytes: options.segment_bytes,
            ..StoredTarget::default()
        };
        catalog.write(|tables| tables.put_target(&target))?;
        volume.create(MADE)?;
        let (engine, _) = Engine::finish(volume, catalog, target, options)?;
        Ok(engine)
    }

    /// Opens the target that the disk holds. `NotFound` if there is none, `NewerData` if a newer release
    /// wrote it.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Engine, Opened)> {
        let volume = Arc::new(Volume::new(disk));
        let none = || Error::new(Code::NotFound, "the disk holds no target");
        if volume.open(MADE)?.is_none() {
            return Err(none());
        }
        let catalog = Catalog::open(volume.clone(), options.catalog_cache_bytes)?;
        let target = catalog.target()?.ok_or_else(none)?;
        if target.format > FORMAT {
            let text = format!("the target has format {}, this release knows {FORMAT}", target.format);
            return Err(Error::new(Code::NewerData, text));
        }
        volume.open_reserve(options.reserve_bytes)?;
        Engine::finish(volume, catalog, target, options)
    }

    fn finish(
        volume: Arc<Volume>,
        catalog: Catalog,
        target: StoredTarget,
        options: Options,
    ) -> Result<(Engine, Opened)> {
        let options = Options { segment_bytes: target.segment_bytes, ..options };
        let segments = Segments::open(volume.clone(), options.segment_bytes)?;
        let index = Index::new(options.layout_cache_bytes);
        let channels = Channels::default();
        let scan = replay::scan(&volume, &target)?;
        let loaded = load(&catalog, &segments, &index, &channels, &scan)?;
        let stored =
            replay::Stored { volume: &volume, catalog: &catalog, segments: &segments, index: &index };
        let replayed = replay::replay(&stored, &channels, &target, &scan, loaded.unsettled)?;
        let complete = replayed.dropped.is_empty() && !scan.broken;
        let next_record = replayed.next_record.max(loaded.last_record + 1);
        let journal = Journal::start(volume.clone(), replayed.next_journal, next_record)?;
        let core = Core {
            volume,
            segments,
            index,
            journal,
            catalog,
            channels,
            flusher: Flusher::default(),
            retired: Mutex::new(VecDeque::new()),
            checkpoint: Mutex::new(()),
            checkpoint_signal: Signal::default(),
            pace: Pace::default(),
            leaks: Mutex::new(false),
            forgotten: Mutex::new(target.forgotten.unwrap_or_default().into()),
            losses: target.losses + u64::from(!complete),
            tombstones: AtomicU64::new(0),
            used_blocks: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            options,
        };
        core.count(loaded.settled_blocks);
        // The process before may have died between the making of a file and the flush of its name.
        core.volume.flush_names("the names of files")?;
        // What was replayed need not be on the medium yet. No block goes in place or back to the file system,
        // and no mark covers a record that was dropped, before the catalogue holds what the replay made of
        // the journal.
        core.write_catalog(Rotation { journal: replayed.next_journal, first_record: next_record }, false)?;
        core.flusher.start_at(next_record - 1);
        if !target.clean && !planted(Planted::LeaksStay) {
            core.reclaim()?;
        }
        let opened = Opened {
            complete: complete || planted(Planted::SetBackUnsaid),
            losses: core.losses,
            clean: target.clean,
            dropped: replayed.dropped,
            replayed: replayed.records,
        };
        log::info!(target: "chunk_engine", replayed = opened.replayed, dropped = opened.dropped.len(), clean = opened.clean; "target_opened");
        if !core.options.background {
            core.reclaim_leaks()?;
        }
        let core = Arc::new(core);
        let worker = core.options.background.then(|| start_worker(&core));
        Ok((Engine { core, worker }, opened))
    }
}

fn start_worker(core: &Arc<Core>) -> std::thread::JoinHandle<()> {
    let core = core.clone();
    let builder = std::thread::Builder::new().name("checkpoint".to_string());
    builder.spawn(move || work(&core)).expect("a thread can be started")
}

struct Loaded {
    /// Chunks with pending versions or images: their details are wanted at once.
    unsettled: Vec<ChunkId>,
    settled_blocks: u64,
    last_record: u64,
}

/// Reads the catalogue's chunks and channels into memory, and takes the extents of chunks at rest. A
/// checkpoint saves chunks one after another while updates go on, so an extent may stand at one chunk that
/// gave it up later (the journal says so) and at the next that got it: extents of chunks that the journal
/// changed are taken after the replay.
fn load(
    catalog: &Catalog,
    segments: &Segments,
    index: &Index,
    channels: &Channels,
    scan: &replay::Scan,
) -> Result<Loaded> {
    let mut loaded = Loaded { unsettled: Vec::new(), settled_blocks: 0, last_record: 0 };
    catalog.for_each_chunk(|chunk, head| {
        loaded.last_record = loaded.last_record.max(head.last_record);
        if head.unsettled {
            loaded.unsettled.push(chunk);
        } else if !scan.chunks.contains(&chunk) {
            loaded.settled_blocks += u64::from(head.stored_blocks);
            for plane in &head.planes {
                segments.mark_used(ExtentAddress { segment: plane.segment, extent: plane.extent })?;
            }
        }
        index.shard(chunk).entries.insert(chunk, entry_of(&head));
        Ok(())
    })?;
    let mut last_channel_record = 0;
    let mut bad = None;
    catalog.for_each_channel(|stored| match stored.channel.as_ref().map(Channel::try_from) {
        Some(Ok(channel)) => {
            last_channel_record = last_channel_record.max(stored.record);
            channels.load(stored.record, channel);
        }
        other => bad = other.and_then(Result::err),
    })?;
    loaded.last_record = loaded.last_record.max(last_channel_record);
    bad.map_or(Ok(loaded), Err)
}

impl Core {
    /// Counts chunks and blocks after opening. `settled_blocks`: of the chunks that are at rest.
    fn count(&self, settled_blocks: u64) {
        let mut used = settled_blocks;
        for mut shard in self.index.shards() {
            let mut live = 0;
            for entry in shard.entries.values() {
                live += u64::from(entry.presence == Presence::Present);
                self.count_tombstone(Presence::Absent, entry.presence);
                if let Some(active) = &entry.active {
                    used += active.used_blocks();
                }
            }
            shard.live = live;
        }
        self.used_blocks.store(used, Ordering::Relaxed);
    }
}
