//! What holds for every chain and every set of facts, however strange.

use super::next_chain;
use proptest::prelude::*;
use std::collections::BTreeSet;
use wire::message::{
    Chain, ChainHold, ChainOrder, LocalState, Member, NextChainRequest, PublicState, TargetFact, Tenure,
};

fn member(target: u64) -> impl Strategy<Value = Member> {
    // Most stay.
    let tenure = prop_oneof![3 => Just(0i32), 1 => 1..3i32];
    (0..5i32, 1..3u64, tenure).prop_map(move |(state, incarnation, tenure)| Member {
        target,
        node: target as u32,
        state,
        incarnation,
        tenure,
        ..Member::default()
    })
}

fn fact(target: u64) -> impl Strategy<Value = TargetFact> {
    let flags = proptest::array::uniform7(any::<bool>());
    // Most have spoken: otherwise nothing would happen in most worlds.
    let heard = proptest::bool::weighted(0.95);
    (0..3i32, 0..4u64, 4..6u64, 0..4u64, flags, heard).prop_map(
        move |(state, incarnation, chain_version, begun_by, flags, heard)| {
            let [alive, gone, complete, fresh, disk_error, stopped, at_rest] = flags;
            let alive = alive && !gone && incarnation != 0;
            TargetFact {
                target,
                alive,
                state,
                chain_version,
                complete,
                fresh,
                disk_error,
                gone,
                incarnation,
                stopped,
                begun_by,
                at_rest,
                heard,
                ..TargetFact::default()
            }
        },
    )
}

/// A chain that the manager could have stored: at most one syncing; lastsrv only while nobody serves; `last`
/// as it must be; reordering only while all serve and stay.
fn storable(mut members: Vec<Member>, reordering: bool) -> Chain {
    let serving = members.iter().any(|member| member.state() == PublicState::PublicServing);
    let mut syncing = false;
    for member in &mut members {
        let wrong = match member.state() {
            PublicState::PublicLastsrv => serving,
            PublicState::PublicSyncing => !serving || std::mem::replace(&mut syncing, true),
            _ => false,
        };
        if wrong {
            member.set_state(PublicState::PublicOffline);
        }
    }
    let last = members
        .iter()
        .filter(|member| {
            let wanted = if serving { PublicState::PublicServing } else { PublicState::PublicLastsrv };
            member.state() == wanted
        })
        .map(|member| member.target)
        .collect();
    let reordering = reordering && members.iter().all(serves_and_stays);
    let preferred = vec![3, 1, 2, 4];
    Chain {
        id: 1,
        version: 5,
        members,
        last,
        preferred,
        durability_epoch: 1,
        reordering,
        order_given_up: false,
        ..Chain::default()
    }
}

fn serves_and_stays(member: &Member) -> bool {
    member.state() == PublicState::PublicServing && member.tenure() == Tenure::Stays
}

/// As they are in one world of four: otherwise hardly any would find all of them well.
fn all_serve(mut members: Vec<Member>) -> Vec<Member> {
    for member in &mut members {
        member.set_state(PublicState::PublicServing);
        member.set_tenure(Tenure::Stays);
    }
    members
}

fn all_are_well(chain: &Chain, mut facts: Vec<TargetFact>) -> Vec<TargetFact> {
    for (fact, member) in facts.iter_mut().zip(&chain.members) {
        let at_rest = fact.at_rest;
        *fact = TargetFact {
            target: member.target,
            alive: true,
            state: LocalState::LocalUptodate as i32,
            chain_version: chain.version,
            incarnation: member.incarnation,
            at_rest,
            heard: true,
            ..TargetFact::default()
        };
    }
    facts
}

/// Target 5 is no member, and may join.
fn order() -> impl Strategy<Value = ChainOrder> {
    let names = || proptest::collection::vec(1..5u64, 0..2);
    let join = Member { target: 5, node: 5, ..Member::default() };
    let preferred = prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![1, 2, 3, 4]).prop_shuffle()];
    (proptest::collection::vec(Just(join), 0..2), names(), names(), preferred).prop_map(
        |(joins, leaves, stays, preferred)| ChainOrder { joins, leaves, stays, preferred, adopt: false },
    )
}

