//! Every workload of one and of two steps, the power going at every operation of the disk, the unflushed rest
//! lost, kept, or lost in part. Steps are chosen so that each way through the engine is met: append, overlay,
//! new blocks, cut, removal, ….

mod support;

use chunk_engine::MemoryDisk;
use chunk_engine::disk::{Crash, Fault};
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
        write(0, 100_000, true), // new blocks for three, fresh ones behind
        Step::Write { chunk: 2, offset: 7000, length: 90_000, commit: true }, // new blocks
        write(200_000, 10, true), // a gap
        Step::Truncate { chunk: 1, length: 5000, commit: true },
        Step::Truncate { chunk: 2, length: CHUNK, commit: false },
        Step::Remove { chunk: 1, commit: true },
        Step::Remove { chunk: 2, commit: false },
        Step::Replace { chunk: 1, length: 20_000, older: true },
        Step::Replace { chunk: 3, length: 70_000, older: false },
        Step::Commit { chunk: 1, all: true },
        Step::Flush,
        Step::Checkpoint,
        Step::Restart,
    ]
}

/// Runs the workload with the power going at each `stride`-th operation from `first` on; how many crashes
/// were looked at.
fn run(workload: &[Step], first: u64, stride: u64) -> usize {
    let mut crashes = 0;
    for at in (first..).step_by(stride as usize) {
        let mut world = World::new(MemoryDisk::new(1 << 30), small());
        BEFORE.iter().for_each(|step| world.step(step).unwrap());
        world.disk.fail_at(at, Fault::PowerOff);
        let finished = workload.iter().all(|step| world.step(step).is_ok());
        let seed = at.wrapping_mul(0x1234_5678_9abc_def1);
        for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random(seed), Crash::Random(seed + 1)] {
            world.check_after(crash);
            crashes += 1;
        }
        if finished {
            return crashes;
        }
    }
    unreachable!("a workload ends")
}

/// Pairs of steps look at every sixth operation, each pair beginning at another one, so that a run takes
/// seconds; with `CATENA_EXHAUSTIVE=1` at every one.
fn stride() -> u64 {
    if std::env::var_os("CATENA_EXHAUSTIVE").is_some() { 1 } else { 6 }
}

fn pairs(first: &[Step]) {
    let (all, stride) = (steps(), stride());
    let mut pair = 0;
    for one in first {
        for other in &all {
            run(&[one.clone(), other.clone()], 1 + pair % stride, stride);
            pair += 1;
        }
    }
}

#[test]
fn one_step() {
    let crashes: usize = steps().iter().map(|step| run(std::slice::from_ref(step), 1, 1)).sum();
    assert!(crashes > 500, "{crashes} crashes are too few: the steps do nothing");
}

#[test]
fn two_steps_that_begin_with_a_write() {
    pairs(&steps()[..7]);
}

#[test]
fn two_steps_that_begin_with_another() {
    pairs(&steps()[7..]);
}
