//! What the clients did and saw, and the moments at which bytes that were not fsynced may have been lost
//! (P10).

use crate::engine::{Cells, Content};
use std::collections::BTreeMap;
use wire::ChunkId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Write { first: usize, count: usize },
    Remove,
    Read,
    Flush,
}

/// One operation of a client. Its number is its place in the list + 1, and the value that a write writes.
#[derive(Clone, Debug)]
pub struct Operation {
    pub chunk: ChunkId,
    pub action: Action,
    pub called: u64,
    pub returned: Option<u64>,
    pub seen: Cells,
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

#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    pub raises: Vec<Raise>,
}

impl History {
    pub fn call(&mut self, chunk: ChunkId, action: Action, now: u64) -> u32 {
        self.operations.push(Operation {
            chunk,
            action,
            called: now,
            returned: None,
            seen: Cells::default(),
            epoch: 0,
        });
        self.operations.len() as u32
    }

    pub fn operation(&mut self, number: u32) -> &mut Operation {
        &mut self.operations[number as usize - 1]
    }
}
