//! The manager's decision about one chain: pure, from the stored chain and what is known of its targets to
//! the chain's next version. It must never take a member out that may still answer reads (P1), and never let
//! one serve that may miss an acknowledged update (R3, R5, P10).

mod lineage;
mod membership;
#[cfg(test)]
mod membership_tests;
mod old_state;
#[cfg(test)]
mod old_state_tests;
#[cfg(test)]
mod outage_tests;
mod preferred_order;
#[cfg(test)]
mod preferred_order_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use crate::museum::{Planted, planted};
use wire::message::{
    Chain, ChainHold, LocalState, Member, NextChainReply, NextChainRequest, PublicState, TargetFact, Tenure,
};

pub use lineage::covers;
use old_state::Outlook;

/// The next version of a chain, or the same one with `changed: false`.
///
/// The manager calls it for every chain whenever a fact may have changed (heartbeat, exit report, give-back,
/// expiry) and every 100 ms; it makes the reply durable **before** anyone is told (P3). It must compute the
/// facts of each member as follows, `node` being the member's node:
///
/// - `incarnation`: of the newest process of `node` that registered or sent a heartbeat to *this* manager; 0
///   if none did. A message of an
///   older incarnation, or of the same one with a sequence not above the last, is dropped before it can
///   become a fact (R3).
/// - `alive`: that process was granted a lease by this manager which has not run out on the manager's boot
///   clock (`lease_ms` + 1 % + 250 ms
///   after the grant was written), and nobody reported its exit and it did not give its lease back.
/// - `gone`: its lease has run out so, or its exit was reported, or it gave the lease back. For a node that
///   never spoke to this manager: only once the
///   manager has run for `lease_ms` + 1 % + 250 ms (P3). A newer process needs no flag: `incarnation` above
///   the member's says it.
/// - `state`, `chain_version`, `complete`, `fresh`, `disk_error`, `begun_by`: from the last `TargetReport` of that
///   process for this target; without one
///   `LOCAL_OFFLINE` and zeros. A server reports `LOCAL_OFFLINE` or `disk_error` only of a target that
///   answers nothing any more.
/// - `stopped`: from the same report: under `chain_version` the target answers nothing, because the chain told
///   it to stop.
/// - `at_rest`: from the same report: under `chain_version` the target is the last member of a chain that is
///   reordering, and knows that nothing pends at any member.
/// - `heard`: a process of `node` has spoken of its targets to *this* manager, if only to say that it has none: what
///   they know since, they know of this manager.
/// - `known_version`, `known_term`: from the last report of whichever process. Beyond the members there is a fact
///   of each other target that is reported with this chain, and `claims` are this chain as processes registered it.
/// - `term`: random, of this manager process. Nobody else makes a version under it.
/// - `version_ms`: since when this manager has known this version of the chain, on its clock.
/// - `outage_ms`: since when no member has been serving, on this manager's clock (0 while one serves); for a
///   chain that never served, since
///   this manager started.
///
/// Suspicion (a refused connection) is no fact: it makes the manager ask, nothing more.
///
/// A new chain is stored as version 1, every member `PUBLIC_OFFLINE`, `last` empty. The first call that finds
/// all members fresh makes them serve.
///
/// A manager whose state is older than what targets know, or may be, decides nothing: `old_state`. `hold` says so, and
/// then no lease counts for this chain.
///
/// An `order` of the administrator changes who is a member (`membership`) or which order is preferred. A chain
/// of which every member serves comes back into its preferred order: `preferred_order`. It waits there for no
/// longer than `reordering_max_ms`, and tries again `reordering_pause_ms` after it gave up: a chain that is
/// `reordering`, or whose `order_given_up`, may change although no fact does.
pub fn next_chain(request: &NextChainRequest) -> NextChainReply {
    let chain = request.chain.clone().unwrap_or_default();
    let reply = |chain: Chain, reason: String| NextChainReply {
        chain: Some(chain),
        changed: true,
        reason,
        hold: ChainHold::HoldNone as i32,
    };
    match old_state::outlook(request, &chain) {
        Outlook::Newest => {}
        Outlook::Adopted(next, reason) => return reply(next, reason),
        Outlook::Held(hold, reason) => {
            return NextChainReply { chain: Some(chain), changed: false, reason, hold: hold as i32 };
        }
    }
    let mut transition = Transition::new(request, &chain);
    if let Some(order) = &request.order {
        transition.take_order(order);
    }
    transition.run();
    let (next, reasons) = transition.finish();
    let same = next.members == chain.members
        && next.durability_epoch == chain.durability_epoch
        && next.reordering == chain.reordering
        && next.order_given_up == chain.order_given_up
        && next.preferred == chain.preferred;
    if same {
        return NextChainReply { chain: Some(chain), ..NextChainReply::default() };
    }
    let follows = lineage::follows(request.term, &[&chain]);
    reply(Chain { version: chain.version + 1, term: request.term, follows, ..next }, reasons.join(", "))
}

