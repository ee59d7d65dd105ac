//! The engine checks its own books against the disk: every extent has one owner, every block one version
//! that shows it, the counters are right, each file holds as many bytes as its chunks say, and every stored
//! byte matches its checksum. It changes nothing.

use crate::checksum::BLOCK_BYTES;
use crate::chunk::{Active, Entry};
use crate::engine::{Core, Engine};
use crate::layout::Presence;
use crate::segments::ExtentAddress;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use wire::{ChunkId, Code, Result};

/// What `check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub chunks: u64,
    pub bytes: u64,
    /// Chunks with a block that does not match its checksum.
    pub corrupt: Vec<ChunkId>,
    /// Sentences about books that do not agree; each is a bug of the engine, or someone else changed its
    /// files.
    pub wrong: Vec<String>,
}

/// What the chunks say, summed up.
#[derive(Default)]
struct Books {
    owned: BTreeSet<ExtentAddress>,
    /// Blocks in use of each segment.
    used_blocks: BTreeMap<u32, u64>,
    live: u64,
    tombstones: u64,
}

impl Engine {
    /// Reads everything. For a quiet target: updates during the check are counted half.
    pub fn check(&self) -> Result<CheckReport> {
        self.flush()?;
        let core = &*self.core;
        core.reclaim_leaks()?;
        let (mut report, mut books) = (CheckReport::default(), Books::default());
        let chunks: Vec<ChunkId> =
            core.index.shards().flat_map(|shard| shard.entries.keys().copied().collect::<Vec<_>>()).collect();
        for chunk in chunks {
            core.activate(chunk)?;
            let present = {
                let shard = core.index.shard(chunk);
                let Some(entry) = shard.entries.get(&chunk) else { continue };
                books.add(core, chunk, entry, &mut report.wrong);
                entry.presence == Presence::Present
            };
            if present {
                report.chunks += 1;
                match self.verify(chunk) {
                    Ok(info) => report.bytes += u64::from(info.length),
                    Err(error) if error.code == Code::Corrupt => report.corrupt.push(chunk),
                    Err(error) => return Err(error),
                }
            }
        }
        books.compare_counters(core, &mut report.wrong);
        books.compare_files(core, &mut report.wrong)?;
        Ok(report)
    }
}

impl Books {
    fn add(&mut self, core: &Core, chunk: ChunkId, entry: &Entry, wrong: &mut Vec<String>) {
        self.live += u64::from(entry.presence == Presence::Present);
        self.tombstones += u64::from(entry.presence == Presence::Removed);
        let Some(active) = &entry.active else { return };
        for plane in active.planes.iter().flatten() {
            if !self.owned.insert(plane.address) {
                wrong.push(format!("{:?} of {chunk:?} has two owners", plane.address));
            }
            if !core.segments.is_used(plane.address) {
                wrong.push(format!("{:?} of {chunk:?} counts as free", plane.address));
            }
            *self.used_blocks.entry(plane.address.segment).or_default() += plane.used_blocks();
        }
        if let Some(text) = compare_blocks(active) {
            wrong.push(format!("{chunk:?}: {text}"));
        }
    }

    fn compare_counters(&self, core: &Core, wrong: &mut Vec<String>) {
        let live = core.index.shards().map(|shard| shard.live).sum::<u64>();
        for (what, found, counted) in [
            ("blocks are used", self.used_blocks.values().sum(), core.used_blocks.load(Ordering::Relaxed)),
            ("chunks are there", self.live, live),
            ("tombstones are there", self.tombstones, core.tombstones.load(Ordering::Relaxed)),
            ("extents have owners", self.owned.len() as u64, core.segments.used_extents() as u64),
        ] {
            if found != counted {
                wrong.push(format!("{found} {what}, {counted} are counted"));
            }
        }
    }

    fn compare_files(&self, core: &Core, wrong: &mut Vec<String>) -> Result<()> {
        for file in core.segments.all() {
            let held =
                file.file.allocated().map_err(|error| core.volume.fail("a segment's blocks", &error))?;
            let used = self.used_blocks.get(&file.id).copied().unwrap_or(0) * BLOCK_BYTES as u64;
            if !held.contains(&used) {
                let (least, most) = (held.start(), held.end());
                wrong.push(format!(
                    "segment {} holds {least} to {most} bytes, its chunks have {used}",
                    file.id
                ));
            }
        }
        Ok(())
    }
}

