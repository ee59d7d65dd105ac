//! What is pending on one chunk: contiguous versions above the committed one, and updates that arrived before
//! their base. Lives only while something is pending; it must never hold a gap (P5).

use super::ReplyTo;
use crate::limits;
use crate::update::{Applied, Channel, Update};
use std::collections::{BTreeMap, VecDeque};
use wire::Version;

/// Who waits for an update: its client, or the member before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub reply: ReplyTo,
    pub from_client: bool,
}

/// Whether the engine was told to store an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It waits for one before it, or for room.
    No,
    /// It may say that there is no room.
    IfRoom,
    Yes,
}

/// The bytes of an update; an update that an earlier process staged has none in memory.
#[derive(Clone, Debug)]
pub struct Body<P> {
    pub update: Update,
    pub payload: P,
}

#[derive(Clone, Debug)]
pub struct Pending<P> {
    pub version: Version,
    pub base: Version,
    pub body: Option<Body<P>>,
    pub channel: Option<Channel>,
    pub asked: Asked,
    /// Set once the engine has stored it.
    pub applied: Option<Applied>,
    pub sent: bool,
    pub acked: bool,
    pub waiters: Vec<Waiter>,
}

#[derive(Clone, Debug)]
pub struct Held<P> {
    pub base: Version,
    pub body: Body<P>,
    pub waiters: Vec<Waiter>,
}

#[derive(Clone, Debug)]
pub struct ChunkQueue<P> {
    pub committed: Version,
    /// The committed state is "no such chunk": then the next update's base is `Version::NONE`, whatever tombstone
    /// a removal left.
    pub absent: bool,
    pub pending: VecDeque<Pending<P>>,
    pub held: BTreeMap<Version, Held<P>>,
}

impl<P> ChunkQueue<P> {
    pub fn new(committed: crate::Committed) -> Self {
        ChunkQueue {
            committed: committed.version,
            absent: committed.is_absent(),
            // Most queues end with their first update: room for the usual four would cost each more than it saves.
            pending: VecDeque::with_capacity(1),
            held: BTreeMap::new(),
        }
    }

    pub fn newest(&self) -> Version {
        self.pending.back().map_or(self.committed, |pending| pending.version)
    }

    /// What the next update follows. A removed chunk and one that never was are the same base.
    pub fn next_base(&self) -> Version {
        match self.pending.back() {
            Some(pending) => pending.version,
            None if self.absent => Version::NONE,
            None => self.committed,
        }
    }

    /// Whether an update with this base is the next one. The sender may still hold the removal pending that
    /// is committed here, and then names its version; or it has committed it, and then names no version.
    pub fn follows(&self, base: Version) -> bool {
        base == self.newest() || base == self.next_base()
    }

    pub fn find(&mut self, version: Version) -> Option<&mut Pending<P>> {
        self.pending.iter_mut().find(|pending| pending.version == version)
    }

    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.held.is_empty()
    }
}

impl<P> Pending<P> {
    /// One more sender waits. A sender beyond the limit takes the place of the oldest, which is returned: it
    /// gave up long ago.
    pub fn wait(&mut self, waiter: Waiter) -> Option<Waiter> {
        let oldest = (self.waiters.len() >= limits::WAITERS_MAX).then(|| self.waiters.remove(0));
        self.waiters.push(waiter);
        oldest
    }
}
