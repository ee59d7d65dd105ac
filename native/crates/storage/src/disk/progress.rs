//! How long the operations of one disk take: finds out that a disk hangs, without touching it. Begin and end
//! of an operation cost one addition each; a watchdog looks at them.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// Between two looks of the watchdog: one slot of the ring.
pub const WATCH_PAUSE: Duration = Duration::from_millis(50);

/// Slots: 51 s, longer than any limit.
const SLOTS: usize = 1024;

/// Operations that run, by the moment at which they began.
pub struct Progress {
    now: AtomicUsize,
    running: Box<[AtomicU32]>,
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
            limit_slots: slots.clamp(2, SLOTS / 2),
        }
    }

    pub fn begin(&self) -> Running<'_> {
        let slot = &self.running[self.now.load(Ordering::Relaxed) % SLOTS];
        slot.fetch_add(1, Ordering::Relaxed);
        Running(slot)
    }

    /// The watchdog's step. True while an operation runs for longer than the limit.
    pub fn advance(&self) -> bool {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        let overdue = (self.limit_slots..SLOTS - 1).map(|age| (now + SLOTS - age) % SLOTS);
        overdue.into_iter().any(|slot| self.running[slot].load(Ordering::Acquire) > 0)
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
}
