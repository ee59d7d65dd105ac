//! Reading: what to read is decided under the shard's lock, the bytes are read and verified without any lock,
//! and the result counts only if nothing was overwritten or given back meanwhile. Never returns a byte whose
//! block failed its checksum.

use crate::checksum::{BLOCK_BYTES, checksum, combine, zeros};
use crate::chunk::{Active, Entry};
use crate::engine::{Core, Engine};
use crate::layout::Layout;
use crate::museum::{Planted, planted};
use crate::segments::SegmentFile;
use std::io::IoSliceMut;
use std::sync::Arc;
use wire::{ChunkId, Code, Error, Result, Version};

/// A reader that meets this many changes under its feet gives up with `Busy`; each change needs a flush, so
/// it never does.
const ATTEMPTS: usize = 100;

/// What a read returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadInfo {
    /// `Version::NONE` for a chunk that does not exist.
    pub version: Version,
    pub chunk_length: u32,
    /// Bytes put into the buffer: fewer than asked for where the chunk ends.
    pub length: u32,
    /// CRC32C of those bytes.
    pub crc: u32,
}

#[derive(Debug)]
pub(crate) enum Source {
    Disk { file: Arc<SegmentFile>, offset: u64 },
    Image(Arc<[u8]>),
    Hole,
}

/// Blocks read with one call: few enough that their checksums are computed while they are in the processor's
/// own cache, and enough to make the calls cheap.
const RUN_BLOCKS_MAX: u32 = 32;

/// Consecutive blocks that are read with one call.
#[derive(Debug)]
pub(crate) struct Run {
    pub first: u32,
    pub count: u32,
    pub source: Source,
}

impl Run {
    fn block(&self, block: u32) -> Run {
        let source = match &self.source {
            Source::Disk { file, offset } => {
                let offset = offset + u64::from(block - self.first) * BLOCK_BYTES as u64;
                Source::Disk { file: file.clone(), offset }
            }
            Source::Image(data) => Source::Image(data.clone()),
            Source::Hole => Source::Hole,
        };
        Run { first: block, count: 1, source }
    }
}

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub layout: Arc<Layout>,
    pub runs: Vec<Run>,
    pub generation: u64,
}

impl Engine {
    /// Reads the committed version into `buffer`, from `offset` on. `Corrupt` names the chunk and the block.
    pub fn read(&self, chunk: ChunkId, offset: u32, buffer: &mut [u8]) -> Result<ReadInfo> {
        self.core.check()?;
        self.core.read(chunk, None, offset, buffer)
    }

    /// Reads one version, committed or pending (a member re-drives what it holds pending, P6).
    /// `MissingVersion` if it is neither.
    pub fn read_version(
        &self,
        chunk: ChunkId,
        version: Version,
        offset: u32,
        buffer: &mut [u8],
    ) -> Result<ReadInfo> {
        self.core.check()?;
        self.core.read(chunk, Some(version), offset, buffer)
    }

    /// The whole committed chunk.
    pub fn read_all(&self, chunk: ChunkId) -> Result<(ReadInfo, Vec<u8>)> {
        self.core.check()?;
        loop {
            let length = self.core.index.shard(chunk).entries.get(&chunk).map_or(0, |entry| entry.length);
            let mut bytes = vec![0; length as usize];
            let info = self.core.read(chunk, None, 0, &mut bytes)?;
            if info.length == info.chunk_length {
                bytes.truncate(info.length as usize);
                return Ok((info, bytes));
            }
        }
    }

    /// Reads and verifies the whole committed chunk, in pieces; the checksum of all of it. For scrub and
    /// comparison.
    pub fn verify(&self, chunk: ChunkId) -> Result<ReadInfo> {
        self.core.check()?;
        'again: loop {
            let mut piece = vec![0; VERIFY_BYTES];
            let mut whole = self.core.read(chunk, None, 0, &mut piece)?;
            while whole.length < whole.chunk_length {
                let next = self.core.read(chunk, None, whole.length, &mut piece)?;
                if next.version != whole.version {
                    continue 'again;
                }
                whole.crc = combine(whole.crc, next.crc, next.length as usize);
                whole.length += next.length;
            }
            return Ok(whole);
        }
    }
}

