//! Replay of the journal over the catalogue. Up to the last flush mark records are applied; after it they are
//! collected per chunk, verified in order, and applied up to the first whose bytes are not there.

use crate::catalog::Catalog;
use crate::channels::{Channel, Channels};
use crate::checksum::checksum;
use crate::chunk::{Active, Entry, Image};
use crate::commit::{load, put_plane};
use crate::index::{Index, Shard};
use crate::journal::{JournalReader, ReadRecord, name_of, parse};
use crate::layout::{Layout, stored_in};
use crate::museum::{Planted, planted};
use crate::segments::{ExtentAddress, SegmentFile, Segments};
use crate::volume::Volume;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use wire::message::{BlockRunKind, JournalRecord, JournalStage, StoredTarget};
use wire::{ChunkId, ClientId, Code, Error, Result, Version};

/// Blocks that are verified and written again at a time: 256 KiB.
const PIECE_BLOCKS: usize = 64;

/// What the journal is replayed over.
pub(super) struct Stored<'a> {
    pub volume: &'a Volume,
    pub catalog: &'a Catalog,
    pub segments: &'a Segments,
    pub index: &'a Index,
}

pub(super) struct Replayed {
    pub next_journal: u64,
    pub next_record: u64,
    pub records: u64,
    pub dropped: Vec<ChunkId>,
}

/// What the journal files say at first sight.
pub(super) struct Scan {
    numbers: Vec<u64>,
    next_journal: u64,
    /// The highest flush mark.
    flushed: u64,
    /// It goes on behind a record that is not whole: nobody knows what is missing.
    pub broken: bool,
    /// Chunks with records. The catalogue may say an extent of theirs that another chunk got since.
    pub chunks: BTreeSet<ChunkId>,
}

pub(super) fn scan(volume: &Volume, target: &StoredTarget) -> Result<Scan> {
    let mut numbers: Vec<u64> = volume.list()?.iter().filter_map(|name| parse(name)).collect();
    numbers.sort_unstable();
    let next_journal = numbers.last().copied().unwrap_or(0).max(target.first_journal) + 1;
    numbers.retain(|number| *number >= target.first_journal);
    let (mut flushed, mut chunks, mut broken) = (0, BTreeSet::new(), false);
    let visit = |read: ReadRecord| {
        flushed = read.record.flushed.map_or(flushed, |mark| mark.number.max(flushed));
        chunks.extend(chunk_of(&read.record));
        Ok(())
    };
    read(volume, &numbers, target.next_record, visit, |reader| {
        broken |= reader.is_followed()?;
        Ok(())
    })?;
    Ok(Scan { numbers, next_journal, flushed, broken, chunks })
}

/// Something that happened to the exactly-once table, applied in the order of records at the end.
enum ChannelEvent {
    Set(Channel),
    Install(Vec<Channel>),
    Forget(ClientId),
    Drop(wire::Tag, ChunkId, Version),
}

struct Replay<'a> {
    stored: &'a Stored<'a>,
    touched: BTreeSet<ChunkId>,
    events: BTreeMap<(u64, usize), ChannelEvent>,
}

pub(super) fn replay(
    stored: &Stored<'_>,
    channels: &Channels,
    target: &StoredTarget,
    scan: &Scan,
    unsettled: Vec<ChunkId>,
) -> Result<Replayed> {
    let mut replay = Replay { stored, touched: BTreeSet::new(), events: BTreeMap::new() };
    for chunk in unsettled {
        replay.touch(chunk)?;
    }
    let mut later: BTreeMap<ChunkId, Vec<ReadRecord>> = BTreeMap::new();
    let visit = |read: ReadRecord| {
        match chunk_of(&read.record) {
            Some(chunk) if read.number > scan.flushed => later.entry(chunk).or_default().push(read),
            Some(chunk) => drop(replay.apply(chunk, &read)?),
            None => replay.channel_record(read)?,
        }
        Ok(())
    };
    let end = read(stored.volume, &scan.numbers, target.next_record, visit, |_| Ok(()))?;
    let mut dropped = Vec::new();
    for (chunk, records) in later {
        if !replay.apply_verified(chunk, &records)? {
            dropped.push(chunk);
        }
    }
    replay.finish(channels)?;
    let records = end - target.next_record;
    Ok(Replayed { next_journal: scan.next_journal, next_record: end, records, dropped })
}

