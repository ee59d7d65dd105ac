//! What each update does to a chunk, on all disks.

use crate::support::*;
use bytes::Bytes;
use chunk_engine::disk::Crash;
use chunk_engine::{
    BLOCK_BYTES, DirectDisk, Disk, Engine, FileDisk, Media, MemoryDisk, Options, StageRequest, Update,
    checksum,
};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use wire::{Code, Version};

fn on_all(test: impl Fn(Arc<dyn Disk>)) {
    test(Arc::new(MemoryDisk::new(1 << 30)));
    for media in [Media::Buffered, Media::Direct] {
        let folder = tempfile::tempdir().unwrap();
        test(media.open(folder.path()).unwrap());
    }
    // Every file, also those that the product keeps buffered.
    let folder = tempfile::tempdir().unwrap();
    match DirectDisk::new(FileDisk::open(folder.path()).unwrap(), |_| true) {
        Ok(disk) => test(Arc::new(disk)),
        Err((_, reason)) => eprintln!("SKIPPED: {} has no direct I/O: {reason}", folder.path().display()),
    }
}

fn fresh() -> (MemoryDisk, Engine) {
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    (disk, engine)
}

fn sound(engine: &Engine) {
    let report = engine.check().unwrap();
    assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
}

#[test]
fn a_commit_without_a_record_of_its_own_may_be_pending_again_but_is_never_lost() {
    let (disk, engine) = fresh();
    let (chunk, other) = (id(7, 3), id(7, 4));
    write(&engine, chunk, 0, 0, b"old").unwrap();
    let new = [Bytes::from_static(b"new")];
    let staged = request(chunk, 1, Update::Write { offset: 0, data: &new });
    engine.stage(&with_tag(staged, tag(1, 2, 3))).unwrap();
    let operations = disk.operations();
    engine.commit_soon(chunk, version(2)).unwrap();
    assert_eq!(disk.operations(), operations, "no system call");
    assert_eq!(content(&engine, chunk), b"new");
    engine.commit_soon(chunk, version(2)).unwrap();

    let reopened = |disk: &MemoryDisk, crash: Crash| {
        let (engine, opened) = Engine::open(Arc::new(disk.after(crash)), options()).unwrap();
        assert!(opened.complete);
        engine
    };
    let after = reopened(&disk, Crash::KeepAll);
    let meta = after.meta(chunk).unwrap();
    assert_eq!(
        (meta.committed, meta.tip(), meta.pending[0].tag),
        (version(1), version(2), Some(tag(1, 2, 3)))
    );
    assert_eq!(content(&after, chunk), b"old");
    after.commit_soon(chunk, version(2)).unwrap();
    assert_eq!(content(&after, chunk), b"new", "rolled forward");
    sound(&after);

    // Whatever comes after it carries it along.
    write(&engine, other, 0, 0, b"x").unwrap();
    assert_eq!(content(&reopened(&disk, Crash::KeepAll), chunk), b"new");
    let newer = [Bytes::from_static(b"newer")];
    engine.stage(&request(chunk, 2, Update::Write { offset: 0, data: &newer })).unwrap();
    engine.commit_soon(chunk, version(3)).unwrap();
    engine.flush().unwrap();
    assert_eq!(content(&reopened(&disk, Crash::LoseAll), chunk), b"newer");
    engine.stage(&request(chunk, 3, Update::Truncate { length: 1 })).unwrap();
    engine.commit_soon(chunk, version(4)).unwrap();
    engine.checkpoint().unwrap();
    let after = reopened(&disk, Crash::LoseAll);
    assert_eq!(content(&after, chunk), b"n");
    sound(&after);
}

