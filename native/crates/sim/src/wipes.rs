//! Disks that are lost, and come back empty (P10): only while another member holds everything, so that nothing is lost
//! by right, and however often the process there starts again.

use crate::engine::Engine;
use crate::event::{Event, Fault};
use crate::placement::target_place;
use crate::world::World;
use wire::TargetId;
use wire::message::PublicState;

/// Processes, one fewer at most, that find the empty disk and die before anybody hears of them.
const STILLBORN: usize = 3;

impl World {
    /// One node crashes, and has another disk a little later.
    pub fn lose_disk(&mut self, node: usize) {
        self.fault(Fault::Crash { node, power: false });
        let delay = self.random.between(1, 1 + self.knobs.down_ms * 1000);
        self.schedule(delay, Event::Fault(Fault::Wipe { node }));
    }

    /// All nodes go at once, and the manager with them: when it is back, it finds all members gone together. This one
    /// returns with another disk, and at times none of the others before the grace of an outage is over.
    pub fn wipe_out(&mut self, first: usize) {
        if self.healed {
            return;
        }
        let power = self.random.chance(30.0);
        (0..self.nodes.len()).for_each(|node| self.end_node(node));
        self.nodes.iter_mut().for_each(|node| node.boot += u64::from(power));
        for target in &mut self.targets {
            target.engine.lose_process();
            if power {
                target.engine.lose_power(false);
            }
        }
        let lease_ms = self.knobs.lease_ms;
        let away_ms = self.random.between(1, lease_ms);
        self.fault(Fault::ManagerStop { ms: away_ms });
        let first_ms = away_ms + 2 * lease_ms + 250;
        self.schedule(first_ms * 1000, Event::Fault(Fault::Wipe { node: first }));
        let longest = self.knobs.outage_grace_ms + 3 * lease_ms;
        for node in (0..self.nodes.len()).filter(|node| *node != first) {
            let later_ms = if self.random.chance(50.0) { longest } else { self.random.between(1, longest) };
            self.schedule((first_ms + later_ms) * 1000, Event::Fault(Fault::Restart { node }));
        }
    }

    pub fn wipe(&mut self, node: usize) {
        if self.healed {
            return;
        }
        let mut emptied = self.targets_on_a_disk(node);
        emptied.retain(|target| self.is_dispensable(*target));
        if !emptied.is_empty() {
            self.end_node(node);
            let next = self.nodes[node].incarnation + 1;
            for target in emptied {
                let engine = &mut self.targets[target].engine;
                *engine = Engine::empty(engine.reserve, next);
                self.note(|| format!("target {target} has an empty disk"));
            }
            for _ in 0..self.random.below(STILLBORN) {
                self.start_node(node);
                self.end_node(node);
            }
        }
        self.start_node(node);
    }

    /// It does not serve, and cannot be made to by what it has said; and one of those that served last was not
    /// emptied since. That one may have lost what was not fsynced: then the epoch says so.
    fn is_dispensable(&self, index: usize) -> bool {
        let own = &self.targets[index];
        let chain = &self.manager.chains()[own.chain];
        let member_of = |target: u64| chain.members.iter().find(|member| member.target == target);
        let out = member_of(own.id.0).is_none_or(|member| {
            let serves_not = matches!(
                member.state(),
                PublicState::PublicOffline | PublicState::PublicWaiting | PublicState::PublicLastsrv
            );
            serves_not && !self.may_speak(member)
        });
        let holds_all = |target: &u64| {
            member_of(*target).is_some_and(|member| {
                let counts =
                    matches!(member.state(), PublicState::PublicServing | PublicState::PublicLastsrv);
                let begun_by = self.targets[target_place(TargetId(*target))].engine.begun_by;
                counts && begun_by <= member.incarnation
            })
        };
        out && chain.last.iter().filter(|target| **target != own.id.0).any(holds_all)
    }
}
