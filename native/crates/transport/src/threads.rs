//! Which of a transport's own threads is running. They must never wait for room in a send queue: what they
//! wait for may only come through them. And whose small frames are held back, to go out together.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
    /// Above 0: small frames that this thread sends wait for each other.
    static HOLDING: Cell<u32> = const { Cell::new(0) };
    /// Queues in which frames of this thread may wait.
    static HELD: RefCell<Vec<Arc<dyn SendQueue>>> = const { RefCell::new(Vec::new()) };
}

/// A link's queue of frames on their way out.
pub(crate) trait SendQueue {
    /// Writes what is held back in it.
    fn flush(self: Arc<Self>);
}

const TIMER: u64 = u64::MAX;
const NOBODYS: u64 = u64::MAX - 1;

/// A number for each link of this process; never 0.
pub(crate) fn next_link_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// For the rest of the thread's life. It must call `flush_held` before each wait, and at its end.
pub(crate) fn become_reader_of(link: u64) {
    OWN.set(link);
    HOLDING.set(1);
}

pub(crate) fn become_timer() {
    OWN.set(TIMER);
}

/// Whether a small frame may wait in this queue for the next ones of this thread.
pub(crate) fn may_hold(queue: &Arc<impl SendQueue + 'static>) -> bool {
    if HOLDING.get() == 0 {
        return false;
    }
    HELD.with_borrow_mut(|held| {
        let known = |other: &Arc<dyn SendQueue>| std::ptr::addr_eq(Arc::as_ptr(other), Arc::as_ptr(queue));
        if !held.iter().any(known) {
            held.push(queue.clone());
        }
    });
    true
}

/// Sends what this thread holds back. Whoever waits, in work that runs `together`, for what other threads or peers
/// do must call it first; `call_wait` and the wait for room in a send queue do.
pub fn flush_held() {
    for queue in HELD.take() {
        queue.flush();
    }
}

/// Small frames that `work` sends go out together when it returns, each link's in one system call, and not one
/// by one. It should be short: where it waits, `flush_held` first.
pub fn together<T>(work: impl FnOnce() -> T) -> T {
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            HOLDING.set(HOLDING.get() - 1);
            if HOLDING.get() == 0 {
                flush_held();
            }
        }
    }
    HOLDING.set(HOLDING.get() + 1);
    let _release = Release;
    work()
}

/// Runs `work` as one of the transport's own threads does: what it sends never waits for room in a send
/// queue. For callers that hold what others need, and whose payloads are bounded elsewhere.
pub fn never_wait<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWN.set(self.0);
        }
    }
    let own = OWN.get();
    let _restore = Restore(own);
    if own == 0 {
        OWN.set(NOBODYS);
    }
    work()
}

pub(crate) fn may_wait() -> bool {
    OWN.get() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Queue(AtomicUsize);

    impl SendQueue for Queue {
        fn flush(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_held_back_goes_out_once_at_the_end_of_the_outermost_work() {
        let queues: [Arc<Queue>; 2] = Default::default();
        let flushes = || queues.each_ref().map(|queue| queue.0.load(Ordering::Relaxed));
        assert!(!may_hold(&queues[0]), "this thread does not wait for more");
        together(|| {
            assert!(may_hold(&queues[0]) && may_hold(&queues[0]));
            together(|| assert!(may_hold(&queues[1])));
            assert_eq!(flushes(), [0, 0]);
        });
        assert_eq!(flushes(), [1, 1]);
        assert!(!may_hold(&queues[0]));
        flush_held();
        assert_eq!(flushes(), [1, 1]);
    }

    #[test]
    fn what_is_held_back_goes_out_before_a_wait_and_what_comes_after_it_is_held_again() {
        let queue = Arc::new(Queue::default());
        together(|| {
            assert!(may_hold(&queue));
            flush_held();
            assert_eq!(queue.0.load(Ordering::Relaxed), 1);
            assert!(may_hold(&queue));
            assert_eq!(queue.0.load(Ordering::Relaxed), 1);
        });
        assert_eq!(queue.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn what_is_held_back_goes_out_also_when_the_work_panics() {
        let queue = Arc::new(Queue::default());
        let held = queue.clone();
        let work = move || together(|| assert!(!may_hold(&held), "a panic on purpose"));
        std::thread::spawn(work).join().unwrap_err();
        assert_eq!(queue.0.load(Ordering::Relaxed), 1);
    }
}
