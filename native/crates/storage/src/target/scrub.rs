//! One target's part of the background scrub: where it stands, chunk by chunk, also across processes.

use super::Target;
use crate::metrics::add;
use crate::records;
use chunk_engine::PIECE_BYTES;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use wire::message::{ScrubProgress, StorageScrubRecord};
use wire::{ChunkId, Code};

const RECORD_VERSION: u32 = 1;

/// The record is written at most this often: so much is read again after a kill.
const REMEMBER_PAUSE: Duration = Duration::from_secs(10);

/// Chunks whose ids are held at a time.
const PAGE: usize = 256;

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
    /// The piece that the medium reads already: chunk and offset.
    ahead: Option<(ChunkId, u32)>,
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
            ahead: None,
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
        self.ahead = None;
        self.remembered = None;
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
    pub fn scrub_next(self: &std::sync::Arc<Self>) -> Option<u64> {
        let (chunk, UnderWay { bytes: offset, damaged }) = self.next_to_scrub()?;
        self.read_ahead(chunk, offset);
        let (length, damage) = match self.store.damage_at(chunk, offset) {
            Ok(found) => found,
            // Closed, or failed: the pass goes on when it is open again.
            Err(error) if error.code != Code::Corrupt => {
                self.scrub.state.lock().ahead = None;
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

    /// This piece, and the one after it while this one is verified. What fails of it fails again when it is read.
    fn read_ahead(&self, chunk: ChunkId, offset: u32) {
        let (ahead, following) = {
            let mut state = self.scrub.state.lock();
            let following = state.page.len().checked_sub(2).map(|place| state.page[place]);
            (state.ahead.take(), following)
        };
        if ahead != Some((chunk, offset)) {
            let _ = self.store.read_ahead(chunk, offset);
        }
        let next = offset.saturating_add(PIECE_BYTES);
        let next = match self.store.read_ahead(chunk, next) {
            Ok(true) => Some((chunk, next)),
            _ => following.filter(|chunk| self.store.read_ahead(*chunk, 0).is_ok()).map(|chunk| (chunk, 0)),
        };
        self.scrub.state.lock().ahead = next;
    }

    fn chunk_scrubbed(self: &std::sync::Arc<Self>, chunk: ChunkId, UnderWay { bytes, damaged }: UnderWay) {
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
}