#[test]
fn a_chunk_lives_through_its_updates() {
    on_all(|disk| {
        let engine = Engine::create(disk.clone(), options()).unwrap();
        let chunk = id(7, 3);
        let mut model = pattern(1, 10_000).to_vec();
        let staged = write(&engine, chunk, 0, 0, &model).unwrap();
        assert_eq!((staged.chunk_length, staged.allocated_delta), (10_000, 3 * 4096));
        assert_eq!(staged.crc, checksum(&model));
        let steps: [(u32, usize); 8] = [
            (10_000, 5000),
            (100, 50),
            (4096, 4096),
            (14_990, 300),
            (30_000, 7),
            (0, 12),
            (20_000, 40_000),
            (0, 60_000),
        ];
        for (base, (offset, length)) in (1..).zip(steps) {
            let bytes = pattern(base, length);
            write(&engine, chunk, base, offset, &bytes).unwrap();
            let end = offset as usize + length;
            model.resize(model.len().max(end), 0);
            model[offset as usize..end].copy_from_slice(&bytes);
            assert!(content(&engine, chunk) == model, "after {offset}+{length}");
        }
        for (base, length) in (9..).zip([59_000, 64_000, 4096, 5, 5000]) {
            engine.stage(&request(chunk, base, Update::Truncate { length })).unwrap();
            engine.commit(chunk, version(base + 1)).unwrap();
            model.truncate(length as usize);
            assert!(content(&engine, chunk) == model, "after a truncation to {length}");
        }
        sound(&engine);
        engine.close().unwrap();
        let (engine, opened) = Engine::open(disk, options()).unwrap();
        assert!(opened.clean && opened.complete && opened.replayed == 0, "{opened:?}");
        assert!(content(&engine, chunk) == model);
        sound(&engine);
        engine.stage(&request(chunk, 14, Update::Remove)).unwrap();
        engine.commit(chunk, version(15)).unwrap();
        assert_eq!(content(&engine, chunk), []);
        let meta = engine.meta(chunk).unwrap();
        assert!(meta.removed && meta.committed == version(15));
        engine.flush().unwrap();
        assert_eq!(engine.space().unwrap().used, 0);
        write(&engine, chunk, 15, 10, b"again").unwrap();
        assert_eq!(content(&engine, chunk), b"\0\0\0\0\0\0\0\0\0\0again");
        sound(&engine);
    });
}

