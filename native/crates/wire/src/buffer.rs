//! Pooled buffers: a 1 MiB allocation costs 256 page faults, a pooled one costs none. A `Buffer` is filled
//! once, then frozen into `Bytes` that may be shared; the memory returns to its pool with the last clone.

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sizes that the pool keeps, in bytes; a request takes the next larger one. Larger requests are allocated
/// and freed.
const CLASSES: [usize; 6] = [8 << 10, 32 << 10, 128 << 10, (1 << 20) + 4096, 4 << 20, 16 << 20];

#[derive(Debug)]
struct Shelves {
    idle: [Vec<Box<[u8]>>; CLASSES.len()],
    idle_bytes: usize,
    used_bytes: usize,
    /// Since when somebody has found it used up, and no buffer came back.
    stuck_since: Option<Instant>,
    lifted: bool,
}

#[derive(Debug)]
struct Pool {
    shelves: Mutex<Shelves>,
    returned: Condvar,
    idle_bytes_max: usize,
    used_bytes_max: usize,
}

/// Keeps up to `idle_bytes_max` of unused buffers. With a budget, `take` waits for buffers to come back
/// (P24).
#[derive(Clone, Debug)]
pub struct BufferPool(Arc<Pool>);

impl BufferPool {
    /// A pool without a budget: its users bound what they take by other means.
    pub fn new(idle_bytes_max: usize) -> Self {
        BufferPool::with_budget(idle_bytes_max, usize::MAX)
    }

    /// A pool whose buffers in use add up to at most `used_bytes_max`; one buffer is always granted,
    /// whatever its size.
    pub fn with_budget(idle_bytes_max: usize, used_bytes_max: usize) -> Self {
        let idle = std::array::from_fn(|_| Vec::new());
        let shelves =
            Mutex::new(Shelves { idle, idle_bytes: 0, used_bytes: 0, stuck_since: None, lifted: false });
        BufferPool(Arc::new(Pool { shelves, returned: Condvar::new(), idle_bytes_max, used_bytes_max }))
    }

    /// A buffer of `len` bytes with unspecified (old) content. Waits while the budget is used up.
    pub fn take(&self, len: usize) -> Buffer {
        let size = size_of_class(len);
        let mut shelves = self.0.shelves.lock();
        while !self.0.fits(&shelves, size) {
            self.0.returned.wait(&mut shelves);
        }
        self.grant(shelves, len, size)
    }

    /// As `take`, but `None` when no buffer has come back for `patience`, and from then on at once until one does.
    pub fn take_unless_stuck(&self, len: usize, patience: Duration) -> Option<Buffer> {
        let size = size_of_class(len);
        let mut shelves = self.0.shelves.lock();
        while !self.0.fits(&shelves, size) {
            let until = *shelves.stuck_since.get_or_insert_with(Instant::now) + patience;
            if self.0.returned.wait_until(&mut shelves, until).timed_out() && !self.0.fits(&shelves, size) {
                return None;
            }
        }
        Some(self.grant(shelves, len, size))
    }

    /// `None` where `take` would wait.
    pub fn try_take(&self, len: usize) -> Option<Buffer> {
        let size = size_of_class(len);
        let shelves = self.0.shelves.lock();
        self.0.fits(&shelves, size).then(|| self.grant(shelves, len, size))
    }

    /// Nobody waits as long as it is lifted: for the end of a process, and where buffers may never come back.
    pub fn lift_budget(&self, lifted: bool) {
        self.0.shelves.lock().lifted = lifted;
        self.0.returned.notify_all();
    }

    pub fn used_bytes(&self) -> usize {
        self.0.shelves.lock().used_bytes
    }

    fn grant(&self, mut shelves: parking_lot::MutexGuard<'_, Shelves>, len: usize, size: usize) -> Buffer {
        shelves.used_bytes += size;
        let class = CLASSES.iter().position(|&class| class == size);
        let memory = class.and_then(|class| shelves.idle[class].pop());
        if memory.is_some() {
            shelves.idle_bytes -= size;
        }
        drop(shelves);
        let memory = memory.unwrap_or_else(|| vec![0; size].into_boxed_slice());
        Buffer { memory, len, pool: self.clone() }
    }

