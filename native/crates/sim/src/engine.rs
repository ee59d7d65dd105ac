//! A model of a chunk engine: staged and committed versions, the exactly-once table, and what of it a loss of
//! power leaves. The lineage of a chunk's content is every update in it, so that an update applied twice, or lost,
//! shows at once.

use crate::content::{CELLS, Content, Seen};
use crate::lineage::Lineage;
use chain::museum::{Planted, planted};
use chain::{Applied, Channel, Chunks, Committed, Listed, Replacement, Update};
use std::collections::BTreeMap;
use std::rc::Rc;
use wire::message::{Chain, UpdateKind};
use wire::{ChunkId, ClientId, Version};

/// The payload handle: the number of the client's operation, or a whole chunk.
#[derive(Clone, Debug)]
pub enum Body {
    Operation(u32),
    Whole(Content),
}

#[derive(Clone, Debug)]
pub struct Staged {
    pub version: Version,
    pub removed: bool,
    pub content: Content,
    pub damaged: bool,
    /// Bytes that it took, given back if it is discarded.
    pub cost: u64,
    pub channel: Channel,
    /// It was committed by a process that died before that was recorded.
    pub was_committed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub version: Version,
    pub removed: bool,
    pub content: Content,
    /// Bits flipped on the medium: the checksum will say so.
    pub damaged: bool,
    /// When it was removed, for the tombstone.
    pub since: u64,
}

impl Stored {
    /// Never written, or removed.
    pub fn is_absent(&self) -> bool {
        self.removed || self.version == Version::NONE
    }
}

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub chunks: BTreeMap<ChunkId, Stored>,
    pub staged: BTreeMap<ChunkId, Vec<Staged>>,
    pub channels: BTreeMap<(ClientId, u32), Channel>,
    pub number: u64,
}

/// What a model of an update may cost, and a little more.
pub const UPDATE_BYTES: u64 = 8200;

/// A disk that is never full.
pub const ROOMY_BYTES: u64 = 1 << 40;

/// What a commit changed.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    staged: Staged,
    before: Option<Stored>,
    channel_before: Option<Channel>,
}

#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub state: State,
    pub durable: State,
    /// Commits since the last thing that wrote a record of its own: theirs go out with the next one.
    pub(crate) unrecorded: Vec<Commit>,
    /// Rises with each discard: work that was started before counts no more.
    pub generation: u64,
    /// The boot in which this target last began to serve (P10); 0 = never.
    pub served_boot: u64,
    pub clean: bool,
    /// It was a member that counts, ever.
    pub used: bool,
    /// The incarnation that began it empty; 0: it has served since (P10).
    pub begun_by: u64,
    /// The newest version of its chain that it believed: on the medium before it acts on it (P3).
    pub known: Rc<Chain>,
    /// Bytes left, the reserve among them.
    pub room: u64,
    /// Bytes that only assigned updates may take (P8).
    pub reserve: u64,
    /// The next flush fails. What it was to write is not on the medium, whatever later flushes say: the system
    /// took it for written (P11).
    pub flush_fails: bool,
    /// A flush failed, and the target was not opened since.
    pub frozen: bool,
    /// Its process died before the record of the target said so. Only what an opening notices is lost then; of a
    /// journal without its end none could tell (not promised).
    pub untold: bool,
    /// Openings that set chunks back, and as many of them as the record of the target knows of.
    pub(crate) losses: u64,
    pub(crate) known_losses: u64,
    /// Only planted: chunks that the medium does not have as they are shown; no flush brings them, unless they
    /// are written again.
    pub(crate) unwritten: BTreeMap<ChunkId, Version>,
    /// The newest version of the tombstones that are gone.
    pub forgotten: Version,
}

impl Engine {
    /// A disk that holds nothing, which this incarnation finds so.
    pub fn empty(reserve: u64, begun_by: u64) -> Engine {
        Engine { room: ROOMY_BYTES, reserve, begun_by, ..Engine::default() }
    }

    #[cfg(test)]
    pub fn holding(chunk: ChunkId, content: Content) -> Engine {
        let mut engine = Engine::default();
        engine.state.chunks.insert(chunk, Stored { content, ..Stored::default() });
        engine
    }

