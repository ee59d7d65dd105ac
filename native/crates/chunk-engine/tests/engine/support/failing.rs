//! Scripts of which one operation of the disk fails, and what is looked at then.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::model::{Step, World, is_honest, small};
use chunk_engine::disk::{Crash, Fault};
use chunk_engine::{Engine, MemoryDisk, Options};
use std::sync::Arc;
use wire::Code;

/// That of the engines under test: one step of it.
pub const RESERVE_BYTES: u64 = 256 << 10;

pub struct Failed {
    pub operations: u64,
    /// The number of the last operation that failed.
    pub last: u64,
}

/// Runs the `number`-th script again and again, with another of its operations failing: from another one on in
/// each script, every `stride`-th. With a fault comes the size of the reserve.
pub fn fail_some(number: u64, name: &str, script: &[Step], fault: (Fault, u64), stride: u64) -> Failed {
    let mut failed = Failed { operations: 0, last: 1 + number % stride };
    while fail_one(name, script, fault, failed.last) {
        failed.operations += 1;
        failed.last += stride;
    }
    failed
}

/// Runs the script with its `at`-th operation failing, and looks at what that and a crash after it leave.
/// `false`: the script has fewer operations.
pub fn fail_one(name: &str, script: &[Step], (fault, reserve_bytes): (Fault, u64), at: u64) -> bool {
    let mut world = World::new(MemoryDisk::new(1 << 30), Options { reserve_bytes, ..small() });
    world.faulty = true;
    let before = world.disk.operations();
    world.disk.fail_at(at, fault);
    let mut failed = None;
    for step in script {
        if let Err(error) = world.step(step) {
            assert!(is_honest(&error), "{name}: {error} at operation {at}, {step:?}");
            let may_be_full =
                reserve_bytes == 0 || script.iter().any(|step| matches!(step, Step::SetReserve(_)));
            assert!(
                error.code != Code::NoSpace || may_be_full,
                "{name}: there is a reserve, {error} at {at}"
            );
            failed = Some(error);
            if !world.goes_on() {
                break;
            }
            // What was refused is not there, and the target takes what follows.
            world.check_now();
        }
    }
    let reached = world.disk.operations() - before >= at;
    world.disk.heal();
    assert!(reached || failed.is_none(), "{name}: {failed:?} without any fault");
    if world.goes_on() {
        world.check_now();
    } else if let Some(engine) = &world.engine {
        check_failed(engine);
    }
    for crash in [Crash::KeepAll, Crash::LoseAll, Crash::Random(at)] {
        world.check_after(crash);
    }
    // The next process of the same boot sees what the page cache shows, not what the medium has. When it has
    // opened the target and flushed once, what it shows is on the medium.
    world.check_disk(world.disk.fork(), false, "another process");
    if world.goes_on() {
        let report = world.engine.as_ref().expect("it goes on").check().unwrap();
        assert!(report.corrupt.is_empty() && report.wrong.is_empty(), "{name}: {report:?} at operation {at}");
        // What could not be saved is saved now.
        world.step(&Step::Checkpoint).unwrap();
        world.check_after(Crash::LoseAll);
    }
    reached
}

/// Once failed, always failed: nothing may be served.
fn check_failed(engine: &Engine) {
    assert_eq!(engine.failure().expect("it failed").code, Code::TargetOffline);
    let refused = [
        engine.flush().unwrap_err(),
        engine.read_all(super::id(1, 0)).unwrap_err(),
        engine.checkpoint().unwrap_err(),
    ];
    assert!(refused.iter().all(|error| error.code == Code::TargetOffline));
    // What is held is still known: an error here would be taken for "holds nothing".
    for row in engine.list(super::id(0, 0), None, 100) {
        assert_eq!(engine.meta(row.chunk).map(|meta| meta.committed), Some(row.version));
    }
}

/// What the next flush of such a file meets.
pub const FLUSHES: [(&str, Fault); 6] = [
    ("segment-", Fault::Io),
    ("segment-", Fault::IoDropsPages),
    ("journal-", Fault::Io),
    ("journal-", Fault::IoDropsPages),
    ("catalog", Fault::Io),
    ("catalog", Fault::IoDropsPages),
];

/// Runs the script, from step `place` on with a disk of which one flush fails. `None`: the target did not fail of it.
pub fn fail_flush(script: &[Step], place: usize, (file, fault): (&str, Fault)) -> Option<World> {
    let mut world = World::new(MemoryDisk::new(1 << 30), small());
    world.faulty = true;
    for (number, step) in script.iter().enumerate() {
        if number == place {
            world.disk.fail_flush(file, fault);
        }
        if world.step(step).is_err() {
            break;
        }
    }
    world.disk.heal();
    let failed = !world.goes_on();
    world.engine = None;
    world.cut_off = true;
    failed.then_some(world)
}

/// Opens a target that failed, the power going at the `at`-th operation of that. `false`: it has fewer.
pub fn lose_power_while_opening(world: &World, at: u64, what: &str) -> bool {
    let disk = world.disk.fork();
    let before = disk.operations();
    disk.fail_at(at, Fault::PowerOff);
    drop(Engine::open(Arc::new(disk.clone()), small()));
    let reached = disk.operations() - before >= at;
    disk.heal();
    for crash in [Crash::LoseAll, Crash::Random(at)] {
        world.check_disk(disk.after(crash), false, &format!("{what}, power lost at {at}, {crash:?}"));
    }
    reached
}

/// A flush of each kind of file fails at one step of the `number`-th script; the target is opened again, and the
/// power goes at every `stride`-th operation of that. For each failure, how many losses of power were looked at.
pub fn reopen_failed(number: usize, name: &str, script: &[Step], stride: usize) -> Vec<u64> {
    let mut counts = Vec::new();
    for flush in FLUSHES {
        let Some(world) = fail_flush(script, number % script.len(), flush) else { continue };
        let what = format!("{name}, {flush:?}");
        let points = (1 + number as u64..).step_by(stride);
        counts.push(points.take_while(|at| lose_power_while_opening(&world, *at, &what)).count() as u64);
    }
    counts
}
