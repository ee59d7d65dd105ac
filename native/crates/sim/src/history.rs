//! What the clients did and saw, and the moments at which bytes that were not fsynced may have been lost
//! (P10).

use crate::content::{Content, Seen};
use crate::lineage::Lineage;
use std::collections::BTreeMap;
use wire::ChunkId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Write {
        first: usize,
        count: usize,
    },
    /// These cells become zero; a chunk that does not exist stays so.
    Punch {
        first: usize,
        count: usize,
    },
    /// The chunk has so many cells then: it is cut, or extended with zeros.
    Truncate {
        length: usize,
    },
    Remove,
    Read,
    /// Is the chunk in a list, and how long?
    List,
    Flush,
}

impl Action {
    pub fn updates(self) -> bool {
        !matches!(self, Action::Read | Action::List | Action::Flush)
    }

    /// Of two updates of one chunk. What cuts, extends or removes it overlaps with everything.
    fn overlaps(self, other: Action) -> bool {
        let cells = |action| match action {
            Action::Write { first, count } | Action::Punch { first, count } => Some(first..first + count),
            _ => None,
        };
        let both = self.updates() && other.updates();
        both && match (cells(self), cells(other)) {
            (Some(one), Some(other)) => one.start < other.end && other.start < one.end,
            _ => true,
        }
    }
}

/// One operation of a client. Its number is its place in the list + 1, and the value that a write writes.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The client's at the time of the call.
    pub identity: u32,
    pub chunk: ChunkId,
    pub action: Action,
    pub called: u64,
    pub returned: Option<u64>,
    /// When the client gave it up, with an answer to each of its requests: none of them can arrive any more.
    pub refused: Option<u64>,
    /// Of an update that was given up while one of its requests might still arrive: when one of the same client that
    /// overlaps with it was answered, and in which epoch. From then on it takes effect no more (P7), unless the later
    /// one was lost.
    pub closed: Option<(u64, u64)>,
    pub seen: Seen,
    /// Of the chunk, as the answer to an update or a list says; none in a list: it is not there.
    pub length: Option<u32>,
    /// Durability epoch of the answer.
    pub epoch: u64,
}

/// A raise of the durability epoch of a chain: what the member that resumed held then.
#[derive(Clone, Debug)]
pub struct Raise {
    pub time: u64,
    pub chain: usize,
    pub epoch: u64,
    pub contents: BTreeMap<ChunkId, Content>,
}

/// A fence that held: from then on nothing of that identity may take effect (P4).
#[derive(Clone, Debug)]
pub struct HeldFence {
    pub time: u64,
    /// What was committed then, at any target: a head that has said so may have lost its power since, while another
    /// chain was waited for.
    pub applied: BTreeMap<ChunkId, Lineage>,
    /// What had been committed by then, ever: an outage may lose what removed it, and show it again.
    pub committed: BTreeMap<ChunkId, Lineage>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub raises: Vec<Raise>,
    /// Every update that was ever committed by any target, but for removals.
    pub committed: BTreeMap<ChunkId, Lineage>,
    /// By identity.
    pub fences: BTreeMap<u32, HeldFence>,
    /// Updates that were given up without an answer, and are not closed.
    doubts: Vec<u32>,
}

impl History {
    pub fn committed(&mut self, chunk: ChunkId, lineage: &Lineage) {
        let known = self.committed.entry(chunk).or_default();
        *known = known.union(lineage);
    }

    pub fn call(&mut self, identity: u32, chunk: ChunkId, action: Action, now: u64) -> u32 {
        self.operations.push(Operation {
            identity,
            chunk,
            action,
            called: now,
            returned: None,
            refused: None,
            closed: None,
            seen: Seen::default(),
            length: None,
            epoch: 0,
        });
        self.operations.len() as u32
    }

    pub fn operation(&mut self, number: u32) -> &mut Operation {
        &mut self.operations[number as usize - 1]
    }