/// Bytes that `verify` holds at a time.
const VERIFY_BYTES: usize = 1 << 20;

impl Core {
    pub fn read(
        &self,
        chunk: ChunkId,
        version: Option<Version>,
        offset: u32,
        buffer: &mut [u8],
    ) -> Result<ReadInfo> {
        let range = (offset, buffer.len());
        let (info, crc) = self.read_as(chunk, version, range, RUN_BLOCKS_MAX, |snapshot, length| {
            read_runs(snapshot, offset as usize, &mut buffer[..length])
        })?;
        Ok(ReadInfo { crc, ..info })
    }

    /// As `read` of the committed version, with zeros for damaged blocks, and which these are.
    pub fn read_around_damage(
        &self,
        chunk: ChunkId,
        offset: u32,
        buffer: &mut [u8],
    ) -> Result<(ReadInfo, Vec<u32>)> {
        let range = (offset, buffer.len());
        let (info, (crc, damaged)) =
            self.read_as(chunk, None, range, RUN_BLOCKS_MAX, |snapshot, length| {
                read_sound_runs(snapshot, offset as usize, &mut buffer[..length])
            })?;
        Ok((ReadInfo { crc, ..info }, damaged))
    }

    /// What `read` makes of that many bytes, or of those that the chunk has, as they were at one moment.
    pub fn read_as<T: Default>(
        &self,
        chunk: ChunkId,
        version: Option<Version>,
        (offset, wanted): (u32, usize),
        run_blocks_max: u32,
        mut read: impl FnMut(&Snapshot, usize) -> std::result::Result<T, Unread>,
    ) -> Result<(ReadInfo, T)> {
        for _ in 0..ATTEMPTS {
            let Some(snapshot) = self.snapshot(chunk, version, offset, wanted, run_blocks_max)? else {
                let version =
                    self.index.shard(chunk).entries.get(&chunk).map_or(Version::NONE, |entry| entry.version);
                return Ok((ReadInfo { version, ..ReadInfo::default() }, T::default()));
            };
            let layout = &snapshot.layout;
            let length = (layout.length.saturating_sub(offset) as usize).min(wanted);
            let result = read(&snapshot, length);
            if self.is_unchanged(chunk, snapshot.generation) {
                let read = result.map_err(|unread| self.unread(chunk, unread))?;
                let (version, chunk_length) = (layout.version, layout.length);
                return Ok((ReadInfo { version, chunk_length, length: length as u32, crc: 0 }, read));
            }
        }
        Err(Error::new(Code::Busy, "the chunk changes too fast to be read"))
    }

    /// One block of a version of a chunk whose lock the caller holds.
    pub fn read_block(&self, chunk: ChunkId, layout: &Arc<Layout>, block: u32) -> Result<Vec<u8>> {
        let mut bytes = vec![0; layout.stored(block)];
        loop {
            let snapshot = self.block_snapshot(chunk, layout, block);
            let result = read_runs(&snapshot, block as usize * BLOCK_BYTES, &mut bytes);
            if self.is_unchanged(chunk, snapshot.generation) {
                return match result {
                    Err(Unread::Damaged(_)) if planted(Planted::MergeUnverified) => Ok(bytes),
                    result => result.map(|_| bytes).map_err(|unread| self.unread(chunk, unread)),
                };
            }
        }
    }

    /// Of a chunk whose lock the caller holds.
    pub fn block_snapshot(&self, chunk: ChunkId, layout: &Arc<Layout>, block: u32) -> Snapshot {
        let shard = self.index.shard(chunk);
        let entry = shard.entries.get(&chunk).expect("a chunk that is changed is there");
        let active = entry.active.as_ref().expect("a chunk that is changed is active");
        Snapshot::new(entry, active, layout.clone(), block..block + 1, 1)
    }

    /// Nothing of the chunk was overwritten or given back since a snapshot of this generation.
    pub fn is_unchanged(&self, chunk: ChunkId, generation: u64) -> bool {
        self.index.shard(chunk).entries.get(&chunk).is_some_and(|entry| entry.generation == generation)
    }

