//! Damaged blocks: found, put right from a copy that has the checksum of the own books, carried on honestly
//! where there is none.

use crate::support::{content, id, options, pattern, request, version, write};
use bytes::Bytes;
use chunk_engine::disk::Crash;
use chunk_engine::{BLOCK_BYTES, Damage, Disk, Engine, MemoryDisk, Options, StageRequest, Update};
use std::io::IoSlice;
use std::sync::Arc;
use wire::Code;

const BLOCKS: usize = 10;

fn filled() -> (MemoryDisk, Engine, Vec<u8>) {
    let disk = MemoryDisk::new(64 << 20);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    // The last block is short.
    let model = pattern(1, BLOCKS * BLOCK_BYTES - 100).to_vec();
    write(&engine, id(1, 0), 0, 0, &model).unwrap();
    engine.flush().unwrap();
    (disk, engine, model)
}

/// Where the chunk's blocks lie: the segment that holds bytes, and its pages in order.
fn pages(disk: &MemoryDisk) -> (String, Vec<u64>) {
    let segment = |name: &String| name.starts_with("segment-") && !disk.written_pages(name).is_empty();
    let name = disk.list().unwrap().into_iter().find(segment).unwrap();
    let pages = disk.written_pages(&name);
    (name, pages)
}

fn overwrite(disk: &MemoryDisk, name: &str, page: u64, bytes: &[u8]) {
    disk.open(name).unwrap().unwrap().write_at(&[IoSlice::new(bytes)], page).unwrap();
}

#[test]
fn every_kind_of_damage_is_found_and_mended_in_place() {
    let (disk, engine, model) = filled();
    let (name, pages) = pages(&disk);
    assert_eq!(pages.len(), BLOCKS);
    assert_eq!(engine.damage(id(1, 0)).unwrap().blocks, []);
    assert!(disk.flip_bit(&name, pages[2] + 77, 3));
    overwrite(&disk, &name, pages[5], &[0; BLOCK_BYTES]);
    overwrite(&disk, &name, pages[9], &model[..BLOCK_BYTES]);
    let damage = engine.damage(id(1, 0)).unwrap();
    assert_eq!((damage.version, damage.chunk_length as usize), (version(1), model.len()));
    assert_eq!(damage.blocks, [2, 5, 9]);
    let used = engine.space().unwrap();
    // Another version's, and bytes that are not the right ones, are not taken.
    let (whole, block) = (&model[..], &model[2 * BLOCK_BYTES..3 * BLOCK_BYTES]);
    assert_eq!(engine.mend(id(1, 0), version(7), 0, whole).unwrap(), 0);
    assert_eq!(engine.mend(id(1, 0), version(1), 5, block).unwrap(), 0);
    assert_eq!(engine.mend(id(1, 0), version(1), 9, &model[..BLOCK_BYTES]).unwrap(), 0);
    assert_eq!(engine.damage(id(1, 0)).unwrap().blocks, [2, 5, 9]);
    assert_eq!(engine.mend(id(1, 0), version(1), 2, block).unwrap(), 1);
    assert_eq!(engine.mend(id(1, 0), version(1), 0, whole).unwrap(), 2, "the whole ones are left alone");
    assert_eq!(engine.damage(id(1, 0)).unwrap().blocks, []);
    assert_eq!(content(&engine, id(1, 0)), model);
    assert_eq!(engine.space().unwrap(), used, "nothing was allocated");
    engine.flush().unwrap();
    drop(engine);
    let (engine, _) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap();
    assert_eq!(content(&engine, id(1, 0)), model, "it is on the medium");
}

/// A cache has good bytes still, which nobody can count on.
#[test]
fn damage_of_the_medium_alone_is_found_and_mended() {
    let (disk, engine, model) = filled();
    let (name, pages) = pages(&disk);
    assert!(disk.rot_bit(&name, pages[2] + 77, 3));
    // What is written and not flushed goes to the medium before that is looked at.
    let data = [pattern(2, 4096)];
    write(&engine, id(2, 0), 0, 0, &data[0]).unwrap();
    assert_eq!(engine.damage(id(2, 0)).unwrap().blocks, []);
    assert_eq!(content(&engine, id(1, 0)), model, "reads do not see it");
    assert_eq!(engine.damage(id(1, 0)).unwrap().blocks, [2]);
    assert_eq!(engine.mend(id(1, 0), version(1), 0, &model).unwrap(), 1);
    assert_eq!(engine.damage(id(1, 0)).unwrap().blocks, []);
    drop(engine);
    let (engine, _) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap();
    assert_eq!(content(&engine, id(1, 0)), model);
}

