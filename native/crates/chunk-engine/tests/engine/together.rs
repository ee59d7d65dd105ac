//! Many threads on one target: writers, readers, flushes and checkpoints at once. A reader sees whole
//! versions only.

use crate::support::{content, id, options, pattern, version};
use bytes::Bytes;
use chunk_engine::disk::Crash;
use chunk_engine::{Engine, FileDisk, Media, MemoryDisk, Options, StageRequest, Update};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wire::{ChunkId, Version};

const CHUNK: u32 = 256 << 10;
const WRITERS: u64 = 3;
const CHUNKS: u64 = 4;
const VERSIONS: u64 = 120;

fn small() -> Options {
    Options {
        tombstones_max: 2,
        segment_bytes: 16 << 20,
        journal_bytes_max: 400 << 10,
        background: true,
        ..options()
    }
}

/// A version's bytes follow from its number: some lengths pass the journal when rewritten, some go to new
/// blocks. Every seventh is a removal.
fn bytes_of(chunk: ChunkId, number: u64) -> Bytes {
    if number.is_multiple_of(7) {
        return Bytes::new();
    }
    let lengths = [200_000, 30_000, 60_000, 4096, 250_000, 61_440];
    pattern(chunk.inode * 1000 + number, lengths[(number % 6) as usize])
}

/// Updates are committed by another thread while the next ones of the same chunks are staged.
fn writer(engine: &Engine, inode: u64, flushed: &AtomicU64) {
    let (staged, to_commit) = std::sync::mpsc::sync_channel::<(ChunkId, u64)>(CHUNKS as usize * 2);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (chunk, number) in to_commit {
                engine.commit_soon(chunk, version(number)).unwrap();
                if number % 10 == 0 && chunk.index == CHUNKS - 1 {
                    engine.flush().unwrap();
                    flushed.store(number, Ordering::SeqCst);
                }
            }
        });
        for number in 1..=VERSIONS {
            for index in 0..CHUNKS {
                stage(engine, id(inode, index), number);
                staged.send((id(inode, index), number)).unwrap();
            }
        }
        drop(staged);
    });
}

fn stage(engine: &Engine, chunk: ChunkId, number: u64) {
    let data = [bytes_of(chunk, number)];
    let meta = engine.meta(chunk);
    let base = meta.as_ref().map_or(Version::NONE, chunk_engine::ChunkMeta::tip);
    let shared = StageRequest {
        chunk,
        version: version(number),
        base: Some(base),
        update: Update::Remove,
        chunk_size: CHUNK,
        channel: None,
        crc: None,
        commit: false,
    };
    let length = meta.map(|meta| meta.pending.last().map_or(meta.length, |pending| pending.length) as usize);
    // Each version is the whole chunk, so that a reader can tell by its number what it must find.
    let update = match length {
        _ if number.is_multiple_of(7) => Update::Remove,
        Some(length) if length <= data[0].len() => Update::Write { offset: 0, data: &data },
        _ => Update::Replace { data: &data },
    };
    engine.stage(&StageRequest { update, ..shared }).unwrap();
}

fn reader(engine: &Engine, done: &AtomicBool, seed: u64) -> u64 {
    let (mut buffer, mut reads) = (vec![0; CHUNK as usize], 0);
    while !done.load(Ordering::SeqCst) || reads == 0 {
        for step in 0..WRITERS * CHUNKS {
            let chunk = id(1 + (step + seed) % WRITERS, (step * 7 + seed) % CHUNKS);
            let info = engine.read(chunk, 0, &mut buffer).unwrap();
            if info.version != Version::NONE && info.chunk_length > 0 {
                let bytes = bytes_of(chunk, info.version.number);
                assert!(buffer[..info.length as usize] == bytes, "{chunk:?} {info:?}");
                let offset = (step as usize * 5003) % bytes.len();
                let info = engine.read(chunk, offset as u32, &mut buffer[..9000]).unwrap();
                let bytes = bytes_of(chunk, info.version.number);
                let expected = &bytes[offset.min(bytes.len())..(offset + 9000).min(bytes.len())];
                assert!(buffer[..info.length as usize] == *expected, "{chunk:?} at {offset}");
            }
            reads += 1;
        }
    }
    reads
}

fn run(engine: &Engine) -> u64 {
    let (done, least) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=WRITERS)
            .map(|inode| {
                scope.spawn({
                    let least = &least;
                    move || writer(engine, inode, least)
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|seed| {
                scope.spawn({
                    let done = &done;
                    move || reader(engine, done, seed)
                })
            })
            .collect();
        let checkpoints = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                engine.checkpoint().unwrap();
                engine.flush().unwrap();
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
        checkpoints.join().unwrap();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    })
}

