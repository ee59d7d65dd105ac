//! Back into the preferred order, so that the heads, and with them the load of writes, are spread as they were
//! placed. A predecessor must have all that its successor has, so members change places only while all have
//! the same: in one version of the chain the head is told to give no versions; the last member says when nothing
//! pends anywhere, under this very version (R3); and only then the next one names the members in the preferred
//! order.
//! All of them serve all the time, and nothing is copied.

use super::{Known, Transition};
use crate::museum::{Planted, planted};
use wire::message::{LocalState, PublicState, Tenure};

impl Known {
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
        let is_whole = self.members.iter().all(Known::serves_and_stays);
        if !is_whole || self.is_in_preferred_order() || planted(Planted::NeverReorders) {
            return self.set_reordering(false);
        }
        // One thing in a version: what changed now is not known to the members yet.
        let undisturbed = self.reasons.is_empty();
        let is_well = self.members.iter().all(|known| known.is_well(version));
        if undisturbed && self.is_at_rest(version) {
            self.set_reordering(false);
            let preferred = self.chain.preferred.clone();
            let place = |target: u64| preferred.iter().position(|other| *other == target);
            self.members.sort_by_key(|known| place(known.member.target));
            self.reasons.push("in the preferred order".into());
        } else if undisturbed && is_well {
            self.set_reordering(true);
        }
    }

    fn is_in_preferred_order(&self) -> bool {
        self.members.is_sorted_by_key(|known| self.preference(known.member.target))
    }

    /// The last member says so, and whoever would be the head is there.
    fn is_at_rest(&self, version: u64) -> bool {
        let Some(last) = self.members.last() else { return false };
        let told = self.chain.reordering || planted(Planted::ReordersAtOnce);
        let rests = last.fact.at_rest && last.reports_under(version);
        let present = self.members.iter().all(Known::is_present);
        told && (rests && present || planted(Planted::ReordersAtOnce))
    }

    fn set_reordering(&mut self, reordering: bool) {
        if self.chain.reordering != reordering {
            self.chain.reordering = reordering;
            self.reasons.push(if reordering { "is reordering" } else { "keeps its order" }.into());
        }
    }
}
