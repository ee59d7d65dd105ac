//! One target's part of the background scrub: where it stands, chunk by chunk, also across processes.

use super::Target;
use crate::disk::SCRUB_THREADS;
use crate::metrics::add;
use crate::records;
use chunk_engine::{Damage, PIECE_BYTES};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime};
use wire::message::{ScrubProgress, StorageScrubRecord};
use wire::{ChunkId, Code, Result};

const RECORD_VERSION: u32 = 1;

/// The record is written at most this often: so much is read again after a kill.
const REMEMBER_PAUSE: Duration = Duration::from_secs(10);

/// Chunks whose ids are held at a time.
const PAGE: usize = 256;

/// Chunk and offset.
type Piece = (ChunkId, u32);

type Found = Result<(u32, Damage)>;

pub(super) struct Scrub {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    progress: ScrubProgress,
    next: Option<ChunkId>,
    /// The next ids, last first.
    page: Vec<ChunkId>,
    under_way: UnderWay,
    /// What is looked at already, in order.
    ahead: VecDeque<(Piece, Receiver<Found>)>,
    /// `None`: something happened that the record must say soon.
    remembered: Option<Instant>,
}

/// What was read of the next chunk already. A process that ends begins it again.
#[derive(Clone, Copy, Default)]
struct UnderWay {
    bytes: u32,
    damaged: bool,
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

impl Scrub {
    /// A target that was never scrubbed is due an interval after it was made (or first seen).
    pub fn open(path: PathBuf) -> Scrub {
        // A damaged record costs a pass that begins again.
        let stored = records::read::<StorageScrubRecord>(&path).ok().flatten();
        let stored = stored.filter(|stored| stored.record_version <= RECORD_VERSION);
        let never = ScrubProgress { started_ms: wall_ms(), ..Default::default() };
        let (progress, next) = match stored {
            Some(stored) => (stored.progress.unwrap_or(never), stored.next.map(Into::into)),
            None => {
                let first =
                    StorageScrubRecord { record_version: RECORD_VERSION, progress: Some(never), next: None };
                // Without it the next process counts from its own start.
                let _ = records::write(&path, &first);
                (never, None)
            }
        };
        let state = State {
            progress,
            next,
            page: Vec::new(),
            under_way: UnderWay::default(),
            ahead: VecDeque::new(),
            remembered: Some(Instant::now()),
        };
        Scrub { path, state: Mutex::new(state) }
    }

    pub fn progress(&self) -> ScrubProgress {
        self.state.lock().progress
    }
}

impl State {
    fn begin(&mut self) {
        let finished_ms = self.progress.finished_ms;
        self.progress =
            ScrubProgress { running: true, started_ms: wall_ms(), finished_ms, ..Default::default() };
        self.next = Some(ChunkId { inode: 0, index: 0 });
        self.page.clear();
        self.under_way = UnderWay::default();
        // What was read for a pass before may have rotted since.
        self.ahead.clear();
        self.remembered = None;
    }

    /// The piece after that one of a chunk of this length.
    fn following(&self, (chunk, offset): Piece, length: u32) -> Option<Piece> {
        let next = offset.saturating_add(PIECE_BYTES);
        if next < length {
            return Some((chunk, next));
        }
        let place = self.page.iter().rposition(|other| *other == chunk)?;
        Some((self.page[place.checked_sub(1)?], 0))
    }
}

impl Target {
    /// A pass begins, unless one is under way.
    pub fn begin_scrub(&self) {
        let mut state = self.scrub.state.lock();
        if !state.progress.running {
            state.begin();
        }
    }

    pub fn begin_scrub_if_due(&self, interval: Duration) {
        let mut state = self.scrub.state.lock();
        let last = state.progress.started_ms.max(state.progress.finished_ms);
        let due = last.saturating_add(interval.as_millis() as u64);
        if !interval.is_zero() && !state.progress.running && wall_ms() >= due {
            state.begin();
        }
    }

    /// Reads the next piece of a chunk, as of the version that is committed now; its bytes. `None`: no pass is under
    /// way, or it just ended, or the target is offline.
    pub fn scrub_next(self: &Arc<Self>) -> Option<u64> {
        let (chunk, UnderWay { bytes: offset, damaged }) = self.next_to_scrub()?;
        let found = self.look_ahead((chunk, offset));
        // No answer: the disk's threads have ended.
        let (length, damage) = match found.recv().ok()? {
            Ok(found) => found,
            // Closed, or failed: the pass goes on when it is open again.
            Err(error) if error.code != Code::Corrupt => {
                self.scrub.state.lock().ahead.clear();
                return None;
            }
            Err(_) => Default::default(),
        };
        add(&self.shared.metrics.scrubbed_bytes, length.into());
        let read = UnderWay { bytes: offset + length, damaged: damaged || !damage.blocks.is_empty() };
        if read.bytes < damage.chunk_length {
            self.scrub.state.lock().under_way = read;
        } else {
            self.chunk_scrubbed(chunk, read);
        }
        Some(length.into())
    }

