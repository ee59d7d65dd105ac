//! What a finished world must look like: every acknowledged update there, every read explained, all copies
//! equal.

use crate::checker::{Interval, State, Step, Verdict, check};
use crate::content::Content;
use crate::engine::Stored;
use crate::history::{Action, HeldFence, Operation, Raise};
use crate::lineage::Lineage;
use crate::placement::target_place;
use crate::target::Target;
use crate::world::World;
use std::collections::BTreeMap;
use wire::message::{Member, PublicState, Tenure};
use wire::{ChunkId, TargetId};

impl World {
    /// Everything serves, in the preferred order, nothing pends, nobody waits.
    pub fn is_converged(&self) -> bool {
        let clients = self.clients.iter().all(|client| client.slots.iter().all(Option::is_none));
        let chains = (0..self.placement.chains).all(|chain| self.is_chain_converged(chain));
        chains && clients && self.manager.fences.is_empty()
    }

    fn is_chain_converged(&self, place: usize) -> bool {
        let chain = &self.manager.chains()[place];
        let serving = |member: &Member| member.state() == PublicState::PublicServing;
        let stays = |member: &Member| member.tenure() == Tenure::Stays;
        let replicas = self.members(place).all(|target| {
            target.replica.as_ref().is_some_and(|replica| {
                replica.is_idle()
                    && replica.view().version.0 == chain.version
                    && target.engine.state.staged.is_empty()
            })
        });
        // A manager that just started counts those that served before: what ended since is still to be noticed.
        let known = |member: &Member| {
            let node = &self.nodes[self.targets[target_place(TargetId(member.target))].node];
            node.runs && node.incarnation == member.incarnation
        };
        let members = chain.members.iter().all(|member| serving(member) && stays(member) && known(member));
        let order = chain.members.iter().map(|member| member.target).eq(chain.preferred.iter().copied());
        members && order && !chain.reordering && replicas
    }

    /// The targets of the chain as it is stored.
    fn members(&self, chain: usize) -> impl Iterator<Item = &Target> {
        let members = self.manager.chains()[chain].members.iter();
        members.map(|member| &self.targets[target_place(TargetId(member.target))])
    }

    /// Those that should hold this chunk.
    fn copies(&self, chunk: ChunkId) -> impl Iterator<Item = Stored> {
        let members = self.members(self.placement.chain_of_chunk(chunk));
        members.map(move |target| target.engine.newest(chunk))
    }

    /// Of the first one, when all copies are equal.
    fn content(&self, chunk: ChunkId) -> Content {
        self.copies(chunk).next().expect("a chain has members").content
    }

    /// For a person: who is not converged.
    pub fn not_converged(&self) -> String {
        let targets = self.targets.iter().enumerate().map(|(index, target)| match &target.replica {
            None => format!("target {index} is down"),
            Some(replica) => format!(
                "target {index} idle {} view {} state {:?} staged {}",
                replica.is_idle(),
                replica.view().version,
                replica.report(),
                target.engine.state.staged.len()
            ),
        });
        let busy = |client: &crate::client::Client| client.slots.iter().flatten().count();
        let clients = self.clients.iter().enumerate();
        let clients = clients.map(|(index, client)| format!("client {index} has {} open", busy(client)));
        let fences = self.manager.fences.iter().map(|fence| format!("{fence:?} does not hold"));
        targets.chain(clients).chain(fences).collect::<Vec<_>>().join(", ")
    }

    pub fn judge(&mut self) {
        self.judge_copies();
        self.judge_acknowledged();
        self.judge_fsynced();
        self.judge_fences();
        self.judge_histories();
    }

