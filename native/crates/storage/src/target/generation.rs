//! Which work of the store still counts: what was queued for a history that a resync discarded since, or for an
//! engine that was opened again since, must not happen any more.

use parking_lot::{RwLock, RwLockWriteGuard};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(super) struct Generation {
    current: AtomicU64,
    /// Held, shared, while work of the store runs.
    running: RwLock<()>,
}

impl Generation {
    pub fn current(&self) -> u64 {
        self.current.load(Ordering::Acquire)
    }

    /// Nothing of an earlier one begins any more, nor does its outcome count. Waits for nobody.
    pub fn begin_next(&self) -> u64 {
        self.current.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// `None`, and nothing is done: it is of an earlier one.
    pub fn run<T>(&self, generation: u64, work: impl FnOnce() -> T) -> Option<T> {
        if self.current() != generation {
            return None;
        }
        let _running = self.running.read();
        // Whoever waits until nothing runs has begun the next one before.
        (self.current() == generation).then(work)
    }

    /// Waits until nothing of an earlier one runs any more, which may be as long as the disk takes. Nothing runs as
    /// long as this is held.
    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.running.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_next_one_begins_at_once_and_waits_for_what_runs_of_the_one_before() {
        let generation = Generation::default();
        let (started, has_started) = channel();
        let (ends, may_end) = channel();
        let (done, order) = channel();
        let finished = done.clone();
        std::thread::scope(|scope| {
            let generation = &generation;
            scope.spawn(move || {
                generation.run(0, || {
                    started.send(()).unwrap();
                    may_end.recv().unwrap();
                    finished.send("the one before").unwrap();
                })
            });
            has_started.recv().unwrap();
            assert_eq!(generation.begin_next(), 1);
            assert_eq!(generation.run(0, || ()), None, "it does not wait either");
            scope.spawn(move || {
                let _alone = generation.alone();
                done.send("alone").unwrap();
            });
            ends.send(()).unwrap();
        });
        assert_eq!(order.iter().take(2).collect::<Vec<_>>(), ["the one before", "alone"]);
        assert_eq!(generation.run(1, || 7), Some(7));
    }
}
