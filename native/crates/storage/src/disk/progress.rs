//! How long the operations of one disk take: finds out that a disk hangs, without touching it. Begin and end
//! of an operation cost one addition each; a watchdog looks at them.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// Between two looks of the watchdog: one slot of the ring.
pub const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// Slots: 205 s, more than twice the longest limit, which is that of a flush where `diskTimeoutMs` is 25 s.
const SLOTS: usize = 4096;
const NO_SLOT: usize = SLOTS;

/// Operations that run, by the moment at which they began.
pub struct Progress {
    now: AtomicUsize,
    running: Box<[AtomicU32]>,
    /// The slot that the ring came round to while an operation of the last round ran there still, which lasts.
    stuck: AtomicUsize,
    limit_slots: usize,
}

/// Ends the operation when it is dropped.
pub struct Running<'a>(&'a AtomicU32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Progress {
    /// `limit`: an operation that takes longer is stuck. At most half of the ring.
    pub fn new(limit: Duration) -> Progress {
        let slots = (limit.as_millis() / WATCH_PAUSE.as_millis()) as usize;
        Progress {
            now: AtomicUsize::new(0),
            running: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            stuck: AtomicUsize::new(NO_SLOT),
            limit_slots: slots.clamp(2, SLOTS / 2),
        }
    }

    pub fn begin(&self) -> Running<'_> {
        let slot = &self.running[self.now.load(Ordering::Relaxed) % SLOTS];
        slot.fetch_add(1, Ordering::Relaxed);
        Running(slot)
    }

    /// The watchdog's step, of one thread alone. True while an operation runs for longer than the limit.
    pub fn advance(&self) -> bool {
        let now = self.now.load(Ordering::Relaxed) + 1;
        let runs =
            |slot: usize| self.running.get(slot).is_some_and(|count| count.load(Ordering::Acquire) > 0);
        let mut stuck = self.stuck.load(Ordering::Relaxed);
        if !runs(stuck) {
            stuck = if runs(now % SLOTS) { now % SLOTS } else { NO_SLOT };
            self.stuck.store(stuck, Ordering::Relaxed);
        }
        self.now.store(now, Ordering::Relaxed);
        stuck != NO_SLOT || (self.limit_slots..SLOTS).any(|age| runs((now + SLOTS - age) % SLOTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_overdue_after_the_limit_until_it_ends() {
        let progress = Progress::new(WATCH_PAUSE * 4);
        let steps = |count: usize| (0..count).map(|_| progress.advance()).collect::<Vec<bool>>();
        assert_eq!(steps(8), [false; 8]);
        let first = progress.begin();
        assert_eq!(steps(3), [false; 3]);
        // Others come and go meanwhile.
        drop(progress.begin());
        assert_eq!(steps(2), [true, true]);
        drop(first);
        assert_eq!(steps(2 * SLOTS), [false; 2 * SLOTS]);
    }

    #[test]
    fn a_flush_has_three_times_the_longest_limit_that_may_be_configured() {
        let limit = Duration::from_millis(25_000) * crate::disk::FLUSH_PATIENCE;
        let progress = Progress::new(limit);
        let _flush = progress.begin();
        let looks = (limit.as_millis() / WATCH_PAUSE.as_millis()) as usize;
        assert_eq!((1..=looks).find(|_| progress.advance()), Some(looks));
    }

    #[test]
    fn one_that_runs_for_longer_than_the_ring_is_overdue_all_the_time() {
        let progress = Progress::new(WATCH_PAUSE * 4);
        let first = progress.begin();
        assert_eq!((0..4).filter(|_| progress.advance()).count(), 1);
        let others = |count: usize| {
            (0..count).filter(|_| {
                drop(progress.begin());
                progress.advance()
            })
        };
        assert_eq!(others(3 * SLOTS).count(), 3 * SLOTS);
        drop(first);
        assert_eq!(others(3 * SLOTS).count(), 0);
    }
}
