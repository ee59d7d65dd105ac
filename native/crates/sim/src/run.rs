//! One seed from its first event to its verdict.

use crate::event::{Event, Fault};
use crate::knobs::Knobs;
use crate::manager::describe;
use crate::profiles::Profile;
use crate::random::Random;
use crate::world::World;
use chain::museum::{self, Planted};
use std::panic::{AssertUnwindSafe, catch_unwind};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The first broken rule; `None`: all were kept.
    pub violation: Option<String>,
    /// Of every event: the same seed must give the same one.
    pub hash: u64,
    pub events: u64,
    pub faults: u64,
    pub operations: u64,
    /// Histories of chunks of which the checker could not say whether they are linearizable.
    pub undecided: u64,
    /// A chain waits for its administrator, as it may after its manager was set back: the rest was not judged.
    pub frozen: bool,
    pub simulated_us: u64,
}

/// How a seed's world is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// Breaks one rule on purpose.
    pub planted: Option<Planted>,
    /// Otherwise drawn by the seed.
    pub profile: Option<Profile>,
    /// As the profile is.
    pub chains: Option<usize>,
    pub verbose: bool,
}

pub fn run_seed(seed: u64, choice: Choice) -> Outcome {
    run_world(choice.planted, &[], || World::new(seed, choice)).0
}

/// Runs a world of the caller's making (so its profile is not chosen), with faults at given times (ms) instead
/// of drawn ones.
pub fn run_with(knobs: Knobs, seed: u64, script: &[(u64, ScriptedFault)], choice: Choice) -> Outcome {
    let faults: Vec<(u64, Fault)> = script.iter().map(|(time, fault)| (*time, fault.to_fault())).collect();
    run_world(choice.planted, &faults, || World::with(knobs, Random::new(seed), choice.verbose)).0
}

#[derive(Clone, Copy, Debug)]
pub enum ScriptedFault {
    /// The process of a node ends at once; its power too?
    Kill {
        node: usize,
        power: bool,
    },
    Start {
        node: usize,
    },
    /// In order: a flush, then the end of the process.
    Stop {
        node: usize,
    },
    /// The next flush of its target of the first chain fails.
    FlushError {
        node: usize,
    },
}

impl ScriptedFault {
    fn to_fault(self) -> Fault {
        match self {
            ScriptedFault::Kill { node, power } => Fault::Crash { node, power },
            ScriptedFault::Start { node } => Fault::Restart { node },
            ScriptedFault::Stop { node } => Fault::Stop { node },
            ScriptedFault::FlushError { node } => Fault::FlushError { target: node },
        }
    }
}

/// None if an assertion failed.
pub fn run_world(
    planted: Option<Planted>,
    script: &[(u64, Fault)],
    make: impl FnOnce() -> World,
) -> (Outcome, Option<World>) {
    museum::plant(planted);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = make();
        // No violation shows only there, and it is half of the events.
        world.knobs.core_first &= planted.is_none();
        museum::shorten_pages(world.knobs.page_max);
        play(&mut world, script);
        world
    }));
    museum::plant(None);
    museum::shorten_pages(usize::MAX);
    match result {
        Ok(world) => {
            let outcome = Outcome {
                violation: world.violation.clone(),
                hash: world.hash,
                events: world.events,
                faults: world.faults,
                operations: world.history.operations.len() as u64,
                undecided: world.undecided,
                frozen: world.frozen,
                simulated_us: world.now,
            };
            (outcome, Some(world))
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_string()));
            let violation = Some(format!("assertion: {}", text.unwrap_or_default()));
            (Outcome { violation, ..Outcome::default() }, None)
        }
    }
}

/// Everybody starts, one after another within a moment.
pub fn begin(world: &mut World) {
    world.start_manager();
    for node in 0..world.nodes.len() {
        let delay = world.random.between(1, 100_000);
        world.schedule(delay, Event::Fault(Fault::Restart { node }));
    }
    for client in 0..world.clients.len() {
        for slot in 0..world.knobs.depth {
            let delay = world.random.between(100_000, 400_000);
            world.plan_step(client, slot, delay);
        }
    }
}

