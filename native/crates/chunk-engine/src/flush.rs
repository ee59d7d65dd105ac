//! Group-committed flush. One round covers everyone who came before it began: bytes first, then a mark in the
//! journal that says so, then the journal. What versions gave up is freed after the round whose mark covers
//! them is on the medium (P12).

use crate::chunk::Retired;
use crate::engine::{Core, Engine};
use crate::museum::{Planted, planted};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicU64, Ordering};
use wire::message::{JournalFlushed, JournalRecord};
use wire::{ChunkId, Result};

#[derive(Debug, Default)]
pub(crate) struct Flusher {
    running: Mutex<bool>,
    done: Condvar,
    /// Every record up to this one, its bytes, and a mark that says so are on the medium.
    flushed: AtomicU64,
}

impl Flusher {
    /// The catalogue that was just committed holds everything up to `record`.
    pub fn start_at(&self, record: u64) {
        self.flushed.store(record, Ordering::Release);
    }

    pub fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }
}

impl Engine {
    /// Everything staged or committed before the call is on the medium when it returns. Many callers share
    /// one round.
    pub fn flush(&self) -> Result<()> {
        self.core.check()?;
        self.core.flush()
    }
}

impl Core {
    pub fn flush(&self) -> Result<()> {
        let wanted = self.journal.last_update();
        let mut running = self.flusher.running.lock();
        loop {
            self.volume.check()?;
            if self.flusher.flushed() >= wanted {
                drop(running);
                // What was given up while the last round ended waits for nobody else.
                return self.release_retired();
            }
            if !*running {
                break;
            }
            self.flusher.done.wait(&mut running);
        }
        *running = true;
        drop(running);
        let result = self.flush_round();
        *self.flusher.running.lock() = false;
        self.flusher.done.notify_all();
        result?;
        self.release_retired()
    }

    fn flush_round(&self) -> Result<()> {
        let number = self.journal.last_update();
        if !planted(Planted::MarkBeforeBytes) {
            self.segments.flush()?;
        }
        let mark = JournalRecord { flushed: Some(JournalFlushed { number }), ..JournalRecord::default() };
        drop(self.journal.append(&mark, &[])?);
        self.journal.flush()?;
        if planted(Planted::MarkBeforeBytes) {
            self.segments.flush()?;
        }
        self.flusher.flushed.store(number, Ordering::Release);
        Ok(())
    }

    pub fn release_retired(&self) -> Result<()> {
        let flushed = if planted(Planted::FreedBeforeFlush) { u64::MAX } else { self.flusher.flushed() };
        loop {
            let (chunk, retired) = {
                let mut queue = self.retired.lock();
                match queue.front() {
                    Some((_, retired)) if retired.record <= flushed => {
                        queue.pop_front().expect("it has a front")
                    }
                    _ => return Ok(()),
                }
            };
            self.release(chunk, retired)?;
        }
    }

    /// Whoever writes over blocks of the chunk is done, and still holds its lock.
    pub fn end_rewriting(&self, chunk: ChunkId) -> Result<()> {
        let held = {
            let mut shard = self.index.shard(chunk);
            let active = shard.active(chunk).expect("a chunk that is changed is active");
            active.rewriting = false;
            std::mem::take(&mut active.held)
        };
        held.into_iter().try_for_each(|retired| self.release(chunk, retired))
    }

    /// Gives retired positions back: readers are told first, then the file system, then the allocator.
    fn release(&self, chunk: ChunkId, retired: Retired) -> Result<()> {
        let mut ranges = Vec::with_capacity(retired.positions.len());
        {
            let mut shard = self.index.shard(chunk);
            let entry = shard.entries.get_mut(&chunk).expect("a chunk with retired positions stays");
            let active = entry.active.as_mut().expect("a chunk with retired positions stays active");
            if active.rewriting {
                active.held.push(retired);
                return Ok(());
            }
            entry.generation = self.index.next_generation();
            for placed in &retired.positions {
                let plane = active.planes[placed.plane as usize].as_ref().expect("a used plane stays");
                let offset = plane.file.offset(plane.address.extent, placed.first);
                ranges.push((
                    plane.file.clone(),
                    offset,
                    u64::from(placed.count) * crate::BLOCK_BYTES as u64,
                ));
            }
        }
        for (file, offset, mut length) in ranges {
            if planted(Planted::PunchesNeighbour) {
                length += crate::BLOCK_BYTES as u64;
            }
            if !planted(Planted::ReleaseWithoutPunch) {
                self.segments.punch(&file, offset, length)?;
            }
        }
        let mut shard = self.index.shard(chunk);
        let active = shard.active(chunk).expect("a chunk with retired positions stays active");
        for placed in &retired.positions {
            self.used_blocks.fetch_sub(u64::from(placed.count), Ordering::Relaxed);
            if let Some(extent) = active.give_back(*placed) {
                self.segments.free(extent);
            }
        }
        active.retired -= 1;
        if active.retired == 0 {
            active.protected_length = active.longest();
        }
        self.index.settle(&mut shard, chunk);
        Ok(())
    }
}