struct Observed {
    member: Member,
    fact: TargetFact,
}

impl Observed {
    fn state(&self) -> PublicState {
        self.member.state()
    }

    /// A process is there that could serve or be synced.
    fn is_present(&self) -> bool {
        self.fact.alive
            && self.fact.incarnation != 0
            && self.fact.state() != LocalState::LocalOffline
            && !self.fact.disk_error
    }

    /// The process that the member's state speaks to answers nothing any more: proven gone, its lease run
    /// out, or it said so itself (P1).
    fn is_lost(&self) -> bool {
        let same = self.fact.incarnation != 0 && self.fact.incarnation == self.member.incarnation;
        let refused = self.fact.state() == LocalState::LocalOffline || self.fact.disk_error;
        self.fact.gone || self.fact.incarnation > self.member.incarnation || (same && refused)
    }

    /// Begun empty by a later process than the one that the member's state speaks to: it holds nothing that could
    /// resume, in that process and in every one after it. A member that was only never told that it serves began
    /// before that.
    fn is_emptied(&self) -> bool {
        let began_itself = self.fact.begun_by == self.fact.incarnation;
        self.fact.begun_by > self.member.incarnation && (began_itself || !planted(Planted::EmptiedResumes))
    }

    /// It was told to stop and has: in this version of the chain, or it may serve again since (R3).
    fn has_stopped(&self, chain_version: u64) -> bool {
        let same = self.fact.incarnation == self.member.incarnation;
        let current = self.fact.chain_version == chain_version;
        self.member.tenure() == Tenure::Stops && same && current && self.fact.stopped
    }

    /// A syncing member that has everything: of this process, for this version of the chain (R3).
    fn is_synced(&self, chain_version: u64) -> bool {
        let same =
            self.fact.incarnation == self.member.incarnation && self.fact.chain_version == chain_version;
        self.fact.state() == LocalState::LocalUptodate
            && self.is_present()
            && ((same && !self.is_lost()) || planted(Planted::R3))
    }
}

fn observed(facts: &[TargetFact], member: Member) -> Observed {
    let fact = facts.iter().find(|fact| fact.target == member.target);
    Observed { member, fact: fact.copied().unwrap_or_default() }
}

struct Transition<'a> {
    chain: Chain,
    facts: &'a [TargetFact],
    members: Vec<Observed>,
    outage_ms: u64,
    outage_grace_ms: u64,
    version_ms: u64,
    reordering_max_ms: u64,
    reordering_pause_ms: u64,
    reasons: Vec<String>,
}

impl<'a> Transition<'a> {
    fn new(request: &'a NextChainRequest, chain: &Chain) -> Self {
        let facts = &request.facts;
        Transition {
            chain: chain.clone(),
            facts,
            members: chain.members.iter().map(|member| observed(facts, *member)).collect(),
            outage_ms: request.outage_ms,
            outage_grace_ms: request.outage_grace_ms,
            version_ms: request.version_ms,
            reordering_max_ms: request.reordering_max_ms,
            reordering_pause_ms: request.reordering_pause_ms,
            reasons: Vec::new(),
        }
    }

    fn run(&mut self) {
        self.promote_and_demote();
        if !self.has(PublicState::PublicServing) || planted(Planted::R5) {
            self.resume();
        }
        if self.has(PublicState::PublicServing) {
            self.demote_last_serving();
            self.retire_syncing();
            self.let_go();
            self.bring_back();
        } else {
            self.wait_for_service();
        }
        self.tell_leaving();
        self.restore_order();
    }

