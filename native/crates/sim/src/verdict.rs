//! What a finished world must look like: every acknowledged update there, every read explained, all copies
//! equal.

use crate::checker::{Interval, State, Step, Verdict, check};
use crate::history::{Action, Operation, Raise};
use crate::world::World;
use wire::ChunkId;

impl World {
    /// Everything serves, in the preferred order, nothing pends, nobody waits.
    pub fn is_converged(&self) -> bool {
        let chain = self.manager.chain();
        let serving =
            |member: &wire::message::Member| member.state() == wire::message::PublicState::PublicServing;
        let stays = |member: &wire::message::Member| member.tenure() == wire::message::Tenure::Stays;
        let replicas = self.members().all(|node| {
            node.replica.as_ref().is_some_and(|replica| {
                replica.is_idle()
                    && replica.view().version.0 == chain.version
                    && node.engine.state.staged.is_empty()
            })
        });
        let clients = self.clients.iter().all(|client| client.slots.iter().all(Option::is_none));
        let members = chain.members.iter().all(|member| serving(member) && stays(member));
        let order = chain.members.iter().map(|member| member.target).eq(chain.preferred.iter().copied());
        members && order && !chain.reordering && replicas && clients && self.manager.fences.is_empty()
    }

    /// The nodes of the chain as it is stored.
    fn members(&self) -> impl Iterator<Item = &crate::node::Node> {
        self.manager.chain().members.iter().map(|member| &self.nodes[member.node as usize])
    }

    /// For a person: who is not converged.
    pub fn not_converged(&self) -> String {
        let nodes = self.nodes.iter().enumerate().map(|(index, node)| match &node.replica {
            None => format!("node {index} is down"),
            Some(replica) => format!(
                "node {index} idle {} view {} state {:?} staged {}",
                replica.is_idle(),
                replica.view().version,
                replica.report(),
                node.engine.state.staged.len()
            ),
        });
        let busy = |client: &crate::client::Client| client.slots.iter().flatten().count();
        let clients = self.clients.iter().enumerate();
        let clients = clients.map(|(index, client)| format!("client {index} has {} open", busy(client)));
        let fences = self.manager.fences.iter().map(|fence| format!("{fence:?} does not hold"));
        nodes.chain(clients).chain(fences).collect::<Vec<_>>().join(", ")
    }

    pub fn judge(&mut self) {
        self.judge_copies();
        self.judge_acknowledged();
        self.judge_fsynced();
        self.judge_fences();
        self.judge_histories();
    }

    fn chunks(&self) -> Vec<ChunkId> {
        (0..self.knobs.chunks).map(|index| self.chunk(index)).collect()
    }

    fn judge_copies(&mut self) {
        for chunk in self.chunks() {
            let mut copies = self.members().map(|node| node.engine.newest(chunk));
            let first = copies.next().expect("a world has nodes");
            let other = copies.find(|copy| {
                let both_gone = copy.is_absent() && first.is_absent();
                copy.content.seen() != first.content.seen() || (copy.version != first.version && !both_gone)
            });
            drop(copies);
            if let Some(other) = other {
                let what = format!("copies of {chunk:?} differ: {first:?} and {other:?}");
                return self.violate(what);
            }
        }
    }

    /// Until when removals may have taken a chunk's past away.
    fn forgotten_until(&self, chunk: ChunkId) -> u64 {
        let removals = self.history.operations.iter();
        let removals =
            removals.filter(|operation| operation.chunk == chunk && operation.action == Action::Remove);
        removals.map(|operation| operation.returned.unwrap_or(u64::MAX)).max().unwrap_or(0)
    }

    /// Whether an acknowledged update must be found in the chunk's past. A removal takes the past away, and a
    /// punch is part of it only where there was a chunk: where an update of this epoch that makes one was answered
    /// before.
    fn is_remembered(&self, operation: &Operation, forgotten: u64) -> bool {
        let counts = operation.called >= forgotten;
        let made = |other: &Operation| {
            matches!(other.action, Action::Write { .. } | Action::Truncate { .. })
                && other.chunk == operation.chunk
                && other.epoch == operation.epoch
                && other.called >= forgotten
                && other.returned.is_some_and(|time| time < operation.called)
        };
        match operation.action {
            Action::Write { .. } | Action::Truncate { .. } => counts,
            Action::Punch { .. } => counts && self.history.operations.iter().any(made),
            Action::Remove | Action::Read | Action::List | Action::Flush => false,
        }
    }

    /// Updates that were acknowledged in the last durability epoch are in the copies.
    fn judge_acknowledged(&mut self) {
        let epoch = self.manager.chain().durability_epoch;
        for chunk in self.chunks() {
            let content = self.members().next().expect("a chain has members").engine.newest(chunk).content;
            let forgotten = self.forgotten_until(chunk);
            let lost = self.history.operations.iter().enumerate().find(|(place, operation)| {
                let acknowledged = operation.returned.is_some() && operation.epoch == epoch;
                acknowledged
                    && operation.chunk == chunk
                    && !content.lineage.contains(*place as u32 + 1)
                    && self.is_remembered(operation, forgotten)
            });
            if let Some((place, _)) = lost {
                return self.violate(format!("operation {} was acknowledged and is lost", place + 1));
            }
        }
    }

