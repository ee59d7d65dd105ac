//! The predecessor's side of a resync (P9): compare digests of the successor's ranges of chunks with the own
//! ones, its list page by page where they differ, copy what differs, then the exactly-once table, then ask it
//! to flush. Traffic goes on: an update of a chunk that was not compared or copied yet first has the chunk
//! copied, then goes as a plain update. Ends with the version of the chain; the next version starts a new
//! session.

use super::sync_gone::Gone;
use super::{Output, Replica, Step};
use crate::limits;
use crate::museum::{Planted, page, planted};
use crate::update::{Channel, ChunkRange, Chunks, Listed, range_digest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::{ChunkId, TargetId, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Start,
    Scan,
    Channels,
    Finish,
    Done,
}

pub(super) struct SyncSource {
    pub to: TargetId,
    pub chain_version: u64,
    pub phase: Phase,
    /// The phase's own request is in the air.
    pub asked: bool,
    /// Every chunk below is equal on both sides. `None`: every chunk is.
    pub cursor: Option<ChunkId>,
    /// Ranges of the successor from the cursor on, whose digests were not compared yet.
    pub ranges: VecDeque<ChunkRange>,
    /// The range that differs ends here: its chunks are listed.
    pub listing_to: Option<ChunkId>,
    /// Last chunk of the page in work.
    pub page_end: Option<ChunkId>,
    /// Chunks of the page that differ and wait for a copy. At most two pages long.
    pub differing: VecDeque<ChunkId>,
    /// Chunks from the cursor on that are equal already.
    pub ahead: BTreeSet<ChunkId>,
    /// Copies in the air, each of this version.
    pub copying: BTreeMap<ChunkId, Version>,
    pub gone: Gone,
    /// Chunks that are gone, which the successor is to be told next: at most one page of its list.
    pub going: VecDeque<ChunkId>,
    /// The table as it was when the scan ended; later records travel with their updates.
    pub channels: Vec<Channel>,
    pub page: usize,
}

pub(super) const FIRST: ChunkId = ChunkId { inode: 0, index: 0 };
pub(super) const LAST: ChunkId = ChunkId { inode: u64::MAX, index: u64::MAX };

pub(super) fn after(chunk: ChunkId) -> Option<ChunkId> {
    match (chunk.index.checked_add(1), chunk.inode.checked_add(1)) {
        (Some(index), _) => Some(ChunkId { inode: chunk.inode, index }),
        (None, Some(inode)) => Some(ChunkId { inode, index: 0 }),
        (None, None) => None,
    }
}

impl SyncSource {
    pub(super) fn new(to: TargetId, chain_version: u64) -> Self {
        SyncSource {
            to,
            chain_version,
            phase: Phase::Start,
            asked: false,
            cursor: Some(FIRST),
            ranges: VecDeque::new(),
            listing_to: None,
            page_end: None,
            differing: VecDeque::new(),
            ahead: BTreeSet::new(),
            copying: BTreeMap::new(),
            gone: Gone::NotAsked,
            going: VecDeque::new(),
            channels: Vec::new(),
            page: 0,
        }
    }

    pub(super) fn is_copied(&self, chunk: ChunkId) -> bool {
        self.cursor.is_none_or(|cursor| chunk < cursor) || self.ahead.contains(&chunk)
    }

    /// The page is equal on both sides: the cursor moves behind it.
    fn finish_page(&mut self, end: ChunkId) {
        self.cursor = after(end);
        self.ahead = match self.cursor {
            Some(cursor) => self.ahead.split_off(&cursor),
            None => BTreeSet::new(),
        };
    }

    /// One page of their list against ours: what differs within the range that both lists cover.
    pub(super) fn compare(&mut self, ours: &[Listed], theirs: &[Listed], more: bool) {
        let full = ours.len() >= page(limits::SYNC_PAGE);
        let our_end = ours.last().filter(|_| full).map_or(LAST, |last| last.chunk);
        let their_end = theirs.last().filter(|_| more).map_or(LAST, |last| last.chunk);
        let end = our_end.min(their_end).min(self.listing_to.unwrap_or(LAST));
        let absent = |chunk: &ChunkId, list: &[Listed]| {
            list.iter()
                .find(|listed| listed.chunk == *chunk)
                .is_none_or(|listed| listed.committed.is_absent())
        };
        // Marks of removals count: whoever still holds a removal pending asks for its version.
        let mut sides: BTreeMap<ChunkId, (Version, Version)> = BTreeMap::new();
        for listed in ours.iter().filter(|listed| listed.chunk <= end) {
            sides.entry(listed.chunk).or_default().0 = listed.committed.version;
        }
        for listed in theirs.iter().filter(|listed| listed.chunk <= end) {
            sides.entry(listed.chunk).or_default().1 = listed.committed.version;
        }
        for (chunk, (our, their)) in sides {
            // Copied for an update since their list was made: equal, or about to be.
            if self.is_copied(chunk) || self.copying.contains_key(&chunk) {
                continue;
            }
            let equal = our == their
                || (planted(Planted::TombstonesNotCopied) && absent(&chunk, ours) && absent(&chunk, theirs));
            if equal {
                self.ahead.insert(chunk);
            } else {
                self.differing.push_back(chunk);
            }
        }
        self.page_end = Some(end);
    }

    /// Goes over ranges that are equal, up to the first that must be listed. Nothing is being copied now.
    fn compare_ranges(&mut self, chunks: &dyn Chunks) {
        if self.listing_to.is_some_and(|end| self.cursor.is_none_or(|cursor| cursor > end)) {
            self.listing_to = None;
        }
        while self.listing_to.is_none()
            && let Some(from) = self.cursor
            && let Some(range) = self.ranges.pop_front()
        {
            match self.is_equal(from, &range, chunks) {
                true => self.finish_page(range.last),
                false => self.listing_to = Some(range.last),
            }
        }
    }

    /// Whether the successor has in this range what is committed here. What was copied for an update since
    /// its digest was taken makes it another one: then the list tells.
    fn is_equal(&self, from: ChunkId, range: &ChunkRange, chunks: &dyn Chunks) -> bool {
        let mut ours = chunks.list(from, range.chunks as usize + 1);
        ours.retain(|listed| listed.chunk <= range.last);
        ours.len() == range.chunks as usize && range_digest(&ours) == range.digest
    }
}

impl<P: Clone> Replica<P> {
    /// Whether plain updates of this chunk may go to the syncing successor; if not yet, sees to it that they
    /// will.
    pub(super) fn copied_or_ask(&mut self, step: &mut Step<P>, chunk: ChunkId) -> bool {
        let Some(source) = &mut self.source else { return false };
        if source.phase == Phase::Start {
            return false;
        }
        if source.is_copied(chunk) {
            return true;
        }
        // When all that is gone has been told, everybody who waits is asked for again.
        let (tells_gone, copying) = (source.tells_gone(), source.copying.contains_key(&chunk));
        let later = tells_gone && !self.to_copy(step, chunk).is_absent();
        if !later && !copying {
            self.start_copy(step, chunk, true);
        }
        false
    }

    /// While a copy is in the air nothing of this chunk can be committed here, since every commit needs the
    /// successor's answer: the bytes that the executor reads are of this version.
    pub(super) fn start_copy(&mut self, step: &mut Step<P>, chunk: ChunkId, waited_for: bool) {
        let committed = self.to_copy(step, chunk);
        let source = self.source.as_mut().expect("copies belong to a session");
        source.copying.insert(chunk, committed.version);
        let (to, chain_version) = (source.to, source.chain_version);
        step.out.push(Output::SendReplace { to, chain_version, chunk, committed, waited_for });
    }

    /// Of a copy that the executor was told to send: whether an update of the chunk waits for it. `None`: nobody
    /// wants it any more.
    pub fn copy_is_waited_for(&self, chain_version: u64, chunk: ChunkId) -> Option<bool> {
        let source = self.source.as_ref().filter(|source| source.chain_version == chain_version)?;
        let waits = || self.queues.get(&chunk).is_some_and(|queue| !queue.pending.is_empty());
        source.copying.contains_key(&chunk).then(waits)
    }

    /// Does everything that has become possible in the session.
    pub(super) fn drive_source(&mut self, step: &mut Step<P>) {
        let Some(source) = &mut self.source else { return };
        let (to, chain_version) = (source.to, source.chain_version);
        match source.phase {
            Phase::Start if !source.asked => {
                source.asked = true;
                step.out.push(Output::StartSync { to, chain_version });
            }
            Phase::Scan if source.tells_gone() => self.drive_gone(step),
            Phase::Scan => self.drive_scan(step),
            Phase::Channels if !source.asked => {
                let first = source.page * page(limits::SYNC_CHANNELS_PAGE);
                if first >= source.channels.len() {
                    source.phase = Phase::Finish;
                    return self.drive_source(step);
                }
                let last = source.channels.len().min(first + page(limits::SYNC_CHANNELS_PAGE));
                let channels = source.channels[first..last].to_vec();
                source.asked = true;
                step.out.push(Output::SendChannels { to, chain_version, page: source.page, channels });
            }
            Phase::Finish if !source.asked => {
                source.asked = true;
                step.out.push(Output::FinishSync { to, chain_version });
            }
            _ => {}
        }
    }

    /// Updates that waited for what the session has done since.
    pub(super) fn advance_all(&mut self, step: &mut Step<P>) {
        let waiting: Vec<ChunkId> = self.queues.keys().copied().collect();
        waiting.into_iter().for_each(|chunk| self.advance(step, chunk));
    }

    /// Starts copies of what is queued, as many as there may be at once. Whether all of it is done, and no request of
    /// the phase in the air.
    pub(super) fn copy_all(
        &mut self,
        step: &mut Step<P>,
        queue: impl Fn(&mut SyncSource) -> &mut VecDeque<ChunkId>,
    ) -> bool {
        loop {
            let source = self.source.as_mut().expect("driven with a session");
            if source.copying.len() >= limits::SYNC_COPIES_MAX {
                return false;
            }
            let Some(chunk) = queue(source).pop_front() else {
                return !source.asked && source.copying.is_empty();
            };
            if !source.is_copied(chunk) && !source.copying.contains_key(&chunk) {
                self.start_copy(step, chunk, false);
            }
        }
    }

    fn drive_scan(&mut self, step: &mut Step<P>) {
        if !self.copy_all(step, |source| &mut source.differing) {
            return;
        }
        let source = self.source.as_mut().expect("driven with a session");
        if let Some(end) = source.page_end.take() {
            source.finish_page(end);
        }
        source.compare_ranges(step.chunks);
        let (to, chain_version) = (source.to, source.chain_version);
        match source.cursor {
            Some(from) if source.listing_to.is_some() => {
                source.asked = true;
                let limit = page(limits::SYNC_PAGE);
                step.out.push(Output::ListSuccessor { to, chain_version, from, limit });
            }
            Some(from) => {
                source.asked = true;
                let chunks_per_range = page(limits::SYNC_RANGE);
                step.out.push(Output::DigestSuccessor { to, chain_version, from, chunks_per_range });
            }
            None => {
                source.phase = Phase::Channels;
                source.channels =
                    if planted(Planted::TableNotCopied) { Vec::new() } else { self.table.all() };
                self.drive_source(step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::Committed;

    fn listed(index: u64, number: u64) -> Listed {
        let committed =
            Committed { version: Version { chain: 1, number }, length: 1, removed: false, chunk_size: 1 };
        Listed { chunk: ChunkId { inode: 1, index }, committed }
    }

    fn tombstone(index: u64, number: u64) -> Listed {
        let listed = listed(index, number);
        Listed { committed: Committed { removed: true, ..listed.committed }, ..listed }
    }

    fn compared(ours: &[Listed], theirs: &[Listed], more: bool) -> (Vec<u64>, Vec<u64>, Option<ChunkId>) {
        let mut source = SyncSource::new(TargetId(2), 1);
        source.compare(ours, theirs, more);
        let differing = source.differing.iter().map(|chunk| chunk.index).collect();
        (differing, source.ahead.iter().map(|chunk| chunk.index).collect(), source.page_end)
    }

    #[test]
    fn what_is_only_here_only_there_or_another_version_is_copied() {
        let ours =
            [listed(1, 5), listed(2, 5), listed(4, 5), tombstone(6, 4), tombstone(8, 5), tombstone(9, 5)];
        let theirs =
            [listed(1, 5), listed(2, 6), listed(3, 1), listed(6, 2), tombstone(7, 1), tombstone(9, 5)];
        let (differing, equal, end) = compared(&ours, &theirs, false);
        assert_eq!(
            differing,
            vec![2, 3, 4, 6, 7, 8],
            "a tombstone that only one side has is told to the other"
        );
        assert_eq!(equal, vec![1, 9]);
        assert_eq!(end, Some(LAST));
    }

    #[test]
    fn a_page_ends_where_the_shorter_list_ends() {
        let (differing, _, end) =
            compared(&[listed(1, 5), listed(9, 5)], &[listed(1, 4), listed(3, 1)], true);
        assert_eq!((differing, end), (vec![1, 3], Some(ChunkId { inode: 1, index: 3 })));
        let full: Vec<Listed> = (0..limits::SYNC_PAGE as u64).map(|index| listed(index, 1)).collect();
        let (differing, _, end) = compared(&full, &[listed(1000, 1)], false);
        assert_eq!(differing.len(), limits::SYNC_PAGE, "chunk 1000 lies behind this page");
        assert_eq!(end, Some(full[limits::SYNC_PAGE - 1].chunk));
    }

    struct Rows(Vec<Listed>);

    impl Chunks for Rows {
        fn committed(&self, _: ChunkId) -> Committed {
            Committed::default()
        }
        fn list(&self, from: ChunkId, limit: usize) -> Vec<Listed> {
            self.0.iter().filter(|row| row.chunk >= from).take(limit).copied().collect()
        }
        fn allocatable_bytes(&self) -> u64 {
            0
        }
    }

    /// As the successor would answer: ranges of two, the last one up to the end of all.
    fn ranges(rows: &[Listed]) -> VecDeque<ChunkRange> {
        let pairs: Vec<&[Listed]> = rows.chunks(2).collect();
        let range = |(number, pair): (usize, &&[Listed])| ChunkRange {
            last: if number + 1 == pairs.len() { LAST } else { pair.last().expect("not empty").chunk },
            chunks: pair.len() as u32,
            digest: range_digest(pair),
        };
        pairs.iter().enumerate().map(range).collect()
    }

    /// Where the cursor is then, and to where chunks must be listed.
    fn after_ranges(ours: &[Listed], theirs: &[Listed]) -> (Option<u64>, Option<u64>) {
        let mut source = SyncSource::new(TargetId(2), 1);
        source.ranges = ranges(theirs);
        source.compare_ranges(&Rows(ours.to_vec()));
        (source.cursor.map(|chunk| chunk.index), source.listing_to.map(|chunk| chunk.index))
    }

    #[test]
    fn equal_ranges_are_passed_over_up_to_the_first_that_differs() {
        let rows = |numbers: &[u64]| -> Vec<Listed> {
            numbers.iter().enumerate().map(|(index, number)| listed(index as u64 + 1, *number)).collect()
        };
        let all = rows(&[5, 5, 5, 5, 5]);
        assert_eq!(after_ranges(&all, &all), (None, None), "nothing is listed");
        assert_eq!(after_ranges(&rows(&[5, 6, 5, 5, 5]), &all), (Some(0), Some(2)), "another version");
        assert_eq!(after_ranges(&rows(&[5, 5, 5, 6, 5]), &all), (Some(3), Some(4)));
        assert_eq!(after_ranges(&rows(&[5, 5, 5, 5]), &all), (Some(5), Some(u64::MAX)), "one is gone here");
        assert_eq!(after_ranges(&rows(&[5; 6]), &all), (Some(5), Some(u64::MAX)), "one is only here");
        let mut marked = all.clone();
        marked[1] = tombstone(2, 5);
        assert_eq!(after_ranges(&marked, &all), (Some(0), Some(2)), "a removal of the same version");
        let mut renamed = all.clone();
        renamed[4].chunk.inode = 2;
        assert_eq!(after_ranges(&renamed, &all), (Some(5), Some(u64::MAX)));
        assert_eq!(after_ranges(&[], &all), (Some(0), Some(2)));
    }

    #[test]
    fn a_list_goes_no_further_than_the_range_that_differs() {
        let mut source = SyncSource::new(TargetId(2), 1);
        source.listing_to = Some(ChunkId { inode: 1, index: 2 });
        let theirs = [listed(1, 5), listed(2, 4), listed(3, 4)];
        source.compare(&[listed(1, 5), listed(2, 5), listed(3, 5)], &theirs, false);
        assert_eq!(source.differing, [ChunkId { inode: 1, index: 2 }], "the next range may be equal");
        assert_eq!(source.page_end, source.listing_to);
    }

    #[test]
    fn the_cursor_goes_over_the_edge_of_an_inode_and_of_all() {
        assert_eq!(after(ChunkId { inode: 1, index: u64::MAX }), Some(ChunkId { inode: 2, index: 0 }));
        assert_eq!(after(LAST), None);
        let mut source = SyncSource::new(TargetId(2), 1);
        source.ahead.extend([ChunkId { inode: 1, index: 1 }, ChunkId { inode: 1, index: 9 }]);
        source.finish_page(ChunkId { inode: 1, index: 4 });
        assert!(source.is_copied(ChunkId { inode: 1, index: 4 }));
        assert!(!source.is_copied(ChunkId { inode: 1, index: 5 }));
        assert!(source.is_copied(ChunkId { inode: 1, index: 9 }));
        assert_eq!(source.ahead.len(), 1);
    }
}
