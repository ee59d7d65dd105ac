//! Which of a transport's own threads is running. They must never wait for room in a send queue: what they
//! wait for may only come through them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
}

const TIMER: u64 = u64::MAX;
const NOBODYS: u64 = u64::MAX - 1;

/// A number for each link of this process; never 0.
pub(crate) fn next_link_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn become_reader_of(link: u64) {
    OWN.set(link);
}

pub(crate) fn become_timer() {
    OWN.set(TIMER);
}

pub(crate) fn is_reader_of(link: u64) -> bool {
    OWN.get() == link
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
