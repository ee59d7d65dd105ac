//! Every workload of one and of two steps, alone and with a flush or a checkpoint after each step, the
//! power going at every operation of the disk; of what was not flushed, all is lost, all is kept, a part in
//! order is kept, one change is lost that later ones overtook, or each change is kept, lost or torn by
//! chance. Flushed is there; the rest is old, new or pending; nothing is garbage; the books agree. Steps
//! are chosen so that each way through the engine is met.
//!
//! A run of the tests looks at a part of the points of pairs; `CATENA_EXHAUSTIVE=1` at all of them.

use crate::support::is_exhaustive;
use crate::support::model::Step;
use crate::support::points::{EVERY_POINT, Points, run, run_pair, steps, workloads};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn pairs(first: Range<usize>) {
    let (steps, mut count) = (steps(), 0);
    let numbers = first.start * steps.len()..first.end * steps.len();
    let pairs = numbers.len() as u64;
    for number in numbers {
        if is_exhaustive() {
            let workloads = workloads(&steps[number / steps.len()], &steps[number % steps.len()]);
            count += workloads.iter().map(|workload| run(workload, EVERY_POINT, &|_| {})).sum::<u64>();
        } else {
            count += run_pair(number);
        }
    }
    eprintln!("{pairs} pairs of steps, {count} crash states explored");
    assert!(count > pairs * 4, "{count} crash states are too few: the steps do nothing");
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
    pairs(0..8);
}

#[test]
fn two_steps_that_begin_with_another() {
    pairs(8..steps().len());
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