/// Visits every whole record of consecutive files, and each file's reader at its end; the number after the last one.
fn read(
    volume: &Volume,
    numbers: &[u64],
    first_record: u64,
    mut visit: impl FnMut(ReadRecord) -> Result<()>,
    mut visit_end: impl FnMut(&mut JournalReader) -> std::io::Result<()>,
) -> Result<u64> {
    let mut next_record = first_record;
    let failed = |error: std::io::Error| volume.fail("the journal", &error);
    for number in numbers {
        let Some(file) = volume.open(&name_of(*number))? else { break };
        let mut reader = JournalReader::new(file, next_record);
        while let Some(record) = reader.next().map_err(failed)? {
            visit(record)?;
        }
        visit_end(&mut reader).map_err(failed)?;
        next_record = reader.next_record();
    }
    Ok(next_record)
}

fn chunk_of(record: &JournalRecord) -> Option<ChunkId> {
    let chunk = match record {
        JournalRecord { stage: Some(stage), .. } => stage.chunk,
        JournalRecord { commit: Some(commit), .. } => commit.chunk,
        JournalRecord { discard: Some(discard), .. } => discard.chunk,
        _ => return None,
    };
    Some(chunk.unwrap_or_default().into())
}

fn corrupt(text: impl Into<String>) -> Error {
    Error::new(Code::Corrupt, text)
}