#[test]
fn the_committed_version_stays_readable_while_others_pend() {
    let (_, engine) = fresh();
    let chunk = id(1, 0);
    let old = pattern(1, 50_000);
    write(&engine, chunk, 0, 0, &old).unwrap();
    let mut expected = vec![old.to_vec()];
    let steps = [(3, 100), (50_000, 8000), (0, 40_000), (10, 10), (58_000, 7000)];
    for (base, (offset, length)) in (1..).zip(steps) {
        let data = [pattern(base + 100, length)];
        engine.stage(&request(chunk, base, Update::Write { offset, data: &data })).unwrap();
        let mut next = expected.last().unwrap().clone();
        next.resize(next.len().max(offset as usize + length), 0);
        next[offset as usize..offset as usize + length].copy_from_slice(&data[0]);
        expected.push(next);
        assert!(content(&engine, chunk) == old, "version {base} is still the committed one");
    }
    let pending = engine.meta(chunk).unwrap().pending;
    assert_eq!(pending.iter().map(|one| one.version.number).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    for (number, bytes) in (1..).zip(&expected) {
        let mut buffer = vec![0; bytes.len()];
        let info = engine.read_version(chunk, version(number), 0, &mut buffer).unwrap();
        assert!(buffer == *bytes && info.crc == checksum(bytes) && info.version == version(number));
    }
    engine.checkpoint().unwrap();
    for (number, bytes) in (2..).zip(&expected[1..4]) {
        engine.commit(chunk, version(number)).unwrap();
        assert!(content(&engine, chunk) == *bytes);
    }
    engine.commit(chunk, version(6)).unwrap();
    assert!(content(&engine, chunk) == expected[5], "a commit includes the versions before it");
    engine.commit(chunk, version(6)).unwrap();
    assert_eq!(engine.commit(chunk, version(9)).unwrap_err().code, Code::MissingVersion);
    assert_eq!(engine.read_version(chunk, version(5), 0, &mut [0]).unwrap_err().code, Code::MissingVersion);
    sound(&engine);
}

#[test]
fn gaps_and_wrong_requests_are_refused() {
    let (_, engine) = fresh();
    let chunk = id(1, 0);
    let data = [pattern(1, 100)];
    let update = Update::Write { offset: 0, data: &data };
    let code = |request: StageRequest<'_>| engine.stage(&request).unwrap_err().code;
    assert_eq!(code(request(chunk, 1, update)), Code::MissingVersion);
    assert!(engine.meta(chunk).is_none(), "a refused update leaves nothing");
    write(&engine, chunk, 0, 0, b"x").unwrap();
    assert_eq!(
        code(StageRequest { version: version(1), ..request(chunk, 1, update) }),
        Code::InvalidArgument
    );
    assert_eq!(
        code(StageRequest { chunk_size: 1 << 20, ..request(chunk, 1, update) }),
        Code::InvalidArgument
    );
    assert_eq!(
        code(StageRequest { chunk_size: 5000, ..request(id(2, 0), 0, update) }),
        Code::InvalidArgument
    );
    assert_eq!(
        code(request(chunk, 1, Update::Write { offset: CHUNK - 99, data: &data })),
        Code::InvalidArgument
    );
    assert_eq!(code(request(chunk, 1, Update::Truncate { length: CHUNK + 1 })), Code::InvalidArgument);
    assert_eq!(code(StageRequest { crc: Some(1), ..request(chunk, 1, update) }), Code::Corrupt);
    assert_eq!(code(with_tag(request(chunk, 1, update), tag(1, 64, 1))), Code::InvalidArgument);
    assert_eq!(content(&engine, chunk), b"x");
    sound(&engine);
}

#[test]
fn replacement_discards_and_may_go_back() {
    let (_, engine) = fresh();
    let chunk = id(1, 0);
    write(&engine, chunk, 0, 0, &pattern(1, 60_000)).unwrap();
    let data = [pattern(2, 5000)];
    engine
        .stage(&with_tag(request(chunk, 1, Update::Write { offset: 100, data: &data }), tag(1, 0, 9)))
        .unwrap();
    assert_eq!(engine.channel(tag(1, 0, 9).client, 0).unwrap().version, version(2));
    let older = [pattern(3, 3000), Bytes::new(), pattern(4, 30_000)];
    let replace = StageRequest {
        base: None,
        version: Version { chain: 0, number: 5 },
        commit: true,
        ..request(chunk, 0, Update::Replace { data: &older })
    };
    assert_eq!(engine.stage(&replace).unwrap_err().code, Code::InvalidArgument);
    engine.discard_pending(chunk).unwrap();
    assert!(engine.channel(tag(1, 0, 9).client, 0).is_none(), "a discarded update was not applied");
    engine.stage(&replace).unwrap();
    assert!(content(&engine, chunk) == older.concat());
    assert_eq!(engine.meta(chunk).unwrap().tip(), Version { chain: 0, number: 5 });
    engine.stage(&StageRequest { update: Update::Replace { data: &data }, ..replace }).unwrap();
    assert!(content(&engine, chunk) == data[0], "the same version may be replaced by other bytes");
    sound(&engine);
}

#[test]
fn a_small_chunk_takes_a_block_and_not_its_extent() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::create(Arc::new(FileDisk::open(folder.path()).unwrap()), options()).unwrap();
    for inode in 0..200 {
        write(&engine, id(inode, 0), 0, 0, &pattern(inode, 100)).unwrap();
    }
    engine.checkpoint().unwrap();
    assert_eq!(engine.space().unwrap().used, 200 * 4096);
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
    let segments = files.filter(|file| file.file_name().to_string_lossy().starts_with("segment-"));
    let taken: u64 = segments.map(|file| file.metadata().unwrap().blocks() * 512).sum();
    assert!((200 * 4096..400 * 4096).contains(&taken), "{taken} bytes of disk for 200 chunks of 100 bytes");
}

