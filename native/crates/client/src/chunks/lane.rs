//! The updates of one chain: which may be in the air together, and under which channel and sequence (P7).
//!
//! Order: updates of one chunk whose bytes overlap run one after the other in the order of submission; a
//! truncation or removal overlaps with everything in its chunk. Others run in parallel. So two writes
//! submitted one after the other by one caller apply in that order, also while the first is being retried.
//!
//! A channel whose update failed with its outcome unknown is *doubtful*: the lost request may still arrive.
//! It goes first to the next update of the same chunk, else of any: the server refuses what is older than an
//! applied sequence. Pure bookkeeping: no clock, no I/O, no lock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use wire::limits::CHANNELS_MAX;
use wire::{ChunkId, ClientId, Tag};

/// What the lane must know of an update.
pub(crate) trait Ordered {
    fn chunk(&self) -> ChunkId;
    /// Bytes of the chunk that it changes.
    fn bytes(&self) -> Range<u64>;
}

/// Everything in a chunk.
pub(crate) const WHOLE: Range<u64> = 0..u64::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its sequence is the channel's last one now: nothing older can arrive.
    Applied,
    /// Never sent, or each of its requests was answered, so that none can arrive any more. A head may have given it a
    /// version all the same, and then left its chain (`WrongChainVersion`, `NotServing`, `TargetOffline`) or waited
    /// for too long (`Busy`): then it comes before whatever gets a version later, or never, whatever its channel.
    Refused,
    /// Sent, and given up without an answer.
    Doubtful,
}

/// Names a started update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(u32);

struct Running {
    chunk: ChunkId,
    bytes: Range<u64>,
    /// Chunks that a lost request of this channel may still change.
    doubts: Vec<ChunkId>,
}

pub(crate) struct Lane<T> {
    client: ClientId,
    /// Next sequence of each channel.
    sequences: [u64; CHANNELS_MAX as usize],
    free: Vec<u32>,
    doubtful: VecDeque<(u32, Vec<ChunkId>)>,
    running: BTreeMap<u32, Running>,
    /// Per chunk, in the order of submission: what waits for an overlapping update.
    blocked: HashMap<ChunkId, VecDeque<T>>,
    /// Overlaps with nothing that runs or came before; waits for a channel.
    ready: VecDeque<T>,
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl<T: Ordered> Lane<T> {
    pub fn new(client: ClientId) -> Self {
        Lane {
            client,
            sequences: [1; CHANNELS_MAX as usize],
            free: (0..CHANNELS_MAX).rev().collect(),
            doubtful: VecDeque::new(),
            running: BTreeMap::new(),
            blocked: HashMap::new(),
            ready: VecDeque::new(),
        }
    }

    pub fn submit(&mut self, update: T) {
        let chunk = update.chunk();
        let earlier = self.blocked.get(&chunk).is_some_and(|queue| !queue.is_empty());
        if earlier || self.is_taken(chunk, &update.bytes()) {
            self.blocked.entry(chunk).or_default().push_back(update);
        } else {
            self.ready.push_back(update);
        }
    }

    /// The next update that may be sent now, with the tag that all its tries carry.
    pub fn start(&mut self) -> Option<(T, Ticket, Tag)> {
        let chunk = self.ready.front()?.chunk();
        let (channel, doubts) = self.take_channel(chunk)?;
        let update = self.ready.pop_front().expect("looked at above");
        let sequence = self.sequences[channel as usize];
        self.sequences[channel as usize] += 1;
        self.running.insert(channel, Running { chunk, bytes: update.bytes(), doubts });
        Some((update, Ticket(channel), Tag { client: self.client, channel, sequence }))
    }

    pub fn finish(&mut self, ticket: Ticket, outcome: Outcome) {
        let mut running = self.running.remove(&ticket.0).expect("a ticket is used once");
        match outcome {
            Outcome::Applied => running.doubts.clear(),
            Outcome::Refused => {}
            Outcome::Doubtful => running.doubts.push(running.chunk),
        }
        if running.doubts.is_empty() {
            self.free.push(ticket.0);
        } else {
            self.doubtful.push_back((ticket.0, running.doubts));
        }
        self.unblock(running.chunk);
    }

    /// Updates that are in the air or wait.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.ready.is_empty() && self.blocked.is_empty()
    }

    fn take_channel(&mut self, chunk: ChunkId) -> Option<(u32, Vec<ChunkId>)> {
        let same = self.doubtful.iter().position(|(_, chunks)| chunks.contains(&chunk));
        let doubtful = match same {
            Some(place) => self.doubtful.remove(place),
            None => self.doubtful.pop_front(),
        };
        doubtful.or_else(|| self.free.pop().map(|channel| (channel, Vec::new())))
    }

    fn is_taken(&self, chunk: ChunkId, bytes: &Range<u64>) -> bool {
        let running = self.running.values().map(|running| (running.chunk, running.bytes.clone()));
        let ready = self.ready.iter().map(|update| (update.chunk(), update.bytes()));
        running.chain(ready).any(|(other, taken)| other == chunk && overlap(&taken, bytes))
    }

    /// Moves what overlaps with nothing any more from blocked to ready.
    fn unblock(&mut self, chunk: ChunkId) {
        let Some(queue) = self.blocked.remove(&chunk) else { return };
        let mut still = VecDeque::new();
        for update in queue {
            let bytes = update.bytes();
            let behind = still.iter().any(|earlier: &T| overlap(&earlier.bytes(), &bytes));
            if behind || self.is_taken(chunk, &bytes) {
                still.push_back(update);
            } else {
                self.ready.push_back(update);
            }
        }
        if !still.is_empty() {
            self.blocked.insert(chunk, still);
        }
    }
}

#[cfg(test)]
mod tests;