    fn give_back(&self, memory: Box<[u8]>) {
        let mut shelves = self.0.shelves.lock();
        shelves.used_bytes -= memory.len();
        shelves.stuck_since = None;
        let class = CLASSES.iter().position(|&size| size == memory.len());
        if let Some(class) = class
            && shelves.idle_bytes + memory.len() <= self.0.idle_bytes_max
        {
            shelves.idle_bytes += memory.len();
            shelves.idle[class].push(memory);
        }
        drop(shelves);
        if self.0.used_bytes_max != usize::MAX {
            self.0.returned.notify_all();
        }
    }
}

impl Pool {
    fn fits(&self, shelves: &Shelves, size: usize) -> bool {
        shelves.lifted
            || shelves.used_bytes == 0
            || size <= self.used_bytes_max.saturating_sub(shelves.used_bytes)
    }
}

fn size_of_class(len: usize) -> usize {
    CLASSES.iter().copied().find(|&size| size >= len).unwrap_or(len)
}

/// Writable memory from a pool. Dropping it gives it back.
#[derive(Debug)]
pub struct Buffer {
    memory: Box<[u8]>,
    len: usize,
    pool: BufferPool,
}

impl Buffer {
    /// Shortens the visible part.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_with_the_last_clone() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(5000);
        buffer[4999] = 7;
        let bytes = buffer.freeze();
        let clone = bytes.clone();
        drop(bytes);
        assert_eq!(pool.0.shelves.lock().idle_bytes, 0);
        assert_eq!(clone[4999], 7);
        drop(clone);
        assert_eq!(pool.0.shelves.lock().idle_bytes, CLASSES[0]);
        assert_eq!(pool.take(10).len(), 10);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_limit() {
        let pool = BufferPool::new(CLASSES[0]);
        let (first, second) = (pool.take(1), pool.take(1));
        drop((first, second));
        assert_eq!(pool.0.shelves.lock().idle_bytes, CLASSES[0]);
    }

    #[test]
    fn whoever_would_wait_for_a_stuck_holder_is_refused_until_a_buffer_comes_back() {
        let pool = BufferPool::with_budget(0, 2 * CLASSES[0]);
        let take = |patience: Duration| pool.take_unless_stuck(1, patience);
        let (first, second) = (take(Duration::ZERO).unwrap(), take(Duration::ZERO).unwrap());
        assert!(take(Duration::from_millis(1)).is_none());
        // As long as that nobody waits: it is stuck already.
        assert!(take(Duration::from_millis(1)).is_none());
        let waiting = {
            let pool = pool.clone();
            std::thread::spawn(move || pool.take_unless_stuck(1, Duration::from_secs(3600)).is_some())
        };
        drop(first);
        assert!(waiting.join().unwrap());
        drop(second);
        assert!(take(Duration::ZERO).is_some());
    }

    #[test]
    fn a_budget_makes_takers_wait_for_returned_buffers() {
        let pool = BufferPool::with_budget(0, 2 * CLASSES[0]);
        let held = (pool.take(CLASSES[0]), pool.take(1));
        assert!(pool.try_take(1).is_none());
        assert_eq!(pool.used_bytes(), 2 * CLASSES[0]);
        let waiting = {
            let pool = pool.clone();
            std::thread::spawn(move || pool.take(5).len())
        };
        drop(held.0);
        assert_eq!(waiting.join().unwrap(), 5);
        drop(held.1);
        let larger_than_the_budget = pool.take(CLASSES[1]);
        assert!(pool.try_take(1).is_none());
        let waiting = {
            let pool = pool.clone();
            std::thread::spawn(move || pool.take(5).len())
        };
        pool.lift_budget(true);
        assert_eq!(waiting.join().unwrap(), 5, "nobody waits");
        pool.lift_budget(false);
        assert!(pool.try_take(1).is_none());
        drop(larger_than_the_budget);
        assert_eq!(pool.used_bytes(), 0);
    }
}
