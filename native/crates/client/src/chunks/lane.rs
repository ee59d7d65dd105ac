//! The updates of one chain: which may be in the air together, and under which channel and sequence (P7).
//!
//! Order: updates of one chunk whose bytes overlap run one after the other in the order of submission; a
//! truncation or removal overlaps with everything in its chunk. Others run in parallel. So two writes
//! submitted one after the other by one caller apply in that order, also while the first is being retried.
//!
//! An update that was given up without an answer leaves a *doubt* on its channel: the lost request may still
//! arrive, and the head takes it until a later one of that channel was applied. So an update that overlaps
//! with a doubt rides on its channel. If it overlaps with doubts of several, it takes all of them, rides on
//! one, and the others are closed before it is sent, by updates that change nothing. What overlaps with no
//! doubt takes a doubtful channel all the same, to close it. Pure bookkeeping: no clock, no I/O, no lock.

mod doubts;

use doubts::Doubts;
use std::collections::{BTreeMap, VecDeque};
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

/// The chunk of no file: its removal changes nothing, is never refused for want of room, and uses up a sequence.
pub(crate) const NO_FILE: ChunkId = ChunkId { inode: 0, index: 0 };

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

/// An update that may be sent now.
pub(crate) struct Started<T> {
    pub update: T,
    pub ticket: Ticket,
    /// To be applied before it is sent, each by a removal of `NO_FILE`. If one of them is not, the update is not sent:
    /// `Refused`.
    pub close: Vec<Tag>,
    /// All tries of the update itself carry this one.
    pub tag: Tag,
}

struct Channel {
    next_sequence: u64,
    doubts: Doubts,
}

struct Running {
    chunk: ChunkId,
    bytes: Range<u64>,
    /// Channels that are closed for it.
    closing: Vec<u32>,
}

/// With its place in the order of submission.
struct Waiting<T> {
    number: u64,
    update: T,
}

pub(crate) struct Lane<T> {
    client: ClientId,
    channels: Vec<Channel>,
    /// Nothing in the air and no doubts. The one given back last is taken first: few channels stay few entries on the
    /// servers.
    free: Vec<u32>,
    /// Nothing in the air, but doubts.
    doubtful: VecDeque<u32>,
    /// By the channel that each rides on.
    running: BTreeMap<u32, Running>,
    /// Per chunk, in the order of submission: what waits for an overlapping update, or for a channel whose doubts it
    /// overlaps with.
    blocked: BTreeMap<ChunkId, VecDeque<Waiting<T>>>,
    /// In the order of submission. Overlaps with nothing that runs or came before; waits for a channel.
    ready: VecDeque<Waiting<T>>,
    submitted: u64,
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

fn insert<T>(queue: &mut VecDeque<Waiting<T>>, waiting: Waiting<T>) {
    let place = queue.partition_point(|other| other.number < waiting.number);
    queue.insert(place, waiting);
}

impl<T: Ordered> Lane<T> {
    pub fn new(client: ClientId) -> Self {
        Lane {
            client,
            channels: (0..CHANNELS_MAX)
                .map(|_| Channel { next_sequence: 1, doubts: Doubts::default() })
                .collect(),
            free: (0..CHANNELS_MAX).rev().collect(),
            doubtful: VecDeque::new(),
            running: BTreeMap::new(),
            blocked: BTreeMap::new(),
            ready: VecDeque::new(),
            submitted: 0,
        }
    }

    pub fn submit(&mut self, update: T) {
        let chunk = update.chunk();
        let waits = self.blocked.contains_key(&chunk) || self.is_taken(chunk, &update.bytes());
        let waiting = Waiting { number: self.submitted, update };
        self.submitted += 1;
        let queue = if waits { self.blocked.entry(chunk).or_default() } else { &mut self.ready };
        queue.push_back(waiting);
    }

    /// The next update that may be sent now.
    pub fn start(&mut self) -> Option<Started<T>> {
        loop {
            let update = &self.ready.front()?.update;
            let (chunk, bytes) = (update.chunk(), update.bytes());
            if self.is_running(chunk, &bytes) {
                // An update before it has taken the channel of its doubts.
                let waiting = self.ready.pop_front().expect("looked at above");
                insert(self.blocked.entry(chunk).or_default(), waiting);
                continue;
            }
            let (channel, closing) = self.take_channels(chunk, &bytes)?;
            let Waiting { update, .. } = self.ready.pop_front().expect("looked at above");
            let close = closing.iter().map(|&channel| self.next_tag(channel)).collect();
            let tag = self.next_tag(channel);
            self.running.insert(channel, Running { chunk, bytes, closing });
            return Some(Started { update, ticket: Ticket(channel), close, tag });
        }
    }

