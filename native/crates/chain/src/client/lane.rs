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

use crate::museum::{Planted, planted};
use doubts::Doubts;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use wire::limits::CHANNELS_MAX;
use wire::message::UpdateKind;
use wire::{ChunkId, ClientId, Tag};

/// What the lane must know of an update.
pub trait Ordered {
    fn chunk(&self) -> ChunkId;
    /// Bytes of the chunk that it changes.
    fn bytes(&self) -> Range<u64>;
}

/// Bytes of its chunk that an update changes.
pub fn bytes_of(kind: UpdateKind, offset: u32, length: u32) -> Range<u64> {
    match kind {
        UpdateKind::UpdateWrite | UpdateKind::UpdatePunch => {
            offset.into()..u64::from(offset) + u64::from(length)
        }
        UpdateKind::UpdateTruncate | UpdateKind::UpdateRemove => WHOLE,
    }
}

/// Everything in a chunk.
pub const WHOLE: Range<u64> = 0..u64::MAX;

/// The chunk of no file: its removal changes nothing, is never refused for want of room, and uses up a sequence.
pub const NO_FILE: ChunkId = ChunkId { inode: 0, index: 0 };

/// What a started update sends next, again and again until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A removal of `NO_FILE`: once it is applied, nothing older of its channel can arrive.
    Close(Tag),
    /// The update itself.
    Update(Tag),
}

/// An update that may be sent now.
#[derive(Clone, Debug)]
pub struct Started<T> {
    pub update: T,
    /// To be applied before it is sent. If one of them is not, the update is not sent.
    close: Vec<Tag>,
    closed: usize,
    /// All tries of the update itself carry this one.
    tag: Tag,
    /// One of its requests was sent, and may still arrive.
    in_doubt: bool,
}

impl<T> Started<T> {
    pub fn client(&self) -> ClientId {
        self.tag.client
    }

    pub fn request(&self) -> Request {
        self.close.get(self.closed).map_or(Request::Update(self.tag), |tag| Request::Close(*tag))
    }

    /// The request has no answer, and may still arrive.
    pub fn lost(&mut self) {
        // Of what changes nothing there is no doubt.
        self.in_doubt |= self.closed == self.close.len();
    }

    /// The request was applied. True: it was the update itself; else the next request is to be sent.
    pub fn applied(&mut self) -> bool {
        let itself = self.closed == self.close.len();
        self.closed += usize::from(!itself);
        itself
    }
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

pub struct Lane<T> {
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
    /// With that many channels, at most `CHANNELS_MAX`.
    pub fn new(client: ClientId, channels: u32) -> Self {
        let channels = channels.clamp(1, CHANNELS_MAX);
        let channel = |_| Channel { next_sequence: 1, doubts: Doubts::default() };
        Lane {
            client,
            channels: (0..channels).map(channel).collect(),
            free: (0..channels).rev().collect(),
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
            return Some(Started { update, close, closed: 0, tag, in_doubt: false });
        }
    }

    /// `applied`: the update itself was. Else it was given up.
    pub fn finish(&mut self, started: Started<T>, applied: bool) -> T {
        let Started { update, closed, tag, in_doubt, .. } = started;
        let Running { chunk, bytes, closing } = self.running.remove(&tag.channel).expect("it finishes once");
        assert!(closed == closing.len() || !applied && !in_doubt, "nothing is sent before all are closed");
        let had_doubts = !self.channels[tag.channel as usize].doubts.is_empty();
        for &channel in &closing[..closed] {
            self.channels[channel as usize].doubts.clear();
        }
        let doubts = &mut self.channels[tag.channel as usize].doubts;
        if applied {
            // Its sequence is the channel's last one now: nothing older can arrive.
            doubts.clear();
        } else if in_doubt && !planted(Planted::DoubtForgotten) {
            doubts.add(chunk, bytes);
        }
        // Else it was never sent, or each of its requests was answered, so that none can arrive any more. A head may
        // have given it a version all the same, and then left its chain (`WrongChainVersion`, `NotServing`,
        // `TargetOffline`) or waited for too long (`Busy`): then it comes before whatever gets a version later, or
        // never, whatever its channel.
        for channel in closing.into_iter().chain([tag.channel]) {
            self.give_back(channel);
        }
        if had_doubts {
            // Updates of any chunk may have waited for this channel.
            let chunks: Vec<ChunkId> = self.blocked.keys().copied().collect();
            chunks.into_iter().for_each(|chunk| self.unblock(chunk));
        } else {
            self.unblock(chunk);
        }
        update
    }

    fn give_back(&mut self, channel: u32) {
        if !self.channels[channel as usize].doubts.is_empty() {
            self.doubtful.push_back(channel);
        } else if planted(Planted::DoubtForgotten) {
            // The next update takes another one.
            self.free.insert(0, channel);
        } else {
            self.free.push(channel);
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
