//! Every workload of one and of two steps, alone and with a flush or a checkpoint after each step, the
//! power going at every operation of the disk; of what was not flushed, all is lost, all is kept, a part in
//! order is kept, one change is lost that later ones overtook, or each change is kept, lost or torn by
//! chance. Flushed is there; the rest is old, new or pending; nothing is garbage; the books agree. Steps
//! are chosen so that each way through the engine is met.
//!
//! A run of the tests looks at a part of the points of pairs; `CATENA_EXHAUSTIVE=1` at all of them.

mod support;

use chunk_engine::MemoryDisk;
use chunk_engine::disk::{Crash, Fault};
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::model::{CHUNK, Step, World, small};

fn write(offset: u32, length: usize, commit: bool) -> Step {
    Step::Write { chunk: 1, offset, length, commit }
}

/// The chunk before the workload: 10,000 bytes committed and flushed, 500 bytes in a journaled block, one
/// version pending.
const BEFORE: [Step; 5] = [
    Step::Write { chunk: 1, offset: 0, length: 10_000, commit: true },
    Step::Write { chunk: 2, offset: 5000, length: 100_000, commit: true },
    Step::Write { chunk: 1, offset: 3, length: 500, commit: true },
    Step::Write { chunk: 1, offset: 8192, length: 30, commit: false },
    Step::Flush,
];

fn steps() -> Vec<Step> {
    vec![
        write(10_000, 3000, true), // behind the end, in the last block and on
        write(10_000, 3000, false),
        write(4096, 4096, true), // a whole block through the journal
        write(100, 50, true),    // a part of a block
        write(9000, 2000, true), // over the end
        write(0, 100_000, true), // new blocks for three, fresh ones behind
        Step::Write { chunk: 2, offset: 7000, length: 90_000, commit: true }, // new blocks
        write(200_000, 10, true), // a gap
        Step::Truncate { chunk: 1, length: 5000, commit: true },
        Step::Truncate { chunk: 2, length: CHUNK, commit: false },
        Step::Punch { chunk: 1, offset: 3000, length: 6000, commit: true }, // a part, a whole, a part
        Step::Punch { chunk: 2, offset: 8192, length: 200_000, commit: false }, // to the end
        Step::Remove { chunk: 1, commit: true },
        Step::Remove { chunk: 2, commit: false },
        Step::Replace { chunk: 1, length: 20_000, older: true },
        Step::Replace { chunk: 3, length: 70_000, older: false },
        Step::Commit { chunk: 1, all: true },
        Step::ForgetClient,
        Step::Flush,
        Step::Checkpoint,
        Step::Restart,
        Step::CloseAndOpen,
    ]
}

fn is_exhaustive() -> bool {
    std::env::var_os("CATENA_EXHAUSTIVE").is_some()
}

/// What the power may leave at one point. Without `all`, one partial order of each kind, another one at
/// each point.
fn crashes(world: &World, at: u64, all: bool) -> Vec<Crash> {
    let seed = at.wrapping_mul(0x1234_5678_9abc_def1);
    let (unflushed, random) = (world.disk.unflushed(), if all { 4 } else { 2 });
    let mut crashes = vec![Crash::LoseAll, Crash::KeepAll];
    crashes.extend((0..random).map(|more| Crash::Random(seed.wrapping_add(more))));
    let chosen = if unflushed == 0 { 0..0 } else { seed % unflushed..seed % unflushed + 1 };
    for rank in if all { 0..unflushed } else { chosen } {
        crashes.extend([Crash::First(rank), Crash::AllBut(rank)]);
    }
    crashes
}

/// Which points of a workload are looked at, and with how many crashes each.
#[derive(Clone, Copy)]
struct Points {
    first: u64,
    stride: u64,
    all_orders: bool,
}

const EVERY_POINT: Points = Points { first: 1, stride: 1, all_orders: true };

/// Runs the workload with the power going at some of its operations; how many crashes were looked at.
/// `prepare` may plant a bug in the disk.
fn run(workload: &[Step], points: Points, prepare: &dyn Fn(&MemoryDisk)) -> u64 {
    let mut count = 0;
    for at in (points.first..).step_by(points.stride as usize) {
        let mut world = World::new(MemoryDisk::new(1 << 30), small());
        BEFORE.iter().for_each(|step| world.step(step).unwrap());
        prepare(&world.disk);
        world.disk.fail_at(at, Fault::PowerOff);
        let finished = workload.iter().all(|step| world.step(step).is_ok());
        for crash in crashes(&world, at, points.all_orders) {
            world.check_after(crash);
            count += 1;
        }
        if finished {
            return count;
        }
    }
    unreachable!("a workload ends")
}

/// The two steps with what may make each of them durable.
fn workloads(one: &Step, other: &Step) -> Vec<Vec<Step>> {
    let after = [None, Some(Step::Flush), Some(Step::Checkpoint)];
    let mut workloads = Vec::new();
    for first in &after {
        for second in &after[..2] {
            let steps = [Some(one), first.as_ref(), Some(other), second.as_ref()];
            workloads.push(steps.into_iter().flatten().cloned().collect());
        }
    }
    workloads
}

fn pairs(first: &[Step]) {
    let (mut count, mut pair) = (0, 0);
    for one in first {
        for other in &steps() {
            let workloads = workloads(one, other);
            if is_exhaustive() {
                count += workloads.iter().map(|workload| run(workload, EVERY_POINT, &|_| {})).sum::<u64>();
            } else {
                // Each pair with another of its workloads, beginning at another point.
                let stride = 20;
                let points = Points { first: 1 + pair % stride, stride, all_orders: false };
                count += run(&workloads[pair as usize % workloads.len()], points, &|_| {});
            }
            pair += 1;
        }
    }
    eprintln!("{pair} pairs of steps, {count} crash states explored");
    assert!(count > pair * 4, "{count} crash states are too few: the steps do nothing");
}

#[test]
fn one_step() {
    let points = Points { all_orders: is_exhaustive(), ..EVERY_POINT };
    let count: u64 = steps().iter().map(|step| run(std::slice::from_ref(step), points, &|_| {})).sum();
    eprintln!("{} steps, {count} crash states explored", steps().len());
    assert!(count > 1000, "{count} crash states are too few: the steps do nothing");
}

#[test]
fn two_steps_that_begin_with_a_write() {
    pairs(&steps()[..8]);
}

#[test]
fn two_steps_that_begin_with_another() {
    pairs(&steps()[8..]);
}

/// The tests above would find a disk, or an engine, that skips a flush: each kind of file in turn is not
/// flushed.
#[test]
fn a_flush_that_is_left_out_is_found() {
    for prefix in ["", "segment-", "journal-", "catalog", "."] {
        let mut explored = 0;
        let workloads = steps()
            .into_iter()
            .flat_map(|step| [vec![step.clone(), Step::Flush], vec![step, Step::Checkpoint]]);
        let found = workloads.into_iter().find(|workload| {
            explored += 1;
            let points = Points { first: 1, stride: 1, all_orders: false };
            catch_unwind(AssertUnwindSafe(|| run(workload, points, &|disk| disk.ignore_flushes(prefix))))
                .is_err()
        });
        let found = found.unwrap_or_else(|| panic!("nobody misses the flushes of {prefix:?}"));
        eprintln!("flushes of {prefix:?} left out: found by workload {explored}, {found:?}");
    }
}