#[test]
fn a_chunk_can_be_mended_while_an_update_of_it_pends() {
    let (disk, engine, mut model) = filled();
    let (name, pages) = pages(&disk);
    let data = [pattern(2, 50)];
    engine.stage(&request(id(1, 0), 1, Update::Write { offset: 3 * 4096, data: &data })).unwrap();
    assert!(disk.flip_bit(&name, pages[6], 0));
    assert_eq!(engine.mend(id(1, 0), version(1), 0, &model).unwrap(), 1);
    engine.commit(id(1, 0), version(2)).unwrap();
    model[3 * 4096..3 * 4096 + 50].copy_from_slice(&data[0]);
    assert_eq!(content(&engine, id(1, 0)), model);
}

#[test]
fn an_update_over_damage_is_refused_or_keeps_it() {
    let (partial, appended) = ([pattern(3, 100)], [pattern(4, 20)]);
    let updates: [(Update<'_>, u32); 4] = [
        (Update::Write { offset: 4 * 4096 + 10, data: &partial }, 4),
        (Update::Truncate { length: 4 * 4096 + 500 }, 4),
        (Update::Punch { offset: 4 * 4096 + 10, length: 100 }, 4),
        // Behind the last byte, in the block that holds it.
        (Update::Write { offset: (BLOCKS * BLOCK_BYTES - 50) as u32, data: &appended }, 9),
    ];
    for (update, block) in updates {
        let (disk, engine, model) = filled();
        let (name, pages) = pages(&disk);
        assert!(disk.flip_bit(&name, pages[block as usize] + 300, 5));
        let staged = engine.stage(&request(id(1, 0), 1, update));
        if block != 9 {
            assert_eq!(staged.unwrap_err().code, Code::Corrupt);
            engine.stage_damaged(&request(id(1, 0), 1, update), &[]).unwrap();
        }
        engine.commit(id(1, 0), version(2)).unwrap();
        assert_eq!(engine.damage(id(1, 0)).unwrap().blocks, [block], "{update:?}");
        // Everything else is there, also in the next process.
        engine.flush().unwrap();
        drop(engine);
        let (engine, opened) = Engine::open(Arc::new(disk.after(Crash::KeepAll)), options()).unwrap();
        assert!(opened.complete, "{opened:?}");
        let mut before = vec![0; block as usize * BLOCK_BYTES];
        engine.read(id(1, 0), 0, &mut before).unwrap();
        assert!(before == model[..before.len()]);
        assert_eq!(engine.damage(id(1, 0)).unwrap().blocks, [block]);
    }
}

#[test]
fn a_replacement_with_damaged_blocks_says_so_and_one_of_the_same_version_heals_it() {
    let (disk, engine, model) = filled();
    let payload = [Bytes::from(model.clone())];
    let replacement =
        StageRequest { base: None, commit: true, ..request(id(2, 0), 6, Update::Replace { data: &payload }) };
    engine.stage_damaged(&replacement, &[0, 9]).unwrap();
    assert_eq!(engine.damage(id(2, 0)).unwrap().blocks, [0, 9]);
    let read = engine.read(id(2, 0), 0, &mut [0; 10]);
    assert_eq!(read.unwrap_err().code, Code::Corrupt);
    engine.flush().unwrap();
    drop(engine);
    let (engine, _) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap();
    assert_eq!(engine.damage(id(2, 0)).unwrap().blocks, [0, 9]);
    assert_eq!(engine.mend(id(2, 0), version(7), 0, &model).unwrap(), 0, "its books do not know them");
    engine.stage(&replacement).unwrap();
    assert_eq!(engine.damage(id(2, 0)).unwrap().blocks, []);
    assert_eq!(content(&engine, id(2, 0)), model);
    assert_eq!(engine.meta(id(2, 0)).unwrap().committed, version(7));
    assert!(engine.check().unwrap().wrong.is_empty());
}

#[test]
fn a_disk_that_does_not_read_fails_the_target() {
    for scrub in [false, true] {
        let (disk, engine, model) = filled();
        disk.fail_at(1, chunk_engine::disk::Fault::Io);
        let failed = match scrub {
            true => engine.damage(id(1, 0)).unwrap_err(),
            false => engine.read(id(1, 0), 0, &mut vec![0; model.len()]).unwrap_err(),
        };
        assert_eq!(failed.code, Code::TargetOffline);
        disk.heal();
        assert!(engine.failure().is_some());
    }
}

/// The cut is not flushed, so that the appended bytes go with their block through the journal.
#[test]
fn bytes_appended_to_a_damaged_block_leave_it_damaged() {
    let (disk, engine, _) = filled();
    let (name, pages) = pages(&disk);
    let length = 4 * 4096 + 2000;
    engine
        .stage(&StageRequest { commit: true, ..request(id(1, 0), 1, Update::Truncate { length }) })
        .unwrap();
    assert!(disk.flip_bit(&name, pages[4] + 300, 5));
    let appended = [pattern(4, 20)];
    let append = request(id(1, 0), 2, Update::Write { offset: length, data: &appended });
    assert_eq!(engine.stage(&append).unwrap_err().code, Code::Corrupt);
    engine.stage_damaged(&append, &[]).unwrap();
    engine.commit(id(1, 0), version(3)).unwrap();
    let damage = engine.damage(id(1, 0)).unwrap();
    assert_eq!((damage.chunk_length, damage.blocks), (length + 20, vec![4]));
}

/// Its pieces are of different versions, and what is damaged of each is named all the same.
#[test]
fn a_chunk_that_changes_between_two_pieces_is_looked_at_once() {
    const MIB: usize = 1 << 20;
    let disk = MemoryDisk::new(64 << 20);
    let engine =
        Engine::create(Arc::new(disk.clone()), Options { segment_bytes: 32 << 20, ..options() }).unwrap();
    let chunk_size = 4 * MIB as u32;
    let write = |base: u64, offset: usize, data: Bytes| {
        let (offset, data) = (offset as u32, [data]);
        let request =
            StageRequest { chunk_size, ..request(id(1, 0), base, Update::Write { offset, data: &data }) };
        engine.stage(&StageRequest { commit: true, ..request }).unwrap();
    };
    let content = pattern(1, 4 * MIB - 100);
    (0..4).for_each(|piece| {
        let end = content.len().min((piece + 1) * MIB);
        write(piece as u64, piece * MIB, content.slice(piece * MIB..end));
    });
    engine.flush().unwrap();
    let (name, pages) = pages(&disk);
    assert_eq!(pages.len(), 1024);
    [3, 256, 700, 1023].iter().for_each(|block| assert!(disk.flip_bit(&name, pages[*block], 1)));
    let found = |offset: usize| engine.damage_at(id(1, 0), offset as u32).unwrap();
    let (length, damage) = found(0);
    assert_eq!((length as usize, damage.version, damage.blocks), (MIB, version(4), vec![3]));
    write(4, 0, pattern(2, MIB));
    let (length, damage) = found(MIB);
    assert_eq!((length as usize, damage.version, damage.blocks), (MIB, version(5), vec![256]));
    assert_eq!(damage.chunk_length as usize, content.len());
    write(5, 2 * MIB, pattern(3, MIB));
    assert_eq!(found(2 * MIB).1.blocks, [], "overwritten whole");
    let (length, damage) = found(3 * MIB);
    assert_eq!((length as usize, damage.version, damage.blocks), (MIB - 100, version(6), vec![1023]));
    assert_eq!(found(4 * MIB).0, 0, "behind its end");
    let (length, damage) = found(MIB - 100);
    assert_eq!((length as usize, damage.blocks), (MIB - 3996, vec![256]), "from within a block");
    assert_eq!(engine.damage_at(id(9, 9), 0).unwrap(), (0, Damage::default()), "there is none");
    let whole = engine.damage(id(1, 0)).unwrap();
    assert_eq!((whole.version, whole.blocks), (version(6), vec![256, 1023]));
    let mut bytes = vec![7; content.len()];
    let (info, damaged) = engine.read_around_damage(id(1, 0), &mut bytes).unwrap();
    assert_eq!(
        (info.version, info.length as usize, &damaged[..]),
        (version(6), content.len(), &[256, 1023][..])
    );
    let mut expected =
        [pattern(2, MIB), content.slice(MIB..2 * MIB), pattern(3, MIB), content.slice(3 * MIB..)].concat();
    for block in damaged {
        let start = block as usize * BLOCK_BYTES;
        let end = expected.len().min(start + BLOCK_BYTES);
        expected[start..end].fill(0);
    }
    assert!(bytes == expected);
    assert_eq!(info.crc, chunk_engine::checksum(&expected));
}

/// Whatever is free: what may be refused is, before it takes a byte of the reserve; an update is not.
#[test]
fn what_may_be_refused_leaves_the_reserve_alone() {
    let (disk, engine, model) = filled();
    let held = engine.space().unwrap().reserve;
    assert!(held > 0);
    let data = [pattern(2, model.len())];
    let replace = StageRequest {
        version: version(1),
        base: None,
        commit: true,
        ..request(id(1, 0), 0, Update::Replace { data: &data })
    };
    for free in [0, 1, 4, 8] {
        let space = disk.space().unwrap();
        disk.set_capacity(space.capacity - space.free + free * BLOCK_BYTES as u64);
        let before = engine.space().unwrap();
        assert_eq!(engine.stage_unreserved(&replace, Some(&[])).unwrap_err().code, Code::NoSpace);
        assert_eq!(engine.space().unwrap(), before, "with {free} blocks");
        assert_eq!(content(&engine, id(1, 0)), model);
    }
    let space = disk.space().unwrap();
    disk.set_capacity(space.capacity - space.free);
    write(&engine, id(2, 0), 0, 0, &model).unwrap();
    assert!(engine.space().unwrap().reserve < held);
    // What it gave up of a step is room as well.
    engine.stage_unreserved(&replace, Some(&[])).unwrap();
    assert_eq!(content(&engine, id(1, 0)), data[0]);
    assert!(disk.space().unwrap().free < 1 << 20);
}