fn play(world: &mut World, script: &[(u64, Fault)]) {
    let knobs = world.knobs.clone();
    world.note(|| format!("{knobs:?}"));
    begin(world);
    world.schedule(500_000, Event::Fault(Fault::Next));
    for (time_ms, fault) in script {
        world.schedule(time_ms * 1000, Event::Fault(fault.clone()));
    }
    world.run_until(knobs.faults_ms * 1000);
    if knobs.core_first && script.is_empty() {
        recover_core(world, &knobs);
    }
    world.fault(Fault::Heal);
    let healed = world.now;
    // A while of peace with traffic, then quiet.
    world.run_until(healed + 500_000);
    for client in &mut world.clients {
        client.stopped = true;
    }
    converge(world, &knobs);
    if world.violation.is_none() && !world.frozen {
        world.judge();
    }
}

/// One complete member alone must serve, and answer an update, within a bounded time (P10).
fn recover_core(world: &mut World, knobs: &Knobs) {
    // Whoever runs hears the manager again before all but one are lost.
    world.calm();
    let heard_us = 2 * knobs.lease_ms * 1000;
    let mut until = world.now + heard_us;
    while world.violation.is_none() && world.now < until {
        world.run_until(until);
        // What was on its way may have paused one since.
        let paused_until = world.nodes.iter().map(|node| node.paused_until).max().unwrap_or(0);
        until = until.max(paused_until + heard_us);
    }
    let Some(core) = world.leave_core() else { return };
    let limit_ms = 4 * knobs.lease_ms + knobs.outage_grace_ms + knobs.slow_kind_ms + 6000;
    let (began, end) = (world.now, world.now + limit_ms * 1000);
    while world.violation.is_none() && !world.updated_since(began) {
        if world.now >= end {
            return late(world, &format!("node {core} alone did not go on within {limit_ms} ms"));
        }
        let next = world.now + 100_000;
        world.schedule(100_000, Event::Look);
        world.run_until(next);
    }
}

/// Everything must serve again within three leases, the grace of an outage, the pause before another try to come
/// into the preferred order, and the time of a resync.
fn converge(world: &mut World, knobs: &Knobs) {
    let reordering_ms = knobs.reordering_max_ms + knobs.reordering_pause_ms;
    let limit_ms = 3 * knobs.lease_ms + knobs.outage_grace_ms + knobs.slow_kind_ms + reordering_ms + 10_000;
    let end = world.now + limit_ms * 1000;
    while world.violation.is_none() && !world.is_converged() {
        if world.now >= end {
            return late(world, &format!("not converged {limit_ms} ms after the last fault"));
        }
        let next = world.now + 100_000;
        world.schedule(100_000, Event::Look);
        world.run_until(next);
    }
}

/// Something did not come in time.
fn late(world: &mut World, what: &str) {
    world.frozen = world.is_frozen_by_a_bystander();
    if !world.frozen {
        let chains: Vec<String> = world.manager.chains().iter().map(describe).collect();
        let who = world.not_converged();
        world.note(|| who);
        world.violate(format!("{what}: {}", chains.join(" ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults have ended, and what was decided before still happens: the member that is to go on alone loses its
    /// lease just then.
    #[test]
    fn a_pause_that_was_on_its_way_is_waited_for() {
        for seed in 20..30 {
            let make = || {
                let mut random = Random::new(seed);
                let quiet = Knobs::quiet(Profile::General, &mut random);
                let knobs = Knobs { core_first: true, faults_ms: 2000, ..quiet };
                let (ms, at_ms) = (3 * knobs.lease_ms, knobs.faults_ms + knobs.lease_ms);
                let mut world = World::with(knobs, random, false);
                world.schedule(at_ms * 1000, Event::Fault(Fault::Pause { node: 0, ms }));
                world
            };
            assert_eq!(run_world(None, &[], make).0.violation, None, "seed {seed}");
        }
    }
}
