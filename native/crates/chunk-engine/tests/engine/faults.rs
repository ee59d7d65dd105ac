//! Every operation of the disk fails once, in thirty scripts: with EIO, with ENOSPC, or after half of a
//! write. The engine says so or goes on rightly. No panic, no lie.

use crate::support::failing::{RESERVE_BYTES, fail_some, reopen_failed};
use crate::support::model::{World, is_honest, small};
use crate::support::scripts::scripts;
use crate::support::*;
use chunk_engine::disk::{Crash, Fault};
use chunk_engine::{Disk, Engine, MemoryDisk, StageRequest, Update};
use std::sync::Arc;
use wire::Code;

/// A run of the tests looks at every seventh operation, in each script from another one on;
/// `CATENA_EXHAUSTIVE=1` at all.
fn fail_each(fault: Fault, reserve_bytes: u64) {
    let scripts = scripts();
    assert_eq!(scripts.len(), 30);
    let stride = if is_exhaustive() { 1 } else { 7 };
    let (mut count, mut shortest) = (0, u64::MAX);
    for (number, (name, script)) in (0..).zip(&scripts) {
        let failed = fail_some(number, name, script, (fault, reserve_bytes), stride);
        (count, shortest) = (count + failed.operations, shortest.min(failed.last));
    }
    eprintln!(
        "{} scripts, {count} operations failed with {fault:?}, {} crash states",
        scripts.len(),
        3 * count
    );
    assert!(
        shortest > 10 && count > 30 * 25 / stride,
        "{count} operations are too few, {shortest} in one script"
    );
}

#[test]
fn an_io_error_at_every_operation() {
    fail_each(Fault::Io, RESERVE_BYTES);
}

#[test]
fn an_io_error_at_every_operation_that_empties_the_page_cache() {
    fail_each(Fault::IoDropsPages, RESERVE_BYTES);
}

#[test]
fn a_full_disk_at_every_operation() {
    fail_each(Fault::NoSpace, RESERVE_BYTES);
}

#[test]
fn a_full_disk_without_a_reserve_at_every_operation() {
    fail_each(Fault::NoSpace, 0);
}

#[test]
fn a_short_write_at_every_operation() {
    fail_each(Fault::Short, RESERVE_BYTES);
}

#[test]
fn a_short_write_without_a_reserve_at_every_operation() {
    fail_each(Fault::Short, 0);
}

/// The tests above would find an engine that overlooks a failed flush.
#[test]
fn a_flush_that_is_left_out_is_found() {
    let found = scripts().into_iter().find(|(_, script)| {
        std::panic::catch_unwind(|| {
            let mut world = World::new(MemoryDisk::new(1 << 30), small());
            world.disk.ignore_flushes("");
            script.iter().for_each(|step| world.step(step).unwrap());
            world.check_after(Crash::LoseAll);
        })
        .is_err()
    });
    assert!(found.is_some());
}