    /// Whether this is what one of its staged removals will leave.
    pub fn has_staged_removal(&self, chunk: ChunkId, committed: &Committed) -> bool {
        let staged = self.state.staged.get(&chunk).into_iter().flatten();
        let mut removals = staged.filter(|staged| staged.removed);
        committed.removed && removals.any(|staged| staged.version == committed.version)
    }

    /// The newest content of a chunk, staged or committed.
    pub fn newest(&self, chunk: ChunkId) -> Stored {
        match self.state.staged.get(&chunk).and_then(|staged| staged.last()) {
            Some(last) => {
                let (version, removed, damaged) = (last.version, last.removed, last.damaged);
                Stored { version, removed, content: last.content.clone(), damaged, since: 0 }
            }
            None => self.state.chunks.get(&chunk).cloned().unwrap_or_default(),
        }
    }

    /// Stages an update. `Err`: a rule is broken.
    pub fn stage(
        &mut self,
        update: &Update,
        (version, base): (Version, Version),
        channel: Channel,
        operation: u32,
    ) -> Result<Applied, String> {
        self.unrecorded.clear();
        let chunk = update.chunk;
        let newest = self.newest(chunk);
        let absent = newest.is_absent();
        if newest.version != base && !(absent && base == Version::NONE) {
            return Err(format!("{version:?} was stored on {:?} and not on {base:?}", newest.version));
        }
        if newest.content.lineage.contains(operation) {
            return Err(format!("operation {operation} was applied twice to {chunk:?}"));
        }
        let cost = update.may_allocate_bytes();
        if cost > self.room {
            return Err(format!("there is no room for {version:?}, which is assigned"));
        }
        self.room -= cost;
        let removed = match update.kind {
            UpdateKind::UpdateRemove => true,
            UpdateKind::UpdatePunch | UpdateKind::UpdateTruncate => absent,
            UpdateKind::UpdateWrite => false,
        };
        // A removed chunk has no past: a member that never had it and one that removed it are equal.
        let mut content = if removed || absent { Content::default() } else { newest.content };
        if !removed {
            content.apply(update, operation);
        }
        let rewritten = update.kind != UpdateKind::UpdateTruncate && update.length == CELLS as u32;
        let damaged = newest.damaged && content.length() > 0 && !rewritten;
        let applied = Applied { chunk_length: content.length(), allocated_delta: 0 };
        let channel = Channel { applied, ..channel };
        let was_committed = false;
        let staged = Staged { version, removed, content, damaged, cost, channel, was_committed };
        self.state.staged.entry(chunk).or_default().push(staged);
        Ok(applied)
    }

    /// The updates that are committed in the chunk now.
    pub fn commit(&mut self, chunk: ChunkId, version: Version, now: u64) -> Result<Lineage, String> {
        let staged = self.state.staged.entry(chunk).or_default();
        if staged.first().is_none_or(|first| first.version != version) {
            return Err(format!("{version:?} of {chunk:?} was committed and is not the next staged one"));
        }
        let next = staged.remove(0);
        if staged.is_empty() {
            self.state.staged.remove(&chunk);
        }
        let key = (next.channel.tag.client, next.channel.tag.channel);
        let channel_before = self.state.channels.get(&key).copied();
        self.learn(next.channel);
        let stored = Stored {
            version,
            removed: next.removed,
            content: next.content.clone(),
            damaged: next.damaged,
            since: now,
        };
        let before = self.state.chunks.insert(chunk, stored);
        let lineage = next.content.lineage.clone();
        self.unrecorded.push(Commit { staged: next, before, channel_before });
        Ok(lineage)
    }

    /// The process died. Commits whose records were not written yet are pending again.
    pub fn lose_process(&mut self) {
        while let Some(Commit { mut staged, before, channel_before }) = self.unrecorded.pop() {
            staged.was_committed = true;
            let (chunk, tag) = (staged.channel.chunk, staged.channel.tag);
            match before {
                Some(before) => self.state.chunks.insert(chunk, before),
                None => self.state.chunks.remove(&chunk),
            };
            match channel_before {
                Some(channel) => self.state.channels.insert((tag.client, tag.channel), channel),
                None => self.state.channels.remove(&(tag.client, tag.channel)),
            };
            self.state.staged.entry(chunk).or_default().insert(0, staged);
        }
    }

    /// Entries of the exactly-once table from another member.
    pub fn install_channels(&mut self, channels: Vec<Channel>) {
        self.unrecorded.clear();
        channels.into_iter().for_each(|channel| self.learn(channel));
    }