    /// A raise of the epoch loses only what no fsync covered.
    fn judge_fsynced(&mut self) {
        let raises = self.history.raises.clone();
        let forgotten: Vec<u64> =
            self.chunks().into_iter().map(|chunk| self.forgotten_until(chunk)).collect();
        for raise in &raises {
            let before = |operation: &&Operation| operation.returned.is_some_and(|time| time < raise.time);
            let flushes = self.history.operations.iter().filter(before);
            let last = flushes
                .filter(|operation| operation.action == Action::Flush && operation.epoch + 1 == raise.epoch)
                .map(|operation| operation.called)
                .max();
            let Some(last) = last else { continue };
            let lost = self.history.operations.iter().enumerate().find(|(place, operation)| {
                let covered = operation.returned.is_some_and(|time| time < last);
                let forgotten = forgotten[operation.chunk.index as usize];
                let there = raise.contents.get(&operation.chunk);
                let number = *place as u32 + 1;
                let there = there.is_some_and(|content| content.lineage.contains(number));
                covered
                    && operation.epoch + 1 == raise.epoch
                    && !there
                    && self.is_remembered(operation, forgotten)
            });
            if let Some((place, _)) = lost {
                return self.violate(format!("operation {} was fsynced and is lost", place + 1));
            }
        }
    }

    /// What a fenced client changed was there when its fence held (P4).
    fn judge_fences(&mut self) {
        for chunk in self.chunks() {
            // All copies are equal by now.
            let member = self.members().next().expect("a chain has members");
            let content = member.engine.newest(chunk).content;
            let late = content.lineage.operations().find(|number| {
                let identity = self.history.operations[*number as usize - 1].identity;
                let fence = self.history.fences.get(&identity);
                fence.is_some_and(|fence| {
                    fence.contents.get(&chunk).is_none_or(|then| !then.lineage.contains(*number))
                })
            });
            if let Some(number) = late {
                return self.violate(format!("operation {number} of a fenced client was applied late"));
            }
        }
    }

    fn judge_histories(&mut self) {
        for chunk in self.chunks() {
            let mut start = Raise { time: 0, epoch: 0, contents: Default::default() };
            let mut raises = self.history.raises.clone();
            raises.push(Raise { time: u64::MAX, epoch: u64::MAX, contents: Default::default() });
            for raise in raises {
                let (initial, history) = self.phase(chunk, &start, raise.time);
                match check(initial, &history) {
                    Verdict::Linearizable => {}
                    Verdict::Undecided => self.undecided += 1,
                    Verdict::Impossible { at } => {
                        let chunk = chunk.index;
                        let what = format!("no order explains what returned at {at} µs of chunk {chunk}");
                        return self.violate(what);
                    }
                }
                start = raise;
            }
        }
    }

    /// The content at that time says nothing of whether it took effect: a chunk that was removed has no past, and
    /// what removes it leaves none.
    fn may_be_behind_removal(&self, chunk: ChunkId, operation: &Operation, time: u64) -> bool {
        matches!(operation.action, Action::Remove | Action::Punch { .. })
            || self.history.operations.iter().any(|other| {
                let removes = other.chunk == chunk && other.action == Action::Remove;
                removes && other.called < time && other.returned.is_none_or(|end| end >= operation.called)
            })
    }

    /// The history of one chunk between two raises of the epoch. What overlaps an edge may have happened on
    /// either side.
    fn phase(&self, chunk: ChunkId, start: &Raise, end: u64) -> (State, Vec<Interval>) {
        let initial = start.contents.get(&chunk);
        let mut history = Vec::new();
        for (place, operation) in self.history.operations.iter().enumerate() {
            if operation.chunk != chunk || operation.called >= end {
                continue;
            }
            let number = place as u32 + 1;
            let within = operation.called >= start.time && operation.returned.is_some_and(|time| time < end);
            let step = match operation.action {
                Action::Write { first, count } => Step::Write { first, count, value: number },
                Action::Punch { first, count } => Step::Punch { first, count },
                Action::Truncate { length } => Step::Truncate { length },
                Action::Remove => Step::Remove,
                Action::Read if within => Step::Read(operation.seen),
                Action::List if within => Step::List(operation.length),
                Action::Read | Action::List | Action::Flush => continue,
            };
            let fence = self.history.fences.get(&operation.identity);
            let expires = fence.filter(|_| operation.returned.is_none()).map(|fence| fence.time);
            if expires.is_some_and(|time| time < start.time) {
                continue;
            }
            let called = operation.called.max(start.time);
            let earlier = operation.called < start.time;
            if earlier && initial.is_some_and(|content| content.lineage.contains(number)) {
                continue;
            }
            let answered_here =
                operation.returned.filter(|time| *time < end && operation.epoch >= start.epoch);
            let mut returned = answered_here.filter(|time| *time >= start.time);
            let mut expires = expires.filter(|time| *time < end);
            if earlier && returned.is_some() && self.may_be_behind_removal(chunk, operation, start.time) {
                // It took effect before, for all that the content says, or it does so until its answer.
                expires = returned.take();
            }
            // An update from before may have taken effect then, and again at a removal's other side.
            let length = operation.length.filter(|_| returned.is_some() && !earlier);
            history.push(Interval { step, called, returned, expires, length });
        }
        (initial.map(State::from).unwrap_or_default(), history)
    }
}