    /// This update was given up while one of its requests may still arrive.
    pub fn doubt(&mut self, number: u32) {
        self.doubts.push(number);
    }

    /// That this update was answered says that none of its client's before it that overlap with it can arrive any more.
    pub fn close_doubts(&mut self, number: u32) {
        let History { operations, doubts, .. } = self;
        let Operation { identity, chunk, action, returned, epoch, .. } = operations[number as usize - 1];
        let Some(returned) = returned else { return };
        doubts.retain(|doubt| {
            let earlier = &mut operations[*doubt as usize - 1];
            let same = earlier.identity == identity && earlier.chunk == chunk;
            let closes = same && *doubt < number && earlier.action.overlaps(action);
            if closes {
                earlier.closed = Some((returned, epoch));
            }
            !closes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: ChunkId = ChunkId { inode: 1, index: 0 };

    /// What became of the doubt of `first`, in the same client and chunk, after this was answered.
    fn closed(first: Action, answered: Action) -> Option<(u64, u64)> {
        closed_by(first, 0, CHUNK, answered)
    }

    fn closed_by(first: Action, identity: u32, chunk: ChunkId, answered: Action) -> Option<(u64, u64)> {
        let mut history = History::default();
        let lost = history.call(0, CHUNK, first, 10);
        history.doubt(lost);
        let later = history.call(identity, chunk, answered, 20);
        history.close_doubts(later);
        assert_eq!(history.operation(lost).closed, None, "it is not answered yet");
        let operation = history.operation(later);
        (operation.returned, operation.epoch) = (Some(30), 2);
        history.close_doubts(later);
        history.operation(lost).closed
    }

    #[test]
    fn an_answer_closes_the_doubts_that_it_overlaps_with() {
        let cells = |first, count| Action::Write { first, count };
        let punch = |first, count| Action::Punch { first, count };
        assert_eq!(closed(cells(1, 2), cells(2, 1)), Some((30, 2)));
        assert_eq!(closed(cells(1, 2), punch(0, 2)), Some((30, 2)));
        assert_eq!(closed(punch(1, 2), cells(3, 1)), None, "these are other cells");
        assert_eq!(closed(cells(1, 2), cells(0, 1)), None);
        for whole in [Action::Remove, Action::Truncate { length: 5 }] {
            assert_eq!(closed(cells(1, 2), whole), Some((30, 2)));
            assert_eq!(closed(whole, punch(1, 1)), Some((30, 2)));
        }
        for reader in [Action::Read, Action::List, Action::Flush] {
            assert_eq!(closed(Action::Remove, reader), None, "it has no channel");
        }
    }

    #[test]
    fn no_answer_of_others_closes_a_doubt() {
        let write = Action::Write { first: 0, count: 1 };
        assert_eq!(closed_by(write, 0, CHUNK, write), Some((30, 2)));
        assert_eq!(closed_by(write, 1, CHUNK, write), None, "another client has other channels");
        let other = ChunkId { index: 1, ..CHUNK };
        assert_eq!(closed_by(write, 0, other, write), None);
    }

    #[test]
    fn only_what_is_in_doubt_is_closed_and_once() {
        let mut history = History::default();
        let write = Action::Write { first: 0, count: 1 };
        let numbers = [10, 20, 30].map(|time| history.call(0, CHUNK, write, time));
        history.doubt(numbers[1]);
        for (number, time) in [(numbers[0], 40), (numbers[2], 50)] {
            history.operation(number).returned = Some(time);
            history.close_doubts(number);
        }
        let closed = numbers.map(|number| history.operation(number).closed);
        assert_eq!(closed, [None, Some((50, 0)), None], "the first one was called before it");
        history.operation(numbers[2]).returned = Some(60);
        history.close_doubts(numbers[2]);
        assert_eq!(history.operation(numbers[1]).closed, Some((50, 0)));
    }
}