    pub fn drop_channels(&mut self, client: ClientId) {
        self.unrecorded.clear();
        self.state.channels.retain(|(owner, _), _| *owner != client);
    }

    fn learn(&mut self, channel: Channel) {
        let key = (channel.tag.client, channel.tag.channel);
        let known = self.state.channels.entry(key).or_insert(channel);
        if known.tag.sequence <= channel.tag.sequence {
            *known = channel;
        }
    }

    pub fn replace(&mut self, replacement: &Replacement, mut content: Content, now: u64) {
        self.unrecorded.clear();
        if planted(Planted::ReplaceKeepsTail) && !replacement.committed.removed {
            content.keep_tail_of(&self.content(replacement.chunk));
        }
        let replaced = self.state.staged.remove(&replacement.chunk).unwrap_or_default();
        self.room += replaced.iter().map(|staged| staged.cost).sum::<u64>();
        let committed = replacement.committed;
        let removed = committed.is_absent();
        let stored = Stored { version: committed.version, removed, content, damaged: false, since: now };
        self.state.chunks.insert(replacement.chunk, stored);
    }

    /// What is staged, and the exactly-once table.
    pub fn discard(&mut self) {
        self.unrecorded.clear();
        if planted(Planted::DiscardFirstOnly) {
            self.state.staged.pop_first();
        } else {
            let discarded = std::mem::take(&mut self.state.staged);
            self.room += discarded.values().flatten().map(|staged| staged.cost).sum::<u64>();
        }
        if !planted(Planted::TableNotCleared) {
            self.state.channels.clear();
        }
    }

    pub fn snapshot(&mut self) -> State {
        self.unrecorded.clear();
        self.state.number += 1;
        self.state.clone()
    }

    /// Something is missing, or the disk failed: also for later processes, until the target serves again.
    pub fn lose(&mut self) {
        self.served_boot = 0;
        self.clean = false;
    }

    /// False: the flush failed.
    pub fn flush(&mut self, snapshot: State) -> bool {
        self.frozen |= self.flush_fails;
        let failed = std::mem::take(&mut self.flush_fails);
        if !self.frozen {
            self.flushed(snapshot);
        }
        !failed
    }

    pub fn flushed(&mut self, snapshot: State) {
        if snapshot.number <= self.durable.number {
            return;
        }
        let mut before = std::mem::replace(&mut self.durable, snapshot);
        let chunks = &mut self.durable.chunks;
        self.unwritten.retain(|chunk, version| chunks.get(chunk).is_some_and(|now| now.version == *version));
        for chunk in self.unwritten.keys() {
            match before.chunks.remove(chunk) {
                Some(kept) => chunks.insert(*chunk, kept),
                None => chunks.remove(chunk),
            };
        }
    }

    /// By a new process, or again after a failure. What a failed flush left in the page cache alone is verified,
    /// written again and flushed; if it is gone from there too (`dropped`), the target goes back to what was
    /// flushed (P12), and counts that where nobody else would tell.
    pub fn open(&mut self, dropped: bool) {
        if !std::mem::take(&mut self.frozen) {
            return;
        }
        let untold = std::mem::take(&mut self.untold);
        if dropped {
            self.go_back();
            self.losses += u64::from(untold);
        } else if planted(Planted::LostPagesTrusted) {
            let durable = &self.durable.chunks;
            let is_lost = |(chunk, stored): &(&ChunkId, &Stored)| {
                durable.get(chunk).is_none_or(|durable| durable.version != stored.version)
            };
            let lost = self.state.chunks.iter().filter(is_lost);
            self.unwritten = lost.map(|(chunk, stored)| (*chunk, stored.version)).collect();
        } else {
            self.durable = self.snapshot();
        }
    }

    /// The record of the target learns what its openings found. `cut_off`: another process does that, since the one
    /// that set chunks back died first.
    pub fn record_losses(&mut self, cut_off: bool) {
        let is_news = self.losses != self.known_losses;
        self.known_losses = self.losses;
        if is_news && !(cut_off && planted(Planted::LossForgotten)) {
            self.lose();
        }
    }

    fn go_back(&mut self) {
        self.unrecorded.clear();
        let number = self.state.number;
        self.state = State { number, ..self.durable.clone() };
    }