/// Whether the positions that count as used are those that a version shows. Those of replaced versions
/// count until a flush.
fn compare_blocks(active: &Active) -> Option<String> {
    let shown: BTreeSet<(u8, u32)> = active
        .layouts()
        .flat_map(|layout| (0..layout.blocks()).filter_map(|block| Some((layout.plane(block)?, block))))
        .collect();
    let used = |(plane, block): &(u8, u32)| {
        active
            .planes
            .get(usize::from(*plane))
            .and_then(Option::as_ref)
            .is_some_and(|plane| plane.is_used(*block))
    };
    if let Some((plane, block)) = shown.iter().find(|position| !used(position)) {
        return Some(format!("block {block} in plane {plane} is shown and counts as free"));
    }
    let counted = active.used_blocks();
    (active.retired == 0 && counted != shown.len() as u64)
        .then(|| format!("{counted} blocks count as used, versions show {}", shown.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Disk, MemoryDisk, Options, StageRequest, Update};
    use bytes::Bytes;
    use std::sync::Arc;
    use wire::Version;

    const CHUNKS: [ChunkId; 2] = [ChunkId { inode: 1, index: 0 }, ChunkId { inode: 2, index: 0 }];

    fn fresh() -> (MemoryDisk, Engine) {
        let disk = MemoryDisk::new(1 << 30);
        let options =
            Options { segment_bytes: 1 << 20, background: false, reserve_bytes: 0, ..Options::default() };
        let engine = Engine::create(Arc::new(disk.clone()), options).unwrap();
        for chunk in CHUNKS {
            let data = [Bytes::from(vec![7; 20_000])];
            let request = StageRequest {
                chunk,
                version: Version { chain: 1, number: 1 },
                base: Some(Version::NONE),
                update: Update::Write { offset: 0, data: &data },
                chunk_size: 64 << 10,
                channel: None,
                crc: None,
                commit: true,
            };
            engine.stage(&request).unwrap();
        }
        engine.checkpoint().unwrap();
        assert_eq!(
            engine.check().unwrap(),
            CheckReport { chunks: 2, bytes: 40_000, ..CheckReport::default() }
        );
        (disk, engine)
    }

    fn address(engine: &Engine, chunk: ChunkId) -> ExtentAddress {
        let mut shard = engine.core.index.shard(chunk);
        shard.active(chunk).unwrap().planes[0].as_ref().unwrap().address
    }

    fn segment_of(engine: &Engine, disk: &MemoryDisk, chunk: ChunkId) -> Arc<dyn crate::DiskFile> {
        let prefix = format!("segment-{:06}", address(engine, chunk).segment);
        let name = disk.list().unwrap().into_iter().find(|name| name.starts_with(&prefix)).unwrap();
        disk.open(&name).unwrap().unwrap()
    }

    type Plant = fn(&Engine, &MemoryDisk);

    /// Each makes the books wrong in one way; the report must say it in these words.
    const PLANTED: [(&str, Plant); 9] = [
        ("has two owners", |engine, _| {
            let stolen = address(engine, CHUNKS[0]);
            let mut shard = engine.core.index.shard(CHUNKS[1]);
            shard.active(CHUNKS[1]).unwrap().planes[0].as_mut().unwrap().address = stolen;
        }),
        ("counts as free", |engine, _| engine.core.segments.free(address(engine, CHUNKS[0]))),
        ("extents have owners", |engine, _| drop(engine.core.segments.allocate(4, 0).unwrap())),
        ("blocks are used", |engine, _| {
            engine.core.used_blocks.fetch_add(1, Ordering::Relaxed);
        }),
        ("chunks are there", |engine, _| engine.core.index.shard(CHUNKS[0]).live += 1),
        ("tombstones are there", |engine, _| {
            engine.core.tombstones.fetch_add(1, Ordering::Relaxed);
        }),
        ("versions show 5", |engine, _| {
            let mut shard = engine.core.index.shard(CHUNKS[0]);
            shard.active(CHUNKS[0]).unwrap().place(4, 9, 1, 1).unwrap();
        }),
        ("is shown and counts as free", |engine, _| {
            let mut shard = engine.core.index.shard(CHUNKS[0]);
            shard.active(CHUNKS[0]).unwrap().give_back(crate::chunk::Placed { plane: 0, first: 2, count: 1 });
        }),
        ("its chunks have", |engine, disk| {
            // Behind the chunk's end, where nobody reads.
            let file = segment_of(engine, disk, CHUNKS[0]);
            let offset = (u64::from(address(engine, CHUNKS[0]).extent) << 16) + 50_000;
            file.write_at(&[std::io::IoSlice::new(b"leaked")], offset).unwrap();
        }),
    ];

    #[test]
    fn every_kind_of_wrong_books_is_found() {
        for (words, plant) in PLANTED {
            let (disk, engine) = fresh();
            plant(&engine, &disk);
            let report = engine.check().unwrap();
            assert!(report.wrong.iter().any(|text| text.contains(words)), "{words:?} is not in {report:?}");
        }
    }

    #[test]
    fn blocks_that_are_gone_are_missed_twice() {
        let (disk, engine) = fresh();
        let file = segment_of(&engine, &disk, CHUNKS[1]);
        file.punch((u64::from(address(&engine, CHUNKS[1]).extent) << 16) + 4096, 4096).unwrap();
        let report = engine.check().unwrap();
        assert_eq!((report.corrupt, report.wrong.len()), (vec![CHUNKS[1]], 1), "{:?}", report.wrong);
    }
}
