//! Back into the preferred order, so that the heads, and with them the load of writes, are spread as they were
//! placed. A predecessor must have all that its successor has, so members change places only while all have
//! the same: in one version of the chain the head is told to give no versions; the last member says when nothing
//! pends anywhere, under this very version (R3); and only then the next one names the members in the preferred
//! order.
//! All of them serve all the time, and nothing is copied.
//!
//! Updates of the chain wait meanwhile. If nothing comes to rest in time (a member hangs, acknowledgements are
//! lost between two of them), the chain goes on in the order that it has, and tries again after a pause, so that
//! updates wait for a bounded part of the time.

use super::{Observed, Transition};
use crate::museum::{Planted, planted};
use wire::message::{LocalState, PublicState, Tenure};

impl Observed {
    fn serves_and_stays(&self) -> bool {
        self.state() == PublicState::PublicServing && self.member.tenure() == Tenure::Stays
    }

    /// What it reports is of the process that serves, in this version of the chain.
    fn reports_under(&self, chain_version: u64) -> bool {
        self.fact.incarnation == self.member.incarnation && self.fact.chain_version == chain_version
    }

    fn is_well(&self, chain_version: u64) -> bool {
        self.is_present()
            && self.fact.state() == LocalState::LocalUptodate
            && self.reports_under(chain_version)
    }
}

impl Transition<'_> {
    /// Only while every member serves, stays and has the chain's version, so that the pause of updates is a
    /// report and a push long. Whatever else happens ends it, and the head gives versions again.
    pub(super) fn restore_order(&mut self) {
        let version = self.chain.version;
        let is_whole = self.members.iter().all(Observed::serves_and_stays);
        if !is_whole || self.is_in_preferred_order() || planted(Planted::NeverReorders) {
            // What kept it from coming to rest may have gone with a member.
            self.chain.order_given_up = false;
            return self.set_reordering(false);
        }
        // One thing in a version: what changed now is not known to the members yet.
        if !self.reasons.is_empty() {
            return;
        }
        let is_well = self.members.iter().all(|observed| observed.is_well(version));
        if self.is_at_rest(version) {
            self.set_reordering(false);
            let preferred = self.chain.preferred.clone();
            let place = |target: u64| preferred.iter().position(|other| *other == target);
            self.members.sort_by_key(|observed| place(observed.member.target));
            self.reasons.push("in the preferred order".into());
        } else if self.waited_too_long() {
            self.set_reordering(false);
            self.chain.order_given_up = true;
        } else if is_well && !self.pauses() {
            self.chain.order_given_up = false;
            self.set_reordering(true);
        }
    }

    fn waited_too_long(&self) -> bool {
        let late = self.version_ms >= self.reordering_max_ms && !planted(Planted::WaitsForRest);
        self.chain.reordering && late
    }

    fn pauses(&self) -> bool {
        self.chain.order_given_up && self.version_ms < self.reordering_pause_ms
    }

    /// The administrator wants another order. One that does not name every member once is of other members.
    pub(super) fn prefer(&mut self, preferred: &[u64]) {
        let sorted = |targets: &[u64]| {
            let mut targets = targets.to_vec();
            targets.sort_unstable();
            targets
        };
        if self.chain.preferred != preferred && sorted(&self.chain.preferred) == sorted(preferred) {
            self.chain.preferred = preferred.to_vec();
            self.reasons.push("another order is preferred".into());
        }
    }

    fn is_in_preferred_order(&self) -> bool {
        self.members.is_sorted_by_key(|observed| self.preference(observed.member.target))
    }

    /// The last member says so, and whoever would be the head is there.
    fn is_at_rest(&self, version: u64) -> bool {
        let asked = if planted(Planted::RestOfHead) { self.members.first() } else { self.members.last() };
        let Some(last) = asked else { return false };
        let told = self.chain.reordering || planted(Planted::ReordersAtOnce);
        let rests = last.fact.at_rest && last.reports_under(version);
        let present = self.members.iter().all(Observed::is_present);
        told && (rests && present || planted(Planted::ReordersAtOnce))
    }

    fn set_reordering(&mut self, reordering: bool) {
        if self.chain.reordering != reordering {
            self.chain.reordering = reordering;
            self.reasons.push(if reordering { "is reordering" } else { "keeps its order" }.into());
        }
    }
}