#[test]
fn rewriting_in_pieces_keeps_the_disk_and_gives_back_what_was_replaced() {
    on_all(|disk| {
        let engine = Engine::create(disk.clone(), options()).unwrap();
        let chunk = id(1, 0);
        let size = CHUNK as usize;
        let mut base = 0;
        for round in 0..20 {
            for piece in 0..4u32 {
                let data = [pattern(round * 4 + u64::from(piece), 4 * size)];
                let update = Update::Write { offset: piece * 4 * CHUNK, data: &data };
                engine
                    .stage(&StageRequest {
                        chunk_size: 16 * CHUNK,
                        commit: true,
                        ..request(chunk, base, update)
                    })
                    .unwrap();
                base += 1;
            }
            assert!(content(&engine, chunk)[13 * size..] == pattern(round * 4 + 3, 4 * size)[size..]);
        }
        engine.flush().unwrap();
        assert_eq!(engine.space().unwrap().used, 16 * size as u64);
        sound(&engine);
    });
}

#[test]
fn punching_gives_whole_blocks_back_and_reads_zeros() {
    on_all(|disk| {
        let engine = Engine::create(disk.clone(), options()).unwrap();
        let chunk = id(1, 0);
        let mut model = pattern(1, 50_001).to_vec();
        write(&engine, chunk, 0, 0, &model).unwrap();
        let mut base = 1;
        let ranges: [(u32, u32); 9] = [
            (4096, 8192),     // whole blocks
            (0, 100),         // the beginning of a block
            (20_000, 9000),   // a part, a whole, a part
            (45_000, 20_000), // over the chunk's end
            (50_001, 100),    // behind it
            (4096, 8192),     // holes already
            (30_000, 0),      // nothing
            (100, 3996),      // the rest of a block: all zeros, but it keeps its room
            (0, 65_536),      // everything
        ];
        let mut held: Vec<usize> = (0..13).collect();
        for (offset, length) in ranges {
            let before = content(&engine, chunk);
            let staged = engine.stage(&request(chunk, base, Update::Punch { offset, length })).unwrap();
            base += 1;
            assert!(content(&engine, chunk) == before, "it only pends");
            engine.commit(chunk, version(base)).unwrap();
            let (from, to) =
                ((offset as usize).min(model.len()), model.len().min((offset + length) as usize));
            model[from..to].fill(0);
            let count = held.len();
            held.retain(|block| from > block * 4096 || to < model.len().min((block + 1) * 4096));
            let given_back = (count - held.len()) as i64 * 4096;
            assert_eq!(
                (staged.chunk_length, staged.allocated_delta),
                (50_001, -given_back),
                "{offset}+{length}"
            );
            assert!(content(&engine, chunk) == model, "after {offset}+{length}");
            engine.flush().unwrap();
            assert_eq!(engine.space().unwrap().used, held.len() as u64 * 4096, "{offset}+{length}");
        }
        assert!(held.is_empty());
        sound(&engine);
        // What was punched can be written, and both survive.
        write(&engine, chunk, base, 6000, b"in a hole").unwrap();
        model[6000..6009].copy_from_slice(b"in a hole");
        engine.close().unwrap();
        let (engine, _) = Engine::open(disk, options()).unwrap();
        assert!(content(&engine, chunk) == model);
        assert_eq!(engine.space().unwrap().used, 4096);
        sound(&engine);
        assert_eq!(
            engine
                .stage(&request(chunk, base + 1, Update::Punch { offset: CHUNK, length: 1 }))
                .unwrap_err()
                .code,
            Code::InvalidArgument
        );
    });
}