fn request() -> impl Strategy<Value = NextChainRequest> {
    let members = (member(1), member(2), member(3), member(4));
    let facts = (fact(1), fact(2), fact(3), fact(4), fact(5));
    let order = proptest::option::of(order());
    // Reordering; all serve; all are well.
    let peace = (any::<bool>(), 0..4u8, 0..4u8);
    // Around the two limits below.
    let time = (0..60_000u64, 0..300u64, any::<bool>());
    (members, facts, time, order, peace).prop_map(|(members, facts, time, order, peace)| {
        let (outage_ms, version_ms, given_up) = time;
        let (reordering, serve, well) = peace;
        let members = vec![members.0, members.1, members.2, members.3];
        let mut chain = storable(if serve == 0 { all_serve(members) } else { members }, reordering);
        let whole = chain.members.iter().all(serves_and_stays);
        chain.order_given_up = given_up && whole && !chain.reordering;
        let facts = vec![facts.0, facts.1, facts.2, facts.3, facts.4];
        let facts = if well == 0 { all_are_well(&chain, facts) } else { facts };
        NextChainRequest {
            chain: Some(chain),
            facts,
            outage_ms,
            outage_grace_ms: 30_000,
            order,
            version_ms,
            reordering_max_ms: 100,
            reordering_pause_ms: 200,
            ..NextChainRequest::default()
        }
    })
}

/// Serving members that stay, before any order.
fn staying(chain: &Chain, target: u64) -> bool {
    chain.members.iter().any(|member| member.target == target && member.tenure() == Tenure::Stays)
}

/// None while the chain is held: then it is what it was, however strange, which is checked here.
fn moved_on(request: &NextChainRequest) -> Option<Chain> {
    let reply = next_chain(request);
    if reply.hold() == ChainHold::HoldNone {
        return reply.chain;
    }
    assert!(!reply.changed && reply.chain == request.chain, "held, and changed");
    None
}

