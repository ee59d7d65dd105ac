//! The manager's bookkeeping by its decisions: who is alive, and what becomes of a chain.

use crate::manager::{Manager, ManagerConfig, Published, lease_with_margin_ms};
use crate::{Time, covers};
use wire::message::{Chain, ChainHold, LocalState, Member, PublicState, TargetReport};

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
    Manager::resume(ms(0), CONFIG, stored(), 7)
}

fn state_of(manager: &Manager, node: u32) -> PublicState {
    let member = manager.chains()[0].members.iter().find(|member| member.node == node);
    member.expect("a member").state()
}

/// The other member has said that it goes on.
fn hear_other(manager: &mut Manager) {
    let report = TargetReport { target: 12, ..report(LocalState::LocalUptodate)[0] };
    assert!(manager.register(ms(0), 2, 10, (vec![report], Vec::new())));
}

fn alive(manager: &Manager, at_ms: u64, node: u32) -> bool {
    manager.standing(ms(at_ms), node).alive
}

#[test]
fn a_process_that_registered_and_has_not_reported_goes_on_serving() {
    let mut manager = manager();
    hear_other(&mut manager);
    assert!(manager.register(ms(0), 1, 10, (Vec::new(), Vec::new())));
    manager.advance(ms(1));
    assert_eq!(state_of(&manager, 1), PublicState::PublicServing);
    assert!(manager.heartbeat(ms(2), 1, (10, 1), Vec::new()).is_some());
    manager.advance(ms(2));
    assert_eq!(state_of(&manager, 1), PublicState::PublicOffline, "it leaves its target out");
}

#[test]
fn a_new_manager_refuses_a_process_older_than_the_stored_one() {
    let mut manager = manager();
    assert!(!manager.register(ms(0), 1, 9, (report(LocalState::LocalUptodate), Vec::new())));
    assert!(manager.heartbeat(ms(0), 1, (9, 1), report(LocalState::LocalUptodate)).is_none());
    assert!(!alive(&manager, 0, 1));
    assert!(manager.register(ms(0), 1, 11, (report(LocalState::LocalOnline), Vec::new())));
    assert!(manager.heartbeat(ms(1), 1, (10, 1), report(LocalState::LocalUptodate)).is_none());
    assert_eq!(manager.published().incarnations[&1], 11);
}

#[test]
fn only_the_end_of_the_newest_process_is_news() {
    let mut manager = manager();
    manager.register(ms(0), 1, 11, (report(LocalState::LocalOnline), Vec::new()));
    assert!(
        !manager.exited(1, 10) && !manager.exited(1, 12) && !manager.exited(1, 0) && !manager.exited(7, 1)
    );
    assert!(alive(&manager, 1, 1));
    assert!(manager.exited(1, 11));
    assert!(!alive(&manager, 1, 1));
    assert!(!manager.register(ms(2), 1, 11, (Vec::new(), Vec::new())), "its end is known");
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
    manager.register(ms(0), 1, 10, (report(LocalState::LocalUptodate), Vec::new()));
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
        hear_other(&mut manager);
        manager.register(ms(0), 1, 10, (report(LocalState::LocalUptodate), Vec::new()));
        assert!(manager.heartbeat(ms(1), 1, (10, 1), reports).is_some());
        manager.advance(ms(1));
        assert_eq!(state_of(&manager, 1), PublicState::PublicOffline);
    }
}

/// Node 1 is there with what it knows of the chain, and node 2, the other one of the chain of version 4.
fn claims(version: u64, term: u64) -> (Vec<TargetReport>, Vec<Chain>) {
    let report = report(LocalState::LocalUptodate)[0];
    let known = TargetReport { known_version: version, known_term: term, ..report };
    (vec![known], vec![Chain { version, term, ..stored().chains[0].clone() }])
}

#[test]
fn nothing_changes_before_all_that_served_have_spoken_or_are_gone() {
    let mut manager = manager();
    manager.register(ms(0), 1, 11, claims(4, 0));
    assert!(manager.advance(ms(1)).is_empty(), "node 2 may know more");
    assert_eq!(manager.hold(1), ChainHold::HoldUnheard);
    hear_other(&mut manager);
    assert_eq!(manager.advance(ms(2)).len(), 1, "the process of node 1 is a new one");
    assert_eq!(manager.hold(1), ChainHold::HoldNone);
    assert_eq!((manager.chains()[0].term, manager.chains()[0].follows[0].last_version), (7, 4));
    // Or it is silent for the time of a lease.
    let mut manager = self::manager();
    for at in (0..END_MS).step_by(500) {
        manager.heartbeat(ms(at), 1, (11, 1 + at), claims(4, 0).0);
        assert!(manager.advance(ms(at)).is_empty());
    }
    assert_eq!(manager.advance(ms(END_MS)).len(), 1);
}

#[test]
fn what_a_target_knows_and_the_state_does_not_freezes_its_chain_until_all_who_may_know_more_have_spoken() {
    let mut manager = manager();
    manager.register(ms(0), 1, 10, claims(9, 3));
    for at in (0..60_000).step_by(500) {
        manager.heartbeat(ms(at), 1, (10, 1 + at), claims(9, 3).0);
        assert!(manager.advance(ms(at)).is_empty());
    }
    assert_eq!(manager.hold(1), ChainHold::HoldFrozen, "also when node 2 is gone");
    let report =
        TargetReport { target: 12, known_version: 8, known_term: 3, ..report(LocalState::LocalOnline)[0] };
    manager.register(ms(60_000), 2, 10, (vec![report], Vec::new()));
    let changed = manager.advance(ms(60_000));
    assert_eq!((changed[0].version, changed[0].term), (10, 7));
    assert!(covers(&changed[0], 3, 9) && covers(&changed[0], 0, 4));
    assert_eq!(manager.hold(1), ChainHold::HoldNone);
}

#[test]
fn a_target_that_is_no_member_speaks_for_its_chain_too() {
    let mut manager = manager();
    hear_other(&mut manager);
    manager.register(ms(0), 1, 10, (report(LocalState::LocalUptodate), Vec::new()));
    let (reports, chains) = claims(6, 3);
    let stranger = TargetReport { target: 33, ..reports[0] };
    manager.register(ms(0), 3, 1, (vec![stranger], chains));
    assert!(manager.advance(ms(1)).is_empty());
    assert_eq!(manager.hold(1), ChainHold::HoldFrozen);
    // Its word alone is not enough: members of what it knows have said nothing of that.
    let other_chain = TargetReport { chain: 2, ..stranger };
    manager.heartbeat(ms(2), 3, (1, 1), vec![other_chain]);
    manager.advance(ms(2));
    assert_eq!(manager.hold(1), ChainHold::HoldNone);
}