    /// `closed`: how many of the channels that were to be closed for it are, from the first on.
    pub fn finish(&mut self, ticket: Ticket, closed: usize, outcome: Outcome) {
        let Running { chunk, bytes, closing } =
            self.running.remove(&ticket.0).expect("a ticket is used once");
        assert!(
            closed == closing.len() || closed < closing.len() && outcome == Outcome::Refused,
            "nothing is sent before all are closed"
        );
        let had_doubts = !self.channels[ticket.0 as usize].doubts.is_empty();
        for &channel in &closing[..closed] {
            self.channels[channel as usize].doubts.clear();
        }
        match outcome {
            Outcome::Applied => self.channels[ticket.0 as usize].doubts.clear(),
            Outcome::Refused => {}
            Outcome::Doubtful => self.channels[ticket.0 as usize].doubts.add(chunk, bytes),
        }
        for channel in closing.into_iter().chain([ticket.0]) {
            if self.channels[channel as usize].doubts.is_empty() {
                self.free.push(channel);
            } else {
                self.doubtful.push_back(channel);
            }
        }
        if had_doubts {
            // Updates of any chunk may have waited for this channel.
            let chunks: Vec<ChunkId> = self.blocked.keys().copied().collect();
            chunks.into_iter().for_each(|chunk| self.unblock(chunk));
        } else {
            self.unblock(chunk);
        }
    }

    /// Nothing is in the air or waits.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.ready.is_empty() && self.blocked.is_empty()
    }

    fn next_tag(&mut self, channel: u32) -> Tag {
        let next = &mut self.channels[channel as usize].next_sequence;
        let sequence = *next;
        *next += 1;
        Tag { client: self.client, channel, sequence }
    }

    fn is_doubtful(&self, channel: u32, chunk: ChunkId, bytes: &Range<u64>) -> bool {
        self.channels[channel as usize].doubts.overlap(chunk, bytes)
    }

    /// The channel that such an update rides on, and those that must be closed for it.
    fn take_channels(&mut self, chunk: ChunkId, bytes: &Range<u64>) -> Option<(u32, Vec<u32>)> {
        let mut overlapping: Vec<u32> = self
            .doubtful
            .iter()
            .copied()
            .filter(|&channel| self.is_doubtful(channel, chunk, bytes))
            .collect();
        if let Some(own) = overlapping.pop() {
            self.doubtful.retain(|channel| *channel != own && !overlapping.contains(channel));
            return Some((own, overlapping));
        }
        let unwanted = self.doubtful.iter().position(|&channel| !self.is_wanted(channel));
        let channel = match unwanted {
            Some(place) => self.doubtful.remove(place),
            None => self.free.pop(),
        };
        // With nothing in the air nobody else would bring this one further.
        let alone = self.running.is_empty();
        let channel = channel.or_else(|| if alone { self.doubtful.pop_front() } else { None });
        channel.map(|channel| (channel, Vec::new()))
    }

    /// Whether a blocked update needs this very channel: it needs all of its channels at once, and would wait for ever
    /// if others took them in turns.
    fn is_wanted(&self, channel: u32) -> bool {
        let doubts = &self.channels[channel as usize].doubts;
        let needs = |waiting: &Waiting<T>| doubts.overlap(waiting.update.chunk(), &waiting.update.bytes());
        match doubts.chunks() {
            Some(mut chunks) => {
                chunks.any(|chunk| self.blocked.get(&chunk).is_some_and(|queue| queue.iter().any(needs)))
            }
            None => !self.blocked.is_empty(),
        }
    }

    /// Whether something in the air overlaps with these bytes, or has a channel whose doubts do.
    fn is_running(&self, chunk: ChunkId, bytes: &Range<u64>) -> bool {
        self.running.iter().any(|(&channel, running)| {
            let mut channels = running.closing.iter().chain([&channel]);
            running.chunk == chunk && overlap(&running.bytes, bytes)
                || channels.any(|&channel| self.is_doubtful(channel, chunk, bytes))
        })
    }

    fn is_taken(&self, chunk: ChunkId, bytes: &Range<u64>) -> bool {
        let overlaps = |update: &T| update.chunk() == chunk && overlap(&update.bytes(), bytes);
        self.is_running(chunk, bytes) || self.ready.iter().any(|waiting| overlaps(&waiting.update))
    }

    /// Moves what need not wait any more from blocked to ready.
    fn unblock(&mut self, chunk: ChunkId) {
        let Some(queue) = self.blocked.remove(&chunk) else { return };
        let mut still: VecDeque<Waiting<T>> = VecDeque::new();
        for waiting in queue {
            let bytes = waiting.update.bytes();
            let behind = still.iter().any(|earlier| overlap(&earlier.update.bytes(), &bytes));
            if behind || self.is_taken(chunk, &bytes) {
                still.push_back(waiting);
            } else {
                insert(&mut self.ready, waiting);
            }
        }
        if !still.is_empty() {
            self.blocked.insert(chunk, still);
        }
    }
}

#[cfg(test)]
mod tests;