    /// Tombstones that nobody can ask for any more go: of an older version of the chain than everything
    /// that may pend.
    pub fn forget_tombstones(&mut self, rolled_forward: u64, before: u64) {
        let hasty = planted(Planted::TombstonesForgotten);
        let goes = |stored: &Stored| {
            stored.removed && (hasty || (stored.version.chain < rolled_forward && stored.since < before))
        };
        let staged = &self.state.staged;
        for (_, stored) in
            self.state.chunks.extract_if(.., |chunk, stored| goes(stored) && !staged.contains_key(chunk))
        {
            self.forgotten = self.forgotten.max(stored.version);
        }
    }

    /// What a reader gets of the committed chunk; none if its checksum does not match.
    pub fn read(&self, chunk: ChunkId) -> Option<Seen> {
        let Some(stored) = self.state.chunks.get(&chunk) else { return Some(Seen::default()) };
        let seen = stored.content.seen();
        match stored.damaged {
            true if planted(Planted::NoChecksum) => Some(Seen { cells: [u32::MAX; CELLS], ..seen }),
            true => None,
            false if planted(Planted::DirtyLength) => {
                Some(Seen { length: self.newest(chunk).content.length(), ..seen })
            }
            false => Some(seen),
        }
    }

    /// The length of a committed chunk as a list shows it; none: it is not in the list.
    pub fn listed_length(&self, chunk: ChunkId) -> Option<u32> {
        let committed = self.committed(chunk);
        (!committed.is_absent()).then_some(committed.length)
    }

    pub fn repair(&mut self) {
        for state in [&mut self.state, &mut self.durable] {
            state.chunks.values_mut().for_each(|stored| stored.damaged = false);
            state.staged.values_mut().flatten().for_each(|staged| staged.damaged = false);
        }
    }

    /// The opening does not notice that chunks which were not flushed are torn (P12).
    fn accept_torn(&mut self) {
        for (chunk, stored) in &mut self.state.chunks {
            let before = self.durable.chunks.get(chunk);
            if before.is_none_or(|before| before.version != stored.version) {
                stored.content.tear(before.map(|before| &before.content));
            }
        }
    }

    /// The power went. What was not flushed may be gone or torn, or not. What is torn is found at the opening,
    /// and the target goes back to what was flushed (P12).
    pub fn lose_power(&mut self, all_kept: bool) {
        // Nothing keeps what the system took for written.
        let all_kept = all_kept && !self.frozen && self.unwritten.is_empty();
        if !all_kept && planted(Planted::TornAccepted) {
            self.accept_torn();
        } else if !all_kept {
            self.go_back();
        }
        self.durable = self.snapshot();
        (self.frozen, self.untold) = (false, false);
        self.unwritten.clear();
    }

    fn committed_of(stored: &Stored) -> Committed {
        Committed {
            version: stored.version,
            length: stored.content.length(),
            removed: stored.removed,
            chunk_size: CELLS as u32,
        }
    }

    /// The updates in what is committed, if only by a process that died since.
    pub fn committed_lineages(&self) -> impl Iterator<Item = (ChunkId, &Lineage)> {
        let State { chunks, staged, .. } = &self.state;
        let recorded = chunks.iter().map(|(chunk, stored)| (*chunk, &stored.content.lineage));
        let staged = staged.iter().flat_map(|(chunk, staged)| staged.iter().map(|staged| (*chunk, staged)));
        let unrecorded = staged.filter(|(_, staged)| staged.was_committed);
        recorded.chain(unrecorded.map(|(chunk, staged)| (chunk, &staged.content.lineage)))
    }

    pub fn content(&self, chunk: ChunkId) -> Content {
        self.state.chunks.get(&chunk).map(|stored| stored.content.clone()).unwrap_or_default()
    }
}

impl Chunks for Engine {
    fn committed(&self, chunk: ChunkId) -> Committed {
        self.state.chunks.get(&chunk).map(Self::committed_of).unwrap_or_default()
    }

    fn list(&self, from: ChunkId, limit: usize) -> Vec<Listed> {
        let range = self.state.chunks.range(from..).take(limit);
        range.map(|(chunk, stored)| Listed { chunk: *chunk, committed: Self::committed_of(stored) }).collect()
    }

    fn forgotten(&self) -> Version {
        self.forgotten
    }

    fn allocatable_bytes(&self) -> u64 {
        self.room.saturating_sub(self.reserve)
    }
}