impl Replay<'_> {
    fn with<T>(&self, chunk: ChunkId, change: impl FnOnce(&mut Entry, &mut Shard) -> Result<T>) -> Result<T> {
        let mut shard = self.stored.index.shard(chunk);
        let mut entry = shard.entries.remove(&chunk).unwrap_or_else(Entry::absent);
        let result = change(&mut entry, &mut shard);
        shard.entries.insert(chunk, entry);
        result
    }

    /// A chunk that will change: its details come into memory. Its extents are taken at the end.
    fn touch(&mut self, chunk: ChunkId) -> Result<()> {
        if !self.touched.insert(chunk) {
            return Ok(());
        }
        let loaded = load(self.stored.catalog, self.stored.segments, chunk)?;
        let active = loaded.unwrap_or_else(|| Active::new(Layout::absent()));
        self.with(chunk, |entry, _| {
            entry.active = Some(Box::new(active));
            Ok(())
        })
    }

    /// Applies one record of a chunk, unless the catalogue has it already. `false`: it was there already.
    fn apply(&mut self, chunk: ChunkId, read: &ReadRecord) -> Result<bool> {
        self.touch(chunk)?;
        let segments = self.stored.segments;
        let number = read.number;
        let mut events = Vec::new();
        let applied = self.with(chunk, |entry, _| {
            let known = number <= entry.last_record;
            if let Some(stage) = &read.record.stage {
                if let Some(channel) = &stage.channel {
                    events.push(ChannelEvent::Set(Channel::try_from(channel)?));
                }
                let active = entry.active.as_mut().expect("a touched chunk is active");
                if known {
                    fill_images(active, stage, read)?;
                } else {
                    apply_stage(active, segments, stage, read)?;
                }
            }
            if known {
                return Ok(false);
            }
            let active = entry.active.as_mut().expect("a touched chunk is active");
            if let Some(commit) = &read.record.commit {
                commit_up_to(active, commit.version.unwrap_or_default().into(), number)?;
            }
            if read.record.discard.is_some() && !planted(Planted::DiscardNotReplayed) {
                for layout in &active.pending {
                    events.extend(layout.tag.map(|tag| ChannelEvent::Drop(tag, chunk, layout.version)));
                }
                active.discard(number);
            }
            entry.last_record = number;
            entry.refresh();
            Ok(true)
        })?;
        self.events.extend(events.into_iter().enumerate().map(|(order, event)| ((number, order), event)));
        Ok(applied)
    }

    /// Applies records that no mark covers, up to the first whose bytes are not on the medium. `false`: one
    /// was not.
    fn apply_verified(&mut self, chunk: ChunkId, records: &[ReadRecord]) -> Result<bool> {
        self.touch(chunk)?;
        for read in records {
            let known = self.with(chunk, |entry, _| Ok(read.number <= entry.last_record))?;
            if let Some(stage) = read.record.stage.as_ref().filter(|_| !known)
                && !self.verify(chunk, stage)?
                && !planted(Planted::ReplayUnverified)
            {
                if let Some(channel) = stage.channel.as_ref().filter(|_| planted(Planted::TagOfSetBack)) {
                    self.events.insert((read.number, 0), ChannelEvent::Set(Channel::try_from(channel)?));
                }
                return Ok(false);
            }
            self.apply(chunk, read)?;
        }
        Ok(true)
    }

    /// Whether every block that the update wrote directly is there. Then it is written again.
    fn verify(&self, chunk: ChunkId, stage: &JournalStage) -> Result<bool> {
        let mut planes: BTreeMap<u32, ExtentAddress> = self.with(chunk, |entry, _| {
            let active = entry.active.as_ref().expect("a touched chunk is active");
            let planes = active.planes.iter().enumerate();
            Ok(planes.filter_map(|(number, plane)| Some((number as u32, plane.as_ref()?.address))).collect())
        })?;
        for plane in &stage.planes {
            planes.insert(plane.plane, ExtentAddress { segment: plane.segment, extent: plane.extent });
        }
        for run in stage.runs.iter().filter(|run| run.kind() == BlockRunKind::RunDirect) {
            let Some(address) = planes.get(&run.plane) else { return Ok(false) };
            let Some(segment) = self.stored.segments.file(address.segment) else { return Ok(false) };
            for (first, crcs) in (run.first..).step_by(PIECE_BLOCKS).zip(run.crcs.chunks(PIECE_BLOCKS)) {
                let offset = segment.offset(address.extent, first);
                let stored = |block: u32| stored_in(stage.length, block);
                let Some(bytes) = read_verified(&segment, offset, (first, crcs), stored) else {
                    return Ok(false);
                };
                if !planted(Planted::NotWrittenAgain) {
                    self.stored.volume.write(&*segment.file, &[IoSlice::new(&bytes)], offset, "a segment")?;
                    segment.mark_dirty();
                }
            }
        }
        Ok(true)
    }

    fn channel_record(&mut self, read: ReadRecord) -> Result<()> {
        if let Some(channels) = &read.record.channels {
            let channels: Result<Vec<Channel>> = channels.channels.iter().map(Channel::try_from).collect();
            self.events.insert((read.number, 0), ChannelEvent::Install(channels?));
        }
        if let Some(forget) = &read.record.forget {
            let client =
                forget.client[..].try_into().map_err(|_| corrupt("a client id must have 16 bytes"))?;
            self.events.insert((read.number, 0), ChannelEvent::Forget(ClientId(client)));
        }
        Ok(())
    }

    /// Settles the exactly-once table and the books of every touched chunk.
    fn finish(mut self, channels: &Channels) -> Result<()> {
        for ((record, _), event) in std::mem::take(&mut self.events) {
            match event {
                ChannelEvent::Set(channel) => channels.set(record, channel),
                ChannelEvent::Install(page) => page.into_iter().for_each(|one| channels.install(record, one)),
                ChannelEvent::Forget(client) => channels.forget_client(client),
                ChannelEvent::Drop(tag, chunk, version) => channels.forget_update(&tag, chunk, version),
            }
        }
        let Stored { index, segments, .. } = self.stored;
        for chunk in &self.touched {
            let mut shard = index.shard(*chunk);
            let entry = shard.entries.get_mut(chunk).expect("a touched chunk is there");
            let active = entry.active.as_mut().expect("a touched chunk is active");
            if active.images.values().any(|image| image.data.is_empty()) {
                return Err(corrupt(format!(
                    "the journal lost blocks of {chunk:?} that the catalogue names"
                )));
            }
            active.rebuild_planes();
            for plane in active.planes.iter().flatten().filter(|_| !planted(Planted::ExtentsNotTaken)) {
                segments.mark_used(plane.address)?;
            }
            entry.refresh();
            if entry.last_record == 0 {
                // Its only records were dropped.
                shard.forget(*chunk);
            } else {
                index.mark_dirty(&mut shard, *chunk);
            }
        }
        Ok(())
    }
}

