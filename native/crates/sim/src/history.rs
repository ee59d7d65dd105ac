//! What the clients did and saw, and the moments at which bytes that were not fsynced may have been lost
//! (P10).

use crate::content::{Content, Seen};
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
    pub seen: Seen,
    /// Of the chunk, as the answer to an update or a list says; none in a list: it is not there.
    pub length: Option<u32>,
    /// Durability epoch of the answer.
    pub epoch: u64,
}

/// A raise of the durability epoch: what the member that resumed held then.
#[derive(Clone, Debug)]
pub struct Raise {
    pub time: u64,
    pub epoch: u64,
    pub contents: BTreeMap<ChunkId, Content>,
}

/// A fence that held: from then on nothing of that identity may take effect (P4).
#[derive(Clone, Debug)]
pub struct HeldFence {
    pub time: u64,
    /// What the head had committed then.
    pub contents: BTreeMap<ChunkId, Content>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub raises: Vec<Raise>,
    /// By identity.
    pub fences: BTreeMap<u32, HeldFence>,
}

impl History {
    pub fn call(&mut self, identity: u32, chunk: ChunkId, action: Action, now: u64) -> u32 {
        self.operations.push(Operation {
            identity,
            chunk,
            action,
            called: now,
            returned: None,
            refused: None,
            seen: Seen::default(),
            length: None,
            epoch: 0,
        });
        self.operations.len() as u32
    }

    pub fn operation(&mut self, number: u32) -> &mut Operation {
        &mut self.operations[number as usize - 1]
    }
}