    /// Damage is of one chunk; a disk that does not read is the end of the target.
    pub fn unread(&self, chunk: ChunkId, unread: Unread) -> Error {
        let place = format!("chunk {}.{}", chunk.inode, chunk.index);
        match unread {
            Unread::Damaged(reason) => Error::new(Code::Corrupt, format!("{place}, {reason}")),
            Unread::Failed(reason) => self.volume.fail(&place, &reason),
        }
    }

    /// `None`: the chunk does not exist (or is a tombstone).
    pub fn snapshot(
        &self,
        chunk: ChunkId,
        version: Option<Version>,
        offset: u32,
        wanted: usize,
        run_blocks_max: u32,
    ) -> Result<Option<Snapshot>> {
        loop {
            {
                let shard = self.index.shard(chunk);
                let entry = shard.entries.get(&chunk);
                if let Some((entry, active)) = entry.and_then(|entry| Some((entry, entry.active.as_ref()?))) {
                    let layout = active
                        .layouts()
                        .find(|layout| version.is_none_or(|version| layout.version == version));
                    let Some(layout) = layout else { return Err(missing(version)) };
                    let end = (offset as usize + wanted).min(layout.length as usize);
                    let first = offset as usize / BLOCK_BYTES;
                    let blocks = first as u32..end.div_ceil(BLOCK_BYTES).max(first) as u32;
                    return Ok(Some(Snapshot::new(entry, active, layout.clone(), blocks, run_blocks_max)));
                }
                match (entry, version) {
                    (None, None) => return Ok(None),
                    (None, Some(_)) => return Err(missing(version)),
                    (Some(entry), Some(_)) if version != Some(entry.version) => return Err(missing(version)),
                    (Some(entry), _) if entry.blocks() == 0 => return Ok(None),
                    _ => {}
                }
            }
            self.activate(chunk)?;
        }
    }
}

fn missing(version: Option<Version>) -> Error {
    Error::new(Code::MissingVersion, format!("the target does not hold version {version:?}"))
}

impl Snapshot {
    fn new(
        entry: &Entry,
        active: &Active,
        layout: Arc<Layout>,
        blocks: std::ops::Range<u32>,
        run_blocks_max: u32,
    ) -> Snapshot {
        let mut runs: Vec<Run> = Vec::new();
        let mut last_plane = None;
        for block in blocks {
            let plane = layout.plane(block).filter(|_| !layout.is_overlaid(block));
            if plane.is_some()
                && plane == last_plane
                && let Some(last) = runs.last_mut().filter(|last| last.count < run_blocks_max)
            {
                last.count += 1;
                continue;
            }
            last_plane = plane;
            let source = match plane {
                Some(plane) => {
                    let plane = active.planes[plane as usize].as_ref().expect("a used plane is there");
                    let offset = plane.file.offset(plane.address.extent, block);
                    Source::Disk { file: plane.file.clone(), offset }
                }
                None if layout.is_overlaid(block) => Source::Image(
                    active.image(&layout, block).expect("an overlaid block has an image").1.data.clone(),
                ),
                None => Source::Hole,
            };
            runs.push(Run { first: block, count: 1, source });
        }
        Snapshot { layout, runs, generation: entry.generation }
    }
}

/// Why bytes could not be had.
#[derive(Debug)]
pub(crate) enum Unread {
    Damaged(String),
    Failed(String),
}

/// What of `buffer`, which begins at byte `offset` of the chunk, a run fills.
fn part_of<'a>(
    layout: &Layout,
    run: &Run,
    offset: usize,
    buffer: &'a mut [u8],
) -> Option<(Edges, &'a mut [u8])> {
    let start = run.first as usize * BLOCK_BYTES;
    let last = run.first + run.count - 1;
    let stop = last as usize * BLOCK_BYTES + layout.stored(last);
    let (from, to) = (offset.max(start), (offset + buffer.len()).min(stop));
    let edges = || Edges { before: from - start, after: stop - to };
    (from < to).then(|| (edges(), &mut buffer[from - offset..to - offset]))
}

/// Fills `buffer` from byte `offset` of the chunk; the checksum of what it put there, or what is wrong.
fn read_runs(snapshot: &Snapshot, offset: usize, buffer: &mut [u8]) -> std::result::Result<u32, Unread> {
    let mut crc = 0;
    for run in &snapshot.runs {
        if let Some((edges, part)) = part_of(&snapshot.layout, run, offset, buffer) {
            crc = combine(crc, read_run(&snapshot.layout, run, edges, part)?, part.len());
        }
    }
    Ok(crc)
}

