//! A manager's state that is put back from an older copy (P3). Which clients there are is not: those that a copy does
//! not know register anew, and the product's manager takes a version of the routing that is above what it hears of.

use crate::event::{Event, Fault};
use crate::manager_trace::set_back_step;
use crate::placement::chain_place;
use crate::world::World;
use chain::covers;
use chain::manager::Published;
use std::rc::Rc;
use wire::TargetId;
use wire::message::{Chain, ChainHold, Member, PublicState};

/// Copies that are kept: each is of one version of a chain before.
const COPIES_MAX: usize = 12;

/// What was on its way when it was decided: all members that crash within a moment.
const SETTLES_MS: u64 = 50;

/// Up to which version of this manager's it follows.
fn followed(chain: &Chain, term: u64) -> u64 {
    let own = (chain.term == term).then_some(chain.version);
    let before = || chain.follows.iter().find(|one| one.term == term).map(|one| one.last_version);
    own.or_else(before).unwrap_or(0)
}

fn holds_data(chain: &Chain, target: TargetId) -> bool {
    let holds = |member: &Member| {
        use PublicState::{PublicLastsrv, PublicServing, PublicSyncing};
        matches!(member.state(), PublicServing | PublicSyncing | PublicLastsrv)
    };
    chain.members.iter().any(|member| member.target == target.0 && holds(member))
}

impl World {
    pub fn keep_copy(&mut self, before: &Rc<Published>) {
        if self.knobs.set_back > 0 && before.chains != self.manager.stored.chains {
            self.manager.past.push_back(before.clone());
            if self.manager.past.len() > COPIES_MAX {
                self.manager.past.pop_front();
            }
        }
    }

    /// All servers run and can be reached until the manager has heard them: what nobody says it cannot know, and
    /// who is silent for a lease counts as gone. What they know is as old as it is: some were away, or cut off.
    pub fn set_back(&mut self) {
        // A chain that froze would lead further apart.
        if self.healed || self.manager.past.is_empty() || self.is_frozen_by_a_bystander() {
            return;
        }
        let paused_until = self.nodes.iter().map(|node| node.paused_until).max().unwrap_or(0);
        let settled = paused_until.max(self.now + if self.is_quiet() { 0 } else { SETTLES_MS * 1000 });
        if settled > self.now {
            self.quiet_until = u64::MAX;
            return self.schedule(settled - self.now, Event::Fault(Fault::SetBack));
        }
        if self.manager.running.is_none() {
            self.quiet_until = self.now;
            return;
        }
        let place = self.random.below(self.manager.past.len());
        let older = self.manager.past[place].clone();
        self.manager.past.clear();
        self.trace_step(|| set_back_step(&older));
        let Published { chains, incarnations, .. } = Published::clone(&older);
        let stored = Published::clone(&self.manager.stored);
        let version = stored.version + 1;
        self.manager.stored = Rc::new(Published { version, chains, incarnations, ..stored });
        self.manager.late = None;
        self.manager.put_back = Some(self.manager.stored.clone());
        for chain in &older.chains {
            self.note(|| format!("the state is put back to {}", crate::manager::describe(chain)));
        }
        let ms = self.random.pick(&[1, 50, self.knobs.lease_ms]);
        self.fault(Fault::ManagerStop { ms });
        self.network.mend_all();
        let first = self.random.below(self.nodes.len());
        let late = self.random.chance(50.0);
        for node in 0..self.nodes.len() {
            if late && node != first {
                // That one is heard before the others, and all are in time.
                let pause_ms = ms + self.random.between(1, self.knobs.lease_ms / 2);
                self.fault(Fault::Pause { node, ms: pause_ms });
            }
            // One after another, within the time of a heartbeat.
            let delay = ms * 1000 + self.random.between(1, self.knobs.heartbeat_ms * 1000);
            self.schedule(delay, Event::Fault(Fault::Restart { node }));
        }
        self.quiet_until = self.now + (ms + 3 * self.knobs.lease_ms) * 1000;
    }

    /// A chain that an administrator alone brings back, which is not promised otherwise: its manager was set back, and
    /// went on with what all said who hold the data, before somebody else spoke who had heard of a later version.
    pub fn is_frozen_by_a_bystander(&self) -> bool {
        let (Some(manager), Some(put_back)) = (&self.manager.running, &self.manager.put_back) else {
            return false;
        };
        let pairs = self.manager.chains().iter().zip(&put_back.chains);
        let mut frozen = pairs.filter(|(now, _)| manager.hold(now.id) == ChainHold::HoldFrozen);
        frozen.any(|(now, then)| self.only_bystanders_know_better(now, then))
    }

    /// Than the chain as it is `now`, which has adopted nothing since it was put back to `then`.
    fn only_bystanders_know_better(&self, now: &Chain, then: &Chain) -> bool {
        let targets = self.placement.targets_of(chain_place(now.id)).map(|target| &self.targets[target]);
        let known = targets.map(|target| (target.id, &target.engine.known));
        let better = known.filter(|(_, known)| !covers(now, known.term, known.version));
        let better: Vec<(TargetId, &Rc<Chain>)> = better.collect();
        let has_adopted = |term: u64| followed(now, term) != followed(then, term);
        !better.is_empty()
            && better.iter().all(|(target, known)| !holds_data(now, *target) && !has_adopted(known.term))
    }

    pub fn is_quiet(&self) -> bool {
        self.now < self.quiet_until
    }
}