#[test]
fn readers_see_whole_versions_while_all_goes_on() {
    readers_see_whole_versions(Media::Buffered);
}

#[test]
fn readers_see_whole_versions_past_the_page_cache() {
    readers_see_whole_versions(Media::Direct);
}

fn readers_see_whole_versions(media: Media) {
    let folder = tempfile::tempdir().unwrap();
    let disk = media.open(folder.path()).unwrap();
    let engine = Engine::create(disk.clone(), small()).unwrap();
    assert!(run(&engine) > 0);
    let report = engine.check().unwrap();
    assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
    assert_eq!(report.chunks, WRITERS * CHUNKS);
    engine.close().unwrap();
    let (engine, opened) = Engine::open(disk, small()).unwrap();
    assert!(opened.clean);
    for inode in 1..=WRITERS {
        (0..CHUNKS).for_each(|index| {
            assert!(content(&engine, id(inode, index)) == bytes_of(id(inode, index), VERSIONS))
        });
    }
}

/// A chunk that is being changed stays in memory, however full the cache is.
#[test]
fn chunks_leave_memory_as_soon_as_they_are_at_rest() {
    let options = Options { layout_cache_bytes: 0, ..small() };
    let engine = Engine::create(Arc::new(MemoryDisk::new(1 << 30)), options).unwrap();
    assert!(run(&engine) > 0);
    let report = engine.check().unwrap();
    assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
}

#[test]
fn power_lost_while_all_goes_on() {
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), small()).unwrap();
    let least = [const { AtomicU64::new(0) }; WRITERS as usize];
    std::thread::scope(|scope| {
        for inode in 1..=WRITERS {
            let (engine, least) = (&engine, &least[inode as usize - 1]);
            scope.spawn(move || writer(engine, inode, least));
        }
        for seed in 0..40 {
            let promised: Vec<u64> = least.iter().map(|least| least.load(Ordering::SeqCst)).collect();
            let after = disk.after(Crash::Random(seed));
            let (engine, opened) = Engine::open(Arc::new(after), small()).unwrap();
            for (inode, promised) in (1..).zip(promised) {
                for index in 0..CHUNKS {
                    let (chunk, shown) = (id(inode, index), engine.meta(id(inode, index)));
                    // A mark of a removal may have been dropped, and the next version may pend already.
                    let committed =
                        shown.map(|meta| meta.committed).filter(|version| *version != Version::NONE);
                    let shown = committed.map_or(engine.forgotten().number / 7 * 7, |version| version.number);
                    assert!(
                        shown >= promised,
                        "{chunk:?} has {shown}, {promised} was flushed, {opened:?} {:?} {:?}",
                        engine.forgotten(),
                        engine.list(id(0, 0), None, 100)
                    );
                    assert!(committed.is_none() || content(&engine, chunk) == bytes_of(chunk, shown));
                }
            }
            let report = engine.check().unwrap();
            assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
            if promised_all(&least) {
                break;
            }
        }
    });
}

fn promised_all(least: &[AtomicU64]) -> bool {
    least.iter().all(|least| least.load(Ordering::SeqCst) == VERSIONS)
}

#[test]
fn a_hundred_thousand_chunks_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::open(folder.path()).unwrap());
    // No checkpoint comes by itself: all of it is replayed.
    let many = Options { journal_bytes_max: 1 << 30, dirty_chunks_max: 1 << 30, ..Options::default() };
    let engine = Engine::create(disk.clone(), many.clone()).unwrap();
    let count: u64 = 100_000;
    // One in a hundred has bytes: this is about the books, and real blocks would measure the machine's disk.
    for inode in 0..count {
        let data = [Bytes::copy_from_slice(&inode.to_le_bytes())];
        let update = match inode % 100 {
            0 => Update::Write { offset: 0, data: &data },
            _ => Update::Replace { data: &[] },
        };
        engine
            .stage(&StageRequest { commit: true, ..crate::support::request(id(inode, 0), 0, update) })
            .unwrap();
    }
    drop(engine);
    for replayed in [true, false] {
        let (engine, opened) = Engine::open(disk.clone(), many.clone()).unwrap();
        assert!(opened.complete && (opened.replayed >= count) == replayed, "{opened:?}");
        assert_eq!(engine.space().unwrap().chunks, count);
        assert_eq!(engine.space().unwrap().used, count / 100 * 4096);
        for inode in (0..count).step_by(25) {
            let expected = if inode % 100 == 0 { &inode.to_le_bytes()[..] } else { &[] };
            assert_eq!(content(&engine, id(inode, 0)), expected);
        }
        engine.close().unwrap();
    }
}