/// As `read_runs`, with zeros for damaged blocks, and which these are.
fn read_sound_runs(
    snapshot: &Snapshot,
    offset: usize,
    buffer: &mut [u8],
) -> std::result::Result<(u32, Vec<u32>), Unread> {
    let layout = &snapshot.layout;
    let (mut crc, mut damaged) = (0, Vec::new());
    for run in &snapshot.runs {
        let Some((edges, part)) = part_of(layout, run, offset, buffer) else { continue };
        match read_run(layout, run, edges, part) {
            Err(Unread::Damaged(_)) => {}
            read => {
                crc = combine(crc, read?, part.len());
                continue;
            }
        }
        for block in (run.first..run.first + run.count).map(|block| run.block(block)) {
            let Some((edges, part)) = part_of(layout, &block, offset, buffer) else { continue };
            let found = match read_run(layout, &block, edges, part) {
                Err(Unread::Damaged(_)) => {
                    part.fill(0);
                    damaged.push(block.first);
                    zeros_checksum(part.len())
                }
                read => read?,
            };
            crc = combine(crc, found, part.len());
        }
    }
    Ok((crc, damaged))
}

/// Bytes of a run that are read for verification only.
#[derive(Clone, Copy)]
struct Edges {
    before: usize,
    after: usize,
}

fn read_run(layout: &Layout, run: &Run, edges: Edges, part: &mut [u8]) -> std::result::Result<u32, Unread> {
    // Only the first and the last block can be wanted in part. Most reads want whole blocks, and pay for no
    // scratch.
    let (mut head, mut tail);
    let (mut before, mut after): (&mut [u8], &mut [u8]) = (&mut [], &mut []);
    if edges.before > 0 {
        head = [0; BLOCK_BYTES];
        before = &mut head[..edges.before];
    }
    if edges.after > 0 {
        tail = [0; BLOCK_BYTES];
        after = &mut tail[..edges.after];
    }
    match &run.source {
        Source::Hole => {
            part.fill(0);
            return Ok(zeros_checksum(part.len()));
        }
        Source::Image(data) => {
            let to = edges.before + part.len();
            before.copy_from_slice(&data[..edges.before]);
            part.copy_from_slice(&data[edges.before..to]);
            after.copy_from_slice(&data[to..to + edges.after]);
        }
        Source::Disk { file, offset } => {
            let wanted = before.len() + part.len() + after.len();
            let mut parts = [IoSliceMut::new(before), IoSliceMut::new(part), IoSliceMut::new(after)];
            let count = file
                .file
                .read_at(&mut parts, *offset)
                .map_err(|error| Unread::Failed(format!("block {}: {error}", run.first)))?;
            if count < wanted {
                let block = run.first + (count / BLOCK_BYTES) as u32;
                return Err(Unread::Damaged(format!("block {block}: the segment ends too early")));
            }
        }
    }
    let (mut crc, mut done) = (0, 0);
    for block in run.first..run.first + run.count {
        let head = if block == run.first { &*before } else { &[] };
        let tail = if block + 1 == run.first + run.count { &*after } else { &[] };
        let inner = &part[done..done + layout.stored(block) - head.len() - tail.len()];
        let inner_crc = checksum(inner);
        let mut found = inner_crc;
        if !head.is_empty() {
            found = combine(checksum(head), found, inner.len());
        }
        if !tail.is_empty() {
            found = combine(found, checksum(tail), tail.len());
        }
        if found != layout.crcs[block as usize] && !planted(Planted::ReadUnverified) {
            return Err(Unread::Damaged(format!("block {block}: the checksum does not match")));
        }
        crc = combine(crc, inner_crc, inner.len());
        done += inner.len();
    }
    Ok(crc)
}

fn zeros_checksum(length: usize) -> u32 {
    let mut crc = 0;
    let mut left = length;
    while left > 0 {
        let piece = left.min(BLOCK_BYTES);
        crc = combine(crc, checksum(zeros(piece)), piece);
        left -= piece;
    }
    crc
}
