//! What the chains of a world share, and what each has alone.

use crate::event::{Event, Fault};
use crate::knobs::Knobs;
use crate::profiles::Profile;
use crate::random::Random;
use crate::run::begin;
use crate::world::World;
use wire::message::PublicState;

const CHAINS: usize = 3;

/// Nothing goes wrong in it but what a test does; all members serve by now.
fn world(seed: u64) -> World {
    let mut random = Random::new(seed);
    let quiet = Knobs::quiet(Profile::General, &mut random);
    let (chains, members, stays_down) = (CHAINS, 3, true);
    let knobs = Knobs { chains, members, stays_down, exit_reported: 100.0, manager_eager: true, ..quiet };
    let mut world = World::with(knobs, random, false);
    begin(&mut world);
    world.run_until(1_000_000);
    assert!((0..CHAINS).all(|chain| world.manager.serving(chain).count() == 3));
    world
}

/// The places of the chains in which this node's target is in such a state.
fn chains_where(world: &World, node: usize, state: PublicState) -> Vec<usize> {
    let is_so = |chain: &usize| {
        let members = &world.manager.chains()[*chain].members;
        members.iter().any(|member| member.node as usize == node && member.state() == state)
    };
    (0..CHAINS).filter(is_so).collect()
}

fn run_for(world: &mut World, ms: u64) {
    let end = world.now + ms * 1000;
    // The time goes on to there even if nothing happens then.
    world.schedule(ms * 1000, Event::Look);
    world.run_until(end);
    assert_eq!(world.violation, None);
}

#[test]
fn a_node_that_comes_back_is_synced_in_all_its_chains_at_once() {
    for seed in 0..10 {
        let mut world = world(seed);
        world.fault(Fault::Crash { node: 1, power: false });
        run_for(&mut world, 3000);
        assert_eq!(chains_where(&world, 1, PublicState::PublicOffline), [0, 1, 2], "seed {seed}");
        world.fault(Fault::Restart { node: 1 });
        let mut syncing = 0;
        for _ in 0..20_000 {
            run_for(&mut world, 1);
            syncing = syncing.max(chains_where(&world, 1, PublicState::PublicSyncing).len());
        }
        assert_eq!(syncing, CHAINS, "seed {seed}");
        assert_eq!(chains_where(&world, 1, PublicState::PublicServing), [0, 1, 2], "seed {seed}");
    }
}

#[test]
fn a_target_whose_disk_fails_leaves_its_chain_and_the_others_of_its_node_stay() {
    for seed in 0..10 {
        let mut world = world(seed);
        let versions = |world: &World| -> Vec<u64> {
            world.manager.chains().iter().map(|chain| chain.version).collect()
        };
        let before = versions(&world);
        world.fault(Fault::DiskError { target: world.placement.target(1, 0) });
        let mut was_out = false;
        for _ in 0..10_000 {
            run_for(&mut world, 1);
            was_out |= !chains_where(&world, 0, PublicState::PublicServing).contains(&1);
        }
        assert!(was_out, "seed {seed}");
        assert_eq!(chains_where(&world, 0, PublicState::PublicServing), [0, 1, 2], "seed {seed}");
        let after = versions(&world);
        assert!(after[1] > before[1], "seed {seed}");
        assert_eq!([after[0], after[2]], [before[0], before[2]], "seed {seed}");
    }
}

#[test]
fn a_disk_has_one_target_or_all_of_a_node() {
    let mut world = world(1);
    let disks: Vec<Vec<usize>> = (0..100).map(|_| world.targets_on_a_disk(2)).collect();
    let (one, all): (Vec<_>, Vec<_>) = disks.into_iter().partition(|targets| targets.len() == 1);
    assert!(one.iter().flatten().all(|target| world.placement.node_of(*target) == 2));
    assert!((0..CHAINS).all(|chain| one.contains(&vec![world.placement.target(chain, 2)])));
    assert!(
        !all.is_empty()
            && all.iter().all(|targets| targets.iter().copied().eq(world.placement.targets_on(2)))
    );
}

#[test]
fn a_disk_that_is_lost_takes_all_its_targets_and_all_are_synced_again() {
    let mut lost = [0; CHAINS + 1];
    for seed in 0..10 {
        let mut world = world(seed);
        world.fault(Fault::Crash { node: 0, power: false });
        run_for(&mut world, 3000);
        world.fault(Fault::Wipe { node: 0 });
        let is_empty = |target: &usize| world.targets[*target].engine.begun_by > 1;
        lost[world.placement.targets_on(0).filter(is_empty).count()] += 1;
        run_for(&mut world, 20_000);
        assert_eq!(chains_where(&world, 0, PublicState::PublicServing), [0, 1, 2], "seed {seed}");
        for client in &mut world.clients {
            client.stopped = true;
        }
        run_for(&mut world, 5000);
        world.judge();
        assert_eq!(world.violation, None, "seed {seed}");
    }
    assert!(lost[1] > 0 && lost[CHAINS] > 0, "{lost:?}");
}
