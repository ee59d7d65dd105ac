//! A resync on a full disk (P9): what is gone here and not there is told before anything else is copied, and what is
//! about to go is not copied any more.

use super::sync_source::{FIRST, SyncSource, after};
use super::{Output, Replica, Step};
use crate::limits;
use crate::museum::{Planted, page, planted};
use crate::update::{Chunks, Committed, Listed};
use wire::message::UpdateKind;
use wire::{ChunkId, Version};

/// A successor without room for a copy is told of all chunks that it has and that are gone here, which makes room,
/// before it is sent another copy. Once in a session: what goes later it is told as it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// It has had room so far.
    NotAsked,
    /// Nothing that it has from here on was looked at.
    From(ChunkId),
    /// All of it was, and it is told the last ones.
    Last,
    Told,
}

impl SyncSource {
    /// Whether the successor is being told what is gone.
    pub(super) fn tells_gone(&self) -> bool {
        matches!(self.gone, Gone::From(_) | Gone::Last)
    }

    /// One page of their list, while it is told what is gone.
    pub(super) fn look_for_gone(&mut self, chunks: &dyn Chunks, theirs: &[Listed], more: bool) {
        let rows = theirs.iter().filter(|listed| !listed.committed.is_absent()).map(|listed| listed.chunk);
        let gone = rows.filter(|chunk| {
            let known = self.is_copied(*chunk) || self.copying.contains_key(chunk);
            !known && chunks.committed(*chunk).is_absent()
        });
        // Beside those whose copy failed meanwhile.
        let gone: Vec<ChunkId> = gone.collect();
        self.going.extend(gone);
        let last = theirs.last().filter(|_| more);
        self.gone = last.and_then(|listed| after(listed.chunk)).map_or(Gone::Last, Gone::From);
    }
}

impl<P: Clone> Replica<P> {
    /// The successor had no room.
    pub(super) fn tell_what_is_gone(&mut self) {
        if let Some(source) = self.source.as_mut().filter(|source| source.gone == Gone::NotAsked) {
            source.gone = Gone::From(FIRST);
        }
    }

    /// What the successor is to have of a chunk that it was not sent yet. The last removal that is stored here leaves
    /// nothing of what was before it: the successor is told that there is no chunk, as of that removal, which needs
    /// no room there, and has everything up to it then. If this removal never takes effect (this member dies, and
    /// nobody else had stored it), the next resync finds another version there, and copies the chunk.
    pub(super) fn to_copy(&self, step: &Step<P>, chunk: ChunkId) -> Committed {
        let committed = step.chunks.committed(chunk);
        let pending = self.queues.get(&chunk).into_iter().flat_map(|queue| &queue.pending);
        let stored = pending.take_while(|pending| pending.applied.is_some());
        let removes = |kind: UpdateKind| kind == UpdateKind::UpdateRemove;
        let removals =
            stored.filter(|pending| pending.body.as_ref().is_some_and(|body| removes(body.update.kind)));
        let last = removals.last().map(|pending| pending.version);
        last.map_or(committed, |version| Committed { version, length: 0, removed: true, ..committed })
    }

    /// The successor has the chunk in this version. What is committed comes before all that pends, a removal may not.
    pub(super) fn acknowledge_copy(&mut self, chunk: ChunkId, version: Version) {
        let Some(queue) = self.queues.get_mut(&chunk) else { return };
        let later = planted(Planted::RemovalAnswersLater) && version > queue.committed;
        for pending in queue.pending.iter_mut().filter(|pending| later || pending.version <= version) {
            pending.acked = true;
        }
    }

