//! Who is a member, by order of the administrator. The chain itself carries what is under way, so that it
//! survives whoever ordered it: a new member is offline and comes in through a resync; one that leaves serves
//! on until every member that stays serves, is then told to stop, says that it has, and only then the others
//! go on without it (P1). At every moment as many copies serve as before.

use super::{Observed, Transition};
use crate::museum::{Planted, planted};
use wire::message::{ChainOrder, Member, PublicState, Tenure};

impl Observed {
    fn stays(&self) -> bool {
        self.member.tenure() == Tenure::Stays
    }
}

impl Transition<'_> {
    /// An order that was carried out already changes nothing. One after which nobody would stay was given to the
    /// chain as it was before another member was told to leave: whoever gave it looks again.
    pub(super) fn take_order(&mut self, order: &ChainOrder) {
        if !self.somebody_stays(order) {
            return;
        }
        for join in &order.joins {
            self.join(join, &order.leaves);
        }
        for place in
            self.places(|observed| observed.stays() && order.leaves.contains(&observed.member.target))
        {
            self.set_tenure(place, Tenure::Leaves);
        }
        for place in
            self.places(|observed| !observed.stays() && order.stays.contains(&observed.member.target))
        {
            self.set_tenure(place, Tenure::Stays);
        }
        self.prefer(&order.preferred);
    }

    /// A chain whose members all leave would never tell them to stop, and one that never served would lose them all.
    fn somebody_stays(&self, order: &ChainOrder) -> bool {
        let is_member = |target: u64| self.members.iter().any(|observed| observed.member.target == target);
        let joining = order.joins.iter().map(|join| join.target).filter(|target| !is_member(*target));
        let members = self.members.iter().map(|observed| (observed.member.target, observed.stays()));
        members.chain(joining.map(|target| (target, true))).any(|(target, stays)| {
            order.stays.contains(&target) || (stays && !order.leaves.contains(&target))
        })
    }

    /// It takes the place of the first that leaves in the preferred order.
    fn join(&mut self, join: &Member, leaves: &[u64]) {
        if self.members.iter().any(|observed| observed.member.target == join.target) {
            return;
        }
        let member = Member { target: join.target, node: join.node, disk: join.disk, ..Member::default() };
        self.members.push(super::observed(self.facts, member));
        let preferred = &mut self.chain.preferred;
        let place = preferred.iter().position(|target| leaves.contains(target)).unwrap_or(preferred.len());
        preferred.insert(place, join.target);
        self.reasons.push(format!("{} joins", join.target));
    }

    /// Whoever leaves and holds nothing that others lack: it does not serve, and another does. A chain that
    /// never served holds nothing at all.
    pub(super) fn let_go(&mut self) {
        let goes = |observed: &Observed| {
            let serves = matches!(observed.state(), PublicState::PublicServing | PublicState::PublicLastsrv);
            let told = observed.member.tenure() == Tenure::Stops && planted(Planted::LeaveWithoutStop);
            !observed.stays() && (!serves || told)
        };
        let gone: Vec<u64> = self
            .members
            .iter()
            .filter(|observed| goes(observed))
            .map(|observed| observed.member.target)
            .collect();
        self.members.retain(|observed| !gone.contains(&observed.member.target));
        self.chain.preferred.retain(|target| !gone.contains(target));
        self.reasons.extend(gone.iter().map(|target| format!("{target} is out")));
    }

    /// Told to stop only while everybody who stays serves; if that ends before it has gone, it serves again.
    pub(super) fn tell_leaving(&mut self) {
        let mut staying = self.members.iter().filter(|observed| observed.stays()).peekable();
        let complete = staying.peek().is_some()
            && staying.all(|observed| observed.state() == PublicState::PublicServing);
        for place in self.places(|observed| !observed.stays()) {
            let serves = self.members[place].state() == PublicState::PublicServing;
            self.set_tenure(place, if complete && serves { Tenure::Stops } else { Tenure::Leaves });
        }
    }

    fn set_tenure(&mut self, place: usize, tenure: Tenure) {
        let member = &mut self.members[place].member;
        if member.tenure() != tenure {
            member.set_tenure(tenure);
            let name = tenure.as_str_name().trim_start_matches("TENURE_").to_lowercase();
            self.reasons.push(format!("{} {name}", member.target));
        }
    }
}