#[test]
fn chunks_of_the_smallest_and_the_largest_size() {
    on_all(|disk| {
        let options = Options { segment_bytes: 128 << 20, ..options() };
        let engine = Engine::create(disk.clone(), options.clone()).unwrap();
        let mut models = Vec::new();
        for (inode, size) in [(1, 64u32 << 10), (2, 64 << 20)] {
            let chunk = id(inode, 0);
            let stage = |base: u64, update: Update<'_>| {
                let request = StageRequest { chunk_size: size, commit: true, ..request(chunk, base, update) };
                engine.stage(&request)
            };
            let whole = [pattern(inode, size as usize)];
            let staged = stage(0, Update::Write { offset: 0, data: &whole }).unwrap();
            assert_eq!((staged.chunk_length, staged.allocated_delta), (size, i64::from(size)));
            assert_eq!(staged.crc, checksum(&whole[0]));
            let mut model = whole[0].to_vec();
            // The last block through the journal, and a middle part to new blocks.
            let (last, middle) = ([pattern(3, 4000)], [pattern(4, size as usize / 2)]);
            stage(1, Update::Write { offset: size - 4000, data: &last }).unwrap();
            stage(2, Update::Write { offset: size / 4, data: &middle }).unwrap();
            model[size as usize - 4000..].copy_from_slice(&last[0]);
            model[size as usize / 4..size as usize / 4 * 3].copy_from_slice(&middle[0]);
            stage(3, Update::Truncate { length: size - 5000 }).unwrap();
            let empty = stage(4, Update::Write { offset: size, data: &[] });
            assert_eq!(empty.unwrap_err().code, Code::InvalidArgument);
            // A gap of zeros, and one more behind it.
            stage(4, Update::Write { offset: size - 1, data: &[Bytes::from_static(&[0])] }).unwrap();
            model[size as usize - 5000..].fill(0);
            let beyond = stage(5, Update::Write { offset: size - 10, data: &[pattern(5, 11)] });
            assert_eq!(beyond.unwrap_err().code, Code::InvalidArgument);
            assert!(content(&engine, chunk) == model, "{size}");
            models.push((chunk, model));
        }
        for size in [(64 << 10) - 4096, (64 << 20) + 4096] {
            let update = Update::Truncate { length: 1 };
            let refused = engine.stage(&StageRequest { chunk_size: size, ..request(id(3, 0), 0, update) });
            assert_eq!(refused.unwrap_err().code, Code::InvalidArgument, "{size}");
        }
        sound(&engine);
        engine.flush().unwrap();
        drop(engine);
        let (engine, opened) = Engine::open(disk, options).unwrap();
        assert!(opened.complete);
        models.iter().for_each(|(chunk, model)| assert!(content(&engine, *chunk) == *model));
        for (chunk, model) in &models {
            let update = Update::Remove;
            let size = model.len() as u32;
            engine
                .stage(&StageRequest { chunk_size: size, commit: true, ..request(*chunk, 5, update) })
                .unwrap();
        }
        engine.flush().unwrap();
        assert_eq!(engine.space().unwrap().used, 0);
        sound(&engine);
    });
}