fn targets(chain: &Chain, state: PublicState) -> Vec<u64> {
    chain.members.iter().filter(|member| member.state() == state).map(|member| member.target).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn members_are_never_lost_and_states_stay_sound(request in request()) {
        let before = request.chain.clone().unwrap();
        let Some(after) = moved_on(&request) else { return Ok(()) };
        let all = |chain: &Chain| chain.members.iter().map(|member| member.target).collect::<BTreeSet<_>>();
        let order = request.order.clone().unwrap_or_default();
        for target in all(&before).difference(&all(&after)) {
            prop_assert!(!staying(&before, *target) || order.leaves.contains(target), "{} is lost", target);
        }
        let new: Vec<u64> = all(&after).difference(&all(&before)).copied().collect();
        prop_assert!(new.iter().all(|target| order.joins.iter().any(|join| join.target == *target)));
        prop_assert_eq!(all(&after), after.preferred.iter().copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(after.members.len(), all(&after).len());
        prop_assert!(targets(&after, PublicState::PublicSyncing).len() <= 1);
        let serving = targets(&after, PublicState::PublicServing);
        if serving.is_empty() {
            prop_assert!(targets(&after, PublicState::PublicSyncing).is_empty());
            prop_assert_eq!(&after.last, &before.last);
        } else {
            prop_assert!(targets(&after, PublicState::PublicLastsrv).is_empty());
            prop_assert_eq!(&after.last, &serving);
        }
        let order: Vec<i32> = after.members.iter().map(|member| match member.state() {
            PublicState::PublicServing => 0,
            PublicState::PublicLastsrv => 1,
            PublicState::PublicSyncing => 2,
            PublicState::PublicWaiting => 3,
            PublicState::PublicOffline => 4,
        }).collect();
        prop_assert!(order.is_sorted());
    }

    /// Whatever is ordered, and however old the view was that it was ordered in.
    #[test]
    fn somebody_stays(request in request()) {
        let stay = |chain: &Chain| chain.members.iter().any(|member| member.tenure() == Tenure::Stays);
        let after = next_chain(&request).chain.unwrap();
        prop_assert!(stay(&after) || !stay(request.chain.as_ref().unwrap()));
    }

    #[test]
    fn the_version_rises_by_one_exactly_when_something_changes(request in request()) {
        let before = request.chain.clone().unwrap();
        let reply = next_chain(&request);
        let after = reply.chain.unwrap();
        let same = Chain { version: before.version, ..after.clone() } == before;
        prop_assert_eq!(after.version, before.version + u64::from(reply.changed));
        prop_assert!(reply.changed || same);
    }

    #[test]
    fn nobody_is_taken_out_who_may_still_answer(request in request()) {
        let before = request.chain.clone().unwrap();
        let after = next_chain(&request).chain.unwrap();
        let still: BTreeSet<u64> = targets(&after, PublicState::PublicServing).into_iter().collect();
        for member in before.members.iter().filter(|member| member.state() == PublicState::PublicServing) {
            let fact = request.facts[member.target as usize - 1];
            let refuses = fact.incarnation == member.incarnation
                && (fact.disk_error || fact.state() == LocalState::LocalOffline);
            let stopped = member.tenure() == Tenure::Stops
                && fact.stopped
                && fact.incarnation == member.incarnation
                && fact.chain_version == before.version;
            let gone = fact.gone || fact.incarnation > member.incarnation || refuses || stopped;
            if !gone {
                prop_assert!(still.contains(&member.target));
            }
        }
    }

    #[test]
    fn whoever_serves_has_everything(request in request()) {
        let before = request.chain.clone().unwrap();
        let after = next_chain(&request).chain.unwrap();
        let was = |state| targets(&before, state);
        for target in targets(&after, PublicState::PublicServing) {
            let fact = request.facts[target as usize - 1];
            let Some(member) = before.members.iter().find(|member| member.target == target) else {
                prop_assert!(before.last.is_empty() && fact.fresh, "a new one serves");
                continue;
            };
            let stayed = was(PublicState::PublicServing).contains(&target);
            let synced = was(PublicState::PublicSyncing).contains(&target)
                && fact.state() == LocalState::LocalUptodate
                && fact.chain_version == before.version
                && fact.incarnation == member.incarnation;
            let last = before.last.contains(&target) && targets(&after, PublicState::PublicServing).len() == 1;
            let first_start = before.last.is_empty() && fact.fresh;
            prop_assert!(stayed || synced || last || first_start);
            if member.state() == PublicState::PublicLastsrv && !first_start {
                prop_assert!(fact.begun_by <= member.incarnation, "an emptied one resumes");
            }
        }
    }

    #[test]
    fn the_epoch_rises_exactly_when_an_incomplete_member_resumes(request in request()) {
        let before = request.chain.clone().unwrap();
        let after = next_chain(&request).chain.unwrap();
        let resumed: Vec<u64> = targets(&after, PublicState::PublicServing)
            .into_iter()
            .filter(|target| {
                let Some(member) = before.members.iter().find(|member| member.target == *target) else {
                    return false;
                };
                let state = member.state();
                let replaced = state == PublicState::PublicServing
                    && after
                        .members
                        .iter()
                        .any(|next| next.target == *target && next.incarnation != member.incarnation);
                state == PublicState::PublicLastsrv || replaced
            })
            .collect();
        let incomplete = resumed.iter().any(|target| !request.facts[*target as usize - 1].complete);
        prop_assert_eq!(after.durability_epoch, before.durability_epoch + u64::from(incomplete));
    }

    /// Members change places only into the preferred order, and only when all have the same (P6).
    #[test]
    fn the_order_of_serving_members_changes_at_rest_alone(request in request()) {
        let chain = request.chain.as_ref().unwrap();
        let reply = next_chain(&request).chain.unwrap();
        let before = targets(chain, PublicState::PublicServing);
        let after = targets(&reply, PublicState::PublicServing);
        let last = chain.members.last().unwrap();
        let fact = request.facts[last.target as usize - 1];
        let rests = chain.reordering
            && fact.at_rest
            && fact.incarnation == last.incarnation
            && fact.chain_version == chain.version;
        if rests && before.len() == 4 && after == reply.preferred {
            return Ok(());
        }
        let stayed: Vec<u64> = after.iter().copied().filter(|target| before.contains(target)).collect();
        let expected: Vec<u64> = before.iter().copied().filter(|target| after.contains(target)).collect();
        prop_assert_eq!(&stayed, &expected);
        prop_assert!(after.starts_with(&stayed), "newly synced members come last");
    }

    /// Told to stop only while all who stay serve: then the others are at least as many as must be.
    #[test]
    fn whoever_is_told_to_stop_leaves_a_whole_chain_behind(request in request()) {
        let Some(after) = moved_on(&request) else { return Ok(()) };
        let stays: Vec<&Member> =
            after.members.iter().filter(|member| member.tenure() == Tenure::Stays).collect();
        let whole = stays.iter().all(|member| member.state() == PublicState::PublicServing) && !stays.is_empty();
        for member in after.members.iter().filter(|member| member.tenure() == Tenure::Stops) {
            prop_assert!(whole && member.state() == PublicState::PublicServing);
        }
        for member in after.members.iter().filter(|member| member.tenure() == Tenure::Leaves) {
            prop_assert!(!whole || member.state() != PublicState::PublicServing);
        }
    }

    #[test]
    fn a_chain_is_reordering_only_while_all_serve_and_stay(request in request()) {
        let after = next_chain(&request).chain.unwrap();
        let order: Vec<u64> = after.members.iter().map(|member| member.target).collect();
        let may = after.members.iter().all(serves_and_stays) && order != after.preferred;
        prop_assert!(may || !after.reordering);
        prop_assert!(may || !after.order_given_up);
        prop_assert!(!after.reordering || !after.order_given_up);
    }

    /// Of a member that never reports rest: updates wait for no longer than `reordering_max_ms`, and then have at
    /// least `reordering_pause_ms`, whatever the members say meanwhile.
    #[test]
    fn a_chain_waits_for_rest_for_a_bounded_part_of_the_time(
        request in request(),
        looks in proptest::collection::vec((1..60u64, any::<bool>()), 1..40),
    ) {
        let mut chain = storable(all_serve(request.chain.clone().unwrap().members), false);
        let (mut version_ms, mut waits_ms, mut goes_on_ms) = (0, 0, u64::MAX);
        for (passed_ms, all_well) in looks {
            version_ms += passed_ms;
            waits_ms = if chain.reordering { waits_ms + passed_ms } else { 0 };
            goes_on_ms = if chain.reordering { 0 } else { goes_on_ms.saturating_add(passed_ms) };
            let mut facts = all_are_well(&chain, request.facts.clone());
            facts.iter_mut().for_each(|fact| fact.at_rest = false);
            facts[0].alive = all_well;
            let reply = next_chain(&NextChainRequest {
                chain: Some(chain), facts, order: None, version_ms, ..request.clone()
            });
            chain = reply.chain.unwrap();
            if reply.changed {
                version_ms = 0;
            }
            if chain.reordering {
                prop_assert!(waits_ms < 100, "it waits for {} ms", waits_ms);
                prop_assert!(waits_ms > 0 || goes_on_ms >= 200, "again after {} ms", goes_on_ms);
            }
        }
    }

    /// With members that say at once that nothing pends.
    #[test]
    fn a_chain_of_which_all_are_well_comes_into_its_preferred_order(request in request()) {
        let mut chain = storable(all_serve(request.chain.clone().unwrap().members), false);
        for _ in 0..2 {
            let mut facts = all_are_well(&chain, request.facts.clone());
            facts.iter_mut().for_each(|fact| fact.at_rest = chain.reordering);
            let version_ms = 0;
            chain = next_chain(&NextChainRequest { chain: Some(chain), facts, order: None, version_ms, ..request.clone() })
                .chain
                .unwrap();
        }
        let order: Vec<u64> = chain.members.iter().map(|member| member.target).collect();
        prop_assert_eq!(&order, &chain.preferred);
        prop_assert!(!chain.reordering);
    }

    #[test]
    fn facts_that_do_not_change_lead_to_rest(request in request()) {
        let mut request = request;
        for _ in 0..8 {
            let reply = next_chain(&request);
            if !reply.changed {
                return Ok(());
            }
            request.chain = reply.chain;
            request.outage_ms = 0;
            request.version_ms = 0;
        }
        prop_assert!(false, "the chain changes for ever");
    }
}