/// Neighbouring blocks, of which each has its checksum. A block that cannot be read is one that is not there.
fn read_verified(
    segment: &SegmentFile,
    offset: u64,
    (first, crcs): (u32, &[u32]),
    stored: impl Fn(u32) -> usize,
) -> Option<Vec<u8>> {
    let lengths: Vec<usize> = (first..).zip(crcs).map(|(block, _)| stored(block)).collect();
    let mut bytes = vec![0; lengths.iter().sum()];
    let read = segment.file.read_at(&mut [IoSliceMut::new(&mut bytes)], offset);
    let mut rest = &bytes[..];
    let mut good = lengths.iter().zip(crcs).map(|(length, crc)| {
        let (block, after) = rest.split_at(*length);
        rest = after;
        checksum(block) == *crc
    });
    (read.ok() == Some(bytes.len()) && good.all(|good| good)).then_some(bytes)
}

fn apply_stage(
    active: &mut Active,
    segments: &Segments,
    stage: &JournalStage,
    read: &ReadRecord,
) -> Result<()> {
    for plane in &stage.planes {
        let address = ExtentAddress { segment: plane.segment, extent: plane.extent };
        put_plane(active, segments, plane.plane, address)?;
    }
    let layout = active.tip().next(stage, read.number)?;
    each_image(stage, read, |block, data| {
        active.images.insert((block, read.number), Image { committed: 0, data: data.into() });
    })?;
    active.pending.push_back(Arc::new(layout));
    if stage.commit {
        commit_up_to(active, stage.version.unwrap_or_default().into(), read.number)?;
    }
    Ok(())
}

/// The catalogue has this record; the bytes of images that are not in their place yet it left to the journal.
fn fill_images(active: &mut Active, stage: &JournalStage, read: &ReadRecord) -> Result<()> {
    each_image(stage, read, |block, data| {
        if let Some(image) = active.images.get_mut(&(block, read.number)) {
            image.data = data.into();
        }
    })
}

/// Visits the whole blocks that a record carries.
fn each_image(stage: &JournalStage, read: &ReadRecord, mut visit: impl FnMut(u32, &[u8])) -> Result<()> {
    let mut data = &read.data[..];
    for run in stage.runs.iter().filter(|run| run.kind() == BlockRunKind::RunOverlay) {
        for block in run.first..run.first + run.count {
            let (image, rest) = data
                .split_at_checked(stored_in(stage.length, block))
                .ok_or_else(|| corrupt("a journal record is shorter than its blocks"))?;
            visit(block, image);
            data = rest;
        }
    }
    Ok(())
}

fn commit_up_to(active: &mut Active, version: Version, record: u64) -> Result<()> {
    if !active.pending.iter().any(|layout| layout.version == version) {
        return Err(corrupt(format!("the journal commits {version:?}, which it does not hold")));
    }
    loop {
        active.commit_next(record);
        if active.committed.version == version {
            return Ok(());
        }
    }
}