    fn has(&self, state: PublicState) -> bool {
        self.members.iter().any(|observed| observed.state() == state)
    }

    fn set(&mut self, place: usize, state: PublicState) {
        let observed = &mut self.members[place];
        let was = observed.state();
        if matches!(state, PublicState::PublicServing | PublicState::PublicSyncing) && was != state {
            // A synced member goes on as the process that it is.
            if was != PublicState::PublicSyncing {
                observed.member.incarnation = observed.fact.incarnation;
            }
        }
        if was != state {
            let name = |state: PublicState| state.as_str_name().trim_start_matches("PUBLIC_").to_lowercase();
            self.reasons.push(format!("{}: {} -> {}", observed.member.target, name(was), name(state)));
            observed.member.set_state(state);
        }
    }

    fn places(&self, matches: impl Fn(&Observed) -> bool) -> Vec<usize> {
        (0..self.members.len()).filter(|place| matches(&self.members[*place])).collect()
    }

    /// Synced members serve; lost ones leave. Only if nobody is left to serve do those that were lost
    /// together stay as the last serving (P10).
    fn promote_and_demote(&mut self) {
        // Who serves already comes before who is promoted: a predecessor has all that its successor has.
        self.members.sort_by_key(|observed| observed.state() != PublicState::PublicServing);
        let version = self.chain.version;
        let synced = self
            .places(|observed| observed.state() == PublicState::PublicSyncing && observed.is_synced(version));
        let serves = |observed: &Observed| observed.state() == PublicState::PublicServing;
        let mut lost = self.places(|observed| serves(observed) && observed.is_lost());
        let stopped =
            self.places(|observed| serves(observed) && !observed.is_lost() && observed.has_stopped(version));
        let left = self.places(serves).len() - lost.len() - stopped.len();
        for place in &synced {
            self.set(*place, PublicState::PublicServing);
        }
        // R5: a member that was synced in this very moment serves, so the lost ones are no longer the last.
        let mut someone_serves = left > 0 || (!synced.is_empty() && !planted(Planted::R5));
        if someone_serves {
            lost.extend(stopped);
        } else {
            // It has all that those had who died meanwhile: it is told to serve again, and never left.
            someone_serves = !stopped.is_empty();
        }
        for place in lost {
            let state = if someone_serves { PublicState::PublicOffline } else { PublicState::PublicLastsrv };
            self.set(place, state);
        }
    }

    fn resume(&mut self) {
        let never_served = self.chain.last.is_empty()
            && self.chain.members.iter().all(|member| member.state() != PublicState::PublicServing);
        if never_served {
            self.let_go();
            self.start();
        } else {
            self.resume_after_outage();
        }
    }

    /// First start: nothing was ever stored, so all fresh members serve at once; after the grace, those that
    /// are there.
    fn start(&mut self) {
        let fresh = self.places(|observed| observed.is_present() && observed.fact.fresh);
        let all = fresh.len() == self.members.len();
        if all || self.outage_ms >= self.outage_grace_ms {
            for place in fresh {
                self.set(place, PublicState::PublicServing);
            }
        }
    }

    /// P10: any complete one of the last serving members resumes, alone. If none is complete: any of them,
    /// once the others came or the grace is over, and the durability epoch says that bytes which were not
    /// fsynced may be lost. One that was emptied never does: while all are, nobody serves.
    fn resume_after_outage(&mut self) {
        let last = self.places(|observed| {
            observed.state() == PublicState::PublicLastsrv
                || (planted(Planted::AnyResumes) && observed.state() != PublicState::PublicServing)
        });
        // After a version of others was adopted: a member that had heard of one that it replaced may have begun to sync
        // then, and what it said before says nothing.
        let adopted = self.chain.follows.iter().any(|before| before.over);
        let (term, version) = (self.chain.term, self.chain.version);
        let has_heard = |observed: &Observed| {
            !adopted || (observed.fact.known_term, observed.fact.known_version) == (term, version)
        };
        let can =
            |observed: &Observed| observed.is_present() && !observed.is_emptied() && has_heard(observed);
        let present: Vec<usize> = last.iter().copied().filter(|place| can(&self.members[*place])).collect();
        let complete =
            |place: &usize| self.members[*place].fact.complete || planted(Planted::IncompleteServes);
        let chosen = present.iter().copied().find(complete);
        let nobody_to_wait_for = present.len() == last.len() || self.outage_ms >= self.outage_grace_ms;
        if let Some(place) = chosen {
            self.set(place, PublicState::PublicServing);
        } else if let Some(place) = present.first().copied().filter(|_| nobody_to_wait_for) {
            self.set(place, PublicState::PublicServing);
            self.chain.durability_epoch += u64::from(!planted(Planted::EpochNotRaised));
            self.reasons.push(format!("durability epoch {}", self.chain.durability_epoch));
        }
    }

