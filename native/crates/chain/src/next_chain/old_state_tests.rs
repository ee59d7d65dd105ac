//! A manager with an old state: a model of what it and its targets may know, and what it may decide then.

use super::{covers, next_chain};
use proptest::prelude::*;
use wire::message::{
    Chain, ChainHold, ChainOrder, Member, NextChainReply, NextChainRequest, PublicState, TargetFact,
};

/// Of the manager that goes on, and of the one with the old state.
const TRUE: u64 = 1;
const OLD: u64 = 2;

fn chain(version: u64, serving: &[u64], follows: u64) -> Chain {
    let member = |target: &u64| Member {
        target: *target,
        node: *target as u32,
        state: PublicState::PublicServing as i32,
        incarnation: 1,
        ..Member::default()
    };
    Chain {
        id: 1,
        version,
        term: if follows == 0 { TRUE } else { OLD },
        follows: super::lineage::follows(OLD, &[&Chain { version: follows, term: TRUE, ..Chain::default() }]),
        members: serving.iter().map(member).collect(),
        preferred: serving.to_vec(),
        last: serving.to_vec(),
        ..Chain::default()
    }
}

/// Target, and the version and term that it knows; its process is another one than the chain names.
fn fact((target, version, term): (u64, u64, u64)) -> TargetFact {
    let (known_version, known_term) = (version, term);
    TargetFact {
        target,
        heard: true,
        alive: true,
        incarnation: 2,
        known_version,
        known_term,
        ..TargetFact::default()
    }
}

fn asked(stored: &Chain, known: &[(u64, u64, u64)], claims: &[Chain]) -> NextChainReply {
    ask(stored, known, claims, None)
}

fn ask(
    stored: &Chain,
    known: &[(u64, u64, u64)],
    claims: &[Chain],
    order: Option<ChainOrder>,
) -> NextChainReply {
    next_chain(&NextChainRequest {
        chain: Some(stored.clone()),
        facts: known.iter().copied().map(fact).collect(),
        claims: claims.to_vec(),
        term: OLD,
        order,
        outage_ms: 1_000_000,
        outage_grace_ms: 30_000,
        ..NextChainRequest::default()
    })
}

fn targets(chain: &Chain) -> Vec<u64> {
    chain.members.iter().map(|member| member.target).collect()
}

#[test]
fn a_newer_chain_is_adopted_when_all_who_may_know_a_later_one_have_spoken() {
    let stored = chain(5, &[1, 2, 3], 0);
    let moved = chain(9, &[2, 3, 4], 0);
    let claims = std::slice::from_ref(&moved);
    let frozen = asked(&stored, &[(1, 0, 0), (2, 9, TRUE), (3, 9, TRUE)], claims);
    assert_eq!((frozen.hold(), frozen.changed), (ChainHold::HoldFrozen, false));
    assert!(frozen.reason.ends_with("to be heard: target 4 on node 4"), "{}", frozen.reason);
    let reply = asked(&stored, &[(1, 0, 0), (2, 9, TRUE), (3, 8, TRUE), (4, 9, TRUE)], claims);
    let next = reply.chain.unwrap();
    assert_eq!((next.version, next.term, targets(&next)), (10, OLD, vec![2, 3, 4]));
    assert!(covers(&next, TRUE, 9) && covers(&next, OLD, 10) && !covers(&next, OLD, 11));
    assert!(covers(&next, TRUE, 10), "a bystander may have heard of it: nobody served under it");
}