    fn judge_copies(&mut self) {
        for chunk in self.chunks() {
            let mut copies = self.copies(chunk);
            let first = copies.next().expect("a chain has members");
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
    /// punch or a truncation is part of it only where there was a chunk: where a write of this epoch was answered
    /// before.
    fn is_remembered(&self, operation: &Operation, forgotten: u64) -> bool {
        let counts = operation.called >= forgotten;
        let made = |other: &Operation| {
            matches!(other.action, Action::Write { .. })
                && other.chunk == operation.chunk
                && other.epoch == operation.epoch
                && other.called >= forgotten
                && other.returned.is_some_and(|time| time < operation.called)
        };
        match operation.action {
            Action::Write { .. } => counts,
            Action::Punch { .. } | Action::Truncate { .. } => {
                counts && self.history.operations.iter().any(made)
            }
            Action::Remove | Action::Read | Action::List | Action::Flush => false,
        }
    }

    /// Updates that were acknowledged in the last durability epoch are in the copies.
    fn judge_acknowledged(&mut self) {
        for chunk in self.chunks() {
            let chain = self.placement.chain_of_chunk(chunk);
            let epoch = self.manager.chains()[chain].durability_epoch;
            let content = self.content(chunk);
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
        let forgotten: Vec<u64> = self.chunks().map(|chunk| self.forgotten_until(chunk)).collect();
        for raise in &raises {
            let here = |operation: &Operation| self.placement.chain_of_chunk(operation.chunk) == raise.chain;
            let before = |operation: &&Operation| operation.returned.is_some_and(|time| time < raise.time);
            let flushes = self.history.operations.iter().filter(before);
            let last = flushes
                .filter(|operation| operation.action == Action::Flush && operation.epoch + 1 == raise.epoch)
                .filter(|operation| here(operation))
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
                    && here(operation)
                    && operation.epoch + 1 == raise.epoch
                    && !there
                    && self.is_remembered(operation, forgotten)
            });
            if let Some((place, _)) = lost {
                return self.violate(format!("operation {} was fsynced and is lost", place + 1));
            }
        }
    }

    /// What a fenced client changed was there when its fence held (P4). An outage may lose a removal, and show again
    /// what had been committed before.
    fn judge_fences(&mut self) {
        for chunk in self.chunks() {
            let content = self.content(chunk);
            let late = content.lineage.operations().find(|number| {
                let operation = &self.history.operations[*number as usize - 1];
                let Some(fence) = self.history.fences.get(&operation.identity) else { return false };
                let in_it = |then: &BTreeMap<ChunkId, Lineage>| {
                    then.get(&chunk).is_some_and(|lineage| lineage.contains(*number))
                };
                !(in_it(&fence.applied)
                    || in_it(&fence.committed) && self.is_shown_again(chunk, *number, fence))
            });
            if let Some(number) = late {
                return self.violate(format!("operation {number} of a fenced client was applied late"));
            }
        }
    }

    /// Whether what resumed the chunk's chain after the fence held had that update.
    fn is_shown_again(&self, chunk: ChunkId, number: u32, fence: &HeldFence) -> bool {
        let chain = self.placement.chain_of_chunk(chunk);
        let later = |raise: &&Raise| raise.chain == chain && raise.time > fence.time;
        let contents =
            self.history.raises.iter().filter(later).filter_map(|raise| raise.contents.get(&chunk));
        contents.into_iter().any(|content| content.lineage.contains(number))
    }

    fn judge_histories(&mut self) {
        for chunk in self.chunks() {
            let chain = self.placement.chain_of_chunk(chunk);
            let edge = |time| Raise { time, chain, epoch: time, contents: Default::default() };
            let mut start = edge(0);
            let raises = self.history.raises.iter().filter(|raise| raise.chain == chain).cloned();
            let raises: Vec<Raise> = raises.chain([edge(u64::MAX)]).collect();
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
        matches!(operation.action, Action::Remove | Action::Punch { .. } | Action::Truncate { .. })
            || self.history.operations.iter().any(|other| {
                let removes = other.chunk == chunk && other.action == Action::Remove;
                removes && other.called < time && other.returned.is_none_or(|end| end >= operation.called)
            })
    }

    /// Of an update that was given up with an answer to each of its requests, though a head may have given it a
    /// version and then left: whoever heads the chain later holds it before he gives versions to what was called
    /// after that, or it is lost. So when such a later one is answered, it has taken effect or never will (P6, P7).
    fn refused_by(&self, operation: &Operation, start: &Raise, end: u64) -> Option<u64> {
        let refused = operation.refused?;
        let later = self.history.operations.iter().filter(|other| {
            let follows = other.chunk == operation.chunk && other.called > refused;
            // What was answered in an earlier epoch may be lost, and what was before it not.
            follows && other.action.updates() && other.epoch >= start.epoch && other.called >= start.time
        });
        later.filter_map(|other| other.returned).filter(|time| *time < end).min()
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
            // The answer to a read names no epoch: it is called within one.
            let counts = !operation.action.updates() || operation.epoch >= start.epoch;
            let answered_here = operation.returned.filter(|time| *time < end && counts);
            let mut returned = answered_here.filter(|time| *time >= start.time);
            let refused = self.refused_by(operation, start, end);
            let closed = operation.closed.filter(|(_, epoch)| *epoch >= start.epoch).map(|(time, _)| time);
            let mut expires =
                expires.into_iter().chain(closed).filter(|time| *time < end).chain(refused).min();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{CELLS, Content, Seen};
    use crate::engine::Engine;
    use crate::knobs::Knobs;
    use crate::profiles::Profile;
    use crate::random::Random;
    use chain::Update;
    use wire::Tag;
    use wire::message::UpdateKind;

    const CHUNK: ChunkId = ChunkId { inode: 1, index: 0 };
    const WRITE: Action = Action::Write { first: 0, count: CELLS };

    /// Numbers operations from 1 on; a write fills the chunk with its number.
    struct Past(World);

    impl Past {
        fn new() -> Past {
            let mut random = Random::new(1);
            let knobs = Knobs { chunks: 1, ..Knobs::quiet(Profile::General, &mut random) };
            Past(World::with(knobs, random, false))
        }

        fn then(mut self, action: Action, called: u64, returned: u64, epoch: u64) -> Past {
            let number = self.0.history.call(0, CHUNK, action, called);
            let operation = self.0.history.operation(number);
            (operation.returned, operation.epoch) = (Some(returned), epoch);
            self
        }

        /// Given up, with an answer to each request or not.
        fn given_up(mut self, action: Action, called: u64, refused: Option<u64>) -> Past {
            let number = self.0.history.call(0, CHUNK, action, called);
            self.0.history.operation(number).refused = refused;
            self
        }

        /// A read of what this write left; none: nothing was there.
        fn reads(self, write: Option<u32>, called: u64) -> Past {
            let mut past = self.then(Action::Read, called, called + 5, 0);
            let number = past.0.history.operations.len() as u32;
            past.0.history.operation(number).seen =
                write.map_or_else(Seen::default, |write| content(write).seen());
            past
        }

        /// The epoch is raised to 1, by a member that holds what this write left.
        fn raised(mut self, time: u64, write: u32) -> Past {
            let contents = BTreeMap::from([(CHUNK, content(write))]);
            self.0.history.raises.push(Raise { time, chain: 0, epoch: 1, contents });
            self
        }

        /// Whoever called all of it is fenced, while there is nothing; this write had been committed.
        fn fenced(mut self, time: u64, write: Option<u32>) -> Past {
            let committed = write.map(|write| (CHUNK, content(write).lineage)).into_iter().collect();
            let fence = HeldFence { time, applied: BTreeMap::new(), committed };
            self.0.history.fences.insert(0, fence);
            self
        }

        /// The chain has what this write left.
        fn ends_with(mut self, write: u32) -> bool {
            self.0
                .targets
                .iter_mut()
                .for_each(|target| target.engine = Engine::holding(CHUNK, content(write)));
            self.0.judge_fences();
            self.0.violation.is_none()
        }

        fn explained(mut self) -> bool {
            self.0.judge_histories();
            assert_eq!(self.0.undecided, 0);
            self.0.violation.is_none()
        }
    }

    fn content(write: u32) -> Content {
        let (kind, length) = (UpdateKind::UpdateWrite, CELLS as u32);
        let (chunk, tag) = (CHUNK, Tag::default());
        let update = Update { chunk, tag, kind, offset: 0, length, crc: 0, chunk_size: length, flush: false };
        let mut content = Content::default();
        content.apply(&update, write);
        content
    }

    #[test]
    fn a_removal_in_the_air_over_an_outage_took_effect_once_on_either_side() {
        let over = |action| {
            Past::new().then(WRITE, 10, 20, 0).then(action, 30, 200, 1).then(WRITE, 40, 60, 0).raised(100, 3)
        };
        // Before the third operation wrote: the content of then does not say so.
        assert!(over(Action::Remove).reads(Some(3), 300).explained());
        assert!(over(Action::Remove).reads(Some(3), 120).reads(None, 300).explained(), "or after the outage");
        assert!(!over(Action::Remove).reads(None, 120).reads(Some(3), 300).explained(), "and not both");
        // With its answer its time is over.
        assert!(!over(Action::Remove).reads(Some(3), 210).reads(None, 300).explained());
        // The same of what leaves no trace in the past of a chunk that was not there.
        for action in [Action::Punch { first: 0, count: CELLS }, Action::Truncate { length: 0 }] {
            assert!(over(action).reads(Some(3), 300).explained());
        }
    }

    #[test]
    fn what_the_content_tells_of_an_outage_is_believed() {
        let over = |action, called| {
            Past::new()
                .then(WRITE, 10, 20, 0)
                .then(action, called, 200, 1)
                .then(WRITE, 40, 60, 0)
                .raised(100, 3)
        };
        // Not in the content, so it took effect after the outage, and before its answer.
        assert!(!over(WRITE, 30).reads(Some(3), 300).explained());
        assert!(over(WRITE, 30).reads(Some(2), 300).explained());
        // It was not there before the outage.
        assert!(!over(Action::Remove, 110).reads(Some(3), 300).explained());
        // Nor was one that had its answer before.
        let removed = Past::new().then(WRITE, 10, 20, 0).then(Action::Remove, 70, 80, 0).raised(100, 1);
        assert!(removed.reads(Some(1), 300).explained(), "the outage lost it");
        // A write that a removal may have been behind is as good as that.
        let both =
            || Past::new().then(WRITE, 10, 200, 1).then(Action::Remove, 30, 60, 0).then(WRITE, 70, 80, 0);
        assert!(both().raised(100, 3).reads(Some(3), 300).explained());
        let none = Past::new().then(WRITE, 10, 200, 1).then(WRITE, 70, 80, 0);
        assert!(!none.raised(100, 2).reads(Some(2), 300).explained());
    }

    #[test]
    fn what_was_refused_does_not_come_after_what_was_called_later() {
        let past = |refused| Past::new().then(WRITE, 1, 5, 0).given_up(WRITE, 10, refused);
        assert!(past(Some(30)).reads(Some(1), 40).reads(Some(2), 50).explained(), "it had a version already");
        assert!(past(Some(30)).then(WRITE, 60, 70, 0).reads(Some(3), 80).explained());
        // While both are in the air nobody can say which was first, but by what a read saw.
        assert!(past(Some(30)).then(WRITE, 60, 70, 0).reads(Some(2), 80).explained());
        let then_read = |refused| past(refused).then(WRITE, 60, 70, 0).reads(Some(3), 75).reads(Some(2), 90);
        assert!(!then_read(Some(30)).explained());
        assert!(then_read(None).explained(), "a request was lost");
        assert!(then_read(Some(65)).explained(), "the later one was called before that");
        // An outage may lose what was answered, and not what was before it.
        let lost = past(Some(30)).then(WRITE, 60, 70, 0).raised(100, 1);
        assert!(lost.reads(Some(2), 300).explained());
    }

    #[test]
    fn nothing_of_a_fenced_client_comes_late_but_what_an_outage_shows_again() {
        let past =
            |committed| Past::new().then(WRITE, 10, 20, 0).then(WRITE, 30, 40, 0).fenced(100, committed);
        assert!(!past(Some(1)).ends_with(1));
        assert!(past(Some(1)).raised(200, 1).ends_with(1), "the outage lost a removal");
        assert!(!past(Some(1)).raised(200, 2).ends_with(1), "and showed something else");
        assert!(!past(Some(1)).raised(90, 1).ends_with(1));
        assert!(!past(None).raised(200, 1).ends_with(1));
    }

    #[test]
    fn what_is_in_doubt_ends_with_an_answer_that_closes_it() {
        // The second one was given up, the third one of the same client is answered.
        let past = |doubt: bool| {
            let mut past = Past::new().then(WRITE, 1, 5, 0).given_up(WRITE, 10, None);
            if doubt {
                past.0.history.doubt(2);
            }
            let mut past = past.then(WRITE, 60, 70, 0);
            past.0.history.close_doubts(3);
            past
        };
        assert!(past(true).reads(Some(2), 65).reads(Some(3), 80).explained(), "it came before");
        assert!(past(true).reads(Some(3), 65).reads(Some(2), 68).reads(Some(2), 80).explained(), "or then");
        assert!(!past(true).reads(Some(3), 75).reads(Some(2), 90).explained(), "and not behind it");
        assert!(
            past(false).reads(Some(3), 75).reads(Some(2), 90).explained(),
            "without a doubt nothing is closed"
        );
        // An outage may lose what was answered, and with it what says that the lost one is old.
        let over = past(true).raised(100, 1);
        assert!(over.reads(Some(1), 200).reads(Some(2), 300).explained());
    }
}
