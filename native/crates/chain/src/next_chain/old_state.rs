//! A manager whose state is older than what targets know (P3): put back from a copy, lost, rolled back below it. It
//! would take members for what they were, and have the data removed of those that it does not know. So it looks before
//! it decides.
//!
//! **Unheard.** A member that served in the stored version and has not spoken yet may know more. Until it has, or is
//! gone, nothing changes. If the state is old, one of them does know more: whoever serves under a version has it on
//! its medium first, and the first version after the stored one was served by some of them, or by one that they
//! synced under it.
//!
//! **Frozen.** A target knows a version that the stored one does not follow. Nothing changes, and nobody gets a lease.
//!
//! **Adopted.** The newest version that is known becomes the next one, by itself, when nothing that was ever
//! acknowledged can be missing from it: (a) it follows all that any target knows, but for what this manager's state
//! made itself; (b) each member that served or was synced in it has spoken, so that by the argument above no version
//! after it was ever served under; (c) nobody served under what this state made itself since it was put back: it made
//! nothing, or one of those that it took for serving does not know it. An administrator may order it without (b)
//! and (c): what only the missing ones had is lost then.

use super::lineage::{covers, follows, is_behind};
use crate::museum::{Planted, planted};
use wire::message::{Chain, ChainHold, Member, NextChainRequest, PublicState, TargetFact};

pub(super) enum Outlook {
    /// The stored version is the newest, as far as can be known.
    Newest,
    Held(ChainHold, String),
    Adopted(Chain, String),
}

pub(super) fn outlook(request: &NextChainRequest, chain: &Chain) -> Outlook {
    let facts = &request.facts;
    let newer = |fact: &&TargetFact| !covers(chain, fact.known_term, fact.known_version);
    if let Some(fact) = facts.iter().find(newer).filter(|_| !planted(Planted::OldStateBelieved)) {
        let forced = request.order.as_ref().is_some_and(|order| order.adopt);
        return match newest_claim(request, chain).filter(|claim| forced || is_safe(claim, chain, facts)) {
            Some(claim) => adopted(claim, chain, request.term),
            None => {
                let (target, known) = (fact.target, fact.known_version);
                let missing = missing_text(newest_claim(request, chain), facts);
                let why = format!("target {target} knows version {known}, not made by this state{missing}");
                Outlook::Held(ChainHold::HoldFrozen, why)
            }
        };
    }
    let silent = |member: &&Member| {
        let fact = fact_of(facts, member.target);
        may_know_more(member) && !fact.heard && !fact.gone
    };
    match chain.members.iter().find(silent) {
        Some(member) => {
            let why = format!("target {} on node {} has not spoken yet", member.target, member.node);
            Outlook::Held(ChainHold::HoldUnheard, why)
        }
        None => Outlook::Newest,
    }
}

fn fact_of(facts: &[TargetFact], target: u64) -> TargetFact {
    facts.iter().find(|fact| fact.target == target).copied().unwrap_or_default()
}

fn holds_data(member: &Member) -> bool {
    matches!(member.state(), PublicState::PublicServing | PublicState::PublicLastsrv)
}

/// It served in this version or, synced under it, in the next one.
fn may_know_more(member: &Member) -> bool {
    holds_data(member) || member.state() == PublicState::PublicSyncing
}

/// Whoever may know what comes after the claim: all of them, if nobody served yet.
fn witnesses(claim: &Chain) -> impl Iterator<Item = &Member> {
    let any = claim.members.iter().any(may_know_more);
    claim.members.iter().filter(move |member| !any || may_know_more(member))
}

/// What all others that are known lead to; none, if they lead apart.
fn newest_claim<'a>(request: &'a NextChainRequest, chain: &Chain) -> Option<&'a Chain> {
    let follows_all = |claim: &&Chain| {
        let reported = request.facts.iter().map(|fact| (fact.known_term, fact.known_version));
        let claimed = request.claims.iter().map(|other| (other.term, other.version));
        reported
            .chain(claimed)
            .all(|(term, version)| covers(claim, term, version) || covers(chain, term, version))
    };
    request.claims.iter().filter(|claim| !is_behind(claim, chain)).find(follows_all)
}

fn is_safe(claim: &Chain, chain: &Chain, facts: &[TargetFact]) -> bool {
    let known = |member: &Member| fact_of(facts, member.target);
    let all_spoke = witnesses(claim).all(|member| known(member).known_version != 0);
    let knows_claim = |member: &Member| {
        let fact = known(member);
        fact.known_version != 0 && covers(claim, fact.known_term, fact.known_version)
    };
    let served_none =
        is_behind(chain, claim) || chain.members.iter().filter(|member| holds_data(member)).any(knows_claim);
    (all_spoke || planted(Planted::AdoptsUnheard)) && served_none
}

fn missing_text(claim: Option<&Chain>, facts: &[TargetFact]) -> String {
    let Some(claim) = claim else { return String::new() };
    let silent = |member: &&Member| fact_of(facts, member.target).known_version == 0;
    let named = |member: &Member| format!("target {} on node {}", member.target, member.node);
    let missing: Vec<String> = witnesses(claim).filter(silent).map(named).collect();
    if missing.is_empty() { String::new() } else { format!("; to be heard: {}", missing.join(", ")) }
}

fn adopted(claim: &Chain, chain: &Chain, term: u64) -> Outlook {
    let reason = format!("adopts version {} of its targets", claim.version);
    let version = claim.version.max(chain.version) + 1;
    let mut follows = follows(term, &[claim, chain]);
    // Somebody may have heard of a later version, under which nobody served.
    follows.iter_mut().filter(|before| before.term == claim.term).for_each(|before| before.over = true);
    let next = Chain { version, term, follows, ..claim.clone() };
    Outlook::Adopted(next, reason)
}
