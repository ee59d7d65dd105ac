//! Every operation of the disk fails once, in thirty scripts: with EIO, with ENOSPC, or after half of a
//! write. The engine says so or goes on rightly. No panic, no lie.

mod support;

use chunk_engine::disk::{Crash, Fault};
use chunk_engine::{Engine, MemoryDisk, StageRequest, Update};
use std::sync::Arc;
use support::model::{Step, World, is_honest, small};
use support::scripts::scripts;
use support::*;
use wire::Code;

fn is_exhaustive() -> bool {
    std::env::var_os("CATENA_EXHAUSTIVE").is_some()
}

/// Runs the script with its `at`-th operation failing, and looks at what that and a crash after it leave.
/// `false`: the script has fewer operations.
fn fail_one(name: &str, script: &[Step], fault: Fault, at: u64) -> bool {
    let mut world = World::new(MemoryDisk::new(1 << 30), small());
    world.faulty = true;
    let before = world.disk.operations();
    world.disk.fail_at(at, fault);
    let mut failed = None;
    for step in script {
        if let Err(error) = world.step(step) {
            assert!(is_honest(&error), "{name}: {error} at operation {at}, {step:?}");
            failed = Some(error);
            break;
        }
    }
    let reached = world.disk.operations() - before >= at;
    world.disk.heal();
    assert!(reached || failed.is_none(), "{name}: {failed:?} without any fault");
    match world.engine.as_ref().and_then(|engine| engine.failure().map(|reason| (engine, reason))) {
        Some((engine, reason)) => {
            // Once failed, always failed: nothing may be served.
            assert_eq!(reason.code, Code::TargetOffline);
            let refused = [
                engine.flush().unwrap_err(),
                engine.read_all(id(1, 0)).unwrap_err(),
                engine.checkpoint().unwrap_err(),
            ];
            assert!(refused.iter().all(|error| error.code == Code::TargetOffline));
            // What is held is still known: an error here would be taken for "holds nothing".
            for row in engine.list(id(0, 0), None, 100) {
                assert_eq!(engine.meta(row.chunk).map(|meta| meta.committed), Some(row.version));
            }
        }
        None if failed.is_none() => world.check_now(),
        None => {}
    }
    for crash in [Crash::KeepAll, Crash::LoseAll, Crash::Random(at)] {
        world.check_after(crash);
    }
    // The next process of the same boot sees what the page cache shows, not what the medium has. When it has
    // opened the target and flushed once, what it shows is on the medium.
    world.engine = None;
    world.check_disk(world.disk.fork(), false, "another process");
    reached
}

/// A run of the tests looks at every seventh operation, in each script from another one on;
/// `CATENA_EXHAUSTIVE=1` at all.
fn fail_each(fault: Fault) {
    let scripts = scripts();
    assert_eq!(scripts.len(), 30);
    let stride = if is_exhaustive() { 1 } else { 7 };
    let (mut count, mut shortest) = (0, u64::MAX);
    for (number, (name, script)) in (0..).zip(&scripts) {
        let mut at = 1 + number % stride;
        while fail_one(name, script, fault, at) {
            (at, count) = (at + stride, count + 1);
        }
        shortest = shortest.min(at);
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
    fail_each(Fault::Io);
}

#[test]
fn an_io_error_at_every_operation_that_empties_the_page_cache() {
    fail_each(Fault::IoDropsPages);
}

#[test]
fn a_full_disk_at_every_operation() {
    fail_each(Fault::NoSpace);
}

#[test]
fn a_short_write_at_every_operation() {
    fail_each(Fault::Short);
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
    let (mut count, mut failures) = (0, 0);
    let stride = if is_exhaustive() { 1 } else { 7 };
    for (number, (name, script)) in scripts().iter().enumerate() {
        for (file, fault) in [
            ("segment-", Fault::Io),
            ("segment-", Fault::IoDropsPages),
            ("journal-", Fault::Io),
            ("journal-", Fault::IoDropsPages),
            ("catalog", Fault::Io),
            ("catalog", Fault::IoDropsPages),
        ] {
            let mut world = World::new(MemoryDisk::new(1 << 30), small());
            world.faulty = true;
            for (place, step) in script.iter().enumerate() {
                if place == number % script.len() {
                    world.disk.fail_flush(file, fault);
                }
                if world.step(step).is_err() {
                    break;
                }
            }
            world.disk.heal();
            if world.engine.as_ref().is_some_and(|engine| engine.failure().is_none()) {
                continue;
            }
            failures += 1;
            world.engine = None;
            for at in (1 + number..).step_by(stride) {
                let disk = world.disk.fork();
                let before = disk.operations();
                disk.fail_at(at as u64, Fault::PowerOff);
                drop(Engine::open(Arc::new(disk.clone()), small()));
                let reached = disk.operations() - before >= at as u64;
                disk.heal();
                for crash in [Crash::LoseAll, Crash::Random(at as u64)] {
                    let what = format!("{name}, {fault:?} of {file}, power lost at {at}, {crash:?}");
                    world.check_disk(disk.after(crash), false, &what);
                }
                if !reached {
                    break;
                }
                count += 1;
            }
        }
    }
    assert!(failures > 50 && count > 200, "{failures} failed, {count} losses of power are too few");
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
    let options = || chunk_engine::Options { reserve_bytes: 0, ..support::options() };
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
