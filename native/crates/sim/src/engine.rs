//! A model of a chunk engine: staged and committed versions, the exactly-once table, and what of it a loss of
//! power leaves. A chunk is four cells; an update writes one of them, all, or removes the chunk. The lineage
//! of a chunk's content is every update in it, so that an update applied twice, or lost, shows at once.

use chain::{Applied, Channel, Chunks, Committed, Listed, Replacement, Update};
use std::collections::BTreeMap;
use std::rc::Rc;
use wire::message::UpdateKind;
use wire::{ChunkId, ClientId, Version};

pub const CELLS: usize = 4;
pub type Cells = [u32; CELLS];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub cells: Cells,
    pub lineage: Rc<Vec<u32>>,
}

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
    pub channel: Channel,
}

#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub version: Version,
    pub removed: bool,
    pub content: Content,
}

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub chunks: BTreeMap<ChunkId, Stored>,
    pub staged: BTreeMap<ChunkId, Vec<Staged>>,
    pub channels: BTreeMap<(ClientId, u32), Channel>,
    pub number: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub state: State,
    pub durable: State,
    /// Rises with each discard: work that was started before counts no more.
    pub generation: u64,
    /// The boot in which this target last began to serve (P10); 0 = never.
    pub served_boot: u64,
    pub clean: bool,
    /// It was a member that counts, ever.
    pub used: bool,
}

impl Engine {
    /// The newest content of a chunk, staged or committed.
    pub fn newest(&self, chunk: ChunkId) -> Stored {
        match self.state.staged.get(&chunk).and_then(|staged| staged.last()) {
            Some(last) => {
                Stored { version: last.version, removed: last.removed, content: last.content.clone() }
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
        let chunk = update.chunk;
        let newest = self.newest(chunk);
        let absent = newest.removed || newest.version == Version::NONE;
        if newest.version != base && !(absent && base == Version::NONE) {
            return Err(format!("{version:?} was stored on {:?} and not on {base:?}", newest.version));
        }
        if newest.content.lineage.contains(&operation) {
            return Err(format!("operation {operation} was applied twice to {chunk:?}"));
        }
        let mut cells = newest.content.cells;
        let removed = update.kind == UpdateKind::UpdateRemove;
        if removed {
            cells = Cells::default();
        } else {
            let (first, count) = (update.offset as usize, update.length as usize);
            cells[first..first + count].fill(operation);
        }
        // A removed chunk has no past: a member that never had it and one that removed it are equal.
        let past: &[u32] = if removed { &[] } else { &newest.content.lineage };
        let mut lineage = Vec::with_capacity(past.len() + 1);
        lineage.extend_from_slice(past);
        if !removed {
            lineage.push(operation);
        }
        let content = Content { cells, lineage: Rc::new(lineage) };
        let applied = Applied { chunk_length: CELLS as u32, allocated_delta: 0 };
        let channel = Channel { applied, ..channel };
        self.state.staged.entry(chunk).or_default().push(Staged { version, removed, content, channel });
        Ok(applied)
    }

    pub fn commit(&mut self, chunk: ChunkId, version: Version) -> Result<(), String> {
        let staged = self.state.staged.entry(chunk).or_default();
        if staged.first().is_none_or(|first| first.version != version) {
            return Err(format!("{version:?} of {chunk:?} was committed and is not the next staged one"));
        }
        let next = staged.remove(0);
        if staged.is_empty() {
            self.state.staged.remove(&chunk);
        }
        self.learn(next.channel);
        let stored = Stored { version, removed: next.removed, content: next.content };
        self.state.chunks.insert(chunk, stored);
        Ok(())
    }

    pub fn learn(&mut self, channel: Channel) {
        let key = (channel.tag.client, channel.tag.channel);
        let known = self.state.channels.entry(key).or_insert(channel);
        if known.tag.sequence <= channel.tag.sequence {
            *known = channel;
        }
    }

    pub fn replace(&mut self, replacement: &Replacement, content: Content) {
        self.state.staged.remove(&replacement.chunk);
        let committed = replacement.committed;
        let removed = committed.is_absent();
        let stored = Stored { version: committed.version, removed, content };
        self.state.chunks.insert(replacement.chunk, stored);
    }

    pub fn discard_staged(&mut self) {
        self.state.staged.clear();
        self.generation += 1;
    }

    pub fn snapshot(&mut self) -> State {
        self.state.number += 1;
        self.state.clone()
    }

    pub fn flushed(&mut self, snapshot: State) {
        if snapshot.number > self.durable.number {
            self.durable = snapshot;
        }
    }

    /// The power went. What was not flushed may be gone, or not.
    pub fn lose_power(&mut self, all_kept: bool) {
        if !all_kept {
            let number = self.state.number;
            self.state = self.durable.clone();
            self.state.number = number;
        }
        self.durable = self.snapshot();
    }

    fn committed_of(stored: &Stored) -> Committed {
        Committed {
            version: stored.version,
            length: CELLS as u32,
            removed: stored.removed,
            chunk_size: CELLS as u32,
        }
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

    fn allocatable_bytes(&self) -> u64 {
        1 << 40
    }
}
