//! The manager's bookkeeping by its decisions: who is alive, and what becomes of a chain.

use crate::Time;
use crate::manager::{Manager, ManagerConfig, Published, lease_with_margin_ms};
use wire::message::{Chain, LocalState, Member, PublicState, TargetReport};

const LEASE_MS: u64 = 5000;
const END_MS: u64 = 5300;
const CONFIG: ManagerConfig = ManagerConfig {
    lease_ms: LEASE_MS,
    heartbeat_ms: 1000,
    outage_grace_ms: 30_000,
    reordering_max_ms: 3000,
    reordering_pause_ms: 60_000,
};

fn ms(ms: u64) -> Time {
    Time::ZERO.plus_ms(ms)
}

fn report(state: LocalState) -> Vec<TargetReport> {
    vec![TargetReport { target: 11, chain: 1, chain_version: 4, state: state as i32, ..Default::default() }]
}

/// Nodes 1 and 2 serve with their processes of incarnation 10.
fn stored() -> Published {
    let member = |node: u32| Member {
        target: u64::from(10 + node),
        node,
        state: PublicState::PublicServing as i32,
        incarnation: 10,
        ..Default::default()
    };
    let members = vec![member(1), member(2)];
    let chain = Chain {
        id: 1,
        version: 4,
        members,
        last: vec![11, 12],
        preferred: vec![11, 12],
        ..Default::default()
    };
    let incarnations = [(1, 10), (2, 10)].into();
    Published { version: 9, chains: vec![chain], incarnations, ..Default::default() }
}

fn manager() -> Manager {
    Manager::resume(ms(0), CONFIG, stored())
}

fn state_of(manager: &Manager, node: u32) -> PublicState {
    let member = manager.chains()[0].members.iter().find(|member| member.node == node);
    member.expect("a member").state()
}

fn alive(manager: &Manager, at_ms: u64, node: u32) -> bool {
    manager.standing(ms(at_ms), node).alive
}

#[test]
fn a_process_that_registered_and_has_not_reported_goes_on_serving() {
    let mut manager = manager();
    assert!(manager.register(ms(0), 1, 10, Vec::new()));
    manager.advance(ms(1));
    assert_eq!(state_of(&manager, 1), PublicState::PublicServing);
    assert!(manager.heartbeat(ms(2), 1, (10, 1), Vec::new()).is_some());
    manager.advance(ms(2));
    assert_eq!(state_of(&manager, 1), PublicState::PublicOffline, "it leaves its target out");
}

#[test]
fn a_new_manager_refuses_a_process_older_than_the_stored_one() {
    let mut manager = manager();
    assert!(!manager.register(ms(0), 1, 9, report(LocalState::LocalUptodate)));
    assert!(manager.heartbeat(ms(0), 1, (9, 1), report(LocalState::LocalUptodate)).is_none());
    assert!(!alive(&manager, 0, 1));
    assert!(manager.register(ms(0), 1, 11, report(LocalState::LocalOnline)));
    assert!(manager.heartbeat(ms(1), 1, (10, 1), report(LocalState::LocalUptodate)).is_none());
    assert_eq!(manager.published().incarnations[&1], 11);
}

#[test]
fn only_the_end_of_the_newest_process_is_news() {
    let mut manager = manager();
    manager.register(ms(0), 1, 11, report(LocalState::LocalOnline));
    assert!(
        !manager.exited(1, 10) && !manager.exited(1, 12) && !manager.exited(1, 0) && !manager.exited(7, 1)
    );
    assert!(alive(&manager, 1, 1));
    assert!(manager.exited(1, 11));
    assert!(!alive(&manager, 1, 1));
    assert!(!manager.register(ms(2), 1, 11, Vec::new()), "its end is known");
    // Of a node that this manager has not heard, what is stored says who the newest is.
    manager.give_back(2, 9, Vec::new());
    manager.advance(ms(2));
    assert_eq!(state_of(&manager, 2), PublicState::PublicServing);
    manager.give_back(2, 10, Vec::new());
    manager.advance(ms(2));
    assert_ne!(state_of(&manager, 2), PublicState::PublicServing);
}

#[test]
fn a_pause_gives_everybody_the_time_of_a_lease_and_does_not_wake_the_dead() {
    assert_eq!(lease_with_margin_ms(LEASE_MS), END_MS);
    let mut manager = manager();
    manager.register(ms(0), 1, 10, report(LocalState::LocalUptodate));
    for at in (0..=4000).step_by(100) {
        manager.advance(ms(at));
    }
    manager.advance(ms(60_000));
    assert!(alive(&manager, 60_000 + END_MS - 1, 1) && !alive(&manager, 60_000 + END_MS, 1));
    assert_eq!(state_of(&manager, 2), PublicState::PublicServing, "it may speak again");
    for at in (60_000..=60_000 + END_MS).step_by(100) {
        manager.advance(ms(at));
    }
    assert_ne!(state_of(&manager, 2), PublicState::PublicServing);
    manager.advance(ms(90_000));
    assert!(!alive(&manager, 90_000, 1));
}

#[test]
fn a_target_that_is_left_out_of_a_report_is_offline() {
    let other = vec![TargetReport { target: 99, ..Default::default() }];
    for reports in [other, Vec::new()] {
        let mut manager = manager();
        manager.register(ms(0), 1, 10, report(LocalState::LocalUptodate));
        assert!(manager.heartbeat(ms(1), 1, (10, 1), reports).is_some());
        manager.advance(ms(1));
        assert_eq!(state_of(&manager, 1), PublicState::PublicOffline);
    }
}
