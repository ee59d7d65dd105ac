//! Reads of pages return what reads return, or nothing; and never hide damage from who compares.

use crate::support::{CHUNK, content, id, options, pattern, request, version, write};
use bytes::Bytes;
use chunk_engine::disk::Fault;
use chunk_engine::{BLOCK_BYTES, Disk, Engine, FileDisk, MemoryDisk, Update, checksum};
use pages::PagePool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wire::Code;

fn read(engine: &Engine, pool: &PagePool, offset: u32, length: u32) -> Option<(u32, Vec<u8>)> {
    let read = engine.read_pages(id(1, 0), offset, length, pool).unwrap()?;
    let bytes: Vec<u8> = read.parts.into_iter().flat_map(|pages| pages.copy_out().unwrap()).collect();
    assert_eq!(bytes.len(), read.info.length as usize);
    Some((read.info.crc, bytes))
}

fn on_both(test: impl Fn(Arc<dyn Disk>)) {
    test(Arc::new(MemoryDisk::new(64 << 20)));
    let folder = tempfile::tempdir().unwrap();
    test(Arc::new(FileDisk::open(folder.path()).unwrap()));
}

#[test]
fn whole_blocks_are_shared_and_everything_else_is_left_to_a_read() {
    on_both(|disk| {
        let engine = Engine::create(disk, options()).unwrap();
        let pool = PagePool::new(2);
        assert_eq!(read(&engine, &pool, 0, 4096), None, "no such chunk");
        let mut model = pattern(1, 10 * BLOCK_BYTES - 100).to_vec();
        write(&engine, id(1, 0), 0, 0, &model).unwrap();
        let same = |model: &[u8], offset: usize, length: usize| {
            let wanted = &model[offset..model.len().min(offset + length)];
            let got = read(&engine, &pool, offset as u32, length as u32).expect("whole blocks");
            assert!(got.1 == wanted && got.0 == checksum(wanted), "{offset} + {length}");
        };
        same(&model, 0, 4096);
        same(&model, 0, CHUNK as usize);
        same(&model, 8192, 3 * 4096);
        same(&model, 9 * 4096, 3996);
        same(&model, 9 * 4096, 5000);
        for (offset, length) in [(1, 4096), (0, 4095), (9 * 4096, 3995), (40_000, 4096), (65_536, 4096)] {
            assert_eq!(read(&engine, &pool, offset, length), None, "{offset} + {length}");
        }
        // What waits in the journal is not in its place yet.
        write(&engine, id(1, 0), 1, 8192, &[7; 4096]).unwrap();
        model[8192..8192 + 4096].fill(7);
        assert_eq!(read(&engine, &pool, 8192, 4096), None);
        same(&model, 0, 8192);
        engine.checkpoint().unwrap();
        same(&model, 0, CHUNK as usize);
        // A hole has no pages.
        write(&engine, id(1, 0), 2, 14 * 4096, &[9; 4096]).unwrap();
        assert_eq!(read(&engine, &pool, 0, CHUNK), None);
        assert!(read(&engine, &pool, 14 * 4096, 4096).is_some());
        let held = (pool.try_take(), pool.try_take());
        assert_eq!(read(&engine, &pool, 0, 8192), None, "no pipe is free");
        drop(held);
        assert!(read(&engine, &pool, 0, 8192).is_some());
    });
}

#[test]
fn damage_shows_against_the_checksum_and_a_failing_disk_is_an_error() {
    let disk = MemoryDisk::new(64 << 20);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    let pool = PagePool::new(1);
    let model = pattern(1, 5 * BLOCK_BYTES);
    write(&engine, id(1, 0), 0, 0, &model).unwrap();
    engine.flush().unwrap();
    let segment = |name: &String| name.starts_with("segment-") && !disk.written_pages(name).is_empty();
    let name = disk.list().unwrap().into_iter().find(segment).unwrap();
    let place = disk.written_pages(&name)[2];
    assert!(disk.flip_bit(&name, place + 5, 1));
    let (crc, bytes) = read(&engine, &pool, 0, CHUNK).unwrap();
    assert_eq!(crc, checksum(&model), "the checksum of what was written");
    assert_ne!(checksum(&bytes), crc);
    assert_eq!(engine.read_all(id(1, 0)).unwrap_err().code, Code::Corrupt);
    disk.fail_at(1, Fault::Io);
    let error = engine.read_pages(id(1, 0), 0, CHUNK, &pool).unwrap_err();
    assert_eq!(error.code, Code::TargetOffline);
    assert!(engine.failure().is_some());
}

/// Pages that are still on their way show what was written in their place meanwhile: that is why the receiver
/// compares.
#[test]
fn pages_that_were_overwritten_before_they_left_do_not_match() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::create(Arc::new(FileDisk::open(folder.path()).unwrap()), options()).unwrap();
    let pool = PagePool::new(1);
    write(&engine, id(1, 0), 0, 0, &pattern(1, 4 * BLOCK_BYTES)).unwrap();
    let read = engine.read_pages(id(1, 0), 0, CHUNK, &pool).unwrap().expect("whole blocks");
    write(&engine, id(1, 0), 1, 4096, &[7; BLOCK_BYTES]).unwrap();
    engine.checkpoint().unwrap();
    let crc = read.info.crc;
    let bytes: Vec<u8> = read.parts.into_iter().flat_map(|pages| pages.copy_out().unwrap()).collect();
    assert_eq!(bytes[4096..2 * 4096], [7; BLOCK_BYTES]);
    assert_ne!(checksum(&bytes), crc);
}

/// A reader beside a writer that overwrites in place: whatever does not match its checksum is found out, and
/// everything that matches is one version whole.
#[test]
fn beside_overwrites_a_match_is_one_version() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::create(Arc::new(FileDisk::open(folder.path()).unwrap()), options()).unwrap();
    let pool = PagePool::new(2);
    let block = |number: u64| Bytes::from(vec![number as u8; BLOCK_BYTES]);
    let whole = |number: u64| Bytes::from(vec![number as u8; 4 * BLOCK_BYTES]);
    write(&engine, id(1, 0), 0, 0, &whole(1)).unwrap();
    let (ended, matched) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // At least some reads: the writer must not be gone before the first.
            while !ended.load(Ordering::SeqCst) || matched.load(Ordering::SeqCst) < 10 {
                let Some((crc, bytes)) = read(&engine, &pool, 0, CHUNK) else { continue };
                if checksum(&bytes) == crc {
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "one version");
                    matched.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        for number in 1..400 {
            // All four blocks in one update: through the journal, and in place by the checkpoint.
            let data = [block(number + 1), block(number + 1), block(number + 1), block(number + 1)];
            engine.stage(&request(id(1, 0), number, Update::Write { offset: 0, data: &data })).unwrap();
            engine.commit(id(1, 0), version(number + 1)).unwrap();
            if number % 3 == 0 {
                engine.checkpoint().unwrap();
            }
        }
        ended.store(true, Ordering::SeqCst);
    });
    assert_eq!(content(&engine, id(1, 0)), whole(400));
}