    /// What waits for a copy waits until all that is gone has been told.
    pub(super) fn drive_gone(&mut self, step: &mut Step<P>) {
        if !self.copy_all(step, |source| &mut source.going) {
            return;
        }
        let source = self.source.as_mut().expect("driven with a session");
        match source.gone {
            Gone::From(from) => {
                source.asked = true;
                let (to, chain_version) = (source.to, source.chain_version);
                let limit = page(limits::SYNC_PAGE);
                step.out.push(Output::ListSuccessor { to, chain_version, from, limit });
            }
            _ => {
                source.gone = Gone::Told;
                self.advance_all(step);
                self.drive_source(step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sync_source::LAST;
    use super::super::test_target::{CHUNK, HEAD, TAIL, Target, present, update, version};
    use super::*;
    use crate::update::{ChunkRange, Committed, range_digest};
    use crate::{Applied, Input, ReplyTo, Update};
    use wire::message::{PublicState, UpdateKind};
    use wire::{Code, Error, Result, Version};

    fn listed(index: u64, number: u64) -> Listed {
        let committed =
            Committed { version: Version { chain: 1, number }, length: 1, removed: false, chunk_size: 1 };
        Listed { chunk: ChunkId { inode: 1, index }, committed }
    }

    fn tombstone(index: u64, number: u64) -> Listed {
        let listed = listed(index, number);
        Listed { committed: Committed { removed: true, ..listed.committed }, ..listed }
    }

    /// The number that was sent of the chunk of the tests, and whether as a removal; else the versions forwarded.
    fn sent(out: &[Output<()>]) -> Vec<(&'static str, u64)> {
        let message = |output: &Output<()>| match output {
            Output::SendReplace { committed, .. } if committed.removed => {
                Some(("gone", committed.version.number))
            }
            Output::SendReplace { committed, .. } => Some(("copy", committed.version.number)),
            Output::Forward { version, .. } => Some(("update", version.number)),
            Output::Commit { version, .. } => Some(("commit", version.number)),
            _ => None,
        };
        out.iter().filter_map(message).collect()
    }

    #[test]
    fn a_removal_of_a_chunk_that_was_not_sent_takes_the_place_of_its_copy() {
        use UpdateKind::{UpdateRemove, UpdateWrite};
        let mut head = Target::new(HEAD, present(version(1, 5)));
        head.view(1, PublicState::PublicSyncing);
        let chain_version = 1;
        head.feed(Input::SyncStarted { chain_version, result: Ok(()) });
        head.assign(1, 1, UpdateWrite);
        assert_eq!(sent(&head.stored(version(1, 6))), [("copy", 5)]);
        head.assign(1, 2, UpdateRemove);
        head.assign(1, 3, UpdateWrite);
        assert_eq!(sent(&head.stored(version(1, 7))), [], "the copy is under way");
        let answer = |head: &mut Target, result: Result<()>| {
            head.feed(Input::ReplaceAnswer { chain_version, chunk: CHUNK, result })
        };
        answer(&mut head, Err(Error::new(Code::NoSpace, "4 KiB")));
        assert_eq!(sent(&head.feed(Input::Tick)), [("gone", 7)], "also while it is told what else is gone");
        let out = sent(&answer(&mut head, Ok(())));
        assert_eq!(out, [("commit", 6), ("commit", 7)], "the next write is not stored here yet");
        head.held.0.borrow_mut().insert(CHUNK, Committed { removed: true, ..present(version(1, 7)) });
        assert_eq!(sent(&head.stored(version(1, 8))), [("update", 8)]);
    }

    /// An update of a chunk that it was sent finds no room there.
    #[test]
    fn a_member_without_room_for_an_update_is_told_what_is_gone() {
        let mut head = Target::new(HEAD, Committed::default());
        head.view(1, PublicState::PublicSyncing);
        let chain_version = 1;
        head.feed(Input::SyncStarted { chain_version, result: Ok(()) });
        let result = Ok(vec![ChunkRange { last: CHUNK, chunks: 0, digest: range_digest(&[]) }]);
        head.feed(Input::DigestAnswer { chain_version, from: FIRST, result });
        head.assign(1, 1, UpdateKind::UpdateWrite);
        assert_eq!(sent(&head.stored(version(1, 1))), [("update", 1)]);
        let result = Err(Error::new(Code::NoSpace, "4 KiB"));
        head.feed(Input::ForwardAnswer {
            from: TAIL,
            chain_version,
            chunk: CHUNK,
            version: version(1, 1),
            result,
        });
        let from = after(CHUNK).unwrap();
        head.feed(Input::DigestAnswer {
            chain_version,
            from,
            result: Err(Error::new(Code::TimedOut, "lost")),
        });
        let out = head.feed(Input::Tick);
        assert_eq!(sent(&out), [("update", 1)]);
        assert!(
            out.iter().any(|output| matches!(output, Output::ListSuccessor { from: FIRST, .. })),
            "{out:?}"
        );
    }

    /// Chunks 1 and 2 differ, 3 is gone, 4 is new.
    #[test]
    fn a_member_without_room_is_told_first_what_is_gone() {
        let mut head = Target::new(HEAD, Committed::default());
        for row in [listed(1, 5), listed(2, 5), tombstone(3, 5), listed(4, 5)] {
            head.held.0.borrow_mut().insert(row.chunk, row.committed);
        }
        let theirs: Vec<Listed> = [1, 2, 3].map(|index| listed(index, 4)).into();
        head.view(1, PublicState::PublicSyncing);
        let copied = |out: Vec<Output<()>>| -> Vec<u64> {
            let chunk = |output: &Output<()>| match output {
                Output::SendReplace { chunk, .. } => Some(chunk.index),
                _ => None,
            };
            out.iter().filter_map(chunk).collect()
        };
        let chain_version = 1;
        let answer = |head: &mut Target, index: u64, result: Result<()>| {
            let chunk = ChunkId { inode: 1, index };
            copied(head.feed(Input::ReplaceAnswer { chain_version, chunk, result }))
        };
        let full = || Err(Error::new(Code::NoSpace, "4 KiB"));
        let updated = |head: &mut Target, index: u64| {
            let chunk = ChunkId { inode: 1, index };
            let update = Update { chunk, chunk_size: 1, ..update(1, UpdateKind::UpdateWrite, 1) };
            let out = head.feed(Input::Update { reply: ReplyTo(1), chain_version, update, payload: () });
            let [Output::Store { version, .. }] = out[..] else { panic!("{out:?}") };
            copied(head.feed(Input::Stored { chunk, version, result: Ok(Applied::default()) }))
        };
        let list_from = |head: &mut Target, from: ChunkId| {
            let result = Ok((theirs.iter().filter(|row| row.chunk >= from).copied().collect(), false));
            copied(head.feed(Input::ListAnswer { chain_version, from, result }))
        };
        let asks_from = |out: Vec<Output<()>>, from: ChunkId| {
            assert!(
                matches!(out[..], [Output::ListSuccessor { from: asked, .. }] if asked == from),
                "{out:?}"
            );
        };
        head.feed(Input::SyncStarted { chain_version, result: Ok(()) });
        let range = |last, rows: &[Listed]| {
            let (chunks, digest) = (rows.len() as u32, range_digest(rows));
            ChunkRange { last, chunks, digest }
        };
        let result = Ok(vec![range(theirs[1].chunk, &theirs[..2]), range(LAST, &theirs[2..])]);
        head.feed(Input::DigestAnswer { chain_version, from: FIRST, result });
        assert_eq!(list_from(&mut head, FIRST), [1, 2]);
        assert_eq!(answer(&mut head, 1, full()), []);
        assert_eq!(answer(&mut head, 2, full()), []);
        asks_from(head.feed(Input::Tick), FIRST);
        // An update of a chunk that was not compared yet waits with all of them.
        assert_eq!(updated(&mut head, 4), []);
        assert_eq!(copied(head.feed(Input::Tick)), []);
        assert_eq!(list_from(&mut head, FIRST), [3]);
        assert_eq!(answer(&mut head, 3, full()), [], "whatever it means by that");
        assert_eq!(copied(head.feed(Input::Tick)), [3]);
        assert_eq!(answer(&mut head, 3, Ok(())), [4, 2, 1], "first the one that is waited for");
        assert_eq!(answer(&mut head, 4, full()), []);
        assert_eq!(copied(head.feed(Input::Tick)), [4], "it is told only once");
        assert_eq!(answer(&mut head, 4, Ok(())), []);
        assert_eq!(answer(&mut head, 1, Ok(())), []);
        let from = after(theirs[1].chunk).unwrap();
        let result = Ok(());
        let chunk = ChunkId { inode: 1, index: 2 };
        asks_from(head.feed(Input::ReplaceAnswer { chain_version, chunk, result }), from);
        let result = Ok((vec![tombstone(3, 5)], false));
        let out = head.feed(Input::ListAnswer { chain_version, from, result });
        assert!(matches!(out[..], [Output::FinishSync { .. }]), "{out:?}");
    }
}
