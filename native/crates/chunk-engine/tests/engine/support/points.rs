//! Workloads of one and two steps, and the loss of power at each of their operations.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::model::{CHUNK, Step, World, small};
use chunk_engine::MemoryDisk;
use chunk_engine::disk::{Crash, Fault};

fn write(offset: u32, length: usize, commit: bool) -> Step {
    Step::Write { chunk: 1, offset, length, commit }
}

/// The chunk before the workload: 10,000 bytes committed and flushed, 500 bytes in a journaled block, one
/// version pending.
pub const BEFORE: [Step; 5] = [
    Step::Write { chunk: 1, offset: 0, length: 10_000, commit: true },
    Step::Write { chunk: 2, offset: 5000, length: 100_000, commit: true },
    Step::Write { chunk: 1, offset: 3, length: 500, commit: true },
    Step::Write { chunk: 1, offset: 8192, length: 30, commit: false },
    Step::Flush,
];

pub fn steps() -> Vec<Step> {
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
        Step::CommitSoon { chunk: 1 },
        Step::ForgetClient,
        Step::Flush,
        Step::Checkpoint,
        Step::Restart,
        Step::CloseAndOpen,
    ]
}

/// What the power may leave at one point. Without `all`, one partial order of each kind, another one at
/// each point.
pub fn crashes(world: &World, at: u64, all: bool) -> Vec<Crash> {
    let seed = at.wrapping_mul(0x1234_5678_9abc_def1);
    let (unflushed, random) = (world.disk.unflushed(), if all { 4 } else { 2 });
    let mut crashes = vec![Crash::LoseAll, Crash::KeepAll];
    if unflushed == 0 {
        return crashes; // All others would leave the same.
    }
    crashes.extend((0..random).map(|more| Crash::Random(seed.wrapping_add(more))));
    crashes.extend((0..random).map(|more| Crash::Torn(seed.wrapping_add(more))));
    let chosen = seed % unflushed..seed % unflushed + 1;
    for rank in if all { 0..unflushed } else { chosen } {
        crashes.extend([Crash::First(rank), Crash::AllBut(rank)]);
    }
    crashes
}

/// Which points of a workload are looked at, and with how many crashes each.
#[derive(Clone, Copy)]
pub struct Points {
    pub first: u64,
    pub stride: u64,
    pub all_orders: bool,
}

pub const EVERY_POINT: Points = Points { first: 1, stride: 1, all_orders: true };

/// Runs the workload with the power going at some of its operations; how many crashes were looked at.
/// `prepare` may plant a bug in the disk.
pub fn run(workload: &[Step], points: Points, prepare: &dyn Fn(&MemoryDisk)) -> u64 {
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
pub fn workloads(one: &Step, other: &Step) -> Vec<Vec<Step>> {
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

/// The `number`-th pair of steps in one of its workloads, beginning at one of its points; each number takes
/// another one. How many crashes were looked at.
pub fn run_pair(number: usize) -> u64 {
    let steps = steps();
    let workloads = workloads(&steps[number / steps.len()], &steps[number % steps.len()]);
    let stride = 20;
    let points = Points { first: 1 + number as u64 % stride, stride, all_orders: false };
    run(&workloads[number % workloads.len()], points, &|_| {})
}