#[test]
fn what_an_old_state_made_itself_is_dropped_only_if_nobody_served_under_it() {
    let moved = chain(9, &[2, 3, 4], 0);
    let claims = std::slice::from_ref(&moved);
    let all = [(2, 9, TRUE), (3, 9, TRUE), (4, 9, TRUE)];
    for version in [6, 9, 12] {
        // Target 2 would have to know it.
        let made = chain(version, &[1, 2], 5);
        let known = |one: (u64, u64, u64)| [&all[..], &[one]].concat();
        let reply = asked(&made, &known((1, version, OLD)), claims);
        let next = reply.chain.unwrap();
        assert_eq!((next.version, targets(&next)), (9.max(version) + 1, vec![2, 3, 4]));
        assert!(covers(&next, TRUE, 9) && covers(&next, OLD, version), "both may follow it");
        // Target 1 may have served alone.
        let alone = chain(version, &[1], 5);
        assert_eq!(asked(&alone, &known((1, version, OLD)), claims).hold(), ChainHold::HoldFrozen);
        assert_eq!(asked(&alone, &all, claims).hold(), ChainHold::HoldFrozen, "and be away now");
        let emptied = asked(&alone, &known((1, 0, 0)), claims);
        assert_eq!(emptied.hold(), ChainHold::HoldFrozen, "its disk would be another one");
        let order = Some(ChainOrder { adopt: true, ..ChainOrder::default() });
        assert_eq!(targets(&ask(&alone, &all, claims, order).chain.unwrap()), [2, 3, 4]);
    }
}

#[test]
fn claims_that_lead_apart_are_nobodys_to_choose() {
    let stored = chain(5, &[1, 2, 3], 0);
    let one = chain(9, &[2, 3], 0);
    let other = Chain { term: 77, ..chain(8, &[1, 2], 0) };
    let known = [(1, 8, 77), (2, 9, TRUE), (3, 9, TRUE)];
    let order = Some(ChainOrder { adopt: true, ..ChainOrder::default() });
    assert_eq!(ask(&stored, &known, &[one, other], order).hold(), ChainHold::HoldFrozen);
}

/// Who served and was synced in each version of the true chain; who knew which version when the state was put back.
#[derive(Clone, Debug)]
struct Past {
    chains: Vec<Chain>,
    /// By target, from 1: the place of the newest that it knows; none: nothing.
    known: Vec<Option<usize>>,
    stored: usize,
    heard: Vec<bool>,
    gone: Vec<bool>,
}

const TARGETS: usize = 5;

/// A step of the true manager: who of those that serve goes on, who is synced, and whether that one is promoted. A
/// version is served under by those who know it.
fn past() -> impl Strategy<Value = Past> {
    let step = (proptest::collection::vec(any::<bool>(), TARGETS), 0..TARGETS, any::<bool>());
    let knows = proptest::collection::vec(0..4usize, TARGETS);
    let flags = || proptest::collection::vec(proptest::bool::weighted(0.7), TARGETS);
    (proptest::collection::vec(step, 1..6), knows, 0..6usize, flags(), flags()).prop_map(
        |(steps, lag, stored, heard, gone)| {
            let mut chains = vec![chain(1, &[1, 2, 3], 0)];
            let mut known: Vec<Option<usize>> = vec![None; TARGETS];
            for (stays, synced, served) in steps {
                let before = chains.last().unwrap();
                let serving = |member: &&Member| member.state() == PublicState::PublicServing;
                let promoted =
                    before.members.iter().find(|member| member.state() == PublicState::PublicSyncing);
                let mut next: Vec<u64> =
                    before.members.iter().filter(serving).map(|member| member.target).collect();
                let kept: Vec<u64> =
                    next.iter().copied().filter(|target| stays[*target as usize - 1]).collect();
                next = if kept.is_empty() && promoted.is_none() { next } else { kept };
                next.extend(promoted.map(|member| member.target));
                let mut made = chain(before.version + 1, &next, 0);
                if !next.contains(&(synced as u64 + 1)) {
                    let mut member = chain(1, &[synced as u64 + 1], 0).members[0];
                    member.set_state(PublicState::PublicSyncing);
                    made.members.push(member);
                }
                chains.push(made);
                let place = chains.len() - 1;
                let made = &chains[place];
                // All who serve and are synced know a version under which anybody served; and whoever was synced and is
                // promoted, and its predecessor, the one under which it was.
                let before = &chains[place - 1].members;
                let synced = before.iter().position(|member| !serving(&member));
                for member in synced.map_or(&[][..], |at| &before[at.saturating_sub(1)..=at]) {
                    let at = member.target as usize - 1;
                    known[at] = known[at].max(Some(place - 1));
                }
                if served {
                    made.members.iter().for_each(|member| known[member.target as usize - 1] = Some(place));
                }
            }
            // Whoever serves may have heard more than it served under.
            for (target, lag) in lag.iter().enumerate() {
                let newest = chains.len() - 1;
                let named = chains[newest].members.iter().any(|member| member.target == target as u64 + 1);
                if *lag == 0 && named {
                    known[target] = Some(newest);
                }
            }
            let stored = stored.min(chains.len() - 1);
            Past { chains, known, stored, heard, gone }
        },
    )
}

