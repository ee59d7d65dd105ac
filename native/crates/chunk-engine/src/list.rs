//! The list of chunks in the order of their ids: the shards' parts of it, merged as far as they are wanted. Of each
//! shard about its share is looked at, and more only of those that have more in the range. No two shards are
//! locked at a time: each row is as it was at some moment of the call.

use crate::chunk::Entry;
use crate::engine::{Engine, ListedChunk};
use crate::index::{Index, SHARDS};
use crate::layout::Presence;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::vec::IntoIter;
use wire::ChunkId;

/// Rows of a shard beyond its share: twice what chance adds at a thousand rows, so that few are looked at again.
const SPARE_ROWS: usize = 8;

/// What is known of a shard's part.
struct Part {
    rows: IntoIter<ListedChunk>,
    /// Where the rest of it begins, if there may be some.
    rest: Option<Bound<ChunkId>>,
}

struct Merge<'a> {
    index: &'a Index,
    last: ChunkId,
    /// Rows taken of a shard at a time.
    page: usize,
    parts: Vec<Part>,
    /// The next row of each shard, by its number.
    heads: Vec<Option<ListedChunk>>,
    order: BinaryHeap<Reverse<(ChunkId, usize)>>,
}

impl<'a> Merge<'a> {
    fn new(index: &'a Index, (first, last): (ChunkId, ChunkId), limit: usize) -> Merge<'a> {
        let begin = |_| Part { rows: Vec::new().into_iter(), rest: Some(Bound::Included(first)) };
        let mut merge = Merge {
            index,
            last,
            page: limit.min(limit / SHARDS + SPARE_ROWS),
            parts: (0..SHARDS).map(begin).collect(),
            heads: vec![None; SHARDS],
            order: BinaryHeap::with_capacity(SHARDS),
        };
        for shard in 0..SHARDS {
            merge.go_on(shard);
        }
        merge
    }

    /// The shard's head, which its next row replaces.
    fn go_on(&mut self, shard: usize) -> Option<ListedChunk> {
        let next = self.next_of(shard);
        self.order.extend(next.as_ref().map(|row| Reverse((row.chunk, shard))));
        std::mem::replace(&mut self.heads[shard], next)
    }

    fn next_of(&mut self, shard: usize) -> Option<ListedChunk> {
        let part = &mut self.parts[shard];
        if let Some(row) = part.rows.next() {
            return Some(row);
        }
        let range = (part.rest.take()?, Bound::Included(self.last));
        let rows: Vec<ListedChunk> = {
            let shard = self.index.shard_at(shard);
            let known = shard.entries.range(range);
            // What is no row does not count: the part would seem to end before those of the other shards.
            known.filter_map(|(chunk, entry)| listed(*chunk, entry)).take(self.page).collect()
        };
        part.rest = rows.last().filter(|_| rows.len() == self.page).map(|row| Bound::Excluded(row.chunk));
        part.rows = rows.into_iter();
        part.rows.next()
    }
}

impl Iterator for Merge<'_> {
    type Item = ListedChunk;

    fn next(&mut self) -> Option<ListedChunk> {
        let Reverse((_, shard)) = self.order.pop()?;
        self.go_on(shard)
    }
}

/// `None`: it is known for something that did not come to be.
fn listed(chunk: ChunkId, entry: &Entry) -> Option<ListedChunk> {
    let pending = entry.active.as_ref().is_some_and(|active| !active.pending.is_empty());
    (pending || entry.presence != Presence::Absent).then_some(ListedChunk {
        chunk,
        version: entry.version,
        length: entry.length,
        chunk_size: entry.chunk_size,
        removed: entry.presence == Presence::Removed,
        pending,
    })
}

impl Engine {
    /// Up to `limit` chunks from `from` on, in the order of ids, tombstones and chunks that only pend
    /// included; of one inode if it is given. Memory answers, as in `meta`.
    pub fn list(&self, from: ChunkId, inode: Option<u64>, limit: usize) -> Vec<ListedChunk> {
        let first = inode.map_or(from, |inode| from.max(ChunkId { inode, index: 0 }));
        let last = ChunkId { inode: inode.unwrap_or(u64::MAX), index: u64::MAX };
        if first > last || limit == 0 {
            return Vec::new();
        }
        Merge::new(&self.core.index, (first, last), limit).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;
    use crate::support::{id, options, request, write};
    use crate::{StageRequest, Update};
    use std::sync::Arc;

    fn empty() -> Engine {
        Engine::create(Arc::new(MemoryDisk::new(1 << 30)), options()).unwrap()
    }

    fn chunks(rows: &[ListedChunk]) -> Vec<ChunkId> {
        rows.iter().map(|row| row.chunk).collect()
    }

    #[test]
    fn what_did_not_come_to_be_takes_no_place_in_a_list() {
        let engine = empty();
        let data = [bytes::Bytes::from_static(b"x")];
        let stage = |inode: u64, commit: bool| {
            let update = Update::Write { offset: 0, data: &data };
            engine.stage(&StageRequest { commit, ..request(id(inode, 0), 0, update) }).unwrap();
        };
        for inode in 1..=1000 {
            stage(inode, inode > 600);
        }
        (1..=500).for_each(|inode| engine.discard_pending(id(inode, 0)).unwrap());
        // Those that pend, and those that are there; whatever lies before them in their shards.
        let expected: Vec<ChunkId> = (501..=1000).map(|inode| id(inode, 0)).collect();
        for limit in [1, 3, 64, 499, 500, 501] {
            let rows = engine.list(id(0, 0), None, limit);
            assert_eq!(chunks(&rows), expected[..limit.min(500)], "{limit}");
        }
    }

    #[test]
    fn a_list_is_merged_as_far_as_it_is_wanted() {
        let engine = empty();
        for inode in 0..100 {
            for index in 0..100 {
                write(&engine, id(inode, index), 0, 0, b"x").unwrap();
            }
        }
        let end = id(u64::MAX, u64::MAX);
        for (from, limit) in [(id(0, 0), 1), (id(0, 1), 1025), (id(3, 77), 5000), (id(98, 0), 1025)] {
            let mut merge = Merge::new(&engine.core.index, (from, end), limit);
            let rows: Vec<ListedChunk> = merge.by_ref().take(limit).collect();
            let first = from.inode * 100 + from.index;
            let expected = (first..10_000).take(limit).map(|number| id(number / 100, number % 100));
            assert_eq!(chunks(&rows), expected.collect::<Vec<_>>());
            let beside: usize = merge.parts.iter().map(|part| part.rows.len()).sum();
            assert!(beside <= SHARDS * 2 * SPARE_ROWS + limit / 8, "{beside} rows for a list of {limit}");
            assert_eq!(engine.list(from, None, limit), rows);
        }
    }
}