    /// R5: whoever serves has everything, so nobody else may claim to have been the last.
    fn demote_last_serving(&mut self) {
        if planted(Planted::R5) {
            return;
        }
        for place in self.places(|observed| observed.state() == PublicState::PublicLastsrv) {
            self.set(place, PublicState::PublicOffline);
        }
    }

    fn retire_syncing(&mut self) {
        let leaves =
            |observed: &Observed| observed.state() == PublicState::PublicSyncing && observed.is_lost();
        for place in self.places(leaves) {
            self.set(place, PublicState::PublicOffline);
        }
    }

    /// One syncing member at a time, the preferred first; the others that are there wait. What a waiting
    /// target says of itself does not matter: it is synced whatever it claims (R1).
    fn bring_back(&mut self) {
        let out = |observed: &Observed| {
            matches!(observed.state(), PublicState::PublicOffline | PublicState::PublicWaiting)
        };
        for place in
            self.places(|observed| observed.state() == PublicState::PublicWaiting && !observed.is_present())
        {
            if self.members[place].is_lost() {
                self.set(place, PublicState::PublicOffline);
            }
        }
        let waits_for_online =
            |observed: &Observed| planted(Planted::R1) && observed.fact.state() == LocalState::LocalUptodate;
        let mut ready = self.places(|observed| out(observed) && observed.is_present());
        ready.sort_by_key(|place| self.preference(self.members[*place].member.target));
        for place in ready {
            let syncs = !self.has(PublicState::PublicSyncing) && !waits_for_online(&self.members[place]);
            self.set(place, if syncs { PublicState::PublicSyncing } else { PublicState::PublicWaiting });
        }
    }

    /// Without a serving member nobody can be synced.
    fn wait_for_service(&mut self) {
        for place in self.places(|observed| observed.state() == PublicState::PublicSyncing) {
            let state = match self.members[place].is_lost() {
                true => PublicState::PublicOffline,
                false => PublicState::PublicWaiting,
            };
            self.set(place, state);
        }
    }

    fn preference(&self, target: u64) -> usize {
        let preferred = &self.chain.preferred;
        preferred.iter().position(|other| *other == target).unwrap_or(preferred.len())
    }

    /// The order of serving members is kept: a predecessor has all that its successor has.
    fn finish(self) -> (Chain, Vec<String>) {
        let first_start = self.chain.last.is_empty();
        let mut members: Vec<Member> = self.members.iter().map(|observed| observed.member).collect();
        let rank = |state: PublicState| match state {
            PublicState::PublicServing => 0,
            PublicState::PublicLastsrv => 1,
            PublicState::PublicSyncing => 2,
            PublicState::PublicWaiting => 3,
            PublicState::PublicOffline => 4,
        };
        members.sort_by_key(|member| {
            let ordered = matches!(member.state(), PublicState::PublicServing | PublicState::PublicLastsrv);
            let preference = if ordered && !first_start { 0 } else { self.preference(member.target) };
            (rank(member.state()), preference)
        });
        let serving: Vec<u64> = members
            .iter()
            .filter(|member| member.state() == PublicState::PublicServing)
            .map(|member| member.target)
            .collect();
        let last = if serving.is_empty() { self.chain.last.clone() } else { serving };
        (Chain { members, last, ..self.chain }, self.reasons)
    }
}