    /// What is to be found of this piece. Meanwhile the disk reads the next ones.
    fn look_ahead(self: &Arc<Self>, piece: Piece) -> Receiver<Found> {
        let mut state = self.scrub.state.lock();
        // Chunks change: others may have been expected.
        let found = match state.ahead.pop_front() {
            Some((expected, found)) if expected == piece => found,
            _ => {
                state.ahead.clear();
                self.look_at(piece)
            }
        };
        let mut last = state.ahead.back().map_or(piece, |(last, _)| *last);
        while state.ahead.len() < SCRUB_THREADS - 1
            && let Some(next) = state.following(last, self.store.length(last.0))
        {
            state.ahead.push_back((next, self.look_at(next)));
            last = next;
        }
        found
    }

    fn look_at(self: &Arc<Self>, (chunk, offset): Piece) -> Receiver<Found> {
        let (tell, found) = sync_channel(1);
        let target = self.clone();
        self.disk.scrubs.push(move || {
            // Who does not expect it any more does not hear it.
            let _ = tell.send(target.store.damage_at(chunk, offset));
        });
        found
    }

    fn chunk_scrubbed(self: &Arc<Self>, chunk: ChunkId, UnderWay { bytes, damaged }: UnderWay) {
        add(&self.shared.metrics.scrubbed_chunks, 1);
        if damaged {
            self.found_damage(chunk);
        }
        let mut state = self.scrub.state.lock();
        state.page.pop();
        state.under_way = UnderWay::default();
        state.next = super::store::after(chunk);
        state.progress.chunks += 1;
        state.progress.bytes += u64::from(bytes);
        state.progress.damaged += u64::from(damaged);
        let remember = state.remembered.is_none_or(|at| at.elapsed() >= REMEMBER_PAUSE);
        drop(state);
        if remember {
            self.remember_scrub();
        }
    }

    fn next_to_scrub(&self) -> Option<(ChunkId, UnderWay)> {
        let mut state = self.scrub.state.lock();
        if !state.progress.running || self.is_offline() {
            return None;
        }
        if state.page.is_empty()
            && let Some(from) = state.next
        {
            let rows = self.store.list(from, None, PAGE).ok()?;
            state.page = rows.iter().rev().map(|row| row.chunk.unwrap_or_default().into()).collect();
        }
        let next = state.page.last().map(|chunk| (*chunk, state.under_way));
        // With what it found repaired, or tried: whoever waits for the end of the pass asks what is damaged then.
        if next.is_none() && !self.repairs.lock().is_running() {
            state.progress.running = false;
            state.progress.finished_ms = wall_ms();
            state.next = None;
            let ScrubProgress { chunks, bytes, damaged, .. } = state.progress;
            drop(state);
            log::info!(target: "storage", target = self.id.0, chunks, bytes, damaged; "scrub.finished");
            self.remember_scrub();
        }
        next
    }

    /// So that the next process goes on here.
    pub fn remember_scrub(&self) {
        let record = {
            let mut state = self.scrub.state.lock();
            state.remembered = Some(Instant::now());
            let next = state.next.map(Into::into);
            StorageScrubRecord { record_version: RECORD_VERSION, progress: Some(state.progress), next }
        };
        if let Err(error) = self.disk.watched(|| records::write(&self.scrub.path, &record)) {
            log::warn!(target: "storage", target = self.id.0, error:% = error; "scrub.record");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_pass_stands_survives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scrub");
        let first = Scrub::open(path.clone()).progress();
        assert!(!first.running && first.finished_ms == 0 && first.started_ms > 0);
        assert_eq!(Scrub::open(path.clone()).progress(), first);
        let progress = ScrubProgress { running: true, chunks: 7, damaged: 1, ..Default::default() };
        let next = ChunkId { inode: 3, index: 4 };
        let record =
            StorageScrubRecord { record_version: 1, progress: Some(progress), next: Some(next.into()) };
        records::write(&path, &record).unwrap();
        let opened = Scrub::open(path.clone());
        assert_eq!(opened.progress(), progress);
        assert_eq!(opened.state.lock().next, Some(next));
        std::fs::write(&path, b"damaged").unwrap();
        assert!(!Scrub::open(path).progress().running);
    }

    #[test]
    fn pieces_follow_each_other_until_the_known_chunks_end() {
        let folder = tempfile::tempdir().unwrap();
        let scrub = Scrub::open(folder.path().join("scrub"));
        let mut state = scrub.state.lock();
        let [first, second, other] = [1, 2, 3].map(|index| ChunkId { inode: 7, index });
        state.page = vec![second, first];
        assert_eq!(state.following((first, 0), 2 * PIECE_BYTES + 1), Some((first, PIECE_BYTES)));
        assert_eq!(
            state.following((first, PIECE_BYTES), 2 * PIECE_BYTES + 1),
            Some((first, 2 * PIECE_BYTES))
        );
        assert_eq!(state.following((first, 2 * PIECE_BYTES), 2 * PIECE_BYTES + 1), Some((second, 0)));
        assert_eq!(state.following((first, 0), PIECE_BYTES), Some((second, 0)));
        assert_eq!(state.following((first, 0), 0), Some((second, 0)), "it is gone");
        assert_eq!(state.following((second, 0), 5), None);
        assert_eq!(state.following((other, 0), 5), None);
    }
}