impl Past {
    /// The newest version that anybody served under, as far as a promise hangs on it.
    fn served(&self) -> usize {
        let all_know = |place: &usize| {
            let members = &self.chains[*place].members;
            let serving = members.iter().filter(|member| member.state() == PublicState::PublicServing);
            serving.map(|member| self.known[member.target as usize - 1]).all(|known| known >= Some(*place))
        };
        (0..self.chains.len()).rev().find(all_know).unwrap_or(0)
    }

    fn request(&self) -> NextChainRequest {
        let known = |target: usize| self.known[target].map(|place| &self.chains[place]);
        let facts = (0..TARGETS).map(|target| {
            let heard = self.heard[target];
            let chain = known(target).filter(|_| heard);
            let (known_version, known_term) = chain.map_or((0, 0), |chain| (chain.version, chain.term));
            TargetFact {
                target: target as u64 + 1,
                heard,
                gone: !heard && self.gone[target],
                known_version,
                known_term,
                ..TargetFact::default()
            }
        });
        let claims = (0..TARGETS).filter(|target| self.heard[*target]).filter_map(known).cloned();
        NextChainRequest {
            chain: Some(self.chains[self.stored].clone()),
            facts: facts.collect(),
            claims: claims.collect(),
            term: OLD,
            outage_ms: 1_000_000,
            outage_grace_ms: 30_000,
            ..NextChainRequest::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn no_version_that_was_served_under_is_forgotten(past in past()) {
        let request = past.request();
        let reply = next_chain(&request);
        let witnesses = |chain: &Chain| targets(chain).into_iter().all(|target| past.heard[target as usize - 1]);
        let stored = &past.chains[past.stored];
        let newest = &past.chains[past.served()];
        let next = reply.chain.clone().unwrap();
        let follows = covers(&next, newest.term, newest.version);
        if reply.changed && next.term == OLD && !covers(stored, newest.term, newest.version) {
            // Only those that were declared gone may have known better.
            prop_assert!(follows || !witnesses(stored), "{:?}", reply);
        }
        let awaited = |target: u64| !past.heard[target as usize - 1] && !past.gone[target as usize - 1];
        if targets(stored).into_iter().any(awaited) {
            prop_assert!(!reply.changed || reply.reason.starts_with("adopts"), "{:?}", reply);
        }
        if reply.reason.starts_with("adopts") {
            prop_assert!(follows, "{:?}", reply);
        }
        if reply.hold() == ChainHold::HoldFrozen {
            // Somebody of the newest that is known is away, or was never told anything.
            let known = (0..TARGETS).filter(|target| past.heard[*target]).filter_map(|target| past.known[target]);
            let claim = &past.chains[known.max().unwrap_or(0)];
            let told = |target: u64| past.heard[target as usize - 1] && past.known[target as usize - 1].is_some();
            prop_assert!(!targets(claim).into_iter().all(told), "{:?}", reply);
        }
    }
}
