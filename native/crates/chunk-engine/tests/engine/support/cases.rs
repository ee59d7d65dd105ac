//! One sequence of cases that goes through all that the suites of the engine look at: the power goes anywhere, an
//! operation of the disk fails, a target that failed is opened again, blocks are damaged. What a case does follows
//! from its number alone.

#![allow(dead_code)] // Each test binary uses a part of it.

use super::damage;
use super::failing::{FLUSHES, RESERVE_BYTES, fail_flush, fail_one, lose_power_while_opening};
use super::model::{Step, World, small};
use super::points::{BEFORE, crashes, steps as all_steps, workloads};
use super::scripts::scripts;
use super::workloads::{append, steps};
use chunk_engine::disk::{Dice, Fault};
use chunk_engine::{MemoryDisk, Options};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Panics if the engine breaks a rule.
pub fn run(number: u64) {
    let mut dice = Dice(number);
    let scripts = scripts();
    match number % 7 {
        0 => {
            let steps = all_steps();
            let (one, other) = (dice.pick(&steps), dice.pick(&steps));
            let workload: Vec<Step> = dice.pick(&workloads(one, other)).clone();
            lose_power(&BEFORE, &workload, &mut dice);
        }
        1 => lose_power(&[], &random_steps(&mut dice), &mut dice),
        2 => lose_power(&[], &dice.pick(&scripts).1, &mut dice),
        3 => {
            let faults = [Fault::Io, Fault::IoDropsPages, Fault::NoSpace, Fault::Short];
            fail_an_operation((*dice.pick(&faults), RESERVE_BYTES), &scripts, &mut dice);
        }
        4 => {
            for fault in [Fault::NoSpace, Fault::Short, Fault::NoSpace] {
                fail_an_operation((fault, 0), &scripts, &mut dice);
            }
        }
        5 => open_again(&scripts, &mut dice),
        _ if number / 7 % 3 == 2 => damage_the_disk(damage::journal, &scripts, &mut dice),
        _ => damage_the_disk(damage::block, &scripts, &mut dice),
    }
}

fn random_steps(dice: &mut Dice) -> Vec<Step> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&dice.roll(u64::MAX).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let made = prop::collection::vec(steps(), 1..30).new_tree(&mut runner);
    let mut steps = made.expect("steps can be made").current();
    append(&mut steps, || dice.roll(3) == 0);
    steps
}

/// With a fault comes the size of the reserve.
fn fail_an_operation(fault: (Fault, u64), scripts: &[(&str, Vec<Step>)], dice: &mut Dice) {
    let (name, script) = dice.pick(scripts);
    let options = Options { reserve_bytes: fault.1, ..small() };
    let operations = operations(options, &[], script, matches!(fault.0, Fault::NoSpace | Fault::Short));
    fail_one(name, script, fault, *dice.pick(&operations));
}

/// Runs the steps as if nothing were wrong, after those before them. The numbers of their operations of the disk, or
/// of those that a full one may refuse.
fn operations(options: Options, before: &[Step], workload: &[Step], take_room: bool) -> Vec<u64> {
    let mut world = World::new(MemoryDisk::new(1 << 30), options);
    before.iter().for_each(|step| world.step(step).unwrap());
    let first = world.disk.operations() + 1;
    workload.iter().for_each(|step| world.step(step).unwrap());
    match take_room {
        true => {
            world.disk.room_takers().into_iter().filter(|at| *at >= first).map(|at| at + 1 - first).collect()
        }
        false => (1..=world.disk.operations() + 1 - first).collect(),
    }
}

fn lose_power(before: &[Step], workload: &[Step], dice: &mut Dice) {
    let operations = operations(small(), before, workload, false);
    if operations.is_empty() {
        return; // such as a commit of nothing
    }
    let mut world = World::new(MemoryDisk::new(1 << 30), small());
    before.iter().for_each(|step| world.step(step).unwrap());
    world.disk.fail_at(*dice.pick(&operations), Fault::PowerOff);
    assert!(!workload.iter().all(|step| world.step(step).is_ok()), "the power is off");
    for crash in crashes(&world, dice.roll(u64::MAX), false) {
        world.check_after(crash);
    }
}

/// A script that fails of a flush, if these choices lead to one.
fn open_again(scripts: &[(&str, Vec<Step>)], dice: &mut Dice) {
    for _ in 0..5 {
        let (name, script) = dice.pick(scripts);
        let (place, flush) = (dice.roll(script.len() as u64) as usize, *dice.pick(&FLUSHES));
        if let Some(world) = fail_flush(script, place, flush) {
            let what = format!("{name}, {flush:?}");
            lose_power_while_opening(&world, 1 + dice.roll(40), &what);
            let after = lose_power_while_opening(&world, 10_000, &what);
            assert!(!after, "an opening of 10,000 operations");
            return;
        }
    }
}

/// What of the disk is damaged by `damage`, which says whether there was any.
fn damage_the_disk(
    damage: fn(&[Step], &mut World, &mut Dice) -> bool,
    scripts: &[(&str, Vec<Step>)],
    dice: &mut Dice,
) {
    for _ in 0..5 {
        let mut world = World::new(MemoryDisk::new(1 << 30), small());
        if damage(&dice.pick(scripts).1, &mut world, dice) {
            return;
        }
    }
}
