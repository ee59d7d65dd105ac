//! What was taken of a disk's free space since it was asked for it: the answer of the file system is as old as the
//! last tick, and every target of the disk promises the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Room {
    /// Bytes stored so far, at most: what an update may allocate.
    taken: AtomicU64,
    /// Of updates that have a version and are not stored yet.
    promised: AtomicU64,
}

/// Bytes for an update that is about to be stored. Dropping it gives them back.
#[derive(Debug)]
pub struct Promise {
    room: Arc<Room>,
    bytes: u64,
}

/// A file system's answer: the count of taken bytes at which nothing is left.
#[derive(Debug, Default)]
pub struct Limit(AtomicU64);

impl Room {
    pub fn promise(self: &Arc<Self>, bytes: u64) -> Promise {
        self.promised.fetch_add(bytes, Ordering::AcqRel);
        Promise { room: self.clone(), bytes }
    }

    /// For what may wait until there is more: `None` if so much, and `spare`, is not left.
    pub fn promise_of_free(self: &Arc<Self>, limit: &Limit, bytes: u64, spare: u64) -> Option<Promise> {
        // Before the look, so that of two at once at most one takes the last bytes.
        let promise = self.promise(bytes);
        (self.gone() + spare <= limit.0.load(Ordering::Acquire)).then_some(promise)
    }

    fn gone(&self) -> u64 {
        // In this order: what is stored in between counts twice and not never.
        let promised = self.promised.load(Ordering::Acquire);
        promised + self.taken.load(Ordering::Acquire)
    }

    /// Asks for the free bytes anew. What is stored meanwhile may be missing in the answer, so it counts as
    /// taken after it. Without an answer the old one stays.
    pub fn refresh<T>(
        &self,
        limit: &Limit,
        ask: impl FnOnce() -> Option<T>,
        free: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let before = self.taken.load(Ordering::Acquire);
        let answer = ask()?;
        limit.0.store(before + free(&answer), Ordering::Release);
        Some(answer)
    }

    pub fn left(&self, limit: &Limit) -> u64 {
        let gone = self.gone();
        limit.0.load(Ordering::Acquire).saturating_sub(gone)
    }
}

impl Promise {
    /// They are stored.
    pub fn keep(self) {
        self.room.taken.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.room.promised.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_promised_or_stored_is_gone_at_once_for_every_target_of_the_disk() {
        let (room, limits) = (Arc::new(Room::default()), [Limit::default(), Limit::default()]);
        let left = || limits.each_ref().map(|limit| room.left(limit));
        assert_eq!(left(), [0, 0], "nobody asked yet");
        limits.iter().for_each(|limit| assert!(room.refresh(limit, || Some(100), |free| *free).is_some()));
        let (first, second) = (room.promise(30), room.promise(20));
        assert_eq!(left(), [50, 50]);
        first.keep();
        assert_eq!(left(), [50, 50]);
        // One of them asks: the first is stored by then, the second is not.
        room.refresh(&limits[0], || Some(70), |free| *free);
        assert_eq!(left(), [50, 50]);
        drop(second);
        assert_eq!(left(), [70, 70], "it was refused");
        room.promise(200).keep();
        assert_eq!(left(), [0, 0]);
    }

    #[test]
    fn what_may_wait_gets_what_nobody_was_promised() {
        let (room, limit) = (Arc::new(Room::default()), Limit::default());
        assert!(room.promise_of_free(&limit, 1, 0).is_none(), "nobody asked yet");
        room.refresh(&limit, || Some(100), |free| *free);
        let other = room.promise(40);
        assert!(room.promise_of_free(&limit, 61, 0).is_none());
        assert_eq!(room.left(&limit), 60, "what was refused is not gone");
        let all = room.promise_of_free(&limit, 60, 0).unwrap();
        assert!(room.promise_of_free(&limit, 1, 0).is_none());
        all.keep();
        drop(other);
        assert!(room.promise_of_free(&limit, 41, 0).is_none());
        assert!(room.promise_of_free(&limit, 40, 1).is_none());
        assert!(room.promise_of_free(&limit, 39, 1).is_some());
    }

    #[test]
    fn what_is_stored_while_the_disk_is_asked_is_not_there_and_an_old_answer_counts_on() {
        let (room, limit) = (Arc::new(Room::default()), Limit::default());
        let stored_before_the_answer = || {
            room.promise(10).keep();
            Some(90)
        };
        room.refresh(&limit, stored_before_the_answer, |free| *free);
        assert_eq!(room.left(&limit), 80, "whether the answer knows it is not known");
        let stored_after_the_answer = || {
            let free = 90;
            room.promise(40).keep();
            Some(free)
        };
        room.refresh(&limit, stored_after_the_answer, |free| *free);
        assert_eq!(room.left(&limit), 50);
        assert!(room.refresh(&limit, || None::<u64>, |free| *free).is_none());
        room.promise(15).keep();
        assert_eq!(room.left(&limit), 35);
    }
}
