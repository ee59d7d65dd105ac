//! The end of all faults: whoever runs can be reached, one node may have to go on alone first, then everybody is back.

use crate::engine::{Engine, ROOMY_BYTES};
use crate::world::World;
use wire::message::{LocalState, Member, PublicState};

impl Engine {
    /// The scrub has come round, and somebody has made room.
    fn mend(&mut self) {
        self.repair();
        self.flush_fails = false;
        self.room = ROOMY_BYTES;
    }
}

impl World {
    /// Nothing new fails, and whoever runs can be reached.
    pub fn calm(&mut self) {
        self.healed = true;
        self.network.mend_all();
        self.start_manager();
    }

    /// All nodes are gone for now but one that is complete in every chain; nothing else fails. `None`: nobody is.
    pub fn leave_core(&mut self) -> Option<usize> {
        let goes_on = |node: &usize| self.placement.targets_on(*node).all(|target| self.is_complete(target));
        let candidates: Vec<usize> = (0..self.nodes.len()).filter(goes_on).collect();
        let core = *candidates.get(self.random.below(candidates.len().max(1)))?;
        self.core = Some(core);
        for index in (0..self.nodes.len()).filter(|index| *index != core) {
            self.end_node(index);
        }
        self.placement.targets_on(core).for_each(|target| self.targets[target].engine.mend());
        self.start_node(core);
        Some(core)
    }

    /// It serves now and runs, or was the last to serve, and lacks nothing: a process that starts while others still
    /// count as serving has to be synced, and they would be gone.
    fn is_complete(&self, index: usize) -> bool {
        let target = &self.targets[index];
        let (node, engine) = (&self.nodes[target.node], &target.engine);
        let chain = &self.manager.chains()[target.chain];
        let in_last = chain.last.contains(&target.id.0);
        let has_all = engine.served_boot == node.boot || engine.clean;
        let member = chain.members.iter().find(|member| member.target == target.id.0);
        let others = chain.members.iter().filter(|other| other.target != target.id.0);
        let counts = member.is_some_and(|member| match member.state() {
            PublicState::PublicServing => node.runs && node.incarnation == member.incarnation,
            state => {
                state == PublicState::PublicLastsrv && !others.into_iter().any(|other| self.may_speak(other))
            }
        });
        in_last && !target.disk_broken && !engine.frozen && has_all && counts
    }

    /// One of the last to serve has a later process than the manager knows, which may have said that it is complete:
    /// the manager may be about to let it serve alone.
    pub fn may_speak(&self, member: &Member) -> bool {
        let incarnation = self.nodes[member.node as usize].incarnation;
        member.state() == PublicState::PublicLastsrv && incarnation > member.incarnation
    }

    /// Whether an update of each chain that was called after this time was answered.
    pub fn updated_since(&self, time: u64) -> bool {
        let latest = self.history.operations.iter().rev().take_while(|operation| operation.called > time);
        let updates = latest.filter(|operation| operation.returned.is_some() && operation.action.updates());
        let mut waits: Vec<usize> = (0..self.placement.chains).collect();
        for update in updates {
            waits.retain(|chain| *chain != self.placement.chain_of_chunk(update.chunk));
            if waits.is_empty() {
                return true;
            }
        }
        false
    }

    pub fn heal(&mut self) {
        self.core = None;
        self.calm();
        for target in &mut self.targets {
            target.engine.mend();
            let offline =
                target.replica.as_ref().is_some_and(|replica| replica.report().0 == LocalState::LocalOffline);
            target.disk_broken &= offline;
        }
        (0..self.nodes.len()).for_each(|node| self.start_node(node));
    }
}