#[test]
fn opening_fails_or_succeeds_at_every_operation() {
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    write(&engine, id(1, 0), 0, 0, &pattern(1, 10_000)).unwrap();
    engine.flush().unwrap();
    write(&engine, id(1, 0), 1, 3, &pattern(2, 20)).unwrap();
    let expected = content(&engine, id(1, 0));
    drop(engine);
    for fault in [Fault::Io, Fault::NoSpace] {
        for at in 1.. {
            let disk = disk.after(Crash::KeepAll);
            disk.fail_at(at, fault);
            let opened = Engine::open(Arc::new(disk.clone()), options());
            let reached = disk.operations() >= at;
            disk.heal();
            match opened {
                Ok((engine, opened)) => assert!(!opened.complete || content(&engine, id(1, 0)) == expected),
                Err(error) => {
                    assert!(reached && is_honest(&error), "{error}");
                    // A failed flush may have cost what was not flushed, nothing else.
                    let (engine, _) = Engine::open(Arc::new(disk.after(Crash::KeepAll)), options()).unwrap();
                    let content = content(&engine, id(1, 0));
                    assert!(content == expected || content == pattern(1, 10_000));
                }
            }
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn making_a_target_fails_or_succeeds_at_every_operation() {
    for at in 1.. {
        let disk = MemoryDisk::new(1 << 30);
        disk.fail_at(at, Fault::PowerOff);
        let done = Engine::create(Arc::new(disk.clone()), options()).is_ok();
        for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random(at), Crash::Random(at + 1000)] {
            let disk: Arc<MemoryDisk> = Arc::new(disk.after(crash));
            match Engine::open(disk.clone(), options()) {
                Ok((engine, _)) => drop(write(&engine, id(1, 0), 0, 0, b"x").unwrap()),
                Err(error) => {
                    assert!(!done && error.code == Code::NotFound, "{error} at {at}, {crash:?}");
                    drop(Engine::create(disk, options()).unwrap());
                }
            }
        }
        if done {
            return;
        }
    }
}

#[test]
fn a_failed_flush_is_the_end() {
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    write(&engine, id(1, 0), 0, 0, b"before").unwrap();
    disk.fail_at(1, Fault::Io);
    assert_eq!(engine.flush().unwrap_err().code, Code::TargetOffline);
    assert_eq!(engine.flush().unwrap_err().code, Code::TargetOffline, "a flush is never retried");
    assert_eq!(write(&engine, id(1, 0), 1, 0, b"after").unwrap_err().code, Code::TargetOffline);
}

/// A flush failed; the same boot opens the target again, and the power goes at each operation of that. What was
/// flushed before is there, and what was not is whole or not there.
#[test]
fn a_loss_of_power_while_a_failed_target_is_opened_again() {
    let stride = if is_exhaustive() { 1 } else { 7 };
    let all = || (0..).zip(scripts());
    let counts = all().flat_map(|(number, (name, script))| reopen_failed(number, name, &script, stride));
    let (failures, counts) = counts.fold((0, 0), |(failures, sum), count| (failures + 1, sum + count));
    assert!(failures > 50 && counts > 200, "{failures} failed, {counts} losses of power are too few");
}

/// What a failed flush forgot is on the medium when the target is open again, however the page cache shows it.
#[test]
fn what_a_failed_flush_forgot_is_written_again() {
    for (fault, kept) in [(Fault::Io, true), (Fault::IoDropsPages, false)] {
        let disk = MemoryDisk::new(1 << 30);
        let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
        write(&engine, id(1, 0), 0, 0, &pattern(1, 50_000)).unwrap();
        engine.flush().unwrap();
        write(&engine, id(1, 0), 1, 50_000, &pattern(2, 10_000)).unwrap();
        disk.fail_flush("segment-", fault);
        assert_eq!(engine.flush().unwrap_err().code, Code::TargetOffline);
        drop(engine);
        let (engine, opened) = Engine::open(Arc::new(disk.clone()), options()).unwrap();
        assert_eq!(opened.complete, kept, "{fault:?}");
        let shown = content(&engine, id(1, 0));
        assert_eq!(shown.len(), if kept { 60_000 } else { 50_000 });
        // Without a flush: what an opened target shows is on the medium.
        let (engine, _) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap();
        assert!(content(&engine, id(1, 0)) == shown, "{fault:?}");
    }
}

/// A failed flush cost bytes, and the process that opens the target next dies at each operation of that. Whatever it
/// had done by then, the next opening says that chunks were set back: by itself, or counted before; so does every
/// later one.
#[test]
fn an_opening_that_set_chunks_back_and_was_cut_off_is_remembered() {
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    write(&engine, id(1, 0), 0, 0, &pattern(1, 50_000)).unwrap();
    engine.flush().unwrap();
    write(&engine, id(1, 0), 1, 50_000, &pattern(2, 10_000)).unwrap();
    disk.fail_flush("segment-", Fault::IoDropsPages);
    assert_eq!(engine.flush().unwrap_err().code, Code::TargetOffline);
    drop(engine);
    let (mut before_commit, mut behind_commit) = (0, 0);
    for at in 1.. {
        let disk = disk.fork();
        let before = disk.operations();
        disk.fail_at(at, Fault::PowerOff);
        drop(Engine::open(Arc::new(disk.clone()), options()));
        let reached = disk.operations() - before >= at;
        disk.heal();
        let (engine, opened) = Engine::open(Arc::new(disk.clone()), options()).unwrap();
        assert_eq!(opened.losses, 1, "cut off at {at}: {opened:?}");
        assert_eq!(content(&engine, id(1, 0)), pattern(1, 50_000), "cut off at {at}");
        *if opened.complete { &mut behind_commit } else { &mut before_commit } += 1;
        // Neither a checkpoint nor an orderly end takes it back.
        write(&engine, id(1, 0), 1, 0, b"later").unwrap();
        engine.checkpoint().unwrap();
        engine.close().unwrap();
        let (_, opened) = Engine::open(Arc::new(disk), options()).unwrap();
        assert!(opened.complete && opened.clean && opened.losses == 1, "cut off at {at}: {opened:?}");
        if !reached {
            break;
        }
    }
    assert!(
        before_commit > 3 && behind_commit > 1,
        "{before_commit} before the commit, {behind_commit} behind"
    );
}

#[test]
fn updates_with_a_version_find_room_in_the_reserve() {
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    let space = engine.space().unwrap();
    assert_eq!(space.reserve, options().reserve_bytes);
    disk.set_capacity(space.capacity - space.allocatable);
    assert_eq!(engine.space().unwrap().allocatable, 0);
    write(&engine, id(1, 0), 0, 0, &pattern(1, 60_000)).unwrap();
    let space = engine.space().unwrap();
    assert!(space.reserve < options().reserve_bytes, "it was spent, in a step larger than the update");
    assert_eq!(space.allocatable, 0, "and what is left of the step is for updates with a version alone");
    write(&engine, id(1, 0), 1, 100, &pattern(2, 5000)).unwrap();
    let mut inode = 2;
    let refused = loop {
        match write(&engine, id(inode, 0), 0, 0, &pattern(inode, 60_000)) {
            Ok(_) => inode += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code, Code::NoSpace);
    assert!(engine.failure().is_none() && inode > 3);
    assert_eq!(content(&engine, id(inode - 1, 0)), pattern(inode - 1, 60_000));
    assert_eq!(content(&engine, id(inode, 0)), [], "the refused one left nothing");
    disk.set_capacity(1 << 30);
    engine.checkpoint().unwrap();
    assert_eq!(engine.space().unwrap().reserve, options().reserve_bytes, "what was spent is taken again");
    write(&engine, id(inode, 0), 0, 0, &pattern(inode, 60_000)).unwrap();
    let report = engine.check().unwrap();
    assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{report:?}");
}

/// What the chain counts for truncations (P8): nothing, whether they cut or find nothing to cut. Each takes the head of
/// a record, so that a full disk stores them as it stores removals.
#[test]
fn a_truncation_takes_no_block() {
    const ROUNDS: u64 = 60;
    let disk = MemoryDisk::new(1 << 30);
    let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
    write(&engine, id(1, 0), 0, 0, &pattern(1, 1000 * ROUNDS as usize)).unwrap();
    engine.checkpoint().unwrap();
    let free = |disk: &MemoryDisk| disk.space().unwrap().free;
    let before = free(&disk);
    let mut base = 1;
    for round in 0..ROUNDS {
        if round == ROUNDS / 2 {
            assert!(before.saturating_sub(free(&disk)) < round * 4 * 512, "{before} {}", free(&disk));
            let space = engine.space().unwrap();
            disk.set_capacity(space.capacity - space.allocatable);
        }
        let end = 1000 * (ROUNDS - round) as u32 - 1;
        // The second and the third find nothing to cut.
        for length in [end, end + 500, end + 1] {
            engine.stage(&request(id(1, 0), base, Update::Truncate { length })).unwrap();
            base += 1;
            engine.commit(id(1, 0), version(base)).unwrap();
        }
        let absent = id(2, round);
        engine.stage(&request(absent, 0, Update::Truncate { length: end })).unwrap();
        engine.commit(absent, version(1)).unwrap();
        assert!(engine.meta(absent).is_some_and(|meta| meta.removed), "it makes no chunk");
    }
    assert_eq!(content(&engine, id(1, 0)), pattern(1, 999));
    assert!(engine.failure().is_none());
}

#[test]
fn a_target_is_made_once_and_never_opened_by_an_older_release() {
    let disk: Arc<MemoryDisk> = Arc::new(MemoryDisk::new(1 << 30));
    assert_eq!(Engine::open(disk.clone(), options()).unwrap_err().code, Code::NotFound);
    drop(Engine::create(disk.clone(), options()).unwrap());
    assert_eq!(Engine::create(disk.clone(), options()).unwrap_err().code, Code::Exists);
    let (engine, opened) = Engine::open(disk, options()).unwrap();
    assert!(opened.complete && !opened.clean);
    let data = [pattern(1, 10)];
    let staged = engine.stage(&StageRequest {
        commit: true,
        ..request(id(1, 0), 0, Update::Write { offset: 0, data: &data })
    });
    assert_eq!(staged.unwrap().crc, chunk_engine::checksum(&data[0]));
}

/// What a checkpoint took to be saved when the disk was full is saved by the next one, which removes the journal.
#[test]
fn a_checkpoint_that_met_a_full_disk_leaves_everything_to_the_next_one() {
    let options = || chunk_engine::Options { reserve_bytes: 0, ..crate::support::options() };
    let mut refused = 0;
    for at in 1.. {
        let disk = MemoryDisk::new(64 << 20);
        let engine = Engine::create(Arc::new(disk.clone()), options()).unwrap();
        let mut model = pattern(1, 40_000).to_vec();
        for chunk in 1..=3 {
            write(&engine, id(chunk, 0), 0, 0, &model).unwrap();
        }
        // Into the journal, under a tag.
        let data = [pattern(2, 500)];
        let update = request(id(2, 0), 1, Update::Write { offset: 5000, data: &data });
        engine.stage(&StageRequest { commit: true, ..with_tag(update, tag(1, 0, 7)) }).unwrap();
        engine.flush().unwrap();
        disk.fail_at(at, Fault::NoSpace);
        let checkpoint = engine.checkpoint();
        disk.heal();
        match &checkpoint {
            Ok(()) => {}
            // A disk that cannot take a flush is no full one.
            Err(error) if error.code != Code::NoSpace => continue,
            Err(_) => {
                refused += 1;
                engine.checkpoint().unwrap();
            }
        }
        drop(engine);
        let (engine, opened) = Engine::open(Arc::new(disk.after(Crash::LoseAll)), options()).unwrap();
        assert!(opened.complete, "operation {at}: {opened:?}");
        for chunk in [1, 3] {
            assert!(content(&engine, id(chunk, 0)) == model, "operation {at}, chunk {chunk}");
        }
        model[5000..5500].copy_from_slice(&data[0]);
        assert!(content(&engine, id(2, 0)) == model, "operation {at}");
        let channel = engine.channel(tag(1, 0, 0).client, 0).map(|channel| channel.tag.sequence);
        assert_eq!(channel, Some(7), "operation {at}");
        if checkpoint.is_ok() {
            break;
        }
    }
    assert!(refused >= 2, "a new journal and a block that goes in place: {refused}");
}