#[test]
fn journaled_overwrites_cost_about_what_they_write() {
    let (disk, engine) = fresh();
    let chunk = id(1, 0);
    let data = [pattern(1, 1 << 20)];
    let create = StageRequest {
        chunk_size: 1 << 20,
        commit: true,
        ..request(chunk, 0, Update::Write { offset: 0, data: &data })
    };
    engine.stage(&create).unwrap();
    engine.checkpoint().unwrap();
    let mut model = data[0].to_vec();
    for base in 1..100 {
        let offset = (base * 7919 % 255 * 4096) as usize;
        let bytes = [pattern(base, 4096)];
        let update = Update::Write { offset: offset as u32, data: &bytes };
        engine
            .stage(&StageRequest { chunk_size: 1 << 20, commit: true, ..request(chunk, base, update) })
            .unwrap();
        model[offset..offset + 4096].copy_from_slice(&bytes[0]);
    }
    assert!(content(&engine, chunk) == model);
    assert_eq!(engine.space().unwrap().used, 1 << 20, "no new blocks");
    engine.checkpoint().unwrap();
    assert!(content(&engine, chunk) == model);
    assert_eq!(engine.space().unwrap().used, 1 << 20, "in place");
    drop(engine);
    let (engine, opened) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap();
    assert!(opened.complete && content(&engine, chunk) == model);
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let (disk, engine) = fresh();
    let chunk = id(1, 0);
    write(&engine, chunk, 0, 0, &pattern(1, 20_000)).unwrap();
    engine.checkpoint().unwrap();
    let segment = disk.list().unwrap().into_iter().find(|name| name.starts_with("segment")).unwrap();
    let pages = disk.written_pages(&segment);
    assert_eq!(pages.len(), 5);
    for (block, page) in pages.iter().enumerate() {
        assert!(disk.flip_bit(&segment, page + 17, 5));
        let error = engine.read_all(chunk).unwrap_err();
        assert!(error.code == Code::Corrupt && error.detail.contains(&format!("block {block}")), "{error}");
        for other in 0..5 {
            let result = engine.read(chunk, other * BLOCK_BYTES as u32 + 100, &mut [0; 10]);
            assert_eq!(result.is_err(), other as usize == block, "only the damaged block is refused");
        }
        assert_eq!(engine.check().unwrap().corrupt, [chunk]);
        disk.flip_bit(&segment, page + 17, 5);
    }
    sound(&engine);
}

#[test]
fn checkpoints_without_updates_leave_nothing_behind() {
    let (disk, engine) = fresh();
    write(&engine, id(1, 0), 0, 0, b"x").unwrap();
    engine.checkpoint().unwrap();
    engine.checkpoint().unwrap();
    let (files, operations) = (disk.list().unwrap(), disk.operations());
    engine.checkpoint().unwrap();
    let one = disk.operations() - operations;
    (0..50).for_each(|_| engine.checkpoint().unwrap());
    assert_eq!(disk.list().unwrap(), files);
    engine.flush().unwrap();
    assert!(disk.operations() - operations <= 52 * one, "each costs what the first did");
}

#[test]
fn tombstones_and_lists() {
    let (disk, engine) = fresh();
    for inode in 1..=300 {
        write(&engine, id(inode, 0), 0, 0, b"x").unwrap();
        write(&engine, id(inode, 1), 0, 0, b"y").unwrap();
    }
    for inode in 1..=300 {
        engine.stage(&StageRequest { commit: true, ..request(id(inode, 1), 1, Update::Remove) }).unwrap();
    }
    assert_eq!(engine.space().unwrap().chunks, 300);
    let all = engine.list(id(0, 0), None, 10_000);
    assert_eq!(all.len(), 600);
    assert!(all.is_sorted_by_key(|row| row.chunk));
    let page = engine.list(id(10, 1), None, 3);
    assert_eq!(
        page.iter().map(|row| (row.chunk, row.removed)).collect::<Vec<_>>(),
        [(id(10, 1), true), (id(11, 0), false), (id(11, 1), true)]
    );
    assert_eq!(engine.list(id(0, 0), Some(5), 10).len(), 2);
    assert_eq!(engine.list(id(6, 0), Some(5), 10).len(), 0);
    engine.checkpoint().unwrap();
    engine.checkpoint().unwrap();
    let left = engine.list(id(0, 0), None, 10_000);
    assert_eq!(left.iter().filter(|row| row.removed).count(), 75, "the oldest tombstones expired");
    assert!(left.iter().filter(|row| row.removed).all(|row| row.chunk.inode > 225));
    assert_eq!(engine.forgotten(), version(2));
    drop(engine);
    let (engine, _) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap();
    assert_eq!(engine.list(id(0, 0), None, 10_000), left);
    assert_eq!((engine.forgotten(), engine.space().unwrap().chunks), (version(2), 300));
}
